"""The results as Markdown: targets, then a table for each kind of measurement, failures in their places."""

import os
import platform
from collections.abc import Callable, Iterable
from statistics import median

from harness.job import Job
from harness.plan import (
    BY_HAND,
    CONTENDERS,
    MODELS,
    MORE_CALLS,
    OURS,
    TOOL_CONCURRENCY,
    Options,
    Results,
    Start,
)
from harness.sample import RUST, Sample

MEBIBYTE = 1024 * 1024
TITLES = {
    "chat": "A chat of one call",
    "agent": "An agent run: three rounds of two Python tools, then an answer",
    "tokens": "A streamed token, of a reply of 200",
}
# Calls of an agent run, and how many more there are with twice as many in each round.
TOOL_CALLS = 6
# How many times less than the fastest Python library.
FEWER_TIMES = {"chat": 20, "agent": 30, "tokens": 50}


def report(options: Options, results: Results, versions: dict[str, str]) -> str:
    parts = [heading(options, results, versions), targets(options, results)]
    for kind in TITLES:
        if kind in options.tables:
            parts += [contest(options, results, kind), witnessed(options, results, kind)]
    if "waiting" in options.tables:
        parts.append(memory(options, results))
    if "start" in options.tables:
        parts.append(start(options, results))
    if "building" in options.tables:
        parts.append(building(options, results))
    if "tool" in options.tables and OURS in options.contenders:
        parts.append(tool(results))
    if "doors" in options.tables and OURS in options.contenders:
        parts.append(doors(results))
    return "\n\n".join(parts) + "\n"


def heading(options: Options, results: Results, versions: dict[str, str]) -> str:
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    listed = ", ".join(f"{name} {version}" for name, version in versions.items() if name != "python")
    return (
        "# What a run costs in Python\n\n"
        f"CPython {versions['python']}, {platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} processors, load {load}; {results.seconds:.0f} s. "
        "CPU is user and system time of the client's process, in microseconds. "
        "A figure is the median of the repetitions, in brackets the least and the most.\n\n"
        f"{listed}."
    )


# Figures of a series


def series(results: Results, wanted: Callable[[Job], bool]) -> list[Sample]:
    return [sample for sample in results.samples if wanted(sample.job)]


def contest_series(results: Results, kind: str, contender: str, concurrency: int) -> list[Sample]:
    wanted = (kind, contender, concurrency)
    return series(results, lambda job: (job.table, job.contender, job.concurrency) == wanted)


def once(results: Results, of_table: str, contender: str) -> list[Sample]:
    return series(results, lambda job: (job.table, job.contender) == (of_table, contender))


def figures(samples: Iterable[Sample], units: int = 1) -> list[float]:
    return [sample.microseconds / units for sample in samples if not sample.failure]


def units(kind: str) -> int:
    return int(MODELS[kind].rpartition("-")[2]) if kind == "tokens" else 1


def cell(samples: list[Sample], units: int = 1) -> str:
    failures = [sample.failure for sample in samples if sample.failure]
    if failures:
        return f"failed: {failures[0]:.100}".replace("|", "/")
    return spread(figures(samples, units))


def spread(values: list[float], places: int | None = None) -> str:
    if not values:
        return "-"
    middle = median(values)
    if places is None:
        places = 0 if middle >= 100 else 1 if middle >= 10 else 2
    text = f"{middle:,.{places}f}"
    if len(values) > 1:
        text += f" ({min(values):,.{places}f} to {max(values):,.{places}f})"
    return text


def ratios(theirs: list[Sample], ours: list[Sample]) -> list[float]:
    """Within each repetition."""
    pairs = zip(theirs, ours, strict=False)
    return [
        their.microseconds / our.microseconds for their, our in pairs if not (their.failure or our.failure)
    ]


# Tables


def contest(options: Options, results: Results, kind: str) -> str:
    head = [f"{number} at once" for number in options.concurrency]
    times = [f"times ours at {number}" for number in options.concurrency]
    rows = []
    for name in options.contenders:
        of = {number: contest_series(results, kind, name, number) for number in options.concurrency}
        if not any(of.values()):
            continue
        cells = [cell(of[number], units(kind)) for number in options.concurrency]
        for number in options.concurrency:
            found = ratios(of[number], contest_series(results, kind, OURS, number))
            cells.append(f"{median(found):.1f}" if found else "-")
        rows.append([CONTENDERS[name][0], *cells])
    return f"## {TITLES[kind]}\n\nMicroseconds of CPU.\n\n" + table(["", *head, *times], rows)


