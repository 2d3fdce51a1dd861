"""What docs/python-aio.md shows runs as it is written, and prints what it says."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import script

ROOT = Path(__file__).parents[3]
DOCUMENT = ROOT / "docs" / "python-aio.md"


def _examples() -> list[tuple[str, str, str | None]]:
    """Heading, code and output of each example."""
    spec = importlib.util.spec_from_file_location("examples", ROOT / "tests" / "python" / "examples.py")
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    # Its dataclasses look for their module there.
    sys.modules["examples"] = module
    spec.loader.exec_module(module)
    found = module.examples(DOCUMENT)
    return [
        (
            example.heading,
            example.text,
            next((after.text for after in found[place + 1 : place + 2] if after.language == "text"), None),
        )
        for place, example in enumerate(found)
        if example.language == "python"
    ]


EXAMPLES = _examples()


def test_each_part_has_its_example() -> None:
    assert len(EXAMPLES) == 7


@pytest.mark.parametrize(("heading", "code", "output"), EXAMPLES, ids=[example[0] for example in EXAMPLES])
def test_an_example_prints_what_it_says(heading: str, code: str, output: str | None) -> None:
    done = script(code, developer=False)
    # A watcher that was kept from the processor itself says nothing about others.
    while output is None and "pseudo_async" not in done.stdout:
        done = script(code, developer=False)
    assert (done.stderr, done.returncode) == ("", 0)
    assert output is None or done.stdout == output
