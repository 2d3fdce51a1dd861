"""Starts one job in a fresh process beside a fresh upstream, and holds what came of it."""

import json
import os
import re
import subprocess
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.job import Job
from harness.upstream import Upstream

FOLDER = Path(__file__).resolve().parent.parent
# After that, a process is ended and its failure shown.
LONGEST_SECONDS = 90
# Not in Python: Ambidex as a Rust program, with tools in Rust.
RUST = "rust"
# What the documentation of each library says to turn off so that it sends nothing elsewhere.
QUIET = {
    "AGNO_TELEMETRY": "false",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
    "LANGSMITH_TRACING": "false",
}


@dataclass
class Sample:
    """`found` is what the client reports, `seen` what the upstream saw; `failure` says what went wrong."""

    job: Job
    found: dict[str, Any] = field(default_factory=dict)
    seen: dict[str, Any] = field(default_factory=dict)
    failure: str = ""

    @property
    def microseconds(self) -> float:
        """CPU of one operation."""
        return float(self.found["cpu_seconds"] / self.found["runs"] * 1e6)


@dataclass(frozen=True)
class Machinery:
    """Where the interpreter of the contenders and the upstream are."""

    python: Path
    upstream: Path
    events_per_write: int = 16

    def environment(self) -> dict[str, str]:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "AMBIDEX"))
        }
        return {**kept, **QUIET, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}

    def sample(self, job: Job) -> Sample:
        with Upstream(self.upstream, self.events_per_write) as upstream:
            job = replace(job, upstream=upstream.address)
            if job.contender == RUST:
                found, failure = self.run(self.rust(job))
            else:
                found, failure = self.run([str(self.python), "-m", "harness.client", job.to_json()])
        if job.contender == RUST and found:
            runs = found["operations"]
            found |= {"runs": runs, "warm": upstream.seen["requests"] // job.requests - runs}
        sample = Sample(job, found, upstream.seen, failure)
        if not failure:
            sample.failure = wrong(sample)
        return sample

    def rust(self, job: Job) -> list[str]:
        """The same work by the Rust benches' own client."""
        operations = {"chat": 10_000, "agent": 2_500}[job.kind] * job.seconds
        given = {
            "contender": "ambidex",
            "scenario": job.kind,
            "upstream": job.upstream,
            "concurrency": job.concurrency,
            "operations": max(int(operations), job.concurrency),
        }
        options = [word for name, value in given.items() for word in (f"--{name}", str(value))]
        return [str(self.upstream), "client", *options]

    def run(self, command: list[str]) -> tuple[dict[str, Any], str]:
        """The JSON of the last line a child prints, or why there is none."""
        try:
            child = subprocess.run(
                command,
                cwd=FOLDER,
                env=self.environment(),
                capture_output=True,
                text=True,
                timeout=LONGEST_SECONDS,
            )
        except subprocess.TimeoutExpired:
            return {}, f"not done after {LONGEST_SECONDS} s"
        if child.returncode != 0:
            return {}, reason(child.stderr, child.returncode)
        return json.loads(child.stdout.strip().splitlines()[-1]), ""

    def start(self, code: str, upstream: Upstream | None) -> tuple[dict[str, Any], str]:
        """A whole process from its start to its end: what it costs, and when it prints its first line.

        CPU is what the kernel counted when the process had ended; the peak of its memory it reads itself.
        """
        arguments = [upstream.address] if upstream else []
        start = time.monotonic()
        child = subprocess.Popen(
            [str(self.python), "-c", code, *arguments],
            cwd=FOLDER,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.readline()
        answered = time.monotonic() - start
        rest, errors = child.stdout.read(), child.stderr.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            return {}, reason(errors, child.returncode)
        peak = next(line for line in rest.splitlines() if line.startswith("VmHWM"))
        return {
            "cpu_seconds": usage.ru_utime + usage.ru_stime,
            "answered_seconds": answered,
            "peak_bytes": int(peak.split()[1]) * 1024,
        }, ""


def reason(errors: str, status: int) -> str:
    """The line that names the exception, or the last one."""
    lines = [line for line in errors.splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Timeout|Exceeded|Exit)\b", line)]
    return (named or lines or [f"ended with {status}"])[-1]


def wrong(sample: Sample) -> str:
    """What the upstream saw has to be what the job stands for."""
    job, found, seen = sample.job, sample.found, sample.seen
    if job.kind == "building":
        return ""
    if job.kind == "waiting":
        if seen["waiting_at_once"] < job.concurrency:
            return f"only {seen['waiting_at_once']} of {job.concurrency} runs were waiting at once"
        return ""
    expected = (found["runs"] + found["warm"]) * job.requests
    if seen["requests"] != expected:
        return f"{seen['requests']} requests at the upstream, where {expected} were to come"
    if job.kind == "tokens" and seen.get("streamed", expected) != expected:
        return "the reply was not streamed"
    return ""
