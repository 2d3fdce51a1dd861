"""What the suites of `ambidex.aio` share."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import warnings
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pytest

from ambidex._bridge import SyncCallUnderLoopWarning

T = TypeVar("T")

Runner = Callable[[Coroutine[Any, Any, T]], T]


def _run_under_uvloop(coro: Coroutine[Any, Any, T]) -> T:
    import uvloop

    loop = uvloop.new_event_loop()
    try:
        return loop.run_until_complete(coro)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


@pytest.fixture(params=["asyncio", "uvloop"])
def run_loop(request: pytest.FixtureRequest) -> Runner[Any]:
    """Runs a coroutine on a new loop of either kind."""
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
        return _run_under_uvloop
    return asyncio.run


@pytest.fixture(autouse=True)
def nothing_is_left_behind(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[None]:
    """A coroutine never awaited, a failure that nobody saw, a task that was lost: each fails the test."""
    unraisable: list[str] = []
    monkeypatch.setattr(
        sys, "unraisablehook", lambda seen: unraisable.append(f"{seen.exc_value!r} in {seen.object!r}")
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("default", SyncCallUnderLoopWarning)
        yield
        gc.collect()
    assert unraisable == []
    logged = [record.getMessage() for record in caplog.records if record.name == "asyncio"]
    assert [line for line in logged if "took" not in line] == []


def script(code: str, *, developer: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Runs code in a process of its own, in Python's developer mode."""
    mode = ["-X", "dev", "-W", "ignore::DeprecationWarning"] if developer else []
    return subprocess.run(
        [sys.executable, *mode, "-c", code],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
