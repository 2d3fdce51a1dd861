"""`FaultModel`: certain calls go wrong, and only those."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

import ambidex as ax
from ambidex.testing import Fault, FaultModel, ScriptedModel
from ambidex.testing.faults import ERRORS, REPLIES


@ax.tool
def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


SUM = [ax.ToolCall("add", {"a": 1, "b": 2}), "It is 3."]


def codes(model: FaultModel) -> list[str | None]:
    return [call.error.code if call.error else None for call in model.calls]


@pytest.mark.parametrize("kind", ERRORS)
def test_errors_of_a_provider(kind: str) -> None:
    model = FaultModel("Hello.", {1: kind})
    with pytest.raises(ax.AmbidexError) as raised:
        model.chat("hi")
    retryable, status, _ = ERRORS[kind]
    assert (raised.value.code, raised.value.retryable, raised.value.status) == (kind, retryable, status)
    assert type(raised.value) is ax.errors.of_code(kind)
    assert model.chat("hi").text == "Hello."


def test_a_retry_gets_over_it() -> None:
    model = FaultModel(["Hello."], {1: "rate_limited", 2: "overloaded"})
    agent = ax.Agent("greeter", model=ax.fallback(model, retry={"attempts": 3, "base": 0}))
    assert agent.run("hi").text == "Hello."
    assert codes(model) == ["rate_limited", "overloaded", None]


def test_without_a_retry_the_run_fails() -> None:
    with pytest.raises(ax.ModelError) as raised:
        ax.Agent("greeter", model=FaultModel("Hello.", {1: "rate_limited"})).run("hi")
    assert raised.value.code == "rate_limited"
    assert raised.value.result is not None
    assert raised.value.result.status == "failed"


def test_an_answer_that_breaks_off() -> None:
    model = FaultModel(ScriptedModel("one two three", chunk=4), {1: Fault("stream_truncated", after=2)})
    seen = []

    def listen() -> None:
        for event in model.stream("hi"):
            if event.type == "model.delta":
                seen.append(event.data["text"])

    with pytest.raises(ax.ModelError) as raised:
        listen()
    assert raised.value.code == "stream_truncated"
    assert raised.value.status is None
    assert "".join(seen) == "one two "


def test_a_fault_later_than_the_answer_lasts_comes_before_its_end() -> None:
    model = FaultModel("short", {1: Fault("stream_truncated", after=99)})
    with pytest.raises(ax.ModelError, match="ended before its terminal event"):
        model.chat("hi")
    assert model.last.text == "short"


def test_silence_lasts_until_it_is_given_up() -> None:
    model = FaultModel("Hello.", {1: "silence", 2: Fault("silence", after=1)})
    for _ in range(2):
        with pytest.raises(ax.TimeoutError):
            model.chat("hi", timeout=0.1)
    assert not any(call.finished for call in model.calls)

    async def cancelled() -> float:
        again = FaultModel("Hello.", always="silence")
        start = time.monotonic()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(ax.Agent("greeter", model=again).arun("hi"), 0.1)
        return time.monotonic() - start

    assert asyncio.run(cancelled()) < 30


@pytest.mark.parametrize("kind", [kind for kind in REPLIES if kind != "empty_reply"])
def test_a_wrong_call_is_told_to_the_model_which_goes_on(kind: str) -> None:
    model = FaultModel(SUM, {1: kind})
    result = ax.Agent("sums", model=model, tools=[add]).run("1 + 2?")
    assert result.text == "It is 3."
    assert len(model.calls) == 3
    told = model.calls[1].messages[-1].tool_results[0]
    assert told.failed
    assert {
        "broken_arguments": "JSON",
        "wrong_arguments": "no_such_argument",
        "unknown_tool": "no_such_add",
        "cut_arguments": "",
    }[kind] in told.text


def test_wrong_replies_and_errors_together() -> None:
    model = FaultModel(SUM, ["overloaded", "wrong_arguments", None, "unknown_tool", "rate_limited"])
    agent = ax.Agent("sums", model=ax.fallback(model, retry={"attempts": 3, "base": 0}), tools=[add])
    assert agent.run("1 + 2?").text == "It is 3."
    assert codes(model) == ["overloaded", None, None, None, "rate_limited", None]
    called = [[call.name for call in asked.tool_calls] for asked in model.calls]
    assert called == [[], ["add"], ["add"], ["no_such_add"], [], []]


def test_an_empty_reply_is_asked_for_again() -> None:
    model = FaultModel(["Hello."], {1: "empty_reply"})
    assert ax.Agent("greeter", model=model).run("hi").text == "Hello."
    model = FaultModel(["Hello."], always="empty_reply")
    with pytest.raises(ax.ModelError) as raised:
        ax.Agent("greeter", model=model).run("hi")
    assert raised.value.code == "empty_reply"


def test_any_model_can_be_made_to_fail() -> None:
    @ax.models.function
    def parrot(messages: Any) -> str:
        return str(messages[-1].text)

    model = FaultModel(
        parrot, {2: Fault("overloaded", retry_after=7, status=503, message="too many parrots")}
    )
    assert model.chat("a").text == "a"
    with pytest.raises(ax.ModelError, match="too many parrots") as raised:
        model.chat("b")
    assert (raised.value.retry_after, raised.value.status) == (7.0, 503)
    assert model.chat("c").text == "c"


MISUSES = [
    (
        lambda: FaultModel("a", {1: "rate_limit"}),
        "there is no fault 'rate_limit'; did you mean 'rate_limited'?",
    ),
    (lambda: FaultModel("a", {1: "unathorized"}), "did you mean 'unauthorized'?"),
    (lambda: FaultModel("a", {1: "xyz"}), "there is no fault 'xyz'. There are rate_limited"),
    (lambda: FaultModel("a", {0: "timeout"}), "calls are counted from 1; there is no call 0"),
    (lambda: FaultModel("a", "timeout"), "say on which call: FaultModel(..., {1: 'timeout'})"),
    (lambda: FaultModel("a", Fault("timeout")), "say on which call: FaultModel(..., {1: Fault('timeout')})"),  # type: ignore[arg-type]
    (lambda: Fault("timeout", after=-1), "a fault comes after -1 pieces"),
    (lambda: Fault("unknown_tool", after=1), "'unknown_tool' is a whole reply; it takes no `after`"),
]


@pytest.mark.parametrize(("misuse", "problem"), MISUSES)
def test_misuse(misuse: Any, problem: str) -> None:
    with pytest.raises(ax.UsageError) as raised:
        misuse()
    assert problem in str(raised.value)


def test_a_wrong_call_needs_a_tool() -> None:
    with pytest.raises(ax.AmbidexError, match="calls a tool, and call 1 was offered none"):
        FaultModel("a", {1: "broken_arguments"}).chat("hi")
