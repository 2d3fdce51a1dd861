"""Tools in runs: each kind of function by each door, and what is said of failures."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, NamedTuple

import pytest

import ambidex as ax

from .conftest import Door, calls, results


def agent_of(function: Any, arguments: dict[str, Any] | None = None, **options: Any) -> ax.Agent[Any]:
    name = getattr(function, "name", None) or function.__name__
    return ax.Agent("t", model=calls((name, arguments or {})), tools=[function], **options)


def plain(n: int) -> int:
    """P."""
    return n * 2


async def asynchronous(n: int) -> int:
    """A."""
    await asyncio.sleep(0)
    return n * 2


def generator(n: int) -> Any:
    """G."""
    yield "halfway"
    return n * 2


def generator_of_values(n: int) -> Any:
    """G."""
    yield n
    yield n * 2


async def async_generator(n: int) -> Any:
    """A."""
    yield "halfway"
    yield n * 2


def coroutine(n: int) -> Any:
    """A def that returns a coroutine."""
    return asynchronous(n)


KINDS = [plain, asynchronous, generator, generator_of_values, async_generator, coroutine]


@pytest.mark.parametrize("function", KINDS, ids=lambda it: it.__name__)
def test_each_kind_of_function_gives_its_value(run: Door, function: Any) -> None:
    assert results(run(agent_of(function, {"n": 21}), "go")) == [(function.__name__, "42", False)]


def test_async_tools_under_trio() -> None:
    import trio

    async def nap(n: int) -> int:
        """N."""
        await trio.sleep(0)
        return n * 2

    async def main() -> Any:
        return await agent_of(nap, {"n": 21}).arun("go")

    assert results(trio.run(main)) == [("nap", "42", False)]


@pytest.mark.parametrize("function", [generator, async_generator], ids=lambda it: it.__name__)
def test_what_a_generator_yields_is_progress(function: Any) -> None:
    events = list(agent_of(function, {"n": 1}).stream("go"))
    progress = [event.data["data"] for event in events if event.type == "tool.progress"]
    assert progress[0] == "halfway"


def test_async_tools_run_on_the_callers_loop() -> None:
    loops = []

    async def where() -> str:
        """W."""
        loops.append(asyncio.get_running_loop())
        return "here"

    async def main() -> None:
        await agent_of(where).arun("go")
        assert loops == [asyncio.get_running_loop()]

    asyncio.run(main())


def test_sync_tools_run_beside_each_other_and_beside_the_loop() -> None:
    both = threading.Barrier(2, timeout=20)

    def left() -> int:
        """L."""
        return both.wait()

    def right() -> int:
        """R."""
        return both.wait()

    agent = ax.Agent("t", model=calls(("left", {}), ("right", {})), tools=[left, right])
    found = asyncio.run(agent.arun("go"))
    assert sorted(text for _, text, _ in results(found)) == ["0", "1"]


def test_a_tool_may_ask_for_the_callers_own_thread(run: Door) -> None:
    names = []

    @ax.tool(thread="caller")
    def where() -> str:
        """W."""
        names.append(threading.current_thread())
        return "here"

    assert results(run(agent_of(where), "go")) == [("where", "here", False)]
    list(agent_of(where).stream("go"))
    assert names == [threading.current_thread()] * 2


def test_the_context_says_whose_call_it_is(run: Door) -> None:
    seen: list[ax.ToolContext] = []

    def first(ctx: ax.ToolContext) -> str:
        """F."""
        seen.append(ctx)
        ctx.state["from"] = "first"
        return "set"

    async def second(ctx: ax.ToolContext) -> str:
        """S."""
        seen.append(ctx)
        return str(ctx.state["from"])

    model = ax.models.scripted([ax.ToolCall("first"), ax.ToolCall("second"), "done"])
    result = run(ax.Agent("t", model=model, tools=[first, second]), "go")
    assert results(result)[1] == ("second", "first", False)
    assert [ctx.call_id for ctx in seen] == ["t0.0", "t1.0"]
    assert {ctx.run_id for ctx in seen} == {result.run_id}
    assert seen[0].idempotency_key == f"{result.run_id}/t0.0"
    assert (seen[0].attempt, seen[0].cancelled) == (1, False)
    assert seen[0].state is seen[1].state


def test_emit_is_seen_by_who_watches() -> None:
    def tells(ctx: ax.ToolContext) -> str:
        """T."""
        ctx.emit({"percent": 50})
        return "told"

    events = list(agent_of(tells).stream("go"))
    assert [it.data["data"] for it in events if it.type == "tool.progress"] == [{"percent": 50}]
    assert results(agent_of(tells).run("go")) == [("tells", "told", False)]


class Odd(Exception):
    pass


def raises() -> str:
    """R."""
    raise Odd("too odd")


async def araises() -> str:
    """R."""
    raise Odd("too odd")


@pytest.mark.parametrize("function", [raises, araises], ids=["sync", "async"])
def test_an_exception_is_told_to_the_model(run: Door, function: Any) -> None:
    result = run(agent_of(function), "go")
    assert result.status == "succeeded"
    assert results(result) == [(function.__name__, "tool_failed: Odd: too odd", True)]


@pytest.mark.parametrize("function", [raises, araises], ids=["sync", "async"])
def test_an_exception_may_end_the_run(run: Door, function: Any) -> None:
    tool = ax.tool(on_error="raise")(function)
    with pytest.raises(ax.ToolError, match="too odd") as raised:
        run(agent_of(tool), "go")
    assert isinstance(raised.value.__cause__, Odd)
    frames = []
    traceback = raised.value.__cause__.__traceback__
    while traceback is not None:
        frames.append(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    assert frames[-1] == function.__name__


def test_an_exception_that_ends_a_stream_is_raised_by_it() -> None:
    stream = agent_of(ax.tool(on_error="raise")(raises)).stream("go")
    seen: list[str] = []
    with pytest.raises(ax.ToolError):
        seen.extend(event.type for event in stream)
    assert seen[-1] == "run.finished"


def test_in_a_batch_it_ends_its_own_run_alone() -> None:
    @ax.tool(on_error="raise")
    def picky(text: str) -> str:
        """P."""
        if text == "bad":
            raise Odd("bad")
        return text

    def model(messages: list[ax.Message]) -> Any:
        return "done" if len(messages) > 1 else ax.ToolCall("picky", {"text": messages[0].text})

    agent = ax.Agent("b", model=ax.models.function(model), tools=[picky])
    one, two, three = agent.batch(["good", "bad", "good"])
    assert (one.text, three.text) == ("done", "done")
    assert isinstance(two.error, ax.ToolError)
    assert isinstance(two.error.__cause__, Odd)


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt()], ids=["SystemExit", "KeyboardInterrupt"]
)
def test_what_is_no_exception_passes_through(error: BaseException) -> None:
    def ends() -> str:
        """E."""
        raise error

    with pytest.raises(type(error)):
        agent_of(ends).run("go")


def test_a_tool_error_says_what_the_model_reads() -> None:
    def refuses() -> str:
        """R."""
        raise ax.ToolError("there is no such city")

    assert results(agent_of(refuses).run("go")) == [("refuses", "tool_failed: there is no such city", True)]


def test_a_retryable_error_of_a_tool_that_may_repeat_is_tried_again(run: Door) -> None:
    tries = []

    @ax.tool(effect="read", attempts=3)
    def flaky() -> str:
        """F."""
        tries.append(1)
        if len(tries) % 2:
            raise ax.ToolError("not yet", retryable=True)
        return "now"

    assert results(run(agent_of(flaky), "go")) == [("flaky", "now", False)]


def test_arguments_that_do_not_fit_never_reach_the_function(run: Door) -> None:
    [(_, text, failed)] = results(run(agent_of(plain, {"n": "many"}), "go"))
    assert failed
    assert text.startswith("invalid_arguments")


def test_a_result_that_cannot_be_written_says_which_tool_gave_what(run: Door) -> None:
    def odd() -> object:
        """O."""
        return {"a": [object()]}

    [(_, text, failed)] = results(run(agent_of(odd), "go"))
    assert failed
    assert "`odd`" in text
    assert "object" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("words", "words"),
        (None, "done"),
        (True, "true"),
        (7, "7"),
        (2.5, "2.5"),
        (2**63, "9223372036854775808"),
        ([1, "two", None], '[1,"two",null]'),
        ((1, 2), "[1,2]"),
        ({"a": {"b": []}}, '{"a":{"b":[]}}'),
        ({1, 2}, "[1,2]"),
        ("ä€😀", "ä€😀"),
    ],
    ids=repr,
)
def test_values_as_the_model_reads_them(value: Any, text: str) -> None:
    def gives() -> Any:
        """G."""
        return value

    assert results(agent_of(gives).run("go")) == [("gives", text, False)]


def test_arguments_arrive_as_they_were_said() -> None:
    said = {"i": -3, "big": 2**63, "f": 0.1, "t": True, "n": None, "s": "ä😀", "l": [1, [2]], "d": {"k": {}}}
    got = []

    def takes(value: dict[str, Any]) -> str:
        """T."""
        got.append(value)
        return "taken"

    agent_of(takes, {"value": said}).run("go")
    assert got == [said]
    assert [type(it) for it in got[0].values()] == [type(it) for it in said.values()]


def test_a_timeout_cancels_an_async_tool_and_is_told() -> None:
    ended = []

    @ax.tool(timeout=0.05)
    async def sleeps() -> str:
        """S."""
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return "late"

    async def main() -> Any:
        return await agent_of(sleeps).arun("go")

    [(_, text, failed)] = results(asyncio.run(main()))
    assert failed
    assert text.startswith("tool_timeout")
    assert ended == ["cancelled"]


def test_a_sync_tool_sees_that_its_time_is_over() -> None:
    seen = threading.Event()

    @ax.tool(timeout=0.05)
    def works(ctx: ax.ToolContext) -> str:
        """W."""
        while not ctx.cancelled:
            seen.wait(0.005)
        seen.set()
        return "late"

    [(_, text, _)] = results(agent_of(works).run("go"))
    assert text.startswith("tool_timeout")
    assert seen.wait(10)


def test_an_http_tool_is_a_tool_like_any(provider: Any) -> None:
    server = provider({})
    reaches = ax.tools.http(
        "models", f"{server.url}/v1/{{what}}", input={"what": "string"}, allow_private=True
    )
    refused = ax.tools.http("models", f"{server.url}/v1/{{what}}", input={"what": "string"})
    for tool, failed in ((reaches, None), (refused, "only public addresses")):
        [(_, text, _)] = results(agent_of(tool, {"what": "models"}).run("go"))
        assert failed is None or failed in text
        assert failed is not None or "401" in text or "fake-1" in text


def test_tools_of_the_configuration_are_found_by_name(tmp_path: Any) -> None:
    (tmp_path / "note.txt").write_text("found me")
    agent = ax.Agent("t", model=calls(("read_file", {"path": "note.txt"})), tools=["read_file"])
    [(_, text, failed)] = results(agent.run("go"))
    assert not failed
    assert "found me" in text


def test_mcp_says_what_to_do_instead() -> None:
    with pytest.raises(ax.ConfigError, match="wrap what you need") as raised:
        ax.tools.mcp(command=["server"])
    assert raised.value.code == "unsupported"


class Point(NamedTuple):
    x: int
    y: int


def test_a_tuple_with_names_is_told_with_its_names() -> None:
    def where() -> Point:
        """W."""
        return Point(1, 2)

    assert results(agent_of(where).run("go")) == [("where", '{"x":1,"y":2}', False)]
