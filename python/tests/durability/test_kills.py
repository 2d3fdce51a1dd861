"""A process that is killed in the middle, and another that goes on with its runs."""

from __future__ import annotations

from pathlib import Path

import pytest

import ambidex as ax

from .conftest import Door, Process

AGENT = """
import os, signal
from pathlib import Path
import ambidex as ax

def note(line):
    with open("effects", "a") as file:
        file.write(line + "\\n")

def maybe_die():
    if os.environ.get("DIES"):
        os.kill(os.getpid(), signal.SIGKILL)

@ax.tool(effect="{effect}")
{kind}def act(n: int, ctx: ax.ToolContext) -> str:
    note(f"{{ctx.idempotency_key}} {{ctx.attempt}}")
    maybe_die()
    return f"acted {{n}}"

store = ax.open(os.environ.get("STORE", "sqlite:state.db"))
agent = ax.Agent(
    "worker",
    model=ax.models.scripted([ax.ToolCall("act", {{"n": 1}}), "done"]),
    tools=[act],
    store=store,
)
"""


@pytest.mark.parametrize("kind", ["", "async "], ids=["def", "async def"])
@pytest.mark.parametrize("run", ["agent.run('go')", "import asyncio; asyncio.run(agent.arun('go'))"])
def test_an_idempotent_effect_is_repeated_under_its_key(
    process: Process, tmp_path: Path, kind: str, run: str
) -> None:
    program = AGENT.format(effect="idempotent", kind=kind)
    process(f"{program}\n{run}", killed=True, DIES="1")
    with ax.open("sqlite:state.db") as store:
        [left] = store.runs.list()
        assert (left.status, left.interrupted, left.driven_by) == ("running", True, None)
    process(f"{program}\nassert store.resume({left.run_id!r}, agents=[agent]).text == 'done'")
    lines = [line.split() for line in (tmp_path / "effects").read_text().splitlines()]
    # Twice, and whoever was called can tell: one key, another attempt.
    assert [attempt for _, attempt in lines] == ["1", "2"]
    assert len({key for key, _ in lines}) == 1
    with ax.open("sqlite:state.db") as store:
        assert [run.status for run in store.runs.list()] == ["succeeded"]
        assert store.check() == []


@pytest.mark.parametrize(
    ("decision", "attempts", "told"),
    [("'answer', answer='it was sent'", ["1"], "it was sent"), ("'repeat'", ["1", "2"], "acted 1")],
)
def test_an_effect_that_happens_once_is_put_before_a_person(
    process: Process, tmp_path: Path, door: Door, decision: str, attempts: list[str], told: str
) -> None:
    program = AGENT.format(effect="once", kind="")
    process(f"{program}\nagent.run('go')", killed=True, DIES="1")
    store = ax.open("sqlite:state.db")
    [left] = store.runs.list()
    process(f"{program}\nassert agent.resume({left.run_id!r}).status == 'waiting'")
    [question] = door(store.questions, "list", left.run_id)
    assert (question["why"], question["tool"], question["args"]) == ("in_doubt", "act", {"n": 1})
    assert (tmp_path / "effects").read_text().count("\n") == 1
    process(f"""{program}
store.questions.answer({question["id"]!r}, {decision})
result = store.resume({left.run_id!r}, [agent])
assert (result.status, result.messages[2].tool_results[0].text) == ("succeeded", {told!r}), result
""")
    lines = [line.split()[1] for line in (tmp_path / "effects").read_text().splitlines()]
    assert lines == attempts


def test_a_process_that_is_there_keeps_its_run(process: Process) -> None:
    program = AGENT.format(effect="read", kind="")
    process(f"""{program}
import subprocess, sys

def other(text):
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)

@ax.tool
def act(n: int) -> str:
    tried = other('''
import ambidex as ax
store = ax.open("sqlite:state.db")
[run] = store.runs.list()
assert run.driven_by.startswith("process "), run.driven_by
try:
    def act(n: int) -> str: ...
    store.resume(run, [ax.Agent("worker", model="demo", tools=[act])])
except ax.AmbidexError as error:
    print(type(error).__name__, error)
''')
    return tried.stdout + tried.stderr

agent = ax.Agent("worker", model=ax.models.scripted([ax.ToolCall("act", {{"n": 1}}), "done"]), tools=[act], store=store)
text = agent.run("go").messages[2].tool_results[0].text
assert text.startswith("StoreError") and "drives the run" in text, text
""")


