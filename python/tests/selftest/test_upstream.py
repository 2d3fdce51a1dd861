"""The witness sees what it must see."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from ambidex.selftest.witness import Upstream, UpstreamProcess, call


@pytest.fixture(scope="module")
def process() -> Iterator[UpstreamProcess]:
    with UpstreamProcess() as process:
        yield process


@pytest.fixture
def up(process: UpstreamProcess) -> Upstream:
    return Upstream(process.space())


def request(up: Upstream, model: str, messages: list[dict[str, Any]] | str, **more: Any) -> bytes:
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    body = json.dumps({"model": model, "messages": messages, **more}).encode()
    head = (
        f"POST /{up.space}/v1/chat/completions HTTP/1.1\r\nhost: test\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def connect(up: Upstream) -> socket.socket:
    return socket.create_connection((up.host, up.port), timeout=10)


def ask(up: Upstream, model: str, messages: list[dict[str, Any]] | str, **more: Any) -> bytes:
    with connect(up) as connection:
        connection.sendall(request(up, model, messages, **more))
        response = http.client.HTTPResponse(connection)
        response.begin()
        return response.read()


def test_it_says_what_was_asked(up: Upstream) -> None:
    reply = json.loads(ask(up, "any", "hello"))
    assert reply["choices"][0]["message"]["content"] == "you said hello"
    assert reply["choices"][0]["finish_reason"] == "stop"
    assert up.counts() == {
        "requests": 1,
        "replies": 1,
        "hangups": 0,
        "connections": 1,
        "open": 0,
        "peak": 1,
    }


def test_a_script_plays_its_rounds_and_then_tells_the_results(up: Upstream) -> None:
    model = up.script("tools", rounds=[[call("add", a=1), call("add", a=2)]])
    first = json.loads(ask(up, model, "hello"))["choices"][0]
    calls = first["message"]["tool_calls"]
    assert first["finish_reason"] == "tool_calls"
    assert [json.loads(one["function"]["arguments"]) for one in calls] == [{"a": 1}, {"a": 2}]
    messages = [
        {"role": "user", "content": "hello"},
        first["message"],
        *[{"role": "tool", "tool_call_id": one["id"], "content": "2"} for one in calls],
    ]
    assert json.loads(ask(up, model, messages))["choices"][0]["message"]["content"] == 'tools said ["2", "2"]'
    # A new question begins the script anew.
    again = [*messages, {"role": "assistant", "content": "done"}, {"role": "user", "content": "more"}]
    assert json.loads(ask(up, model, again))["choices"][0]["finish_reason"] == "tool_calls"


def test_a_stream_comes_in_pieces_and_ends_with_done(up: Upstream) -> None:
    model = up.script("flow", deltas=3)
    lines = (
        ask(up, model, "hello", stream=True, stream_options={"include_usage": True}).decode().split("\n\n")
    )
    assert lines[-2:] == ["data: [DONE]", ""]
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]
    texts = [chunk["choices"][0]["delta"].get("content") for chunk in chunks if chunk["choices"]]
    assert texts == ["", "0 ", "1 ", "2 ", None]
    assert chunks[-1]["usage"]["completion_tokens"] == 3


def test_requests_on_one_connection_are_answered_in_turn(up: Upstream) -> None:
    with connect(up) as connection:
        for wanted in ("one", "two"):
            connection.sendall(request(up, "any", wanted))
            response = http.client.HTTPResponse(connection)
            response.begin()
            assert wanted in response.read().decode()
    assert up.counts()["connections"] == 1


@pytest.mark.parametrize("how", ["close", "half", "reset"])
def test_a_client_that_goes_away_is_a_hang_up(up: Upstream, how: str) -> None:
    model = up.script("slow", delay=20.0)
    with connect(up) as connection:
        connection.sendall(request(up, model, "hello"))
        assert up.until(requests=1)["counts"]["open"] == 1
        if how == "half":
            connection.shutdown(socket.SHUT_WR)
        elif how == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        if how != "half":
            connection.close()
        ledger = up.until(hangups=1)
    assert [hangup["model"] for hangup in ledger["hangups"]] == ["slow"]
    assert ledger["counts"]["open"] == 0


def test_a_client_that_does_not_read_and_goes_away_is_a_hang_up(up: Upstream) -> None:
    model = up.script("flood", deltas=50_000, gap=0.00001)
    with connect(up) as connection:
        connection.sendall(request(up, model, "hello", stream=True))
        up.until(requests=1)
    assert up.until(hangups=1)["counts"]["hangups"] == 1


def test_a_client_that_has_its_reply_is_no_hang_up(up: Upstream) -> None:
    ask(up, "any", "hello")
    assert up.until(hangups=1, within=0.1)["counts"]["hangups"] == 0


def test_spaces_do_not_see_each_other(process: UpstreamProcess) -> None:
    one, other = Upstream(process.space()), Upstream(process.space())
    ask(one, "any", "hello")
    assert (one.counts()["requests"], other.counts()["requests"]) == (1, 0)


def test_requests_at_once_are_counted(up: Upstream) -> None:
    model = up.script("slow", delay=0.3)
    connections = [connect(up) for _ in range(5)]
    for connection in connections:
        connection.sendall(request(up, model, "hello"))
    assert up.until(replies=5)["counts"]["peak"] == 5
    for connection in connections:
        connection.close()
