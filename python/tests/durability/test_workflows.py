"""Workflows and teams, by both doors."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import ambidex as ax

from .conftest import Door


def echo(name: str) -> ax.Agent[Any]:
    """An agent that gives back its task in brackets."""
    model = ax.models.function(lambda messages: f"{name}[{messages[-1].text}]")
    return ax.Agent(name, model=model)


ARTICLE = {
    "name": "article",
    "input": {"topic": "string"},
    "steps": [
        {"id": "plan", "agent": "a", "prompt": "plan {{ input.topic }}"},
        {"id": "left", "needs": ["plan"], "agent": "b", "prompt": "left of {{ steps.plan.text }}"},
        {"id": "right", "needs": ["plan"], "agent": "b"},
    ],
}
WHOLE = {
    "id": "whole",
    "needs": ["left", "right"],
    "agent": "a",
    "prompt": "{{ steps.left }} + {{ steps.right.text | upper }}",
}
TEXT = "a[b[left of a[plan rivers]] + B[A[PLAN RIVERS]]]"


def article(store: ax.Store | None = None) -> ax.Workflow:
    return ax.Workflow(ARTICLE, agents=[echo("a"), echo("b")], store=store).add_step(WHOLE)


def test_a_workflow_of_a_dict_runs(door: Door) -> None:
    flow = article()
    assert flow.name == "article"
    result = door(flow, "run", {"topic": "rivers"})
    assert (result.status, result.text) == ("succeeded", TEXT)
    assert door(flow, "run", "rivers").text == TEXT
    stage = door(flow, "run_stage", "plan", {"topic": "seas"})
    assert stage.text == "a[plan seas]"
    later = door(flow, "run_stage", "left", {"steps": {"plan": "P"}})
    assert later.text == "b[left of P]"


def test_a_workflow_of_a_file_runs_with_what_is_given_and_what_is_configured(
    door: Door, tmp_path: Path
) -> None:
    (tmp_path / "ambidex.toml").write_text('[agents.b]\nmodel = "demo"\n')
    (tmp_path / "flow.toml").write_text(
        'input = { topic = "string" }\n'
        '[[steps]]\nid = "plan"\nagent = "a"\nprompt = "plan {{ input.topic }}"\n'
        '[[steps]]\nid = "next"\nagent = "b"\nneeds = ["plan"]\n'
    )
    flow = ax.Workflow.load("flow.toml", agents=[echo("a")])
    assert flow.name == "flow"
    result = door(flow, "run", {"topic": "x"})
    assert result.status == "succeeded"
    assert "a[plan x]" in result.text
    with pytest.raises(ax.UsageError, match="stand in that file"):
        flow.add_step(id="x", agent="a")


def test_what_is_wrong_with_a_workflow_is_said_before_it_runs(door: Door) -> None:
    flow = ax.Workflow({**ARTICLE, "steps": [{"id": "plan", "agent": "c"}]}, agents=[echo("a")])
    with pytest.raises(ax.ConfigError, match="c"):
        flow.check()
    with pytest.raises(ax.AmbidexError, match="topic"):
        door(article(), "run", {"topi": "x"})
    with pytest.raises(ax.AmbidexError, match="did you mean `plan`"):
        door(article(), "run_stage", "plam", {"topic": "x"})
    with pytest.raises(ax.UsageError, match=r"Workflow\.load"):
        ax.Workflow("flow.toml")  # type: ignore[arg-type]


def test_a_workflow_is_drawn_and_streamed() -> None:
    flow = article()
    assert "whole" in flow.draw()
    assert flow.draw("mermaid").startswith(("graph", "flowchart"))
    assert flow.draw("svg").lstrip().startswith("<svg")
    stream = flow.stream({"topic": "rivers"})
    assert [event.type for event in stream][-1] == "run.finished"
    assert stream.result.text == TEXT


def test_a_workflow_waits_in_a_store_and_is_resumed_there(door: Door, store: ax.Store) -> None:
    ask = {"id": "ask", "human": {"question": "Is it good?", "form": {"good": "boolean"}}, "needs": ["plan"]}
    definition = {**ARTICLE, "steps": [ARTICLE["steps"][0], ask]}
    flow = ax.Workflow(definition, agents=[echo("a")], store=store)
    waiting = door(flow, "run", {"topic": "x"})
    assert waiting.status == "waiting"
    door(flow, "answer", waiting.questions[0]["id"], "answer", answer={"good": True})
    again = ax.Workflow(definition, agents=[echo("a")])
    done = door(store, "resume", waiting, agents=[again])
    assert done.status == "succeeded"


PLAN = {
    "complexity": "low",
    "summary": "Two parts.",
    "parts": [
        {"id": "notes", "description": "Take notes", "agent": "ann", "needs": [], "expected": "notes"},
        {"id": "text", "description": "Write it", "agent": "ben", "needs": ["notes"], "expected": "a text"},
    ],
}


def test_a_team_plans_works_and_merges(door: Door) -> None:
    planner = ax.models.scripted([{"json": PLAN}] * 2)
    team = ax.Team([echo("ann"), echo("ben")], merge="concat", planner=planner, name="writers")
    analysis = door(team, "analyse", "a book")
    assert [part["agent"] for part in analysis["parts"]] == ["ann", "ben"]
    by_plan = door(team, "run", "a book")
    by_hand = door(team, "run", "a book", analysis=analysis)
    for result in (by_plan, by_hand):
        assert result.status == "succeeded"
        assert result.analysis["complexity"] == "low"
        assert [part["author"] for part in result.parts] == ["ann", "ben"]
        assert "Take notes" in result.text
        assert "Write it" in result.text
    wrong = {**PLAN, "parts": [{**PLAN["parts"][0], "agent": "cat"}]}  # type: ignore[index,dict-item]
    with pytest.raises(ax.AmbidexError, match="cat"):
        door(team, "run", "a book", analysis=wrong)


def test_a_team_without_a_planner_does_the_whole_task_each(door: Door) -> None:
    team = ax.Team([echo("ann"), echo("ben")], merge="concat")
    result = door(team, "run", "a book")
    assert (result.status, len(result.parts), result.rounds) == ("succeeded", 2, 0)
    merged = door(team, "integrate", {"ann": "one", "ben": result})
    assert "one" in merged.text
    with pytest.raises(ax.UsageError, match="no assets"):
        _ = merged.assets

    async def main() -> list[str]:
        return [event.type async for event in team.astream("a book")]

    assert asyncio.run(main())[-1] == "run.finished"
    with pytest.raises(ax.UsageError, match="did you mean 'concat'"):
        ax.Team([echo("a")], merge="concatt")
