"""Trying again, for functions of both kinds. No test waits: sleeping is counted."""

from __future__ import annotations

import asyncio
import functools
import random
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from ambidex import aio
from ambidex._bridge import SyncCallUnderLoopWarning
from ambidex.errors import ModelError, ToolError


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was slept, with the longest wait that chance may give."""
    naps: list[float] = []

    async def nap(seconds: float) -> None:
        naps.append(seconds)

    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    monkeypatch.setattr(sys.modules["ambidex.aio.retry"], "sleep", nap)
    monkeypatch.setattr(time, "sleep", naps.append)
    return naps


class Flaky:
    """Fails with these, then gives 42."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.calls: list[tuple[Any, ...]] = []

    def call(self, *args: Any) -> int:
        self.calls.append(args)
        if self.errors:
            raise self.errors.pop(0)
        return 42

    async def acall(self, *args: Any) -> int:
        return self.call(*args)


Calls = Callable[[Flaky, Any], int]


def _sync(flaky: Flaky, decorate: Any) -> int:
    result: int = decorate(flaky.call)(1, 2)
    return result


def _async(flaky: Flaky, decorate: Any) -> int:
    result: int = asyncio.run(decorate(flaky.acall)(1, 2))
    return result


def _lambda(flaky: Flaky, decorate: Any) -> int:
    """A `def` that gives a coroutine."""

    async def main() -> int:
        result: int = await decorate(lambda *args: flaky.acall(*args))(1, 2)
        return result

    return asyncio.run(main())


@pytest.fixture(params=[_sync, _async, _lambda])
def called(request: pytest.FixtureRequest) -> Calls:
    calls: Calls = request.param
    return calls


def test_it_calls_again_until_it_works(called: Calls, slept: list[float]) -> None:
    flaky = Flaky(ValueError(), OSError())
    assert called(flaky, aio.retry(attempts=3, base=0.5)) == 42
    assert flaky.calls == [(1, 2)] * 3
    assert slept == [0.5, 1.0]


def test_the_last_failure_is_raised_as_it_is(called: Calls, slept: list[float]) -> None:
    errors = [ValueError(1), ValueError(2), ValueError(3)]
    with pytest.raises(ValueError, match="3") as raised:
        called(Flaky(*errors), aio.retry(attempts=3))
    assert raised.value is errors[2]
    if sys.version_info >= (3, 11):
        assert "failed 3 times" in raised.value.__notes__[0]


def test_waits_double_up_to_the_cap_and_chance_spreads_them(slept: list[float]) -> None:
    _sync(Flaky(*[OSError()] * 6), aio.retry(attempts=7, base=1, cap=5))
    assert slept == [1, 2, 4, 5, 5, 5]


def test_a_wait_may_be_as_short_as_nothing(monkeypatch: pytest.MonkeyPatch, slept: list[float]) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: low)
    assert _async(Flaky(OSError(), OSError()), aio.retry()) == 42
    assert slept == [0, 0]


def test_retry_after_is_waited_for_and_the_spread_lies_above_it(called: Calls, slept: list[float]) -> None:
    error = ModelError("rate limited", retryable=True, retry_after=3)
    assert called(Flaky(error), aio.retry(base=0.5)) == 42
    assert slept == [3.5]


def test_who_asks_for_more_than_the_cap_is_not_waited_for(called: Calls, slept: list[float]) -> None:
    error = ModelError("come back tomorrow", retryable=True, retry_after=86400)
    flaky = Flaky(error)
    with pytest.raises(ModelError, match="tomorrow"):
        called(flaky, aio.retry())
    assert (len(flaky.calls), slept) == (1, [])


def test_of_our_errors_only_those_are_tried_again_that_say_so(called: Calls, slept: list[float]) -> None:
    flaky = Flaky(ToolError("no", retryable=False))
    with pytest.raises(ToolError):
        called(flaky, aio.retry())
    assert len(flaky.calls) == 1
    assert called(Flaky(ToolError("later", retryable=True)), aio.retry()) == 42
    # Who names the class means it.
    assert called(Flaky(ToolError("no", retryable=False)), aio.retry(on=ToolError)) == 42


@pytest.mark.parametrize("kind", [asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_who_leaves_is_not_held_back(kind: type[BaseException], slept: list[float]) -> None:
    flaky = Flaky(kind())
    with pytest.raises(kind):
        aio.retry(on=BaseException)(flaky.call)()
    assert (len(flaky.calls), slept) == (1, [])


def test_on_says_what_is_worth_it(called: Calls, slept: list[float]) -> None:
    for on in (OSError, (KeyError, OSError), lambda error: isinstance(error, OSError)):
        assert called(Flaky(OSError()), aio.retry(on=on)) == 42
        with pytest.raises(ValueError, match="other"):
            called(Flaky(ValueError("other")), aio.retry(on=on))
    assert called(Flaky(asyncio.TimeoutError()), aio.retry(on=TimeoutError)) == 42


def test_cancelled_while_it_waits_it_ends_at_once() -> None:
    calls = 0

    @aio.retry(base=3600, cap=3600)
    async def fails() -> None:
        nonlocal calls
        calls += 1
        raise OSError

    async def main() -> None:
        task = asyncio.ensure_future(fails())
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert calls == 1


def test_it_works_under_trio() -> None:
    trio = pytest.importorskip("trio")
    flaky = Flaky(OSError(), OSError())
    assert trio.run(aio.retry(base=0.001)(flaky.acall)) == 42


def test_a_def_that_waits_under_a_loop_is_warned_of() -> None:
    @aio.retry(base=0.001)
    def fails(errors: list[Exception]) -> int:
        if errors:
            raise errors.pop()
        return 1

    async def main() -> int:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result = fails([OSError()])
        (warning,) = caught
        assert warning.category is SyncCallUnderLoopWarning
        assert "fails" in str(warning.message)
        assert "async def" in str(warning.message)
        return result

    assert asyncio.run(main()) == 1


def test_methods_partials_and_callable_objects(slept: list[float]) -> None:
    class Client:
        def __init__(self) -> None:
            self.flaky = Flaky(OSError())

        @aio.retry()
        def get(self, path: str) -> int:
            """Gets it."""
            return self.flaky.call(path)

        @aio.retry()
        async def aget(self, path: str) -> int:
            return await self.flaky.acall(path)

        async def __call__(self) -> int:
            return await self.flaky.acall()

    client = Client()
    assert client.get("/x") == 42
    assert client.flaky.calls == [("/x",), ("/x",)]
    assert (client.get.__name__, client.get.__doc__) == ("get", "Gets it.")
    assert asyncio.run(Client().aget("/y")) == 42
    assert asyncio.run(aio.retry()(Client())()) == 42
    assert asyncio.run(aio.retry()(functools.partial(Flaky(OSError()).acall, 1))()) == 42


def test_misuse_names_the_remedy() -> None:
    def generator() -> Any:
        yield 1

    with pytest.raises(TypeError, match="with the brackets"):
        aio.retry(generator)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="is a generator"):
        aio.retry()(generator)
    with pytest.raises(TypeError, match="no function"):
        aio.retry()(7)  # type: ignore[type-var]
    with pytest.raises(ValueError, match="attempts"):
        aio.retry(attempts=0)
    with pytest.raises(ValueError, match="base"):
        aio.retry(base=-1)
    with pytest.raises(ValueError, match="cap"):
        aio.retry(cap=float("nan"))
