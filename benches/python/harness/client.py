"""One contender doing one job, in a process of its own; its last line of output is what it found, as JSON.

`python -m harness.client JOB` where JOB is JSON: see `harness.job.Job`.
"""

import asyncio
import gc
import importlib
import json
import os
import resource
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from harness.job import Job
from harness.setup import Setup, answer

# Before anything is measured, code and pools are put in place.
WARM_UP_SECONDS = 0.4
# A process is at rest when it has used less than this in each of so many looks.
REST_SECONDS = 0.005
REST_LOOKS = 3


def cpu_seconds() -> float:
    """User and system time of this process, all threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Check:
    """Each answer is what the upstream sent, and each run called each tool: a wrong client is no fast one."""

    def __init__(self, job: Job, setup: Setup) -> None:
        self.setup = setup
        self.text = answer(job.answer_tokens)
        self.pieces = job.answer_tokens if job.kind == "tokens" else None
        self.tool_calls = job.tool_calls
        self.seen_pieces = self.answers = 0

    def answer(self, given: Any) -> None:
        text, pieces = given if self.pieces is not None else (given, None)
        if text != self.text:
            raise AssertionError(f"the answer is {text!r:.80}, not {self.text!r:.80}")
        if pieces is not None:
            self.seen_pieces += pieces
            self.answers += 1

    def calls(self, runs: int) -> None:
        calls = self.setup.calls()
        if calls != runs * self.tool_calls:
            raise AssertionError(f"{calls} tool calls in {runs} runs, where each makes {self.tool_calls}")


class Until:
    """Lets `concurrency` workers go on until the time is over; each does at least one operation."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    def more(self, own: int) -> bool:
        return own == 0 or time.monotonic() < self.end


async def operations(
    operation: Callable[[], Awaitable[Any]], concurrency: int, seconds: float, check: Check
) -> int:
    """Runs for so long, so many at once, and gives how many there were."""
    until = Until(seconds)

    async def worker() -> int:
        done = 0
        while until.more(done):
            check.answer(await operation())
            done += 1
        return done

    runs = sum(await asyncio.gather(*(worker() for _ in range(concurrency))))
    check.calls(runs)
    return runs


def operations_sync(operation: Callable[[], Any], concurrency: int, seconds: float, check: Check) -> int:
    """The same through a blocking call, on as many threads."""
    until = Until(seconds)
    done = [0] * concurrency
    failures: list[BaseException] = []

    def worker(place: int) -> None:
        try:
            while until.more(done[place]):
                check.answer(operation())
                done[place] += 1
        except BaseException as failure:  # carried to the main thread
            failures.append(failure)

    if concurrency == 1:
        worker(0)
    else:
        threads = [threading.Thread(target=worker, args=(place,)) for place in range(concurrency)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]
    runs = sum(done)
    check.calls(runs)
    return runs


def figures(runs: int, cpu: float, wall: float, check: Check, warm: int) -> dict[str, Any]:
    found = {"runs": runs, "warm": warm, "cpu_seconds": cpu, "wall_seconds": wall}
    if check.pieces is not None:
        found["pieces"] = round(check.seen_pieces / check.answers, 1)
    return found


async def throughput(contender: Any, job: Job, check: Check) -> dict[str, Any]:
    operation = getattr(contender, job.kind)
    # Slow clients would need too long for more, and keep only a hundred connections anyway.
    at_once = min(job.concurrency, 64 if job.kind == "chat" else 32)
    warm = await operations(operation, at_once, WARM_UP_SECONDS, check)
    gc.collect()
    wall, cpu = time.monotonic(), cpu_seconds()
    runs = await operations(operation, job.concurrency, job.seconds, check)
    return figures(runs, cpu_seconds() - cpu, time.monotonic() - wall, check, warm)


def throughput_sync(contender: Any, job: Job, check: Check) -> dict[str, Any]:
    operation = getattr(contender, f"{job.kind}_sync")
    warm = operations_sync(operation, job.concurrency, WARM_UP_SECONDS, check)
    gc.collect()
    wall, cpu = time.monotonic(), cpu_seconds()
    runs = operations_sync(operation, job.concurrency, job.seconds, check)
    return figures(runs, cpu_seconds() - cpu, time.monotonic() - wall, check, warm)


async def waiting(make: Callable[[Setup], Any], job: Job) -> dict[str, Any]:
    """What the resident set grew by until all runs wait for their model."""
    warm_setup = Setup(job.upstream, "wait-0")
    warm = make(warm_setup)
    for _ in range(2):
        await asyncio.gather(*(warm.agent() for _ in range(20)))
    contender = make(Setup(job.upstream, job.model))
    gc.collect()
    before = resident_bytes()
    start = time.monotonic()
    runs = [asyncio.ensure_future(contender.agent()) for _ in range(job.concurrency)]
    rests, cpu = 0, cpu_seconds()
    while rests < REST_LOOKS:
        await asyncio.sleep(0.2)
        now = cpu_seconds()
        rests, cpu = (rests + 1 if now - cpu < REST_SECONDS else 0), now
        for run in runs:
            if run.done():
                raise AssertionError(f"a run ended that was to wait: {run.exception() or run.result()!r:.80}")
    grown = resident_bytes() - before
    return {"runs": job.concurrency, "bytes": grown, "wall_seconds": time.monotonic() - start, "warm": 40}


def building(contender: Any, job: Job) -> dict[str, Any]:
    """CPU of one agent with two tools, over a model that is there."""
    for _ in range(20):
        contender.build()
    gc.collect()
    built, cpu = 0, cpu_seconds()
    end = time.monotonic() + job.seconds
    while time.monotonic() < end:
        for _ in range(10):
            contender.build()
        built += 10
    return {"runs": built, "warm": 0, "cpu_seconds": cpu_seconds() - cpu}


def main(job: Job) -> dict[str, Any]:
    make: Callable[[Setup], Any] = importlib.import_module(f"contenders.{job.contender}").Contender
    if job.kind == "waiting":
        return asyncio.run(end_at_once(waiting(make, job)))
    setup = Setup(job.upstream, job.model, job.blocking_tools)
    check = Check(job, setup)
    if job.kind == "building":
        return building(make(setup), job)
    if job.sync_door:
        return throughput_sync(make(setup), job, check)

    async def run() -> dict[str, Any]:
        return await throughput(make(setup), job, check)

    return asyncio.run(end_at_once(run()))


async def end_at_once(work: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    """Reports and leaves without ceremony: how libraries close their connections is not measured."""
    report(await work)
    os._exit(0)


def report(found: dict[str, Any]) -> None:
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    # A thousand runs need as many files.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    report(main(Job.from_json(sys.argv[1])))
