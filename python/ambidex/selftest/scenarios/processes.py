"""E: forks, exits, and what a process holds after many runs."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import time
import traceback
from collections.abc import Callable
from typing import Any

import ambidex as ax

from ..checks import Failed, Figure, at_most, clock, equal
from ..child import Child
from ..measure import descriptors, resident, threads
from ..scenario import part, scenario
from ..witness import Upstream, call
from .common import a_model, an_agent

LEAN = "threads +2, fds +5, RSS +50 MB at most"


@ax.tool
def sync_double(i: int) -> int:
    """On a thread."""
    return 2 * i


@ax.tool
async def async_double(i: int) -> int:
    """On a loop."""
    await asyncio.sleep(0)
    return 2 * i


ROUND = [[call("sync_double", i=1), call("async_double", i=2)]]
DOUBLED = 'tools said ["2", "4"]'


def forked(work: Callable[[], bool], limit: float = 10.0) -> float:
    """Runs `work` in a forked child. Returns the seconds to its end; it must end well and in time."""
    start = clock()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if work() else 2
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            break
        if clock() - start > limit:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
            raise Failed(f"the child hangs: {limit:g} s")
        time.sleep(0.005)
    equal(os.waitstatus_to_exitcode(status), 0, "exit code of the child (2: a wrong answer)")
    return clock() - start


@scenario("E01", "run, then fork: the child runs the same agent", "at most 10 s, exit 0", needs=("posix",))
def fork_after_run(up: Upstream) -> Figure:
    agent = an_agent(up, sync_double, async_double, rounds=ROUND)

    def both_doors() -> bool:
        return agent.run("hello").text == DOUBLED == asyncio.run(agent.arun("hello")).text

    equal(both_doors(), True, "in the parent")
    seconds = forked(both_doors)
    equal(both_doors(), True, "in the parent after the fork")
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as pool:
        equal(pool.map(_ask, [up.address] * 4), ["you said hello"] * 4, "in a multiprocessing pool")
    return Figure(seconds, "s")


def _ask(address: str) -> str:
    return an_agent(Upstream(address), model="pool").run("hello").text


class Holdings:
    """What the process held when this was made, to compare with."""

    def __init__(self) -> None:
        self.threads, self.descriptors, self.resident = threads(), descriptors(), resident()

    def grew_little(self) -> Figure:
        more_threads, more_descriptors = threads() - self.threads, descriptors() - self.descriptors
        megabytes = resident() - self.resident
        at_most(more_threads, 2, "threads more")
        at_most(more_descriptors, 5, "file descriptors more")
        at_most(megabytes, 50, "MB of memory more")
        return Figure(megabytes, "MB", f"threads {more_threads:+d}, fds {more_descriptors:+d}")


@scenario("E02", "1,000 sync runs", LEAN, limit=60)
def thousand_runs(up: Upstream) -> Figure:
    agent = an_agent(up, sync_double, async_double, rounds=ROUND)
    equal(agent.run("hello").text, DOUBLED, "text")
    before = Holdings()
    plain = an_agent(up, model="plain")
    for i in range(1000):
        text = (agent if i % 10 == 0 else plain).run("hello").text
        equal(text, "you said hello" if i % 10 else DOUBLED, "text")
    return before.grew_little()


@scenario("E03", "200 arun at once", "all in flight at the upstream")
def two_hundred_at_once(up: Upstream) -> Figure:
    agent = an_agent(up, delay=2.0)

    async def main() -> int:
        before = threads()
        tasks = [asyncio.create_task(agent.arun("hello")) for _ in range(200)]
        await asyncio.sleep(1.0)
        more = threads() - before
        for task in tasks:
            equal((await task).text, "you said hello", "text")
        return more

    more = asyncio.run(main())
    peak = up.counts()["peak"]
    equal(peak, 200, "requests at the upstream at once")
    at_most(more, 20, "threads more for 200 runs")
    return Figure(float(peak), "in flight", f"threads {more:+d}")


@scenario("E04", "the process ends after one run", "within 1 s, exit 0, stderr empty")
def ends_after_run(up: Upstream) -> Figure:
    ended = Child("E04.script", up.address).wait(20).cleanly("one run", exit_within=1.0)
    return Figure(ended.exit_seconds, "s")


@part("E04.script")
def one_run(up: Upstream) -> dict[str, Any]:
    agent = an_agent(up, sync_double, async_double, rounds=ROUND)
    equal(agent.run("hello").text, DOUBLED, "text")
    return {}


@scenario("E05", "200 new agents, a run of each", LEAN)
def two_hundred_agents(up: Upstream) -> Figure:
    equal(an_agent(up).run("hello").text, "you said hello", "text")
    before = Holdings()
    kept = []
    for i in range(200):
        agent = ax.Agent(f"agent{i}", model=a_model(up), tools=[sync_double, async_double])
        equal(agent.run(f"hello {i}").text, f"you said hello {i}", "text")
        kept.append(agent)  # alive, so that each would hold what is its own
    return before.grew_little()
