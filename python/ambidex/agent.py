"""Agents: a model, its instructions and its tools, run to an end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from . import _bridge, _core
from ._checks import choice, number, plain, unknown
from .errors import AmbidexError, UsageError
from .model import as_model
from .results import Result

if TYPE_CHECKING:
    from os import PathLike
    from types import TracebackType
    from typing import NoReturn

    from typing_extensions import Self

    from .model import Conversation, Model
    from .streams import Stream

    Attachment = str | bytes | PathLike[str]

__all__ = ["Agent"]

T = TypeVar("T")

_ARGUMENTS = (
    "name",
    "model",
    "instructions",
    "tools",
    "mode",
    "max_iterations",
    "tool_concurrency",
    "output",
    "hooks",
    "budget",
    "context",
    "approvals",
    "settings",
    "tool_choice",
    "stop",
    "timeout",
)
_MODES = ("auto", "chat")
_EFFECTS = ("read", "idempotent", "once")


class Agent(Generic[T]):
    """A model with instructions and tools. Runs of one agent share nothing but what it was made of, so one agent may be
    used by any number of threads, tasks and event loops at once.

    - ``model``: an ``ax.Model``, a route, or a name: ``"openai:MODEL-ID"``, one of ``ambidex.toml``, or ``"demo"``,
      which answers offline.
    - ``instructions``: what it is told to be and do.
    - ``tools``: functions (made tools by their hints and docstrings, see ``ax.tool``), ``ax.tools.http(...)``, or names
      of tools in ``ambidex.toml``.
    - ``mode``: ``"auto"`` works until a whole reply asks for no tool; in ``"chat"`` a cut reply is an answer, too.
    - ``max_iterations``: calls of the model before a run pauses; 25 where it is not given.
    - ``tool_concurrency``: tools of one run at once; 16 where it is not given.
    - ``output``: the type of the answer: a Pydantic model, dataclass, TypedDict, any hint, or a JSON schema.
      ``result.output`` is of it.
    - ``hooks``: objects with any of ``before_model``, ``after_model``, ``before_tool``, ``after_tool``, ``on_finish``.
    - ``budget``: ``{"usd", "tokens", "tool_calls", "wall"}`` (``wall`` in seconds); a run that reaches one pauses.
    - ``context``: ``{"compact_at", "keep_last", "summarise_with"}``: near the limit of the model's context a summary takes
      the place of the older part of the conversation. True for the defaults.
    - ``approvals``: ``{"once": "ask", ...}``: ``allow``, ``ask`` or ``deny`` by the effect of tools.
    - ``settings``: of the model's calls, such as ``{"temperature": 0.2}``, over those of the model.
    - ``tool_choice``: ``auto``, ``none``, ``required``, or the name of a tool.
    - ``stop``: ``{"after_tools": [...], "text": "..."}``: ends a run before the model says so.
    - ``timeout``: seconds of active time of each run; 1 h where it is not given.
    """

    __slots__ = (
        "__weakref__",
        "_chat_thread",
        "_config",
        "_convert",
        "_core",
        "_timeout",
        "name",
    )

    @overload
    def __init__(
        self: Agent[Any],
        name: str = ...,
        *,
        model: str | Model | None = ...,
        instructions: str = ...,
        tools: Iterable[Any] = ...,
        mode: str = ...,
        max_iterations: int | None = ...,
        tool_concurrency: int | None = ...,
        output: Mapping[str, Any] | None = ...,
        hooks: Iterable[Any] = ...,
        budget: Mapping[str, Any] | None = ...,
        context: bool | Mapping[str, Any] | None = ...,
        approvals: str | Mapping[str, str] | None = ...,
        settings: Mapping[str, Any] | None = ...,
        tool_choice: str | None = ...,
        stop: Mapping[str, Any] | None = ...,
        timeout: float | None = ...,
    ) -> None: ...
    @overload
    def __init__(
        self: Agent[T],
        name: str = ...,
        *,
        output: type[T],
        model: str | Model | None = ...,
        instructions: str = ...,
        tools: Iterable[Any] = ...,
        mode: str = ...,
        max_iterations: int | None = ...,
        tool_concurrency: int | None = ...,
        hooks: Iterable[Any] = ...,
        budget: Mapping[str, Any] | None = ...,
        context: bool | Mapping[str, Any] | None = ...,
        approvals: str | Mapping[str, str] | None = ...,
        settings: Mapping[str, Any] | None = ...,
        tool_choice: str | None = ...,
        stop: Mapping[str, Any] | None = ...,
        timeout: float | None = ...,
    ) -> None: ...

    def __init__(
        self,
        name: str = "agent",
        *,
        model: str | Model | None = None,
        instructions: str = "",
        tools: Iterable[Any] = (),
        mode: str = "auto",
        max_iterations: int | None = None,
        tool_concurrency: int | None = None,
        output: Any = None,
        hooks: Iterable[Any] = (),
        budget: Mapping[str, Any] | None = None,
        context: bool | Mapping[str, Any] | None = None,
        approvals: str | Mapping[str, str] | None = None,
        settings: Mapping[str, Any] | None = None,
        tool_choice: str | None = None,
        stop: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        **unknown_arguments: NoReturn,
    ) -> None:
        if unknown_arguments:
            raise unknown("ax.Agent", unknown_arguments, _ARGUMENTS)
        self._config = {
            "name": name,
            "model": model,
            "instructions": instructions,
            "tools": tuple(_listed("tools", tools)),
            "mode": mode,
            "max_iterations": max_iterations,
            "tool_concurrency": tool_concurrency,
            "output": output,
            "hooks": tuple(_listed("hooks", hooks)),
            "budget": budget,
            "context": context,
            "approvals": approvals,
            "settings": settings,
            "tool_choice": tool_choice,
            "stop": stop,
            "timeout": timeout,
        }
        self.name = name
        self._timeout = timeout
        self._chat_thread: str | None = None
        self._build()

    def _build(self) -> None:
        """The core of the configuration."""
        config = self._config
        where = f"agent {self.name!r}"
        if config["mode"] not in _MODES:
            choice(where, "mode", config["mode"], _MODES)
        if not isinstance(config["instructions"], str):
            kind = type(config["instructions"]).__name__
            raise UsageError(f"{where}: instructions are a text, not {kind}")
        number(where, "max_iterations", config["max_iterations"], least=1, whole=True)
        number(where, "tool_concurrency", config["tool_concurrency"], least=1, whole=True)
        number(where, "timeout", self._timeout, least=0)
        model = as_model(config["model"], where)
        settings: dict[str, Any] = {
            "name": self.name,
            "mode": config["mode"],
            "instructions": config["instructions"],
            "max_iterations": config["max_iterations"],
            "tool_concurrency": config["tool_concurrency"],
        }
        self._convert: Callable[[Any], T] | None = None
        if config["output"] is not None:
            from .tools import as_output

            output = as_output(config["output"])
            self._convert = output.parse
            settings["output"] = {"name": output.name, "schema": output.schema}
        summariser = None
        if any(config[name] is not None for name in ("budget", "context", "approvals", "settings", "stop", "tool_choice")):
            summariser = _add_rare(where, config, settings)
        tools = [_tool(tool) for tool in config["tools"]]
        hooks = [_core.Hook(hook) for hook in _hooks(where, config["hooks"])]
        if len(tools) > 1:
            _distinct(where, config["tools"])
        self._core = _core.Agent(settings, model._core, tools, hooks, summariser)

    # -- runs ----------------------------------------------------------------------------------------------

    def run(
        self,
        task: Conversation,
        *,
        thread: str | None = None,
        max_iterations: int | None = None,
        timeout: float | None = None,
        files: Iterable[Attachment] = (),
        images: Iterable[Attachment] = (),
    ) -> Result[T]:
        """Runs a task to its end, on any thread.

        ``thread`` names a conversation that goes on: what was said on it stands before the task, and this agent
        remembers what is said now. ``timeout`` is in seconds of active time. ``files`` (texts) and ``images`` are paths,
        bytes or URLs.

        A failed run raises; the error has ``.result``. A run that pauses or waits for a person is no error.
        """
        call = self._call(task, thread, max_iterations, timeout, files, images)
        return self._result(self._core.run, call)

    async def arun(
        self,
        task: Conversation,
        *,
        thread: str | None = None,
        max_iterations: int | None = None,
        timeout: float | None = None,
        files: Iterable[Attachment] = (),
        images: Iterable[Attachment] = (),
    ) -> Result[T]:
        """Like :meth:`run`, awaited on any loop: asyncio, uvloop, trio. Cancelling the task stops the run."""
        call = self._call(task, thread, max_iterations, timeout, files, images)
        return await self._aresult(self._core.arun, call)

    def stream(
        self,
        task: Conversation,
        *,
        thread: str | None = None,
        max_iterations: int | None = None,
        timeout: float | None = None,
        files: Iterable[Attachment] = (),
        images: Iterable[Attachment] = (),
    ) -> Stream[Result[T]]:
        """The events of a run as they happen: ``for event in agent.stream("task")``. Arguments are those of :meth:`run`.

        ``break``, ``close()`` and dropping the stream end the run; ``stream.result`` is what it came to. A run that waits
        for a person goes on when the question is answered (:meth:`answer`).
        """
        call = self._call(task, thread, max_iterations, timeout, files, images)
        return self._stream("stream", call)

    def astream(
        self,
        task: Conversation,
        *,
        thread: str | None = None,
        max_iterations: int | None = None,
        timeout: float | None = None,
        files: Iterable[Attachment] = (),
        images: Iterable[Attachment] = (),
    ) -> Stream[Result[T]]:
        """Like :meth:`stream`, for ``async for`` on any loop."""
        call = self._call(task, thread, max_iterations, timeout, files, images)
        return self._stream("astream", call)

    def _stream(self, door: str, call: tuple[Any, ...]) -> Stream[Result[T]]:
        from .streams import Stream

        convert = self._convert
        return Stream(self._core.stream(*call), door, lambda end: Result(end, convert), self)

    def _call(
        self,
        task: Any,
        thread: str | None,
        max_iterations: int | None,
        timeout: float | None,
        files: Iterable[Attachment],
        images: Iterable[Attachment],
    ) -> tuple[Any, ...]:
        if not isinstance(task, str) or files or images:
            from ._attachments import attached

            task = attached(task, files, images)
        return (task, thread, max_iterations, self._timeout if timeout is None else timeout)

    def _result(self, run: Callable[..., Any], call: tuple[Any, ...]) -> Result[T]:
        try:
            return Result(run(*call), self._convert)
        except AmbidexError as error:
            raise self._failed(error)

    async def _aresult(self, run: Callable[..., Any], call: tuple[Any, ...]) -> Result[T]:
        try:
            return Result(await _bridge.awaited(run, *call), self._convert)
        except AmbidexError as error:
            raise self._failed(error)

    def _failed(self, error: AmbidexError) -> AmbidexError:
        """The error itself; its result knows the type of the output."""
        if error.result is not None:
            error.result._convert = self._convert
        return error

    # -- its life ------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Builds what a run needs, to find what is wrong with it: schemas, the model's name, its key."""
        self._core.check()

    def close(self) -> None:
        """Takes no more runs and forgets its conversations. Runs under way end by themselves."""
        self._core.close()

    async def aclose(self) -> None:
        """Like :meth:`close`."""
        self._core.close()

    @property
    def closed(self) -> bool:
        return self._core.closed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        if self.closed:
            raise UsageError(f"agent {self.name!r} is closed; pickle it before")
        return (_rebuilt, (type(self), self._config))

    def __repr__(self) -> str:
        model = self._config["model"]
        parts = [repr(self.name), f"model={model!r}"]
        if self._config["tools"]:
            parts.append(f"tools=[{', '.join(_tool_name(tool) for tool in self._config['tools'])}]")
        if self.closed:
            parts.append("closed")
        return f"Agent({', '.join(parts)})"


