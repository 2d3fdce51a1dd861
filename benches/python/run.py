#!/usr/bin/env python3
"""What a run costs in Python, beside other libraries, as Markdown. See README.md."""

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

from harness.plan import CONTENDERS, TABLES, Options, carry_out
from harness.report import report
from harness.sample import Machinery

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = [
    "ambidex",
    "openai",
    "agno",
    "langgraph",
    "langchain",
    "openai-agents",
    "pydantic-ai-slim",
    "aiohttp",
]


def main() -> None:
    arguments = parse()
    options = Options(
        machinery=Machinery(arguments.python, arguments.upstream, arguments.events_per_write),
        contenders=arguments.contenders,
        tables=arguments.only,
        concurrency=arguments.concurrency or ([16] if arguments.quick else [1, 64, 512]),
        repetitions=arguments.repetitions or (1 if arguments.quick else 3),
        waiting=100 if arguments.quick else 1000,
        seconds=0.1 if arguments.quick else 1.0,
        budget=arguments.budget,
    )
    # The client holds a connection for each run.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    results = carry_out(options)
    print(report(options, results, versions(arguments.python)))
    if arguments.save:
        arguments.save.write_text(json.dumps(asdict(results), indent=1))
    failures = [sample.failure for sample in results.samples if sample.failure]
    failures += [start.failure for start in results.starts if start.failure]
    if failures:
        sys.exit(f"bench: {len(failures)} measurements failed; they stand in the tables")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What a run costs in Python, beside other libraries")
    parser.add_argument(
        "--quick", action="store_true", help="about a minute; shows that it works, not what is true"
    )
    parser.add_argument("--only", type=some_of(TABLES), default=TABLES, help=f"of {','.join(TABLES)}")
    parser.add_argument(
        "--contenders", type=some_of(CONTENDERS), default=list(CONTENDERS), help="files in contenders/"
    )
    parser.add_argument("--concurrency", type=numbers)
    parser.add_argument("--repetitions", type=int)
    parser.add_argument("--budget", type=float, default=590, help="seconds after which no repetition begins")
    parser.add_argument("--python", type=Path, default=ROOT / "target/python/bench-venv/bin/python")
    parser.add_argument("--upstream", type=Path, default=ROOT / "target/release/ambidex-benches")
    parser.add_argument("--events-per-write", type=int, default=16, help="of the upstream's streams")
    parser.add_argument("--save", type=Path, help="write every sample to this file, as JSON")
    return parser.parse_args()


def some_of(allowed: Iterable[str]) -> Callable[[str], list[str]]:
    def read(text: str) -> list[str]:
        names = text.split(",")
        unknown = [name for name in names if name not in allowed]
        if unknown:
            raise argparse.ArgumentTypeError(f"`{unknown[0]}` is not one of {', '.join(allowed)}")
        return names

    return read


def numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def versions(python: Path) -> dict[str, str]:
    code = (
        "import importlib.metadata as m, json, platform\n"
        "found = {'python': platform.python_version()}\n"
        f"for name in {PACKAGES!r}:\n"
        "    try: found[name] = m.version(name)\n"
        "    except m.PackageNotFoundError: found[name] = 'not installed'\n"
        "print(json.dumps(found))"
    )
    output = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True).stdout
    found: dict[str, str] = json.loads(output)
    return found


if __name__ == "__main__":
    main()
