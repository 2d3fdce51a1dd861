"""How an agent is tested: its tools are real, its model is not."""

from __future__ import annotations

import asyncio

import pytest
from desk import Answer, Desk, Ticket, helper

import ambidex as ax
from ambidex.testing import Fault

pytestmark = pytest.mark.usefixtures("ambidex_no_network", "ambidex_leaks")

FIND = ax.ToolCall("find", {"words": "printer"})
CLOSE = ax.ToolCall("close", {"number": 7})
DONE = {"json": {"words": "The printer's ticket is closed.", "closed": [7]}}


@pytest.fixture
def desk():
    return Desk({7: Ticket(7, "Printer on fire"), 8: Ticket(8, "Coffee is cold")})


def test_a_tool_is_a_method_like_any_other(desk):
    assert desk.find("coffee") == [Ticket(8, "Coffee is cold")]
    assert asyncio.run(desk.close(8)).state == "closed"


def test_what_is_solved_is_closed(desk, scripted_model):
    model = scripted_model([FIND, CLOSE, DONE])
    result = helper(desk, model).run("The printer is out, thanks!")
    assert result.output == Answer("The printer's ticket is closed.", [7])
    assert desk.tickets[7].state == "closed"
    model.assert_asked(3)


def test_the_model_is_told_what_was_found(desk, scripted_model):
    model = scripted_model([FIND, DONE])
    helper(desk, model).run("How is my printer?")
    assert model.calls[0].tools == ["find", "close"]
    assert (
        model.last.messages[-1].tool_results[0].text
        == '[{"number":7,"title":"Printer on fire","state":"open"}]'
    )


async def answer_later(desk, model):
    return await helper(desk, model).arun("The printer is out, thanks!")


def test_the_same_through_the_other_door(desk, scripted_model):
    result = asyncio.run(answer_later(desk, scripted_model([CLOSE, DONE])))
    assert result.output.closed == [7]


def test_a_ticket_that_does_not_exist_is_told_to_the_model(desk, scripted_model):
    model = scripted_model([ax.ToolCall("close", {"number": 9}), DONE])
    helper(desk, model).run("Close ticket 9.")
    told = model.last.messages[-1].tool_results[0]
    assert told.failed
    assert "there is no ticket 9" in told.text


def test_a_provider_that_stumbles_is_asked_again(desk, fault_model):
    model = fault_model([CLOSE, DONE], {1: "overloaded", 3: Fault("stream_truncated", after=1)})
    patient = ax.fallback(model, retry={"attempts": 3, "base": 0})
    assert helper(desk, patient).run("The printer is out.").output.closed == [7]
    assert [call.error.code if call.error else "ok" for call in model.calls] == [
        "overloaded",
        "ok",
        "stream_truncated",
        "ok",
    ]


def test_wrong_arguments_never_reach_the_tool(desk, fault_model):
    model = fault_model([CLOSE, DONE], {1: "wrong_arguments"})
    assert helper(desk, model).run("The printer is out.").task_completed
    assert model.calls[1].messages[-1].tool_results[0].failed


def test_a_key_that_is_wrong_is_an_error(desk, fault_model):
    with pytest.raises(ax.ModelError) as raised:
        helper(desk, fault_model([DONE], {1: "unauthorized"})).run("hi")
    assert raised.value.code == "unauthorized"
    assert desk.tickets[7].state == "open"


def test_a_real_conversation_played_back(desk, recording):
    model = recording("openai:gpt-5-mini")
    result = helper(desk, model).run("The printer is out, thanks!")
    assert result.output.closed == [7]
    assert desk.tickets[7].state == "closed"