def _rebuilt(kind: type[Agent[Any]], config: dict[str, Any]) -> Agent[Any]:
    return kind(**config)


def _listed(name: str, given: Any) -> Iterable[Any]:
    if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Iterable):
        raise UsageError(f"ax.Agent: {name} is {given!r}; give it a list, such as {name}=[...]")
    return given


def _tool(given: Any) -> _core.Tool:
    """What the core takes of a tool. Kept beside the tool, so that all agents share its limits."""
    known = getattr(given, "_ambidex_core", None)
    if known is not None:
        return known  # type: ignore[no-any-return]
    if isinstance(given, str):
        return _core.Tool.configured(given)
    from .tools import as_tool

    tool = as_tool(given)
    known = getattr(tool, "_ambidex_core", None)
    if known is not None:
        return known  # type: ignore[no-any-return]
    core = _core.Tool.function(tool)
    tool._ambidex_core = core  # type: ignore[attr-defined]
    return core


def _tool_name(given: Any) -> str:
    return given if isinstance(given, str) else getattr(given, "name", None) or getattr(given, "__name__", repr(given))


def _distinct(where: str, tools: Iterable[Any]) -> None:
    seen: set[str] = set()
    for tool in tools:
        name = _tool_name(tool)
        if name in seen:
            raise UsageError(f"{where}: there are two tools named {name!r}; rename one with @ax.tool(name=...)")
        seen.add(name)


