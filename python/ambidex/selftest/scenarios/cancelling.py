"""C: timeouts, cancelled tasks, Ctrl-C. The upstream, the tool or the process's end is the proof."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import ambidex as ax

from ..checks import Failed, Figure, at_least, clock, equal, holds, within
from ..child import Child
from ..scenario import part, scenario
from ..witness import Upstream, call
from .common import an_agent, interrupted


def hangup_after(up: Upstream, since: float, limit: float = 1.0) -> float:
    """Checks that the upstream saw a hang-up at most `limit` seconds after `since`."""
    hangups = up.until(hangups=1, within=limit + 1)["hangups"]
    holds(hangups, "the upstream saw no hang-up")
    return within(hangups[0]["at"] - since, limit, "hang-up at the upstream")


@scenario(
    "C01",
    "`wait_for(arun, 0.5)` on an 8 s upstream",
    "returns by 1 s, the upstream sees the hang-up within 1 s",
)
def timeout_on_upstream(up: Upstream) -> Figure:
    agent = an_agent(up, delay=8.0)

    async def main() -> float:
        start = clock()
        try:
            await asyncio.wait_for(agent.arun("hello"), 0.5)
        except asyncio.TimeoutError:
            within(clock() - start, 1, "wait_for")
            return start + 0.5
        raise Failed("no TimeoutError")

    due = asyncio.run(main())
    return Figure(hangup_after(up, due), "s", "to the hang-up")


@scenario(
    "C02", "cancel while 8 async tools sleep", "all see CancelledError within 1 s, before the caller goes on"
)
def cancel_async_tools(up: Upstream) -> Figure:
    started: list[int] = []
    ended: list[float] = []

    @ax.tool
    async def sleep(i: int) -> int:
        """Sleeps, and tidies up when it is cancelled."""
        started.append(i)
        try:
            await asyncio.sleep(8)
        except asyncio.CancelledError:
            await asyncio.sleep(0.1)
            ended.append(clock())
            raise
        return i

    agent = an_agent(up, sleep, rounds=[[call("sleep", i=i) for i in range(8)]])

    async def main() -> tuple[float, float]:
        task = asyncio.create_task(agent.arun("hello"))
        while len(started) < 8:
            await asyncio.sleep(0.01)
        start = clock()
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            return start, clock()
        raise Failed("no CancelledError")

    cancelled, returned = asyncio.run(asyncio.wait_for(main(), 20))
    equal(len(ended), 8, "tools that saw CancelledError")
    holds(max(ended) <= returned, "the caller went on before its tools had ended")
    return Figure(within(max(ended) - cancelled, 1, "the last tool's end"), "s", "with 0.1 s of clean-up")


@scenario(
    "C03",
    "`wait_for(arun, 0.5)` while a sync tool blocks 5 s",
    "returns by 1.5 s; the thread is abandoned and counted, its `ctx.cancelled` set",
)
def timeout_on_blocking_tool(up: Upstream) -> Figure:
    saw: list[float] = []

    @ax.tool
    def block() -> str:
        """Blocks where nothing reaches it."""
        time.sleep(5)
        return "awake"

    @ax.tool
    def watch(ctx: ax.ToolContext) -> str:
        """Looks whether it is still wanted."""
        due = clock() + 5
        while not ctx.cancelled and clock() < due:
            time.sleep(0.02)
        if ctx.cancelled:
            saw.append(clock())
        return "done"

    agent = an_agent(up, block, watch, rounds=[[call("block"), call("watch")]])

    async def main() -> float:
        start = clock()
        try:
            await asyncio.wait_for(agent.arun("hello"), 0.5)
        except asyncio.TimeoutError:
            return start
        raise Failed("no TimeoutError")

    start = asyncio.run(main())
    seconds = within(clock() - start, 1.5, "wait_for")
    time.sleep(0.1)
    holds(saw, "ctx.cancelled was not set")
    within(saw[0] - start - 0.5, 1, "ctx.cancelled")
    at_least(abandoned(), 1, "threads that health() counts as abandoned")
    return Figure(seconds, "s")


def abandoned() -> int:
    health: Any = ax.aio.health()
    return int(health.threads.abandoned)


@scenario(
    "C04",
    "Ctrl-C during the HTTP call of a sync run",
    "KeyboardInterrupt within 1 s, hang-up, process gone within 1 s more",
    needs=("posix",),
)
def interrupt_http(up: Upstream) -> Figure:
    figure = interrupt(up, "C04.script", requests=1)
    hangup_after(up, figure.facts["sent"])
    return figure


@part("C04.script")
def run_slow_http(up: Upstream) -> dict[str, Any]:
    agent = an_agent(up, delay=30.0)
    with interrupted() as facts:
        agent.run("hello")
    return facts


@scenario(
    "C05",
    "Ctrl-C during a blocking tool of a sync run",
    "KeyboardInterrupt within 1 s, process gone within 1 s more",
    needs=("posix",),
)
def interrupt_blocking_tool(up: Upstream) -> Figure:
    return interrupt(up, "C05.script", replies=1)


@part("C05.script")
def run_blocking_tool(up: Upstream) -> dict[str, Any]:
    @ax.tool
    def block() -> str:
        """Blocks where nothing reaches it."""
        time.sleep(30)
        return "awake"

    agent = an_agent(up, block, rounds=[[call("block")]])
    with interrupted() as facts:
        agent.run("hello")
    return facts


@scenario(
    "C06",
    "Ctrl-C during an async tool of a sync run",
    "KeyboardInterrupt within 1 s, the tool sees CancelledError, process gone within 1 s more",
    needs=("posix",),
)
def interrupt_async_tool(up: Upstream) -> Figure:
    figure = interrupt(up, "C06.script", replies=1)
    facts = figure.facts
    holds("cancelled" in facts, "the tool saw no CancelledError")
    holds(facts["cancelled"] <= facts["interrupted"], "KeyboardInterrupt came before the tool had ended")
    return figure


@part("C06.script")
def run_async_tool(up: Upstream) -> dict[str, Any]:
    cancelled: list[float] = []

    @ax.tool
    async def sleep() -> str:
        """Sleeps, and tidies up when it is cancelled."""
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            await asyncio.sleep(0.05)
            cancelled.append(clock())
            raise
        return "awake"

    agent = an_agent(up, sleep, rounds=[[call("sleep")]])
    with interrupted() as facts:
        agent.run("hello")
    return {**facts, "cancelled": cancelled[0]} if cancelled else facts


def interrupt(up: Upstream, script: str, **until: int) -> Figure:
    """Starts a script, sends it Ctrl-C once the upstream has seen it get there, and times its end."""
    child = Child(script, up.address)
    counts = up.until(within=15, **until)["counts"]
    if any(counts[name] < count for name, count in until.items()):
        child.wait(0.1).cleanly("before Ctrl-C")
    time.sleep(0.3)  # from the reply to inside the tool
    sent = child.interrupt()
    ended = child.wait(15).cleanly("after Ctrl-C", exit_within=1.0)
    holds("interrupted" in ended.facts, "no KeyboardInterrupt")
    seconds = within(ended.facts["interrupted"] - sent, 1, "KeyboardInterrupt")
    return Figure(seconds, "s", f"gone {ended.exit_seconds:.2f} s later", facts={**ended.facts, "sent": sent})
