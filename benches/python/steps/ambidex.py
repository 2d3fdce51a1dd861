"""Ambidex, with the stores it has. `sqlite` and `postgres` are at durability `sync`, which is the default."""

import operator
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Annotated, Any, Literal, TypedDict

import ambidex as ax
from steps.shapes import CHAIN, FAN, LINE, LOOP

Run = Callable[[str], Awaitable[dict[str, Any]]]


class Counted(TypedDict):
    count: int


class Summed(TypedDict, total=False):
    count: Annotated[int, operator.add]
    items: list[int]


class Logged(TypedDict, total=False):
    count: int
    log: Annotated[list[str], operator.add]


def graph(shape: str, seen: Callable[[int], None]) -> "ax.Graph[Any]":
    async def add(state: Counted) -> dict[str, Any]:
        return {"count": state["count"] + 1}

    async def again(state: Counted) -> Literal["turn", "end"]:
        return "turn" if state["count"] < LOOP else "end"

    built: ax.Graph[Any]
    if shape == "chain":
        built = ax.Graph(Counted)
        names = [f"n{at}" for at in range(CHAIN)]
        for name in names:
            built.node(name, add)
        for one, next in pairwise(names):
            built.edge(one, next)
    elif shape == "loop":
        built = ax.Graph(Counted)
        built.node("turn", add).branch("turn", again)
    elif shape == "fan-out":

        async def split(state: Summed) -> dict[str, Any]:
            return {"items": list(range(FAN))}

        async def item(number: int) -> dict[str, Any]:
            return {"count": number}

        async def join(state: Summed) -> None:
            return None

        built = ax.Graph(Summed, concurrency=FAN)
        built.node("split", split).node("item", item, each="items").node("join", join)
        built.edge("split", "item").edge("item", "join")
    else:

        async def turn(state: Logged) -> dict[str, Any]:
            seen(state["count"])
            return {"count": state["count"] + 1, "log": [LINE]}

        built = ax.Graph(Logged)
        built.node("turn", turn).branch("turn", again)
    return built


@asynccontextmanager
async def prepare(shape: str, kind: str, place: str, seen: Callable[[int], None]) -> AsyncIterator[Run]:
    url = {"memory": "memory:", "sqlite": f"sqlite:{place}", "postgres": place}[kind]
    async with ax.open(url) as store:
        app = graph(shape, seen).compile(store=store)

        async def run(name: str) -> dict[str, Any]:
            result = await app.arun({"count": 0})
            return dict(result.state)

        yield run
