"""One async function, callable both ways."""

from __future__ import annotations

import asyncio
import functools
import inspect
import warnings
from typing import Any

import pytest

from ambidex import aio
from ambidex._bridge import SyncCallUnderLoopWarning

from .conftest import Runner


@aio.both
async def doubled(number: int, *, plus: int = 0) -> int:
    """Twice the number."""
    await asyncio.sleep(0)
    return 2 * number + plus


class Store:
    def __init__(self, start: int) -> None:
        self.start = start

    @aio.both
    async def add(self, number: int) -> int:
        await asyncio.sleep(0)
        return self.start + number

    @staticmethod
    @aio.both
    async def zero() -> int:
        return 0

    @classmethod
    async def plain(cls) -> str:
        return cls.__name__


def test_sync_code_gets_the_result_and_async_code_awaits_it(run_loop: Runner[Any]) -> None:
    assert doubled(4, plus=1) == 9
    assert run_loop(doubled.aio(4, plus=1)) == 9


def test_methods_are_bound_through_both_doors() -> None:
    store = Store(5)
    assert store.add(1) == 6
    assert asyncio.run(store.add.aio(2)) == 7
    assert Store.add(store, 3) == 8
    assert Store.zero() == 0
    assert aio.both(Store.plain)() == "Store"


def test_it_looks_like_the_function_it_was_made_of() -> None:
    assert doubled.__name__ == "doubled"  # type: ignore[attr-defined]
    assert doubled.__doc__ == "Twice the number."
    assert str(inspect.signature(doubled)) == str(inspect.signature(doubled.aio))
    assert inspect.iscoroutinefunction(doubled.aio)
    assert not inspect.iscoroutinefunction(doubled)
    assert "doubled" in repr(doubled)


def test_under_a_loop_the_sync_door_names_the_other() -> None:
    async def main() -> int:
        with pytest.warns(SyncCallUnderLoopWarning, match=r"await .*doubled\.aio\(\.\.\.\)"):
            return doubled(3)

    assert asyncio.run(main()) == 6


def test_partials_and_objects_that_are_called_async_will_do() -> None:
    class Adder:
        async def __call__(self, number: int) -> int:
            return number + 1

    assert aio.both(functools.partial(doubled.aio, plus=3))(1) == 5
    assert aio.both(Adder())(1) == 2


def test_what_is_not_async_is_refused_with_the_remedy() -> None:
    def plain() -> int:
        return 1

    async def generator() -> Any:
        yield 1

    with pytest.raises(TypeError, match="async def"):
        aio.both(plain)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="is an async generator"):
        aio.both(generator)


def test_both_doors_may_be_used_from_one_program_in_turns() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in range(3):
            assert doubled(number) == asyncio.run(doubled.aio(number))
