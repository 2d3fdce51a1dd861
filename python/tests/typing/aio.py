"""What type checkers make of `ambidex.aio`. Never run: see surface.py."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Coroutine
from typing import Any

from typing_extensions import assert_type

import ambidex as ax


async def length(text: str, *, twice: bool = False) -> int:
    return len(text) * (2 if twice else 1)


async def name(number: int) -> str:
    return str(number)


# -- run ---------------------------------------------------------------------------------------------------

assert_type(ax.aio.run(length("a"), timeout=3), int)
ax.aio.run(length)  # type: ignore[arg-type]


# -- gather ------------------------------------------------------------------------------------------------


async def gathered(future: asyncio.Future[bytes]) -> None:
    assert_type(await ax.aio.gather(length("a"), name(1), future), tuple[int, str, bytes])
    assert_type(await ax.aio.gather(*[length("a")], limit=3), list[int])
    assert_type(await ax.aio.gather(*[length("a")], return_exceptions=True), list[int | BaseException])
    first, second = await ax.aio.gather(length("a"), name(1), limit=2)
    assert_type(first, int)
    assert_type(second, str)


# -- both --------------------------------------------------------------------------------------------------


@ax.aio.both
async def fetch(url: str, *, retries: int = 3) -> bytes:
    return url.encode() * retries


class Client:
    @ax.aio.both
    async def get(self, path: str, times: int = 1) -> bytes:
        return path.encode() * times


async def both() -> None:
    assert_type(fetch("a", retries=1), bytes)
    assert_type(await fetch.aio("a"), bytes)
    coroutine: Coroutine[Any, Any, bytes] = fetch.aio("a")
    assert_type(await coroutine, bytes)
    assert_type(Client().get("a"), bytes)
    assert_type(await Client().get.aio("a", times=2), bytes)
    fetch(1)  # type: ignore[arg-type]
    fetch("a", retry=1)  # type: ignore[call-arg]
    Client().get(1)  # type: ignore[arg-type]
    await fetch("a")  # type: ignore[misc]


# -- retry -------------------------------------------------------------------------------------------------


@ax.aio.retry(attempts=5, on=(OSError, ax.ModelError))
async def again(number: int) -> str:
    return str(number)


@ax.aio.retry(base=0.1, on=lambda error: isinstance(error, KeyError))
def again_sync(number: int, *, plus: int = 0) -> float:
    return number + plus


async def retried() -> None:
    assert_type(await again(1), str)
    assert_type(again_sync(1, plus=2), float)
    again_sync("a")  # type: ignore[arg-type]


@ax.aio.retry  # type: ignore[arg-type]
def without_brackets() -> None: ...


# -- limiter -----------------------------------------------------------------------------------------------


async def limited() -> None:
    limiter = ax.aio.Limiter(10)
    per_second = ax.aio.Limiter(10, per=1.0)
    with limiter:
        pass
    async with limiter, per_second:
        pass
    assert_type(per_second.per, float | None)


# -- batch processor ---------------------------------------------------------------------------------------


def embed(texts: list[str]) -> list[float]:
    return [float(len(text)) for text in texts]


async def aembed(texts: list[str]) -> list[float]:
    return embed(texts)


def partly(texts: list[str]) -> list[float | BaseException]:
    return [ValueError(text) for text in texts]


async def batched() -> None:
    sync = ax.aio.BatchProcessor(embed, batch_size=100)
    asynchronous = ax.aio.BatchProcessor(aembed, max_wait=0.1)
    assert_type(sync, ax.aio.BatchProcessor[str, float])
    assert_type(asynchronous, ax.aio.BatchProcessor[str, float])
    assert_type(sync.submit("a"), concurrent.futures.Future[float])
    assert_type(await asynchronous.asubmit("a"), float)
    assert_type(sync.map(["a"]), list[float])
    assert_type(await asynchronous.amap(["a"], return_exceptions=True), list[float | BaseException])
    with ax.aio.BatchProcessor(embed) as processor:
        processor.submit(1)  # type: ignore[arg-type]
    async with ax.aio.BatchProcessor(partly) as failing:
        assert_type(await failing.asubmit("a"), float)


# -- health ------------------------------------------------------------------------------------------------


def watched(loop: asyncio.AbstractEventLoop) -> None:
    health = ax.aio.health()
    assert_type(health.loops[0].blocks[0].who, str | None)
    assert_type(health.threads.abandoned, int)
    assert_type(health.process_fds, int | None)
    with ax.aio.watch(loop) as watch:
        watch.stop()
