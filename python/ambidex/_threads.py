"""Threads and sessions of a store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from . import _bridge, _core
from ._checks import number
from .errors import UsageError
from .messages import Message, of_plain, plain_input
from .tools.result import Unwritable, to_json

if TYPE_CHECKING:
    from .agent import Agent

__all__ = ["Session", "Sessions", "Thread", "Threads"]


class _Line:
    """A row of a listing, as attributes."""

    __slots__ = ("_line",)

    def __init__(self, line: Mapping[str, Any]) -> None:
        self._line = line

    def to_dict(self) -> dict[str, Any]:
        return dict(self._line)

    def __getitem__(self, name: str) -> Any:
        return self._line[name]

    def keys(self) -> Iterable[str]:
        return self._line.keys()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._line['id']!r}>"


class Thread(_Line):
    """A conversation that outlives its runs: ``id``, ``title``, ``session``, ``messages`` (how many), ``metadata``."""

    __slots__ = ()

    @property
    def id(self) -> str:
        return str(self._line["id"])

    @property
    def title(self) -> str:
        return str(self._line["title"])

    @property
    def session(self) -> str | None:
        session: str | None = self._line["session"]
        return session

    @property
    def agent(self) -> str | None:
        """Whose runs it had last."""
        agent: str | None = self._line["agent"]
        return agent

    @property
    def messages(self) -> int:
        """How many it has."""
        return int(self._line["messages"])

    @property
    def summary(self) -> str | None:
        """What models see in place of its older messages."""
        summary = self._line["summary"]
        return None if summary is None else str(summary["text"])

    @property
    def parent(self) -> str | None:
        """The thread it was forked from."""
        parent = self._line["parent"]
        return None if parent is None else str(parent["thread"])

    @property
    def metadata(self) -> dict[str, Any]:
        return dict(self._line["metadata"])

    @property
    def updated_at(self) -> str:
        """RFC 3339, UTC."""
        return str(self._line["updated_at"])

    @property
    def holder(self) -> str | None:
        """The run whose turn it is."""
        holder: str | None = self._line["holder"]
        return holder


class Session(_Line):
    """Working state, and threads: ``id``, ``state``, ``version``."""

    __slots__ = ()

    @property
    def id(self) -> str:
        return str(self._line["id"])

    @property
    def state(self) -> Any:
        return self._line["state"]

    @property
    def version(self) -> int:
        """Grows with each change of the state."""
        return int(self._line["version"])

    @property
    def updated_at(self) -> str:
        """RFC 3339, UTC."""
        return str(self._line["updated_at"])


_Threads = list[Thread]
_Sessions = list[Session]
_Messages = list[Message]


class _Talk:
    __slots__ = ("_core",)

    def __init__(self, core: _core.Store) -> None:
        self._core = core

    def _do(self, do: str, details: Mapping[str, Any]) -> Any:
        return self._core.ask({"ask": "talk", "talk": {"do": do, **details}})

    async def _ado(self, do: str, details: Mapping[str, Any]) -> Any:
        return await _bridge.awaited(self._core.aask, {"ask": "talk", "talk": {"do": do, **details}})


class Threads(_Talk):
    """The threads of a store. An agent with this store runs on one by ``agent.run(task, thread=id)``."""

    __slots__ = ()

    def create(
        self,
        id: str | None = None,
        *,
        title: str = "",
        session: str | None = None,
        ttl: float | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Thread:
        """A new thread, kept for ``ttl`` seconds after its last change, or for ever. Runs make theirs themselves."""
        return Thread(self._do("create_thread", _options(id, title, session, ttl, metadata)))

    async def acreate(
        self,
        id: str | None = None,
        *,
        title: str = "",
        session: str | None = None,
        ttl: float | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Thread:
        """Like :meth:`create`, awaited on any loop."""
        return Thread(await self._ado("create_thread", _options(id, title, session, ttl, metadata)))

    def load(self, id: str) -> Thread:
        return Thread(self._do("thread", {"id": id}))

    async def aload(self, id: str) -> Thread:
        return Thread(await self._ado("thread", {"id": id}))

    def list(
        self,
        *,
        session: str | None = None,
        agent: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """Threads, last changed first; ``cursor`` is ``next`` of the page before."""
        return Page(self._do("threads", _query(session, agent, limit, cursor)), Thread)

    async def alist(
        self,
        *,
        session: str | None = None,
        agent: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """Like :meth:`list`, awaited on any loop."""
        return Page(await self._ado("threads", _query(session, agent, limit, cursor)), Thread)

    def search(self, text: str, *, limit: int = 50) -> _Threads:
        """Threads whose title, or one of whose messages, has all these words."""
        return [Thread(found["thread"]) for found in self._do("search", {"text": text, "limit": limit})]

    async def asearch(self, text: str, *, limit: int = 50) -> _Threads:
        """Like :meth:`search`, awaited on any loop."""
        return [
            Thread(found["thread"]) for found in await self._ado("search", {"text": text, "limit": limit})
        ]

    def messages(self, id: str, *, first: int = 0, limit: int = 1000) -> _Messages:
        """Messages of a thread from this number on."""
        return _said(self._do("messages", {"id": id, "from": first, "limit": limit}))

    async def amessages(self, id: str, *, first: int = 0, limit: int = 1000) -> _Messages:
        """Like :meth:`messages`, awaited on any loop."""
        return _said(await self._ado("messages", {"id": id, "from": first, "limit": limit}))

    def append(self, id: str, messages: Any) -> Thread:
        """Puts messages at its end, by hand."""
        return Thread(self._do("append", {"id": id, "messages": _plain_messages(messages)}))

    async def aappend(self, id: str, messages: Any) -> Thread:
        """Like :meth:`append`, awaited on any loop."""
        return Thread(await self._ado("append", {"id": id, "messages": _plain_messages(messages)}))

    def rename(self, id: str, title: str) -> Thread:
        return Thread(self._do("rename", {"id": id, "title": title}))

    async def arename(self, id: str, title: str) -> Thread:
        return Thread(await self._ado("rename", {"id": id, "title": title}))

    def fork(self, id: str, at: int | None = None, *, new: str | None = None) -> Thread:
        """A new thread that shares the first ``at`` messages of another; all, where it is not given."""
        return Thread(self._do("fork_thread", {"id": id, "messages": at, **_options(new)}))

    async def afork(self, id: str, at: int | None = None, *, new: str | None = None) -> Thread:
        """Like :meth:`fork`, awaited on any loop."""
        return Thread(await self._ado("fork_thread", {"id": id, "messages": at, **_options(new)}))

    def edit(self, id: str, number: int, message: Any, *, new: str | None = None) -> Thread:
        """A new thread that shares the messages before this one, and has another in its place. The old one stays."""
        return Thread(self._do("edit", _edit(id, number, message, new)))

    async def aedit(self, id: str, number: int, message: Any, *, new: str | None = None) -> Thread:
        """Like :meth:`edit`, awaited on any loop."""
        return Thread(await self._ado("edit", _edit(id, number, message, new)))

    def compact(self, id: str, agent: Agent[Any], *, keep: int = 6) -> Thread:
        """Has an agent's model summarise all but about the last ``keep`` messages; the messages stay."""
        number("compact()", "keep", keep, least=0, whole=True)
        return Thread(agent._core.compact(self._core, id, keep))

    async def acompact(self, id: str, agent: Agent[Any], *, keep: int = 6) -> Thread:
        """Like :meth:`compact`, awaited on any loop."""
        number("compact()", "keep", keep, least=0, whole=True)
        return Thread(await _bridge.awaited(agent._core.acompact, self._core, id, keep))

    def expand(self, id: str) -> Thread:
        """Takes the summary away: runs begin with all messages again."""
        return Thread(self._do("expand", {"id": id}))

    async def aexpand(self, id: str) -> Thread:
        return Thread(await self._ado("expand", {"id": id}))

    def export(self, id: str) -> dict[str, Any]:
        """A whole thread as plain data, for :meth:`import_`."""
        exported: dict[str, Any] = self._do("export", {"id": id})
        return exported

    async def aexport(self, id: str) -> dict[str, Any]:
        """Like :meth:`export`, awaited on any loop."""
        exported: dict[str, Any] = await self._ado("export", {"id": id})
        return exported

    def import_(self, exported: Mapping[str, Any], id: str | None = None) -> Thread:
        """Makes a thread of what was exported, under its id or another one."""
        return Thread(self._do("import", {"file": dict(exported), "id": id}))

    async def aimport(self, exported: Mapping[str, Any], id: str | None = None) -> Thread:
        """Like :meth:`import_`, awaited on any loop."""
        return Thread(await self._ado("import", {"file": dict(exported), "id": id}))

    def stop(self, id: str) -> bool:
        """Ends the run that has the thread, wherever it is driven. False where none has it."""
        return bool(self._do("stop", {"id": id}))

    async def astop(self, id: str) -> bool:
        return bool(await self._ado("stop", {"id": id}))

    def delete(self, id: str) -> None:
        """Forgets it. What forks share with it lives on in them."""
        self._do("delete_thread", {"id": id})

    async def adelete(self, id: str) -> None:
        """Like :meth:`delete`, awaited on any loop."""
        await self._ado("delete_thread", {"id": id})


