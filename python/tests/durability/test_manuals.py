"""The examples of the manuals, one after another, and what they print."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize("manual", ["python-durability.md", "python-graphs.md"])
def test_the_manual_runs_as_it_is_written(manual: str) -> None:
    text = (DOCS / manual).read_text()
    blocks = re.findall(r"^```(python|text)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert [kind for kind, _ in blocks].count("python") >= 4
    names: dict[str, Any] = {"__name__": "manual"}
    printed = None
    for kind, block in blocks:
        if kind == "python":
            assert not printed, f"what this prints is not told: {printed}"
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile(block, manual, "exec", dont_inherit=True), names)
            printed = out.getvalue()
        else:
            assert printed == block
            printed = None
