"""What makes an attempt fail."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ambidex.selftest.child import Child, Children, Ended
from ambidex.selftest.runner import HELD, NOT_RUN, attempt, judge
from ambidex.selftest.scenario import Scenario
from ambidex.selftest.standstill import Standstill, undisturbed
from ambidex.selftest.witness import UpstreamProcess

HELD_REPORT: dict[str, Any] = {"result": "held", "ended": 100.0}
WARNING = "/home/me/user_code.py:65: SomeWarning: run() blocks the loop; use `await arun(...)`\n"


def a_scenario(**options: Any) -> Scenario:
    return Scenario("A01", "one sync run", "right", lambda up: None, **options)


def an_end(**changes: Any) -> Ended:
    options: dict[str, Any] = {
        "exit_code": 0,
        "report": HELD_REPORT,
        "stdout": "",
        "stderr": "",
        "at": 100.5,
        "hung": False,
    }
    return Ended(**{**options, **changes})


def why(**changes: Any) -> str:
    return judge(a_scenario(), an_end(**changes), 1.0)


def warned(stderr: str) -> str:
    return why(report={**HELD_REPORT, "warned": 65}, stderr=stderr)


def test_a_quiet_end_with_0_holds() -> None:
    assert why() == ""


def test_a_failed_script_says_why() -> None:
    assert "wanted 1, got 2" in why(report={"result": "failed", "why": "wanted 1, got 2"}, exit_code=1)


@pytest.mark.parametrize("code", [-11, -6, 1])
def test_an_exit_code_after_a_good_report_is_a_failure(code: int) -> None:
    assert why(exit_code=code).startswith(f"exit code {code}")


def test_no_report_is_a_failure() -> None:
    assert why(report={}).startswith("exit code 0")


def test_a_hang_is_told_from_an_end_that_does_not_come() -> None:
    assert why(hung=True, report={}).startswith("hangs")
    assert why(hung=True).startswith("its process does not end")


def test_a_process_that_takes_long_to_end_is_a_failure() -> None:
    assert "took 2.50 s to end" in why(at=102.5)


def test_anything_on_stderr_is_a_failure() -> None:
    assert why(stderr="Exception ignored in: ...\n").startswith("stderr is not empty")
    assert why(stderr=WARNING).startswith("stderr is not empty")


def test_the_one_warning_may_be_there_with_its_line_of_source() -> None:
    assert warned(WARNING) == ""
    assert warned(WARNING + "  agent.run('hello')\n") == ""


@pytest.mark.parametrize(
    "stderr",
    [
        "",
        WARNING + WARNING,
        WARNING.replace(":65:", ":66:"),
        WARNING.replace("arun", "it"),
        WARNING + "Exception ignored in: ...\n",
    ],
)
def test_no_warning_two_another_line_and_more_than_it_are_failures(stderr: str) -> None:
    assert warned(stderr) != ""


def test_a_scenario_without_its_packages_is_not_run() -> None:
    scenario = a_scenario(needs=("no_such_package",))
    with UpstreamProcess() as upstream, Children() as children:
        tried = attempt(scenario, upstream, children, 1.0)
    assert (tried.verdict, tried.why) == (NOT_RUN, "needs no_such_package")


def test_a_process_that_does_not_end_is_ended_and_shows_where_it_stands() -> None:
    with UpstreamProcess() as upstream:
        ended = Child("C04.script", upstream.space()).wait(3.0)
    assert ended.hung
    assert ended.exit_code == -9
    assert "cancelling.py" in ended.stderr


def test_a_scenario_runs_in_a_process_of_its_own() -> None:
    with UpstreamProcess() as upstream, Children() as children:
        tried = attempt(a_scenario(), upstream, children, 5.0)
    assert tried.verdict == HELD, tried.why


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_whoever_ends_the_self_test_ends_what_it_started(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ambidex.selftest", "--only", "C01"]
    with (tmp_path / "out").open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    children = wait_for(lambda: descendants(process.pid), 2)
    process.terminate()
    assert process.wait(10) == 143
    wait_for(lambda: [] if any(map(alive, children)) else [0], 1)


def wait_for(look: Callable[[], list[int]], count: int) -> list[int]:
    due = time.monotonic() + 10
    while len(seen := look()) < count:
        assert time.monotonic() < due, seen
        time.sleep(0.01)
    return seen


def descendants(pid: int) -> list[int]:
    """The processes that a process has started: the upstream and the script."""
    told = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return [int(word) for word in told.stdout.split()]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class StoodStill(Standstill):
    """A machine that stood still during the first so many attempts."""

    def __init__(self, attempts: int) -> None:
        super().__init__()
        self.left = attempts

    def since(self, start: float) -> float:
        self.left -= 1
        return 15.0 if self.left >= 0 else 0.0


@pytest.mark.parametrize(("still", "tries"), [(0, 1), (1, 2), (3, 4), (99, 5)])
def test_what_fails_while_the_machine_stands_still_is_tried_again(still: int, tries: int) -> None:
    made: list[str] = []

    def fails() -> str:
        made.append("failed")
        return made[-1]

    assert undisturbed(fails, lambda tried: tried == "failed", StoodStill(still)) == "failed"
    assert len(made) == tries


def test_what_holds_is_not_tried_again() -> None:
    made: list[str] = []
    undisturbed(lambda: made.append("held"), lambda tried: False, StoodStill(99))
    assert len(made) == 1


def test_a_standstill_is_noticed() -> None:
    with Standstill() as standstill:
        start = time.monotonic()
        assert standstill.since(start) < 5
        standstill.times.append((start + 1, start + 9))
        assert standstill.since(start) == 8.0
        assert standstill.since(start + 10) < 5
