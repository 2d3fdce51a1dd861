"""B: what a tool may be and do, through both doors."""

from __future__ import annotations

import asyncio
import contextvars
import json
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

import ambidex as ax

from ..checks import Failed, Figure, at_most, clock, equal, holds, text_has, took, within
from ..scenario import scenario
from ..witness import Upstream, call
from .common import an_agent, in_threads, loop_gap

NAP = 0.2
EIGHT = 0.6


@ax.tool
def sync_nap(i: int) -> int:
    """Blocks its thread."""
    time.sleep(NAP)
    return i


@ax.tool
async def async_nap(i: int) -> int:
    """Sleeps on its loop."""
    await asyncio.sleep(NAP)
    return i


def calls(*names: str) -> list[list[dict[str, Any]]]:
    """One round that calls these tools, numbered."""
    return [[call(name, i=i) for i, name in enumerate(names)]]


def told(*outputs: object) -> str:
    """The text of a model that was told these tool results."""
    return "tools said " + json.dumps([str(output) for output in outputs])


def eight(up: Upstream, run: Callable[[ax.Agent], ax.Result], *names: str) -> Figure:
    """Runs eight naps at once and takes the time."""
    agent = an_agent(up, sync_nap, async_nap, rounds=calls(*names))
    start = clock()
    result = run(agent)
    seconds = within(clock() - start, EIGHT, "8 tools at once")
    equal(result.text, told(*range(8)), "text")
    return Figure(seconds, "s")


def sync_door(agent: ax.Agent) -> ax.Result:
    return agent.run("hello")


def async_door(agent: ax.Agent) -> ax.Result:
    return asyncio.run(agent.arun("hello"))


@scenario("B01", "8 sync tools of 0.2 s, async door", "at most 0.6 s")
def sync_tools_async_door(up: Upstream) -> Figure:
    return eight(up, async_door, *["sync_nap"] * 8)


@scenario("B02", "8 sync tools of 0.2 s, sync door", "at most 0.6 s")
def sync_tools_sync_door(up: Upstream) -> Figure:
    return eight(up, sync_door, *["sync_nap"] * 8)


@scenario("B03", "the caller's loop while 8 sync tools block", "at most 0.6 s, loop gap at most 150 ms")
def loop_under_sync_tools(up: Upstream) -> Figure:
    agent = an_agent(up, sync_nap, rounds=calls(*["sync_nap"] * 8))

    async def main() -> Figure:
        async with loop_gap() as gap:
            start = clock()
            result = await agent.arun("hello")
            seconds = clock() - start
        within(seconds, EIGHT, "8 tools at once")
        equal(result.text, told(*range(8)), "text")
        within(gap.worst, 0.15, "gap of the loop")
        return Figure(gap.worst * 1000, "ms", "gap")

    return asyncio.run(main())


@scenario("B04", "8 async tools of 0.2 s, async door", "at most 0.6 s, on the caller's loop")
def async_tools_async_door(up: Upstream) -> Figure:
    return eight(up, async_door, *["async_nap"] * 8)


@scenario("B05", "4 sync and 4 async tools of 0.2 s, async door", "at most 0.6 s")
def mixed_tools(up: Upstream) -> Figure:
    return eight(up, async_door, *["sync_nap", "async_nap"] * 4)


@scenario("B06", "an async tool through the sync door", "its result; never a coroutine to the model")
def async_tool_sync_door(up: Upstream) -> Figure:
    agent = an_agent(up, async_nap, rounds=calls("async_nap"))
    start = clock()
    equal(agent.run("hello").text, told(0), "what the model was told")
    return took(start)


@scenario("B07", "8 async tools of 0.2 s through the sync door", "at most 0.6 s, on one background loop")
def async_tools_sync_door(up: Upstream) -> Figure:
    loops: set[int] = set()

    @ax.tool
    async def where(i: int) -> int:
        """Notes its loop."""
        loops.add(id(asyncio.get_running_loop()))
        return i

    figure = eight(up, sync_door, *["async_nap"] * 8)
    an_agent(up, where, model="where", rounds=calls(*["where"] * 8)).run("hello")
    equal(len(loops), 1, "loops that 8 async tools ran on")
    return figure


# Two threads for eight calls that wait for runs which need threads themselves: without lending, a deadlock.
TWO_WORKERS = {"AMBIDEX__RUNTIME__SYNC_WORKERS": "2"}
NESTED = "works, no pool deadlock; a depth limit with a clear error"


def nested(up: Upstream, run: Callable[[ax.Agent], ax.Result]) -> Figure:
    @ax.tool
    def add(i: int) -> int:
        """The innermost tool."""
        return i + 1

    inner = an_agent(up, add, model="inner", rounds=[[call("add", i=0), call("add", i=1)]])

    @ax.tool
    def ask(i: int) -> str:
        """A sync tool that runs another agent."""
        return inner.run(f"{i}").text

    outer = an_agent(up, ask, model="outer", rounds=calls(*["ask"] * 8))
    start = clock()
    equal(run(outer).text, told(*[told(1, 2)] * 8), "text")
    seconds = within(clock() - start, 5, "8 runs inside a run")
    note = bottomless(up, run)
    return Figure(seconds, "s", note)


