"""Celery's own worker in a process of its own, over a broker made of files."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ..checks import Failed
from ..witness import ENVIRONMENT


class Worker:
    """`celery worker --pool prefork`, for as long as the `with` lasts."""

    def __init__(self, address: str) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="ambidex-celery-")
        folder = Path(self.folder.name)
        (folder / "queue").mkdir()
        (folder / "results").mkdir()
        self.log = folder / "log"
        os.environ["AMBIDEX_SELFTEST_CELERY"] = str(folder)
        os.environ[ENVIRONMENT] = address

    def __enter__(self) -> Worker:
        app = "ambidex.selftest.scenarios.celery_app"
        options = [
            "--pool",
            "prefork",
            "--concurrency",
            "2",
            "--without-gossip",
            "--without-mingle",
            "-l",
            "info",
        ]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", app, "worker", *options], stdout=log, stderr=log
            )
        return self

    def ask(self, count: int) -> list[tuple[str, int]]:
        """Sends so many tasks and waits for their answers and the ids of the processes that gave them."""
        from celery.exceptions import TimeoutError

        from .celery_app import ask

        sent = [ask.delay() for _ in range(count)]
        due = time.monotonic() + 60
        try:
            return [tuple(result.get(timeout=max(due - time.monotonic(), 0.1))) for result in sent]
        except TimeoutError:
            raise Failed(f"no answer; the worker says:\n{self.log.read_text()}") from None

    def __exit__(self, *exc: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            if exc[0] is None:
                raise Failed(f"the worker did not end in 20 s; it says:\n{self.log.read_text()}") from None
        finally:
            self.folder.cleanup()
