"""Building agents: what is wrong is said at once, with the remedy; and it costs next to nothing."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import ambidex as ax


def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


def untyped(a, b):  # type: ignore[no-untyped-def]
    """Has no annotations."""
    return a + b


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ax.Agent("a"), 'model="demo", which answers offline'),
        (lambda: ax.Agent("a", modle="demo"), "did you mean 'mode"),
        (lambda: ax.Agent("a", model="demo", tool=[add]), "did you mean 'tools'"),
        (lambda: ax.Agent("a", model=add), "ax.models.function(add)"),
        (lambda: ax.Agent("a", model=7), "give it a name such as"),
        (lambda: ax.Agent(7, model="demo"), "the name is 7"),
        (lambda: ax.Agent("a", model="demo", mode="atuo"), "did you mean 'auto'"),
        (lambda: ax.Agent("a", model="demo", instructions=7), "instructions are a text, not int"),
        (lambda: ax.Agent("a", model="demo", max_iterations=0), "max_iterations is 0"),
        (lambda: ax.Agent("a", model="demo", tool_concurrency=1.5), "a whole number"),
        (lambda: ax.Agent("a", model="demo", timeout=-1), "timeout is -1"),
        (lambda: ax.Agent("a", model="demo", tools=add), "tools=[...]"),
        (lambda: ax.Agent("a", model="demo", tools=[add, add]), "two tools named 'add'"),
        (lambda: ax.Agent("a", model="demo", tools=[untyped]), "no type annotation"),
        (lambda: ax.Agent("a", model="demo", tools=[7]), "7 is no tool; give a function"),
        (lambda: ax.Agent("a", model="demo", budget={"euro": 1}), "it has usd, tokens, tool_calls, wall"),
        (lambda: ax.Agent("a", model="demo", budget={"usd": -1}), "budget['usd'] is -1"),
        (lambda: ax.Agent("a", model="demo", context={"keep_lst": 1}), "did you mean 'keep_last'"),
        (lambda: ax.Agent("a", model="demo", settings={"temprature": 1}), "did you mean 'temperature'"),
        (lambda: ax.Agent("a", model="demo", approvals={"onse": "ask"}), "did you mean 'once'"),
        (lambda: ax.Agent("a", model="demo", stop={"word": "x"}), "after_tools, text"),
        (lambda: ax.Agent("a", model="demo").run("x", therad="t"), "did you mean 'thread'"),
        (lambda: ax.Agent("a", model="demo").stream("x", timeouts=1), "did you mean 'timeout'"),
        (lambda: ax.Agent("a", model="demo").run(7), "a text or messages, not int"),
        (lambda: ax.Agent("a", model="demo").run({"text": "x"}), "a message is a dict like"),
        (lambda: ax.Agent("a", model="demo").run([7]), "not int"),
        (lambda: ax.Agent("a", model="demo").run("x", max_iterations=0), "a whole number of at least 1"),
        (lambda: ax.Agent("a", model="demo").run("x", timeout=0), "more than 0"),
        (lambda: ax.Agent("a", model="demo").run("x", max_iterations=-1), "a whole number of at least 1"),
        (
            lambda: ax.Agent("a", model="demo").run("x", timeout="30s"),
            "timeout is '30s'; give it seconds, more than 0",
        ),
        (lambda: ax.Agent("a", model="demo").run("x", thread=3), "thread is 3; give it a text"),
        (lambda: ax.Agent("a", model="demo").run("x", max_iterations=2**40), "4294967295 at most"),
        (lambda: ax.Agent("a", model="demo").run("x", timeout=float("inf")), "at most 1e9"),
        (lambda: ax.Agent("a", model="demo").run("x", thread="a\ud800"), "thread: the text holds"),
        (lambda: ax.Agent("a", model="demo", instructions="a\ud800"), "instructions: the text holds"),
        (lambda: ax.Agent("a", model="demo").answer({"id": "q"}), "give result.questions[0]['id']"),
        (lambda: ax.Agent("a", model="demo").answer("q", "edit", args=[1]), "args are [1]; give a dict"),
        (lambda: ax.Agent("a", model="demo").run(" "), "a run: the text is empty; say what"),
        (lambda: ax.Agent("a", model="demo").batch(["x", ""]), "batch(): the text is empty"),
        (lambda: ax.Model("demo").chat(""), "chat(): the text is empty"),
        (lambda: ax.models.scripted([]), "the list is empty; give what is to be said"),
        (lambda: ax.Agent("a", model="demo").run("a\ud800"), "holds '\\ud800' at 1"),
        (lambda: ax.Agent("a", model="demo").batch(["a\ud800"]), "holds '\\ud800' at 1"),
        (lambda: ax.Agent("a", model="demo").chat("x", thread="t"), "run(task, thread=...)"),
        (lambda: ax.Agent("a", model="demo").chat("x", timout=1), "did you mean 'timeout'"),
        (lambda: ax.Agent("a", model="demo").batch(["x"], concurency=3), "did you mean 'concurrency'"),
        (lambda: ax.Agent("a", model="demo").resume("run_1", iteration=3), "did you mean 'iterations'"),
        (lambda: ax.Agent("a", model="demo").run("x", colour="red"), "no argument 'colour'. It takes task"),
        (lambda: ax.Agent("a", model="demo").resume(None), "the result of a run, or its run_id, not None"),
        (lambda: ax.Agent("a", model="demo", budget=3), "budget is 3; give it a dict with usd"),
        (lambda: ax.Agent("a", model="demo", settings=3), "settings is 3; give it a dict"),
        (lambda: ax.Agent("a", model="demo", tools=["raed_file"]).run("x"), "Did you mean `read_file`"),
        (lambda: ax.Agent("a", model="demo", tool_choice="serch").run("x"), "there is no tool `serch`"),
        (lambda: ax.Agent("a", model="dmeo").run("x"), "did you mean `demo`"),
        (lambda: ax.Agent("a", model="dmeo").check(), "did you mean `demo`"),
        (lambda: ax.tools.http("https://example.com", "get"), "give the name first"),
        (lambda: ax.tools.http("a", "https://example.com", mehtod="GET"), "did you mean 'method'"),
        (lambda: ax.tools.http("a", "https://example.com", method="FETCH"), "'GET'"),
    ],
)
def test_what_is_wrong_is_said_with_the_remedy(make: Any, says: str) -> None:
    with pytest.raises((ax.AmbidexError, ValueError)) as raised:
        make()
    assert says in str(raised.value)


def test_settings_that_most_agents_do_without() -> None:
    agent = ax.Agent(
        "rare",
        model=ax.models.scripted([ax.ToolCall("add", {"a": 1, "b": 2}), "never said"]),
        tools=[add],
        budget={"usd": 1, "tokens": 10_000, "tool_calls": 5, "wall": 60},
        context={"compact_at": 0.5, "keep_last": 4, "summarise_with": "demo"},
        approvals="allow",
        settings={"temperature": 0.5, "stop": "END", "reasoning": "low"},
        tool_choice="add",
        stop={"after_tools": ["add"]},
        timeout=60,
    )
    agent.check()
    result = agent.run("go")
    assert (result.status, result.iterations_used, result.task_completed) == ("succeeded", 1, False)


def test_an_agent_shows_what_it_is() -> None:
    agent = ax.Agent("writer", model="demo", tools=[add, "read_file"])
    assert repr(agent) == "Agent('writer', model='demo', tools=[add, read_file])"
    agent.close()
    assert repr(agent).endswith("closed)")


def test_agents_share_the_limits_of_a_tool() -> None:
    tool = ax.tool(add)
    one, two = (ax.Agent(name, model="demo", tools=[tool]) for name in "ab")
    assert one._config["tools"][0] is two._config["tools"][0]
    assert tool._ambidex_core is tool._ambidex_core  # type: ignore[attr-defined]


def test_importing_imports_nothing_heavy() -> None:
    script = (
        "import sys; before = set(sys.modules); import ambidex; print(*sorted(set(sys.modules) - before))"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    imported = set(told.stdout.split())
    heavy = {
        "asyncio",
        "inspect",
        "dataclasses",
        "pydantic",
        "json",
        "threading",
        "uuid",
        "logging",
        "IPython",
    }
    assert not imported & heavy
    assert "ambidex.agent" not in imported


def test_the_package_lists_what_it_has() -> None:
    assert {"Agent", "Model", "tool", "fallback", "models", "aio", "Result"} <= set(dir(ax))
    with pytest.raises(AttributeError, match="no attribute 'Agnet'"):
        ax.Agnet  # type: ignore[attr-defined]  # noqa: B018
    for name in ax.__all__:
        if name != "testing":
            assert getattr(ax, name) is not None