class Sessions(_Talk):
    """The sessions of a store: named containers of threads, and of state."""

    __slots__ = ()

    def create(self, id: str | None = None, state: Any = None, *, ttl: float | None = None) -> Session:
        """A new session, kept for ``ttl`` seconds after its last change, or for ever."""
        return Session(self._do("create_session", _session(id, state, ttl)))

    async def acreate(self, id: str | None = None, state: Any = None, *, ttl: float | None = None) -> Session:
        """Like :meth:`create`, awaited on any loop."""
        return Session(await self._ado("create_session", _session(id, state, ttl)))

    def load(self, id: str) -> Session:
        return Session(self._do("session", {"id": id}))

    async def aload(self, id: str) -> Session:
        return Session(await self._ado("session", {"id": id}))

    def list(self, *, limit: int = 50, cursor: str | None = None) -> Page:
        """Sessions, last changed first; ``cursor`` is ``next`` of the page before."""
        return Page(self._do("sessions", {"limit": limit, "cursor": cursor}), Session)

    async def alist(self, *, limit: int = 50, cursor: str | None = None) -> Page:
        """Like :meth:`list`, awaited on any loop."""
        return Page(await self._ado("sessions", {"limit": limit, "cursor": cursor}), Session)

    def save(self, session: Session | str, state: Any) -> Session:
        """Gives it another state. Of a ``Session``, only where nobody has changed it since it was loaded: else the
        error's code is ``conflict``. Of an id, whatever it is."""
        return Session(self._do("save", _saved(session, state)))

    async def asave(self, session: Session | str, state: Any) -> Session:
        """Like :meth:`save`, awaited on any loop."""
        return Session(await self._ado("save", _saved(session, state)))

    def delete(self, id: str) -> None:
        """Forgets it with its threads."""
        self._do("delete_session", {"id": id})

    async def adelete(self, id: str) -> None:
        """Like :meth:`delete`, awaited on any loop."""
        await self._ado("delete_session", {"id": id})


