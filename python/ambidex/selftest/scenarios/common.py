"""What many scenarios need: an agent at the upstream, threads that start together, the gaps of a loop."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any, TypeVar, cast

import ambidex as ax

from ..checks import clock
from ..witness import Upstream

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


def an_agent(up: Upstream, *tools: Any, model: str = "script", **script: Any) -> ax.Agent:
    """An agent whose model is a script of the upstream (see `Upstream.script`)."""
    return ax.Agent(model, model=a_model(up, model, **script), tools=list(tools))


def a_model(up: Upstream, model: str = "script", **script: Any) -> ax.Model:
    return ax.Model("openai:" + up.script(model, **script), base_url=up.base_url, api_key="test")


#: The file that user code seems to stand in.
USER_CODE = "user_code.py"


def as_user_code(function: F) -> F:
    """Makes a function, and those inside it, look as if it stood outside of the package.

    The bridge leaves out the package's own frames when it says where a call was made; this file would be one.
    """

    def moved(code: CodeType) -> CodeType:
        inner = tuple(
            moved(constant) if isinstance(constant, CodeType) else constant for constant in code.co_consts
        )
        return code.replace(co_filename=os.path.abspath(USER_CODE), co_consts=inner)

    plain = cast(FunctionType, function)
    plain.__code__ = moved(plain.__code__)
    return function


def in_threads(count: int, work: Callable[[int], T]) -> list[T]:
    """Calls `work(0)` to `work(count - 1)`, each in a thread, all at once. Raises the first failure."""
    start = threading.Barrier(count)
    results: dict[int, T] = {}
    errors: list[BaseException] = []

    def one(i: int) -> None:
        start.wait()
        try:
            results[i] = work(i)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return [results[i] for i in range(count)]


@dataclass
class Gap:
    """The longest time that a loop did not come round, in seconds."""

    worst: float = 0.0


@asynccontextmanager
async def loop_gap() -> AsyncIterator[Gap]:
    """Watches the running loop: a task wakes every 5 ms and notes when it was late."""
    gap = Gap()

    async def watch() -> None:
        last = clock()
        while True:
            await asyncio.sleep(0.005)
            now = clock()
            gap.worst = max(gap.worst, now - last)
            last = now

    watcher = asyncio.create_task(watch())
    await asyncio.sleep(0.02)
    try:
        yield gap
    finally:
        await asyncio.sleep(0)
        watcher.cancel()


@contextmanager
def interrupted() -> Iterator[dict[str, Any]]:
    """Catches the KeyboardInterrupt that must come, and notes when it came."""
    facts: dict[str, Any] = {}
    try:
        yield facts
    except KeyboardInterrupt:
        facts["interrupted"] = clock()
