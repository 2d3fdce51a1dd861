#!/usr/bin/env python3
"""Runs `ambidex run` many times against upstreams nobody here wrote, and says how each run ended.

    runs.py target/debug/ambidex [--runs 200] [--only NAME] [--concurrency 8]

Every run must end in exactly one of succeeded, failed with a code, cancelled (only if it was
interrupted), or paused at max_iterations, with the exit code that belongs to it; no panic, no
hang, nothing on stdout but the result, no process left behind; and each upstream must be back at
the number of connections it held before. A table goes to stdout; the exit code is 1 on any
violation, and what the offending run printed is kept under target/upstreams/violations.
"""

import argparse
import collections
import concurrent.futures
import dataclasses
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import tasks
from upstream import Items, Upstream, UpstreamError, catches_interrupt, session_members

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
OUT = os.path.join(ROOT, "target", "upstreams")

PANIC = re.compile(r"panicked at|stack backtrace:|overflowed its stack|fatal runtime error|SIGSEGV")
EXITS = {"succeeded": {0}, "failed": {1}, "paused": {4}, "cancelled": {5}}
FIELDS = {"run", "thread", "status", "text", "output", "task_completed", "iterations_used",
          "execution_time", "usage", "error"}
# A column's word for a wire format, and the `kind` of a provider that speaks it.
WIRES = {"chat": "openai", "responses": "openai-responses", "messages": "anthropic", "gemini": "gemini",
         "ollama": "ollama"}
INTERRUPT_EVERY = 10  # one run in ten gets Ctrl-C at a random moment


@dataclasses.dataclass
class Case:
    """One row of the table: an upstream, how it is started, and what it is asked."""

    name: str
    command: list
    tasks: list
    wires: tuple = tuple(WIRES)
    max_iterations: int = 4
    flags: dict = dataclasses.field(default_factory=dict)  # further arguments by wire format


@dataclasses.dataclass
class Ended:
    """How one run ended. `category` is the row's column; `code` is the error's."""

    number: int
    task: str
    category: str
    code: str | None
    seconds: float
    violations: list
    evidence: dict


def cases(arguments):
    python = os.path.join(OUT, "venv", "bin", "python")
    aimock = ["node", os.path.join(HERE, "aimock_server.mjs")]
    counted = {"responses": ["--count-items"]}
    chaos = ["--chaos-drop", "0.12", "--chaos-malformed", "0.08", "--chaos-disconnect", "0.12",
             "--chaos-ratelimit", "0.03", "--chaos-latency", "3"]
    return [
        Case("llama.cpp", [python, os.path.join(HERE, "llama_server.py"), "--dir", OUT], tasks.LLAMA,
             wires=("chat", "responses", "messages")),
        Case("aimock", aimock, tasks.AIMOCK, flags=counted),
        Case("aimock-chaos", aimock + chaos, tasks.chaotic(tasks.AIMOCK), flags=counted),
        Case("fake", [arguments.fake, "--script", os.path.join(HERE, "fake", "script.json")], tasks.FAKE),
    ]


def configuration(base_url, wire, items_port, max_iterations):
    """The ambidex.toml of a row. Tools are real: grep and cat on real files, HTTP to a real port."""
    kind = WIRES[wire]
    if wire == "ollama":
        base_url = base_url.removesuffix("/v1")
    return f"""\
default_agent = "runner"

[store]
url = "memory:"

[providers.upstream]
kind = "{kind}"
base_url = "{base_url}"
key = {{ env = "UPSTREAM_KEY" }}

[models.tiny]
provider = "upstream"
name = "tiny"
max_tokens = 256
retry = {{ attempts = 3, base = "20ms", cap = "100ms" }}
timeout = {{ connect = "5s", first_token = "20s", idle = "20s", total = "40s" }}

[tools.search]
kind = "command"
command = ["grep", "-rn", "-m", "3", "-e", "{{pattern}}", "notes"]
input = {{ pattern = "string" }}
effect = "read"

[tools.read]
kind = "command"
command = ["cat", "--", "{{path}}"]
input = {{ path = "string" }}
effect = "read"

[tools.fetch]
kind = "http"
method = "GET"
url = "http://127.0.0.1:{items_port}/items/{{id}}"
input = {{ id = "integer" }}
allow_private = true

[agents.runner]
mode = "auto"
model = "tiny"
instructions = "You read notes. Use the tools."
tools = ["search", "read", "fetch"]
max_iterations = {max_iterations}
"""


def workspace(folder, text):
    os.makedirs(os.path.join(folder, "notes"))
    os.makedirs(os.path.join(folder, "home"))
    files = {
        "ambidex.toml": text,
        "notes/first.txt": "grüße from the harbour\n",
        "notes/second.txt": "the lighthouse keeper 灯台 wrote this\n",
    }
    for name, content in files.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(content)


def interrupt(process, pause):
    """Ctrl-C, `pause` seconds after the process took charge of the signal."""
    end = time.monotonic() + 10
    while process.poll() is None and not catches_interrupt(process.pid) and time.monotonic() < end:
        time.sleep(0.001)
    time.sleep(pause)
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        return True
    return False


