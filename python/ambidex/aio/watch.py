"""Watching a loop on which no call of ours is made."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .backend import require_asyncio

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from .. import _core


class Watch:
    """A loop under watch, until `stop` is called, the `with` block ends or the loop is closed."""

    def __init__(self) -> None:
        self._watch: _core.LoopWatch | None = None
        self._stopped = False

    def _start(self) -> None:
        from .. import _core

        if not self._stopped:
            self._watch = _core.watch_running_loop()

    def stop(self) -> None:
        """Ends it; a second call does nothing. From any thread."""
        self._stopped = True
        if self._watch is not None:
            self._watch.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def watch(loop: asyncio.AbstractEventLoop | None = None) -> Watch:
    """Measures a loop all the time, not only while calls of ours are bound to it, for `health()` to tell.

    Without `loop` it is the running one. With one that runs in another thread, watching begins with that
    loop's next turn. It costs that loop a wake-up of some 30 microseconds 20 times a second while it is idle.

        async def main() -> None:
            with ax.aio.watch():
                ...

    When a loop stands still for more than 100 ms, the block is counted with the line that did it. In debug
    mode (`loop.set_debug(True)`, or `AMBIDEX__RUNTIME__DEBUG_LOOPS=true`) it is also logged, once per place,
    with the stack, by the logger `ambidex.loops`.

    Raises:
        RuntimeError: no loop of asyncio runs here and none is given, or the one given is closed.
    """
    watched = Watch()
    if loop is None or loop is asyncio._get_running_loop():
        require_asyncio("ax.aio.watch", "give it the loop of asyncio that is meant")
        watched._start()
    else:
        loop.call_soon_threadsafe(watched._start)
    return watched
