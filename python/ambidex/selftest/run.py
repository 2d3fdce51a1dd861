"""`python -m ambidex.selftest.run ID`: one script in this process; its report is the last line of stdout."""

from __future__ import annotations

import faulthandler
import json
import signal
import sys
import time
import traceback
from typing import Any

from .checks import Figure, NotApplicable, NotRun
from .scenarios import find
from .witness import Upstream


def main() -> int:
    # Started in the background, a process ignores Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGUSR2"):
        faulthandler.register(signal.SIGUSR2, all_threads=True)
    report: dict[str, Any] = {"result": "held"}
    try:
        shown = find(sys.argv[1])(Upstream())
    except (NotRun, NotApplicable) as reason:
        report = {"result": "not run" if isinstance(reason, NotRun) else "not applicable", "why": str(reason)}
    except BaseException as error:
        report = {
            "result": "failed",
            "why": f"{type(error).__name__}: {error}",
            "traceback": traceback.format_exc(),
        }
    else:
        if isinstance(shown, Figure):
            report.update(value=shown.value, unit=shown.unit, note=shown.note, warned=shown.warned)
            report["facts"] = shown.facts
        else:
            report["facts"] = shown or {}
    report["ended"] = time.monotonic()
    print(json.dumps(report), flush=True)
    return 1 if report["result"] == "failed" else 0


if __name__ == "__main__":
    sys.exit(main())
