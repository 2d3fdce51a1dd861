"""`ScriptedModel`: what it says, and what it remembers."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import pathlib
import weakref
from typing import Any

import pytest

import ambidex as ax
from ambidex.testing import ScriptedModel


@ax.tool
def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


SUM = [ax.ToolCall("add", {"a": 1, "b": 2}), "It is 3."]


def test_it_follows_the_script_and_remembers_what_it_was_asked() -> None:
    model = ScriptedModel(SUM)
    agent = ax.Agent("sums", model=model, tools=[add], instructions="Be brief.")
    assert agent.run("1 + 2?").text == "It is 3."
    first, second = model.calls
    assert [first.number, second.number] == [1, 2]
    assert first.messages == [ax.Message.user("1 + 2?")]
    assert first.request.instructions == "Be brief."
    assert first.tools == ["add"]
    assert [(call.name, call.arguments) for call in first.tool_calls] == [("add", {"a": 1, "b": 2})]
    assert second.messages[-1].tool_results[0].text == "3"
    assert second.text == "It is 3."
    assert model.last is second
    assert model.requests == [first.request, second.request]
    assert repr(model.calls) == (
        "[<ModelCall 1: 1 messages, called add>, <ModelCall 2: 3 messages, said 'It is 3.'>]"
    )
    assert repr(model) == "<ScriptedModel 'script', asked 2 times>"


def test_each_conversation_begins_at_the_first_turn() -> None:
    model = ScriptedModel(SUM)
    agent = ax.Agent("sums", model=model, tools=[add])

    async def both() -> list[str]:
        return [result.text for result in await asyncio.gather(agent.arun("a"), agent.arun("b"))]

    assert asyncio.run(both()) == ["It is 3."] * 2
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert [result.text for result in pool.map(agent.run, "abcd")] == ["It is 3."] * 4
    assert sorted(call.number for call in model.calls) == list(range(1, 13))
    assert all(call.finished for call in model.calls)


def test_all_doors_are_seen() -> None:
    model = ScriptedModel("Hello to you", pace=0.0, chunk=5)
    assert model.chat("a").text == "Hello to you"
    assert asyncio.run(model.achat("b")).text == "Hello to you"
    assert (
        "".join(event.data["text"] for event in model.stream("c") if event.type == "model.delta")
        == "Hello to you"
    )
    assert [call.messages[0].text for call in model.calls] == ["a", "b", "c"]
    assert [piece["text"]["text"] for piece in model.last.chunks if "text" in piece] == [
        "Hello",
        " to y",
        "ou",
    ]


def test_a_call_that_is_given_up_is_not_finished() -> None:
    model = ScriptedModel(["late"], delay=60)
    with pytest.raises(ax.TimeoutError):
        model.chat("hi", timeout=0.05)
    assert (model.last.finished, model.last.error, model.last.text) == (False, None, "")


def test_what_goes_wrong_is_remembered() -> None:
    model = ScriptedModel([{"text": "a", "faults": [{"kind": "overloaded"}]}])
    with pytest.raises(ax.ModelError):
        model.chat("hi")
    error = model.last.error
    assert error is not None
    assert (error.code, error.retryable) == ("overloaded", True)
    assert repr(model.last) == "<ModelCall 1: 1 messages, failed: overloaded>"


def test_counting() -> None:
    model = ScriptedModel("Hi.")
    with pytest.raises(AssertionError, match="the model 'script' was not asked"):
        model.last  # noqa: B018
    model.chat("a")
    model.assert_asked(1)
    with pytest.raises(AssertionError) as raised:
        model.assert_asked(2)
    assert str(raised.value) == (
        "the model 'script' was to be asked 2 times, and was asked 1 times:\n  <ModelCall 1: 1 messages, said 'Hi.'>"
    )
    model.forget()
    model.assert_asked(0)
    model.chat("b")
    assert model.last.number == 1


def test_scripts_of_all_kinds(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "script.toml"
    file.write_text('[[turns]]\ntext = "from a file"\n')
    assert ScriptedModel(file).chat("hi").text == "from a file"
    assert ScriptedModel("builtin:tour").name
    assert ScriptedModel({"json": {"a": 1}}).chat("hi").text == '{"a":1}'
    assert ScriptedModel(ax.ToolCall("add", {})).chat("hi").tool_calls[0]["name"] == "add"
    assert ScriptedModel(default="always").chat("hi").text == "always"
    assert ScriptedModel([lambda messages: messages[-1].text.upper()]).chat("hi").text == "HI"
    silent: Any = ScriptedModel()
    silent.stream("hi")


def test_a_script_that_is_over_says_so() -> None:
    model = ScriptedModel(SUM[:1])
    with pytest.raises(ax.ModelError) as raised:
        ax.Agent("sums", model=model, tools=[add]).run("1 + 2?")
    assert raised.value.code == "invalid_request"
    assert len(model.calls) == 2


def test_options_that_do_not_exist() -> None:
    with pytest.raises(ax.UsageError, match="did you mean 'chunk'"):
        ScriptedModel("a", chunks=3)  # type: ignore[arg-type]


def test_it_takes_part_in_routes() -> None:
    broken, good = ScriptedModel([{"faults": [{"kind": "overloaded"}]}]), ScriptedModel("Hello.")
    assert ax.fallback(broken, good).chat("hi").text == "Hello."
    assert [len(broken.calls), len(good.calls)] == [1, 1]


def test_models_are_let_go_with_their_agents() -> None:
    gone = []

    def used() -> None:
        model = ScriptedModel(SUM)
        agent = ax.Agent("sums", model=model, tools=[add])
        agent.run("1 + 2?")
        observer = model._observer
        observer.cycle = agent  # type: ignore[attr-defined]
        gone.append(weakref.ref(observer))

    used()
    gc.collect()
    assert gone[0]() is None
