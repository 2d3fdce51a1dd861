"""Graphs: nodes of every kind, by both doors, with and without a store."""

from __future__ import annotations

import asyncio
import operator
import threading
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated, Any, Literal, TypedDict

import pytest

import ambidex as ax
from ambidex import _bridge

from .conftest import Door


class Trip(TypedDict, total=False):
    topic: str
    parts: list[str]
    notes: Annotated[list[str], operator.add]
    total: Annotated[int, operator.add]
    text: str


def chain(kind: Any = Trip) -> ax.Graph[Any]:
    g = ax.Graph(kind)

    @g.node
    def plan(state: Any) -> dict[str, Any]:
        topic = state["topic"] if isinstance(state, dict) else state.topic
        return {"parts": [f"{topic} {n}" for n in range(3)], "notes": ["planned"]}

    @g.node
    async def join(state: Any) -> dict[str, Any]:
        await asyncio.sleep(0)
        parts = state["parts"] if isinstance(state, dict) else state.parts
        return {"text": ", ".join(parts), "notes": ["joined"], "total": len(parts)}

    return g.edge("plan", "join")


@dataclass
class Journey:
    topic: str
    parts: list[str] = field(default_factory=list)
    notes: Annotated[list[str], operator.add] = field(default_factory=list)
    total: Annotated[int, "add"] = 0
    text: str = ""


@pytest.mark.parametrize("kind", [Trip, Journey, "pydantic", dict])
def test_nodes_of_both_kinds_change_a_state_of_any_type(door: Door, kind: Any) -> None:
    reducers = None
    if kind == "pydantic":
        pydantic = pytest.importorskip("pydantic")
        kind = pydantic.create_model(
            "Travel",
            topic=(str, ...),
            parts=(list[str], []),
            notes=(Annotated[list[str], operator.add], []),
            total=(Annotated[int, operator.add], 0),
            text=(str, ""),
        )
    if kind is dict:
        reducers = {"notes": "extend", "total": "add"}
    g = chain(kind)
    if reducers is not None:
        g._reducers = dict(reducers)
    state: Any = {"topic": "a"} if kind in (Trip, dict) else kind(topic="a")
    result = door(g.compile(), "run", state)
    out = result.output
    assert result.status == "succeeded"
    assert isinstance(out, dict) if kind in (Trip, dict) else isinstance(out, kind)
    shown = out if isinstance(out, dict) else vars(out)
    assert shown == {
        "topic": "a",
        "parts": ["a 0", "a 1", "a 2"],
        "notes": ["planned", "joined"],
        "total": 3,
        "text": "a 0, a 1, a 2",
    }
    assert result.state == out


@pytest.mark.parametrize("given", [[1], "words", 5, None])
def test_a_run_begins_with_a_state_and_nothing_else(given: Any, door: Door) -> None:
    class Simple(TypedDict):
        words: str

    g = ax.Graph(Simple)
    g.node("one", lambda state: {"words": "some"})
    with pytest.raises(ax.UsageError, match="a dict of its fields"):
        door(g.compile(), "run", given)


def test_an_object_of_the_states_type_is_an_update(door: Door) -> None:
    g = ax.Graph(Journey)

    @g.node
    def change(state: Journey) -> Journey:
        state.text = "changed"
        return state

    @g.node
    async def anew(state: Journey) -> Journey:
        return Journey(topic="other", notes=["new"])

    out = door(g.edge("change", "anew").compile(), "run", Journey("a", notes=["old"])).output
    assert out == Journey("other", notes=["old", "new"], text="changed")


def test_a_branch_goes_where_its_function_says_and_a_join_waits_for_all(door: Door) -> None:
    g = ax.Graph(Trip, {"parts": "append"})
    for name in ("a", "b", "c", "last"):
        g.node(name, lambda state, name=name: {"parts": name})
    g.node("join", lambda state: {"text": "+".join(state["parts"])})

    def way(state: Trip) -> Literal["b", "c"]:
        return "b" if state["topic"] == "left" else "c"

    g.branch("a", way)
    g.edge("a", "last").edge(["b", "c", "last"], "join")
    assert g._branches["a"][1] == ["b", "c"]
    compiled = g.compile()
    assert door(compiled, "run", {"topic": "left"}).output["text"] in ("a+b+last", "a+last+b")
    assert "c" in door(compiled, "run", {"topic": "right"}).output["parts"]


