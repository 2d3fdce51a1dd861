"""The model's side, a process of its own: `ambidex-benches upstream`. It tells what it saw when it ends."""

import json
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any


class Upstream:
    def __init__(self, binary: Path, events_per_write: int) -> None:
        self.command = [str(binary), "upstream", "--events-per-write", str(events_per_write)]
        self.address = ""
        self.seen: dict[str, Any] = {}

    def __enter__(self) -> "Upstream":
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()
        if not self.address:
            raise RuntimeError(
                f"{' '.join(self.command)}: gave no address; build it with `make bench-python`"
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        output, _ = self.process.communicate()
        lines = output.strip().splitlines()
        self.seen = json.loads(lines[-1]) if lines else {}
