"""For all suites: the processes that tests start find the package where this one found it."""

from __future__ import annotations

import os
from pathlib import Path

import ambidex

os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(Path(ambidex.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
)
