"""Waiting for another thread: each waiter waits in the way of its own thread or loop, and anyone may wake
it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any, Protocol

from .backend import running_backend

if TYPE_CHECKING:
    from collections.abc import Callable


class Wakeup(Protocol):
    """Wakes one waiter. What is woken looks for itself why; two wake-ups before it looks are one."""

    def wake(self) -> bool:
        """From any thread, at once. False when the waiter's loop is closed, so that nobody will ever look."""
        ...


class AsyncWakeup(Wakeup, Protocol):
    async def wait(self, timeout: float | None) -> None:
        """Until woken, at most `timeout` seconds."""
        ...


def async_wakeup() -> AsyncWakeup:
    """A wake-up for the task that runs here."""
    if running_backend() == "trio":
        return TrioWakeup()
    return LoopWakeup(asyncio.get_running_loop())


class ThreadWakeup:
    """For a thread. Its wait ends early with what a signal handler raises, such as KeyboardInterrupt."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def wake(self) -> bool:
        # One that was woken before, and has not looked yet, refuses.
        with contextlib.suppress(RuntimeError):
            self._lock.release()
        return True

    def wait(self, timeout: float | None) -> None:
        self._lock.acquire(timeout=-1 if timeout is None else min(max(timeout, 0.0), threading.TIMEOUT_MAX))


class LoopWakeup:
    """For a task of asyncio, also under uvloop."""

    __slots__ = ("_future", "_loop", "_woken")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._future: asyncio.Future[None] | None = None
        self._woken = False

    def wake(self) -> bool:
        if asyncio._get_running_loop() is self._loop:
            self._set()
            return True
        try:
            self._loop.call_soon_threadsafe(self._set)
        except RuntimeError:
            return False
        return True

    async def wait(self, timeout: float | None) -> None:
        if not self._woken:
            future = self._future = self._loop.create_future()
            timer = None if timeout is None else self._loop.call_later(max(timeout, 0.0), self._set)
            try:
                await future
            finally:
                self._future = None
                if timer is not None:
                    timer.cancel()
        self._woken = False

    def _set(self) -> None:
        self._woken = True
        if self._future is not None and not self._future.done():
            self._future.set_result(None)


class TrioWakeup:
    """For a task of trio."""

    __slots__ = ("_event", "_token", "_trio")

    def __init__(self) -> None:
        import trio

        self._trio: Any = trio
        self._token: Any = trio.lowlevel.current_trio_token()
        self._event: Any = trio.Event()

    def wake(self) -> bool:
        wake: Callable[[], None] = self._set
        try:
            self._token.run_sync_soon(wake)
        except self._trio.RunFinishedError:
            return False
        return True

    async def wait(self, timeout: float | None) -> None:
        with self._trio.move_on_after(float("inf") if timeout is None else max(timeout, 0.0)):
            await self._event.wait()
        self._event = self._trio.Event()

    def _set(self) -> None:
        self._event.set()
