"""For all suites: the processes that tests start find the package where this one found it; and tests of what came
with a later Python are left out before it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

import ambidex

os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(Path(ambidex.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "since(major, minor): left out before this version of Python")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    later = [
        item for item in items if any(mark.args > sys.version_info[:2] for mark in item.iter_markers("since"))
    ]
    if later:
        config.hook.pytest_deselected(items=later)
        items[:] = [item for item in items if item not in later]
