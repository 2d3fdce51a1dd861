"""The examples of docs/python.md, one after another, and what they print."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

MANUAL = Path(__file__).parents[3] / "docs" / "python.md"


def test_the_manual_runs_as_it_is_written() -> None:
    blocks = re.findall(r"^```(python|text)\n(.*?)^```$", MANUAL.read_text(), re.MULTILINE | re.DOTALL)
    assert [kind for kind, _ in blocks].count("python") >= 12
    names: dict[str, Any] = {"__name__": "manual"}
    printed = None
    for kind, text in blocks:
        if kind == "python":
            assert not printed, f"what this prints is not told: {printed}"
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile(text, str(MANUAL), "exec", dont_inherit=True), names)
            printed = out.getvalue()
        else:
            assert printed == text
            printed = None
