"""People: approvals, and a person as the model."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import ambidex as ax

from .conftest import Door, calls, results

sent: list[str] = []


@ax.tool(effect="once")
def send(to: str) -> str:
    """Sends."""
    sent.append(to)
    return f"sent to {to}"


@pytest.fixture
def sender() -> ax.Agent[Any]:
    sent.clear()
    return ax.Agent("s", model=calls(("send", {"to": "bob"})), tools=[send], approvals={"once": "ask"})


def test_a_run_that_waits_is_no_error_and_goes_on_when_it_is_answered(
    run: Door, sender: ax.Agent[Any]
) -> None:
    waiting = run(sender, "go")
    assert (waiting.status, sent) == ("waiting", [])
    [question] = waiting.questions
    assert (question["tool"], question["args"], question["why"]) == ("send", {"to": "bob"}, "approval")
    sender.answer(question["id"])
    done = sender.resume(waiting)
    assert (done.status, done.text, done.run_id, sent) == ("succeeded", "done", waiting.run_id, ["bob"])


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"decision": "reject", "reason": "not today"}, "not today"),
        ({"decision": "edit", "args": {"to": "eve"}}, "sent to eve"),
        ({"decision": "answer", "answer": "already sent"}, "already sent"),
    ],
    ids=["reject", "edit", "answer"],
)
def test_what_else_may_be_decided(sender: ax.Agent[Any], answer: dict[str, Any], told: str) -> None:
    async def main() -> Any:
        waiting = await sender.arun("go")
        await sender.aanswer(waiting.questions[0]["id"], **answer)
        return await sender.aresume(waiting.run_id)

    [(_, text, _)] = results(asyncio.run(main()))
    assert told in text


def test_a_stream_goes_on_when_its_reader_answers(sender: ax.Agent[Any]) -> None:
    stream = sender.stream("go")
    for event in stream:
        if event.type == "approval.asked":
            sender.answer(event.data["id"], "approve")
    assert stream.result.text == "done"
    assert sent == ["bob"]


def test_policies_are_words(sender: ax.Agent[Any]) -> None:
    denies = ax.Agent("d", model=calls(("send", {"to": "bob"})), tools=[send], approvals="deny")
    [(_, text, failed)] = results(denies.run("go"))
    assert failed
    assert text.startswith("denied")
    assert sent == []
    with pytest.raises(ax.UsageError, match="one of 'allow', 'ask', 'deny'"):
        ax.Agent("d", model="demo", approvals={"once": "aks"})


def test_a_person_is_the_model(run: Door) -> None:
    agent = ax.Agent("p", model=ax.models.human("editors"), tools=[send])
    waiting = run(agent, "What now?")
    [question] = waiting.questions
    assert question["why"] == "reply"
    assert question["relay"]["queue"] == "editors"
    agent.answer(question["id"], tool_calls=[{"name": "send", "arguments": {"to": "amy"}}])
    waiting = agent.resume(waiting)
    assert (waiting.status, sent[-1]) == ("waiting", "amy")
    agent.answer(waiting.questions[0]["id"], text="That is all.")
    assert agent.resume(waiting).text == "That is all."


def test_a_person_may_stand_behind_a_model() -> None:
    def fails(messages: Any) -> str:
        raise RuntimeError("down")

    agent = ax.Agent("p", model=ax.fallback(ax.models.function(fails), ax.models.human("desk")))
    waiting = agent.run("hi")
    agent.answer(waiting.questions[0]["id"], text="by hand")
    assert agent.resume(waiting).text == "by hand"


def test_a_person_answers_a_call_of_the_model() -> None:
    model = ax.models.human("desk", timeout=0.05)
    with pytest.raises(ax.TimeoutError):
        model.chat("anybody?")


def test_answers_that_are_not_taken(sender: ax.Agent[Any]) -> None:
    with pytest.raises(
        ax.UsageError, match=r"there is no such question; open are those of `result\.questions`"
    ):
        sender.answer("nothing")
    waiting = sender.run("go")
    question = waiting.questions[0]["id"]
    with pytest.raises(ax.UsageError, match="needs args"):
        sender.answer(question, "edit")
    with pytest.raises(ax.UsageError, match="did you mean 'approve'"):
        sender.answer(question, "aprove")
    with pytest.raises(ax.UsageError, match="needs text"):
        sender.answer(question, "reply")
    sender.answer(question)
    with pytest.raises(ax.AmbidexError, match="answered before"):
        sender.answer(question)
    with pytest.raises(ax.AmbidexError, match="run_nothing"):
        sender.resume("run_nothing")


def test_the_latest_runs_that_rest_are_remembered_and_older_ones_are_not() -> None:
    agent = ax.Agent(
        "p", model=ax.models.scripted([], default=ax.ToolCall("send", {"to": "bob"})), tools=[send]
    )
    first, *_, last = agent.batch(["go"] * 1025, max_iterations=1, concurrency=1)
    assert (first.status, last.status) == ("paused", "paused")
    assert agent.resume(last, iterations=1).status == "paused"
    with pytest.raises(ax.StoreError):
        agent.resume(first)
