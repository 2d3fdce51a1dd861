"""A script in a fresh process: start it, interrupt it, see how it ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .checks import Failed, within
from .paths import python_path
from .witness import ENVIRONMENT

#: Seconds that a hung process gets to write its stacks.
_LAST_WORDS = 0.5
#: Gevent wants to patch before anything else is imported.
_PATCHED = """\
from gevent import monkey
monkey.patch_all()
import sys
from ambidex.selftest.run import main
sys.exit(main())
"""


@dataclass
class Ended:
    """How a script's process ended. Times are `time.monotonic()`."""

    exit_code: int
    #: What the script reported, or nothing if it did not come to that.
    report: dict[str, Any]
    stdout: str
    stderr: str
    at: float
    hung: bool

    @property
    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = self.report.get("facts", {})
        return facts

    @property
    def exit_seconds(self) -> float:
        """From the end of the script to the end of its process."""
        return self.at - float(self.report.get("ended", self.at))

    def cleanly(self, what: str, exit_within: float | None = None) -> Ended:
        """Checks that the script held, the process ended with 0 and wrote nothing to stderr."""
        if self.hung:
            raise Failed(f"{what}: hangs\n{self.stderr}")
        if self.report.get("result") != "held":
            raise Failed(
                f"{what}: exit {self.exit_code}, {self.report.get('why', 'no report')}\n{self.stderr}"
            )
        if self.exit_code != 0:
            raise Failed(f"{what}: exit code {self.exit_code}\n{self.stderr}")
        if self.stderr:
            raise Failed(f"{what}: stderr is not empty:\n{self.stderr}")
        if exit_within is not None:
            within(self.exit_seconds, exit_within, f"{what}: end of the process")
        return self


class Child:
    """`python -m ambidex.selftest.run ID`, in an empty folder and a process group of its own."""

    def __init__(
        self,
        id: str,
        address: str | None = None,
        environment: dict[str, str] | None = None,
        gevent: bool = False,
    ) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="ambidex-selftest-", ignore_cleanup_errors=True)
        folder = Path(self.folder.name)
        self.files = [folder / "stdout", folder / "stderr"]
        with self.files[0].open("wb") as stdout, self.files[1].open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, *(["-c", _PATCHED] if gevent else ["-m", "ambidex.selftest.run"]), id],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                cwd=folder,
                env=_environment(folder, address, environment or {}),
                start_new_session=True,
            )

    def interrupt(self) -> float:
        """Ctrl-C. Returns when it was sent."""
        sent = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        return sent

    def wait(self, limit: float) -> Ended:
        """Waits for the end, which it makes after `limit` seconds: the stacks are then in `stderr`."""
        hung = False
        try:
            self.process.wait(limit)
        except subprocess.TimeoutExpired:
            hung = True
            if hasattr(signal, "SIGUSR2"):
                self.process.send_signal(signal.SIGUSR2)
                time.sleep(_LAST_WORDS)
        at = time.monotonic()
        self.end()
        stdout, stderr = (file.read_text("utf-8", "replace") for file in self.files)
        self.folder.cleanup()
        return Ended(self.process.returncode, _last_report(stdout), stdout, stderr, at, hung)

    def end(self) -> None:
        """Ends the process and all that it started, and waits for it."""
        self.kill()
        self.process.wait()

    def kill(self) -> None:
        """Tells the process, and all that it started, to end."""
        if os.name == "posix":
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass
        else:
            self.process.kill()


class Children:
    """Those that are to end when the `with` does, however it does."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.alive: set[Child] = set()
        self.closed = False

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *exc: object) -> None:
        with self.lock:
            self.closed = True
            for child in self.alive:
                child.kill()

    def run(self, id: str, address: str, environment: dict[str, str], limit: float) -> Ended:
        """Starts a script and waits for its end."""
        with self.lock:
            if self.closed:
                raise RuntimeError("the self-test is ending")
            child = Child(id, address, environment)
            self.alive.add(child)
        try:
            return child.wait(limit)
        finally:
            with self.lock:
                self.alive.discard(child)


def end_on_sigterm() -> None:
    """Makes SIGTERM an exit, so that what a `with` holds is ended too."""
    if hasattr(signal, "SIGTERM"):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def _last_report(stdout: str) -> dict[str, Any]:
    for line in reversed(stdout.splitlines()):
        if line.startswith("{"):
            try:
                report: dict[str, Any] = json.loads(line)
                return report
            except ValueError:
                continue
    return {}


def _environment(folder: Path, address: str | None, more: dict[str, str]) -> dict[str, str]:
    """This process's environment without what would make a script behave in another way than a user's."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AMBIDEX__", "PYTHON", "OPENAI_")) and not name.lower().endswith("_proxy")
    }
    kept["XDG_CONFIG_HOME"] = kept["XDG_DATA_HOME"] = str(folder)
    path = python_path()
    if path:
        kept["PYTHONPATH"] = path
    if address is not None:
        kept[ENVIRONMENT] = address
    return {**kept, **more}
