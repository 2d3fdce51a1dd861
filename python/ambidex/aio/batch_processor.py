"""Single items in, batches to a function, single results out."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
import weakref
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from .._bridge import sync_call_under_loop
from ..errors import CancelledError
from .backend import require_asyncio, running_backend
from .batch_collector import Entry, LoopCollector, Plan, ThreadCollector, now
from .function_kind import is_async_function, name_of
from .limiter import Limiter
from .wakeup import async_wakeup

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from types import TracebackType

    from typing_extensions import Self

T = TypeVar("T")
R = TypeVar("R")


class BatchProcessor(Generic[T, R]):
    """Collects items into batches and calls `fn` with a list of them; `fn` gives a list of their results.

    A batch goes off when it has `batch_size` items, or when its oldest has waited `max_wait` seconds, and at
    most `concurrency` batches are under way at once; meanwhile the next one goes on filling up.

    `fn` may be `def` or `async def`. It gives one result for each item, in their order; an exception in place
    of a result fails that item alone. When `fn` itself raises for several items, it is called again for each
    of them by itself, so that only those fail that are at fault; with `isolate=False`, or when the error is
    one of ours that is `retryable` (a provider is busy, no item is at fault), all of them get the error.

    Items may come from any thread and any loop, and the processor belongs to none: make it where you like.

    - A `def` runs on threads of the processor, which collects items of all threads and loops together.
    - An `async def` runs on the loop that submits, so it may use what belongs to that; each loop fills
      batches of its own. Items of threads are together one more, on the background loop of `ax.aio.run`.

        processor = ax.aio.BatchProcessor(embed, batch_size=100, max_wait=0.05)
        vector = await processor.asubmit(text)         # a coroutine
        vector = processor.submit(text).result()       # a thread
        vectors = processor.map(texts)                 # a thread, many at once

    `close` and `aclose`, or leaving a `with` or `async with` block, hand on at once what still waits, and
    wait for it. A processor that is not closed loses what still waits when the process ends.

    Raises:
        TypeError, ValueError: `batch_size` or `concurrency` below 1, `max_wait` below 0.
    """

    @overload
    def __init__(
        self,
        fn: Callable[[list[T]], Awaitable[Collection[R | BaseException]]],
        batch_size: int = ...,
        max_wait: float = ...,
        concurrency: int = ...,
        *,
        isolate: bool = ...,
    ) -> None: ...
    @overload
    def __init__(
        self,
        fn: Callable[[list[T]], Collection[R | BaseException]],
        batch_size: int = ...,
        max_wait: float = ...,
        concurrency: int = ...,
        *,
        isolate: bool = ...,
    ) -> None: ...
    def __init__(
        self,
        fn: Callable[[list[T]], Any],
        batch_size: int = 10,
        max_wait: float = 1.0,
        concurrency: int = 5,
        *,
        isolate: bool = True,
    ) -> None:
        if not callable(fn):
            raise TypeError(f"BatchProcessor: fn is a function of a list of items, not {fn!r}")
        for name, number in (("batch_size", batch_size), ("concurrency", concurrency)):
            if isinstance(number, bool) or not isinstance(number, int):
                raise TypeError(f"BatchProcessor: {name} is a whole number, not {number!r}")
            if number < 1:
                raise ValueError(f"BatchProcessor: {name} is 1 or more, not {number}")
        if not max_wait >= 0:
            raise ValueError(f"BatchProcessor: max_wait is a time of 0 or more seconds, not {max_wait!r}")
        self._is_async = is_async_function(fn)
        self._plan = Plan(fn, batch_size, max_wait, Limiter(concurrency), isolate)
        self._closed = False
        self._threads = ThreadCollector(self._plan)
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopCollector] = (
            weakref.WeakKeyDictionary()
        )
        self._lock = threading.RLock()
        self._open: set[concurrent.futures.Future[R]] = set()
        _processors.add(self)

    def submit(self, item: T) -> concurrent.futures.Future[R]:
        """Adds an item from any thread and gives at once the future of its result; never blocks.

        Raises:
            RuntimeError: the processor is closed.
        """
        entry = self._entry(item)
        self._threads.add(entry)
        return entry.future

    async def asubmit(self, item: T) -> R:
        """Adds an item and awaits its result. Cancelled, it is withdrawn; a batch of which all are is
        cancelled.

        Raises:
            RuntimeError: the processor is closed, or `fn` is async and the loop is not asyncio's.
        """
        if self._is_async:
            home = self._home(
                require_asyncio("a BatchProcessor of an async function", "give it a `def` function")
            )
            entry = self._entry(item)
            home.add(entry)
        else:
            entry = self._entry(item)
            self._threads.add(entry)
        try:
            await _settled(entry.future)
        except BaseException:
            entry.withdraw()
            raise
        return _result(entry.future)

    @overload
    def map(self, items: Iterable[T]) -> list[R]: ...
    @overload
    def map(self, items: Iterable[T], *, return_exceptions: bool) -> list[R | BaseException]: ...
    def map(self, items: Iterable[T], *, return_exceptions: bool = False) -> Any:
        """The results of many items, in their order, from sync code.

        Raises:
            what the first item that failed raised, once all have ended; with `return_exceptions`, failures
            are results.
        """
        futures = [self.submit(item) for item in items]
        self._warn_of_loop("map", "await processor.amap(...)")
        try:
            concurrent.futures.wait(futures)
        except BaseException:
            for future in futures:
                future.cancel()
            raise
        return _results(futures, return_exceptions)

    @overload
    async def amap(self, items: Iterable[T]) -> list[R]: ...
    @overload
    async def amap(self, items: Iterable[T], *, return_exceptions: bool) -> list[R | BaseException]: ...
    async def amap(self, items: Iterable[T], *, return_exceptions: bool = False) -> Any:
        """The results of many items, in their order. Failures are as with `map`."""
        home: LoopCollector | ThreadCollector = self._threads
        if self._is_async:
            home = self._home(
                require_asyncio("a BatchProcessor of an async function", "give it a `def` function")
            )
        entries: list[Entry[T, R]] = []
        try:
            for item in items:
                entries.append(entry := self._entry(item))
                home.add(entry)
            for entry in entries:
                await _settled(entry.future)
        except BaseException:
            for entry in entries:
                entry.withdraw()
            raise
        return _results([entry.future for entry in entries], return_exceptions)

    def close(self, timeout: float | None = None) -> None:
        """Takes no more items, hands on at once what waits, and waits until all have their results.

        Raises:
            ax.TimeoutError: after `timeout` seconds; the rest goes on.
            RuntimeError: in a coroutine whose own loop has items under way: use `aclose`.
        """
        with self._lock:
            # A loop that this blocks could not finish its own batches.
            loop = asyncio._get_running_loop()
            home = self._loops.get(loop) if loop is not None else None
            if home is not None and home.is_busy():
                raise RuntimeError(
                    "BatchProcessor.close() would wait for ever for batches of the loop it blocks; there, "
                    "use `await processor.aclose()` or `async with`"
                )
        still_open = self._close_intake()
        if still_open:
            self._warn_of_loop("close", "await processor.aclose()")
        _, not_done = concurrent.futures.wait(still_open, timeout)
        if not_done:
            from ..errors import TimeoutError

            raise TimeoutError(
                f"BatchProcessor.close(): {len(not_done)} items have no result after {timeout:g} s"
            )

    async def aclose(self) -> None:
        """As `close`, without blocking the loop."""
        for future in self._close_intake():
            await _settled(future)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self._withdraw_all()
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self._withdraw_all()
        await self.aclose()

    @property
    def waiting(self) -> int:
        """Items that no batch has taken yet."""
        return sum(not future.running() for future in list(self._open))

    @property
    def batches(self) -> int:
        """Batches under way."""
        return self._plan.slots.held

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"waiting={self.waiting} batches={self.batches}"
        return f"BatchProcessor({name_of(self._plan.fn)}, batch_size={self._plan.batch_size}) {state}"

    def _entry(self, item: T) -> Entry[T, R]:
        entry: Entry[T, R] = Entry(item, now() + self._plan.max_wait)
        with self._lock:
            if self._closed:
                raise RuntimeError("this BatchProcessor is closed and takes no more items; make a new one")
            self._open.add(entry.future)
        # Outside of the lock, for it may call at once.
        entry.future.add_done_callback(self._open.discard)
        return entry

    def _home(self, loop: asyncio.AbstractEventLoop) -> LoopCollector:
        with self._lock:
            home = self._loops.get(loop)
            if home is None:
                for other, old in list(self._loops.items()):
                    if other.is_closed():
                        del self._loops[other]
                        old.abandon()
                home = self._loops[loop] = LoopCollector(self._plan)
            return home

    def _close_intake(self) -> list[concurrent.futures.Future[R]]:
        with self._lock:
            self._closed = True
            loops = list(self._loops.items())
        self._threads.flush()
        for loop, home in loops:
            try:
                loop.call_soon_threadsafe(home.flush)
            except RuntimeError:
                # It is closed: nobody is left who could carry these out, and nobody who waits for them.
                home.abandon()
        with self._lock:
            return list(self._open)

    def _withdraw_all(self) -> None:
        with self._lock:
            futures = list(self._open)
        for future in futures:
            future.cancel()

    def _warn_of_loop(self, name: str, instead: str) -> None:
        if running_backend() is not None:
            sync_call_under_loop(f"BatchProcessor.{name}", instead)

    def _after_fork(self) -> None:
        # Threads, loops and all that waits are the parent's.
        self._lock = threading.RLock()
        self._open = set()
        self._threads = ThreadCollector(self._plan)
        self._loops = weakref.WeakKeyDictionary()


_processors: weakref.WeakSet[BatchProcessor[Any, Any]] = weakref.WeakSet()


def _after_fork() -> None:
    for processor in list(_processors):
        processor._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


async def _settled(future: concurrent.futures.Future[Any]) -> None:
    """Until it has ended, under any async library."""
    if future.done():
        return
    wakeup = async_wakeup()

    def wake(_: concurrent.futures.Future[Any]) -> None:
        wakeup.wake()

    future.add_done_callback(wake)
    while not future.done():
        await wakeup.wait(None)


def _result(future: concurrent.futures.Future[R]) -> R:
    if future.cancelled():
        raise CancelledError("this item was withdrawn before its batch began")
    return future.result()


def _results(futures: list[concurrent.futures.Future[R]], return_exceptions: bool) -> list[Any]:
    results: list[Any] = []
    for future in futures:
        try:
            results.append(_result(future))
        except Exception as error:
            if not return_exceptions:
                raise
            results.append(error)
    return results
