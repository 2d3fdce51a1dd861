"""A coroutine from sync code."""

from __future__ import annotations

import asyncio
import inspect
import math
from typing import TYPE_CHECKING, Any, TypeVar

from .. import _core
from .._bridge import sync_call_under_loop
from .backend import running_backend
from .function_kind import name_of

if TYPE_CHECKING:
    from collections.abc import Awaitable

T = TypeVar("T")

# What is cancelled is waited for, but not for ever.
_GRACE = 2.0


def run(coro: Awaitable[T], timeout: float | None = None) -> T:
    """Runs a coroutine and returns its result; from sync code anywhere.

    The coroutine runs on a loop that Ambidex keeps in the background, in a copy of the caller's context
    variables, while the calling thread waits. So this works in a script, on any thread, in a sync tool, and
    also where a loop runs already, without nesting loops: there it blocks that loop meanwhile, which is
    warned of once per place (with `AMBIDEX__RUNTIME__STRICT_SYNC=true` it is an error). A coroutine that
    itself makes sync calls of this kind gets another loop for each depth, so it never waits for itself.

    Whatever the coroutine uses must not belong to another loop: open sessions inside of it.

    After `timeout` seconds the coroutine is cancelled, and so it is by Ctrl-C; its clean-up is waited for, at
    most 2 s.

        page = ax.aio.run(fetch("https://example.com"), timeout=10)

    Raises:
        ax.TimeoutError: after `timeout` seconds.
        TypeError: not awaitable, or a task or future, which belongs to a loop.
        RuntimeError: a loop runs here and `AMBIDEX__RUNTIME__STRICT_SYNC` is set.
    """
    return run_with(coro, "ax.aio.run", "await the coroutine", timeout)


def run_with(coro: Awaitable[T], name: str, instead: str, timeout: float | None = None) -> T:
    """As `run`, for whoever offers it under another name: `instead` is what a coroutine should do."""
    _check(coro)
    if timeout is not None and not (math.isfinite(timeout) and timeout >= 0):
        _close(coro)
        raise ValueError(f"run: timeout is a time of 0 or more seconds, or None, not {timeout!r}")
    carried = _carried(coro, timeout)
    try:
        if running_backend() is not None:
            sync_call_under_loop(name, instead)
        result, error = _core.run_coroutine(carried)
    finally:
        # When they were never started, they would complain that they were never awaited.
        _close(carried)
        _close(coro)
    if error is not None:
        try:
            raise error
        finally:
            del error
    return result  # type: ignore[no-any-return]


async def _carried(coro: Awaitable[Any], timeout: float | None) -> tuple[Any, BaseException | None]:
    """The result, or what must not be raised on the background loop, where it would end that."""
    try:
        return (await (coro if timeout is None else _within(coro, timeout))), None
    except (KeyboardInterrupt, SystemExit) as error:
        return None, error


async def _within(coro: Awaitable[T], timeout: float) -> T:
    task = asyncio.ensure_future(coro)
    try:
        await asyncio.wait({task}, timeout=timeout)
        if task.done():
            return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=_GRACE)
    from ..errors import TimeoutError

    error = TimeoutError(f"ax.aio.run: {name_of(coro)} did not end within {timeout:g} s, and was cancelled")
    if task.done() and not task.cancelled() and (cause := task.exception()) is not None:
        # Its clean-up failed.
        raise error from cause
    raise error


def _check(coro: Any) -> None:
    if inspect.iscoroutine(coro):
        return
    if inspect.iscoroutinefunction(coro):
        raise TypeError(
            f"run: {name_of(coro)} is an async function: call it, ax.aio.run({name_of(coro)}(...))"
        )
    if inspect.isasyncgen(coro) or inspect.isasyncgenfunction(coro):
        raise TypeError(f"run: {name_of(coro)} is an async generator: collect its items in an async function")
    if asyncio.isfuture(coro):
        raise TypeError(
            "run: a task or future belongs to the loop that made it, and cannot be waited for on another; "
            "give the coroutine itself"
        )
    if not inspect.isawaitable(coro):
        raise TypeError(f"run: a coroutine is needed, not {coro!r}; a plain function is just called")


def _close(coro: Any) -> None:
    if inspect.iscoroutine(coro) and inspect.getcoroutinestate(coro) == inspect.CORO_CREATED:
        coro.close()
