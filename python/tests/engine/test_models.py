"""Models: of providers, of the configuration, made in code; called alone."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import ambidex as ax

from .conftest import Door, Endless, results

KINDS = ["openai", "openai-responses", "anthropic", "gemini", "ollama", "groq", "mistral", "vllm"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_provider_answers(provider: Any, kind: str) -> None:
    server = provider({"turns": [{"parts": [{"text": "hello from afar"}], "chunk_chars": 3}]})
    model = ax.Model(f"{kind}:fake-1", base_url=server.url, api_key="key")
    reply = model.chat("hi", system="Be brief.", temperature=0.5, max_tokens=50)
    assert reply.text == str(reply) == "hello from afar"
    assert reply.finish == "stop"
    assert reply.tool_calls == []
    assert reply.usage.output_tokens > 0
    assert asyncio.run(model.achat([{"role": "user", "content": "hi"}])).text == "hello from afar"
    stream = model.stream("hi")
    assert "".join(event.text for event in stream) == "hello from afar"
    assert model.name == f"{kind}:fake-1"


def test_an_agent_of_a_provider_calls_tools(provider: Any, run: Door) -> None:
    def add(a: int, b: int) -> int:
        """Adds."""
        return a + b

    call = {"tool_call": {"name": "add", "arguments": {"a": 2, "b": 3}}}
    server = provider({"turns": [{"parts": [call]}, {"parts": [{"text": "five"}]}]})
    model = ax.Model("openai:fake-1", base_url=f"{server.url}/v1", api_key="key")
    result = run(ax.Agent("a", model=model, tools=[add]), "2 + 3?")
    assert results(result) == [("add", "5", False)]
    assert result.text == "five"


def test_the_key_comes_from_the_vendors_variable_or_is_missed(
    provider: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server = provider({"api_key": "right", "turns": [{"when": "any", "parts": [{"text": "in"}]}]})
    model = ax.Model("openai:m", base_url=f"{server.url}/v1", api_key="wrong")
    with pytest.raises(ax.ModelError) as raised:
        model.chat("hi")
    assert (raised.value.code, raised.value.status) == ("unauthorized", 401)
    assert raised.value.provider == "openai"
    assert "wrong" not in str(raised.value)
    with pytest.raises(ax.ModelError, match="OPENAI_API_KEY is not set"):
        ax.Model("openai:m").chat("hi")
    (tmp_path / "ambidex.toml").write_text(
        f'[providers.near]\nkind = "openai"\nbase_url = "{server.url}/v1"\nkey = {{ env = "NEAR_KEY" }}\n'
    )
    near = ax.Model("near:m")
    with pytest.raises(ax.ModelError, match="NEAR_KEY"):
        near.chat("hi")
    # A notebook sets the key and asks again.
    monkeypatch.setenv("NEAR_KEY", "right")
    assert near.chat("hi").text == "in"


def test_names_are_those_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "ambidex.toml").write_text(
        '[models.poet]\nkind = "scripted"\nscript = "poet.toml"\n'
        '[routes.safe]\nstrategy = "fallback"\nuse = ["poet", "demo"]\n'
    )
    (tmp_path / "poet.toml").write_text('[default]\ntext = "A rose."\n')
    assert ax.Model("poet").chat("hi").text == "A rose."
    assert ax.Model("safe").chat("hi").text == "A rose."
    assert ax.Agent("p", model="safe").run("hi").text == "A rose."
    with pytest.raises(ax.ConfigError, match="did you mean `poet`"):
        ax.Model("poetr").chat("hi")
    with pytest.raises(ax.ConfigError, match="is a route, which takes no settings"):
        ax.Model("safe", temperature=0.1).chat("hi")


def test_a_wrong_configuration_says_where(tmp_path: Path) -> None:
    (tmp_path / "ambidex.toml").write_text("[models.x]\nprovidr = 1\n")
    with pytest.raises(ax.ConfigError, match=r"ambidex\.toml:2:1: .*providr.*did you mean `provider`"):
        ax.Agent("p", model="demo").run("hi")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ax.Model("openai:m", temprature=1), "did you mean 'temperature'"),  # type: ignore[arg-type]
        (lambda: ax.Model("openai:m", temperature=9), "`temperature` must be from 0 to 2, found 9"),
        (lambda: ax.Model("openai:m", retry={"attemps": 2}), "did you mean `attempts`"),
        (lambda: ax.Model("openai:m", timeout={"idel": 2}), "did you mean `idle`"),
        (lambda: ax.Model("openai:m", timeout=-1), "give it 0 or more"),
        (lambda: ax.Model("openai:m", base_url="nowhere"), "base_url"),
        (lambda: ax.Model(""), "give it 'PROVIDER:MODEL-ID'"),
        (lambda: ax.Model("nobody:m").chat("hi"), "there is no model `nobody:m`"),
        (lambda: ax.Model("opnai:m").chat("hi"), "did you mean `openai:m`?"),
        (lambda: ax.Model("openai:").chat("hi"), "did you mean `openai:MODEL-ID`?"),
        (lambda: ax.Model("demo", api_key="x").chat("hi"), "is no model of a provider"),
        (lambda: ax.Model("demo").chat("hi", temprature=1), "did you mean 'temperature'"),
        (lambda: ax.Model("demo").chat("hi", max_tokens=0), "max_tokens is 0"),
        (lambda: ax.Model("demo").chat([]), "its input is empty"),
        (lambda: ax.Model("demo").chat(7), "a text or messages, not int"),  # type: ignore[arg-type]
        (lambda: ax.Model("demo").chat([{"rol": "user"}]), "a message is a dict like"),
        (lambda: ax.fallback(), "ax.fallback has no models"),
        (lambda: ax.fallback("demo", brekers={}), "did you mean 'breaker'"),  # type: ignore[arg-type]
        (lambda: ax.race("demo", winner="frist_token"), "first_token"),
        (
            lambda: ax.race("demo", after_first_token="fail"),
            "It takes winner, retry, timeout, breaker, name.",
        ),  # type: ignore[arg-type]
        (lambda: ax.Model("openai:m", api_key=7), "api_key is a text, not int"),  # type: ignore[arg-type]
        (lambda: ax.Model("openai:m", retry="3"), "retry is '3'; give it a number of attempts"),  # type: ignore[arg-type]
        (lambda: ax.Model("demo").chat("x", system=3), "system is 3; give it a text"),  # type: ignore[arg-type]
        (lambda: ax.Model("demo").chat("a\ud800"), "holds '\\ud800' at 1"),
        (lambda: ax.Model("demo").chat("x", timeout="3s"), "timeout is '3s'; give it seconds"),  # type: ignore[arg-type]
        (lambda: ax.models.human(queu="editors"), "did you mean 'queue'"),  # type: ignore[arg-type]
        (lambda: ax.models.scripted("hello"), "a list of what is to be said"),
        (lambda: ax.hedge("demo", "demo", stagger="soon"), "stagger"),
        (lambda: ax.balance("demo", weights=[1, 2]), "2 weights for 1 models"),
        (lambda: ax.fallback("demo", 7), "give it a name such as"),  # type: ignore[arg-type]
        (lambda: ax.models.function(7), "is for functions"),  # type: ignore[arg-type]
        (lambda: ax.models.scripted([7]), "a model's answer is a text"),
        (lambda: ax.models.scripted([{"txt": "x"}]), "txt"),
        (lambda: ax.models.scripted("missing.toml"), "missing.toml"),
        (lambda: ax.models.scripted("builtin:tuor"), "builtin:tour"),
    ],
)
def test_what_is_wrong_is_said_with_the_remedy(make: Any, says: str) -> None:
    with pytest.raises((ax.ConfigError, ValueError)) as raised:
        make()
    assert says in str(raised.value)


def test_settings_go_with_each_call(provider: Any) -> None:
    server = provider({"turns": [{"when": "any", "parts": [{"text": "ok"}]}]})
    model = ax.Model(
        "openai:fake-1",
        base_url=f"{server.url}/v1",
        api_key="key",
        temperature=0.1,
        stop=["END"],
        reasoning="low",
        seed=7,
        price={"input": 1.0, "output": 1_000_000.0},
        retry=1,
        timeout=20,
    )
    reply = model.chat("hi", top_p=0.5, stop="x")
    assert reply.usage.usd is not None
    assert reply.usage.usd >= 1.0
    agent = ax.Agent("s", model=model, settings={"temperature": 0.9, "max_tokens": 9})
    assert agent.run("hi").usage.usd is not None


def test_a_call_has_its_time(endless: Endless) -> None:
    with pytest.raises(ax.TimeoutError, match="timeout=SECONDS"):
        endless.model().chat("hi", timeout=0.2)
    assert endless.sees_the_hang_up()
    with pytest.raises(ax.TimeoutError):
        asyncio.run(endless.model().achat("hi", timeout=0.2))


# -- routes ------------------------------------------------------------------------------------------------


def fails(messages: Any) -> str:
    raise RuntimeError("down")


def test_a_fallback_takes_the_next_that_answers(run: Door) -> None:
    model = ax.fallback(ax.models.function(fails), ax.models.scripted(["second"]), name="safe")
    assert model.name == "safe"
    assert run(ax.Agent("r", model=model), "hi").text == "second"
    switched = [event for event in model.stream("hi") if event.type == "route.switched"]
    assert len(switched) == 1


def test_when_all_fail_the_error_names_them() -> None:
    model = ax.fallback(
        ax.models.function(fails), ax.models.scripted([{"faults": [_always("overloaded")]}]), retry=1
    )
    with pytest.raises(ax.ModelError, match="down"):
        model.chat("hi")


def _always(kind: str) -> dict[str, Any]:
    return {"kind": kind, "always": True}


def test_a_race_takes_the_first_and_hangs_up_on_the_rest(endless: Endless) -> None:
    late = ax.models.scripted(["late"], delay=30)
    assert ax.race(late, ax.models.scripted(["first"])).chat("hi").text == "first"

    def answers_once_the_other_was_asked(messages: Any) -> str:
        assert endless.asked.acquire(timeout=20)
        return "whole"

    other = ax.models.function(answers_once_the_other_was_asked)
    assert ax.race(endless.model(), other, winner="first_complete").chat("hi").text == "whole"
    assert endless.sees_the_hang_up()


def test_a_hedge_asks_the_next_when_the_first_is_slow() -> None:
    slow = ax.models.scripted(["slow"], delay=30)
    assert ax.hedge(slow, ax.models.scripted(["hedged"]), stagger=0.01).chat("hi").text == "hedged"


def test_a_balance_gives_each_its_share() -> None:
    one, two = ax.models.scripted([], default="one"), ax.models.scripted([], default="two")
    model = ax.balance(one, two)
    assert sorted(model.chat("hi").text for _ in range(4)) == ["one", "one", "two", "two"]
    weighted = ax.balance(one, two, weights=[3, 1])
    assert sorted(weighted.chat("hi").text for _ in range(8)) == ["one"] * 6 + ["two"] * 2


def test_routes_nest_and_take_names() -> None:
    inner = ax.race(ax.models.function(fails), ax.models.function(fails), retry=1)
    assert ax.fallback(inner, "demo", retry={"attempts": 2, "base": 0.001, "cap": 0.002}).chat("hi").text
    assert ax.fallback(["demo"]).chat("hi").text


def test_a_routes_time_stands_in_place_of_its_models(endless: Endless) -> None:
    model = ax.fallback(endless.model(), "demo", timeout={"total": 0.2}, retry=1)
    with pytest.raises(ax.TimeoutError):
        model.chat("hi")
    assert endless.sees_the_hang_up()


def test_a_breaker_leaves_a_model_alone() -> None:
    asked = []

    def broken(messages: Any) -> str:
        asked.append(1)
        raise RuntimeError("down")

    model = ax.fallback(
        ax.models.function(broken),
        ax.models.scripted([], default="spare"),
        breaker={"failures": 2, "open_for": 600},
    )
    assert [model.chat("hi").text for _ in range(5)] == ["spare"] * 5
    assert len(asked) == 2


# -- scripts and functions ---------------------------------------------------------------------------------


def test_a_script_of_everything_that_can_be_said(run: Door) -> None:
    def add(a: int, b: int | None = None) -> int:
        """Adds."""
        return a + (b or 0)

    model = ax.models.scripted(
        [
            ax.ToolCall("add", {"a": 1, "b": None}),
            {"calls": [{"name": "add", "args": {"a": 2}}, ax.ToolCall("add", {"a": 3})]},
            ax.Reply("thinking aloud", tool_calls=[{"name": "add", "arguments": {"a": 4}}]),
            {"text": "the last was {{ result.add }}"},
        ]
    )
    result = run(ax.Agent("s", model=model, tools=[add]), "go")
    assert [text for _, text, _ in results(result)] == ["1", "2", "3", "4"]
    assert result.text == "the last was 4"


def test_a_text_of_a_script_is_said_as_it_is() -> None:
    text = 'braces {{ last }} and }} "quotes" \\ \n new \x07 lines'
    assert ax.models.scripted([text]).chat("hi").text == text


def test_a_script_with_conditions_and_faults() -> None:
    model = ax.models.scripted(
        [
            {"when": {"last": "weather"}, "text": "Rain."},
            {"text": "Hello.", "faults": [{"kind": "overloaded", "times": 1}]},
        ],
        default="Bye.",
    )
    with pytest.raises(ax.ModelError) as raised:
        model.chat("hi")
    assert (raised.value.code, raised.value.retryable, raised.value.status) == ("overloaded", True, 503)
    assert model.chat("How is the weather?").text == "Rain."
    assert model.chat([ax.Message.user("a"), ax.Message.assistant("b"), ax.Message.user("c")]).text == "Bye."


def test_a_script_from_a_file_and_a_built_in_one(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text('[default]\ntext = "You said: {{ last }}"\n')
    for path in (str(tmp_path / "s.toml"), tmp_path / "s.toml", "s.toml"):
        assert ax.models.scripted(path).chat("hi").text == "You said: hi"
    assert ax.models.scripted("builtin:tour").chat("hi").text


def test_functions_among_the_turns() -> None:
    async def later(messages: list[ax.Message]) -> str:
        return f"{len(messages)} so far"

    model = ax.models.scripted([lambda messages: messages[0].text.upper(), later], default="end")
    agent = ax.Agent("s", model=model)
    assert [agent.chat(text).text for text in ("a", "b", "c")] == ["A", "3 so far", "end"]
    with pytest.raises(ax.UsageError, match="put the condition into the function"):
        ax.models.scripted([later, {"text": "x", "when": {"turn": 1}}])


def _returns_text(messages: list[ax.Message]) -> str:
    return messages[-1].text


async def _async_text(messages: list[ax.Message]) -> str:
    return messages[-1].text


def _yields(messages: list[ax.Message]) -> Any:
    yield from messages[-1].text


async def _async_yields(messages: list[ax.Message]) -> Any:
    for letter in messages[-1].text:
        yield letter


def _returns_a_coroutine(messages: list[ax.Message]) -> Any:
    return _async_text(messages)


def _takes_a_request(request: ax.Request) -> str:
    assert request.instructions == "Echo."
    assert "Request(messages=1" in repr(request)
    return request.messages[-1].text


class _Callable:
    async def __call__(self, messages: list[ax.Message]) -> str:
        return messages[-1].text


@pytest.mark.parametrize(
    "function",
    [_returns_text, _async_text, _yields, _async_yields, _returns_a_coroutine, _takes_a_request, _Callable()],
    ids=lambda it: getattr(it, "__name__", "callable"),
)
def test_every_kind_of_function_is_a_model(any_run: Door, function: Any) -> None:
    model = ax.models.function(function, name="f")
    assert any_run(ax.Agent("f", model=model, instructions="Echo."), "hello").text == "hello"
    assert "".join(event.text for event in model.stream("word", system="Echo.")) == "word"


def test_a_function_sees_the_tools_and_calls_them(run: Door) -> None:
    def double(n: int) -> int:
        """Doubles."""
        return 2 * n

    def model(messages: list[ax.Message], tools: list[dict[str, Any]]) -> Any:
        if messages[-1].role == "tool":
            return f"got {messages[-1].tool_results[0].text}"
        assert [tool["name"] for tool in tools] == ["double"]
        assert tools[0]["input"]["properties"]["n"]["type"] == "integer"
        return ax.Reply("let me see", tool_calls=[{"name": tools[0]["name"], "arguments": {"n": 4}}])

    assert run(ax.Agent("f", model=ax.models.function(model), tools=[double]), "go").text == "got 8"


def test_a_function_that_says_what_is_no_answer(run: Door) -> None:
    def odd(messages: Any) -> Any:
        return 7

    def yields_odd(messages: Any) -> Any:
        yield 7

    for function, says in ((odd, "not int"), (yields_odd, "yields texts")):
        with pytest.raises(ax.AmbidexError, match=says):
            run(ax.Agent("f", model=ax.models.function(function)), "go")


def test_a_reply_shows_itself() -> None:
    reply = ax.Reply("text", tool_calls=[{"name": "t", "arguments": {}}], reasoning="hm")
    assert repr(reply) == 'Reply("text", tool_calls=1)'
    assert (reply.reasoning, reply.finish) == ("hm", "tool_calls")
    assert reply.message.text == "text"
    changed = reply.replace(text="other", tool_calls=[])
    assert (changed.text, changed.tool_calls, changed.finish) == ("other", [], "stop")
    with pytest.raises(ValueError, match="tool_calls"):
        ax.Reply(tool_calls=[{"nome": "t"}])


def test_a_model_shows_what_it_is_without_being_made() -> None:
    route = ax.fallback("nobody:m", ax.models.function(fails), ax.models.human("desk"), name="safe")
    assert repr(route) == "<Model safe(Model('nobody:m'), <Model function fails>, <Model person 'desk'>)>"
    assert repr(ax.models.scripted(["a", "b"])) == "<Model script, 2 turns>"
    assert (
        repr(ax.Model("openai:m", temperature=0.5, api_key="secret")) == "Model('openai:m', temperature=0.5)"
    )
