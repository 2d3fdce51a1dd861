"""A limit that threads and tasks of any loop share."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import OrderedDict, deque
from enum import Enum
from typing import TYPE_CHECKING

from .._bridge import sync_call_under_loop
from .backend import running_backend
from .wakeup import ThreadWakeup, Wakeup, async_wakeup

if TYPE_CHECKING:
    from types import TracebackType

_now = time.monotonic


class _State(Enum):
    WAITING = 1
    ENTERED = 2
    """Holds a permit."""
    STUCK = 3
    """Waits for a permit that only its own thread could give back."""
    GONE = 4


class _Waiter:
    __slots__ = ("state", "thread", "thread_waits", "wakeup")

    def __init__(self, wakeup: Wakeup, thread_waits: bool) -> None:
        self.wakeup = wakeup
        self.thread = threading.get_ident()
        self.thread_waits = thread_waits
        """The thread itself waits, not a task of its loop."""
        self.state = _State.WAITING


class _Operation(Enum):
    ENTER = 1
    LEAVE = 2
    """Gives a permit back."""
    GIVE_UP = 3
    """The waiter waits no longer, whether it was let in meanwhile or not."""
    LOOK = 4
    """Time has passed."""


class Limiter:
    """At most `permits` at once inside `with limiter:` and `async with limiter:`, counted over all threads
    and loops.

    With `per`, at most `permits` entries in any `per` seconds instead, and no limit on how many are inside.

    Whoever came first is let in first, be it a thread or a task of any loop. A limiter belongs to no loop:
    one made at import time serves all. It is not re-entrant: a nested `with` takes a second permit.

        limiter = ax.aio.Limiter(10)
        with limiter: ...            # a thread
        async with limiter: ...      # a task under asyncio, uvloop or trio

    After a fork, the child has the permits that other threads of the parent held.

    Raises:
        ValueError: `permits` below 1, `per` not above 0 (seconds). RuntimeError: on entering with `with`,
        when every permit is held by the very thread that would wait, or by
            tasks of its loop: it would wait for ever.
    """

    def __init__(self, permits: int, *, per: float | None = None) -> None:
        if isinstance(permits, bool) or not isinstance(permits, int):
            raise TypeError(f"Limiter: permits is a whole number, not {permits!r}")
        if permits < 1:
            raise ValueError(f"Limiter: permits is 1 or more, not {permits}")
        if per is not None and not per > 0:
            raise ValueError(
                f"Limiter: per is a time above 0 seconds, not {per!r}; leave it out to limit how many at once"
            )
        self._permits = permits
        self._per = per
        # Whoever has something to say puts it here and then tries to be the one that acts on it. So nobody
        # ever waits for the lock: not a signal handler nor a finaliser that interrupts its own thread inside.
        self._inbox: deque[tuple[_Operation, _Waiter | None, int]] = deque()
        self._lock = threading.Lock()
        # From here on only under the lock.
        self._queue: OrderedDict[_Waiter, None] = OrderedDict()
        self._free = permits
        self._holders: dict[int, int] = {}
        self._waiting_threads: dict[int, _Waiter] = {}
        self._entries: deque[float] = deque(maxlen=permits)
        self._clock_watcher: _Waiter | None = None
        _limiters.add(self)

    @property
    def permits(self) -> int:
        """How many at once, or how many per `per` seconds."""
        return self._permits

    @property
    def per(self) -> float | None:
        """Seconds; None when it limits how many at once."""
        return self._per

    @property
    def held(self) -> int:
        """How many are inside now; 0 with `per`."""
        return self._permits - self._free

    @property
    def waiting(self) -> int:
        """How many wait to be let in now."""
        return len(self._queue)

    def __enter__(self) -> None:
        waiter = _Waiter(wakeup := ThreadWakeup(), thread_waits=True)
        try:
            self._post(_Operation.ENTER, waiter)
            if waiter.state is _State.WAITING and running_backend() is not None:
                sync_call_under_loop("`with limiter:`", "async with limiter:")
            while waiter.state is _State.WAITING:
                wakeup.wait(self._time_to_wait(waiter))
                self._post(_Operation.LOOK)
            if waiter.state is _State.STUCK:
                raise RuntimeError(
                    f"`with limiter:` would wait for ever: this thread, or tasks of its event loop, "
                    f"hold all {self._permits} permits; leave the outer `with` first, and in a coroutine use "
                    "`async with`"
                )
        except BaseException:
            self._post(_Operation.GIVE_UP, waiter)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._post(_Operation.LEAVE)

    async def __aenter__(self) -> None:
        waiter = _Waiter(wakeup := async_wakeup(), thread_waits=False)
        try:
            self._post(_Operation.ENTER, waiter)
            while waiter.state is _State.WAITING:
                await wakeup.wait(self._time_to_wait(waiter))
                self._post(_Operation.LOOK)
        except BaseException:
            self._post(_Operation.GIVE_UP, waiter)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._post(_Operation.LEAVE)

    def _post(self, operation: _Operation, waiter: _Waiter | None = None) -> None:
        self._inbox.append((operation, waiter, threading.get_ident()))
        # Who fails to take the lock leaves the work to its owner, who looks again after giving it back.
        while self._inbox and self._lock.acquire(blocking=False):
            try:
                to_wake = self._work_off()
            finally:
                self._lock.release()
            for woken in to_wake:
                if not woken.wakeup.wake():
                    self._inbox.append((_Operation.GIVE_UP, woken, woken.thread))

    def _work_off(self) -> list[_Waiter]:
        """Acts on all that was posted; gives those whose turn it is to look."""
        while self._inbox:
            operation, waiter, thread = self._inbox.popleft()
            if operation is _Operation.LEAVE:
                self._take_back(thread)
            elif waiter is None:
                pass
            elif operation is _Operation.ENTER:
                self._queue[waiter] = None
                if waiter.thread_waits:
                    self._waiting_threads[waiter.thread] = waiter
            elif operation is _Operation.GIVE_UP:
                if waiter.state is _State.ENTERED:
                    self._take_back(waiter.thread)
                self._forget(waiter)
                waiter.state = _State.GONE
        return self._let_in()

    def _let_in(self) -> list[_Waiter]:
        to_wake: list[_Waiter] = []
        while self._queue and self._may_enter():
            waiter = next(iter(self._queue))
            self._forget(waiter)
            self._take(waiter.thread)
            waiter.state = _State.ENTERED
            to_wake.append(waiter)
        if self._per is not None:
            head = next(iter(self._queue), None)
            if head is not None and head is not self._clock_watcher:
                to_wake.append(head)
            self._clock_watcher = head
        elif len(self._holders) == 1 and not self._free:
            stuck = self._waiting_threads.get(next(iter(self._holders)))
            if stuck is not None:
                self._forget(stuck)
                stuck.state = _State.STUCK
                to_wake.append(stuck)
        return to_wake

    def _may_enter(self) -> bool:
        if self._per is None:
            return self._free > 0
        return len(self._entries) < self._permits or _now() >= self._entries[0] + self._per

    def _take(self, thread: int) -> None:
        if self._per is None:
            self._free -= 1
            self._holders[thread] = self._holders.get(thread, 0) + 1
        else:
            self._entries.append(_now())

    def _take_back(self, thread: int) -> None:
        if self._per is not None:
            return
        self._free += 1
        # A block that was entered on another thread is rare, and which it was does not matter then.
        holder = thread if thread in self._holders else next(iter(self._holders))
        self._holders[holder] -= 1
        if not self._holders[holder]:
            del self._holders[holder]

    def _forget(self, waiter: _Waiter) -> None:
        self._queue.pop(waiter, None)
        if self._waiting_threads.get(waiter.thread) is waiter:
            del self._waiting_threads[waiter.thread]

    def _time_to_wait(self, waiter: _Waiter) -> float | None:
        """Seconds until it must look at the clock; None when somebody else does that."""
        if self._per is None or self._clock_watcher is not waiter:
            return None
        return self._entries[0] + self._per - _now()

    def _after_fork(self) -> None:
        # Of all threads only this one goes on in the child.
        thread = threading.get_ident()
        held = self._holders.get(thread, 0)
        self._lock = threading.Lock()
        self._inbox.clear()
        self._queue.clear()
        self._waiting_threads.clear()
        self._holders = {thread: held} if held else {}
        self._free = self._permits - held
        self._clock_watcher = None

    def __repr__(self) -> str:
        if self._per is not None:
            return f"Limiter({self._permits}, per={self._per:g}) waiting={self.waiting}"
        return f"Limiter({self._permits}) held={self.held} waiting={self.waiting}"


_limiters: weakref.WeakSet[Limiter] = weakref.WeakSet()


def _after_fork() -> None:
    for limiter in list(_limiters):
        limiter._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