GRAPH = """
import os, signal
from typing import TypedDict
import ambidex as ax

class State(TypedDict, total=False):
    steps: list[str]

def note(line):
    with open("effects", "a") as file:
        file.write(line + "\\n")

g = ax.Graph(State, {"steps": "append"}, name="g", effect=os.environ["EFFECT"])

@g.node
def first(state, ctx: ax.ToolContext):
    note("first " + ctx.idempotency_key)
    return {"steps": "first"}

@g.node
async def second(state, ctx: ax.ToolContext):
    note("second " + ctx.idempotency_key)
    if os.environ.get("DIES"):
        os.kill(os.getpid(), signal.SIGKILL)
    return {"steps": "second"}

g.edge("first", "second")
store = ax.open("sqlite:state.db")
compiled = g.compile(store)
"""


@pytest.mark.parametrize("effect", ["idempotent", "once"])
def test_a_graph_goes_on_at_the_node_it_died_in(process: Process, tmp_path: Path, effect: str) -> None:
    process(f"{GRAPH}\ncompiled.run({{}})", killed=True, DIES="1", EFFECT=effect)
    with ax.open("sqlite:state.db") as store:
        [left] = store.runs.list()
        assert (left.agent, left.interrupted) == ("g", True)
    if effect == "idempotent":
        process(
            f"{GRAPH}\nassert store.resume({left.run_id!r}, [compiled]).output['steps'] == ['first', 'second']",
            EFFECT=effect,
        )
    else:
        process(
            f"""{GRAPH}
waiting = compiled.resume({left.run_id!r})
[question] = waiting.questions
assert (waiting.status, question["why"], question["tool"]) == ("waiting", "in_doubt", "second"), question
compiled.answer(question["id"], "answer", answer={{"steps": "it did"}})
assert compiled.resume(waiting).output["steps"] == ["first", "it did"]
""",
            EFFECT=effect,
        )
    lines = [line.split() for line in (tmp_path / "effects").read_text().splitlines()]
    names = [name for name, _ in lines]
    assert names == (["first", "second", "second"] if effect == "idempotent" else ["first", "second"])
    assert len({key for name, key in lines if name == "second"}) == 1


@pytest.mark.parametrize("is_async", [False, True], ids=["with", "async with"])
def test_a_recovery_goes_on_with_what_was_left(process: Process, tmp_path: Path, is_async: bool) -> None:
    program = AGENT.format(effect="idempotent", kind="async ")
    process(f"{program}\nagent.run('go')", killed=True, DIES="1")
    waits = """
import asyncio, time

def status():
    return [run.status for run in store.runs.list()]

async def main():
    async with store.recover([agent]):
        while status() != ["succeeded"]:
            await asyncio.sleep(0.02)
"""
    ends = (
        "asyncio.run(main())"
        if is_async
        else """
with store.recover([agent]):
    while status() != ["succeeded"]:
        time.sleep(0.02)
"""
    )
    process(f"{program}\n{waits}\n{ends}")
    assert [line.split()[1] for line in (tmp_path / "effects").read_text().splitlines()] == ["1", "2"]


def test_a_recovery_hears_of_an_answer(process: Process) -> None:
    process(f"""{AGENT.format(effect="once", kind="")}
import time
asks = ax.Agent(
    "asks", model=ax.models.scripted([ax.ToolCall("act", {{"n": 1}}), "done"]), tools=[act], store=store,
    approvals={{"once": "ask"}},
)
waiting = asks.run("go")
with store.recover([asks]):
    store.questions.answer(waiting.questions[0]["id"], "reject", reason="no")
    while store.runs.get(waiting).status != "succeeded":
        time.sleep(0.01)
""")
