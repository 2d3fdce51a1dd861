"""Trying again, for functions of both kinds."""

from __future__ import annotations

import asyncio
import builtins
import functools
import inspect
import math
import random
import time
from typing import TYPE_CHECKING, Any, TypeVar, cast

from .._bridge import sync_call_under_loop
from ..errors import AmbidexError
from .backend import running_backend, sleep
from .function_kind import is_async_function, name_of, without_partial

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")


def retry(
    attempts: int = 3,
    base: float = 0.5,
    cap: float = 20.0,
    on: type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool] | None = None,
) -> Callable[[F], F]:
    """Calls a function again when it fails, at most `attempts` times in all. For `def` and `async def`.

    Before attempt n + 1 it waits a random time of up to `base * 2 ** (n - 1)` seconds, never above `cap`
    (full jitter). Where one of our errors says when to come back (`retry_after`), the wait is spread above
    that; when that lies beyond `cap`, the error is raised at once, because whoever asked will not wait for
    it.

    `on` says which failures are worth it: exception classes, or a function of the exception. By default every
    `Exception` is, but those of ours that are not `retryable`. Cancellation and Ctrl-C always pass at once.
    After the last attempt the last error is raised as it is.

        @ax.aio.retry(attempts=5, on=(ConnectionError, ax.ModelError))
        async def fetch(url: str) -> bytes: ...

    A `def` function waits on its thread: in a coroutine use an `async def`.

    Raises:
        TypeError: on something that is no function, or a generator.
        ValueError: `attempts` below 1; `base` or `cap` below 0 or not finite.
    """
    if callable(attempts):
        raise TypeError("retry: it is called first: write @ax.aio.retry(), with the brackets")
    if isinstance(attempts, bool) or not isinstance(attempts, int):
        raise TypeError(f"retry: attempts is a whole number, not {attempts!r}")
    if attempts < 1:
        raise ValueError(f"retry: attempts counts the first one too, so it is 1 or more, not {attempts}")
    for name, seconds in (("base", base), ("cap", cap)):
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ValueError(f"retry: {name} is a time of 0 or more seconds, not {seconds!r}")
    policy = _Policy(attempts, base, cap, on)

    def decorate(function: F) -> F:
        plain = without_partial(function)
        if inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain):
            raise TypeError(
                f"retry: {name_of(function)} is a generator; what it has yielded cannot be taken back, "
                "so put the retry around what may fail inside of it"
            )
        if not callable(function):
            raise TypeError(f"retry: {function!r} is no function")
        if is_async_function(function):

            @functools.wraps(function)
            async def awaited(*args: Any, **kwargs: Any) -> Any:
                return await policy.awaited(function, args, kwargs, function(*args, **kwargs))

            return cast("F", awaited)

        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            return policy.called(function, args, kwargs)

        return cast("F", called)

    return decorate


class _Policy:
    def __init__(self, attempts: int, base: float, cap: float, on: Any) -> None:
        self._attempts = attempts
        self._base = base
        self._cap = cap
        self._on = on

    def called(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        attempt = 1
        while True:
            try:
                result = function(*args, **kwargs)
            except BaseException as error:
                wait = self._wait(error, attempt, function)
                if wait is None:
                    raise
            else:
                if inspect.isawaitable(result):
                    # A function that gives a coroutine although it is no `async def`, such as a lambda.
                    return self.awaited(function, args, kwargs, result)
                return result
            if wait > 0:
                if running_backend() is not None:
                    sync_call_under_loop(f"{name_of(function)}, a `def` that is tried again,", "async def")
                time.sleep(wait)
            attempt += 1

    async def awaited(self, function: Callable[..., Any], args: Any, kwargs: Any, first: Any) -> Any:
        attempt = 1
        call = first
        del first
        while True:
            try:
                return await call
            except BaseException as error:
                wait = self._wait(error, attempt, function)
                if wait is None:
                    raise
            await sleep(wait)
            attempt += 1
            call = function(*args, **kwargs)

    def _wait(self, error: BaseException, attempt: int, function: Callable[..., Any]) -> float | None:
        """Seconds until the next attempt; None where there is none."""
        if not self._is_worth_it(error):
            return None
        if attempt >= self._attempts:
            if self._attempts > 1:
                _note(error, f"{name_of(function)} failed {attempt} times; this is the last failure")
            return None
        retry_after = error.retry_after or 0.0 if isinstance(error, AmbidexError) else 0.0
        if retry_after > self._cap:
            _note(
                error,
                f"not tried again: it asks to wait {retry_after:g} s, more than the cap of {self._cap:g} s",
            )
            return None
        # Beyond 2 ** 1000 a float overflows; the cap was reached long before.
        spread = min(self._cap, self._base * 2.0 ** min(attempt - 1, 1000))
        return retry_after + random.uniform(0.0, spread)

    def _is_worth_it(self, error: BaseException) -> bool:
        if isinstance(error, (asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit)):
            return False
        if self._on is None:
            return error.retryable if isinstance(error, AmbidexError) else isinstance(error, Exception)
        if isinstance(self._on, (type, tuple)):
            return isinstance(error, _with_timeouts(self._on))
        return bool(self._on(error))


def _with_timeouts(kinds: Any) -> tuple[type[BaseException], ...]:
    """Before 3.11 asyncio's TimeoutError was not the builtin one; whoever names one means both."""
    kinds = kinds if isinstance(kinds, tuple) else (kinds,)
    if builtins.TimeoutError in kinds:
        return (*kinds, asyncio.TimeoutError)
    return tuple(kinds)


def _note(error: BaseException, text: str) -> None:
    # Python 3.10 has no notes.
    add: Callable[[str], None] | None = getattr(error, "add_note", None)
    if add is not None:
        add(text)
