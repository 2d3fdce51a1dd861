"""Workflows: steps in a file or a dict, run by the same driver as graphs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

from . import _core
from ._checks import choice, duration, unknown
from ._definition import core_store, core_tool, listed, tool_name
from ._kept import Kept
from .agent import Agent
from .errors import UsageError
from .graphs import GraphResult
from .model import Model
from .tools.result import Unwritable, to_json

if TYPE_CHECKING:
    from typing import NoReturn

    from .store import Store
    from .streams import Stream

__all__ = ["Workflow"]

_ARGUMENTS = ("definition", "name", "agents", "models", "tools", "flows", "store")
_RUN = ("input", "timeout")


class Workflow(Kept[GraphResult[Any]]):
    """Steps, as a file or a dict has them: ``Workflow.load("article.toml")``, ``Workflow({"steps": [...]})``.

    Agents, tools, models (that judge or write) and other workflows that its steps name are those given here, by their
    names, else those of ``ambidex.toml``. ``store`` keeps its runs; without one they are where agents keep theirs.
    """

    __slots__ = ("_definition", "_given", "_parts", "_path")

    def __init__(
        self,
        definition: Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
        agents: Iterable[Agent[Any]] = (),
        models: Mapping[str, Model | str] | None = None,
        tools: Iterable[Any] = (),
        flows: Iterable[Workflow] = (),
        store: Store | None = None,
        **unknown_arguments: NoReturn,
    ) -> None:
        if unknown_arguments:
            raise unknown("ax.Workflow", unknown_arguments, _ARGUMENTS)
        if isinstance(definition, (str, bytes)):
            raise UsageError("ax.Workflow takes a dict; a file is opened with ax.Workflow.load(path)")
        plain = _plain("ax.Workflow", dict(definition or {}))
        self._definition: dict[str, Any] | None = plain
        self._path: str | None = None
        self._given = name or plain.get("name") or "workflow"
        self._set_parts(agents, models, tools, flows, store)

    def _set_parts(self, agents: Any, models: Any, tools: Any, flows: Any, store: Any) -> None:
        from .model import as_model

        where = "ax.Workflow"
        for agent in (agents := listed("agents", agents)):
            if not isinstance(agent, Agent):
                raise UsageError(f"{where}: {agent!r} is no agent; give ax.Agent(name, ...)")
        for flow in (flows := listed("flows", flows)):
            if not isinstance(flow, Workflow):
                raise UsageError(f"{where}: {flow!r} is no workflow")
        self._parts = (
            {agent.name: agent._core for agent in agents},
            {name: as_model(model, where)._core for name, model in (models or {}).items()},
            {tool_name(tool): core_tool(tool) for tool in listed("tools", tools)},
            {flow.name: flow._made() for flow in flows},
            None if store is None else core_store(where, store),
        )
        self._core: _core.Workflow | None = None

    @classmethod
    def load(
        cls,
        path: str | PathLike[str],
        *,
        agents: Iterable[Agent[Any]] = (),
        models: Mapping[str, Model | str] | None = None,
        tools: Iterable[Any] = (),
        flows: Iterable[Workflow] = (),
        store: Store | None = None,
    ) -> Workflow:
        """The workflow in a file, checked: all that is wrong is said at once, with its line."""
        workflow = cls.__new__(cls)
        workflow._definition = None
        workflow._path = fspath(path)
        workflow._given = ""
        workflow._set_parts(agents, models, tools, flows, store)
        workflow._given = workflow._made().check()
        return workflow

    @property
    def name(self) -> str:  # type: ignore[override]
        return self._given

    def add_step(self, step: Mapping[str, Any] | None = None, **keys: Any) -> Workflow:
        """Adds a step, with the keys that a file has: ``add_step(id="plan", agent="planner", prompt="...")``."""
        if self._definition is None:
            raise UsageError(f"the steps of {self._path!r} stand in that file; add this one there")
        step = _plain("add_step()", {**(step or {}), **keys})
        self._definition = {**self._definition, "steps": [*self._definition.get("steps", ()), step]}
        self._core = None
        return self

    def _made(self) -> _core.Workflow:
        core = self._core
        if core is None:
            source: Any = self._path if self._definition is None else self._definition
            core = self._core = _core.Workflow(self._given or "workflow", source, *self._parts)
        return core

    def _ready(self) -> Any:
        return self._made()

    def check(self) -> None:
        """Looks for all that is wrong: unknown names, steps nothing leads to, types that do not fit."""
        self._made().check()

    def draw(self, format: str = "text") -> str:
        """The steps as ``text``, ``mermaid`` or ``svg``."""
        choice("draw()", "format", format, ("text", "mermaid", "svg"))
        return self._made().draw(format)

    # -- runs ----------------------------------------------------------------------------------------------

    def run(
        self, input: Any = None, *, timeout: float | None = None, **unknown_arguments: NoReturn
    ) -> GraphResult[Any]:
        """Runs it: ``input`` is its inputs by name, or the text of its only one. ``result.output`` is its output."""
        return self._result(self._made().run, self._call(input, timeout, unknown_arguments))

    async def arun(
        self, input: Any = None, *, timeout: float | None = None, **unknown_arguments: NoReturn
    ) -> GraphResult[Any]:
        """Like :meth:`run`, awaited on any loop."""
        return await self._aresult(self._made().arun, self._call(input, timeout, unknown_arguments))

    def stream(
        self, input: Any = None, *, timeout: float | None = None, **unknown_arguments: NoReturn
    ) -> Stream[GraphResult[Any]]:
        """The events of a run as they happen."""
        return self._stream("stream", self._call(input, timeout, unknown_arguments))

    def astream(
        self, input: Any = None, *, timeout: float | None = None, **unknown_arguments: NoReturn
    ) -> Stream[GraphResult[Any]]:
        """Like :meth:`stream`, for ``async for`` on any loop."""
        return self._stream("astream", self._call(input, timeout, unknown_arguments))

    def run_stage(
        self, step: str, given: Mapping[str, Any] | None = None, *, timeout: float | None = None
    ) -> GraphResult[Any]:
        """Runs one step alone. ``given`` are inputs by their names, and what steps before it gave as
        ``{"steps": {id: result}}``. ``result.output`` is what it gave."""
        return self._result(self._made().run_stage, self._stage(step, given, timeout))

    async def arun_stage(
        self, step: str, given: Mapping[str, Any] | None = None, *, timeout: float | None = None
    ) -> GraphResult[Any]:
        """Like :meth:`run_stage`, awaited on any loop."""
        return await self._aresult(self._made().arun_stage, self._stage(step, given, timeout))

    def _stage(self, step: Any, given: Any, timeout: Any) -> tuple[Any, ...]:
        if not isinstance(step, str):
            raise UsageError(f"run_stage(): the step is {step!r}; give it its id")
        return (step, *self._call(given or {}, timeout, {}))

    def _call(self, input: Any, timeout: Any, unknown_arguments: Mapping[str, Any]) -> tuple[Any, ...]:
        if unknown_arguments:
            raise unknown("a run", unknown_arguments, _RUN)
        duration("a run", "timeout", timeout)
        return (_plain("the input", {} if input is None else input), timeout)

    def _stream(self, door: str, call: tuple[Any, ...]) -> Stream[GraphResult[Any]]:
        from .streams import Stream

        return Stream(self._made().stream(*call), door, self._shown_result, self)

    def _shown_result(self, core: Any) -> GraphResult[Any]:
        return GraphResult(core, None, _same)

    def __repr__(self) -> str:
        return f"<Workflow {self._given!r}>"


def _same(state: Any) -> Any:
    return state


def _plain(where: str, value: Any) -> Any:
    try:
        return to_json(value)
    except Unwritable as problem:
        raise UsageError(f"{where}: {problem.place().removeprefix('result')} {problem.problem}") from None
