"""The command ``ambidex``, as the wheel installs it."""

from __future__ import annotations

import signal
import sys

from ambidex import _core


def main() -> int:
    """Carries out the command line of this process and gives its exit code."""
    # The interpreter's handlers only note a signal for its own loop, which does not turn while the command
    # runs. What the command listens to it sets up itself; all else does to it what it does to the binary.
    for name in ("SIGINT", "SIGXFSZ"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    return _core.command(["ambidex", *sys.argv[1:]])
