"""D: streams, read by hand, by a coroutine, to their end and not."""

from __future__ import annotations

import asyncio
from typing import Any

import ambidex as ax

from ..checks import Failed, Figure, at_least, clock, equal, holds, within
from ..scenario import scenario
from ..witness import Upstream
from .cancelling import hangup_after
from .common import an_agent

#: A second of text.
SHORT: dict[str, Any] = {"deltas": 20, "gap": 0.05}
#: Five seconds of it.
LONG: dict[str, Any] = {"deltas": 100, "gap": 0.05}
FLOWS = "5 deltas or more, the first in the first half"
CLOSES = "closes within 1 s, the upstream sees the hang-up within 1 s"


class Deltas:
    """The deltas of a stream, with the times they came."""

    def __init__(self) -> None:
        self.start = clock()
        self.times: list[float] = []
        self.text = ""
        self.last = ""

    def take(self, event: ax.Event) -> None:
        self.last = event.type
        if event.type == "model.delta":
            self.times.append(clock())
            self.text += event.data["text"]

    def flowed(self) -> Figure:
        """Checks that the text came in pieces, while it was written."""
        total = clock() - self.start
        at_least(len(self.times), 5, "deltas")
        first = self.times[0] - self.start
        holds(first < total / 2, f"the first delta came after {first:.2f} of {total:.2f} s")
        equal(self.text, "".join(f"{i} " for i in range(20)), "text")
        return Figure(first, "s", f"to the first of {len(self.times)} deltas, {total:.2f} s in all")


@scenario("D01", "plain `for` over a stream", FLOWS)
def plain_for(up: Upstream) -> Figure:
    agent = an_agent(up, **SHORT)
    deltas = Deltas()
    for event in agent.stream("hello"):
        deltas.take(event)
    equal(deltas.last, "run.finished", "last event")
    return deltas.flowed()


@scenario("D02", "plain `for` over a stream inside a coroutine", FLOWS)
def plain_for_in_coroutine(up: Upstream) -> Figure:
    agent = an_agent(up, **SHORT)

    async def main() -> Deltas:
        deltas = Deltas()
        for event in agent.stream("hello"):
            deltas.take(event)
        return deltas

    return asyncio.run(main()).flowed()


@scenario("D03", "`async for` over a stream", FLOWS)
def async_for(up: Upstream) -> Figure:
    agent = an_agent(up, **SHORT)

    async def main() -> Deltas:
        deltas = Deltas()
        async for event in agent.astream("hello"):
            deltas.take(event)
        equal(deltas.last, "run.finished", "last event")
        return deltas

    return asyncio.run(main()).flowed()


@scenario("D04", "break after 3 of 100 deltas, sync", CLOSES)
def break_sync(up: Upstream) -> Figure:
    agent = an_agent(up, **LONG)
    taken, left = 0, clock()
    with agent.stream("hello") as events:
        for event in events:
            taken += event.type == "model.delta"
            if taken == 3:
                left = clock()
                break
    within(clock() - left, 1, "closing")
    return Figure(hangup_after(up, left), "s", "to the hang-up")


@scenario("D05", "break after 3 of 100 deltas, async", CLOSES)
def break_async(up: Upstream) -> Figure:
    agent = an_agent(up, **LONG)

    async def main() -> float:
        taken, left = 0, clock()
        async with agent.astream("hello") as events:
            async for event in events:
                taken += event.type == "model.delta"
                if taken == 3:
                    left = clock()
                    break
        within(clock() - left, 1, "closing")
        # The loop lives on, so that its end is not what hangs up.
        await asyncio.to_thread(up.until, hangups=1, within=2)
        return left

    return Figure(hangup_after(up, asyncio.run(main())), "s", "to the hang-up")


@scenario("D06", "the task that reads a stream is cancelled", CLOSES)
def cancelled_reader(up: Upstream) -> Figure:
    agent = an_agent(up, **LONG)

    async def read(three: asyncio.Event) -> None:
        taken = 0
        async for event in agent.astream("hello"):
            taken += event.type == "model.delta"
            if taken == 3:
                three.set()

    async def main() -> float:
        three = asyncio.Event()
        task = asyncio.create_task(read(three))
        await asyncio.wait_for(three.wait(), 10)
        left = clock()
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            within(clock() - left, 1, "closing")
            await asyncio.to_thread(up.until, hangups=1, within=2)
            return left
        raise Failed("no CancelledError")

    return Figure(hangup_after(up, asyncio.run(main())), "s", "to the hang-up")
