"""What a scenario is, and the list of them."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .checks import Figure
from .witness import Upstream

Script = Callable[[Upstream], "Figure | dict[str, Any] | None"]


@dataclass(frozen=True)
class Scenario:
    """One script, run in a process of its own, whose stderr must be empty."""

    id: str
    title: str
    must: str
    run: Script
    #: Packages and abilities without which it is not run: `uvloop`, `posix`, `python>=3.12`.
    needs: tuple[str, ...] = ()
    #: Seconds after which the process is ended.
    limit: float = 30.0
    #: Seconds that the process may take to end by itself once the script is done.
    exit_within: float = 2.0
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def listed(self) -> bool:
        """Whether it is one of the 49, not of the list at their end."""
        return self.id[0] in "ABCDE"

    def missing(self) -> list[str]:
        """What it needs and is not here."""
        return [need for need in self.needs if not _is_here(need)]


def _is_here(need: str) -> bool:
    if need == "posix":
        return os.name == "posix"
    if need.startswith("python>="):
        return sys.version_info >= tuple(map(int, need.removeprefix("python>=").split(".")))
    return importlib.util.find_spec(need) is not None


#: All scenarios whose modules are loaded, by id.
SCENARIOS: dict[str, Scenario] = {}
#: Scripts that a scenario runs in further processes: `C04.script`.
PARTS: dict[str, Script] = {}


def scenario(id: str, title: str, must: str, **options: Any) -> Callable[[Script], Script]:
    """Puts a script on the list."""

    def add(run: Script) -> Script:
        if id in SCENARIOS:
            raise ValueError(f"two scenarios are called {id}")
        SCENARIOS[id] = Scenario(id, title, must, run, **options)
        return run

    return add


def part(id: str) -> Callable[[Script], Script]:
    """A script for `Child(id, ...)`, to be run by a scenario."""

    def add(run: Script) -> Script:
        PARTS[id] = run
        return run

    return add
