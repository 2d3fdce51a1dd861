"""Graphs that run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic

from . import _bridge, _core
from ._checks import duration, unknown
from ._kept import Kept
from ._states import StateType
from .results import Result
from .store import Checkpoint, Run, _fork, _run_id

if TYPE_CHECKING:
    from typing import NoReturn

    from typing_extensions import TypeVar

    from .store import Store
    from .streams import Stream

    S = TypeVar("S", default=Any)
else:
    from typing import TypeVar

    S = TypeVar("S")

__all__ = ["CompiledGraph", "GraphResult"]

_RUN = ("state", "timeout")


class GraphResult(Result[S]):
    """How a run of a graph came to rest. ``state`` is there also where the run waits, is paused, or failed."""

    __slots__ = ("_parse_state",)

    def __init__(
        self, core: _core.RunResult, convert: Callable[[Any], S] | None, parse: Callable[[Any], S]
    ) -> None:
        super().__init__(core, convert)
        self._parse_state = parse

    @property
    def state(self) -> S:
        """The state, as it stands."""
        return self._parse_state(self._core.state)


class CompiledGraph(Kept[GraphResult[S]], Generic[S]):
    """A graph that runs. It holds no state of any run: any number of threads, tasks and loops may use it at once."""

    __slots__ = ("_parse", "_state", "_store", "name")

    def __init__(
        self,
        core: _core.Graph,
        name: str,
        state: StateType,
        parse: Callable[[Any], Any] | None,
        store: Store | None,
    ) -> None:
        self._core = core
        self.name = name
        self._state = state
        self._parse = parse
        self._store = store

    def _as_node(self) -> _core.Graph:
        core: _core.Graph = self._core
        return core

    # -- runs ----------------------------------------------------------------------------------------------

    def run(
        self, state: S | Mapping[str, Any], *, timeout: float | None = None, **unknown_arguments: NoReturn
    ) -> GraphResult[S]:
        """Runs the graph from a state to its rest, on any thread. ``result.output`` is the state in the end.

        ``timeout`` is in seconds of active time. A failed run raises; the error has ``.result``. A run that pauses or
        waits for a person is no error; ``result.state`` shows where it stands.
        """
        return self._result(self._core.run, self._call(state, timeout, unknown_arguments))

    async def arun(
        self, state: S | Mapping[str, Any], *, timeout: float | None = None, **unknown_arguments: NoReturn
    ) -> GraphResult[S]:
        """Like :meth:`run`, awaited on any loop: asyncio, uvloop, trio. Cancelling the task stops the run."""
        return await self._aresult(self._core.arun, self._call(state, timeout, unknown_arguments))

    def stream(
        self, state: S | Mapping[str, Any], *, timeout: float | None = None, **unknown_arguments: NoReturn
    ) -> Stream[GraphResult[S]]:
        """The events of a run as they happen. ``state.changed`` says which ``node`` changed what (``update``)."""
        return self._stream("stream", self._call(state, timeout, unknown_arguments))

    def astream(
        self, state: S | Mapping[str, Any], *, timeout: float | None = None, **unknown_arguments: NoReturn
    ) -> Stream[GraphResult[S]]:
        """Like :meth:`stream`, for ``async for`` on any loop."""
        return self._stream("astream", self._call(state, timeout, unknown_arguments))

    def _stream(self, door: str, call: tuple[Any, ...]) -> Stream[GraphResult[S]]:
        from .streams import Stream

        return Stream(self._core.stream(*call), door, self._shown_result, self)

    def _shown_result(self, core: Any) -> GraphResult[S]:
        return GraphResult(core, self._parse, self._state.parse)

    def _call(
        self, state: Any, timeout: float | None, unknown_arguments: Mapping[str, Any]
    ) -> tuple[Any, ...]:
        if unknown_arguments:
            raise unknown("a run", unknown_arguments, _RUN)
        if timeout is not None:
            duration("a run", "timeout", timeout)
        return (self._state.begin(state), timeout)

    # -- time travel -----------------------------------------------------------------------------------------

    def state_at(self, run: str | Run | Result[Any], at: int | Checkpoint | None = None) -> S:
        """The state of a run at a checkpoint; as it is now, where none is given."""
        return self._shown(self._core.ask(_at(run, at)))

    async def astate_at(self, run: str | Run | Result[Any], at: int | Checkpoint | None = None) -> S:
        """Like :meth:`state_at`, awaited on any loop."""
        return self._shown(await _bridge.awaited(self._core.aask, _at(run, at)))

    def _shown(self, answer: tuple[Any, Any]) -> S:
        shown: S = self._state.parse(answer[0])
        return shown

    def fork(
        self,
        run: str | Run | Result[Any],
        at: int | Checkpoint | None = None,
        *,
        state: Mapping[str, Any] | None = None,
    ) -> str:
        """A new run that has the past of another up to a checkpoint, with these fields of the state changed; gives its
        id, for :meth:`resume`."""
        forked: str = self._core.ask(self._fork(run, at, state))
        return forked

    async def afork(
        self,
        run: str | Run | Result[Any],
        at: int | Checkpoint | None = None,
        *,
        state: Mapping[str, Any] | None = None,
    ) -> str:
        """Like :meth:`fork`, awaited on any loop."""
        forked: str = await _bridge.awaited(self._core.aask, self._fork(run, at, state))
        return forked

    def update_state(self, run: str | Run | Result[Any], state: Mapping[str, Any]) -> str:
        """Changes fields of a run that rests. What has happened stays as it was: this is a fork at its end, and
        gives the new run's id, for :meth:`resume`."""
        return self.fork(run, state=state)

    async def aupdate_state(self, run: str | Run | Result[Any], state: Mapping[str, Any]) -> str:
        """Like :meth:`update_state`, awaited on any loop."""
        return await self.afork(run, state=state)

    def _fork(self, run: Any, at: Any, state: Any) -> dict[str, Any]:
        if state is not None:
            self._state.check_names("the change", state)
        return _fork(run, at, None, state)

    def __repr__(self) -> str:
        return f"<CompiledGraph {self.name!r} of {self._state.name}>"


def _at(run: Any, at: Any) -> dict[str, Any]:
    return {"ask": "at", "run": _run_id(run), "at": at.seq if isinstance(at, Checkpoint) else at}
