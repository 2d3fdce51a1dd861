"""Runs that nobody drives any more, driven on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from . import _bridge, _core
from .errors import UsageError

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from .store import Store

__all__ = ["Recovery"]


class Recovery:
    """Goes on with runs of a store. Leaving the block takes no more, and waits for those that are under way."""

    __slots__ = ("__weakref__", "_agents", "_core", "_store")

    def __init__(self, store: Store, agents: Iterable[Any]) -> None:
        self._store = store
        self._agents = list(agents)
        self._core: _core.Recovery | None = None

    def _begin(self, is_async: bool) -> None:
        if self._core is not None:
            raise UsageError("this recovery has begun already; ask for another one with store.recover(...)")
        agents = [agent._core for agent in self._agents if _is_a(agent, _core.Agent)]
        graphs = [agent._core for agent in self._agents if _is_a(agent, _core.Graph)]
        flows = [agent._ready() for agent in self._agents if _is_a(agent, _core.Workflow)]
        teams = [agent._core for agent in self._agents if _is_a(agent, _core.Team)]
        home = None
        if is_async:
            from .streams import _home

            home = _home()
        self._core = self._store._core.recover(agents, graphs, flows, teams, is_async, home)

    def __enter__(self) -> Self:
        self._begin(False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._core is not None:
            self._core.stop()

    async def __aenter__(self) -> Self:
        self._begin(True)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._core is not None:
            await _bridge.awaited(self._core.astop)


def _is_a(agent: Any, kind: type) -> bool:
    core = agent._ready() if hasattr(agent, "_ready") else agent._core
    return isinstance(core, kind)
