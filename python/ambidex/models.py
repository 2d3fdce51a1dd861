"""Models that are made in code: routes over models, scripts, people, functions.

All are taken wherever a model is, in routes too, and wherever a model is taken a name is, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from . import _core
from ._checks import number, unknown
from .errors import UsageError
from .model import Model, as_model, retry_options, seconds, timeout_options

if TYPE_CHECKING:
    from os import PathLike
    from typing import NoReturn

    AnyModel = str | Model

__all__ = ["balance", "fallback", "function", "hedge", "human", "race", "scripted"]


# -- routes ------------------------------------------------------------------------------------------------


def fallback(
    *models: AnyModel,
    retry: int | Mapping[str, Any] | None = None,
    timeout: float | Mapping[str, Any] | None = None,
    breaker: Mapping[str, Any] | None = None,
    after_first_token: str | None = None,
    name: str | None = None,
    **unknown_arguments: NoReturn,
) -> Model:
    """Asks the first model, and the next when one fails in a way that another may not.

    - ``retry``: rounds over the models: a number, or ``{"attempts": 3, "base": 0.5, "cap": 20}`` (seconds).
    - ``timeout``: seconds in all, or ``{"connect", "first_token", "idle", "total"}``; stands in place of the
      models' own.
    - ``breaker``: ``{"failures": 5, "open_for": 15}``: when a model is left alone, and for how long at first.
    - ``after_first_token``: when an answer breaks off after something of it was shown: ``"restart"`` or ``"fail"``.
    """
    _no_others("ax.fallback", unknown_arguments, ("after_first_token",))
    return _route("fallback", models, name, retry, timeout, breaker, {"after_first_token": after_first_token})


def race(
    *models: AnyModel,
    winner: str | None = None,
    retry: int | Mapping[str, Any] | None = None,
    timeout: float | Mapping[str, Any] | None = None,
    breaker: Mapping[str, Any] | None = None,
    name: str | None = None,
    **unknown_arguments: NoReturn,
) -> Model:
    """Asks all models at once and takes the first; the others are hung up on.

    ``winner`` is ``"first_token"``, ``"first_complete"`` or ``"first_valid"``; the rest is as for :func:`fallback`.
    """
    _no_others("ax.race", unknown_arguments, ("winner",))
    return _route("race", models, name, retry, timeout, breaker, {"winner": winner})


def hedge(
    *models: AnyModel,
    stagger: float | str | None = None,
    retry: int | Mapping[str, Any] | None = None,
    timeout: float | Mapping[str, Any] | None = None,
    breaker: Mapping[str, Any] | None = None,
    after_first_token: str | None = None,
    name: str | None = None,
    **unknown_arguments: NoReturn,
) -> Model:
    """Asks the first model, and the next one too when no first token came within ``stagger`` seconds.

    Without ``stagger`` that is the time within which 95 of 100 of its latest calls had begun (``"p95"``). The rest
    is as for :func:`fallback`.
    """
    _no_others("ax.hedge", unknown_arguments, ("stagger", "after_first_token"))
    options = {"stagger": seconds(stagger), "after_first_token": after_first_token}
    return _route("hedge", models, name, retry, timeout, breaker, options)


def balance(
    *models: AnyModel,
    pick: str | None = None,
    weights: Iterable[int] | None = None,
    retry: int | Mapping[str, Any] | None = None,
    timeout: float | Mapping[str, Any] | None = None,
    breaker: Mapping[str, Any] | None = None,
    after_first_token: str | None = None,
    name: str | None = None,
    **unknown_arguments: NoReturn,
) -> Model:
    """Asks one of the models, so that all get their share; the next pick when it fails.

    ``pick`` is ``"round_robin"``, ``"weighted"`` (with ``weights``, a number for each model), ``"least_busy"`` or
    ``"lowest_latency"``; the rest is as for :func:`fallback`.
    """
    _no_others("ax.balance", unknown_arguments, ("pick", "weights", "after_first_token"))
    if weights is not None:
        weights = list(weights)
        if len(weights) != len(models):
            raise UsageError(
                f"ax.balance: {len(weights)} weights for {len(models)} models; give one for each"
            )
        pick = pick or "weighted"
    options = {"pick": pick, "weights": weights, "after_first_token": after_first_token}
    return _route("balance", models, name, retry, timeout, breaker, options)


_COMMON = ("retry", "timeout", "breaker", "name")


def _no_others(where: str, given: Mapping[str, Any], own: tuple[str, ...]) -> None:
    if given:
        raise unknown(where, given, (*own, *_COMMON))


def _route(
    strategy: str,
    models: tuple[Any, ...],
    name: str | None,
    retry: Any,
    timeout: Any,
    breaker: Mapping[str, Any] | None,
    options: dict[str, Any],
) -> Model:
    where = f"ax.{strategy}"
    if len(models) == 1 and isinstance(models[0], (list, tuple)):
        models = tuple(models[0])
    if not models:
        raise UsageError(f"{where} has no models; give it some: {where}(a, b)")
    targets = [as_model(model, where) for model in models]
    if breaker is not None:
        options["breaker"] = {key: seconds(it) if key == "open_for" else it for key, it in breaker.items()}
    options |= {"strategy": strategy, "retry": retry_options(retry), "timeout": timeout_options(timeout)}
    plain = {key: it for key, it in options.items() if it is not None}
    core = _core.Model.route(name or strategy, plain, [target._core for target in targets])
    inner = ", ".join(map(repr, targets))
    return Model._of(core, f"{name or strategy}({inner})")


# -- scripts -----------------------------------------------------------------------------------------------


def scripted(
    script: str | PathLike[str] | Iterable[Any],
    *,
    default: Any = None,
    name: str = "script",
    delay: float | None = None,
    pace: float | None = None,
    chunk: int | None = None,
    **unknown_arguments: NoReturn,
) -> Model:
    """A model that says what it is told to: no key, no network. Its tools are real, only its words are scripted.

    ``script`` is a list of turns, the path of a TOML file (``docs/scripted-models.md``), or ``"builtin:tour"``. A
    turn is

    - a text, said as it is;
    - a dict as in that document: ``{"text": ...}``, ``{"calls": [{"name": "add", "args": {"a": 1}}]}``, with
      ``when``, ``faults``, ``delay`` and the like;
    - ``ax.ToolCall("add", {"a": 1})``, or a list of them;
    - ``ax.Reply(...)``;
    - a function that is given the messages and returns any of these (and then all turns go in order, without ``when``
      and ``faults``).

    ``default`` is said when no turn is left. ``delay`` is the time before the first piece of a reply, ``pace`` before
    each, in seconds; ``chunk`` is the number of characters of a piece.
    """
    if unknown_arguments:
        raise unknown(
            "ax.models.scripted", unknown_arguments, ("script", "default", "name", "delay", "pace", "chunk")
        )
    if not isinstance(script, Iterable) or isinstance(script, str) or hasattr(script, "__fspath__"):
        import os

        path = os.fspath(script)  # type: ignore[arg-type]
        if isinstance(script, str) and not script.startswith("builtin:") and not os.path.exists(script):
            raise UsageError(
                f"ax.models.scripted: there is no file {script!r}; give the path of a script, or a list of what is "
                "to be said: ax.models.scripted([...])"
            )
        return Model._of(_core.Model.script_file(path), f"script {path}")
    turns = list(script)
    if not turns and default is None:
        raise UsageError(
            'ax.models.scripted: the list is empty; give what is to be said: ax.models.scripted(["..."])'
        )
    if any(callable(turn) for turn in (*turns, default)):
        return _script_of_functions(turns, default, name)
    plain: dict[str, Any] = {"name": name, "turns": [_turn(turn) for turn in turns]}
    if default is not None:
        plain["default"] = _turn(default)
    if chunk is not None:
        plain["chunk"] = number("ax.models.scripted", "chunk", chunk, least=1, whole=True)
    for key, time in (("delay", delay), ("pace", pace)):
        if time is not None:
            plain[key] = seconds(time)
    return Model._of(_core.Model.script(plain), f"{name}, {len(turns)} turns")


def _turn(turn: Any) -> dict[str, Any]:
    """A turn as a script's file holds it."""
    if isinstance(turn, str):
        return {"text": _literal(turn)}
    if isinstance(turn, Mapping):
        return _turn_of_mapping(turn)
    plain = _plain_reply(turn)
    if isinstance(plain, str):
        return {"text": _literal(plain)}
    made: dict[str, Any] = {}
    if plain.get("text"):
        made["text"] = _literal(plain["text"])
    if plain.get("reasoning"):
        made["reasoning"] = _literal(plain["reasoning"])
    if plain.get("tool_calls"):
        made["calls"] = [_call(call["name"], call.get("arguments")) for call in plain["tool_calls"]]
    return made