_HOOKS = ("before_model", "after_model", "before_tool", "after_tool", "on_finish")


def _hooks(where: str, hooks: tuple[Any, ...]) -> tuple[Any, ...]:
    for hook in hooks:
        if isinstance(hook, type):
            raise UsageError(f"{where}: hook {hook.__name__} is a class; give an object of it: hooks=[{hook.__name__}()]")
        if not any(hasattr(hook, name) for name in _HOOKS):
            raise UsageError(f"{where}: hook {hook!r} has no method of a hook; those are {', '.join(_HOOKS)}")
    return hooks


def _add_rare(where: str, config: dict[str, Any], settings: dict[str, Any]) -> _core.Model | None:
    """Settings that most agents do without. Gives the model that summarises, if there is one."""
    summariser = None
    budget = config["budget"]
    if budget is not None:
        budget = dict(plain(where, "budget", dict(budget), ("usd", "tokens", "tool_calls", "wall")))
        for name, value in budget.items():
            number(where, f"budget[{name!r}]", value, least=0)
        if "wall" in budget:
            budget["wall_ms"] = round(budget.pop("wall") * 1000)
        settings["budget"] = budget
    context = config["context"]
    if context is not None and context is not False:
        known = ("compact_at", "keep_last", "summarise_with", "window")
        context = {} if context is True else dict(plain(where, "context", dict(context), known))
        with_model = context.pop("summarise_with", None)
        if with_model is not None:
            summariser = as_model(with_model, f"{where}: summarise_with")._core
        settings["context"] = context
    approvals = config["approvals"]
    if approvals is not None:
        if isinstance(approvals, str):
            approvals = dict.fromkeys(_EFFECTS, approvals)
        for effect, answer in plain(where, "approvals", dict(approvals), _EFFECTS).items():
            choice(where, f"approvals[{effect!r}]", answer, ("allow", "ask", "deny"))
        settings["approvals"] = dict(approvals)
    if config["settings"] is not None:
        known = ("max_tokens", "temperature", "top_p", "seed", "stop", "reasoning", "parallel_tool_calls", "extra")
        settings["settings"] = _call_settings(plain(where, "settings", dict(config["settings"]), known))
    if config["tool_choice"] is not None:
        word = config["tool_choice"]
        settings["tool_choice"] = word if word in ("auto", "none", "required") else {"tool": word}
    if config["stop"] is not None:
        settings["stop"] = dict(plain(where, "stop", dict(config["stop"]), ("after_tools", "text")))
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
