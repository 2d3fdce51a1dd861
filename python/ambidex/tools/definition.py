"""The names around the definition of a nested function or class.

They are known while the code around it still runs. Hints that are written as text may name classes that exist
nowhere else.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any


def locals_of(code: types.CodeType | None) -> dict[str, Any] | None:
    """Around a function; none where no code around it runs."""
    return _locals_where(lambda names: code is not None and _holds(names, code))


def locals_around(kind: type) -> dict[str, Any] | None:
    """Around a class."""
    outer, _, _ = kind.__qualname__.rpartition(".<locals>.")
    name = outer.rpartition(".")[2]
    if not outer:
        return None
    return _locals_where(lambda names: names.co_name == name and kind.__name__ in names.co_consts)


def _holds(outer: types.CodeType, code: types.CodeType) -> bool:
    """Whether the code is defined in this one, or in a class in it."""
    parts = [part for part in outer.co_consts if isinstance(part, types.CodeType)]
    return any(part is code or code in part.co_consts for part in parts)


def _locals_where(holds: Callable[[types.CodeType], bool]) -> dict[str, Any] | None:
    frame: types.FrameType | None = sys._getframe(2)
    found: dict[str, Any] | None = None
    while frame is not None:
        if frame.f_code.co_name != "<module>" and holds(frame.f_code):
            found = {**frame.f_locals, **(found or {})}  # the body of a class goes before what is around it
        frame = frame.f_back
    return found
