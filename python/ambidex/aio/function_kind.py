"""What kind of function it is that somebody gave us."""

from __future__ import annotations

import functools
import inspect
from typing import Any


def without_partial(function: Any) -> Any:
    """What a chain of `functools.partial` calls in the end."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def is_async_function(function: Any) -> bool:
    """An `async def`, a partial of one, or an object whose `__call__` is one."""
    plain = without_partial(function)
    return inspect.iscoroutinefunction(plain) or inspect.iscoroutinefunction(type(plain).__call__)


def name_of(function: Any) -> str:
    """As an error names it."""
    plain = without_partial(function)
    return getattr(plain, "__qualname__", None) or type(plain).__name__
