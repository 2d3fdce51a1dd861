"""What the suites of stores share: an empty folder, both doors, and processes that are killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ambidex as ax


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration of whoever runs the tests is found."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    for name in list(os.environ):
        if name.startswith("AMBIDEX__"):
            monkeypatch.delenv(name)


def calls(*names_and_arguments: tuple[str, dict[str, Any]]) -> ax.Model:
    """A model that asks for these calls, then says `done`."""
    return ax.models.scripted([[ax.ToolCall(*call) for call in names_and_arguments], "done"])


class Door:
    """Calls methods by their sync or their async name."""

    def __init__(self, is_async: bool) -> None:
        self.is_async = is_async

    def __call__(self, owner: Any, name: str, *args: Any, **options: Any) -> Any:
        if not self.is_async:
            return getattr(owner, name)(*args, **options)

        async def main() -> Any:
            return await getattr(owner, f"a{name}")(*args, **options)

        return asyncio.run(main())


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def door(request: pytest.FixtureRequest) -> Door:
    return Door(request.param)


@pytest.fixture
def store(tmp_path: Path) -> ax.Store:
    return ax.open(f"sqlite:{tmp_path / 'state.db'}")


Process = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def process(tmp_path: Path) -> Process:
    """Runs a program of its own in the folder of the test."""

    def run(program: str, killed: bool = False, **environment: str) -> subprocess.CompletedProcess[str]:
        ended = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program)],
            cwd=tmp_path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )
        wanted = -signal.SIGKILL if killed else 0
        assert ended.returncode == wanted, ended.stdout + ended.stderr
        return ended

    return run