def one_run(binary, folder, number, task, pause, limits):
    """Starts one run, waits for its end and judges it. Returns (session, Ended)."""
    environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LANG": "C.UTF-8", "NO_COLOR": "1",
                   "HOME": os.path.join(folder, "home"), "UPSTREAM_KEY": "not-a-secret",
                   "RUST_BACKTRACE": "1"}
    started = time.monotonic()
    process = subprocess.Popen(
        # The mark lets the fake count the attempts of each run by itself.
        [binary, "run", "--result-json", f"{task.prompt} [run:{number}]"], cwd=folder, env=environment,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True)
    interrupted = interrupt(process, pause) if pause is not None else False
    hung = False
    try:
        stdout, stderr = process.communicate(timeout=limits.watchdog)
    except subprocess.TimeoutExpired:
        hung = True
        os.killpg(process.pid, signal.SIGKILL)  # its own session: nobody else is in it
        for pid, _, _ in session_members({process.pid}):
            os.kill(pid, signal.SIGKILL)
        stdout, stderr = process.communicate()
    seconds = time.monotonic() - started
    stdout, stderr = stdout.decode("utf-8", "replace"), stderr.decode("utf-8", "replace")
    category, code, violations = judge(
        task, process.returncode, stdout, stderr, interrupted, hung, limits)
    evidence = {"exit": process.returncode, "interrupted": interrupted, "stdout": stdout, "stderr": stderr}
    return process.pid, Ended(number, task.prompt, category, code, seconds, violations, evidence)


def judge(task, exit_code, stdout, stderr, interrupted, hung, limits):
    """The category of one run, its error code, and everything that must not be."""
    wrong = []
    if PANIC.search(stderr) or PANIC.search(stdout):
        wrong.append("panic text")
    if hung:
        return "hung", None, wrong + [f"no end within {limits.watchdog:.0f} s"]
    try:
        result = json.loads(stdout)
    except ValueError:
        return "broken", None, wrong + [f"stdout is not one JSON object (exit {exit_code})"]
    if not isinstance(result, dict):
        return "broken", None, wrong + ["the result is not an object"]

    if missing := FIELDS - result.keys():
        wrong.append(f"the result lacks {', '.join(sorted(missing))}")
    status, error = result.get("status"), result.get("error")
    code = error.get("code") if isinstance(error, dict) else None
    if status not in EXITS:
        return "broken", code, wrong + [f"status {status!r} is no end"]
    allowed = EXITS[status] | ({8} if status == "failed" and code == "timeout" else set())
    if exit_code not in allowed:
        wrong.append(f"{status} ({code}) with exit code {exit_code}")
    if status == "failed" and not (isinstance(code, str) and code):
        wrong.append("failed without a code")
    if status == "succeeded" and error is not None:
        wrong.append("succeeded with an error inside")
    if status == "cancelled" and not interrupted:
        wrong.append("cancelled, but nobody asked for it")
    used = result.get("iterations_used")
    if not isinstance(used, int) or not 0 <= used <= limits.max_iterations:
        wrong.append(f"iterations_used {used!r} is not within 0 to {limits.max_iterations}")
    elif status == "paused" and used != limits.max_iterations:
        wrong.append(f"paused after {used} of {limits.max_iterations} iterations")
    if status != "succeeded" and result.get("task_completed"):
        wrong.append(f"task_completed in a run that {status}")
    if not (status == "cancelled" and interrupted):
        wrong += task.refute(result)
    return status, code, wrong


@dataclasses.dataclass
class Limits:
    watchdog: float
    max_iterations: int


@dataclasses.dataclass
class Row:
    """One line of the table."""

    name: str
    wire: str
    ended: list
    fetched: int
    before: int
    after: int
    violations: list

    def cells(self):
        count = collections.Counter(end.category for end in self.ended)
        codes = collections.Counter(end.code or "?" for end in self.ended if end.category == "failed")
        failed = str(count["failed"])
        if codes:
            failed += " (" + ", ".join(f"{code} {n}" for code, n in codes.most_common()) + ")"
        other = len(self.ended) - sum(count[status] for status in EXITS)
        wrong = len(self.violations) + sum(bool(end.violations) for end in self.ended)
        slowest = max((end.seconds for end in self.ended), default=0.0)
        return [self.name, self.wire, len(self.ended), count["succeeded"], count["paused"],
                count["cancelled"], other, f"{slowest:.2f}", self.fetched,
                f"{self.before}/{self.after}", wrong, failed]


HEADINGS = ["upstream", "format", "runs", "succeeded", "paused", "cancelled", "other", "max s",
            "http tool", "sockets", "violations", "failed (by code)"]


