"""Batches: results in the order of the tasks, failures as values."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

import ambidex as ax

Many = Any


def _sync(agent: ax.Agent[Any], tasks: Any, **options: Any) -> list[Any]:
    return agent.batch(tasks, **options)


def _async(agent: ax.Agent[Any], tasks: Any, **options: Any) -> list[Any]:
    return asyncio.run(agent.abatch(tasks, **options))


@pytest.fixture(params=[_sync, _async], ids=["batch", "abatch"])
def many(request: pytest.FixtureRequest) -> Many:
    return request.param


def picky(messages: list[ax.Message]) -> str:
    if messages[-1].text == "bad":
        raise ValueError("a bad task")
    return f"{len(messages)}: {messages[-1].text}"


agent = ax.Agent("b", model=ax.models.function(picky))


def test_results_come_in_the_order_of_the_tasks(many: Many) -> None:
    tasks = [str(number) for number in range(40)]
    assert [result.text for result in many(agent, tasks)] == [f"1: {task}" for task in tasks]
    assert many(agent, []) == []
    assert [it.text for it in many(agent, ([ax.Message.user(task)] for task in ("a", "b")))] == [
        "1: a",
        "1: b",
    ]


def test_a_failure_is_a_value(many: Many) -> None:
    good, bad, last = many(agent, ["one", "bad", "two"])
    assert (good.text, last.text) == ("1: one", "1: two")
    assert good.error is None
    assert bad.status == "failed"
    assert isinstance(bad.error, ax.ModelError)
    assert isinstance(bad.error.__cause__, ValueError)
    assert "error=ModelError" in repr(bad)


def test_a_task_that_cannot_even_begin_is_a_value_too(many: Many) -> None:
    [result] = many(agent, [[]])
    assert result.status == "failed"
    assert result.error.code == "invalid_request"
    assert (result.text, result.messages, result.output, result.iterations_used) == ("", [], None, 0)
    assert result.usage.total_tokens == 0


def test_one_after_another_each_knows_those_before(many: Many) -> None:
    results = many(agent, ["a", "bad", "b", "c"], sequential=True)
    said = [result.text if result.error is None else result.error.code for result in results]
    assert said == ["1: a", "provider_error", "3: b", "5: c"]


@pytest.mark.parametrize("limit", [1, 3])
def test_no_more_run_at_once_than_is_said(many: Many, limit: int) -> None:
    lock = threading.Lock()
    inside = 0
    most = 0
    full = threading.Event()

    def busy(messages: Any) -> str:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
            if inside == limit:
                full.set()
        assert full.wait(20)
        with lock:
            inside -= 1
        return "done"

    results = many(ax.Agent("c", model=ax.models.function(busy)), ["x"] * 12, concurrency=limit)
    assert [result.text for result in results] == ["done"] * 12
    assert most == limit


def test_a_cancelled_batch_stops_all_its_runs() -> None:
    begun = threading.Semaphore(0)
    stopped = []

    async def waits(messages: Any) -> str:
        begun.release()
        try:
            await asyncio.sleep(60)
        finally:
            stopped.append(1)
        return "late"

    async def main() -> None:
        waiting = ax.Agent("w", model=ax.models.function(waits))
        task = asyncio.create_task(waiting.abatch(["x"] * 5, concurrency=3))
        for _ in range(3):
            while not begun.acquire(blocking=False):
                await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert len(stopped) == 3


def test_a_batch_takes_a_list() -> None:
    with pytest.raises(ax.UsageError, match=r"for one task use run\(\)"):
        agent.batch("task")
    with pytest.raises(ax.UsageError, match="concurrency is 0"):
        agent.batch(["a"], concurrency=0)
