"""Agents, tools and people's own code of both kinds, together: the recipes of docs/python-aio.md."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import ambidex as ax

from .conftest import Runner


def calls(name: str, **args: Any) -> dict[str, Any]:
    return {"calls": [{"name": name, "args": args}]}


def agent_with(tool: Any, **args: Any) -> ax.Agent:
    """An agent that calls this tool, and then says what came of it."""
    model = ax.models.scripted([calls(tool.name, **args), lambda messages: repr(messages[-1])])
    return ax.Agent("mixed", model=model, tools=[tool])


def wait_until(condition: Callable[[], object]) -> None:
    """For what another thread is about to do; the test's own limit ends it."""
    while not condition():
        time.sleep(0.005)


async def slowly(number: int) -> int:
    await asyncio.sleep(0.001)
    return 10 * number


@ax.tool
def through_run(number: int) -> int:
    """A sync tool that needs an async function."""
    return ax.aio.run(slowly(number))


@ax.tool
async def itself(number: int) -> int:
    """The async tool that it could be."""
    return await slowly(number)


@pytest.mark.parametrize("tool", [through_run, itself])
def test_a_tool_of_either_kind_reaches_async_code_through_either_door(
    tool: Any, run_loop: Runner[Any]
) -> None:
    assert "70" in agent_with(tool, number=7).run("go").text
    assert "70" in run_loop(agent_with(tool, number=7).arun("go")).text


def test_many_runs_with_a_limit() -> None:
    agent = ax.Agent("many", model=ax.models.scripted([], default="done"))

    async def main() -> list[str]:
        results = await ax.aio.gather(*(agent.arun(f"task {number}") for number in range(100)), limit=10)
        return [result.text for result in results]

    assert asyncio.run(main()) == ["done"] * 100


def test_one_limiter_for_tools_of_both_kinds_in_threads_and_loops_at_once() -> None:
    limiter = ax.aio.Limiter(2)
    lock = threading.Lock()
    inside = peak = entered = 0

    def count(step: int) -> None:
        nonlocal inside, peak, entered
        with lock:
            inside += step
            entered += step > 0
            peak = max(peak, inside)

    @ax.tool
    def sync_tool() -> str:
        """Enters as a thread."""
        with limiter:
            count(1)
            time.sleep(0.001)
            count(-1)
        return "ok"

    @ax.tool
    async def async_tool() -> str:
        """Enters as a task."""
        async with limiter:
            count(1)
            await asyncio.sleep(0.001)
            count(-1)
        return "ok"

    async def many() -> None:
        await ax.aio.gather(
            *(agent_with(tool).arun("go") for tool in (sync_tool, async_tool) for _ in range(10))
        )

    with ThreadPoolExecutor(6) as threads:
        jobs = [threads.submit(lambda: asyncio.run(many())) for _ in range(2)]
        jobs += [threads.submit(lambda t=tool: agent_with(t).run("go")) for tool in (sync_tool, async_tool)]
        for job in jobs:
            job.result(60)
    assert (inside, entered) == (0, 42)
    assert peak <= 2


def test_tools_of_many_runs_share_batches() -> None:
    batches: list[list[str]] = []

    async def embed(texts: list[str]) -> list[int]:
        batches.append(texts)
        return [len(text) for text in texts]

    processor = ax.aio.BatchProcessor(embed, batch_size=8, max_wait=600.0)

    @ax.tool
    async def length(text: str) -> int:
        """Its length, asked for together with others."""
        return await processor.asubmit(text)

    async def main() -> list[str]:
        agents = [agent_with(length, text="x" * number) for number in range(8)]
        return [result.text for result in await ax.aio.gather(*(agent.arun("go") for agent in agents))]

    assert [str(number) in text for number, text in enumerate(asyncio.run(main()))] == [True] * 8
    assert [len(batch) for batch in batches] == [8]


def test_an_async_tool_that_blocks_its_loop_is_named() -> None:
    main_thread = threading.current_thread().name

    def loop() -> ax.aio.LoopHealth:
        (found,) = [
            loop
            for loop in ax.aio.health().loops
            if loop.name.startswith(f"{main_thread} (") and not loop.closed
        ]
        return found

    def seen() -> bool:
        now = loop().blocked_now
        return now is not None and (now.who or "").startswith(__file__)

    @ax.tool
    async def pseudo_async() -> str:
        """Says async and blocks."""
        wait_until(seen)
        return "ok"

    async def main() -> ax.aio.LoopHealth:
        await agent_with(pseudo_async).arun("go")
        return loop()

    health = asyncio.run(main())
    # On a busy machine a loop may also have to wait for a processor.
    (block,) = [block for block in health.blocks if (block.who or "").startswith(f"{__file__}:")]
    assert block.seconds > 0.1


def test_the_same_tool_through_the_sync_door_blocks_nobody() -> None:
    ran_on: list[str] = []

    @ax.tool
    async def pseudo_async() -> str:
        """Says async and blocks."""
        ran_on.append(threading.current_thread().name)
        time.sleep(0.15)
        return "ok"

    async def main() -> None:
        with ax.aio.watch():
            await asyncio.to_thread(agent_with(pseudo_async).run, "go")

    asyncio.run(main())
    assert ran_on == ["ambidex-loop-0"]


def test_runs_threads_and_streams_are_counted() -> None:
    entered, leave = threading.Event(), threading.Event()

    @ax.tool
    def waits() -> str:
        """Takes a thread."""
        entered.set()
        leave.wait()
        return "ok"

    async def main() -> None:
        before = ax.aio.health()
        run = asyncio.ensure_future(agent_with(waits).arun("go"))
        while not entered.is_set():
            await asyncio.sleep(0.001)
        during = ax.aio.health()
        assert during.runs == before.runs + 1
        assert during.threads.busy == before.threads.busy + 1
        assert during.calls == before.calls + 1
        leave.set()
        await run
        stream = ax.Agent("s", model=ax.models.scripted(["a text"])).astream("go")
        async for _ in stream:
            assert ax.aio.health().streams == before.streams + 1
            break
        await stream.aclose()
        assert ax.aio.health().streams == before.streams

    asyncio.run(main())


def test_a_run_is_tried_again_where_its_error_says_so() -> None:
    attempts = 0

    @ax.aio.retry(attempts=3, base=0.001)
    async def ask() -> str:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise ax.ModelError("overloaded", retryable=True, retry_after=0.001)
        return (await ax.Agent("r", model=ax.models.scripted(["fine"])).arun("go")).text

    assert asyncio.run(ask()) == "fine"
    assert attempts == 3


def test_a_stream_that_is_read_without_awaiting_blocks_its_loop_and_is_seen() -> None:
    main_thread = threading.current_thread().name
    seen = threading.Event()

    def blocked() -> ax.aio.LoopHealth:
        (found,) = [
            loop
            for loop in ax.aio.health().loops
            if loop.name.startswith(f"{main_thread} (") and not loop.closed
        ]
        return found

    async def answers(messages: Any) -> str:
        # On the background loop, while the stream's reader waits.
        while True:
            now = blocked().blocked_now
            if now is not None and (now.who or "").startswith(f"{__file__}:"):
                seen.set()
                return "seen"
            await asyncio.sleep(0.005)

    async def main() -> None:
        agent = ax.Agent("s", model=ax.models.function(answers))
        for event in agent.stream("go"):
            if event.type == "run.finished":
                assert event.data["text"] == "seen"

    asyncio.run(main())
    assert seen.is_set()