def test_a_loop_turns_until_its_branch_ends_it(door: Door) -> None:
    g = ax.Graph(Trip)
    g.node("count", lambda state: {"total": 1}, effect="read")
    g.branch("count", lambda state: state["total"] >= 100, {True: ax.END, False: "count"})
    assert door(g.compile(), "run", {"total": 0}).output["total"] == 100


def test_a_node_runs_for_each_element_and_results_keep_their_order(door: Door) -> None:
    g = ax.Graph(Trip)
    threads: set[int] = set()

    def shout(part: str) -> str:
        threads.add(threading.get_ident())
        return part.upper()

    g.node("shout", shout, each="parts", output="parts", concurrency=2)
    out = door(g.compile(), "run", {"parts": ["a", "b", "c"]}).output
    assert out["parts"] == ["A", "B", "C"]
    assert threading.get_ident() not in threads


def test_items_are_sent_by_nodes_and_by_branches(door: Door) -> None:
    g = ax.Graph(Trip, {"notes": "append"})
    g.node("plan", lambda state: [ax.Send("work", part) for part in state["parts"]], sends=["work"])
    g.node("work", lambda part: {"notes": f"did {part}"})
    out = door(g.compile(), "run", {"parts": ["a", "b"]}).output
    assert sorted(out["notes"]) == ["did a", "did b"]

    h = ax.Graph(Trip, {"notes": "append"})
    h.node("plan", lambda state: None)
    h.node("work", lambda state, item: {"notes": f"{state['topic']} {item['part']}"})

    def spread(state: Trip) -> list[ax.Send]:
        return [ax.Send("work", {"part": part}) for part in state["parts"]]

    h.branch("plan", spread, ["work"])
    out = door(h.compile(), "run", {"topic": "t", "parts": ["a", "b"]}).output
    assert sorted(out["notes"]) == ["t a", "t b"]


def test_a_node_may_choose_itself_where_its_path_goes_on(door: Door) -> None:
    g = ax.Graph(Trip)
    g.node("a", lambda state: ax.Command({"text": "a"}, goto=state["topic"]), goes=["b", ax.END])
    g.node("b", lambda state: {"text": "b"})
    compiled = g.compile()
    assert door(compiled, "run", {"topic": "b"}).output["text"] == "b"
    assert door(compiled, "run", {"topic": ax.END}).output["text"] == "a"


class Both:
    def execute(self, state: Trip) -> dict[str, Any]:
        raise AssertionError("the async one is there")

    async def execute_async(self, state: Trip) -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"notes": ["both"]}


class Only:
    def execute(self, state: Trip) -> dict[str, Any]:
        return {"notes": ["only"]}


def test_agents_models_tools_graphs_and_objects_are_nodes(door: Door) -> None:
    @ax.tool(effect="read")
    def measure(text: str) -> int:
        return len(text)

    writer = ax.Agent("w", model=ax.models.function(lambda messages: f"wrote on {messages[-1].text}"))
    inner = ax.Graph(Trip)
    inner.node("inside", lambda state: {"text": f"({state['topic']})"})

    class State(TypedDict, total=False):
        topic: str
        text: str
        said: str
        length: int
        inner: dict[str, Any]
        notes: Annotated[list[str], operator.add]

    g = ax.Graph(State)
    g.node("write", writer, input="{topic} and more", output="text")
    g.node(
        "say", ax.models.function(lambda messages: messages[-1].text.upper()), input="topic", output="said"
    )
    g.node("measure", measure, output="length")
    g.node("inner", inner, input=lambda state: {"topic": state["text"]})
    g.node("both", Both()).node("only", Only())
    for one, other in pairwise(["write", "say", "measure", "inner", "both", "only"]):
        g.edge(one, other)
    out = door(g.compile(), "run", {"topic": "cats"}).output
    assert out["text"] == "wrote on cats and more"
    assert (out["said"], out["length"]) == ("CATS", len(out["text"]))
    assert out["inner"]["text"] == "(wrote on cats and more)"
    assert out["notes"] == ["both", "only"]