def witnessed(options: Options, results: Results, kind: str) -> str:
    """Proof that all did the same: what the upstream saw of the last sample at each concurrency."""
    rows = []
    for number in options.concurrency:
        for name in options.contenders:
            samples = [sample for sample in contest_series(results, kind, name, number) if not sample.failure]
            if not samples:
                continue
            found, seen = samples[-1].found, samples[-1].seen
            runs = found["runs"] + found["warm"]
            rows.append(
                [
                    str(number),
                    CONTENDERS[name][0],
                    str(runs),
                    f"{seen['requests'] / runs:g}",
                    f"{seen['streamed'] / seen['requests']:.0%}" if "streamed" in seen else "-",
                    str(seen["connections"]),
                    f"{seen['body_bytes'] / seen['requests']:.0f}",
                    str(found.get("pieces", "-")),
                ]
            )
    return "What the upstream saw in the last sample of each, warm-up included:\n\n" + table(
        [
            "at once",
            "",
            "runs",
            "requests each",
            "streamed",
            "connections",
            "bytes of body",
            "pieces each",
        ],
        rows,
    )


def memory(options: Options, results: Results) -> str:
    rows = []
    for name in options.contenders:
        for sample in once(results, "waiting", name):
            if sample.failure:
                rows.append([CONTENDERS[name][0], f"failed: {sample.failure:.100}", "-", "-"])
                continue
            found, seen = sample.found, sample.seen
            rows.append(
                [
                    CONTENDERS[name][0],
                    f"{found['bytes'] / found['runs'] / 1024:.1f}",
                    str(seen["waiting_at_once"]),
                    f"{found['wall_seconds']:.1f}",
                ]
            )
    return (
        f"## {options.waiting:,} agent runs that wait for their model\n\n"
        "What the resident set grew by until all of them waited, by run.\n\n"
        + table(["", "KiB by run", "waiting at once", "seconds until the process was at rest"], rows)
    )


def start(options: Options, results: Results) -> str:
    def rows() -> Iterable[list[str]]:
        yield start_row(results, "python", "nothing", "the interpreter alone")
        for what in ("import", "first answer", "first answer, sync"):
            for name in options.contenders:
                row = start_row(results, name, what, f"{CONTENDERS[name][0]}: {what}")
                if row:
                    yield row

    return (
        "## Start\n\nWhole processes, from their start to their end: the library's import alone; import, "
        "agent and first answer. CPU of the process, the peak of its memory, and the time from its start to "
        "the answer.\n\n"
        + table(["", "CPU, ms", "memory, MiB", "answered after, ms"], [row for row in rows() if row])
    )


def starts(results: Results, name: str, what: str) -> list[Start]:
    return [start for start in results.starts if (start.contender, start.what) == (name, what)]


def start_row(results: Results, name: str, what: str, title: str) -> list[str]:
    found = starts(results, name, what)
    if not found:
        return []
    failures = [start.failure for start in found if start.failure]
    if failures:
        return [title, f"failed: {failures[0]:.100}", "-", "-"]
    answered = spread([start.found["answered_seconds"] * 1000 for start in found], 0)
    return [
        title,
        spread([start.found["cpu_seconds"] * 1000 for start in found], 0),
        spread([start.found["peak_bytes"] / MEBIBYTE for start in found], 1),
        answered if what.startswith("first") else "-",
    ]


def building(options: Options, results: Results) -> str:
    rows = []
    for name in options.contenders:
        found = once(results, "building", name)
        if found:
            rows.append([CONTENDERS[name][0], cell(found)])
    return "## Building an agent\n\nWith two tools, over a model that is there.\n\n" + table(
        ["", "µs of CPU"], rows
    )


def tool_series(results: Results, contender: str, model: str, blocking: bool = False) -> list[Sample]:
    wanted = ("tool", contender, model, blocking)
    return series(results, lambda job: (job.table, job.contender, job.model, job.blocking_tools) == wanted)


def together(*all_series: list[Sample]) -> list[list[float]]:
    """The figures of each repetition side by side, where none failed."""
    rows = zip(*all_series, strict=False)
    return [[each.microseconds for each in row] for row in rows if not any(each.failure for each in row)]


def one_more(results: Results, blocking: bool) -> list[float]:
    """What one more call of a turn costs, with all that goes with it."""
    few = tool_series(results, OURS, MODELS["agent"], blocking)
    many = tool_series(results, OURS, MORE_CALLS, blocking)
    return [(more - less) / TOOL_CALLS for less, more in together(few, many)]


def python_adds(results: Results, blocking: bool) -> list[float]:
    """What a tool costs more for being in Python. The door is paid once by run, and is known from a chat."""
    found = together(
        tool_series(results, OURS, MODELS["agent"], blocking),
        tool_series(results, RUST, MODELS["agent"]),
        tool_series(results, OURS, MODELS["chat"]),
        tool_series(results, RUST, MODELS["chat"]),
    )
    return [((agent - rust) - (chat - rust_chat)) / TOOL_CALLS for agent, rust, chat, rust_chat in found]


