"""The soak, made small: its scripts run, and say what they found."""

from __future__ import annotations

import json

import pytest

from ambidex.selftest.checks import Failed
from ambidex.selftest.soak import main
from ambidex.selftest.stress import no_leak

NOTHING = {"objects": 0.0, "blocks": 0.0, "threads": 0.0, "fds": 0.0, "rss": 0.0}


@pytest.mark.parametrize(
    ("part", "options"),
    [("awaits", ["--awaits", "5000"]), ("runs", ["--runs", "50"]), ("exits", ["--exits", "4"])],
)
def test_a_part_runs(part: str, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--only", part, "--json", *options])
    told = json.loads(capsys.readouterr().out)
    assert told["good"], told
    assert [one["name"] for one in told["parts"]] == [part]
    assert code == 0


def test_an_unknown_part_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        main(["--only", "rest"])
    assert exit.value.code == 2
    assert "no part is called rest; there are awaits" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["objects", "blocks", "threads", "fds", "rss"])
def test_growth_is_a_leak(what: str) -> None:
    no_leak(NOTHING, objects=10, megabytes=10)
    with pytest.raises(Failed):
        no_leak({**NOTHING, what: 100.0}, objects=10, megabytes=10)