def test_a_def_may_run_on_the_thread_that_asked(door: Door) -> None:
    g = ax.Graph(dict)
    g.node("here", lambda state: {"thread": threading.get_ident()}, thread="caller")
    assert door(g.compile(), "run", {}).output == {"thread": threading.get_ident()}


def test_a_failure_is_tried_again_goes_elsewhere_or_fails_the_run(door: Door) -> None:
    tries: list[int] = []

    def flaky(state: Trip, ctx: ax.ToolContext) -> dict[str, Any]:
        tries.append(ctx.attempt)
        if len(tries) < 3:
            raise ConnectionError("not yet")
        return {"text": "done"}

    g = ax.Graph(Trip).node("flaky", flaky, retry={"attempts": 3, "base": 0.001})
    assert door(g.compile(), "run", {}).output["text"] == "done"
    assert len(tries) == 3

    def broken(state: Trip) -> None:
        raise ValueError("no good")

    h = ax.Graph(Trip)
    with pytest.raises(ax.UsageError, match="'notes' is folded by 'extend'"):
        ax.Graph(Trip).node("broken", broken, on_error="continue", error_field="notes")
    h.node("broken", broken, on_error="mend", error_field="parts")
    h.node("mend", lambda state: {"text": state["parts"][0]["message"]})
    assert "ValueError: no good" in door(h.compile(), "run", {}).output["text"]

    i = ax.Graph(Trip).node("broken", broken)
    with pytest.raises(ax.ToolError, match=r"the node `broken`.*no good") as caught:
        door(i.compile(), "run", {"topic": "t"})
    assert isinstance(caught.value.__cause__, ValueError)
    assert caught.value.result is not None
    assert caught.value.result.status == "failed"


def test_a_pause_shows_the_state_and_resume_goes_on(door: Door) -> None:
    g = chain()
    g._nodes["join"]["pause_before"] = True
    compiled = g.compile()
    paused = door(compiled, "run", {"topic": "a"})
    assert (paused.status, paused.pause) == ("paused", "node")
    assert paused.state["notes"] == ["planned"]
    done = door(compiled, "resume", paused)
    assert (done.status, done.output["text"]) == ("succeeded", "a 0, a 1, a 2")


@pytest.mark.parametrize("url", ["memory:", "sqlite:state.db"])
def test_time_travel(door: Door, url: str) -> None:
    store = ax.open(url)
    compiled = chain().compile(store)
    run = door(compiled, "run", {"topic": "a"})
    points = door(compiled, "checkpoints", run)
    assert [point.node for point in points] == [None, "plan", "join", None]
    assert door(points[1], "state")["notes"] == ["planned"]
    assert door(compiled, "state_at", run, points[1])["parts"] == ["a 0", "a 1", "a 2"]
    forked = door(compiled, "fork", run, points[1], state={"parts": ["x"]})
    assert store.runs.get(forked).status == "paused"
    other = door(store, "resume", forked, agents=[compiled])
    assert (other.output["text"], other.output["total"]) == ("x", 1)
    assert door(compiled, "state_at", run)["text"] == "a 0, a 1, a 2"
    with pytest.raises(ax.UsageError, match="did you mean 'parts'"):
        compiled.fork(run, state={"part": []})
    store.close()


def test_a_person_is_asked_and_answers(door: Door) -> None:
    g = ax.Graph(Trip)
    g.ask("check", "Is it good?", output="text").node("use", lambda state: {"notes": [state["text"]]})
    compiled = g.edge("check", "use").compile()
    waiting = door(compiled, "run", {})
    [question] = waiting.questions
    assert (waiting.status, question["args"]) == ("waiting", {"question": "Is it good?"})
    door(compiled, "answer", question["id"], "answer", answer="very")
    assert door(compiled, "resume", waiting).output["notes"] == ["very"]


