"""Generators and awaitables of tools and models, driven to their end where they belong."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any


def drain(tool: Any, arguments: dict[str, Any], context: Any) -> Any:
    """Calls a tool that is a generator: what it yields is progress, what it returns (else its last value) the
    result."""
    generator: Generator[Any, None, Any] = tool.call(arguments, context)
    last = None
    try:
        while not context.cancelled:
            last = next(generator)
            context.emit(tool.output(last))
    except StopIteration as stop:
        return last if stop.value is None else stop.value
    finally:
        generator.close()
    return last


async def adrain(generator: AsyncGenerator[Any, None], tool: Any, context: Any) -> Any:
    """The same of an async generator, which returns nothing but its last value."""
    last = None
    try:
        async for last in generator:
            context.emit(tool.output(last))
    finally:
        await generator.aclose()
    return last


async def awaiting(awaitable: Awaitable[Any]) -> Any:
    """A coroutine of anything that can be awaited."""
    return await awaitable


def pour(pieces: Any, push: Callable[[Any], None]) -> None:
    """Pushes what a generator yields."""
    for piece in pieces:
        push(piece)


async def apour(pieces: Any, push: Callable[[Any], None]) -> None:
    """Pushes what an async generator yields."""
    async for piece in pieces:
        push(piece)
