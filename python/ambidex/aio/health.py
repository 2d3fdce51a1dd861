"""How loops, threads and connections of this process fare."""

from __future__ import annotations

import contextlib
import os
import threading
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any


@dataclass(frozen=True)
class Block:
    """One time that a loop stood still for more than 100 ms."""

    ended: datetime
    """Now, when it goes on."""
    seconds: float
    who: str | None
    """`file:line function` in somebody's own code, and what that called; None when it ended before it was
    seen."""
    stack: str | None
    """The Python stack of the loop's thread while it was blocked; in debug mode alone."""

    def __str__(self) -> str:
        return f"{self.seconds * 1000:.0f} ms by {self.who or 'somebody who was not seen'}"


@dataclass(frozen=True)
class LoopHealth:
    """One event loop. Times are seconds, measured while calls of ours were bound to it or it was watched."""

    name: str
    """Its thread and its kind."""
    closed: bool
    calls: int
    """Calls of ours that its tasks await."""
    tasks: int
    """Python tasks that our calls have under way on it: async tools, hooks, models."""
    queued: int
    """Results and tasks that wait for its next turn."""
    lag: float
    """How long the latest wake-up waited until the loop took it."""
    lag_max: float
    lag_p99: float
    blocked: int
    """How often it stood still for more than 100 ms."""
    blocked_longest: float
    blocked_total: float
    blocks: tuple[Block, ...]
    """The latest 16."""
    blocked_now: Block | None
    """The one that goes on."""

    def __str__(self) -> str:
        text = (
            f"{self.name}{' (closed)' if self.closed else ''}: lag {_ms(self.lag)}, p99 {_ms(self.lag_p99)}, "
            f"max {_ms(self.lag_max)}; {self.calls} calls, {self.tasks} tasks, {self.queued} queued; "
            f"blocked {self.blocked} times"
        )
        lines = [f"    {block}" for block in self.blocks]
        if self.blocked_now is not None:
            lines.append(f"    now, since {self.blocked_now}")
        return "\n".join([text, *lines])


@dataclass(frozen=True)
class ThreadsHealth:
    """The threads of sync tools."""

    limit: int
    busy: int
    waiting: int
    """Calls that wait for a thread."""
    peak: int
    """The most that were ever busy at once."""
    abandoned: int
    """Busy with a call that nobody waits for any more: it timed out or was cancelled."""


@dataclass(frozen=True)
class ConnectionsHealth:
    """The pool of the HTTP client that models and tools share."""

    open: int
    idle: int
    in_flight: int
    """Requests whose response has not ended."""
    opened: int
    """Since the process began."""


@dataclass(frozen=True)
class Health:
    """What `ax.aio.health()` found. Printed, it reads as a short report."""

    loops: tuple[LoopHealth, ...]
    """Those that are open, and the latest that were closed."""
    threads: ThreadsHealth
    connections: ConnectionsHealth
    runs: int
    """Runs under way."""
    calls: int
    """Calls of the async door under way, on all loops."""
    streams: int
    """Event streams open: begun, and neither read to their end nor closed."""
    process_threads: int
    """All threads of the process, where the system tells; else those that Python knows."""
    process_fds: int | None
    """Open file descriptors, where the system tells."""

    @property
    def blocked(self) -> int:
        """How often a loop stood still, over all of them."""
        return sum(loop.blocked for loop in self.loops)

    @property
    def ok(self) -> bool:
        """No loop stands still now, no call waits for a thread, and no thread is lost to an abandoned
        call."""
        stands_still = any(loop.blocked_now is not None for loop in self.loops)
        return not (stands_still or self.threads.waiting or self.threads.abandoned)

    def __str__(self) -> str:
        threads, connections = self.threads, self.connections
        lines = [
            f"runs {self.runs}, async calls {self.calls}, streams {self.streams}",
            f"threads {threads.busy} of {threads.limit} busy, {threads.waiting} calls wait, "
            f"{threads.abandoned} abandoned, peak {threads.peak}",
            f"connections {connections.open} open, {connections.idle} idle, "
            f"{connections.in_flight} in flight, {connections.opened} opened so far",
            f"process {self.process_threads} threads, "
            f"{'?' if self.process_fds is None else self.process_fds} file descriptors",
            *(f"loop {loop}" for loop in self.loops),
        ]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Health\n{self}\n>"


def health() -> Health:
    """How loops, threads, connections and runs of this process fare now.

    Loops are those that calls of ours were made on and those given to `ax.aio.watch`. A loop is measured from
    outside, by how long it takes to answer a wake-up, while a call of ours is bound to it or it is watched;
    an idle program costs nothing. Cheap enough for a health endpoint.
    """
    from .. import _core

    found: dict[str, Any] | None = _core.health()
    if found is None:
        found = {"loops": [], "threads": (0,) * 5, "connections": (0,) * 4, "runs": 0}
        found |= {"calls": 0, "streams": 0}
    return Health(
        loops=tuple(_loop(loop) for loop in found["loops"]),
        threads=ThreadsHealth(*found["threads"]),
        connections=ConnectionsHealth(*found["connections"]),
        runs=found["runs"],
        calls=found["calls"],
        streams=found["streams"],
        process_threads=_count("/proc/self/task") or threading.active_count(),
        process_fds=_count("/proc/self/fd") or _count("/dev/fd"),
    )


def _loop(found: dict[str, Any]) -> LoopHealth:
    now = found["blocked_now"]
    return LoopHealth(
        name=found["name"],
        closed=found["closed"],
        calls=found["calls"],
        tasks=found["tasks"],
        queued=found["queued"],
        lag=found["lag_last"],
        lag_max=found["lag_max"],
        lag_p99=found["lag_p99"],
        blocked=found["blocked"],
        blocked_longest=found["blocked_longest"],
        blocked_total=found["blocked_total"],
        blocks=tuple(_block(*block) for block in found["blocks"]),
        blocked_now=None if now is None else _block(*now),
    )


def _block(ended: float, seconds: float, sight: tuple[str, str | None] | None) -> Block:
    who, stack = sight or (None, None)
    return Block(datetime.fromtimestamp(ended, timezone.utc), seconds, who, stack)


def _count(folder: str) -> int | None:
    with contextlib.suppress(OSError):
        return len(os.listdir(folder))
    return None


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
