"""The command that the wheel installs is the binary's: same words, same exit codes, same Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SCRIPT = '[[turns]]\ncalls = [{ name = "nap", args = {} }]\n[[turns]]\ntext = "Awake."\n'
CONFIG = """\
[models.script]
kind = "scripted"
script = "script.toml"
[agents.helper]
model = "script"
tools = ["nap"]
[tools.nap]
kind = "command"
command = ["sh", "-c", "TRAP echo $$ > pid.new; mv pid.new pid; while :; do sleep 1; done"]
effect = "read"
timeout = "5m"
"""


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "ambidex", *words]


def environment(home: Path) -> dict[str, str]:
    kept = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"HOME": str(home)}


def run(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words),
        cwd=place,
        env=environment(place),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextmanager
def started(place: Path, *words: str, stdin: int = subprocess.DEVNULL) -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    child = subprocess.Popen(
        command(*words), cwd=place, env=environment(place), stdin=stdin, stdout=pipe, stderr=pipe, text=True
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def napping(place: Path, trap: str = "") -> None:
    """A run here calls a tool that writes its process id into `pid` and then does nothing for long."""
    (place / "script.toml").write_text(SCRIPT)
    (place / "ambidex.toml").write_text('default_agent = "helper"\n' + CONFIG.replace("TRAP", trap))


def await_file(path: Path) -> str:
    for _ in range(6_000):
        if path.exists():
            return path.read_text().strip()
        time.sleep(0.005)
    pytest.fail(f"{path.name} was never written")


def runs(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has asked about does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2]
    except OSError:
        return False
    return state[:1] not in ("", "Z", "X")


def test_it_is_the_same_command(tmp_path: Path) -> None:
    said = run(tmp_path, "version")
    assert said.returncode == 0
    assert said.stdout.startswith("ambidex 0.")
    assert said.stderr == ""
    answer = run(tmp_path, "run", "What can you do?")
    assert answer.returncode == 0
    assert "offline model" in answer.stdout


def test_a_wrong_word_is_a_usage_error_that_names_the_command(tmp_path: Path) -> None:
    said = run(tmp_path, "rum")
    assert said.returncode == 2
    assert "Usage: ambidex " in said.stderr
    assert "Traceback" not in said.stderr


def test_a_reader_that_went_away_ends_it_quietly(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        command("--help"),
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writing)
    assert ended.stderr == b""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_ends_the_run_cleanly(tmp_path: Path, how: signal.Signals) -> None:
    napping(tmp_path)
    with started(tmp_path, "run", "--json", "Sleep") as child:
        tool = int(await_file(tmp_path / "pid"))
        child.send_signal(how)
        out, err = child.communicate(timeout=30)
    assert child.returncode == 5, err
    last = json.loads(out.splitlines()[-1])
    assert last["type"] == "run.finished"
    assert last["data"]["status"] == "cancelled"
    assert "Traceback" not in err
    assert "KeyboardInterrupt" not in err
    assert not runs(tool)


def test_the_second_ctrl_c_ends_it_at_once(tmp_path: Path) -> None:
    # The tool does not listen, so the clean end would take as long as its grace.
    napping(tmp_path, "trap '' INT TERM;")
    with started(tmp_path, "run", "--json", "Sleep") as child:
        await_file(tmp_path / "pid")
        child.send_signal(signal.SIGINT)
        assert child.stderr is not None
        assert "cancelling" in child.stderr.readline()
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=30)
    assert child.returncode == 5
    assert "run.finished" not in out, "it waited for the clean end"
    assert "Traceback" not in err


def test_ctrl_c_while_stdin_is_read_ends_it(tmp_path: Path) -> None:
    with started(tmp_path, "run", stdin=subprocess.PIPE) as child:
        assert child.stderr is not None
        assert "reading stdin" in child.stderr.readline()
        child.send_signal(signal.SIGINT)
        assert child.stderr.read().strip() == "error: cancelled before the run began"
        assert child.wait(timeout=30) == 5
