"""The list is whole, and what one asks for is what one gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from ambidex.selftest.__main__ import chosen, main, passes
from ambidex.selftest.runner import FAILED, HELD, NOT_RUN, Attempt, Outcome
from ambidex.selftest.scenario import PARTS, Scenario
from ambidex.selftest.scenarios import all_scenarios

LISTED = [
    f"{letter}{number:02}"
    for letter, count in {"A": 18, "B": 14, "C": 6, "D": 6, "E": 5}.items()
    for number in range(1, count + 1)
]


def ids(scenarios: list[Scenario]) -> list[str]:
    return [scenario.id for scenario in scenarios]


def test_all_49_are_there_and_the_list_that_follows_them() -> None:
    assert len(LISTED) == 49
    assert ids([s for s in all_scenarios() if s.listed]) == LISTED
    assert ids([s for s in all_scenarios() if not s.listed]) == [f"F{number:02}" for number in range(1, 21)]


def test_no_part_is_called_like_a_scenario() -> None:
    assert not set(ids(all_scenarios())) & set(PARTS)


def test_patterns_choose() -> None:
    scenarios = all_scenarios()
    assert ids(chosen(scenarios, ["a03,B0*"], True)) == ["A03", *[f"B0{number}" for number in range(1, 10)]]
    assert ids(chosen(scenarios, ["F01", "C06"], False)) == ["C06", "F01"]
    assert ids(chosen(scenarios, [], False)) == LISTED


def test_a_pattern_that_names_none_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        main(["--only", "Z99"])
    assert exit.value.code == 2
    assert "no scenario is called Z99; --list shows all" in capsys.readouterr().err


def test_the_list_can_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 69


@pytest.mark.parametrize(
    ("verdicts", "require_all", "good"),
    [
        ([HELD, HELD], False, True),
        ([HELD, FAILED], False, False),
        ([NOT_RUN], False, True),
        ([NOT_RUN], True, False),
    ],
)
def test_one_failed_attempt_fails_and_a_missing_package_if_asked(
    verdicts: list[str], require_all: bool, good: bool
) -> None:
    outcome = Outcome(all_scenarios()[0], [Attempt(verdict) for verdict in verdicts])
    assert passes(outcome, require_all) is good


def test_the_manual_tells_of_each() -> None:
    manual = (Path(__file__).parents[3] / "docs" / "python-scenarios.md").read_text("utf-8")
    for scenario in all_scenarios():
        row = f"| {scenario.id} | {scenario.title} | "
        assert row + (scenario.must + " | " if scenario.listed else "") in manual
