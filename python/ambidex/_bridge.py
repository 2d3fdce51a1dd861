"""The Python half of the bridge: loops, and what is said about them."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import warnings
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

from ambidex import _core

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

atexit.register(_core._at_exit)

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_warned: set[tuple[str, int]] = set()


class SyncCallUnderLoopWarning(RuntimeWarning):
    """A sync call was made in a thread whose event loop runs: it blocks that loop until it returns."""


def new_background_loop() -> AbstractEventLoop:
    """A loop that waits for itself alone, also where gevent has put its own in the place of the system's calls."""
    import asyncio

    if "gevent.monkey" not in sys.modules:
        return asyncio.new_event_loop()
    from selectors import SelectSelector

    from gevent.monkey import get_original

    class SystemSelector(SelectSelector):
        """Asks the system itself."""

        _select = staticmethod(get_original("select", "select"))

    return asyncio.SelectorEventLoop(SystemSelector())


def start_thread(worker: _core.Worker, name: str) -> None:
    """A thread for functions that are not async."""
    if "gevent.monkey" in sys.modules:
        from gevent.monkey import get_original

        start: Callable[..., int] = get_original("_thread", "start_new_thread")
    else:
        from _thread import start_new_thread as start
    start(carry_out, (worker, name))


def carry_out(worker: _core.Worker, name: str) -> None:
    """The whole life of such a thread. While a function runs, nothing but Python stands below it."""
    threading.current_thread().name = name
    next, done, failed = worker.next, worker.done, worker.failed
    while (call := next()) is not None:
        while call is not None:
            try:
                value = call[0](*call[1])
            except BaseException as error:
                # Without what belongs to this loop alone.
                call = failed(error.with_traceback(error.__traceback__ and error.__traceback__.tb_next))
            else:
                call = done(value)
            value = None


def start_background_loop(loop: AbstractEventLoop, depth: int) -> None:
    """Runs a loop on a daemon thread of its own, for async functions that sync calls of this depth wait for."""
    arguments = (loop, depth + 1)
    if "gevent.monkey" in sys.modules:
        # A patched thread is no thread: it would wait for the very one that waits for it.
        from gevent.monkey import get_original

        get_original("_thread", "start_new_thread")(run_background_loop, arguments)
        return
    thread = threading.Thread(
        target=run_background_loop, args=arguments, name=f"ambidex-loop-{depth}", daemon=True
    )
    thread.start()


def run_background_loop(loop: AbstractEventLoop, depth: int) -> None:
    """The whole life of a background loop's thread. Sync calls made on it are nested `depth` deep."""
    import asyncio

    _core._enter_background(depth)
    asyncio.set_event_loop(loop)
    while True:
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt):
            # A task's: whoever waits for that task raises it. Others wait for this loop, as they do when a task
            # stops it.
            pass


def setting(name: str, place: int) -> bool:
    """A setting of `[runtime]`: as the environment says now, else as it was when the process first used the core."""
    text = os.environ.get(f"AMBIDEX__RUNTIME__{name}")
    if text is None:
        return _core._loop_settings()[place]
    return text.lower() in ("1", "true", "yes", "on")


def sync_call_under_loop(name: str | None = None, instead: str | None = None, warn: bool = True) -> None:
    """Says, once per place, that a sync call blocks the running loop, and which call would not. Both are named after
    the method that was called, where they are not given.

    Raises:
        ConfigError: the setting `runtime.strict_sync` makes it an error.
    """
    frame: FrameType | None = sys._getframe(1)
    inner = None
    while frame is not None and _is_own(frame.f_code.co_filename):
        inner, frame = frame, frame.f_back
    method = inner.f_code.co_name if inner is not None else "run"
    if instead is None:
        instead = {
            "stream": "async for ... in astream(...)",
            "__next__": "async for",
            "__enter__": "async with",
            "__exit__": "async with",
        }.get(method, f"await a{method}(...)")
    if frame is not None and "get_ipython" in frame.f_builtins:
        # A notebook's loop belongs to the kernel, and a cell that blocks it is what its author meant.
        return
    place = (frame.f_code.co_filename, frame.f_lineno) if frame is not None else ("?", 0)
    text = (
        f"{name or f'{method}()'} was called at {place[0]}:{place[1]} while an event loop runs in this thread; "
        f"the loop stands still until it returns. Use `{instead}` there."
    )
    if setting("STRICT_SYNC", 0):
        from ambidex.errors import ConfigError

        raise ConfigError(
            f"{text} (AMBIDEX__RUNTIME__STRICT_SYNC makes this an error.)", code="config_invalid"
        )
    if warn and place not in _warned:
        _warned.add(place)
        warnings.warn_explicit(text, SyncCallUnderLoopWarning, place[0], place[1])


def _is_own(file: str) -> bool:
    # The scenarios of the self-test are its user's code, as far as the rest is concerned.
    return file.startswith(_PACKAGE) and not file.startswith(_PACKAGE + "selftest")


def raise_again(error: BaseException) -> None:
    """Has the loop that calls this handle an error as it handles those of any callback."""
    raise error


async def awaited(start: Callable[..., Any], *args: Any) -> Any:
    """Awaits an operation of the core on the loop that runs: asyncio's or a compatible one, or trio's."""
    if "trio" in sys.modules and _in_trio():
        from ambidex._trio import TrioCall

        return await TrioCall().run(start, args)
    return await start(*args)


def _in_trio() -> bool:
    lowlevel = sys.modules.get("trio.lowlevel")
    if lowlevel is None:
        return False
    try:
        lowlevel.current_task()
    except RuntimeError:
        return False
    return True
