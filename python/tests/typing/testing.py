"""What type checkers make of `ambidex.testing`. Never run; see `surface.py`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from typing_extensions import assert_type

import ambidex as ax
from ambidex.testing import Fault, FaultModel, LeakCheck, ModelCall, ScriptedModel, no_network, record, replay
from ambidex.testing.observer import ObservedModel
from ambidex.tools import Tool, as_output, as_tool

model = ScriptedModel(["a", ax.ToolCall("add", {"a": 1}), {"text": "b"}], default="c", pace=0.1)
assert_type(model.calls, list[ModelCall])
assert_type(model.last.messages, list[ax.Message])
assert_type(model.last.tool_calls, list[ax.ToolCall])
assert_type(model.last.error, ax.AmbidexError | None)
assert_type(ax.Agent("a", model=model).run("hi").text, str)
ScriptedModel(ax.ToolCall("add", {"a": 1}))
ScriptedModel(Path("script.toml"))

FaultModel(model, {1: "rate_limited", 2: Fault("timeout", after=1)})
FaultModel(["a"], ["overloaded", None], always="timeout")
FaultModel("a", {"1": "timeout"})  # type: ignore[dict-item]

assert_type(record("calls.json", "demo"), ObservedModel)
assert_type(replay(Path("calls.json"), match=lambda request: request["messages"]), ObservedModel)
with no_network():
    LeakCheck(fds=1).verify()


def parse(text: str, times: int = 1) -> list[str]:
    return [text] * times


class Desk:
    @ax.tool
    def look(self, drawer: int) -> str:
        return ""

    @ax.tool(effect="once")
    async def close(self, drawer: int) -> bool:
        return True


made = ax.tool(parse)
assert_type(made("a"), list[str])
assert_type(made.name, str)
made("a", twice=3)  # type: ignore[call-arg]
assert_type(Desk().look.description, str)
Desk().look("a")  # type: ignore[arg-type]
tools: list[Callable[..., object]] = [made, parse, Desk().look]
assert_type(as_tool(tools[0]).timeout, float | None)
assert_type(as_output(Desk).parse({}), Desk)
one: Tool[..., list[str]] = made


async def main() -> None:
    assert_type(await Desk().close(3), bool)
