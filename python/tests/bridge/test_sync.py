"""The sync door: on any thread, within anything, and without a loop of its own."""

from __future__ import annotations

import asyncio
import contextvars
import os
import sys
import threading
import warnings

import pytest

from ambidex import _bridge, _core
from ambidex.errors import UsageError


async def forty_two() -> int:
    await asyncio.sleep(0.001)
    return 42


def test_an_async_function_runs_on_a_background_loop() -> None:
    async def where() -> str:
        return threading.current_thread().name

    assert _core._call(forty_two) == 42
    assert _core._call(where).startswith("ambidex-loop-")


def test_it_sees_the_callers_context_variables() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("mine")

    async def gets() -> str:
        return variable.get()

    assert _core._call(gets) == "mine"


def test_sync_calls_nest_without_waiting_for_themselves() -> None:
    def nested(depth: int) -> int:
        async def inner() -> int:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", _bridge.SyncCallUnderLoopWarning)
                return depth if depth == 8 else nested(depth + 1)

        result: int = _core._call(inner)
        return result

    assert nested(1) == 8


def test_endless_nesting_is_an_error_that_says_what_it_is() -> None:
    def nested() -> None:
        async def inner() -> None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", _bridge.SyncCallUnderLoopWarning)
                nested()

        _core._call(inner)

    with pytest.raises(UsageError, match="nested 16 deep"):
        nested()


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt()], ids=["SystemExit", "KeyboardInterrupt"]
)
def test_a_background_loop_outlives_what_ends_a_loop(error: BaseException) -> None:
    async def raises() -> None:
        raise error

    async def stops() -> int:
        asyncio.get_running_loop().stop()
        return 7

    with pytest.raises(type(error)):
        _core._call(raises)
    assert _core._call(stops) == 7
    assert _core._call(forty_two) == 42


def test_three_hundred_threads_at_once() -> None:
    before = threading.active_count()
    descriptors = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    failed: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(5):
                assert _core._call(forty_two) == 42
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(300)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert threading.active_count() <= before + 1
    if sys.platform == "linux":
        assert len(os.listdir("/proc/self/fd")) <= descriptors + 8


def test_under_a_running_loop_it_works_and_warns_once_per_place() -> None:
    async def main() -> None:
        for _ in range(3):
            assert _core._call(forty_two) == 42

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        asyncio.run(main())
    assert [warning.category for warning in caught] == [_bridge.SyncCallUnderLoopWarning]
    assert caught[0].filename == __file__
    assert f"{__file__}:" in str(caught[0].message)


def test_strict_sync_makes_it_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from ambidex.errors import ConfigError

    monkeypatch.setenv("AMBIDEX__RUNTIME__STRICT_SYNC", "true")

    async def main() -> None:
        with pytest.raises(ConfigError, match="STRICT_SYNC"):
            _core._yielded()

    asyncio.run(main())
    assert _core._yielded() is None
