"""Recordings: what was said is said again; what was not asked is refused with the difference."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import ambidex as ax
from ambidex.testing import FaultModel, ReplayError, ScriptedModel, record, replay
from ambidex.testing.difference import differences


@ax.tool
def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


SUM = [
    {"reasoning": "Easy.", "text": "Let me see.", "calls": [{"name": "add", "args": {"a": 1, "b": 2}}]},
    "It is 3.",
]


def events(agent: Any, task: str) -> list[tuple[str, Any]]:
    return [
        (event.type, event.data) for event in agent.stream(task) if event.type.startswith(("model", "tool"))
    ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "calls.json"


def test_a_run_is_played_back_as_it_was(path: Path) -> None:
    model = record(path, ScriptedModel(SUM, chunk=3))
    before = events(ax.Agent("sums", model=model, tools=[add]), "1 + 2?")
    again = replay(path)
    after = events(ax.Agent("sums", model=again, tools=[add]), "1 + 2?")

    def without_times(found: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        return [(kind, {name: it for name, it in data.items() if name != "seconds"}) for kind, data in found]

    assert without_times(before) == without_times(after)
    assert [call.chunks for call in model.calls] == [call.chunks for call in again.calls]
    assert again.name == "script"


def test_errors_are_played_back(path: Path) -> None:
    for open_one in (lambda: record(path, FaultModel("one two", {1: "rate_limited"})), lambda: replay(path)):
        with pytest.raises(ax.ModelError) as raised:
            open_one().chat("hi")
        assert (raised.value.code, raised.value.status, raised.value.retryable) == ("rate_limited", 429, True)


def test_equal_requests_are_played_in_their_order_and_others_in_any(path: Path) -> None:
    said = iter(["first", "second", "other"])
    model = record(path, ax.models.function(lambda messages: next(said)))
    assert [model.chat(text).text for text in ("a", "a", "b")] == ["first", "second", "other"]
    again = replay(path)
    assert [again.chat(text).text for text in ("b", "a", "a")] == ["other", "first", "second"]
    with pytest.raises(ax.ModelError, match="so often: the same request was recorded 2 times") as raised:
        again.chat("a")
    assert isinstance(raised.value.__cause__, ReplayError)


def test_a_request_that_differs_is_refused_with_the_difference(path: Path) -> None:
    recorded = ax.Agent("sums", model=record(path, ScriptedModel(SUM)), tools=[add], instructions="Add.")
    recorded.run("1 + 2?")

    @ax.tool(name="add")
    def other(a: int, b: int, c: int = 0) -> int:
        """Adds up."""
        return a + b + c

    changed = ax.Agent("sums", model=replay(path), tools=[other], instructions="Add it up.")
    with pytest.raises(ax.ModelError) as raised:
        changed.run("1 + 3?")
    message = str(raised.value)
    assert isinstance(raised.value.__cause__, ReplayError)
    assert f"call 1 of the model was not recorded in {str(path)!r}" in message
    assert 'instructions: recorded "Add.", asked "Add it up."' in message
    assert 'messages[0].parts[0].text: recorded "1 + 2?", asked "1 + 3?"' in message
    assert 'tools[0].description: recorded "Adds.", asked "Adds up."' in message
    assert "tools[0].input.properties.c: not recorded, asked" in message
    assert "record it anew, or leave out what changes with `match`" in message


def test_what_changes_can_be_left_out(path: Path) -> None:
    record(path, ScriptedModel("Hello.")).chat("It is 10:31. Hi!")

    def without_time(request: dict[str, Any]) -> Any:
        request["messages"][0]["parts"][0]["text"] = "..."
        return request

    assert replay(path, match=without_time).chat("It is 12:00. Hi!").text == "Hello."


def test_more_calls_than_were_recorded(path: Path) -> None:
    record(path, ScriptedModel("Hello.")).chat("hi")
    again = replay(path)
    assert again.chat("hi").text == "Hello."
    with pytest.raises(ax.ModelError, match="all of its 1 calls were played"):
        again.chat("another")


def test_calls_at_once_are_recorded_whole(path: Path) -> None:
    model = record(path, ax.models.function(lambda messages: messages[-1].text.upper()))

    async def all_at_once(one: Any) -> list[str]:
        return [
            reply.text for reply in await asyncio.gather(*(one.achat(f"t{number}") for number in range(20)))
        ]

    expected = [f"T{number}" for number in range(20)]
    assert asyncio.run(all_at_once(model)) == expected
    assert len(json.loads(path.read_text())["calls"]) == 20
    assert asyncio.run(all_at_once(replay(path))) == expected
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_recording_holds_no_key(path: Path) -> None:
    model = ax.Model("openai:nothing", base_url="http://127.0.0.1:9/v1", api_key="sk-very-secret", retry=1)
    with pytest.raises(ax.ModelError):
        record(path, model).chat("hi")
    text = path.read_text()
    assert "connect_failed" in text
    assert "very-secret" not in text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "there is no recording"),
        ("{", "is not JSON"),
        ("[]", "is no recording of calls"),
        ('{"version": 99, "model": "a", "calls": []}', "has the version 99, and 1 is read; record it anew"),
    ],
)
def test_files_that_are_no_recordings(tmp_path: Path, text: str | None, problem: str) -> None:
    file = tmp_path / "file.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ax.UsageError, match=problem):
        replay(file)


def test_differences() -> None:
    assert differences({"a": 1}, {"a": 1}) == []
    assert differences({"a": [1, 2]}, {"a": [1]}) == ["a[1]: recorded 2, and is not asked"]
    assert differences({"a": 1, "b": 2}, {"b": 3, "c": 4}) == [
        "a: recorded 1, and is not asked",
        "b: recorded 2, asked 3",
        "c: not recorded, asked 4",
    ]
    long = "x" * 200
    assert differences({"a": long + "1"}, {"a": long + "2"}) == [
        f'a: recorded ..."{"x" * 20}1", asked ..."{"x" * 20}2"'
    ]
    assert differences(list(range(20)), list(range(1, 21)))[-1] == "and 12 more"


def test_an_empty_recording_says_so(path: Path) -> None:
    record(path, ScriptedModel("Hello."))
    with pytest.raises(ax.ModelError, match="which is empty; record it anew"):
        replay(path).chat("hi")


class Provider(BaseHTTPRequestHandler):
    """Speaks Chat Completions: first a call of a tool, then words."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if body["messages"][-1]["role"] == "user":
            call = {
                "index": 0,
                "id": "call_abc",
                "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'},
            }
            pieces = [({"tool_calls": [call]}, None), ({}, "tool_calls")]
        else:
            pieces = [({"content": "It "}, None), ({"content": "is 3."}, None), ({}, "stop")]
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for delta, finish in pieces:
            chunk = {
                "id": "c1",
                "model": "any-1",
                "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
            }
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, *_: Any) -> None:
        """Nothing on the screen."""


