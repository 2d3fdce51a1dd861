"""Several awaitables at once, with a limit, and nothing left behind."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections import deque
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from .backend import require_asyncio

if TYPE_CHECKING:
    from collections.abc import Awaitable

    Awaited = asyncio.Future[Any]

T = TypeVar("T")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
T5 = TypeVar("T5")

# As with asyncio.gather, a few arguments of different types are typed as a tuple, although a list is what
# comes.


@overload
async def gather(  # type: ignore[overload-overlap]
    a: Awaitable[T1], /, *, limit: int | None = None, return_exceptions: Literal[False] = False
) -> tuple[T1]: ...
@overload
async def gather(  # type: ignore[overload-overlap]
    a: Awaitable[T1],
    b: Awaitable[T2],
    /,
    *,
    limit: int | None = None,
    return_exceptions: Literal[False] = False,
) -> tuple[T1, T2]: ...
@overload
async def gather(  # type: ignore[overload-overlap]
    a: Awaitable[T1],
    b: Awaitable[T2],
    c: Awaitable[T3],
    /,
    *,
    limit: int | None = None,
    return_exceptions: Literal[False] = False,
) -> tuple[T1, T2, T3]: ...
@overload
async def gather(  # type: ignore[overload-overlap]
    a: Awaitable[T1],
    b: Awaitable[T2],
    c: Awaitable[T3],
    d: Awaitable[T4],
    /,
    *,
    limit: int | None = None,
    return_exceptions: Literal[False] = False,
) -> tuple[T1, T2, T3, T4]: ...
@overload
async def gather(  # type: ignore[overload-overlap]
    a: Awaitable[T1],
    b: Awaitable[T2],
    c: Awaitable[T3],
    d: Awaitable[T4],
    e: Awaitable[T5],
    /,
    *,
    limit: int | None = None,
    return_exceptions: Literal[False] = False,
) -> tuple[T1, T2, T3, T4, T5]: ...
@overload
async def gather(
    *aws: Awaitable[T], limit: int | None = None, return_exceptions: Literal[False] = False
) -> list[T]: ...
@overload
async def gather(
    *aws: Awaitable[T], limit: int | None = None, return_exceptions: bool
) -> list[T | BaseException]: ...
async def gather(*aws: Awaitable[Any], limit: int | None = None, return_exceptions: bool = False) -> Any:
    """The results of all, in the order of the arguments, as a list.

    At most `limit` of them run at once (None: all), and the others are not even started before it is their
    turn; they start in the order given. A task or future that is passed in runs already: it takes no place.

    When one fails, the others are cancelled and awaited, and the first failure is raised: once this returns,
    nothing runs on. The same holds when this itself is cancelled. With `return_exceptions`, failures are
    results.

        pages = await ax.aio.gather(*(fetch(u) for u in urls), limit=8)

    Raises:
        ValueError: `limit` below 1.
        RuntimeError: no loop of asyncio runs here.
    """
    try:
        if limit is not None and limit < 1:
            raise ValueError(f"gather: limit is 1 or more, or None for all at once, not {limit}")
        loop = require_asyncio("ax.aio.gather", "under trio open a nursery")
        places = _places(aws)
    except BaseException:
        _close(aws)
        raise
    if not aws:
        return []
    gathering = _Gathering(loop, list(places), limit, return_exceptions)
    # Lets go of what a failure refers to, so that its traceback and these frames make no cycle.
    del loop, aws
    try:
        results = await gathering.all()
        return [results[index] for index in places.values()]
    finally:
        del gathering


def _places(aws: tuple[Awaitable[Any], ...]) -> _Places:
    places = _Places(aws)
    for awaitable in places:
        if not (inspect.isawaitable(awaitable) or asyncio.isfuture(awaitable)):
            kind = "an async function: call it" if inspect.iscoroutinefunction(awaitable) else "no awaitable"
            raise TypeError(f"gather: {awaitable!r} is {kind}; a list is passed with a star: gather(*aws)")
    return places


class _Places:
    """The arguments without repetition, and for each argument which of those it is."""

    def __init__(self, aws: tuple[Awaitable[Any], ...]) -> None:
        seen: dict[int, int] = {}
        self._unique: list[Awaitable[Any]] = []
        self._indices: list[int] = []
        for awaitable in aws:
            index = seen.setdefault(id(awaitable), len(self._unique))
            if index == len(self._unique):
                self._unique.append(awaitable)
            self._indices.append(index)

    def __iter__(self) -> Any:
        return iter(self._unique)

    def values(self) -> list[int]:
        return self._indices


def _close(aws: Any) -> None:
    """What was never started must not complain that it was never awaited."""
    for awaitable in aws:
        if inspect.iscoroutine(awaitable):
            awaitable.close()


class _Gathering:
    """One call of `gather` under way."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        aws: list[Awaitable[Any]],
        limit: int | None,
        keep_failures: bool,
    ) -> None:
        self._loop = loop
        self._limit = len(aws) if limit is None else limit
        self._keep_failures = keep_failures
        self._results: list[Any] = [None] * len(aws)
        self._waiting = deque(enumerate(aws))
        self._running: dict[Awaited, tuple[int, bool]] = {}
        self._in_places = 0
        self._failure: BaseException | None = None
        self._stopped = False
        self._turn: asyncio.Future[None] | None = None
        # Later starts happen in callbacks, and see the variables of the caller all the same.
        self._context = contextvars.copy_context()

    async def all(self) -> list[Any]:
        cancelled: asyncio.CancelledError | None = None
        self._start_next()
        while self._running:
            self._turn = self._loop.create_future()
            try:
                await self._turn
            except asyncio.CancelledError as error:
                # Who cancels waits for the clean-up of what it cancelled, and does not disturb it by cancelling
                # again.
                cancelled = error
                self._stop()
        try:
            if cancelled is not None:
                raise cancelled
            if self._failure is not None:
                raise self._failure
            return self._results
        finally:
            del cancelled
            self._failure = None

    def _start_next(self) -> None:
        while self._waiting and not self._stopped:
            index, awaitable = self._waiting[0]
            ours = not asyncio.isfuture(awaitable)
            if ours and self._in_places >= self._limit:
                return
            self._waiting.popleft()
            try:
                task: Awaited = asyncio.ensure_future(awaitable, loop=self._loop)
            except BaseException as error:  # A future of another loop, a task factory that refuses.
                _close([awaitable])
                self._ended(index, error)
                continue
            self._running[task] = (index, ours)
            self._in_places += ours
            task.add_done_callback(self._done, context=self._context)

    def _done(self, task: Awaited) -> None:
        index, ours = self._running.pop(task)
        self._in_places -= ours
        if task.cancelled():
            self._ended(index, asyncio.CancelledError())
        elif (error := task.exception()) is not None:
            self._ended(index, error)
        else:
            self._results[index] = task.result()
        self._start_next()
        if not self._running and self._turn is not None and not self._turn.done():
            self._turn.set_result(None)

    def _ended(self, index: int, error: BaseException) -> None:
        if self._keep_failures and not self._stopped:
            self._results[index] = error
        elif not self._stopped:
            self._failure = error
            self._stop()

    def _stop(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        _close(awaitable for _, awaitable in self._waiting)
        self._waiting.clear()
        for task in list(self._running):
            task.cancel()
