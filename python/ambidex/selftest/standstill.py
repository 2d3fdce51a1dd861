"""Notices when this machine, or all that we run on it, stood still: no limit of time means anything then."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: Seconds between two looks, and the seconds late from which it counts.
BEAT = 0.05
LATE = 1.0
#: Attempts at one attempt, if the machine stands still again and again.
TRIES = 5


class Standstill:
    """Watches for as long as the `with` lasts."""

    def __init__(self) -> None:
        self.times: list[tuple[float, float]] = []
        self.ended = threading.Event()
        self.watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Standstill:
        self.watcher.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.ended.set()
        self.watcher.join()

    def _watch(self) -> None:
        last = time.monotonic()
        while not self.ended.wait(BEAT):
            now = time.monotonic()
            if now - last > BEAT + LATE:
                self.times.append((last, now))
            last = now

    def since(self, start: float) -> float:
        """The longest standstill that touched the time from `start` to now, in seconds."""
        time.sleep(2 * BEAT)  # it may have ended just now
        return max((end - begin for begin, end in self.times if end > start), default=0.0)


def undisturbed(try_once: Callable[[], T], failed: Callable[[T], bool], standstill: Standstill) -> T:
    """Tries again what failed while the machine stood still, which says nothing about what was tried."""
    tries = 0
    while True:
        tries += 1
        start = time.monotonic()
        tried = try_once()
        if not failed(tried) or tries == TRIES or not standstill.since(start):
            return tried
