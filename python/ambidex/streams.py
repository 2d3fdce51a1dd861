"""Streams of events: a run, or one call of a model, as it happens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any, Generic, NoReturn

from . import _bridge
from .errors import UsageError

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self, TypeVar

    from . import _core
    from ._core import Event

    R_co = TypeVar("R_co", covariant=True, default=Any)
else:
    from typing import TypeVar

    R_co = TypeVar("R_co", covariant=True)

__all__ = ["Stream"]


class Stream(Generic[R_co]):
    """Events as they happen: ``for event in agent.stream(...)``, ``async for event in agent.astream(...)``.

    Nothing begins before it is read. It is read once, by one reader; ``break`` ends the run (and hangs up on its
    model), and so do ``close()``, leaving a ``with`` block, and dropping the last reference. A run that fails
    raises after its last event. ``stream.result`` is what the run came to, once the stream has ended.
    """

    __slots__ = ("__weakref__", "_core", "_cursor", "_door", "_owner", "_wrap")

    def __init__(
        self,
        core: _core.EventStream,
        door: str,
        wrap: Callable[[Any], R_co],
        owner: Any = None,
    ) -> None:
        self._core = core
        self._door = door
        self._wrap = wrap
        # Kept alive with the stream: the run calls its tools.
        self._owner = owner
        self._cursor: Any = None

    def _begin(self, wanted: str, other: str) -> None:
        if self._door != wanted:
            raise UsageError(
                f"this stream was made by {self._door}(), which is read with `{other}`; "
                f"use {wanted}() for the other kind of loop"
            )
        if self._cursor is not None:
            raise UsageError(
                "this stream is being read or was read already, and events come once; keep them in a list, hand "
                f"them on with a queue, or call {wanted}() again"
            )

    def __iter__(self) -> Iterator[Event]:
        self._begin("stream", "async for")
        self._cursor = ()
        return _Cursor(self._core)

    def __next__(self) -> Event:
        if not isinstance(self._cursor, _Cursor):
            self._begin("stream", "async for")
            self._cursor = _Cursor(self._core)
        event: Event = next(self._cursor)
        return event

    def __aiter__(self) -> AsyncIterator[Event]:
        self._begin("astream", "for")
        self._cursor = ()
        return _AsyncCursor(self._core)

    async def __anext__(self) -> Event:
        if not isinstance(self._cursor, _AsyncCursor):
            self._begin("astream", "for")
            self._cursor = _AsyncCursor(self._core)
        event: Event = await self._cursor.__anext__()
        return event

    @property
    def result(self) -> R_co:
        """What it came to: the run's result (of a call of a model: the reply). Known once the stream has ended."""
        end = self._core.end()
        if end is None:
            raise UsageError(
                "the stream has no result: it was not read to its end, was closed, or its run failed"
            )
        return self._wrap(end)

    def close(self) -> None:
        """Ends the run and waits until it has stopped. Twice is once."""
        self._core.close()

    async def aclose(self) -> None:
        """Like :meth:`close`, awaited."""
        await _bridge.awaited(self._core.aclose, _home())

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
        await self.aclose()

    def __reduce__(self) -> NoReturn:
        raise UsageError(
            "a stream cannot be pickled; send its events (event.to_dict()), or its result's to_dict()"
        )

    def __repr__(self) -> str:
        return f"<Stream of {self._door}()>"

    def _ipython_display_(self) -> None:
        from ._jupyter import show_stream

        show_stream(self)


class _Cursor:
    """Reads a stream in a thread. Dropped, it ends the run."""

    __slots__ = ("_core", "_ready")

    def __init__(self, core: _core.EventStream) -> None:
        self._core = core
        #: The newest first.
        self._ready: list[Event] = []

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        if self._ready:
            return self._ready.pop()
        events = self._core.read()
        if events is None:
            raise StopIteration
        events.reverse()
        self._ready = events
        return events.pop()

    def __del__(self) -> None:
        self._core.cancel()


class _AsyncCursor:
    """Reads a stream in a task. Dropped, it ends the run."""

    __slots__ = ("_core", "_home", "_ready")

    def __init__(self, core: _core.EventStream) -> None:
        self._core = core
        self._home: Any = None
        #: The newest first.
        self._ready: list[Event] = []

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        if self._ready:
            return self._ready.pop()
        if self._home is None:
            self._home = _home()
        events: list[Event] | None = await _bridge.awaited(self._core.aread, self._home)
        if events is None:
            raise StopAsyncIteration
        events.reverse()
        self._ready = events
        return events.pop()

    def __del__(self) -> None:
        self._core.cancel()


def _home() -> Any:
    """What reaches the loop that runs here, where that is not asyncio's."""
    if _bridge._in_trio():
        from ._trio import TrioCall

        return TrioCall()
    return None
