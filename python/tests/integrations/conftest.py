"""What the tests of integrations share: the manual's examples, an upstream, and processes under watch."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from examples import below
from watched import PATIENCE, Process

ROOT = Path(__file__).resolve().parents[3]
MANUAL = ROOT / "docs" / "python-integrations.md"
PROVIDER = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug" / "fake-provider"


def turn(says: str, *parts: dict[str, Any], last: str = "user", **more: Any) -> dict[str, Any]:
    when = {"all": [{"last_role": last}, {"last_contains": says}]}
    return {"when": when, "parts": list(parts), **more}


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"tool_call": {"name": name, "arguments": arguments}}


# Text comes in pieces and with pauses, so that one who waits for the whole is told from one who does not; a
# first byte takes long enough for calls at once to be seen beside each other.
LIVE = {"chunk_chars": 3, "pace_ms": 40}
SCRIPT = {
    "turns": [
        *(turn(city, call("temperature", city=city), delay_ms=300) for city in ("Bergen", "Cairo", "Quito")),
        turn("users", call("user_count", active=True)),
        turn("9", {"text": "It is 9 degrees in Bergen."}, last="tool", **LIVE),
        turn("31", {"text": "It is 31 degrees in Cairo."}, last="tool", **LIVE),
        turn("20", {"text": "It is 20 degrees in Quito."}, last="tool", **LIVE),
        turn("3", {"text": "There are 3 users."}, last="tool", **LIVE),
        turn("story", {"text": "And then? " * 100}, chunk_chars=10, pace_ms=100),
    ]
}
ANSWERS = {
    "How warm is it in Bergen?": "It is 9 degrees in Bergen.",
    "How warm is it in Cairo?": "It is 31 degrees in Cairo.",
    "How warm is it in Quito?": "It is 20 degrees in Quito.",
}


class Upstream:
    """The strict provider, and what it saw."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.base_url = f"http://{address}/v1"

    def seen(self, view: str) -> Any:
        return httpx.get(f"http://{self.address}/fake/{view}", trust_env=False).json()

    def hung_up(self) -> None:
        """Waits until a client has gone away before its reply was over."""
        due = time.monotonic() + PATIENCE
        while time.monotonic() < due:
            if self.seen("hangups"):
                return
            time.sleep(0.02)
        pytest.fail("the upstream saw no hang-up")


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Upstream]:
    assert PROVIDER.exists(), "run: cargo build -p ambidex-fake-provider"
    script = tmp_path / "upstream.json"
    script.write_text(json.dumps(SCRIPT))
    process = Process([str(PROVIDER), "--script", str(script)], tmp_path, dict(os.environ))
    try:
        yield Upstream(process.said(r'"addr":"([\d.:]+)"')[1])
        assert not process.err
    finally:
        process.kill()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An empty folder for the files of an example."""
    folder = tmp_path / "place"
    folder.mkdir()
    return folder


@pytest.fixture
def environment(upstream: Upstream, tmp_path: Path) -> dict[str, str]:
    """What the example's process finds: the package, and the upstream in the provider's place."""
    kept = {
        name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH") if name in os.environ
    }
    return kept | {
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "OPENAI_API_KEY": "sk-test",
        "OPENAI_BASE_URL": upstream.base_url,
    }


@pytest.fixture
def start(place: Path, environment: dict[str, str]) -> Iterator[Callable[..., Process]]:
    """Starts Python in the example's folder: `start("-m", "uvicorn", "app:app")`."""
    started: list[Process] = []

    def one(*words: str) -> Process:
        process = Process([sys.executable, *words], place, environment)
        started.append(process)
        return process

    yield one
    for process in started:
        process.kill()


@pytest.fixture
def write(place: Path) -> Callable[..., list[str]]:
    """Writes the files of one of the manual's examples as they stand there, and gives what names no file."""

    def files(heading: str, folder: Path = place) -> list[str]:
        cells: list[str] = []
        for example in below(MANUAL, heading):
            if example.language == "python" and example.name is None:
                cells.append(example.text)
            elif example.language == "python":
                (folder / str(example.name)).write_text(example.text)
        return cells

    return files


@pytest.fixture
def at_once() -> Callable[[str, list[str]], list[str]]:
    """Asks a URL several things at the same time, and gives the answers in their order."""

    def ask(url: str, tasks: list[str]) -> list[str]:
        def one(task: str) -> str:
            reply = httpx.get(url, params={"task": task}, timeout=PATIENCE, trust_env=False)
            return str(reply.json()["answer"]) if reply.status_code == 200 else reply.text

        with ThreadPoolExecutor(len(tasks)) as threads:
            return list(threads.map(one, tasks))

    return ask


@pytest.fixture
def many(upstream: Upstream, at_once: Callable[[str, list[str]], list[str]]) -> Callable[[str], None]:
    """Asks a URL nine things at once, of which each gets its own answer."""

    def ask(url: str) -> None:
        tasks = [*ANSWERS] * 3
        assert at_once(url, tasks) == [ANSWERS[task] for task in tasks]
        census = upstream.seen("census")
        assert census["peak_in_flight"] >= 4, f"they waited for each other: {census}"

    return ask


@pytest.fixture
def read_live() -> Callable[[str], None]:
    """Reads a stream, whose pieces come while the model speaks."""

    def read(url: str) -> None:
        pieces: list[str] = []
        times: list[float] = []
        params = {"task": "How warm is it in Bergen?"}
        with httpx.stream("GET", url, params=params, timeout=PATIENCE, trust_env=False) as reply:
            assert reply.status_code == 200
            for piece in reply.iter_text():
                pieces.append(piece)
                times.append(time.monotonic())
        assert "".join(pieces) == ANSWERS["How warm is it in Bergen?"]
        # The upstream takes 0.36 s to say it, pauses are its own; what was collected first comes at once.
        assert len(pieces) >= 3
        assert times[-1] - times[0] > 0.1

    return read


@pytest.fixture
def walk_away(upstream: Upstream) -> Callable[[str], None]:
    """Leaves a stream in its middle; the upstream sees it."""

    def leave(url: str) -> None:
        params = {"task": "Tell a long story."}
        with httpx.stream("GET", url, params=params, timeout=PATIENCE, trust_env=False) as reply:
            next(reply.iter_text())
        upstream.hung_up()

    return leave
