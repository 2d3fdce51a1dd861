"""`python -m ambidex.selftest`: the scenario list on this machine."""

from __future__ import annotations

import argparse
import fnmatch
import json
import sys
import time

from .child import end_on_sigterm
from .runner import FAILED, NOT_RUN, Outcome, run_all
from .scenario import Scenario
from .scenarios import all_scenarios
from .table import Table

ABOUT = """\
Tries on this machine what goes wrong where sync code meets async: an agent called from scripts, threads,
notebooks, web servers and loops; tools of both kinds; timeouts and Ctrl-C; streams; forks and exits. Each
scenario runs in a fresh process against an upstream in another, and must leave stderr empty. No key and no
network is needed.
"""

MORE = """\
examples:
  python -m ambidex.selftest                     all, once
  python -m ambidex.selftest --only 'A*,C01'     some
  python -m ambidex.selftest --repeat 20 -j 2    each 20 times, two processes at a time
  python -m ambidex.selftest.run C01             one, in this process, with its report as JSON

exit code: 0 all hold, 1 one does not (with --require-all also: was not run), 2 usage
"""


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m ambidex.selftest",
        description=ABOUT,
        epilog=MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--only", action="append", default=[], metavar="IDS", help="ids or patterns, with commas: A03,B0*")
    add("--list", action="store_true", help="list the scenarios and what each needs")
    add("--no-also", action="store_true", help="the 49 without the list that follows them")
    add("--repeat", type=_positive, default=1, metavar="N", help="attempts at each (1)")
    add("-j", "--jobs", type=_positive, default=1, metavar="N", help="processes at a time (1)")
    add("-x", "--exitfirst", action="store_true", help="stop at the first that fails")
    add("-v", "--verbose", action="store_true", help="say why each attempt failed, not only the first")
    add(
        "--slack",
        type=_factor,
        default=1.0,
        metavar="X",
        help="stretch limits of time, for a busy machine (1.0)",
    )
    add("--require-all", action="store_true", help="a scenario whose packages are missing is a failure")
    add("--json", action="store_true", help="one JSON object in place of the table")
    return parser


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _factor(text: str) -> float:
    if (number := float(text)) < 1:
        raise argparse.ArgumentTypeError("must be 1.0 or more")
    return number


def chosen(scenarios: list[Scenario], patterns: list[str], also: bool) -> list[Scenario]:
    """Those whose id one of the patterns names. Raises `ValueError` for a pattern that names none."""
    wanted = [
        pattern.strip().upper() for option in patterns for pattern in option.split(",") if pattern.strip()
    ]
    for pattern in wanted:
        if not any(fnmatch.fnmatchcase(scenario.id, pattern) for scenario in scenarios):
            raise ValueError(f"no scenario is called {pattern}; --list shows all")
    if wanted:
        return [s for s in scenarios if any(fnmatch.fnmatchcase(s.id, pattern) for pattern in wanted)]
    return [s for s in scenarios if s.listed or also]


def main(arguments: list[str] | None = None) -> int:
    options_parser = parser()
    options = options_parser.parse_args(arguments)
    try:
        scenarios = chosen(all_scenarios(), options.only, not options.no_also)
    except ValueError as error:
        options_parser.error(str(error))
    if options.list:
        for scenario in scenarios:
            needs = f"   needs {', '.join(scenario.needs)}" if scenario.needs else ""
            print(f"{scenario.id}  {scenario.title}{needs}")
        return 0
    table = Table(sys.stdout, options.repeat, options.verbose)
    if not options.json:
        table.head()
    start = time.monotonic()
    outcomes = run_all(
        scenarios,
        repeat=options.repeat,
        jobs=options.jobs,
        slack=options.slack,
        stop_at_failure=options.exitfirst,
        show=(lambda outcome: None) if options.json else table.show,
    )
    seconds = time.monotonic() - start
    good = all(passes(outcome, options.require_all) for outcome in outcomes)
    if options.json:
        about = {"python": sys.version, "seconds": round(seconds, 1), "good": good}
        print(json.dumps({**about, "scenarios": [outcome.as_json() for outcome in outcomes]}, indent=1))
    else:
        table.summary(outcomes, seconds)
    return 0 if good else 1


def passes(outcome: Outcome, require_all: bool) -> bool:
    return outcome.verdict != FAILED and not (require_all and outcome.verdict == NOT_RUN)


if __name__ == "__main__":
    end_on_sigterm()
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