def test_a_provider_is_recorded_and_not_needed_any_more(path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Provider) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            real = ax.Model(
                "openai:any", base_url=f"http://127.0.0.1:{server.server_port}/v1", api_key="sk-secret"
            )
            first = ax.Agent("sums", model=record(path, real), tools=[add]).run("1 + 2?")
        finally:
            server.shutdown()
            thread.join()
    again = replay(path)
    second = ax.Agent("sums", model=again, tools=[add]).run("1 + 2?")
    assert first.text == second.text == "It is 3."
    assert first.messages == second.messages
    assert first.usage == second.usage
    assert again.name == "openai:any"
    assert [call.id for call in again.calls[0].tool_calls] == ["call_abc"]
    assert "sk-secret" not in path.read_text()


RUN = """
[store]
url = "sqlite:state.db"

[models.calm]
kind = "scripted"
script = "script.toml"

[agents.desk]
model = "calm"
instructions = "You are kind."
tools = ["read_file"]
"""
SCRIPT = """
[[turns]]
calls = [{ name = "read_file", args = { path = "note.txt" } }]
[[turns]]
text = "The note says: {{ result.read_file }}"
"""


def exported(place: Path) -> Path:
    """The recording of a run of the command line."""
    (place / "ambidex.toml").write_text(RUN)
    (place / "script.toml").write_text(SCRIPT)
    (place / "note.txt").write_text("milk")
    for words in (["run", "--quiet", "What is in the note?"], ["runs", "export", "@last", "run.jsonl"]):
        subprocess.run(
            [sys.executable, "-m", "ambidex", *words], cwd=place, check=True, capture_output=True, timeout=60
        )
    return place / "run.jsonl"


def test_a_whole_run_serves_as_a_recording_of_its_models(tmp_path: Path) -> None:
    path = exported(tmp_path)
    whole = json.loads(path.read_text().splitlines()[0])
    spec = whole["definition"]["agent"]["tools"][0]["spec"]

    def only_words(request: dict[str, Any]) -> Any:
        return request["instructions"], request["messages"][0], len(request["messages"])

    def read_file(path: str) -> str:
        return (tmp_path / path).read_text()

    tool = ax.tool(read_file, name=spec["name"], description=spec["description"])
    model = replay(path, match=only_words)
    agent = ax.Agent("desk", model=model, tools=[tool], instructions="You are kind.")
    first = agent.run("What is in the note?")
    assert first.text.startswith("The note says:")
    assert "milk" in first.text
    model.assert_asked(2)
    other = ax.Agent("desk", model=replay(path, match=only_words), tools=[tool], instructions="You are rude.")
    with pytest.raises(ax.ModelError, match="rude") as raised:
        other.run("What is in the note?")
    assert isinstance(raised.value.__cause__, ReplayError)


def test_a_recording_of_a_run_that_was_damaged_is_refused(tmp_path: Path) -> None:
    path = exported(tmp_path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], *lines[2:]]))
    with pytest.raises(ax.UsageError, match="line"):
        replay(path)
