"""Teams: agents that work on one task together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from . import _bridge, _core
from ._checks import choice, duration, number, plain, spoken, unknown
from ._definition import budget_plain, core_store, listed
from ._kept import Kept
from .agent import Agent
from .errors import UsageError
from .graphs import GraphResult
from .model import Model, as_model
from .results import Result

if TYPE_CHECKING:
    from .store import Store
    from .streams import Stream

__all__ = ["Team", "TeamResult"]

_ARGUMENTS = (
    "agents",
    "merge",
    "judge",
    "planner",
    "writer",
    "name",
    "everyone",
    "threshold",
    "rounds",
    "on_failure",
    "concurrency",
    "attempts",
    "most_parts",
    "part_timeout",
    "budget",
    "store",
)
_MERGES = ("integrate", "concat", "vote", "best_of", "fuse")
_MERGE = ("how", "field", "reduce", "separator", "judges", "rubric", "at_least")


def _same(state: Any) -> Any:
    return state


class TeamResult(GraphResult[Any]):
    """How a team's run came to rest. ``output`` is what the merge gave: of ``integrate`` a dict of ``assets``,
    ``quality``, ``deployment`` and ``actions``."""

    __slots__ = ("_details",)

    def __init__(self, core: _core.RunResult) -> None:
        super().__init__(core, None, _same)
        self._details: dict[str, Any] | None = None

    def _detail(self, name: str) -> Any:
        if self._details is None:
            self._details = self._core.team()
        return self._details[name]

    @property
    def analysis(self) -> dict[str, Any] | None:
        """How the task was divided: ``complexity``, ``summary``, ``parts``."""
        analysis: dict[str, Any] | None = self._detail("analysis")
        return analysis

    @property
    def parts(self) -> list[dict[str, Any]]:
        """What each part gave: ``author``, ``part``, ``text``, ``output``, ``failed``."""
        parts: list[dict[str, Any]] = self._detail("parts")
        return parts

    @property
    def rounds(self) -> int:
        """How often work was sent back."""
        return int(self._detail("rounds"))

    @property
    def text(self) -> str:
        """The merged text, where the merge gives one."""
        output = self._core.output
        text = output.get("text") if isinstance(output, dict) else None
        return text if isinstance(text, str) else self._core.text

    def _merged(self, name: str) -> Any:
        output = self._core.output
        if not isinstance(output, dict) or name not in output:
            raise UsageError(
                f"the result has no {name}: the merge is not 'integrate', or the run did not come to it"
            )
        return output[name]

    @property
    def assets(self) -> list[dict[str, Any]]:
        """Files and documents, of ``merge="integrate"``."""
        assets: list[dict[str, Any]] = self._merged("assets")
        return assets

    @property
    def quality(self) -> dict[str, Any]:
        """Scores, of each agent and overall."""
        quality: dict[str, Any] = self._merged("quality")
        return quality

    @property
    def deployment(self) -> dict[str, Any]:
        """Steps, checks, risks."""
        deployment: dict[str, Any] = self._merged("deployment")
        return deployment

    @property
    def actions(self) -> list[dict[str, Any]]:
        """What to do next, by whom."""
        actions: list[dict[str, Any]] = self._merged("actions")
        return actions


class Team(Kept[TeamResult]):
    """Agents that work on one task: a planner takes it apart, the parts are done by those they suit, in their order and
    side by side, and the outputs are merged.

    - ``agents``: a list, or a dict from agents to what they are good at.
    - ``merge``: ``integrate`` (assets, quality, deployment, actions), ``concat``, ``vote``, ``best_of``, ``fuse``, or a
      dict ``{"how", "field", "reduce", "separator", "judges", "rubric", "at_least"}``.
    - ``judge``, ``writer``, ``planner``: models or agents. One that is missing is stood in for by another of them.
    - ``everyone``: all do the whole task, without a plan.
    - ``threshold`` (0 to 10) and ``rounds``: work that is judged lower goes back, so often.
    - ``on_failure``: ``fail``, or ``continue`` without the part.
    - ``concurrency``: parts at once; ``attempts`` and ``part_timeout`` (seconds) of each; ``most_parts`` of a plan.
    - ``budget``: of the whole, as an agent's. ``store`` keeps its runs.
    """

    __slots__ = ("_name",)

    def __init__(
        self,
        agents: Iterable[Agent[Any]] | Mapping[Agent[Any], str],
        *,
        merge: str | Mapping[str, Any] = "integrate",
        judge: Agent[Any] | Model | str | None = None,
        planner: Agent[Any] | Model | str | None = None,
        writer: Agent[Any] | Model | str | None = None,
        name: str = "team",
        everyone: bool = False,
        threshold: float | None = None,
        rounds: int | None = None,
        on_failure: str = "fail",
        concurrency: int | None = None,
        attempts: int | None = None,
        most_parts: int | None = None,
        part_timeout: float | None = None,
        budget: Mapping[str, Any] | None = None,
        store: Store | None = None,
        **unknown_arguments: NoReturn,
    ) -> None:
        if unknown_arguments:
            raise unknown("ax.Team", unknown_arguments, _ARGUMENTS)
        where = f"team {name!r}"
        about = dict(agents) if isinstance(agents, Mapping) else dict.fromkeys(listed("agents", agents), "")
        for agent in about:
            if not isinstance(agent, Agent):
                raise UsageError(f"{where}: {agent!r} is no agent; give a list of ax.Agent(name, ...)")
        given = {"how": merge} if isinstance(merge, str) else plain(where, "merge", merge, _MERGE)
        choice(where, "merge", given.get("how"), _MERGES)
        choice(where, "on_failure", on_failure, ("fail", "continue"))
        duration(where, "part_timeout", part_timeout)
        number(where, "threshold", threshold, least=0)
        counts = {"rounds": rounds, "attempts": attempts, "most_parts": most_parts, "at_once": concurrency}
        for option, count in counts.items():
            number(where, option, count, least=0 if option == "rounds" else 1, whole=True)
        settings = {
            "name": name,
            "merge": given,
            "everyone": bool(everyone),
            "threshold": None if threshold is None else float(threshold),
            "goes_on": on_failure == "continue",
            "part_timeout_ms": None if part_timeout is None else max(1, round(part_timeout * 1000)),
            "budget": None if budget is None else budget_plain(where, budget),
            **counts,
        }
        planned = planner
        if planned is None and not everyone and given["how"] == "integrate":
            planned = judge if judge is not None else writer
        self._name = name
        self._core = _core.Team(
            settings,
            [(agent._core, text) for agent, text in about.items()],
            _actor(where, planned),
            _actor(where, judge),
            _actor(where, writer),
            None if store is None else core_store(where, store),
        )
        self._core.check()

    @property
    def name(self) -> str:  # type: ignore[override]
        return self._name

    def _shown_result(self, core: Any) -> TeamResult:
        return TeamResult(core)

    def analyse(self, task: str, *, timeout: float | None = None) -> dict[str, Any]:
        """Takes the task apart and does nothing else: ``{"complexity", "summary", "parts": [{"id", "description",
        "agent", "needs", "expected"}]}``, to look at, to change, and to give to :meth:`run`."""
        return self._analysis(self._core.analyse(*_task(task, timeout)))

    async def aanalyse(self, task: str, *, timeout: float | None = None) -> dict[str, Any]:
        """Like :meth:`analyse`, awaited on any loop."""
        return self._analysis(await _bridge.awaited(self._core.aanalyse, *_task(task, timeout)))

    def _analysis(self, found: Any) -> dict[str, Any]:
        analysis: dict[str, Any] = found
        return analysis

    def run(
        self, task: str, *, analysis: Mapping[str, Any] | None = None, timeout: float | None = None
    ) -> TeamResult:
        """Does a task, by a plan of the planner, or by this ``analysis``."""
        return self._result(self._core.run, _planned(task, analysis, timeout))

    async def arun(
        self, task: str, *, analysis: Mapping[str, Any] | None = None, timeout: float | None = None
    ) -> TeamResult:
        """Like :meth:`run`, awaited on any loop."""
        return await self._aresult(self._core.arun, _planned(task, analysis, timeout))

    def stream(
        self, task: str, *, analysis: Mapping[str, Any] | None = None, timeout: float | None = None
    ) -> Stream[TeamResult]:
        """The events of a run as they happen."""
        return self._stream("stream", _planned(task, analysis, timeout))

    def astream(
        self, task: str, *, analysis: Mapping[str, Any] | None = None, timeout: float | None = None
    ) -> Stream[TeamResult]:
        """Like :meth:`stream`, for ``async for`` on any loop."""
        return self._stream("astream", _planned(task, analysis, timeout))

    def _stream(self, door: str, call: tuple[Any, ...]) -> Stream[TeamResult]:
        from .streams import Stream

        wrap: Callable[[Any], TeamResult] = TeamResult
        return Stream(self._core.stream(*call), door, wrap, self)

    def integrate(
        self, results: Mapping[str, Any] | Iterable[Any], *, task: str = "", timeout: float | None = None
    ) -> TeamResult:
        """Merges outputs that are there already: a dict from authors to results of runs, texts or values; or a list of
        ``team_result.parts``."""
        return self._result(self._core.integrate, (task, _members(results), timeout))

    async def aintegrate(
        self, results: Mapping[str, Any] | Iterable[Any], *, task: str = "", timeout: float | None = None
    ) -> TeamResult:
        """Like :meth:`integrate`, awaited on any loop."""
        return await self._aresult(self._core.aintegrate, (task, _members(results), timeout))

    def __repr__(self) -> str:
        return f"<Team {self._name!r}>"


def _actor(where: str, given: Any) -> Any:
    if given is None:
        return None
    return given._core if isinstance(given, Agent) else as_model(given, where)._core


def _task(task: Any, timeout: Any) -> tuple[Any, ...]:
    if not isinstance(task, str):
        raise UsageError(f"a team's task is a text, not {task!r}")
    duration("a run", "timeout", timeout)
    return (spoken("a team's run", task), timeout)


def _planned(task: Any, analysis: Any, timeout: Any) -> tuple[Any, ...]:
    task, timeout = _task(task, timeout)
    return (task, None if analysis is None else dict(analysis), timeout)


def _members(results: Any) -> list[dict[str, Any]]:
    from .tools.result import to_json

    if isinstance(results, Mapping):
        return [_member(author, one) for author, one in results.items()]
    members = []
    for number_, one in enumerate(results, 1):
        if isinstance(one, Mapping) and not isinstance(one, Result) and "author" in one:
            members.append(to_json({"text": "", **one}))
        else:
            members.append(_member(f"agent {number_}", one))
    return members


def _member(author: Any, one: Any) -> dict[str, Any]:
    from .tools.result import to_json

    if isinstance(one, Result):
        output = to_json(one.output)
        member: dict[str, Any] = {"author": str(author), "text": one.text}
        return member if output is None else {**member, "output": output}
    if isinstance(one, str):
        return {"author": str(author), "text": one}
    return {"author": str(author), "text": "", "output": to_json(one)}