_TIMES = ("delay", "pace", "retry_after")


def _turn_of_mapping(turn: Mapping[str, Any]) -> dict[str, Any]:
    plain = dict(turn)
    if "tool_calls" in plain and "calls" not in plain:
        plain["calls"] = plain.pop("tool_calls")
    if "calls" in plain:
        calls = plain["calls"] if isinstance(plain["calls"], (list, tuple)) else [plain["calls"]]
        plain["calls"] = [_call_of(call) for call in calls]
    for name in _TIMES:
        if name in plain:
            plain[name] = seconds(plain[name])
    if "faults" in plain:
        plain["faults"] = [
            {key: seconds(it) if key in _TIMES else it for key, it in dict(fault).items()}
            for fault in plain["faults"]
        ]
    if "json" in plain:
        from .tools.result import to_json

        plain["json"] = to_json(plain["json"])
    return plain


def _call_of(call: Any) -> dict[str, Any]:
    if isinstance(call, Mapping):
        wrong = [key for key in call if key not in ("name", "args", "arguments", "id")]
        if wrong or "name" not in call:
            raise UsageError(
                f"ax.models.scripted: a call is {{'name': ..., 'args': {{...}}}}, not {dict(call)!r}"
            )
        return _call(call["name"], call.get("args", call.get("arguments")))
    return _call(call.name, call.arguments)


