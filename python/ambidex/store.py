"""Stores: where runs are kept, looked at, answered, forked and gone on with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from . import _bridge, _core
from ._checks import choice, number
from ._recovery import Recovery
from ._threads import Session, Sessions, Thread, Threads
from .errors import UsageError
from .results import Result

if TYPE_CHECKING:
    from types import TracebackType
    from typing import TypeAlias

    from typing_extensions import Self

    from .agent import Agent
    from .graphs import CompiledGraph
    from .messages import Message
    from .team import Team
    from .workflow import Workflow

    Runnable: TypeAlias = Agent[Any] | CompiledGraph[Any] | Workflow | Team

__all__ = [
    "Checkpoint",
    "Page",
    "Questions",
    "Recovery",
    "Run",
    "Runs",
    "Session",
    "Sessions",
    "Store",
    "Thread",
    "Threads",
    "open",
]

T = TypeVar("T")

# In classes that have a method of this name.
_Dicts = list[dict[str, Any]]

_DURABILITIES = ("sync", "batch", "none")
_STATUSES = ("queued", "running", "waiting", "paused", "succeeded", "failed", "cancelled")


def open(url: str, *, durability: str = "sync") -> Store:
    """A store: ``sqlite:PATH``, ``postgres://USER@HOST/DATABASE``, or ``memory:``, which ends with the process.

    ``durability`` is what an acknowledged step is worth when the power fails: ``sync`` is on disk, ``batch`` at most
    50 ms later, ``none`` when the system likes to. A process that dies loses nothing under any of them.

    It is opened when it is first used, or by ``with`` and ``async with``, which also close it.
    """
    return Store(url, durability=durability)


class Store:
    """Where runs are kept. Agents keep theirs here by ``ax.Agent(..., store=store)``.

    ``with ax.open("sqlite:state.db") as store:`` and ``async with`` open it now and close it in the end. It may be used
    by any number of threads, tasks and loops at once, and by forked children, each of which opens it anew.
    """

    __slots__ = ("__weakref__", "_core", "_given", "questions", "runs", "sessions", "threads")

    def __init__(self, url: str, *, durability: str = "sync") -> None:
        if not isinstance(url, str):
            raise UsageError(f"ax.open: the url is {url!r}; give it a text, such as 'sqlite:state.db'")
        choice("ax.open", "durability", durability, _DURABILITIES)
        self._given = (url, durability)
        self._core = _core.Store(url, durability)
        #: The runs of the store: ``list``, ``get``, ``cancel``.
        self.runs = Runs(self._core)
        #: What its runs ask people: ``list``, ``answer``.
        self.questions = Questions(self._core)
        #: Its conversations: ``create``, ``load``, ``list``, ``search``, ``rename``, ``fork``, ``edit``, ``compact``.
        self.threads = Threads(self._core)
        #: Working state and threads: ``create``, ``load``, ``list``, ``save``, ``delete``.
        self.sessions = Sessions(self._core)

    # -- going on ------------------------------------------------------------------------------------------

    def resume(
        self,
        run: str | Run | Result[Any],
        agents: Iterable[Runnable],
        *,
        iterations: int | None = None,
        budget: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> Result[Any]:
        """Goes on with a run that waits, is paused, or lost its process, and gives its result.

        The run is driven by the one of ``agents`` that has its agent's name, and keeps the definition it began with.
        Other arguments are those of ``agent.resume``. A run that somebody else drives is left alone: ``StoreError``.
        """
        found = self._owner(self._ask("run", run=_run_id(run))[0], agents)
        result: Result[Any] = found._resume_in(self._core, _run_id(run), iterations, budget, timeout)
        return result

    async def aresume(
        self,
        run: str | Run | Result[Any],
        agents: Iterable[Runnable],
        *,
        iterations: int | None = None,
        budget: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> Result[Any]:
        """Like :meth:`resume`, awaited on any loop."""
        found = self._owner((await self._aask("run", run=_run_id(run)))[0], agents)
        result: Result[Any] = await found._aresume_in(self._core, _run_id(run), iterations, budget, timeout)
        return result

    def _owner(self, run: Mapping[str, Any], agents: Iterable[Any]) -> Any:
        agents = _agents("resume()", agents)
        name = run["agent"]
        for agent in agents:
            if agent.name == name:
                return agent
        given = ", ".join(repr(agent.name) for agent in agents) or "none"
        raise UsageError(
            f"resume(): the run {run['run_id']!r} is one of {name!r}, and agents holds {given}; give it that one"
        )

    def recover(self, agents: Iterable[Runnable]) -> Recovery:
        """Goes on with runs by itself, as long as the block lasts: ``with store.recover([agent]):``, ``async with``.

        Runs are taken whose process is gone, whose question was answered, or whose time has come: now, when an answer
        comes in, and each 10 s. Those of other agents are left to other processes. Under ``async with``, async
        functions run on the loop it belongs to.
        """
        return Recovery(self, _agents("recover()", agents))

    # -- time travel ---------------------------------------------------------------------------------------

    def checkpoints(self, run: str | Run | Result[Any]) -> list[Checkpoint]:
        """The points of a run to look at and to fork from, oldest first: its beginning, each result, its end."""
        run = _run_id(run)
        return [Checkpoint(self._core, run, point) for point in self._ask("checkpoints", run=run)]

    async def acheckpoints(self, run: str | Run | Result[Any]) -> list[Checkpoint]:
        """Like :meth:`checkpoints`, awaited on any loop."""
        run = _run_id(run)
        return [Checkpoint(self._core, run, point) for point in await self._aask("checkpoints", run=run)]

    def fork(
        self,
        run: str | Run | Result[Any],
        at: int | Checkpoint | None = None,
        *,
        message: str | Message | Mapping[str, Any] | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> str:
        """A new run that has the past of another up to a checkpoint (without one, up to its end); gives its id.

        ``message`` is said to an agent next, ``state`` changes fields of a graph's. Nobody drives the new run before
        :meth:`resume`. Calls that were under way at that point, and must not be repeated, are in doubt in it: the other
        run may have made them.
        """
        forked: str = self._ask(**_fork(run, at, message, state))
        return forked

    async def afork(
        self,
        run: str | Run | Result[Any],
        at: int | Checkpoint | None = None,
        *,
        message: str | Message | Mapping[str, Any] | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> str:
        """Like :meth:`fork`, awaited on any loop."""
        forked: str = await self._aask(**_fork(run, at, message, state))
        return forked

    # -- its life ------------------------------------------------------------------------------------------

    def check(self) -> list[str]:
        """What is wrong with what is stored, a sentence each; takes as long as reading all of it."""
        problems: list[str] = self._ask("check")
        return problems

    async def acheck(self) -> list[str]:
        """Like :meth:`check`, awaited on any loop."""
        problems: list[str] = await self._aask("check")
        return problems

    def close(self) -> None:
        """Writes what is queued and lets go of the place. Runs that are still under way fail. Twice is once."""
        self._core.close()

    async def aclose(self) -> None:
        """Like :meth:`close`, awaited on any loop."""
        await _bridge.awaited(self._core.aclose)

    @property
    def closed(self) -> bool:
        return self._core.closed

    def __enter__(self) -> Self:
        self._ask("open")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        await self._aask("open")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def _ask(self, ask: str, **details: Any) -> Any:
        return self._core.ask({"ask": ask, **details})

    async def _aask(self, ask: str, **details: Any) -> Any:
        return await _bridge.awaited(self._core.aask, {"ask": ask, **details})

    def __reduce__(self) -> tuple[Any, ...]:
        url, durability = self._given
        if url.startswith("memory:"):
            raise UsageError("a store in memory cannot be pickled: it is of this process; use sqlite:PATH")
        return (_opened, (url, durability))

    def __repr__(self) -> str:
        url = self._given[0]
        scheme, at, rest = url.partition("@")
        if at:  # no password is shown
            url = f"{scheme.partition('://')[0]}://...@{rest}"
        return f"<Store {url!r}{' closed' if self.closed else ''}>"


def _opened(url: str, durability: str) -> Store:
    return Store(url, durability=durability)


class Page(list[T], Generic[T]):
    """A page of a listing. ``next`` is where the one behind it begins; None after the last."""

    __slots__ = ("next",)

    def __init__(self, items: Iterable[T], next: str | None) -> None:
        super().__init__(items)
        self.next = next


class Run:
    """A run as a store lists it. Also a mapping."""

    __slots__ = ("_line", "_result")

    def __init__(self, line: Mapping[str, Any], result: Result[Any] | None = None) -> None:
        self._line = line
        self._result = result

    @property
    def run_id(self) -> str:
        return str(self._line["run_id"])

    @property
    def status(self) -> str:
        """``queued``, ``running``, ``waiting``, ``paused``, ``succeeded``, ``failed``, ``cancelled``."""
        return str(self._line["status"])

    @property
    def agent(self) -> str:
        """The name of its agent, or graph."""
        return str(self._line["agent"])

    @property
    def thread_id(self) -> str | None:
        thread: str | None = self._line["thread_id"]
        return thread

    @property
    def created_at(self) -> str:
        """When it began, as RFC 3339 in UTC."""
        return str(self._line["created_at"])

    @property
    def updated_at(self) -> str:
        """When it last took a step."""
        return str(self._line["updated_at"])

    @property
    def records(self) -> int:
        """Records so far."""
        return int(self._line["records"])

    @property
    def driven_by(self) -> str | None:
        """Who has it now: ``this process``, ``process 17 on host``; None where nobody has."""
        driver: str | None = self._line["driven_by"]
        return driver

    @property
    def interrupted(self) -> bool:
        """Whether it was under way when its process ended; ``store.resume`` goes on with it."""
        return self.status == "running" and self.driven_by is None

    @property
    def result(self) -> Result[Any]:
        """How it stands: text, output, messages, questions, error. Of ``runs.get`` alone."""
        if self._result is None:
            raise UsageError(f"a listing has no results; ask for it: store.runs.get({self.run_id!r}).result")
        return self._result

    def to_dict(self) -> dict[str, Any]:
        return dict(self._line)

    def keys(self) -> Iterable[str]:
        return self._line.keys()

    def __getitem__(self, name: str) -> Any:
        return self._line[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._line)

    def __repr__(self) -> str:
        return f"<Run {self.run_id} {self.agent!r} {'interrupted' if self.interrupted else self.status}>"


class Runs:
    """The runs of a store."""

    __slots__ = ("_core",)

    def __init__(self, core: _core.Store) -> None:
        self._core = core

    def list(
        self,
        *,
        status: str | Iterable[str] | None = None,
        agent: str | None = None,
        thread: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Run]:
        """Runs, newest first, ``limit`` (1 to 1000) of them; ``cursor`` is ``next`` of the page before.

        ``status``: ``queued``, ``running``, ``waiting``, ``paused``, ``succeeded``, ``failed`` or ``cancelled``, or
        several of them.
        """
        return _page(self._core.ask(_listing(status, agent, thread, limit, cursor)))

    async def alist(
        self,
        *,
        status: str | Iterable[str] | None = None,
        agent: str | None = None,
        thread: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Run]:
        """Like :meth:`list`, awaited on any loop."""
        listing = _listing(status, agent, thread, limit, cursor)
        return _page(await _bridge.awaited(self._core.aask, listing))

    def get(self, run: str | Run | Result[Any]) -> Run:
        """A run, with its ``result`` as it stands."""
        return _found(self._core.ask({"ask": "run", "run": _run_id(run)}))

    async def aget(self, run: str | Run | Result[Any]) -> Run:
        """Like :meth:`get`, awaited on any loop."""
        return _found(await _bridge.awaited(self._core.aask, {"ask": "run", "run": _run_id(run)}))

    def cancel(self, run: str | Run | Result[Any]) -> bool:
        """Ends a run that nobody drives: it waits, is paused, or lost its process. False where it had ended before.

        One that is driven is cancelled by what waits for it, its task or its stream: ``BusyError`` here.
        """
        return bool(self._core.ask({"ask": "cancel", "run": _run_id(run)}))

    async def acancel(self, run: str | Run | Result[Any]) -> bool:
        """Like :meth:`cancel`, awaited on any loop."""
        return bool(await _bridge.awaited(self._core.aask, {"ask": "cancel", "run": _run_id(run)}))


class Questions:
    """What runs of a store ask people."""

    __slots__ = ("_core",)

    def __init__(self, core: _core.Store) -> None:
        self._core = core

    def list(self, run: str | Run | Result[Any] | None = None) -> _Dicts:
        """Open questions of a run, or of all, oldest first: ``id``, ``run``, ``why`` (``approval``, ``in_doubt``,
        ``reply``), ``tool``, ``args``."""
        found: _Dicts = self._core.ask(_questions(run))
        return found

    async def alist(self, run: str | Run | Result[Any] | None = None) -> _Dicts:
        """Like :meth:`list`, awaited on any loop."""
        found: _Dicts = await _bridge.awaited(self._core.aask, _questions(run))
        return found

    def answer(
        self,
        question: str,
        decision: str = "approve",
        *,
        text: str | None = None,
        tool_calls: Iterable[Mapping[str, Any]] = (),
        output: Any = None,
        args: Mapping[str, Any] | None = None,
        reason: str = "",
        answer: Any = None,
    ) -> None:
        """Answers a question, by its id. A run that is under way goes on by itself, also in another process; one at
        rest when somebody resumes it.

        Decisions: ``approve``; ``edit`` (runs with ``args``); ``reject`` (the model is told the ``reason``);
        ``answer`` (``answer`` stands in for the call's result; of a call in doubt: it happened, and that was its
        result); ``repeat`` (of a call in doubt: it did not happen). A person who is the model says ``text``,
        ``tool_calls`` or ``output``.
        """
        self._core.ask(_answer(question, decision, text, tool_calls, output, args, reason, answer))

    async def aanswer(
        self,
        question: str,
        decision: str = "approve",
        *,
        text: str | None = None,
        tool_calls: Iterable[Mapping[str, Any]] = (),
        output: Any = None,
        args: Mapping[str, Any] | None = None,
        reason: str = "",
        answer: Any = None,
    ) -> None:
        """Like :meth:`answer`, awaited on any loop."""
        plain = _answer(question, decision, text, tool_calls, output, args, reason, answer)
        await _bridge.awaited(self._core.aask, plain)


class Checkpoint:
    """A point of a run: after its beginning, after a result, at its end."""

    __slots__ = ("_core", "effect", "run_id", "seq", "time")

    def __init__(self, core: _core.Store | _core.Graph, run: str, point: Mapping[str, Any]) -> None:
        self._core = core
        self.run_id = run
        #: The number of the last record before it.
        self.seq: int = point["seq"]
        #: RFC 3339, UTC.
        self.time: str = point["time"]
        #: What had ended: ``m0`` is the first call of the model, ``t0.1`` the second call of a tool after it,
        #: ``plan#0[3]`` a node of a graph. None at the beginning and the end.
        self.effect: str | None = point["effect"]

    @property
    def node(self) -> str | None:
        """The node of a graph whose work had ended."""
        if self.effect is None or "#" not in self.effect:
            return None
        return self.effect.partition("#")[0]

    def result(self) -> Result[Any]:
        """The run as it was then: its messages, its text."""
        return Result(self._core.ask(self._at())[1])

    async def aresult(self) -> Result[Any]:
        """Like :meth:`result`, awaited on any loop."""
        return Result((await _bridge.awaited(self._core.aask, self._at()))[1])

    def state(self) -> dict[str, Any] | None:
        """The state of a graph then, as plain data. None of an agent."""
        state: dict[str, Any] | None = self._core.ask(self._at())[0]
        return state

    async def astate(self) -> dict[str, Any] | None:
        """Like :meth:`state`, awaited on any loop."""
        state: dict[str, Any] | None = (await _bridge.awaited(self._core.aask, self._at()))[0]
        return state

    def _at(self) -> dict[str, Any]:
        return {"ask": "at", "run": self.run_id, "at": self.seq}

    def __repr__(self) -> str:
        return f"<Checkpoint {self.seq} of {self.run_id}{f', after {self.effect}' if self.effect else ''}>"


def _run_id(run: Any) -> str:
    if isinstance(run, (Run, Result)):
        return run.run_id
    if not isinstance(run, str) or not run:
        raise UsageError(f"a run is named by its run_id, or its result, not {run!r}")
    return run


def _agents(where: str, agents: Any) -> list[Any]:
    if isinstance(agents, (str, bytes, Mapping)) or not isinstance(agents, Iterable):
        raise UsageError(f"{where}: agents is {agents!r}; give it a list, such as agents=[agent]")
    found = list(agents)
    for agent in found:
        if not hasattr(agent, "_resume_in"):
            raise UsageError(f"{where}: {agent!r} is no agent, compiled graph, workflow or team")
    return found


def _listing(
    status: Any, agent: str | None, thread: str | None, limit: int, cursor: str | None
) -> dict[str, Any]:
    statuses = [] if status is None else [status] if isinstance(status, str) else list(status)
    for one in statuses:
        choice("runs.list()", "status", one, _STATUSES)
    number("runs.list()", "limit", limit, least=1, whole=True)
    if limit > 1000:
        raise UsageError(
            f"runs.list(): limit is {limit}; give it 1000 at most, and go on with cursor=page.next"
        )
    return {
        "ask": "runs",
        "status": statuses,
        "agent": agent,
        "thread": thread,
        "limit": limit,
        "cursor": cursor,
    }


def _page(answer: Mapping[str, Any]) -> Page[Run]:
    return Page([Run(line) for line in answer["runs"]], answer["next"])


def _found(answer: tuple[dict[str, Any], Any]) -> Run:
    line, result = answer
    return Run(line, Result(result))


def _questions(run: Any) -> dict[str, Any]:
    return {"ask": "questions", "run": None if run is None else _run_id(run)}


def _answer(question: Any, *answer: Any) -> dict[str, Any]:
    from ._conversation import answer_plain, question_id

    return {"ask": "answer", "question": question_id(question), "answer": answer_plain(*answer)}


def _fork(run: Any, at: Any, message: Any, state: Any) -> dict[str, Any]:
    if isinstance(at, Checkpoint):
        at = at.seq
    number("fork()", "at", at, least=0, whole=True)
    if message is not None and state is not None:
        raise UsageError(
            "fork(): a run is an agent's, which takes message=, or a graph's, which takes state="
        )
    if message is not None:
        from .messages import plain_input

        plain = plain_input([{"role": "user", "content": message}] if isinstance(message, str) else [message])
        message = plain[0]
    if state is not None:
        from .tools.result import to_json

        state = to_json(dict(state))
    return {"ask": "fork", "run": _run_id(run), "at": at, "state": state, "message": message}
