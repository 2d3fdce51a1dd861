"""What the suites of agents and models share: both doors, and two upstreams."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import ambidex as ax

ROOT = Path(__file__).parents[3]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))

Door = Callable[..., Any]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration of whoever runs the tests is found, and none of his keys."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    for name in list(os.environ):
        if name.startswith("AMBIDEX__") or name.endswith(("_API_KEY", "_BASE_URL")):
            monkeypatch.delenv(name)


def _sync(agent: ax.Agent[Any], task: Any, **options: Any) -> Any:
    return agent.run(task, **options)


def _async(agent: ax.Agent[Any], task: Any, **options: Any) -> Any:
    return asyncio.run(agent.arun(task, **options))


def _trio(agent: ax.Agent[Any], task: Any, **options: Any) -> Any:
    import trio

    async def main() -> Any:
        return await agent.arun(task, **options)

    return trio.run(main)


@pytest.fixture(params=[_sync, _async], ids=["run", "arun"])
def run(request: pytest.FixtureRequest) -> Door:
    """A run by each of the two doors."""
    door: Door = request.param
    return door


@pytest.fixture(params=[_sync, _async, _trio], ids=["run", "arun", "trio"])
def any_run(request: pytest.FixtureRequest) -> Door:
    """A run by each door, and from each kind of loop."""
    door: Door = request.param
    return door


def calls(*names_and_arguments: tuple[str, dict[str, Any]]) -> ax.Model:
    """A model that asks for these calls, then says `done`."""
    return ax.models.scripted([[ax.ToolCall(*call) for call in names_and_arguments], "done"])


def results(result: Any) -> list[tuple[str, str, bool]]:
    """What the tools of a run gave, as the model reads it."""
    found = (part for message in result.messages for part in message.tool_results)
    return [(part.name, part.text, part.failed) for part in found]


class Provider:
    """The strict provider, as a process."""

    def __init__(self, script: dict[str, Any], folder: Path, *arguments: str) -> None:
        file = folder / f"script-{id(self)}.json"
        file.write_text(json.dumps(script))
        binary = TARGET / "debug" / "fake-provider"
        self.process = subprocess.Popen(
            [str(binary), "--script", str(file), *arguments], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.address = json.loads(self.process.stdout.readline())["addr"]

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Callable[..., Provider]]:
    """Starts a provider with a script."""
    started: list[Provider] = []

    def start(script: dict[str, Any], *arguments: str) -> Provider:
        started.append(Provider(script, tmp_path, *arguments))
        return started[-1]

    yield start
    for one in started:
        one.stop()


class Endless:
    """A chat server that says a word at a time and never ends. It sees who hangs up."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/v1"
        self.asked = threading.Semaphore(0)
        self.hung_up = threading.Semaphore(0)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            data = b""
            while b"\r\n\r\n" not in data:
                data += connection.recv(65536)
            head, _, body = data.partition(b"\r\n\r\n")
            length = next(
                int(it.split(b":")[1]) for it in head.lower().split(b"\r\n") if b"content-length" in it
            )
            while len(body) < length:
                body += connection.recv(65536)
            self.asked.release()
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
            delta = {"id": "1", "object": "chat.completion.chunk", "model": "m"}
            delta["choices"] = [{"index": 0, "delta": {"content": "word "}}]  # type: ignore[assignment]
            line = f"data: {json.dumps(delta)}\n\n".encode()
            connection.settimeout(0.02)
            try:
                while True:
                    connection.sendall(line)
                    try:
                        if not connection.recv(1):
                            break
                    except TimeoutError:
                        pass
            except OSError:
                pass
            self.hung_up.release()

    def model(self) -> ax.Model:
        return ax.Model("openai:m", base_url=self.url, api_key="key")

    def sees_the_hang_up(self) -> bool:
        return self.hung_up.acquire(timeout=10)


@pytest.fixture
def endless() -> Iterator[Endless]:
    server = Endless()
    yield server
    server.listener.close()
