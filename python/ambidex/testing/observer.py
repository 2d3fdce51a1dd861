"""Models that remember what they were asked and what they said."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

from .. import _core
from ..errors import AmbidexError, of_code
from ..messages import Message, ToolCall
from ..model import Model

if TYPE_CHECKING:
    from .._core import Request

__all__ = ["ModelCall", "ObservedModel", "Observer"]

Chunk = dict[str, Any]
"""A piece of a reply as plain data: one member, named for its kind."""
Plan = dict[str, Any]
"""What shall happen to a call: `chunks` answers in the model's place, `breach` breaks the answer off."""


class ModelCall:
    """One call of a model: what it was asked, and how it ended."""

    __slots__ = ("chunks", "error", "finished", "number", "request")

    def __init__(self, number: int, request: Request) -> None:
        #: Counted from 1, over all runs.
        self.number = number
        self.request = request
        #: The pieces of the reply, as plain data.
        self.chunks: list[Chunk] = []
        #: Why it failed; None where it did not.
        self.error: AmbidexError | None = None
        #: Whether it came to an end; a call that was cancelled did not.
        self.finished = False

    @property
    def messages(self) -> list[Message]:
        """The conversation it was given."""
        found: list[Message] = self.request.messages
        return found

    @property
    def tools(self) -> list[str]:
        """The names of the tools it was offered."""
        return [tool["name"] for tool in self.request.tools]

    @property
    def text(self) -> str:
        """The words of the reply."""
        return "".join(piece["text"]["text"] for piece in self.chunks if "text" in piece)

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The calls of tools that the reply asked for."""
        begun: dict[int, dict[str, Any]] = {}
        written: dict[int, str] = {}
        for piece in self.chunks:
            if "tool_call" in piece:
                begun[piece["tool_call"]["part"]] = piece["tool_call"]
            elif "arguments" in piece:
                part = piece["arguments"]["part"]
                written[part] = written.get(part, "") + piece["arguments"]["text"]
        return [_tool_call(call, written.get(part, "")) for part, call in begun.items()]

    def __repr__(self) -> str:
        if self.error is not None:
            end = f"failed: {self.error.code}"
        elif not self.finished:
            end = "not finished"
        elif calls := self.tool_calls:
            end = f"called {', '.join(call.name for call in calls)}"
        else:
            end = f"said {self.text!r}"
        return f"<ModelCall {self.number}: {len(self.messages)} messages, {end}>"


def _tool_call(call: dict[str, Any], text: str) -> ToolCall:
    try:
        return ToolCall(call["name"], json.loads(text or "{}"), id=call["id"])
    except ValueError as error:
        return ToolCall(call["name"], text, id=call["id"], invalid=str(error))


class Observer:
    """What the core tells of each call. Called on any thread."""

    def __init__(self) -> None:
        self.calls: list[ModelCall] = []
        self._lock = threading.Lock()

    def asked(self, request: Request, provider: str) -> tuple[ModelCall, Plan | None]:
        with self._lock:
            call = ModelCall(len(self.calls) + 1, request)
            self.calls.append(call)
        return call, self.plan(call)

    def plan(self, call: ModelCall) -> Plan | None:
        """What shall happen to a call; none lets it happen."""
        return None

    def answered(self, call: ModelCall, chunks: list[Chunk], error: dict[str, Any] | None) -> None:
        call.chunks = chunks
        if error is not None:
            call.error = of_code(error["code"])(
                error["message"], code=error["code"], retryable=error["retryable"], status=error.get("status")
            )
        call.finished = True
        self.ended(call, error)

    def ended(self, call: ModelCall, error: dict[str, Any] | None) -> None:
        """A call has come to its end."""


class ObservedModel(Model):
    """A model around another that keeps its calls."""

    __slots__ = ("_observer",)

    _observer: Observer

    def __init__(self, inner: Model, observer: Observer) -> None:
        self._observer = observer
        self._core = _core.Model.observed(inner._core, observer)
        self._config = None

    @property
    def calls(self) -> list[ModelCall]:
        """All calls so far, in the order in which they began."""
        return list(self._observer.calls)

    @property
    def requests(self) -> list[Request]:
        """What it was asked."""
        return [call.request for call in self._observer.calls]

    @property
    def last(self) -> ModelCall:
        """The latest call. Raises `AssertionError` where there was none."""
        if not self._observer.calls:
            raise AssertionError(f"the model {self.name!r} was not asked")
        return self._observer.calls[-1]

    def assert_asked(self, times: int) -> None:
        """Raises `AssertionError` unless it was asked so often, and shows what it was asked."""
        calls = self._observer.calls
        if len(calls) != times:
            lines = [f"  {call!r}" for call in calls] or ["  it was not asked"]
            raise AssertionError(
                f"the model {self.name!r} was to be asked {times} times, and was asked {len(calls)} times:\n"
                + "\n".join(lines)
            )

    def forget(self) -> None:
        """Forgets its calls, and counts from 1 again."""
        self._observer.calls.clear()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}, asked {len(self._observer.calls)} times>"
