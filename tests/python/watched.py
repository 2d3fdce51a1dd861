"""Processes that tests start and watch."""

from __future__ import annotations

import re
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

# Longer than anything here takes: a hang ends the test, not the day.
PATIENCE = 60.0


class Process:
    """A process with its output kept. Ends with the test, whatever happens."""

    def __init__(self, command: list[str], cwd: Path, environment: dict[str, str]) -> None:
        self.out: list[str] = []
        self.err: list[str] = []
        self._changed = threading.Condition()
        self._child = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._child.stdout is not None
        assert self._child.stderr is not None
        self._readers = [
            threading.Thread(target=self._read, args=pair, daemon=True)
            for pair in ((self._child.stdout, self.out), (self._child.stderr, self.err))
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        return self._child.pid

    def _read(self, pipe: Any, lines: list[str]) -> None:
        for line in pipe:
            with self._changed:
                # Colours are for people.
                lines.append(re.sub(r"\x1b\[[\d;]*m", "", line.rstrip("\n")))
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def said(self, pattern: str) -> re.Match[str]:
        """Waits for a line in which the pattern is found."""

        def found() -> re.Match[str] | None:
            return next((hit for line in self.out + self.err if (hit := re.search(pattern, line))), None)

        with self._changed:
            self._changed.wait_for(lambda: found() or not any(r.is_alive() for r in self._readers), PATIENCE)
            hit = found()
        assert hit, f"it never said {pattern!r}:\n{self}"
        return hit

    def ended(self) -> int:
        code = self._child.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        return code

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        self._child.send_signal(how)
        return self.ended()

    def kill(self) -> None:
        self._child.kill()
        self._child.wait()

    def complaints(self, *usual: str) -> list[str]:
        """What was said on stderr, but for what the server always says there."""
        return [
            line for line in self.err if line.strip() and not any(re.search(known, line) for known in usual)
        ]

    def __str__(self) -> str:
        return "\n".join(["stdout:", *self.out, "stderr:", *self.err])
