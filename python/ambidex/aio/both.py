"""One async function, callable from sync and from async code."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from .function_kind import is_async_function, name_of
from .run import run_with

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
R2 = TypeVar("R2")
S = TypeVar("S")


class Both(Generic[P, R]):
    """An async function with two doors: `f(...)` gives the result, `await f.aio(...)` awaits it.

    Which one is meant is said by the caller, never guessed from whether a loop runs.
    """

    aio: Callable[P, Coroutine[Any, Any, R]]
    """The async function itself."""

    def __init__(self, function: Callable[P, Coroutine[Any, Any, R]]) -> None:
        self.aio = function
        functools.update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        name = name_of(self.aio)
        return run_with(self.aio(*args, **kwargs), name, f"await {name}.aio(...)")

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> Both[P, R]: ...
    @overload
    def __get__(
        self: Both[Concatenate[S, Q], R2], instance: S, owner: type[Any] | None = None
    ) -> Both[Q, R2]: ...
    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
        # A method: both doors are bound to the object.
        return self if instance is None else Both(self.aio.__get__(instance, owner))

    def __repr__(self) -> str:
        return f"<both doors of {self.aio!r}>"


def both(function: Callable[P, Coroutine[Any, Any, R]]) -> Both[P, R]:
    """Makes an async function callable both ways; for functions and methods, as a decorator or called.

        @ax.aio.both
        async def fetch(url: str) -> bytes: ...

        fetch(url)              # sync code anywhere: ax.aio.run
        await fetch.aio(url)    # a coroutine

    Raises:
        TypeError: not an async function.
    """
    if inspect.isasyncgenfunction(function):
        raise TypeError(
            f"both: {name_of(function)} is an async generator; let it return a list, "
            "or give its items to a callback"
        )
    if not is_async_function(function):
        raise TypeError(
            f"both: {name_of(function)} is no async function; define it with `async def`, "
            "or call it on a thread with asyncio.to_thread"
        )
    return Both(function)