def test_a_stream_tells_what_changed() -> None:
    compiled = chain().compile()
    changed = [
        (event.data["node"], sorted(event.data["update"]))
        for event in compiled.stream({"topic": "a"})
        if event.type == "state.changed"
    ]
    assert changed == [("plan", ["notes", "parts"]), ("join", ["notes", "text", "total"])]

    async def main() -> tuple[list[str], str]:
        stream = compiled.astream({"topic": "b"})
        types = [event.type async for event in stream]
        return types, stream.result.output["text"]

    types, text = asyncio.run(main())
    assert types.count("state.changed") == 2
    assert types[-1] == "run.finished"
    assert text == "b 0, b 1, b 2"


def test_graphs_nest_in_tools_of_agents_and_in_running_loops(door: Door) -> None:
    compiled = chain().compile()

    @ax.tool
    def inside(topic: str) -> str:
        return str(compiled.run({"topic": topic}).output["text"])

    @ax.tool
    async def ainside(topic: str) -> str:
        return str((await compiled.arun({"topic": topic})).output["text"])

    calls = [[ax.ToolCall("inside", {"topic": "s"}), ax.ToolCall("ainside", {"topic": "a"})], "done"]
    agent = ax.Agent("a", model=ax.models.scripted(calls), tools=[inside, ainside])
    outer = ax.Graph(dict).node("agent", agent, input=lambda state: "go")
    result = door(outer.compile(), "run", {})
    assert result.output["agent"] == "done"
    ran = door(agent, "run", "go")
    assert [it.text for it in ran.messages[2].tool_results] == ["s 0, s 1, s 2"]

    async def main() -> list[Any]:
        _bridge._warned.clear()
        with pytest.warns(ax.SyncCallUnderLoopWarning):
            here = compiled.run({"topic": "x"})
        many = await asyncio.gather(*(compiled.arun({"topic": str(n)}) for n in range(50)))
        return [here, *many]

    texts = [one.output["text"] for one in asyncio.run(main())]
    assert texts[0] == "x 0, x 1, x 2"
    assert len(set(texts)) == 51


def test_cancelling_a_graph_ends_its_nodes() -> None:
    ended: list[str] = []

    async def wait(state: Any) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("wait")

    compiled = ax.Graph(dict).node("wait", wait).compile()

    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(compiled.arun({}), 0.1)

    asyncio.run(main())
    assert ended == ["wait"]


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda g: g.edge("a", "nowhere"), "leads to 'nowhere', which is no node"),
        (lambda g: g.edge("nowhere", "a"), "leads from 'nowhere'"),
        (lambda g: g.node("a", print), "there already"),
        (lambda g: g.node("b", 3), "give it a function"),
        (lambda g: g.node("b", print, retrys=3), "did you mean 'retry'"),
        (lambda g: g.node("b", print, output="txt"), "did you mean 'text'"),
        (lambda g: g.branch("a", lambda state: "b"), "say where it may lead"),
        (lambda g: g.branch("a", lambda state: "b", ["b"]), "leads to 'b', which is no node"),
        (lambda g: g.node("b", lambda state: None), "nothing leads to|cannot be reached|`b`"),
        (lambda g: g.node("b", ax.Agent("w", model="demo")), "no field 'b'"),
    ],
)
def test_what_is_wrong_with_a_graph_is_said_before_it_runs(build: Any, said: str) -> None:
    g = ax.Graph(Trip).node("a", lambda state: None)

    def make() -> None:
        build(g)
        g.compile()

    with pytest.raises(ax.ConfigError, match=said):
        make()


def test_what_is_wrong_with_a_state_is_said(door: Door) -> None:
    with pytest.raises(ax.UsageError, match="did you mean 'topic'"):
        door(chain().compile(), "run", {"topi": "a"})
    g = ax.Graph(Trip).node("a", lambda state: {"txt": "b"})
    with pytest.raises(ax.AmbidexError, match=r"node `a` returned `txt`.*did you mean `text`"):
        door(g.compile(), "run", {})
    with pytest.raises(ax.UsageError, match="no JSON form"):
        door(ax.Graph(dict).node("a", lambda state: None).compile(), "run", {"x": object()})
    with pytest.raises(ax.UsageError, match="reducer"):
        ax.Graph(Trip, {"notes": lambda a, b: a + b})
    with pytest.raises(ax.UsageError, match="a Journey or a dict"):
        door(ax.Graph(Journey).node("a", lambda state: None).compile(), "run", 3)
