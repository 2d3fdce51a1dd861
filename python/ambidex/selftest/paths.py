"""Where a process of ours finds the package that this one uses."""

from __future__ import annotations

import os
import site
from pathlib import Path

import ambidex


def python_path() -> str:
    """The module path of this process, also from another working directory."""
    paths = [os.path.abspath(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    package = str(Path(ambidex.__file__).resolve().parents[1])
    installed = [*site.getsitepackages(), site.getusersitepackages()]
    if package not in paths and package not in map(os.path.realpath, installed):
        paths.insert(0, package)
    return os.pathsep.join(paths)