class Page(list[Any]):
    """A page of a listing. ``next`` is where the one behind it begins; None after the last."""

    __slots__ = ("next",)

    def __init__(self, answer: Mapping[str, Any], kind: Any) -> None:
        super().__init__(map(kind, answer["items"]))
        self.next: str | None = answer["next"]


def _options(
    id: str | None = None,
    title: str = "",
    session: str | None = None,
    ttl: float | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    plain = None if metadata is None else _plain("metadata", dict(metadata))
    options = {"id": id, "title": title, "session": session, "ttl": _seconds(ttl), "metadata": plain}
    return {"options": options}


def _seconds(ttl: float | None) -> float | None:
    number("create()", "ttl", ttl, least=0)
    return None if ttl is None else float(ttl)


def _query(session: Any, agent: Any, limit: int, cursor: Any) -> dict[str, Any]:
    number("threads.list()", "limit", limit, least=1, whole=True)
    return {"session": session, "agent": agent, "limit": limit, "cursor": cursor}


def _edit(id: str, number_: int, message: Any, new: str | None) -> dict[str, Any]:
    number("edit()", "number", number_, least=0, whole=True)
    [plain] = _plain_messages(message)
    return {"id": id, "number": number_, "message": plain, **_options(new)}


def _plain_messages(given: Any) -> _Plain:
    plain = plain_input([given] if isinstance(given, str) else given)
    return plain if isinstance(plain, list) else [plain]


_Plain = list[dict[str, Any]]


def _said(found: Any) -> _Messages:
    return of_plain([one["message"] for one in found])


def _session(id: str | None, state: Any, ttl: float | None) -> dict[str, Any]:
    return {"id": id, "state": {} if state is None else _plain("state", state), "ttl": _seconds(ttl)}


def _saved(session: Any, state: Any) -> dict[str, Any]:
    known = isinstance(session, Session)
    version = session.version if known else None
    return {"id": session.id if known else session, "version": version, "state": _plain("state", state)}


def _plain(what: str, value: Any) -> Any:
    try:
        return to_json(value)
    except Unwritable as problem:
        place = problem.place().removeprefix("result")
        raise UsageError(f"{what}{place} cannot be kept: {problem.problem}") from None
