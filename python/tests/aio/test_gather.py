"""Several awaitables at once, with a limit, and nothing left behind."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest

from ambidex import _core, aio

from .conftest import Runner


class Counted:
    """Coroutines that count how many of them run, and in which order they were started."""

    def __init__(self) -> None:
        self.running = 0
        self.peak = 0
        self.started: list[int] = []
        self.cleaned: list[int] = []

    async def work(self, number: int, turns: int = 3, fails: bool = False) -> int:
        self.started.append(number)
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            for _ in range(turns):
                await asyncio.sleep(0)
            if fails:
                raise ValueError(number)
            return number
        except asyncio.CancelledError:
            # Cleaning up takes a while.
            await asyncio.sleep(0.01)
            self.cleaned.append(number)
            raise
        finally:
            self.running -= 1

    async def forever(self, number: int) -> int:
        return await self.work(number, turns=1_000_000_000)


def test_results_come_in_the_order_of_the_arguments(run_loop: Runner[Any]) -> None:
    counted = Counted()

    async def main() -> list[int]:
        return await aio.gather(*(counted.work(number, turns=10 - number) for number in range(10)))

    assert run_loop(main()) == list(range(10))
    assert counted.peak == 10


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_never_more_than_the_limit_run_and_they_start_in_order(run_loop: Runner[Any], limit: int) -> None:
    counted = Counted()

    async def main() -> list[int]:
        return await aio.gather(*(counted.work(number, 1 + number % 5) for number in range(50)), limit=limit)

    assert run_loop(main()) == list(range(50))
    assert counted.peak == min(limit, 50)
    assert counted.started == list(range(50))


def test_what_waits_for_a_place_is_not_started() -> None:
    counted = Counted()

    async def main() -> None:
        gathering = asyncio.ensure_future(aio.gather(*(counted.forever(n) for n in range(10)), limit=2))
        for _ in range(20):
            await asyncio.sleep(0)
        assert counted.started == [0, 1]
        gathering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gathering

    asyncio.run(main())
    assert counted.started == [0, 1]


@pytest.mark.parametrize("limit", [None, 3])
def test_a_failure_cancels_the_others_and_waits_for_them(run_loop: Runner[Any], limit: int | None) -> None:
    counted = Counted()

    async def main() -> None:
        with pytest.raises(ValueError, match="1"):
            await aio.gather(
                counted.forever(0),
                counted.work(1, fails=True),
                *(counted.forever(number) for number in range(2, 8)),
                limit=limit,
            )
        assert counted.running == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_loop(main())
    assert sorted(counted.cleaned) == [number for number in counted.started if number != 1]
    assert len(counted.started) == (8 if limit is None else 3)


def test_the_first_failure_is_the_one_that_is_raised() -> None:
    async def fails(turns: int, error: Exception) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        raise error

    async def main() -> None:
        with pytest.raises(KeyError):
            await aio.gather(fails(5, ValueError()), fails(1, KeyError()), fails(1, OSError()))

    asyncio.run(main())


def test_cancelled_it_cancels_all_and_waits_however_often_it_is_cancelled(run_loop: Runner[Any]) -> None:
    counted = Counted()

    async def main() -> None:
        gathering = asyncio.ensure_future(aio.gather(*(counted.forever(n) for n in range(5))))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for _ in range(3):
            gathering.cancel()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await gathering
        assert counted.running == 0

    run_loop(main())
    assert sorted(counted.cleaned) == [0, 1, 2, 3, 4]


def test_wait_for_ends_it_as_anything_else() -> None:
    counted = Counted()

    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(aio.gather(*(counted.forever(n) for n in range(3)), limit=2), 0.02)

    asyncio.run(main())
    assert sorted(counted.cleaned) == [0, 1]


def test_failures_are_results_where_that_is_asked_for() -> None:
    counted = Counted()

    async def cancels() -> int:
        raise asyncio.CancelledError

    async def main() -> list[int | BaseException]:
        return await aio.gather(
            counted.work(0),
            counted.work(1, fails=True),
            cancels(),
            counted.work(3),
            limit=2,
            return_exceptions=True,
        )

    first, failure, cancelled, last = asyncio.run(main())
    assert (first, last) == (0, 3)
    assert isinstance(failure, ValueError)
    assert isinstance(cancelled, asyncio.CancelledError)


def test_one_that_is_cancelled_from_outside_cancels_the_rest() -> None:
    counted = Counted()

    async def main() -> None:
        task = asyncio.ensure_future(counted.forever(0))
        gathering = asyncio.ensure_future(aio.gather(task, counted.forever(1)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gathering

    asyncio.run(main())
    assert sorted(counted.cleaned) == [0, 1]


def test_the_same_awaitable_twice_runs_once() -> None:
    counted = Counted()

    async def main() -> list[int]:
        one = counted.work(7)
        return list(await aio.gather(one, counted.work(8), one))

    assert asyncio.run(main()) == [7, 8, 7]
    assert counted.started == [7, 8]


def test_tasks_run_already_and_take_no_place() -> None:
    counted = Counted()

    async def main() -> list[int]:
        tasks = [asyncio.ensure_future(counted.work(number)) for number in range(3)]
        return await aio.gather(*tasks, counted.work(3), counted.work(4), limit=1)

    assert asyncio.run(main()) == [0, 1, 2, 3, 4]
    assert counted.peak == 4


def test_calls_of_the_core_are_awaitables_like_others(run_loop: Runner[Any]) -> None:
    async def main() -> list[Any]:
        return await aio.gather(*(_core.asleep(0.001) for _ in range(10)), Counted().work(1), limit=1)

    assert run_loop(main()) == [None] * 10 + [1]


def test_a_call_of_the_core_is_cancelled_with_the_rest() -> None:
    async def main() -> None:
        call = _core.asleep(3600)
        with pytest.raises(ValueError, match="1"):
            await aio.gather(call, Counted().work(1, fails=True))
        assert call.cancelled()

    asyncio.run(main())


def test_all_of_them_see_the_callers_context_also_those_that_start_later() -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)

    async def look(number: int) -> int:
        seen = variable.get()
        variable.set(number)
        await asyncio.sleep(0)
        return seen

    async def main() -> list[int]:
        variable.set(5)
        return await aio.gather(*(look(number) for number in range(4)), limit=1)

    assert asyncio.run(main()) == [5, 5, 5, 5]


@pytest.mark.since(3, 12)
def test_eager_tasks_are_tasks() -> None:
    counted = Counted()

    async def main() -> list[int]:
        asyncio.get_running_loop().set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009
        return await aio.gather(*(counted.work(number, turns=number % 2) for number in range(20)), limit=2)

    assert asyncio.run(main()) == list(range(20))
    assert counted.peak == 2


def test_none_is_an_empty_list() -> None:
    async def main() -> list[int]:
        return await aio.gather(*[])

    assert asyncio.run(main()) == []


def test_misuse_names_the_remedy_and_leaves_no_coroutine_behind() -> None:
    counted = Counted()

    async def main() -> None:
        with pytest.raises(ValueError, match="limit is 1 or more"):
            await aio.gather(counted.work(0), limit=0)
        with pytest.raises(TypeError, match="with a star"):
            await aio.gather([counted.forever])  # type: ignore[call-overload]
        with pytest.raises(TypeError, match="call it"):
            await aio.gather(counted.work(0), counted.work)  # type: ignore[call-overload]

    asyncio.run(main())
    assert counted.started == []


def test_under_trio_it_says_what_to_use_there() -> None:
    trio = pytest.importorskip("trio")

    async def main() -> None:
        with pytest.raises(RuntimeError, match="open a nursery"):
            await aio.gather(Counted().work(0))

    trio.run(main)
