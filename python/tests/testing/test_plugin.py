"""The plugin as pytest finds it: its fixtures, its options, and what they say."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples" / "testing"


def run(folder: Path, *options: str, test: str | None = None) -> tuple[dict[str, int], str]:
    """Runs pytest in a process of its own: how many passed, failed and so on, and what it said."""
    if test is not None:
        (folder / "test_it.py").write_text(textwrap.dedent(test))
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-c", os.devnull, f"--rootdir={folder}"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    done = subprocess.run(
        [*command, "-p", "ambidex.testing.plugin", "-p", "no:cacheprovider", *options, "."],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    said = done.stdout + done.stderr
    counts: dict[str, int] = {}
    for line in said.splitlines():
        word = line.split(" ")[0]
        if word in ("PASSED", "FAILED", "ERROR"):
            counts[word.lower()] = counts.get(word.lower(), 0) + 1
    return counts, said


def test_pytest_is_told_where_the_plugin_is() -> None:
    project = (EXAMPLES.parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert '[project.entry-points.pytest11]\nambidex = "ambidex.testing.plugin"\n' in project


def test_the_sample_suite_passes(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES, tmp_path / "sample", ignore=shutil.ignore_patterns("__pycache__"))
    counts, said = run(tmp_path / "sample")
    assert counts == {"passed": 9}, said


def test_the_sample_suite_passes_without_network(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES, tmp_path / "sample", ignore=shutil.ignore_patterns("__pycache__"))
    counts, said = run(tmp_path / "sample", "--ambidex-no-network")
    assert counts == {"passed": 9}, said


RECORDED = """
    import ambidex as ax
    import pytest
    from ambidex.testing import ScriptedModel

    @pytest.mark.parametrize("word", ["one", "a b/c"])
    def test_it(recording, word):
        real = ScriptedModel(default=f"It is {word}.")
        assert ax.Agent("any", model=recording(real)).run(f"say {word}").text == f"It is {word}."
        assert recording(real, "judge").chat("good?").text == f"It is {word}."
"""


def test_recordings_are_made_and_played_back(tmp_path: Path) -> None:
    counts, said = run(tmp_path, test=RECORDED)
    assert counts == {"failed": 2}
    assert "there is no recording" in said
    assert "pytest --ambidex-record=new" in said

    counts, said = run(tmp_path, "--ambidex-record=new")
    assert counts == {"passed": 2}, said
    folder = tmp_path / "recordings" / "test_it"
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == [
        "test_it_a_b_c-judge.json",
        "test_it_a_b_c.json",
        "test_it_one-judge.json",
        "test_it_one.json",
    ]
    recording = json.loads(files[-1].read_text())
    recording["calls"][0]["chunks"] = [{"text": {"part": 0, "text": "It is changed."}}, {"end": "stop"}]
    files[-1].write_text(json.dumps(recording))
    assert run(tmp_path, "--ambidex-record=new")[0] == {"passed": 1, "failed": 1}
    assert run(tmp_path, "--ambidex-record=all")[0] == {"passed": 2}
    assert "It is one." in files[-1].read_text()


def test_a_second_recording_needs_a_name(tmp_path: Path) -> None:
    test = """
        from ambidex.testing import ScriptedModel

        def test_it(recording):
            recording(ScriptedModel("a"))
            recording(ScriptedModel("b"))
    """
    counts, said = run(tmp_path, "--ambidex-record=new", test=test)
    assert counts == {"failed": 1}
    assert "give each a name of its own: recording(model, 'judge')" in said


def test_leaks_fail_the_test_that_makes_them(tmp_path: Path) -> None:
    test = """
        import socket, threading

        kept = []

        def test_leaky(ambidex_leaks):
            ambidex_leaks.grace = 0.05
            end = threading.Event()
            threading.Thread(target=end.wait, name="forgotten", daemon=True).start()
            kept.extend(socket.socketpair())

        def test_allowed(ambidex_leaks):
            ambidex_leaks.allow(fds=2)
            kept.extend(socket.socketpair())

        def test_clean(ambidex_leaks):
            with socket.socket():
                pass
    """
    counts, said = run(tmp_path, test=test)
    assert counts == {"passed": 3, "error": 1}
    assert "ERROR test_it.py::test_leaky" in said
    assert "thread 'forgotten' (daemon)" in said
    assert "socket:[" in said


def test_leaks_inside_a_running_loop(tmp_path: Path) -> None:
    test = """
        import asyncio
        import warnings
        from ambidex.testing import LeakCheck, ScriptedModel
        import ambidex as ax

        def test_it():
            async def main():
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    check = LeakCheck()
                    await ax.Agent("any", model=ScriptedModel("a")).arun("hi")
                    check.verify()
            asyncio.run(main())
    """
    counts, said = run(tmp_path, test=test)
    assert counts == {"passed": 1}, said


@pytest.mark.parametrize("how", ["fixture", "option", "ini"])
def test_no_network(tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    test = """
        import pytest
        import ambidex as ax

        early = ax.Model("openai:any", api_key="none", base_url="http://192.0.2.1/v1", timeout=0.2, retry=1)

        def test_early():
            with pytest.raises(ax.AmbidexError) as raised:
                early.chat("hi")
            print("early:", type(raised.value.__cause__).__name__)

        def test_late(ambidex_no_network):
            with pytest.raises(ax.ModelError, match="may not reach the network"):
                ax.Agent("any", model="openai:any").run("hi")
    """
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    options = {"fixture": [], "option": ["--ambidex-no-network"], "ini": ["-o", "ambidex_no_network=true"]}[
        how
    ]
    counts, said = run(tmp_path, *options, test=test)
    assert counts == {"passed": 2}, said
    assert f"early: {'NoneType' if how == 'fixture' else 'NetworkRefused'}" in said


def test_it_is_told_of_in_the_help(tmp_path: Path) -> None:
    said = run(tmp_path, "--fixtures", test="")[1]
    for fixture in ("scripted_model", "fault_model", "recording", "ambidex_no_network", "ambidex_leaks"):
        assert f"\n{fixture} -- " in said
    assert "--ambidex-record" in run(tmp_path, "--help")[1]


def test_the_plugin_costs_little_until_it_is_used(tmp_path: Path) -> None:
    test = """
        import sys

        def test_it():
            assert "ambidex.testing.scripted" not in sys.modules
            assert "ambidex.agent" not in sys.modules
    """
    assert run(tmp_path, test=test)[0] == {"passed": 1}