def _call(name: str, arguments: Any) -> dict[str, Any]:
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, str) and _has_null(arguments):
        import json

        arguments = json.dumps(arguments)
    return {"name": name, "args": arguments}


def _has_null(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_has_null(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return any(_has_null(item) for item in value)
    return value is None


def _literal(text: str) -> str:
    """A text that is said as it is, in a place where braces mean something."""
    return text.replace("{{", '{{ "{{" }}')


def _script_of_functions(turns: list[Any], default: Any, name: str) -> Model:
    for turn in turns:
        if isinstance(turn, Mapping) and ("when" in turn or "faults" in turn):
            raise UsageError(
                "ax.models.scripted: `when` and `faults` do not go with functions among the turns; "
                "put the condition into the function"
            )

    async def answer(messages: list[Any]) -> Any:
        number = sum(message.role == "assistant" for message in messages)
        if number < len(turns):
            turn = turns[number]
        elif default is not None:
            turn = default
        else:
            raise UsageError(
                f"the script {name!r} has {len(turns)} turns and was asked for one more; give a default"
            )
        if callable(turn) and not isinstance(turn, _core.Reply):
            said: Any = turn(messages)
            turn = await said if hasattr(said, "__await__") else said
        return turn

    return function(answer, name=name)


# -- people ------------------------------------------------------------------------------------------------


def human(
    queue: str | None = None,
    *,
    timeout: float | None = None,
    name: str | None = None,
    **unknown_arguments: NoReturn,
) -> Model:
    """A person who answers as the model.

    ``queue`` says who is asked; ``timeout`` is in seconds from when they are asked, a day where it is not given. A
    run that asks one comes to rest with ``status == "waiting"``; ``agent.answer(question, ...)`` answers, and
    ``agent.resume(run_id)`` goes on.
    """
    if unknown_arguments:
        raise unknown("ax.models.human", unknown_arguments, ("queue", "timeout", "name"))
    number("ax.models.human", "timeout", timeout, least=0)
    asked = queue or name or "human"
    return Model._of(_core.Model.human(name or asked, asked, timeout), f"person {asked!r}")


# -- functions ---------------------------------------------------------------------------------------------


def function(fn: Callable[..., Any], *, name: str | None = None) -> Model:
    """A model that is a function: ``def`` or ``async def``, given the messages; one that yields texts streams them.

    With a second parameter it is given the tools, too (dicts with ``name``, ``description``, ``input``); with a
    parameter ``request`` it is given the whole ``ax.Request`` instead. It returns a text, an ``ax.Reply`` (with
    tool calls), an ``ax.ToolCall`` or a list of those::

        @ax.models.function
        def parrot(messages):
            return messages[-1].text
    """
    if not callable(fn) or isinstance(fn, type):
        raise UsageError(f"ax.models.function is for functions, not {fn!r}")
    call = _FunctionCall(fn)
    known = str(name or getattr(fn, "__name__", "function"))
    return Model._of(_core.Model.function(known, call, call.is_async), f"function {known}")


class _FunctionCall:
    """What the core calls of a function."""

    __slots__ = ("_fn", "_takes", "is_async")

    def __init__(self, fn: Callable[..., Any]) -> None:
        import inspect

        self._fn = fn
        inner = fn if inspect.isroutine(fn) else fn.__call__  # type: ignore[operator]
        self.is_async = inspect.iscoroutinefunction(inner) or inspect.isasyncgenfunction(inner)
        try:
            parameters = list(inspect.signature(fn).parameters.values())
        except (TypeError, ValueError):
            parameters = []
        names = [it.name for it in parameters]
        positional = [it for it in parameters if it.kind in (it.POSITIONAL_ONLY, it.POSITIONAL_OR_KEYWORD)]
        needed = [it for it in positional if it.default is it.empty]
        if len(needed) > 2:
            raise UsageError(
                f"ax.models.function: {getattr(fn, '__name__', fn)} takes {len(needed)} arguments; a model is given "
                "(messages), (messages, tools) or (request)"
            )
        if names[:1] == ["request"]:
            self._takes = "request"
        elif len(needed) == 2 or names[1:2] == ["tools"]:
            self._takes = "tools"
        else:
            self._takes = "messages"

    def _begin(self, request: Any) -> Any:
        if self._takes == "request":
            return self._fn(request)
        if self._takes == "tools":
            return self._fn(request.messages, request.tools)
        return self._fn(request.messages)

    def start(self, request: Any, push: Callable[[str], None]) -> Any:
        value = self._begin(request)
        if hasattr(value, "__await__"):
            return _awaited_reply(value)
        if hasattr(value, "__aiter__"):
            from ._generators import apour

            return apour(value, push)
        if hasattr(value, "__next__"):
            from ._generators import pour

            return pour(value, push)
        return _plain_reply(value)

    async def astart(self, request: Any, push: Callable[[str], None]) -> Any:
        value = self._begin(request)
        if hasattr(value, "__aiter__"):
            async for piece in value:
                push(piece)
            return None
        return _plain_reply(await value)


async def _awaited_reply(value: Any) -> Any:
    return _plain_reply(await value)


def _plain_reply(value: Any) -> Any:
    """What a function (or a script) says, as a text or plain data."""
    from .messages import Message, ToolCall

    if isinstance(value, str):
        return value
    if isinstance(value, _core.Reply):
        calls = [{key: call[key] for key in ("id", "name", "arguments")} for call in value.tool_calls]
        return {"text": value.text, "reasoning": value.reasoning, "tool_calls": calls}
    if isinstance(value, Message):
        calls = [_plain_call(call) for call in value.tool_calls]
        return {"text": value.text, "tool_calls": calls}
    if isinstance(value, ToolCall):
        return {"tool_calls": [_plain_call(value)]}
    if (
        isinstance(value, (list, tuple))
        and value
        and all(isinstance(it, (ToolCall, Mapping)) for it in value)
    ):
        return {"tool_calls": [_plain_call(call) for call in value]}
    if (
        isinstance(value, Mapping)
        and value
        and not value.keys() - {"text", "reasoning", "tool_calls", "calls", "usage"}
    ):
        plain = dict(value)
        asked = plain.pop("calls", None) or plain.pop("tool_calls", None) or ()
        plain["tool_calls"] = [_plain_call(call) for call in asked]
        return plain
    raise UsageError(
        f"a model's answer is a text, an ax.Reply, an ax.ToolCall or a list of those, not {type(value).__name__}; "
        "give it as str(...)"
    )


def _plain_call(call: Any) -> dict[str, Any]:
    if isinstance(call, Mapping):
        plain = {"name": call["name"], "arguments": call.get("arguments", call.get("args", {}))}
        return {**plain, "id": call["id"]} if "id" in call else plain
    plain = {"name": call.name, "arguments": call.arguments}
    # Ids that nobody chose are made by the model, so that no two are the same.
    return plain if call.id == "call_1" else {**plain, "id": call.id}
