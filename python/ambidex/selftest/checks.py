"""What a scenario says with: checks that name what was seen, and the figure it shows."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")

SLACK = "AMBIDEX_SELFTEST_SLACK"

clock = time.monotonic


class Failed(Exception):
    """What must hold did not. The message says what was seen in its place."""


class NotRun(Exception):
    """The scenario cannot be run here; the message says what it needs."""


class NotApplicable(Exception):
    """The scenario asks for something that this interpreter is not; the message says what."""


@dataclass
class Figure:
    """What a scenario that holds shows beside its name."""

    value: float | None = None
    unit: str = ""
    note: str = ""
    #: Line of the one call that must have warned, in the file of the scenario.
    warned: int | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def took(start: float, note: str = "", warned: int | None = None) -> Figure:
    """The seconds since `start`, a reading of `clock()`."""
    return Figure(clock() - start, "s", note, warned)


def said(note: str) -> Figure:
    """A result in words."""
    return Figure(note=note)


def equal(seen: T, wanted: T, what: str) -> None:
    if seen != wanted:
        raise Failed(f"{what}: wanted {wanted!r}, got {seen!r}")


def holds(fact: object, what: str) -> None:
    if not fact:
        raise Failed(what)


def within(seconds: float, limit: float, what: str) -> float:
    """Checks a time against its limit in seconds, which `--slack` stretches. Returns it."""
    limit *= float(os.environ.get(SLACK, "1"))
    if seconds > limit:
        raise Failed(f"{what}: took {seconds:.2f} s, at most {limit:g} s")
    return seconds


def at_most(seen: float, limit: float, what: str) -> float:
    if seen > limit:
        raise Failed(f"{what}: {seen:g}, at most {limit:g}")
    return seen


def at_least(seen: float, limit: float, what: str) -> float:
    if seen < limit:
        raise Failed(f"{what}: {seen:g}, at least {limit:g}")
    return seen


def text_has(text: str, *parts: str, what: str) -> None:
    """Checks that `text` names each of `parts`, in any case."""
    missing = [part for part in parts if part.lower() not in text.lower()]
    if missing:
        raise Failed(f"{what}: nothing of {', '.join(missing)} in {text!r}")
