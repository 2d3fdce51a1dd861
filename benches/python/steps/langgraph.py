"""LangGraph, with the savers of its own packages, as its documentation shows them."""

import operator
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypedDict

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from steps.shapes import CHAIN, FAN, LINE, LOOP

Run = Callable[[str], Awaitable[dict[str, Any]]]


class Counted(TypedDict):
    count: int


class Summed(TypedDict):
    count: Annotated[int, operator.add]


class Logged(TypedDict):
    count: int
    log: Annotated[list[str], operator.add]


class Item(TypedDict):
    number: int


def graph(shape: str, seen: Callable[[int], None]) -> StateGraph[Any, Any, Any, Any]:
    async def add(state: Counted) -> dict[str, Any]:
        return {"count": state["count"] + 1}

    async def again(state: Counted) -> str:
        return "turn" if state["count"] < LOOP else END

    built: StateGraph[Any, Any, Any, Any]
    if shape == "chain":
        built = StateGraph(Counted)
        names = [f"n{at}" for at in range(CHAIN)]
        for name in names:
            built.add_node(name, add)
        for one, next in zip([START, *names], [*names, END], strict=True):
            built.add_edge(one, next)
    elif shape == "loop":
        built = StateGraph(Counted)
        built.add_node("turn", add)
        built.add_edge(START, "turn")
        built.add_conditional_edges("turn", again, ["turn", END])
    elif shape == "fan-out":

        async def nothing(state: Summed) -> dict[str, Any]:
            return {}

        async def item(item: Item) -> dict[str, Any]:
            return {"count": item["number"]}

        async def spread(state: Summed) -> list[Send]:
            return [Send("item", {"number": at}) for at in range(FAN)]

        built = StateGraph(Summed)
        built.add_node("split", nothing)
        built.add_node("item", item)
        built.add_node("join", nothing)
        built.add_edge(START, "split")
        built.add_conditional_edges("split", spread, ["item"])
        built.add_edge("item", "join")
        built.add_edge("join", END)
    else:
        built = StateGraph(Logged)

        async def turn(state: Logged) -> dict[str, Any]:
            seen(state["count"])
            return {"count": state["count"] + 1, "log": [LINE]}

        built.add_node("turn", turn)
        built.add_edge(START, "turn")
        built.add_conditional_edges("turn", again, ["turn", END])
    return built


@asynccontextmanager
async def saver(kind: str, place: str) -> AsyncIterator[Any]:
    if kind == "none":
        yield None
    elif kind == "memory":
        yield InMemorySaver()
    elif kind == "sqlite":
        async with AsyncSqliteSaver.from_conn_string(place) as sqlite:
            await sqlite.setup()
            yield sqlite
    else:
        options = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
        async with AsyncConnectionPool(place, max_size=16, open=False, kwargs=options) as pool:
            postgres = AsyncPostgresSaver(pool)  # type: ignore[arg-type]
            await postgres.setup()
            yield postgres


@asynccontextmanager
async def prepare(shape: str, kind: str, place: str, seen: Callable[[int], None]) -> AsyncIterator[Run]:
    async with saver(kind, place) as kept:
        app = graph(shape, seen).compile(checkpointer=kept)
        durability: dict[str, Any] = {} if kept is None else {"durability": "sync"}

        async def run(name: str) -> dict[str, Any]:
            config: Any = {"recursion_limit": LOOP + 10, "configurable": {"thread_id": name}}
            state = await app.ainvoke({"count": 0}, config, **durability)
            return dict(state)

        yield run
