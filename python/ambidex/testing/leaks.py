"""Threads and file descriptors that a test leaves behind."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from typing import Any

__all__ = ["LeakCheck"]

_OURS = "ambidex"
"""What the threads of the package begin with: they are started on demand, stay, and are bounded."""


class LeakCheck:
    """What there was at its start, to be compared with what there is at the end::

        check = LeakCheck()
        ...
        check.verify()

    Python threads are compared wherever Python runs; file descriptors and other threads on Linux. The threads of the
    package itself are bounded and are left out. What comes to an end within `grace` seconds is no leak.
    """

    def __init__(self, *, threads: int = 0, fds: int = 0, grace: float = 5.0) -> None:
        _begin()
        #: More of them that may stay.
        self.threads = threads
        self.fds = fds
        self.grace = grace
        self._python = set(threading.enumerate())
        self._threads = _threads()
        self._fds = _fds()

    def allow(self, *, threads: int = 0, fds: int = 0) -> None:
        """Says that so many more may stay, such as connections that a pool of the test's own keeps."""
        self.threads += threads
        self.fds += fds

    def leaks(self) -> list[str]:
        """A line for each thread and descriptor that was not there at the start; none where they are few enough."""
        gc.collect()
        python = [
            thread for thread in threading.enumerate() if thread not in self._python and thread.is_alive()
        ]
        python = [thread for thread in python if not thread.name.startswith(_OURS)]
        found = [f"thread {thread.name!r}{' (daemon)' if thread.daemon else ''}" for thread in python]
        native = {thread.native_id for thread in python}
        found += [
            f"thread {name!r} (not of Python)"
            for number, name in _threads().items()
            if number not in self._threads and number not in native and not name.startswith(_OURS)
        ]
        lines = found if len(found) > self.threads else []
        known = list(self._fds.values())
        opened = []
        for number, what in _fds().items():
            if what in known:  # by what it is: a number may be another's by now
                known.remove(what)
            else:
                opened.append(f"file descriptor {number}: {what}")
        return lines + (opened if len(opened) > self.fds else [])

    def verify(self) -> None:
        """Raises `AssertionError` where something stays longer than the grace."""
        until = time.monotonic() + self.grace
        left = self.leaks()
        while left and time.monotonic() < until:
            time.sleep(0.02)
            left = self.leaks()
        if left:
            raise AssertionError(
                f"the test left behind what it did not find, also after {self.grace:g} s:\n  "
                + "\n  ".join(left)
            )


def _begin() -> None:
    """Has the package start what it starts once in a process, so that no test is blamed for it."""
    from ..agent import Agent
    from ..messages import ToolCall
    from .scripted import ScriptedModel

    async def ready() -> str:
        return "ready"

    model = ScriptedModel([ToolCall("ready"), "ready"])
    agent = Agent("leak-check", model=model, tools=[ready])
    import asyncio

    def both_doors() -> None:
        agent.run("ready?")
        loop = asyncio.new_event_loop()
        loop.run_until_complete(agent.arun("ready?"))
        loop.close()

    if asyncio._get_running_loop() is None:
        both_doors()
    else:
        thread = threading.Thread(target=both_doors, name="ambidex-leak-check")
        thread.start()
        thread.join()


def _threads() -> dict[int, str]:
    """All threads of the process by their number, where the system tells; those that are ending are left out."""
    found: dict[int, str] = {}
    if not sys.platform.startswith("linux"):
        return found
    known = {thread.native_id: thread.name for thread in threading.enumerate()}
    for number in map(int, os.listdir("/proc/self/task")):
        try:
            with open(f"/proc/self/task/{number}/comm", encoding="utf-8", errors="replace") as file:
                found[number] = known.get(number) or file.read().strip()
        except OSError:
            continue
    return found


def _fds() -> dict[int, Any]:
    found: dict[int, Any] = {}
    if not sys.platform.startswith("linux"):
        return found
    for number in map(int, os.listdir("/proc/self/fd")):
        try:
            found[number] = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue  # the one that reads this very folder
    return found