def tool(results: Results) -> str:
    rows = [
        ["a chat: Rust", cell(tool_series(results, RUST, MODELS["chat"])), "-", "-", "-"],
        ["a chat: Python", cell(tool_series(results, OURS, MODELS["chat"])), "-", "-", "-"],
        ["tools in Rust", cell(tool_series(results, RUST, MODELS["agent"])), "-", "-", "-"],
    ]
    for blocking, title in ((False, "`async def`"), (True, "`def`")):
        rows.append(
            [
                f"tools as {title}",
                cell(tool_series(results, OURS, MODELS["agent"], blocking)),
                spread(python_adds(results, blocking), 1),
                cell(tool_series(results, OURS, MORE_CALLS, blocking)),
                spread(one_more(results, blocking), 1),
            ]
        )
    return (
        f"## A Python tool call\n\nAmbidex alone, {TOOL_CONCURRENCY} runs at once, `arun`; in Rust: the client of "
        "the Rust benches. What Python adds to a call is the difference between the runs, less that between "
        "the chats (the door), by call. One more call in a round costs more than that: its arguments are "
        "streamed, parsed and checked, its result is recorded and sent.\n\n"
        + table(["", "6 calls, µs", "Python adds to each, µs", "12 calls, µs", "one more call, µs"], rows)
    )


def door_series(results: Results, kind: str, concurrency: int, sync_door: bool) -> list[Sample]:
    wanted = ("doors", kind, concurrency, sync_door)
    return series(results, lambda job: (job.table, job.kind, job.concurrency, job.sync_door) == wanted)


def door_difference(results: Results, kind: str, concurrency: int) -> list[float]:
    pairs = together(
        door_series(results, kind, concurrency, False), door_series(results, kind, concurrency, True)
    )
    return [awaited - blocked for awaited, blocked in pairs]


def doors(results: Results) -> str:
    rows = []
    for kind in ("chat", "agent"):
        for concurrency in (1, 64):
            rows.append(
                [
                    kind,
                    str(concurrency),
                    cell(door_series(results, kind, concurrency, True)),
                    cell(door_series(results, kind, concurrency, False)),
                    spread(door_difference(results, kind, concurrency), 1),
                ]
            )
    return (
        "## Both doors\n\nThe sync door on as many threads as there are runs at once; the async door on one "
        "loop. Tools are `async def`.\n\n"
        + table(["", "at once", "`run`, µs", "`arun`, µs", "`arun` costs more by, µs"], rows)
    )


# Targets


def targets(options: Options, results: Results) -> str:
    rows = []
    for kind, least in FEWER_TIMES.items():
        if kind not in options.tables:
            continue
        for number in options.concurrency:
            rows.append(fewer_times(options, results, kind, number, least))
    if "start" in options.tables:
        rows += start_targets(results)
    for sample in once(results, "building", OURS):
        rows.append(below("building an agent, µs", 20, figures([sample])))
    if "tool" in options.tables:
        rows.append(below("a Python tool call adds, `async def`, µs", 30, python_adds(results, False)))
        rows.append(below("a Python tool call adds, `def`, µs", 30, python_adds(results, True)))
    if "doors" in options.tables:
        for kind in ("chat", "agent"):
            rows.append(
                below(f"`arun` more than `run` at 1, {kind}, µs", 60, door_difference(results, kind, 1))
            )
            rows.append(
                below(f"`arun` more than `run` at 64, {kind}, µs", 0, door_difference(results, kind, 64))
            )
    return "## Targets\n\n" + table(["ambidex", "target", "measured", "met"], rows)


def fewer_times(options: Options, results: Results, kind: str, concurrency: int, least: int) -> list[str]:
    """Beside the library that costs least; what is written by hand is none."""
    ours = contest_series(results, kind, OURS, concurrency)
    best: tuple[list[float], str] = ([], "")
    for name in options.contenders:
        if name in (OURS, BY_HAND):
            continue
        found = ratios(contest_series(results, kind, name, concurrency), ours)
        if found and (not best[0] or median(found) < median(best[0])):
            best = (found, CONTENDERS[name][0])
    found, name = best
    title = f"{kind} at {concurrency}: times less CPU than the fastest library"
    if not found:
        return [title, f"at least {least}", "not measured", "-"]
    met = "yes" if median(found) >= least else "no"
    return [title, f"at least {least}", f"{spread(found, 1)}, {name}", met]


def start_targets(results: Results) -> Iterable[list[str]]:
    imported = [start.found for start in starts(results, OURS, "import") if not start.failure]
    bare = [start.found for start in starts(results, "python", "nothing") if not start.failure]
    yield below(
        "`import ambidex`, whole process, ms of CPU", 40, [found["cpu_seconds"] * 1000 for found in imported]
    )
    yield below("of it the interpreter, ms of CPU", None, [found["cpu_seconds"] * 1000 for found in bare])
    yield below(
        "`import ambidex`, whole process, MiB", 25, [found["peak_bytes"] / MEBIBYTE for found in imported]
    )
    for what in ("first answer, sync", "first answer"):
        found = [
            start.found["answered_seconds"] * 1000
            for start in starts(results, OURS, what)
            if not start.failure
        ]
        yield below(f"{what}, from the start of the process, ms", 200, found)


def below(title: str, most: float | None, values: list[float]) -> list[str]:
    if not values:
        return [title, "-" if most is None else f"at most {most:g}", "not measured", "-"]
    if most is None:
        return [title, "-", spread(values, 1), "-"]
    return [title, f"at most {most:g}", spread(values, 1), "yes" if median(values) <= most else "no"]


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
