"""Where a batch processor's items wait until their batch is due, and how a batch is carried out."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import inspect
import threading
import time
from collections import deque
from collections.abc import Collection, Mapping, Set
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..errors import AmbidexError, CancelledError
from .function_kind import name_of
from .run import run
from .wakeup import LoopWakeup

if TYPE_CHECKING:
    from collections.abc import Callable

    from .limiter import Limiter

T = TypeVar("T")
R = TypeVar("R")

# How long a thread without work is kept, in seconds.
_KEEP_ALIVE = 10.0

now = time.monotonic


class Plan:
    """What all batches of a processor have in common."""

    def __init__(
        self, fn: Callable[[list[Any]], Any], batch_size: int, max_wait: float, slots: Limiter, isolate: bool
    ) -> None:
        self.fn = fn
        self.batch_size = batch_size
        self.max_wait = max_wait
        self.slots = slots
        self.isolate = isolate

    def blames_items(self, error: BaseException, batch: Collection[Any]) -> bool:
        """Whether calling again for each item alone could help some of them."""
        if not self.isolate or len(batch) < 2 or not isinstance(error, Exception):
            return False
        return not (isinstance(error, AmbidexError) and error.retryable)


class Entry(Generic[T, R]):
    """An item on its way."""

    __slots__ = ("batch", "context", "deadline", "future", "item")

    def __init__(self, item: T, deadline: float) -> None:
        self.item = item
        self.deadline = deadline
        self.future: concurrent.futures.Future[R] = concurrent.futures.Future()
        self.context = contextvars.copy_context()
        self.batch: LoopBatch | None = None

    def withdraw(self) -> None:
        """Nobody waits for its result any more."""
        if not self.future.cancel() and self.batch is not None:
            self.batch.left()

    def succeed(self, result: R) -> None:
        if not self.future.done():
            self.future.set_result(result)

    def fail(self, error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError):
            # It is the batch that was cancelled, not whoever waits for it.
            error = CancelledError("the batch of this item was cancelled while it was under way")
        if not self.future.done():
            self.future.set_exception(error)


def _take(waiting: deque[Entry[Any, Any]], at_most: int) -> list[Entry[Any, Any]]:
    """The next batch, without items that were withdrawn."""
    batch: list[Entry[Any, Any]] = []
    while waiting and len(batch) < at_most:
        entry = waiting.popleft()
        if entry.future.set_running_or_notify_cancel():
            batch.append(entry)
    return batch


def _give(fn: Any, batch: list[Entry[Any, Any]], results: Any) -> None:
    fits = isinstance(results, Collection) and not isinstance(results, (str, bytes, Mapping, Set))
    if not fits or len(results) != len(batch):
        told = f"{len(results)} results" if fits else f"one value of type {type(results).__name__}"
        error = TypeError(
            f"BatchProcessor: {name_of(fn)} was given a list of {len(batch)} items and must return a list "
            f"with one result for each, but returned {told}"
        )
        for entry in batch:
            entry.fail(error)
        return
    for entry, result in zip(batch, results, strict=True):
        if isinstance(result, BaseException):
            entry.fail(result)
        else:
            entry.succeed(result)


class ThreadCollector:
    """Collects items on threads of its own, started on demand: one that waits for the next batch to be due,
    and one for each batch under way."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._changed = threading.Condition()
        self._waiting: deque[Entry[Any, Any]] = deque()
        self._collecting = False
        """One thread waits for the next batch to be due."""
        self._idle = 0
        """Threads without work, with those that are just being started."""
        self._count = 0
        self._flush = False

    def add(self, entry: Entry[Any, Any]) -> None:
        with self._changed:
            self._waiting.append(entry)
            if self._collecting:
                if len(self._waiting) >= self._plan.batch_size:
                    self._changed.notify_all()
            else:
                self._find_collector()

    def flush(self) -> None:
        with self._changed:
            self._flush = True
            self._changed.notify_all()

    def _find_collector(self) -> None:
        if self._idle:
            self._changed.notify_all()
            return
        self._count += 1
        self._idle += 1
        thread = threading.Thread(target=self._live, name=f"ambidex-batch-{self._count}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            self._count -= 1
            self._idle -= 1
            if not self._count:
                while self._waiting:
                    self._waiting.pop().fail(error)

    def _live(self) -> None:
        while self._collect():
            with self._plan.slots:
                with self._changed:
                    batch = _take(self._waiting, self._plan.batch_size)
                    self._collecting = False
                    if self._waiting:
                        self._find_collector()
                if batch:
                    batch[0].context.run(self._carry_out, batch)
                # Not held while it is idle.
                del batch
                # Before others may take its place: one that is about to be idle is as good as one that is.
                with self._changed:
                    self._idle += 1

    def _collect(self) -> bool:
        """Waits until a batch is due. False when this thread should end."""
        with self._changed:
            while self._collecting or not self._waiting:
                is_over = self._flush and not self._waiting
                if is_over or (
                    not self._changed.wait(_KEEP_ALIVE) and (self._collecting or not self._waiting)
                ):
                    self._idle -= 1
                    self._count -= 1
                    return False
            self._idle -= 1
            self._collecting = True
            while len(self._waiting) < self._plan.batch_size and not self._flush:
                left = self._waiting[0].deadline - now()
                if left <= 0:
                    break
                self._changed.wait(min(left, threading.TIMEOUT_MAX))
            return True

    def _carry_out(self, batch: list[Entry[Any, Any]]) -> None:
        plan = self._plan
        try:
            results = self._call([entry.item for entry in batch])
        except BaseException as error:
            if plan.blames_items(error, batch):
                for entry in batch:
                    self._carry_out([entry])
            else:
                for entry in batch:
                    entry.fail(error)
        else:
            _give(plan.fn, batch, results)

    def _call(self, items: list[Any]) -> Any:
        result = self._plan.fn(items)
        return run(result) if inspect.isawaitable(result) else result


class LoopCollector:
    """Collects items of one loop, as tasks of that loop. Does not hold the loop. Used on its thread alone,
    but for what says otherwise."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._waiting: deque[Entry[Any, Any]] = deque()
        self._collector: LoopWakeup | None = None
        """Wakes the task that waits for the next batch to be due."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._under_way: set[Entry[Any, Any]] = set()
        self._flush = False

    def add(self, entry: Entry[Any, Any]) -> None:
        self._waiting.append(entry)
        if self._collector is None:
            self._start_collector()
        elif len(self._waiting) >= self._plan.batch_size:
            self._collector.wake()

    def flush(self) -> None:
        self._flush = True
        if self._collector is not None:
            self._collector.wake()

    def is_busy(self) -> bool:
        return bool(self._waiting or self._under_way)

    def abandon(self) -> None:
        """Its loop is closed. From any thread."""
        self._tasks.clear()
        for entry in [*self._waiting, *self._under_way]:
            if not entry.future.cancel():
                entry.fail(RuntimeError("the event loop of this item was closed before its batch ended"))
        self._waiting.clear()
        self._under_way.clear()

    def _start_collector(self) -> None:
        loop = asyncio.get_running_loop()
        self._collector = LoopWakeup(loop)
        task = loop.create_task(self._collect(self._collector))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _collect(self, wakeup: LoopWakeup) -> None:
        plan = self._plan
        try:
            while self._waiting and len(self._waiting) < plan.batch_size and not self._flush:
                left = self._waiting[0].deadline - now()
                if left <= 0:
                    break
                await wakeup.wait(left)
            async with plan.slots:
                batch = _take(self._waiting, plan.batch_size)
                self._collector = None
                if self._waiting:
                    self._start_collector()
                await self._carry_out_all(batch)
        finally:
            if self._collector is wakeup:
                # Cancelled, because the loop ends.
                self._collector = None
                while self._waiting:
                    self._waiting.popleft().future.cancel()

    async def _carry_out_all(self, batch: list[Entry[Any, Any]]) -> None:
        if not batch:
            return
        self._under_way.update(batch)
        # A task of its own in the context of the first item, which may be cancelled without its slot.
        work = batch[0].context.run(asyncio.ensure_future, self._carry_out(batch))
        shared = LoopBatch(work, len(batch))
        for entry in batch:
            entry.batch = shared
        try:
            await asyncio.wait({work})
        finally:
            if not work.done():
                work.cancel()
                await asyncio.wait({work})
            self._under_way.difference_update(batch)
            for entry in batch:
                entry.batch = None
                entry.fail(asyncio.CancelledError())

    async def _carry_out(self, batch: list[Entry[Any, Any]]) -> None:
        try:
            results = await self._plan.fn([entry.item for entry in batch])
        except Exception as error:
            if self._plan.blames_items(error, batch):
                for entry in batch:
                    await self._carry_out([entry])
            else:
                for entry in batch:
                    entry.fail(error)
        else:
            _give(self._plan.fn, batch, results)


class LoopBatch:
    """A batch under way, as those who wait for it see it."""

    def __init__(self, task: asyncio.Future[None], waiting: int) -> None:
        self._task = task
        self._waiting = waiting

    def left(self) -> None:
        self._waiting -= 1
        if not self._waiting:
            self._task.cancel()
