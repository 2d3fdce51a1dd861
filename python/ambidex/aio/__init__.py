"""Either hand for your own code: what sync and async functions of one program need from each other.

    ax.aio.run(coro, timeout=None)      a coroutine from sync code anywhere
    ax.aio.both(async_fn)               one async function: f(...) and await f.aio(...)
    ax.aio.gather(*aws, limit=None)     several at once; a failure leaves nothing behind
    ax.aio.retry(attempts=3, ...)       decorator for def and async def
    ax.aio.Limiter(10)                  permits that threads and tasks of any loop share
    ax.aio.BatchProcessor(fn, ...)      single items in, batches to a function
    ax.aio.health(), ax.aio.watch()     how loops, threads and connections fare; who blocks a loop

Nothing here is bound to a loop when it is made.
"""

from __future__ import annotations

# Its exit hook must be there before any thread of ours calls into Python.
from .. import _bridge as _bridge
from .batch_processor import BatchProcessor
from .both import Both, both
from .gather import gather
from .health import Block, ConnectionsHealth, Health, LoopHealth, ThreadsHealth, health
from .limiter import Limiter
from .retry import retry
from .run import run
from .watch import Watch, watch

__all__ = [
    "BatchProcessor",
    "Block",
    "Both",
    "ConnectionsHealth",
    "Health",
    "Limiter",
    "LoopHealth",
    "ThreadsHealth",
    "Watch",
    "both",
    "gather",
    "health",
    "retry",
    "run",
    "watch",
]
