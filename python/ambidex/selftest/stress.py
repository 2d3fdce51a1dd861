"""The scripts of `python -m ambidex.selftest.soak`, each for a process of its own."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import statistics
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ambidex as ax

from .checks import Failed, at_most, clock, equal
from .measure import descriptors, raise_descriptor_limit, resident, threads
from .scenario import part
from .scenarios.common import a_model, an_agent, in_threads
from .scenarios.processes import ROUND, async_double, sync_double
from .witness import Upstream, call

#: Where the command puts the numbers of a script, as JSON.
OPTIONS = "AMBIDEX_SELFTEST_SOAK"


def option(name: str) -> Any:
    return json.loads(os.environ[OPTIONS])[name]


class Sample:
    """What the process holds while nothing is under way."""

    def __init__(self) -> None:
        # The pool keeps as many as were busy at once, until they have rested for too long. First, for it imports.
        self.connections = ax.aio.health().connections.idle
        for _ in range(3):
            gc.collect()
        self.objects = len(gc.get_objects())
        self.blocks = sys.getallocatedblocks()
        self.threads = threads()
        self.descriptors = descriptors() - self.connections
        self.resident = resident()

    def facts(self) -> dict[str, float]:
        return {
            "objects": self.objects,
            "blocks": self.blocks,
            "threads": self.threads,
            "fds": self.descriptors,
            "connections": self.connections,
            "rss": round(self.resident, 1),
        }

    def since(self, before: Sample) -> dict[str, float]:
        now, then = self.facts(), before.facts()
        return {name: round(now[name] - then[name], 1) for name in now}


def no_leak(grown: dict[str, float], objects: float, megabytes: float) -> None:
    """Checks what a process holds more than before: threads +2, file descriptors +5, and what is given."""
    at_most(grown["threads"], 2, "threads more")
    at_most(grown["fds"], 5, "file descriptors more")
    at_most(grown["objects"], objects, "Python objects more")
    at_most(grown["blocks"], objects * 4, "blocks of memory more")
    at_most(grown["rss"], megabytes, "MB more")


@contextmanager
def cpu(count: int, per: dict[str, float], name: str) -> Iterator[None]:
    """Puts microseconds of CPU, of all threads, for each of `count` into `per`."""
    start = time.process_time()
    yield
    per[name] = round((time.process_time() - start) / count * 1e6, 1)


@part("S.awaits")
def awaits(up: Upstream) -> dict[str, Any]:
    """Awaits of a call that only waits one turn of the runtime: a tenth alone, the rest 100 at once."""
    from ambidex import _core

    count = int(option("awaits"))
    alone, together = count // 10, count - count // 10
    per: dict[str, float] = {}

    async def one_by_one(count: int) -> None:
        for _ in range(count):
            await _core.ayielded()

    async def at_once(count: int) -> None:
        for _ in range(count // 100):
            await asyncio.gather(*[_core.ayielded() for _ in range(100)])

    async def main() -> dict[str, float]:
        await one_by_one(1000)
        await at_once(10_000)
        before = Sample()
        with cpu(alone, per, "alone"):
            await one_by_one(alone)
        with cpu(together, per, "100 at once"):
            await at_once(together)
        return Sample().since(before)

    start = clock()
    grown = asyncio.run(main())
    no_leak(grown, objects=200, megabytes=20)
    return {"count": count, "seconds": round(clock() - start, 1), "cpu_us": per, "grown": grown}


@part("S.runs")
def runs(up: Upstream) -> dict[str, Any]:
    """Runs in flight all at once, as the upstream counts them; and once more, which must need nothing more."""
    count = min(int(option("runs")), raise_descriptor_limit() - 100)
    agent = an_agent(up, delay=float(option("hold")))
    facts: dict[str, Any] = {"count": count}

    async def wave() -> None:
        begun = up.counts()["requests"]
        tasks: list[asyncio.Task[ax.Result]] = []
        while len(tasks) < count:  # bit by bit: what is tested is not the backlog of a listening socket
            more = range(len(tasks), min(len(tasks) + 500, count))
            tasks += [asyncio.create_task(agent.arun(f"run {i}")) for i in more]
            await asyncio.to_thread(up.until, requests=begun + len(tasks), within=30)
        facts["rss_in_flight"], facts["threads"] = resident(), threads()
        for i, task in enumerate(tasks):
            equal((await task).text, f"you said run {i}", "text")

    async def main() -> None:
        await an_agent(up, model="warm").arun("hello")
        before = Sample()
        start, started = clock(), time.process_time()
        await wave()
        facts["seconds"] = round(clock() - start, 1)
        facts["cpu_us"] = round((time.process_time() - started) / count * 1e6)
        facts["kb_each"] = round((facts["rss_in_flight"] - before.resident) * 1000 / count, 1)
        facts["threads"] -= before.threads
        first = Sample()
        threads_more = facts["threads"]
        await wave()
        facts["threads"] = threads_more
        facts["grown"] = Sample().since(first)

    asyncio.run(main())
    equal(up.counts()["peak"], count, "requests at the upstream at once")
    at_most(facts["threads"], 20, f"threads more for {count} runs")
    # How many idle connections the pool keeps depends on the order in which they end. What the allocator keeps for
    # later is not the same each time either: a third of what the first wave took would be a leak.
    megabytes = max(30, facts["kb_each"] * count / 3000)
    no_leak({**facts["grown"], "fds": 0}, objects=500, megabytes=megabytes)
    return facts


@part("S.exit")
def leave(up: Upstream) -> dict[str, Any]:
    """Ends with everything in flight: tools that wake all the time, HTTP, streams, tasks."""

    @ax.tool
    def busy(i: int) -> int:
        """Wakes often, so that some thread is on its way into the interpreter when that ends."""
        due = clock() + 20
        while clock() < due:
            time.sleep(random.random() * 0.01)
        return i

    @ax.tool
    async def idle(i: int) -> int:
        """Wakes often, on a loop."""
        due = clock() + 20
        while clock() < due:
            await asyncio.sleep(random.random() * 0.01)
        return i

    tools = an_agent(
        up, busy, idle, model="tools", rounds=[[call("busy", i=1), call("idle", i=2), call("busy", i=3)]]
    )
    waiting = an_agent(up, model="waiting", delay=20.0)
    flowing = an_agent(up, model="flowing", deltas=4000, gap=0.005)
    quick = an_agent(up, sync_double, async_double, model="quick", rounds=ROUND)

    def read() -> None:
        for _ in flowing.stream("hello"):
            pass

    def again() -> None:
        while True:
            quick.run("hello")

    for work in (lambda: tools.run("hello"), lambda: waiting.run("hello"), read, again, again):
        threading.Thread(target=work, daemon=True).start()

    async def main() -> None:
        running = [asyncio.ensure_future(agent.arun("hello")) for agent in (tools, waiting, quick)]
        await asyncio.sleep(float(option("after")))
        del running

    asyncio.run(main())
    return {}


@part("S.doors")
def doors(up: Upstream) -> dict[str, Any]:
    """CPU of a run through either door, alone and 64 at once, in turns so that a busy machine hurts both."""

    def in_a_row(agent: ax.Agent, count: int) -> None:
        for _ in range(count):
            agent.run("hello")

    async def one_by_one(agent: ax.Agent, count: int) -> None:
        for _ in range(count):
            await agent.arun("hello")

    async def side_by_side(agent: ax.Agent, count: int) -> None:
        await asyncio.gather(*[one_by_one(agent, count) for _ in range(64)])

    # How it is called, how many runs that are, and the call.
    ways: dict[str, tuple[int, Callable[[ax.Agent], object]]] = {
        "1, sync": (300, lambda agent: in_a_row(agent, 300)),
        "1, async": (300, lambda agent: asyncio.run(one_by_one(agent, 300))),
        "64, sync": (64 * 30, lambda agent: in_threads(64, lambda _: in_a_row(agent, 30))),
        "64, async": (64 * 30, lambda agent: asyncio.run(side_by_side(agent, 30))),
    }
    agents = {
        "chat": an_agent(up),
        "tools": an_agent(up, sync_double, async_double, model="tools", rounds=ROUND),
    }
    median: dict[str, float] = {}
    for kind, agent in agents.items():
        seen: dict[str, list[float]] = {way: [] for way in ways}
        for turn in range(int(option("rounds")) + 1):
            for way, (count, work) in ways.items():
                per: dict[str, float] = {}
                with cpu(count, per, way):
                    work(agent)
                if turn:  # the first one warms up
                    seen[way].append(per[way])
        median.update({f"{kind}, {way}": statistics.median(values) for way, values in seen.items()})
    return {"cpu_us": median}


class Mixture:
    """One of everything a program may do with agents; each kind is checked."""

    def __init__(self, up: Upstream) -> None:
        @ax.tool
        def boom(i: int) -> int:
            """Fails."""
            raise ValueError(f"boom {i}")

        @ax.tool
        async def linger(i: int) -> int:
            """Sleeps until it is cancelled."""
            await asyncio.sleep(20)
            return i

        self.up = up
        self.plain = an_agent(up, model="plain")
        self.tooled = an_agent(up, sync_double, async_double, model="tooled", rounds=ROUND * 2)
        self.booming = an_agent(up, boom, model="booming", rounds=[[call("boom", i=1)]])
        self.slow = an_agent(up, model="slow", delay=20.0)
        self.lingering = an_agent(
            up, linger, model="lingering", rounds=[[call("linger", i=1), call("linger", i=2)]]
        )
        self.flowing = an_agent(up, model="flowing", deltas=200, gap=0.001)

        @ax.tool
        def ask(i: int) -> str:
            """Runs another agent."""
            return self.plain.run(str(i)).text

        self.nested = an_agent(up, ask, model="nested", rounds=[[call("ask", i=1), call("ask", i=2)]])
        self.kinds = [getattr(self, name) for name in dir(type(self)) if name.startswith("do_")]

    def do_sync(self) -> None:
        equal(self.plain.run("hello").text, "you said hello", "text of a sync run")

    def do_async(self) -> None:
        equal(asyncio.run(self.plain.arun("hello")).text, "you said hello", "text of an async run")

    def do_sync_tools(self) -> None:
        equal(
            self.tooled.run("hello").text, 'tools said ["2", "4", "2", "4"]', "text of a sync run with tools"
        )

    def do_async_tools(self) -> None:
        async def main() -> None:
            for result in await asyncio.gather(*[self.tooled.arun("hello") for _ in range(8)]):
                equal(result.text, 'tools said ["2", "4", "2", "4"]', "text of an async run with tools")

        asyncio.run(main())

    def do_nested(self) -> None:
        wanted = 'tools said ["you said 1", "you said 2"]'
        equal(self.nested.run("hello").text, wanted, "text of a nested run")
        equal(asyncio.run(self.nested.arun("hello")).text, wanted, "text of a nested async run")

    def do_failing_tool(self) -> None:
        if "boom 1" not in self.booming.run("hello").text:
            raise Failed("a failing tool was not told")

    def do_stream(self) -> None:
        deltas = sum(event.type == "model.delta" for event in self.flowing.stream("hello"))
        if not deltas:
            raise Failed("a stream without deltas")

    def do_break(self) -> None:
        with self.flowing.stream("hello") as events:
            for event in events:
                if event.type == "model.delta":
                    break

    def do_async_break(self) -> None:
        async def main() -> None:
            async with self.flowing.astream("hello") as events:
                async for event in events:
                    if event.type == "model.delta":
                        break

        asyncio.run(main())

    def do_timeout(self) -> None:
        asyncio.run(timed_out(self.slow.arun("hello")))

    def do_cancelled_tools(self) -> None:
        asyncio.run(timed_out(self.lingering.arun("hello")))

    def do_abandoned(self) -> None:
        async def main() -> None:
            running = [asyncio.ensure_future(self.slow.arun("hello")) for _ in range(4)]
            await asyncio.sleep(0.01)
            del running

        asyncio.run(main())

    def do_new_agent(self) -> None:
        agent = ax.Agent("new", model=a_model(self.up, "plain"), tools=[sync_double])
        equal(agent.run("hello").text, "you said hello", "text of a new agent")


async def timed_out(run: Awaitable[object]) -> None:
    try:
        await asyncio.wait_for(run, 0.02 + random.random() * 0.1)
    except asyncio.TimeoutError:
        return
    raise Failed("no TimeoutError")


@part("S.soak")
def soak(up: Upstream) -> dict[str, Any]:
    """All kinds from four threads. What is held after a fifth of the time is compared with the end."""
    mixture = Mixture(up)
    seconds = float(option("seconds"))
    calls = turns = 0
    start = clock()

    def work(i: int) -> int:
        kinds = mixture.kinds * 2
        random.Random(turns * 4 + i).shuffle(kinds)
        for kind in kinds:
            kind()
        return len(kinds)

    def work_until(due: float) -> Sample:
        nonlocal calls, turns
        while clock() < due or turns == 0:
            calls += sum(in_threads(4, work))
            turns += 1
        rest()
        return Sample()

    # What the first part brings in stays: caches, connections, the allocator's arenas.
    warm = work_until(start + seconds / 5)
    warm_turns = turns
    end = work_until(clock() + seconds * 4 / 5)
    grown = end.since(warm)
    # A leak grows with the turns.
    no_leak(grown, objects=max(300, turns - warm_turns), megabytes=30)
    return {
        "calls": calls,
        "turns": turns,
        "seconds": round(clock() - start),
        "end": end.facts(),
        "grown": grown,
    }


#: Seconds in which the threads of tools end that have nothing to do, and a little more.
IDLE = 11.0


def rest() -> None:
    """Waits until no run is under way and no thread has ended for `IDLE` seconds."""
    due = clock() + 60
    count, since = threads(), clock()
    while clock() < due and (ax.aio.health().runs or clock() - since < IDLE):
        time.sleep(0.1)
        if (now := threads()) != count:
            count, since = now, clock()
