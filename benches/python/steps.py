#!/usr/bin/env python3
"""What a step of a graph costs in Python, Ambidex beside LangGraph, as Markdown. See README.md."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from harness.sample import QUIET
from steps.server import postgres

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
ARMS = ["ambidex", "langgraph"]
STORES = ["none", "memory", "sqlite", "postgres"]
SHAPES = ["chain", "loop", "fan-out"]
# Ours always keeps a run's records somewhere; in memory, where nothing else is said.
LACKS = {("ambidex", "none")}


def main() -> None:
    options = parse()
    samples: dict[tuple[str, str, str, int], list[dict[str, Any]]] = {}
    history: dict[tuple[str, str], dict[str, Any]] = {}
    with ExitStack() as stack:
        server = stack.enter_context(postgres()) if "postgres" in options.stores else ""
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ambidex-steps-", dir=options.folder))
        for turn in range(options.repetitions):
            # Another begins each time.
            arms = options.arms[turn % len(options.arms) :] + options.arms[: turn % len(options.arms)]
            for shape in options.shapes:
                for store in options.stores:
                    for at_once in options.at_once:
                        for arm in arms:
                            if (arm, store) in LACKS or (shape == "loop" and at_once > 1):
                                continue
                            job = {"arm": arm, "shape": shape, "store": store, "at_once": at_once}
                            found = measure(options, job, folder, server)
                            samples.setdefault((shape, store, arm, at_once), []).append(found)
        for store in ("sqlite",) if "sqlite" in options.stores else ():
            for arm in options.arms:
                job = {"arm": arm, "shape": "history", "store": store, "at_once": 1}
                history[arm, store] = measure(options, job, folder, server)
    print(report(options, samples, history))


def measure(options: argparse.Namespace, job: dict[str, Any], folder: str, server: str) -> dict[str, Any]:
    measure.count = getattr(measure, "count", 0) + 1  # type: ignore[attr-defined]
    name = f"{job['arm']}-{measure.count}"  # type: ignore[attr-defined]
    place = {"sqlite": f"{folder}/{name}.db", "postgres": server}.get(job["store"], "")
    job = {**job, "place": place, "name": name, "seconds": options.seconds}
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "AMBIDEX"))}
    done = subprocess.run(
        [options.python, "-m", "steps.worker", json.dumps(job)],
        cwd=HERE,
        env={**kept, **QUIET},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if done.returncode != 0:
        sys.exit(f"{job['arm']}, {job['shape']}, {job['store']}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def report(
    options: argparse.Namespace,
    samples: dict[tuple[str, str, str, int], list[dict[str, Any]]],
    history: dict[tuple[str, str], dict[str, Any]],
) -> str:
    load = os.getloadavg()[0]
    lines = [
        f"Load {load:.1f} at the end, {os.cpu_count()} cores, {options.repetitions} repetitions. Microseconds of the",
        "client's CPU (user and system, all threads) per step; in brackets those of wall time.",
        "",
        "| graph | store | at once | " + " | ".join(options.arms) + " |",
        "|---|---|---|" + "---|" * len(options.arms),
    ]
    for shape in options.shapes:
        for store in options.stores:
            for at_once in options.at_once:
                cells: list[str] = []
                for arm in options.arms:
                    found = samples.get((shape, store, arm, at_once))
                    if not found:
                        cells.append("")
                        continue
                    cpu = statistics.median(one["cpu"] for one in found) * 1e6
                    wall = statistics.median(one["wall"] for one in found) * 1e6
                    cells.append(f"{cpu:,.0f} ({wall:,.0f})")
                if any(cells):
                    lines.append(f"| {shape} | {store} | {at_once} | " + " | ".join(cells) + " |")
    if history:
        lines += ["", "Bytes written per step by a loop that adds a line of 100 characters to its state:", ""]
        lines += ["| | steps 5 to 15 | steps 895 to 995 |", "|---|---|---|"]
        lines += [
            f"| {arm}, {store} | {found['early']:,.0f} | {found['late']:,.0f} |"
            for (arm, store), found in history.items()
        ]
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    def some_of(allowed: list[str]) -> Any:
        def read(text: str) -> list[str]:
            names = text.split(",")
            unknown = [name for name in names if name not in allowed]
            if unknown:
                raise argparse.ArgumentTypeError(f"`{unknown[0]}` is not one of {', '.join(allowed)}")
            return names

        return read

    parser = argparse.ArgumentParser(description="What a step of a graph costs, beside LangGraph")
    parser.add_argument("--arms", type=some_of(ARMS), default=ARMS)
    parser.add_argument("--stores", type=some_of(STORES), default=STORES)
    parser.add_argument("--shapes", type=some_of(SHAPES), default=SHAPES)
    parser.add_argument("--at-once", type=lambda text: [int(one) for one in text.split(",")], default=[1, 64])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--folder", help="where SQLite's files lie while it runs; the system's own")
    parser.add_argument("--python", default=str(ROOT / "target/python/bench-venv/bin/python"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
