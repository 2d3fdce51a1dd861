"""Tests that reach nothing but this machine."""

from __future__ import annotations

import pickle
import socket

import pytest

import ambidex as ax
import ambidex.model
from ambidex.testing import NetworkRefused, ScriptedModel, no_network
from ambidex.tools import endpoint


def test_models_of_providers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with no_network():
        model = ax.Model("openai:any", api_key="none")
        with pytest.raises(ax.ModelError) as raised:
            model.chat("hi")
        with pytest.raises(ax.ModelError, match="may not reach the network"):
            ax.Agent("any", model=ax.fallback(model, "openai:other")).run("hi")
        with pytest.raises(ax.ModelError, match="may not reach the network"):
            ax.Agent("any", model="openai:any").run("hi")
        with pytest.raises(ax.ModelError, match="may not reach the network"):
            pickle.loads(pickle.dumps(ax.Model("openai:any"))).chat("hi")
    assert isinstance(raised.value.__cause__, NetworkRefused)
    assert raised.value.retryable is False
    assert str(raised.value) == (
        "this test may not reach the network: the model 'openai:any' of openai was asked; use ax.testing.ScriptedModel,"
        " or play back a recording"
    )


def test_what_needs_no_network_goes_on() -> None:
    with no_network():
        assert ScriptedModel("Hello.").chat("hi").text == "Hello."
        assert ax.Model("demo").chat("hi").text
        assert ax.Agent("any", model="demo").run("hi").text


def test_servers_of_this_machine_are_reached() -> None:
    with no_network():
        model = ax.Model("openai:any", base_url="http://127.0.0.1:9/v1", api_key="none", retry=1)
        with pytest.raises(ax.ModelError) as raised:
            model.chat("hi")
    assert raised.value.code == "connect_failed"
    assert not isinstance(raised.value.__cause__, NetworkRefused)


def test_http_tools_are_refused() -> None:
    with no_network():
        far = ax.tools.http("far", "https://api.example.com/items/{id}", input={"id": "integer"})
        near = ax.tools.http("near", "http://127.0.0.1:9/", allow_private=True)
        with pytest.raises(ax.ToolError, match=r"the tool 'far' was to ask api\.example\.com") as raised:
            ax.Agent("any", model=ScriptedModel([ax.ToolCall("far", {"id": 1})]), tools=[far]).run("hi")
        model = ScriptedModel([ax.ToolCall("near"), "It is not there."])
        assert ax.Agent("any", model=model, tools=[near]).run("hi").text == "It is not there."
        assert "connect" in model.last.messages[-1].tool_results[0].text
    assert isinstance(raised.value.__cause__, NetworkRefused)


def test_sockets_of_python_are_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, no_network():
        socket.create_connection(server.getsockname()).close()
        with socket.socket() as client:
            with pytest.raises(NetworkRefused, match=r"a socket was to connect to 192\.0\.2\.1"):
                client.connect(("192.0.2.1", 80))
            with pytest.raises(OSError, match="may not reach the network"):
                client.connect_ex(("192.0.2.1", 80))


def test_it_ends() -> None:
    before = (socket.socket.connect, socket.socket.connect_ex, ambidex.model._core, endpoint._core)
    with no_network(), no_network():
        assert (
            socket.socket.connect,
            socket.socket.connect_ex,
            ambidex.model._core,
            endpoint._core,
        ) != before
    assert (socket.socket.connect, socket.socket.connect_ex, ambidex.model._core, endpoint._core) == before
