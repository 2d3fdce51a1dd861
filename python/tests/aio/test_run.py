"""A coroutine from sync code anywhere."""

from __future__ import annotations

import asyncio
import builtins
import contextvars
import signal
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ambidex import aio
from ambidex._bridge import SyncCallUnderLoopWarning
from ambidex.errors import ConfigError, TimeoutError

from .conftest import Runner


async def doubled(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


def test_a_coroutine_gives_its_result_to_sync_code() -> None:
    assert aio.run(doubled(21)) == 42


def test_many_threads_at_once_get_each_its_own() -> None:
    with ThreadPoolExecutor(50) as threads:
        assert list(threads.map(lambda number: aio.run(doubled(number)), range(200))) == [
            2 * number for number in range(200)
        ]


def test_it_runs_in_a_copy_of_the_callers_context() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    variable.set("mine")

    async def look() -> str:
        seen = variable.get()
        variable.set("changed")
        return seen

    assert aio.run(look()) == "mine"
    assert aio.run(look(), timeout=60) == "mine"
    assert variable.get() == "mine"


def test_under_a_running_loop_it_works_and_says_so_once_for_each_place(run_loop: Runner[Any]) -> None:
    async def main() -> list[int]:
        return [aio.run(doubled(number)) for number in range(3)]

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert run_loop(main()) == [0, 2, 4]
    # The first kind of loop has met this place already when the second comes.
    told = [warning for warning in caught if warning.category is SyncCallUnderLoopWarning]
    assert len(told) <= 1
    for warning in told:
        assert "ax.aio.run was called at" in str(warning.message)
        assert __file__ in str(warning.message)
        assert "await the coroutine" in str(warning.message)


def test_under_trio_it_works_too() -> None:
    trio = pytest.importorskip("trio")

    async def main() -> int:
        return aio.run(doubled(4))

    with pytest.warns(SyncCallUnderLoopWarning):
        assert trio.run(main) == 8


def test_a_strict_process_refuses_it_under_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMBIDEX__RUNTIME__STRICT_SYNC", "true")

    async def main() -> None:
        with pytest.raises(ConfigError, match=r"await the coroutine"):
            aio.run(doubled(1))

    asyncio.run(main())
    assert aio.run(doubled(1)) == 2


def test_calls_nest_without_waiting_for_themselves() -> None:
    async def nested(depth: int) -> int:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyncCallUnderLoopWarning)
            return depth if depth == 5 else aio.run(nested(depth + 1))

    assert aio.run(nested(1)) == 5


def test_after_its_time_it_is_cancelled_and_its_clean_up_is_waited_for() -> None:
    steps: list[str] = []

    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            steps.append("cleaned")

    with pytest.raises(TimeoutError, match=r"slow did not end within 0.05 s") as raised:
        aio.run(slow(), timeout=0.05)
    assert isinstance(raised.value, builtins.TimeoutError)
    assert steps == ["cleaned"]


def test_a_clean_up_that_fails_is_the_cause_of_the_timeout() -> None:
    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise KeyError("cleaning")

    with pytest.raises(TimeoutError) as raised:
        aio.run(slow(), timeout=0.01)
    assert isinstance(raised.value.__cause__, KeyError)


def test_a_timeout_that_is_not_reached_changes_nothing() -> None:
    assert aio.run(doubled(2), timeout=60) == 4
    with pytest.raises(ValueError, match="0 or more seconds"):
        aio.run(doubled(2), timeout=-1)


def test_failures_keep_their_traceback() -> None:
    async def fails() -> None:
        raise ValueError("inside")

    with pytest.raises(ValueError, match="inside") as raised:
        aio.run(fails())
    assert "fails" in [frame.name for frame in traceback.extract_tb(raised.value.__traceback__)]


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_what_ends_a_program_passes_and_leaves_the_loop_alive(kind: type[BaseException]) -> None:
    async def leaves() -> None:
        raise kind

    with pytest.raises(kind):
        aio.run(leaves())
    assert aio.run(doubled(1)) == 2


def test_a_coroutine_that_cancels_itself_is_cancelled() -> None:
    async def cancels() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        aio.run(cancels())


def test_any_awaitable_will_do() -> None:
    class Ready:
        def __await__(self) -> Generator[Any, None, int]:
            return doubled(3).__await__()

    assert aio.run(Ready()) == 6
    assert aio.run(Ready(), timeout=60) == 6


async def _generator() -> Any:
    yield 1


@pytest.mark.parametrize(
    ("wrong", "remedy"),
    [
        (doubled, "call it"),
        (_generator, "collect its items"),
        (lambda: 1, "is just called"),
        (7, "a coroutine is needed"),
    ],
)
def test_what_is_no_coroutine_is_told_what_it_should_be(wrong: Any, remedy: str) -> None:
    with pytest.raises(TypeError, match=remedy):
        aio.run(wrong)


def test_a_task_of_a_loop_is_refused() -> None:
    async def main() -> None:
        task = asyncio.ensure_future(doubled(1))
        with pytest.raises(TypeError, match="belongs to the loop"):
            aio.run(task)
        await task

    asyncio.run(main())


def test_ctrl_c_cancels_it_and_waits_for_its_clean_up() -> None:
    code = """
import asyncio, ambidex.aio as aio
async def slow():
    try:
        print("ready", flush=True)
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        await asyncio.sleep(0.1)
        print("cleaned", flush=True)
        raise
try:
    aio.run(slow())
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
    process = subprocess.Popen(
        [sys.executable, "-X", "dev", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (out, err, process.returncode) == ("cleaned\ninterrupted\n", "", 0)


def test_threads_wait_on_one_background_loop() -> None:
    async def thread() -> str:
        return threading.current_thread().name

    with ThreadPoolExecutor(4) as threads:
        assert {*threads.map(lambda _: aio.run(thread()), range(8))} == {"ambidex-loop-0"}
