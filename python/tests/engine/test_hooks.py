"""Hooks: what they see, what they may replace, and what their failures come to."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest

import ambidex as ax
from ambidex.hooks import Call, CallResult, Finish

from .conftest import Door, calls, results


def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


def agent_with(*hooks: Any, model: Any = None) -> ax.Agent[Any]:
    return ax.Agent("h", model=model or calls(("add", {"a": 1, "b": 2})), tools=[add], hooks=hooks)


class Watches:
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def before_model(self, ctx: ax.ToolContext, request: ax.Request) -> None:
        self.seen.append(("before_model", ctx.call_id, len(request.messages), request.tools[0]["name"]))

    def after_model(self, ctx: ax.ToolContext, reply: ax.Reply) -> None:
        self.seen.append(("after_model", ctx.call_id, reply.text, len(reply.tool_calls)))

    def before_tool(self, ctx: ax.ToolContext, call: Call) -> None:
        self.seen.append(("before_tool", call.id, call.name, call.arguments))

    def after_tool(self, ctx: ax.ToolContext, call: Call, result: CallResult) -> None:
        self.seen.append(("after_tool", call.id, result.ok, result.output, result.error))

    def on_finish(self, ctx: ax.ToolContext, result: Finish) -> None:
        self.seen.append(("on_finish", result.status, result.text, result.task_completed))


class AsyncWatches(Watches):
    async def before_model(self, *args: Any) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        super().before_model(*args)

    async def after_model(self, *args: Any) -> None:  # type: ignore[override]
        super().after_model(*args)

    async def before_tool(self, *args: Any) -> None:  # type: ignore[override]
        super().before_tool(*args)

    async def after_tool(self, *args: Any) -> None:  # type: ignore[override]
        super().after_tool(*args)

    async def on_finish(self, *args: Any) -> None:  # type: ignore[override]
        super().on_finish(*args)


@pytest.mark.parametrize("kind", [Watches, AsyncWatches])
def test_hooks_see_every_seam(run: Door, kind: type[Watches]) -> None:
    hook = kind()
    assert run(agent_with(hook), "go").text == "done"
    assert hook.seen == [
        ("before_model", "m0", 1, "add"),
        ("after_model", "m0", "", 1),
        ("before_tool", "t0.0", "add", {"a": 1, "b": 2}),
        ("after_tool", "t0.0", True, 3, None),
        ("before_model", "m1", 3, "add"),
        ("after_model", "m1", "done", 0),
        ("on_finish", "succeeded", "done", True),
    ]


def test_each_may_replace_what_it_sees(run: Door) -> None:
    class Changes:
        def before_model(self, ctx: ax.ToolContext, request: ax.Request) -> ax.Request:
            return request.replace(
                messages=[*request.messages, ax.Message.user("and more")],
                instructions="Be short.",
                settings={"temperature": 0.5},
                tool_choice="auto",
            )

        def after_model(self, ctx: ax.ToolContext, reply: ax.Reply) -> Any:
            return reply.replace(text=reply.text.upper()) if reply.text else None

        def before_tool(self, ctx: ax.ToolContext, call: Call) -> Call:
            return call.replace({**call.arguments, "a": 40})

        async def after_tool(self, ctx: ax.ToolContext, call: Call, result: CallResult) -> Any:
            return {"sum": result.output}

        def on_finish(self, ctx: ax.ToolContext, result: Finish) -> Finish:
            return result.replace(text=f"<{result.text}>")

    asked: list[ax.Request] = []

    def model(request: ax.Request) -> Any:
        asked.append(request)
        if any(message.role == "tool" for message in request.messages):
            return "done"
        return ax.ToolCall("add", {"a": 1, "b": 2})

    result = run(agent_with(Changes(), model=ax.models.function(model)), "go")
    assert results(result) == [("add", '{"sum":42}', False)]
    assert result.text == "<DONE>"
    assert asked[0].messages[-1].text == "and more"
    assert (asked[0].instructions, asked[0].settings) == ("Be short.", {"temperature": 0.5})
    # What a hook adds to a request is no part of the conversation.
    assert "and more" not in [message.text for message in result.messages]


def test_a_value_stands_in_for_a_tool(run: Door) -> None:
    class Stands:
        def before_tool(self, ctx: ax.ToolContext, call: Call) -> Any:
            return {"instead": [1]}

    assert results(run(agent_with(Stands()), "go")) == [("add", '{"instead":[1]}', False)]


def test_arguments_that_a_hook_changed_are_checked_again() -> None:
    class Breaks:
        def before_tool(self, ctx: ax.ToolContext, call: Call) -> Call:
            return call.replace({"a": "many"})

    [(_, text, failed)] = results(agent_with(Breaks()).run("go"))
    assert failed
    assert text.startswith("invalid_arguments")


def test_hooks_are_called_in_their_order_and_share_the_runs_state(run: Door) -> None:
    class One:
        def before_model(self, ctx: ax.ToolContext, request: ax.Request) -> None:
            ctx.state.setdefault("order", []).append("one")

    class Two:
        async def before_model(self, ctx: ax.ToolContext, request: ax.Request) -> None:
            ctx.state["order"].append("two")

        def on_finish(self, ctx: ax.ToolContext, result: Finish) -> str:
            return ",".join(ctx.state["order"])

    model = ax.models.scripted(["done"])
    assert run(agent_with(One(), Two(), model=model), "go").text == "one,two"
    assert run(agent_with(One(), Two(), model=model), "go").text == "one,two"


def test_hooks_see_context_variables(run: Door) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    variable.set("mine")

    class Looks:
        def on_finish(self, ctx: ax.ToolContext, result: Finish) -> str:
            return variable.get()

    assert run(agent_with(Looks()), "go").text == "mine"


@pytest.mark.parametrize("seam", ["before_model", "after_model", "on_finish"])
def test_a_hook_that_fails_fails_the_run(run: Door, seam: str) -> None:
    def fails(*args: Any) -> None:
        raise LookupError("lost")

    hook = type("Fails", (), {seam: lambda self, *args: fails()})()
    with pytest.raises(ax.HookError, match=rf"hook `Fails\.{seam}`: LookupError: lost") as raised:
        run(agent_with(hook), "go")
    assert isinstance(raised.value.__cause__, LookupError)
    assert raised.value.code == "hook_failed"


@pytest.mark.parametrize("seam", ["before_tool", "after_tool"])
def test_around_a_tool_the_model_is_told(run: Door, seam: str) -> None:
    def fails(self: Any, *args: Any) -> None:
        raise ax.ToolError("not on Sundays", code="denied")

    hook = type("Fails", (), {seam: fails})()
    [(_, text, failed)] = results(run(agent_with(hook), "go"))
    assert failed
    assert text == "denied: not on Sundays"


def test_after_tool_sees_failures_and_may_mend_them() -> None:
    class Mends:
        def after_tool(self, ctx: ax.ToolContext, call: Call, result: CallResult) -> Any:
            assert not result.ok
            assert result.output is None
            assert result.error is not None
            return f"mended {result.error['code']}"

    def breaks() -> str:
        """B."""
        raise ValueError

    agent = ax.Agent("m", model=calls(("breaks", {})), tools=[breaks], hooks=[Mends()])
    assert results(agent.run("go")) == [("breaks", "mended tool_failed", False)]


@pytest.mark.parametrize(
    ("seam", "says"),
    [("before_model", "a Request"), ("after_model", "a Reply"), ("on_finish", "result.replace")],
)
def test_what_a_hook_may_not_return_is_said(seam: str, says: str) -> None:
    hook = type("Wrong", (), {seam: lambda self, *args: 7})()
    with pytest.raises(ax.HookError, match=says):
        agent_with(hook).run("go")


def test_what_is_no_hook_is_refused() -> None:
    with pytest.raises(ax.UsageError, match="has no method of a hook"):
        agent_with(object())
    misspelt = {
        "before_model": Watches.before_model,
        "on_finsh": Watches.before_model,
        "on_click": Watches.before_model,
    }
    with pytest.raises(ax.UsageError, match="has a method 'on_finsh'; did you mean 'on_finish'"):
        agent_with(type("Misspelt", (), misspelt)())
    with pytest.raises(ax.UsageError, match=r"is a class; give an object of it: hooks=\[Watches\(\)\]"):
        agent_with(Watches)
