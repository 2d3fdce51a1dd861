"""What type checkers make of the package. Never run: tests/python/lint.sh has mypy --strict and pyright read it.

`assert_type` fails where a type is another one. A `type: ignore` that is not needed fails, too: so what stands
beside one is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from pydantic import BaseModel
from typing_extensions import assert_type

import ambidex as ax


@dataclass
class Verdict:
    good: bool


class Note(TypedDict):
    text: str


class Review(BaseModel):
    score: int


# -- tools are still the functions they were ---------------------------------------------------------------


@ax.tool
def word_count(text: str, twice: bool = False) -> int:
    return len(text.split()) * (2 if twice else 1)


@ax.tool(effect="once", timeout=10, parallel=False)
async def send(to: str, body: str) -> str:
    return f"{to}: {body}"


class Desk:
    @ax.tool
    def look(self, drawer: int) -> list[str]:
        return ["pen"] * drawer


async def tools() -> None:
    assert_type(word_count("to be", twice=True), int)
    assert_type(await send("a", "b"), str)
    assert_type(Desk().look(3), list[str])
    word_count(7)  # type: ignore[arg-type]
    ax.tool(effect="sometimes")  # type: ignore[call-overload]


# -- what an agent gives back is what it was told to give back ---------------------------------------------

plain = ax.Agent("plain", model="demo", tools=[word_count, send])
verdicts = ax.Agent("judge", model="demo", output=Verdict)
reviews = ax.Agent("critic", model="demo", output=Review)
notes = ax.Agent("writer", model="demo", output=Note)
schemas = ax.Agent("schema", model="demo", output={"type": "object"})
# No checker knows the type of what such a hint describes.
unions = ax.Agent("unions", model="demo", output=Verdict | Note)
words = ax.Agent("words", model="demo", output=Literal["yes", "no"])
assert_type(unions, ax.Agent[Any])
assert_type(words, ax.Agent[Any])


def sync() -> None:
    assert_type(plain.run("task"), ax.Result[Any])
    assert_type(verdicts.run("task"), ax.Result[Verdict])
    assert_type(verdicts.run("task").output, Verdict)
    assert_type(reviews.run("task").output.score, int)
    assert_type(notes.run("task").output, Note)
    assert_type(schemas.run("task").output, Any)
    result = plain.run("task", max_iterations=3, timeout=10)
    assert_type(result.text, str)
    assert_type(result.status, str)
    assert_type(result.task_completed, bool)
    assert_type(result.iterations_used, int)
    assert_type(result.execution_time, float)
    assert_type(result.usage, ax.Usage)
    assert_type(result.messages, list[ax.Message])
    plain.run(7)  # type: ignore[arg-type]
    with verdicts as same:
        assert_type(same, ax.Agent[Verdict])
    assert_type(verdicts.batch(["a", "b"], concurrency=2), list[ax.Result[Verdict]])
    assert_type(verdicts.chat("hi").output, Verdict)
    with verdicts.stream("task") as events:
        for event in events:
            assert_type(event, ax.Event)
            assert_type(event.type, str)
            assert_type(event.seq, int)
            assert_type(event.data, dict[str, Any])
        assert_type(events.result.output, Verdict)


async def asynchronous() -> None:
    assert_type(await verdicts.arun("task"), ax.Result[Verdict])
    assert_type(await verdicts.abatch(["a", "b"]), list[ax.Result[Verdict]])
    async with verdicts.astream("task") as events:
        async for event in events:
            assert_type(event, ax.Event)
        assert_type(events.result, ax.Result[Verdict])
    async with verdicts as same:
        assert_type((await same.arun("task")).output, Verdict)


# -- models and routes --------------------------------------------------------------------------------------


async def models() -> None:
    model = ax.Model("openai:MODEL-ID", base_url="http://127.0.0.1/v1", api_key="key")
    assert_type(model.chat("hi"), ax.Reply)
    assert_type(await model.achat("hi"), ax.Reply)
    assert_type(model.chat("hi").text, str)
    assert_type(ax.fallback(model, "demo"), ax.Model)
    assert_type(ax.hedge(model, "demo", stagger=0.7), ax.Model)
    assert_type(ax.models.scripted(["one", {"text": "two"}]), ax.Model)


# -- aio ----------------------------------------------------------------------------------------------------


@ax.aio.both
async def fetch(url: str) -> bytes:
    return url.encode()


async def aio() -> None:
    assert_type(fetch("x"), bytes)
    assert_type(await fetch.aio("x"), bytes)
    assert_type(ax.aio.run(fetch.aio("x")), bytes)
    assert_type(await ax.aio.gather(send("a", "b"), verdicts.arun("y")), tuple[str, ax.Result[Verdict]])
    assert_type(ax.aio.health(), ax.aio.Health)


# -- errors -------------------------------------------------------------------------------------------------


def errors() -> None:
    try:
        plain.run("task")
    except ax.TimeoutError as error:
        builtin: TimeoutError = error
        assert_type(error.code, str)
        print(builtin)
    except ax.AmbidexError as error:
        assert_type(error.retryable, bool)
        assert_type(error.retry_after, float | None)
        assert_type(error.provider, str | None)


class _Trip(TypedDict):
    topic: str


@dataclass
class _Journey:
    topic: str


def stores() -> None:
    with ax.open("sqlite:state.db") as store:
        agent = ax.Agent("a", model="demo", store=store)
        graph = ax.Graph(_Journey, {"topic": "last"})
        graph.node("a", agent, input="topic", output="topic")
        compiled = graph.compile(store)
        assert_type(compiled.run({"topic": "x"}).state, _Journey)
        assert_type(compiled.run(_Journey("x")).output, _Journey)
        assert_type(store.runs.get("run").status, str)
        assert_type(store.threads.search("x")[0].title, str)
        store.resume("run", [agent, compiled, ax.Workflow({}), ax.Team([agent])])


async def stores_awaited() -> None:
    async with ax.open("memory:") as store:
        compiled = ax.Graph(_Trip).node("a", lambda state: None).compile()
        assert_type((await compiled.arun({"topic": "x"})).output, _Trip)
        assert_type((await store.sessions.aload("s")).version, int)
        assert_type((await ax.Workflow({}).arun("x")).status, str)
        async with store.recover([compiled]):
            pass