def run_row(case, wire, arguments, items):
    """All runs of one upstream and wire format; the upstream is started for them alone."""
    limits = Limits(arguments.watchdog, case.max_iterations)
    asked = tasks.of(wire, case.tasks)
    rng = random.Random(f"{arguments.seed} {case.name} {wire}")
    # From 0.1 to 300 ms, short ones as likely as long ones: a run may last a few milliseconds.
    pauses = [10 ** rng.uniform(-4.0, -0.5) if number % INTERRUPT_EVERY == INTERRUPT_EVERY - 1 else None
              for number in range(arguments.runs)]
    os.makedirs(OUT, exist_ok=True)
    command = case.command + case.flags.get(wire, [])
    upstream = Upstream(case.name, command, os.path.join(OUT, f"{case.name}-{wire}.log"))
    try:
        with tempfile.TemporaryDirectory(prefix="ambidex-runs-") as folder:
            workspace(folder, configuration(base_url(upstream, wire), wire, items.port, case.max_iterations))
            before, fetched = upstream.sockets(), items.calls
            with concurrent.futures.ThreadPoolExecutor(arguments.concurrency) as pool:
                # Not by number modulo alone: the interrupted tenth must meet every task.
                pending = [
                    pool.submit(one_run, arguments.binary, folder, number,
                                asked[(number + number // INTERRUPT_EVERY) % len(asked)],
                                pauses[number], limits)
                    for number in range(arguments.runs)]
                done = [future.result() for future in pending]
        violations = []
        if upstream.alive():
            after = upstream.settled(before)
            if after != before:
                violations.append(f"sockets of the upstream: {before} before, {after} after")
        else:
            after = -1
            violations.append(f"the upstream ended with {upstream.process.returncode}; see {upstream.log}")
        for pid, session, command in session_members({session for session, _ in done}):
            violations.append(f"process {pid} ({command}) of run session {session} is left")
        ended = [end for _, end in done]
        fetched = items.calls - fetched
        # A row in which nothing works would pass every check above.
        if len(ended) >= 20 and not any(end.category == "succeeded" for end in ended):
            violations.append("not one run succeeded")
        if len(ended) >= 50 and fetched == 0:
            violations.append("not one call of the http tool arrived")
        return Row(case.name, wire, ended, fetched, before, after, violations)
    finally:
        upstream.stop()


def base_url(upstream, wire):
    """As a user would write it: OpenAI's ends in /v1, the others' do not."""
    return upstream.base_url if wire in ("chat", "responses") else upstream.base_url.removesuffix("/v1")


def keep(row, folder):
    """Writes what the offending runs printed; returns lines that say what was wrong."""
    lines = [f"{row.name} {row.wire}: {violation}" for violation in row.violations]
    for end in row.ended:
        if not end.violations:
            continue
        path = os.path.join(folder, f"{row.name}-{row.wire}-{end.number}.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"task": end.task, "violations": end.violations, **end.evidence}, file,
                      indent=1, ensure_ascii=False)
        lines.append(f"{row.name} {row.wire} run {end.number} ({end.task!r}): {'; '.join(end.violations)}"
                     f" [{os.path.relpath(path, ROOT)}]")
    return lines


def table(rows):
    lines = [HEADINGS] + [[str(cell) for cell in row.cells()] for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip()
                     for line in lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", help="path of the ambidex binary")
    parser.add_argument("--runs", type=int, default=200, help="per upstream and wire format")
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--only", action="append", metavar="NAME",
                        help="a row: llama.cpp, aimock, aimock-chaos, fake, or one with :chat, :responses, :messages, :gemini or :ollama")
    parser.add_argument("--watchdog", type=float, default=120.0, help="seconds until a run counts as hung")
    parser.add_argument("--seed", type=int, default=1, help="of the moments at which runs are interrupted")
    parser.add_argument("--fake", default=os.path.join(ROOT, "target", "debug", "fake-provider"),
                        help="path of the strict fake provider")
    arguments = parser.parse_args()
    arguments.binary = os.path.abspath(arguments.binary)
    if not os.access(arguments.binary, os.X_OK):
        parser.error(f"{arguments.binary} is not an executable; build it with: cargo build -p ambidex-cli")

    chosen = [(case, wire) for case in cases(arguments) for wire in case.wires
              if not arguments.only or {case.name, f"{case.name}:{wire}"} & set(arguments.only)]
    if not chosen:
        parser.error(f"no row is named {', '.join(arguments.only)}")

    folder = os.path.join(OUT, "violations")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    items, rows, problems = Items(), [], []
    for case, wire in chosen:
        started = time.monotonic()
        try:
            row = run_row(case, wire, arguments, items)
        except UpstreamError as error:
            problems.append(str(error))
            print(f"{case.name} {wire}: not run", file=sys.stderr)
            continue
        rows.append(row)
        problems += keep(row, folder)
        print(f"{case.name} {wire}: {len(row.ended)} runs in {time.monotonic() - started:.1f} s",
              file=sys.stderr)
    items.stop()

    print(table(rows))
    for problem in problems[:40]:
        print(f"VIOLATION {problem}")
    if len(problems) > 40:
        print(f"VIOLATION and {len(problems) - 40} more")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
