"""`python -m ambidex.selftest.soak`: a million awaits, ten thousand runs at once, exits with work in flight,
what either door costs, and all of it mixed for half an hour."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from .checks import Failed
from .child import Children, Ended, end_on_sigterm
from .runner import number
from .standstill import Standstill, undisturbed
from .stress import OPTIONS
from .witness import UpstreamProcess

ABOUT = """\
Runs the package under stress on this machine and shows what it cost. It fails if anything leaks (Python
objects, threads, file descriptors, memory), a process aborts or does not end, an answer is wrong, or stderr
is not empty.
"""

#: Microseconds of CPU that a run alone may cost more through the async door than through the sync one.
DOOR_LIMIT = 60.0


@dataclass
class Part:
    """What came of one part."""

    name: str
    good: bool = True
    lines: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


class Stage:
    """Where the scripts run: before one upstream, and not longer than the `with` lasts."""

    def __enter__(self) -> Stage:
        with ExitStack() as stack:
            self.upstream = stack.enter_context(UpstreamProcess())
            self.standstill = stack.enter_context(Standstill())
            self.children = stack.enter_context(Children())
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stack.close()

    def run(self, id: str, limit: float, **options: Any) -> Ended:
        return self.children.run(id, self.upstream.space(), {OPTIONS: json.dumps(options)}, limit)


def awaits(stage: Stage, options: argparse.Namespace) -> Part:
    facts = stage.run("S.awaits", 1200, awaits=options.awaits).cleanly("awaits", 2.0).facts
    cpu = ", ".join(f"{name} {number(value)} us" for name, value in facts["cpu_us"].items())
    return Part("awaits", True, [f"{facts['count']:,} awaits, CPU each: {cpu}", grown(facts)], facts)


def runs(stage: Stage, options: argparse.Namespace) -> Part:
    hold = 5 + options.runs / 400
    facts = stage.run("S.runs", 600, runs=options.runs, hold=hold).cleanly("runs at once", 5.0).facts
    each = f"{facts['kb_each']} kB and {facts['cpu_us']} us of CPU each"
    return Part(
        "runs",
        True,
        [f"{facts['count']:,} runs in flight at once: {each}, {facts['threads']:+d} threads", grown(facts)],
        facts,
    )


def exits(stage: Stage, options: argparse.Namespace) -> Part:
    def one(i: int) -> tuple[Ended, str]:
        # From before the first run is under way to when all are.
        ended = stage.run("S.exit", 30, after=0.004 * (i % 40))
        try:
            ended.cleanly(f"exit {i}", 2.0)
        except Failed as reason:
            return ended, str(reason)
        return ended, ""

    with ThreadPoolExecutor(options.jobs) as pool:
        ended = list(
            pool.map(
                lambda i: undisturbed(lambda: one(i), lambda end: bool(end[1]), stage.standstill),
                range(options.exits),
            )
        )
    bad = [why for _, why in ended if why]
    slowest = max(end.exit_seconds for end, _ in ended)
    lines = [f"{len(ended) - len(bad)} of {len(ended)} processes ended cleanly with work in flight"]
    lines[0] += f", the slowest in {slowest:.2f} s"
    return Part("exits", not bad, lines + bad[:3], {"count": len(ended), "bad": len(bad), "slowest": slowest})


def doors(stage: Stage, options: argparse.Namespace) -> Part:
    facts = stage.run("S.doors", 600, rounds=options.rounds).cleanly("doors", 2.0).facts
    cpu = facts["cpu_us"]
    lines = []
    good = True
    for name in ("chat", "tools"):
        for at_once in ("1", "64"):
            sync, async_ = cpu[f"{name}, {at_once}, sync"], cpu[f"{name}, {at_once}, async"]
            more = async_ - sync
            target = DOOR_LIMIT if at_once == "1" else 0.0
            met = more <= target
            good = good and (met or not options.require_targets)
            verdict = "met" if met else "missed"
            lines.append(
                f"{name}, {at_once} at once: sync {number(sync)} us, async {number(async_)} us of CPU a run, "
                f"{more:+.0f} (target at most {target:+.0f}: {verdict})"
            )
    return Part("doors", good, lines, facts)


def soak(stage: Stage, options: argparse.Namespace) -> Part:
    facts = stage.run("S.soak", options.seconds * 1.5 + 120, seconds=options.seconds)
    told = facts.cleanly("soak", 2.0).facts
    calls = f"{told['calls']:,} calls of all kinds in {told['seconds']} s from four threads"
    end = ", ".join(f"{name} {value:g}" for name, value in told["end"].items())
    return Part("soak", True, [calls, grown(told) + f" after the first fifth; at the end {end}"], told)


def grown(facts: dict[str, Any]) -> str:
    return "grown: " + ", ".join(f"{name} {value:+g}" for name, value in facts["grown"].items())


PARTS: dict[str, Callable[[Stage, argparse.Namespace], Part]] = {
    "awaits": awaits,
    "runs": runs,
    "exits": exits,
    "doors": doors,
    "soak": soak,
}


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m ambidex.selftest.soak", description=ABOUT)
    add = parser.add_argument
    add("--only", default=",".join(PARTS), metavar="PARTS", help=f"with commas: {', '.join(PARTS)}")
    add("--awaits", type=int, default=1_000_000, metavar="N", help="awaits of a trivial call (1,000,000)")
    add("--runs", type=int, default=10_000, metavar="N", help="runs in flight at once (10,000)")
    add("--exits", type=int, default=200, metavar="N", help="processes that end with work in flight (200)")
    add("--rounds", type=int, default=5, metavar="N", help="turns of the doors' measurement (5)")
    add("--seconds", type=float, default=1800, metavar="N", help="of the mixed soak (1800; 60 in CI)")
    add("-j", "--jobs", type=int, default=2, metavar="N", help="exits at a time (2)")
    add(
        "--require-targets",
        action="store_true",
        help="a missed cost target is a failure; for optimised builds",
    )
    add("--json", action="store_true", help="one JSON object in place of the text")
    return parser


def main(arguments: list[str] | None = None) -> int:
    options_parser = parser()
    options = options_parser.parse_args(arguments)
    names = [name.strip() for name in options.only.split(",") if name.strip()]
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        options_parser.error(f"no part is called {unknown[0]}; there are {', '.join(PARTS)}")
    results = []
    with Stage() as stage:
        for name in names:
            try:
                result = PARTS[name](stage, options)
            except Failed as reason:
                result = Part(name, False, [str(reason)])
            results.append(result)
            if not options.json:
                print(
                    f"{'ok    ' if result.good else 'FAILED'} {name}: " + "\n         ".join(result.lines),
                    flush=True,
                )
    good = all(result.good for result in results)
    if options.json:
        print(json.dumps({"good": good, "parts": [vars(result) for result in results]}, indent=1))
    return 0 if good else 1


if __name__ == "__main__":
    end_on_sigterm()
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
