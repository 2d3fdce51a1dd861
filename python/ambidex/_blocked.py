"""What the thread of a blocked loop is doing. Called by the watcher of loops, from a thread of its own.

That thread may be at it when the process ends, so it must not be long: nothing heavy is imported for it, and what
debug mode needs is imported before (`prepare`).
"""

from __future__ import annotations

import os
import sys
from types import FrameType
from typing import TYPE_CHECKING

from ambidex._bridge import setting

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_LIBRARY = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
_said: set[str] = set()


def is_debugged(loop: AbstractEventLoop) -> bool:
    """Whether its user wants to be told: by `loop.set_debug`, or by `runtime.debug_loops`."""
    return setting("DEBUG_LOOPS", 1) or loop.get_debug()


def prepare(loop: AbstractEventLoop) -> None:
    """Before the loop is watched."""
    if is_debugged(loop):
        import logging  # noqa: F401
        import traceback  # noqa: F401


def look(thread: int, with_stack: bool) -> tuple[str, str | None, bool] | None:
    """The place in somebody's own code where the thread is, as `file:line function`, its stack, and whether it is
    worth looking again."""
    innermost = sys._current_frames().get(thread)
    if innermost is None:
        return None
    if _waits_for_events(innermost):
        # It is ready to go on and is not let: by a thread that keeps the interpreter, or by a machine that is busy.
        return "no code of the loop: its thread waits for the interpreter or for a processor", None, True
    frame: FrameType | None = innermost
    while frame is not None and not _is_own(frame):
        frame = frame.f_back
    place = _place(frame or innermost)
    if frame not in (None, innermost) and not innermost.f_code.co_filename.startswith(_PACKAGE):
        place = f"{place}, in {_place(innermost)}"
    if not with_stack:
        return place, None, False
    import traceback

    return place, "".join(traceback.format_stack(innermost)), False


def warn(loop: str, place: str, stack: str | None, seconds: float) -> None:
    """Says it once per place. Where no code of the loop did it, there is nothing to say."""
    if stack is None or place in _said:
        return
    _said.add(place)
    import logging

    logging.getLogger("ambidex.loops").warning(
        "the event loop %s has been blocked for %.0f ms by %s; what blocks belongs on a thread "
        "(asyncio.to_thread), or has an async counterpart to await\n%s",
        loop,
        seconds * 1000,
        place,
        stack.rstrip(),
    )


def _is_own(frame: FrameType) -> bool:
    """Not of the standard library, of an installed package, or of this one."""
    file = frame.f_code.co_filename
    if file.startswith((_PACKAGE, _LIBRARY, "<frozen")):
        return False
    return "site-packages" not in file and "dist-packages" not in file


def _waits_for_events(innermost: FrameType) -> bool:
    code = innermost.f_code
    return code.co_name == "select" and os.path.basename(code.co_filename) == "selectors.py"


def _place(frame: FrameType) -> str:
    code = frame.f_code
    name = getattr(code, "co_qualname", code.co_name)
    return f"{code.co_filename}:{frame.f_lineno} {name}"
