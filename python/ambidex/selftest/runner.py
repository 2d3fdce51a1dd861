"""Runs scenarios, each attempt in a fresh process, and judges how each ended."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

from .checks import SLACK
from .child import Children, Ended
from .scenario import Scenario
from .standstill import Standstill, undisturbed
from .witness import UpstreamProcess

HELD, FAILED, NOT_RUN, NOT_APPLICABLE = "held", "failed", "not run", "not applicable"


@dataclass
class Attempt:
    """One process of a scenario."""

    verdict: str
    why: str = ""
    traceback: str = ""
    value: float | None = None
    unit: str = ""
    note: str = ""
    exit_seconds: float = 0.0


@dataclass
class Outcome:
    """A scenario and all attempts at it."""

    scenario: Scenario
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        verdicts = [attempt.verdict for attempt in self.attempts]
        return next((v for v in (FAILED, NOT_RUN, NOT_APPLICABLE) if v in verdicts), HELD)

    @property
    def held(self) -> int:
        return sum(attempt.verdict == HELD for attempt in self.attempts)

    @property
    def why(self) -> str:
        return next((attempt.why for attempt in self.attempts if attempt.why), "")

    @property
    def figure(self) -> str:
        """The figure of one attempt, the median and the worst of many."""
        shown = [attempt for attempt in self.attempts if attempt.verdict == HELD]
        if not shown:
            return ""
        values = [attempt.value for attempt in shown if attempt.value is not None]
        text = ""
        if values:
            unit, worst = shown[0].unit, max(values)
            text = f"{number(worst)} {unit}"
            if len(values) > 1:
                text = f"{number(statistics.median(values))} {unit}, worst {number(worst)}"
        return ", ".join(part for part in (text, shown[-1].note) if part)

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.scenario.id,
            "scenario": self.scenario.title,
            "must": self.scenario.must,
            "result": self.verdict,
            "held": self.held,
            "attempts": [vars(attempt) for attempt in self.attempts],
            "figure": self.figure,
        }


def number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.2f}"


def attempt(scenario: Scenario, upstream: UpstreamProcess, children: Children, slack: float) -> Attempt:
    """Runs a scenario once."""
    missing = scenario.missing()
    if missing:
        return Attempt(NOT_RUN, "needs " + ", ".join(missing))
    environment = {SLACK: str(slack), **scenario.environment}
    ended = children.run(scenario.id, upstream.space(), environment, scenario.limit * slack)
    report = ended.report
    if report.get("result") in (NOT_RUN, NOT_APPLICABLE):
        return Attempt(report["result"], report["why"])
    why = judge(scenario, ended, slack)
    return Attempt(
        FAILED if why else HELD,
        why,
        report.get("traceback", ""),
        report.get("value"),
        report.get("unit", ""),
        report.get("note", ""),
        ended.exit_seconds,
    )


def judge(scenario: Scenario, ended: Ended, slack: float) -> str:
    """Why an attempt failed, or nothing."""
    report = ended.report
    if report.get("result") == FAILED:
        return "\n".join(filter(None, [report["why"], ended.stderr]))
    if ended.hung:
        where = "its process does not end" if report else "hangs"
        return f"{where}: still there after {scenario.limit * slack:g} s\n{ended.stderr}"
    if not report or ended.exit_code != 0:
        return f"exit code {ended.exit_code}\n{ended.stderr}"
    noise = _noise(ended.stderr, report.get("warned"))
    if noise:
        return noise
    limit = scenario.exit_within * slack
    if ended.exit_seconds > limit:
        return f"the process took {ended.exit_seconds:.2f} s to end, at most {limit:g} s"
    return ""


def _noise(stderr: str, warned: int | None) -> str:
    """What is wrong with stderr: it is empty, or one warning names the line `warned` and `arun`."""
    if warned is None:
        return f"stderr is not empty:\n{stderr}" if stderr else ""
    lines = stderr.splitlines()
    headers = [line for line in lines if re.search(r"Warning: ", line)]
    if len(headers) != 1:
        return f"{len(headers)} warnings, wanted one for the call in line {warned}:\n{stderr}"
    if f".py:{warned}: " not in headers[0] or "arun" not in headers[0]:
        return f"the warning does not name line {warned} and arun:\n{stderr}"
    # Python shows the line itself below the warning.
    others = [line for line in lines if line is not headers[0] and not line.startswith("  ")]
    return f"stderr has more than the warning:\n{stderr}" if others else ""


def run_all(
    scenarios: Iterable[Scenario],
    *,
    repeat: int = 1,
    jobs: int = 1,
    slack: float = 1.0,
    stop_at_failure: bool = False,
    show: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Runs each scenario `repeat` times, `jobs` at a time, and shows each, in order, when it is done."""
    outcomes = [Outcome(scenario) for scenario in scenarios]
    with (
        UpstreamProcess() as upstream,
        Standstill() as standstill,
        ThreadPoolExecutor(jobs) as pool,
        Children() as children,
    ):
        stopped = False

        def one(outcome: Outcome) -> None:
            if not stopped:
                tried = undisturbed(
                    lambda: attempt(outcome.scenario, upstream, children, slack),
                    lambda tried: tried.verdict == FAILED,
                    standstill,
                )
                outcome.attempts.append(tried)

        # An attempt that was not run once would not be run twenty times either.
        waiting: dict[Future[None], Outcome] = {
            pool.submit(one, outcome): outcome
            for outcome in outcomes
            for _ in range(1 if outcome.scenario.missing() else repeat)
        }
        left = {id(outcome): sum(o is outcome for o in waiting.values()) for outcome in outcomes}
        shown = 0
        try:
            while waiting:
                done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    outcome = waiting.pop(future)
                    future.result()
                    left[id(outcome)] -= 1
                    stopped = stopped or (stop_at_failure and outcome.verdict == FAILED)
                while shown < len(outcomes) and left[id(outcomes[shown])] == 0:
                    if outcomes[shown].attempts:
                        show(outcomes[shown])
                    shown += 1
        except BaseException:
            stopped = True
            for future in waiting:
                future.cancel()
            raise
    return [outcome for outcome in outcomes if outcome.attempts]
