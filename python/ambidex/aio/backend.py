"""Which async library runs on this thread, and how to wait under it."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Literal

Backend = Literal["asyncio", "trio"]


def running_backend() -> Backend | None:
    """The async library whose task runs here, None in sync code."""
    # Trio first: in guest mode it runs inside a loop of asyncio.
    if _in_trio():
        return "trio"
    return "asyncio" if asyncio._get_running_loop() is not None else None


def require_asyncio(what: str, remedy: str) -> asyncio.AbstractEventLoop:
    """The running loop of asyncio (uvloop included).

    Raises:
        RuntimeError: another async library runs here, or none.
    """
    loop = asyncio._get_running_loop()
    if loop is not None and not _in_trio():
        return loop
    found = "trio runs here" if _in_trio() else "no event loop runs here"
    raise RuntimeError(f"{what} works under asyncio, but {found}; {remedy}")


async def sleep(seconds: float) -> None:
    """Sleeps without blocking the loop that runs here."""
    if _in_trio():
        await _trio().sleep(seconds)
    else:
        await asyncio.sleep(seconds)


def _trio() -> Any:
    import trio

    return trio


def _in_trio() -> bool:
    # Nobody runs under trio who has not imported it.
    trio = sys.modules.get("trio")
    if trio is None:
        return False
    try:
        trio.lowlevel.current_task()
    except (AttributeError, RuntimeError):
        return False
    return True
