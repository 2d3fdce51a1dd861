"""Threads and descriptors that are left behind."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading

import pytest

import ambidex as ax
from ambidex.testing import LeakCheck, ScriptedModel

linux = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="descriptors are listed on Linux alone"
)


@ax.tool
def slow(seconds: float) -> str:
    """Waits."""
    threading.Event().wait(seconds)
    return "waited"


def test_runs_leave_nothing_behind() -> None:
    check = LeakCheck()
    model = ScriptedModel([[ax.ToolCall("slow", {"seconds": 0.01})] * 4, "done"])
    agent = ax.Agent("waiter", model=model, tools=[slow])
    for _ in range(3):
        agent.run("wait")
        asyncio.run(agent.arun("wait"))
    for _ in agent.stream("wait"):
        break
    check.verify()


def test_a_thread_that_stays_is_named() -> None:
    check = LeakCheck(grace=0.05)
    end = threading.Event()
    thread = threading.Thread(target=end.wait, name="forgotten")
    thread.start()
    try:
        with pytest.raises(AssertionError, match=r"left behind .* 0.05 s:\n  thread 'forgotten'$"):
            check.verify()
        check.allow(threads=1)
        check.verify()
    finally:
        end.set()
        thread.join()
    check.allow(threads=-1)
    check.verify()


def test_what_ends_in_time_is_no_leak() -> None:
    check = LeakCheck(grace=30)
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    assert check.leaks() == [f"thread {thread.name!r}"]
    threading.Timer(0.1, end.set).start()
    check.verify()
    assert not thread.is_alive()


@linux
def test_descriptors_that_stay_are_named() -> None:
    check = LeakCheck(grace=0.05)
    left, right = socket.socketpair()
    file = os.open(os.devnull, os.O_RDONLY)
    try:
        with pytest.raises(AssertionError) as raised:
            check.verify()
        assert f"file descriptor {file}: {os.devnull}" in str(raised.value)
        assert f"file descriptor {left.fileno()}: socket:[" in str(raised.value)
        check.allow(fds=3)
        check.verify()
    finally:
        os.close(file)
        left.close()
        right.close()
    assert check.leaks() == []
