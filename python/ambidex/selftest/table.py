"""How results are shown."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable
from typing import TextIO

from .runner import FAILED, HELD, NOT_APPLICABLE, NOT_RUN, Outcome

_COLOURS = {HELD: "32", FAILED: "31", NOT_RUN: "33", NOT_APPLICABLE: "2"}
_LISTED = 49


class Table:
    """Prints outcomes as they come: id, scenario, what must hold, result, figure."""

    def __init__(self, stream: TextIO, repeat: int, verbose: bool = False) -> None:
        self.stream = stream
        self.repeat = repeat
        self.verbose = verbose
        self.colours = stream.isatty() and "NO_COLOR" not in os.environ
        width = shutil.get_terminal_size((150, 24)).columns if stream.isatty() else 150
        self.result_width = 9 if repeat > 1 else 6
        rest = max(width - 5 - self.result_width - 6, 60)
        self.widths = [rest * 38 // 100, rest * 37 // 100]
        self.figure_width = rest - sum(self.widths)

    def head(self) -> None:
        self._line(["id", "scenario", "must hold", "result", "figure"], None)

    def show(self, outcome: Outcome) -> None:
        self._line(
            [
                outcome.scenario.id,
                outcome.scenario.title,
                outcome.scenario.must,
                self._result(outcome),
                outcome.figure,
            ],
            outcome.verdict,
        )
        if outcome.verdict == FAILED or self.verbose:
            for number, attempt in enumerate(outcome.attempts, 1):
                if not attempt.why:
                    continue
                said = f"[{number}] " + (
                    attempt.why.strip() if self.verbose else _shortened(attempt.why.strip())
                )
                if self.verbose and attempt.traceback:
                    said += "\n" + attempt.traceback
                print(textwrap.indent(said, " " * 5), file=self.stream)
                if not self.verbose:
                    break
        self.stream.flush()

    def _result(self, outcome: Outcome) -> str:
        if outcome.verdict in (NOT_RUN, NOT_APPLICABLE):
            return f"{outcome.verdict}: {outcome.why}"
        if self.repeat > 1:
            return f"{outcome.held}/{len(outcome.attempts)}"
        return "ok" if outcome.verdict == HELD else "FAILED"

    def _line(self, cells: list[str], verdict: str | None) -> None:
        """A row; what is too long for its column goes on below."""
        id, title, must, result, figure = cells
        if len(result) > self.result_width:
            result, figure = "-", result
        columns = [
            textwrap.wrap(title, self.widths[0]),
            textwrap.wrap(must, self.widths[1]),
            [result],
            textwrap.wrap(figure, self.figure_width),
        ]
        widths = [*self.widths, self.result_width, self.figure_width]
        for row in range(max(map(len, columns))):
            texts = [
                (column[row] if row < len(column) else "").ljust(w)
                for column, w in zip(columns, widths, strict=True)
            ]
            if verdict and self.colours:
                texts[2] = f"\x1b[{_COLOURS[verdict]}m{texts[2]}\x1b[0m"
            print("  ".join([(id if row == 0 else "").ljust(3), *texts]).rstrip(), file=self.stream)

    def summary(self, outcomes: list[Outcome], seconds: float) -> None:
        """The last lines: `49 of 49`, and the same of the list that follows the 49."""
        version = ".".join(map(str, sys.version_info[:3]))
        times = f", each {self.repeat} times" if self.repeat > 1 else ""
        listed = [outcome for outcome in outcomes if outcome.scenario.listed]
        also = [outcome for outcome in outcomes if not outcome.scenario.listed]
        print(file=self.stream)
        if listed:
            print(f"{_count(listed, _LISTED)}{times}, {seconds:.0f} s, Python {version}", file=self.stream)
        if also:
            print(f"also: {_count(also, None)}{times}", file=self.stream)
        failed = [outcome.scenario.id for outcome in outcomes if outcome.verdict == FAILED]
        if failed:
            print(f"failed: {' '.join(failed)}", file=self.stream)


def _shortened(text: str, lines: int = 25) -> str:
    """The first lines of a text and how many there are more."""
    kept = [line if len(line) <= 300 else line[:300] + " ..." for line in text.splitlines()]
    if len(kept) > lines:
        kept[lines:] = [f"... {len(kept) - lines} lines more, -v shows them"]
    return "\n".join(kept)


def _count(outcomes: Iterable[Outcome], whole: int | None) -> str:
    outcomes = list(outcomes)
    count = {v: sum(o.verdict == v for o in outcomes) for v in (HELD, FAILED, NOT_RUN, NOT_APPLICABLE)}
    of = len(outcomes)
    text = f"{count[HELD]} of {of}"
    if whole is not None and of < whole:
        text += f" chosen from {whole}"
    if count[NOT_RUN]:
        text += f", {count[NOT_RUN]} not run"
    if count[NOT_APPLICABLE]:
        text += f", {count[NOT_APPLICABLE]} not applicable"
    return text
