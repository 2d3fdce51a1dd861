"""The example for Celery, with a worker that forks its processes."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import psutil

Fixture = Callable[..., Any]

# What it says of running as root is its own matter, and so is that folders have no host.
QUIET = ("--loglevel", "ERROR")
ROOT = ("-W", "ignore::Warning:celery.platforms")

SEVERAL = """\
import sys
from tasks import ask

waiting = [ask.delay(task) for task in sys.argv[1:]]
for one in waiting:
    print(one.get(timeout=60))
"""


def test_celery(write: Fixture, start: Fixture, place: Any, upstream: Any) -> None:
    write("Celery")
    worker = start(
        *ROOT, "-m", "celery", *"--app tasks worker --pool prefork --concurrency 2".split(), *QUIET
    )
    first = start("ask.py")
    assert first.ended() == 0, f"{first}\n{worker}"
    assert first.out == ["It is 9 degrees in Bergen."]
    assert first.err == []
    forked = psutil.Process(worker.pid).children()
    assert len(forked) == 2

    answers = {"Bergen": "It is 9 degrees in Bergen.", "Cairo": "It is 31 degrees in Cairo."}
    (place / "several.py").write_text(SEVERAL)
    several = start("several.py", *(f"How warm is it in {city}?" for city in [*answers] * 4))
    assert several.ended() == 0, f"{several}\n{worker}"
    assert several.out == [*answers.values()] * 4
    # Each process of the worker has a connection of its own, and needs no second one.
    assert len({request["connection"] for request in upstream.seen("requests")}) == 2
    assert psutil.Process(worker.pid).children() == forked, "a process of the worker was lost"

    assert worker.stop(signal.SIGTERM) == 0, str(worker)
    assert worker.complaints() == [], str(worker)
