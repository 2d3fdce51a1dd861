"""What an agent is made of, checked and put into the form that the core takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from . import _core
from ._checks import choice, duration, nearest, number, plain, sendable
from .errors import UsageError
from .model import as_model

_MODES = ("auto", "chat")
_EFFECTS = ("read", "idempotent", "once")
_RARE = ("budget", "context", "approvals", "settings", "stop", "tool_choice")


def build(
    config: dict[str, Any], before: _core.Agent | None
) -> tuple[_core.Agent, Callable[[Any], Any] | None]:
    """The core of an agent, and what makes its output the type that was asked for."""
    name = config["name"]
    where = f"agent {name!r}"
    if not isinstance(name, str):
        raise UsageError(f"ax.Agent: the name is {name!r}; give it a text, and the model as model=...")
    if config["mode"] not in _MODES:
        choice(where, "mode", config["mode"], _MODES)
    if not isinstance(config["instructions"], str):
        kind = type(config["instructions"]).__name__
        raise UsageError(f"{where}: instructions are a text, not {kind}")
    sendable(f"{where}: instructions", config["instructions"])
    number(where, "max_iterations", config["max_iterations"], least=1, whole=True)
    number(where, "tool_concurrency", config["tool_concurrency"], least=1, whole=True)
    duration(where, "timeout", config["timeout"])
    model = as_model(config["model"], where)
    settings: dict[str, Any] = {
        "name": name,
        "mode": config["mode"],
        "instructions": config["instructions"],
        "max_iterations": config["max_iterations"],
        "tool_concurrency": config["tool_concurrency"],
    }
    convert = None
    if config["output"] is not None:
        from .tools import as_output

        output = as_output(config["output"])
        convert = output.parse
        settings["output"] = {"name": output.name, "schema": output.schema}
    summariser = None
    for rare in _RARE:
        if config[rare] is not None:
            summariser = _add_rare(where, config, settings)
            break
    tools = [core_tool(tool) for tool in config["tools"]]
    if len(tools) > 1:
        _distinct(where, config["tools"])
    hooks = [_hook(where, hook) for hook in config["hooks"]]
    store = config["store"]
    if store is not None:
        store = core_store(where, store)
    return _core.Agent(settings, model._core, tools, hooks, summariser, before, store), convert


def core_store(where: str, given: Any) -> _core.Store:
    """What the core takes of a store."""
    core = getattr(given, "_core", None)
    if not isinstance(core, _core.Store):
        raise UsageError(f"{where}: store is {given!r}; give it ax.open('sqlite:state.db') or the like")
    return core


def listed(name: str, given: Any) -> tuple[Any, ...]:
    """A list of things that an agent is given."""
    if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Iterable):
        raise UsageError(f"ax.Agent: {name} is {given!r}; give it a list, such as {name}=[...]")
    return tuple(given)


def core_tool(given: Any) -> _core.Tool:
    """What the core takes of a tool. Kept beside the tool, so that all agents share its limits."""
    known = getattr(given, "_ambidex_core", None)
    if known is not None:
        return known  # type: ignore[no-any-return]
    if isinstance(given, str):
        return _core.Tool.configured(given)
    if not callable(given) and not isinstance(given, classmethod):
        raise UsageError(
            f"{given!r} is no tool; give a function, ax.tools.http(...), or the name of a tool of ambidex.toml"
        )
    from .tools import as_tool

    tool = as_tool(given)
    known = getattr(tool, "_ambidex_core", None)
    if known is not None:
        return known  # type: ignore[no-any-return]
    core = _core.Tool.function(tool)
    tool._ambidex_core = core  # type: ignore[attr-defined]
    return core


def tool_name(given: Any) -> str:
    if isinstance(given, str):
        return given
    return str(getattr(given, "name", None) or getattr(given, "__name__", None) or repr(given))


def _distinct(where: str, tools: Iterable[Any]) -> None:
    seen: set[str] = set()
    for tool in tools:
        name = tool_name(tool)
        if name in seen:
            raise UsageError(
                f"{where}: there are two tools named {name!r}; rename one with @ax.tool(name=...)"
            )
        seen.add(name)


_HOOKS = ("before_model", "after_model", "before_tool", "after_tool", "on_finish")


def _hook(where: str, hook: Any) -> _core.Hook:
    if isinstance(hook, type):
        raise UsageError(
            f"{where}: hook {hook.__name__} is a class; give an object of it: hooks=[{hook.__name__}()]"
        )
    if not any(hasattr(hook, name) for name in _HOOKS):
        raise UsageError(f"{where}: hook {hook!r} has no method of a hook; those are {', '.join(_HOOKS)}")
    for name in dir(hook):
        if name.startswith(("before_", "after_", "on_")) and name not in _HOOKS:
            meant = nearest(name, _HOOKS, 0.8)
            if meant is not None and not hasattr(hook, meant):
                raise UsageError(f"{where}: hook {hook!r} has a method {name!r}; did you mean {meant!r}?")
    return _core.Hook(hook, _is_async)


def _is_async(method: Any) -> bool:
    """Whether calling it only makes a coroutine. What is overlooked here is awaited all the same."""
    code = getattr(getattr(method, "__func__", method), "__code__", None)
    return code is not None and bool(code.co_flags & 0x80)  # CO_COROUTINE; `inspect` is not imported for it


def _add_rare(where: str, config: dict[str, Any], settings: dict[str, Any]) -> _core.Model | None:
    """Settings that most agents do without. Gives the model that summarises, if there is one."""
    summariser = None
    if config["budget"] is not None:
        settings["budget"] = budget_plain(where, config["budget"])
    context = config["context"]
    if context is not None and context is not False:
        members = ("compact_at", "keep_last", "summarise_with", "window")
        context = {} if context is True else plain(where, "context", context, members)
        with_model = context.pop("summarise_with", None)
        if with_model is not None:
            summariser = as_model(with_model, f"{where}: summarise_with")._core
        settings["context"] = context
    approvals = config["approvals"]
    if approvals is not None:
        if isinstance(approvals, str):
            approvals = dict.fromkeys(_EFFECTS, approvals)
        for effect, answer in plain(where, "approvals", approvals, _EFFECTS).items():
            choice(where, f"approvals[{effect!r}]", answer, ("allow", "ask", "deny"))
        settings["approvals"] = dict(approvals)
    if config["settings"] is not None:
        known = (
            "max_tokens",
            "temperature",
            "top_p",
            "seed",
            "stop",
            "reasoning",
            "parallel_tool_calls",
            "extra",
        )
        settings["settings"] = _call_settings(plain(where, "settings", config["settings"], known))
    if config["tool_choice"] is not None:
        word = config["tool_choice"]
        settings["tool_choice"] = word if word in ("auto", "none", "required") else {"tool": word}
    if config["stop"] is not None:
        settings["stop"] = plain(where, "stop", config["stop"], ("after_tools", "text"))
    return summariser


def _call_settings(given: dict[str, Any]) -> dict[str, Any]:
    settings = {name: value for name, value in given.items() if value is not None}
    if "stop" in settings:
        stop = settings.pop("stop")
        settings["stop_sequences"] = [stop] if isinstance(stop, str) else list(stop)
    if "reasoning" in settings:
        value = settings["reasoning"]
        tokens = isinstance(value, int) and not isinstance(value, bool)
        settings["reasoning"] = {"budget_tokens" if tokens else "effort": value}
    return settings


def budget_plain(where: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """A budget as the core takes it."""
    budget = plain(where, "budget", given, ("usd", "tokens", "tool_calls", "wall"))
    for name, value in budget.items():
        number(where, f"budget[{name!r}]", value, least=0)
    if "wall" in budget:
        budget["wall_ms"] = round(budget.pop("wall") * 1000)
    return budget