def bottomless(up: Upstream, run: Callable[[ax.Agent], ax.Result]) -> str:
    """A tool that runs its own agent, which calls the tool, and so on: where it ends, and with what words."""
    errors: list[ax.AmbidexError] = []
    lock = threading.Lock()
    depth = 0

    @ax.tool
    def again() -> str:
        """Runs its own agent."""
        nonlocal depth
        with lock:
            depth += 1
        try:
            return agent.run("deeper").text
        except ax.AmbidexError as error:
            errors.append(error)
            raise

    agent = an_agent(up, again, model="again", rounds=[[call("again")]])
    try:
        run(agent)
    except ax.AmbidexError:
        pass  # the outermost may fail or be told
    holds(errors, f"{depth} runs inside each other and no error")
    words = str(errors[0])
    if not any(word in words.lower() for word in ("depth", "nest", "deep")):
        raise Failed(f"the error of the depth limit does not name it: {words}")
    return f"depth limit {depth}"


@scenario("B08", "a sync tool calls another agent's run; the outer one sync", NESTED, environment=TWO_WORKERS)
def nested_sync(up: Upstream) -> Figure:
    return nested(up, sync_door)


@scenario(
    "B09", "a sync tool calls another agent's run; the outer one async", NESTED, environment=TWO_WORKERS
)
def nested_async(up: Upstream) -> Figure:
    return nested(up, async_door)


def own_loops(up: Upstream, run: Callable[[ax.Agent], ax.Result]) -> Figure:
    @ax.tool
    def own_loop(i: int) -> int:
        """A sync tool that starts a loop."""

        async def work() -> int:
            await asyncio.sleep(0.02)
            return i

        return asyncio.run(work())

    agent = an_agent(up, own_loop, rounds=calls(*["own_loop"] * 4) * 2)
    start = clock()
    # The second round meets threads that have had a loop before.
    equal(run(agent).text, told(*list(range(4)) * 2), "text")
    return took(start)


@scenario("B10", "a sync tool calls `asyncio.run` itself; sync door", "works")
def own_loops_sync(up: Upstream) -> Figure:
    return own_loops(up, sync_door)


@scenario("B11", "a sync tool calls `asyncio.run` itself; async door", "works")
def own_loops_async(up: Upstream) -> Figure:
    return own_loops(up, async_door)


who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


@ax.tool
def sync_who(i: int) -> str:
    """Reads a context variable on a thread, and writes it, which must not be seen outside."""
    seen = who.get()
    who.set(f"tool {i}")
    time.sleep(0.02)
    return seen


@ax.tool
async def async_who(i: int) -> str:
    """Reads and writes a context variable on a loop."""
    seen = who.get()
    who.set(f"tool {i}")
    await asyncio.sleep(0.02)
    return seen


WHO = ["sync_who", "async_who"] * 4


@scenario("B12", "context variables set before the run; sync door", "visible in parallel tools")
def context_sync(up: Upstream) -> Figure:
    agent = an_agent(up, sync_who, async_who, rounds=calls(*WHO))

    def one(i: int) -> str:
        who.set(f"caller {i}")
        text = agent.run("hello").text
        equal(who.get(), f"caller {i}", "the caller's variable after the run")
        return text

    start = clock()
    texts = in_threads(4, one)
    equal(texts, [told(*[f"caller {i}"] * 8) for i in range(4)], "what the tools saw")
    return took(start)


@scenario("B13", "context variables set before the run; async door", "visible in parallel tools")
def context_async(up: Upstream) -> Figure:
    agent = an_agent(up, sync_who, async_who, rounds=calls(*WHO))

    async def one(i: int) -> str:
        who.set(f"caller {i}")
        text = (await agent.arun("hello")).text
        equal(who.get(), f"caller {i}", "the caller's variable after the run")
        return text

    async def main() -> list[str]:
        return await asyncio.gather(*[one(i) for i in range(4)])

    start = clock()
    equal(asyncio.run(main()), [told(*[f"caller {i}"] * 8) for i in range(4)], "what the tools saw")
    return took(start)


@scenario(
    "B14",
    "a tool raises: sync and async tool, sync and async door",
    "one policy: told to the model, or ToolError with the original as cause",
)
def raising_tools(up: Upstream) -> Figure:
    @ax.tool
    def sync_boom() -> str:
        """Fails."""
        raise ValueError("boom 17")

    @ax.tool
    async def async_boom() -> str:
        """Fails."""
        raise ValueError("boom 17")

    start = clock()
    policies = set()
    for name, tool in (("sync_boom", sync_boom), ("async_boom", async_boom)):
        agent = an_agent(up, tool, model=name, rounds=[[call(name)]])
        for run in (sync_door, async_door):
            policies.add(policy(lambda agent=agent, run=run: run(agent), name))  # type: ignore[misc]
    at_most(len(policies), 1, f"policies ({', '.join(sorted(policies))})")
    # Whoever fails gives back what it was given: more calls than may be under way at once.
    contexts: list[ax.ToolContext] = []

    @ax.tool
    def keeps(ctx: ax.ToolContext) -> str:
        """Fails, and keeps what it was given."""
        contexts.append(ctx)
        raise ValueError("boom 17")

    agent = an_agent(up, keeps, model="keeps", rounds=[[call("keeps")]])
    for _ in range(40):
        policy(lambda: agent.run("hello"), "keeps")
    figure = took(start)
    figure.note = policies.pop()
    return figure


def policy(run: Callable[[], ax.Result], name: str) -> str:
    """What comes of a failing tool; either has to say what failed."""
    try:
        text = run().text
    except ax.ToolError as error:
        cause = error.__cause__
        holds(isinstance(cause, ValueError), f"the ToolError's cause is {cause!r}")
        trace = "".join(traceback.format_exception(cause))
        text_has(trace, "boom 17", f"in {name}", what="traceback of the cause")
        return "ToolError"
    text_has(text, "boom 17", "ValueError", what="what the model was told")
    return "told to the model"
