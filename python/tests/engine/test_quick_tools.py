"""Tools that end at once: they cost no thread or iteration of their own, and nobody can tell but by that."""

from __future__ import annotations

import asyncio
import itertools
import threading
from typing import Any

import pytest

import ambidex as ax

from .conftest import Door, calls, results


def hurry(*tools: Any) -> ax.Agent[Any]:
    """An agent whose tools are asked for often enough that some are left to whoever is at work."""
    names = [tool.__name__ for tool in tools]
    rounds: list[Any] = [[ax.ToolCall(name, {}) for name in names] for _ in range(20)]
    return ax.Agent("t", model=ax.models.scripted([*rounds, "done"]), tools=list(tools))


def test_sync_tools_that_turn_slow_still_run_beside_each_other(run: Door) -> None:
    counts = {"left": 0, "right": 0}
    both = threading.Barrier(2, timeout=20)

    def met(side: str) -> int:
        counts[side] += 1
        if counts[side] % 10 == 0:
            both.wait()
        return counts[side]

    def left() -> int:
        """L."""
        return met("left")

    def right() -> int:
        """R."""
        return met("right")

    agent = hurry(left, right)
    for _ in range(5):
        assert not any(failed for _, _, failed in results(run(agent, "go")))


def test_sync_tools_run_on_threads_of_the_package(run: Door) -> None:
    threads = set()
    numbers = itertools.count()

    def where() -> int:
        """W."""
        threads.add(threading.current_thread())
        return next(numbers)

    def there() -> int:
        """T."""
        return where()

    run(hurry(where, there), "go")
    assert threads
    assert threading.current_thread() not in threads
    assert all(thread.name.startswith("ambidex-sync-") for thread in threads)


@pytest.mark.parametrize("debug", [False, True])
def test_an_async_tool_is_a_task_of_its_own_from_its_first_step(debug: bool) -> None:
    tasks: list[Any] = []

    async def at_once() -> str:
        """A."""
        tasks.append(asyncio.current_task())
        return "now"

    async def later() -> str:
        """L."""
        tasks.append(asyncio.current_task())
        return await asyncio.wait_for(asyncio.sleep(0.001, "later"), 20)

    async def main() -> Any:
        asyncio.get_running_loop().set_debug(debug)
        agent = ax.Agent("t", model=calls(("at_once", {}), ("later", {})), tools=[at_once, later])
        found = await agent.arun("go")
        assert asyncio.current_task() not in tasks
        return found

    assert sorted(text for _, text, _ in results(asyncio.run(main()))) == ["later", "now"]
    assert len(set(tasks)) == 2
    assert None not in tasks
    assert all(task.done() for task in tasks)


def test_what_an_async_tool_starts_in_its_first_step_goes_on() -> None:
    heard = []

    async def starts() -> str:
        """S."""
        loop = asyncio.get_running_loop()
        loop.call_soon(heard.append, "soon")
        kept.append(asyncio.create_task(tells()))
        return "started"

    async def tells() -> None:
        await asyncio.sleep(0)
        heard.append("task")

    async def main() -> None:
        await ax.Agent("t", model=calls(("starts", {})), tools=[starts]).arun("go")
        await asyncio.gather(*kept)

    kept: list[Any] = []
    asyncio.run(main())
    assert heard == ["soon", "task"]


def test_tasks_of_a_factory_are_made_by_it() -> None:
    made = []

    def factory(loop: Any, coroutine: Any, **options: Any) -> Any:
        made.append(coroutine.__name__)
        return asyncio.Task(coroutine, loop=loop, **options)

    async def quick() -> str:
        """Q."""
        return "yes"

    async def main() -> Any:
        asyncio.get_running_loop().set_task_factory(factory)
        return await ax.Agent("t", model=calls(("quick", {})), tools=[quick]).arun("go")

    assert results(asyncio.run(main())) == [("quick", "yes", False)]
    assert "quick" in made


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt()], ids=["SystemExit", "KeyboardInterrupt"]
)
def test_what_ends_a_loop_ends_it_from_an_async_tool(
    run: Door, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    async def ends() -> str:
        """E."""
        raise error

    with pytest.raises(type(error)):
        run(ax.Agent("t", model=calls(("ends", {})), tools=[ends]), "go")
    assert not caplog.records
