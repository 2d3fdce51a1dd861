"""A model that fails on demand: on the nth call, in a certain way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Union

from ..errors import UsageError
from ..messages import ToolCall
from ..model import Model
from .observer import ModelCall, ObservedModel, Observer, Plan

if TYPE_CHECKING:
    from os import PathLike

__all__ = ["Fault", "FaultModel"]

#: Errors of a provider, or of the way to it: what a call ends with.
ERRORS: dict[str, tuple[bool, int | None, str]] = {
    "rate_limited": (True, 429, "the provider limits the rate of requests"),
    "overloaded": (True, 529, "the provider is overloaded"),
    "provider_error": (True, 500, "the provider failed"),
    "connect_failed": (True, None, "the provider could not be reached"),
    "bad_upstream": (True, None, "the provider's answer is not what its interface says"),
    "stream_truncated": (True, None, "the answer ended before its terminal event"),
    "idle_timeout": (True, None, "the answer stood still longer than the idle limit"),
    "timeout": (True, None, "the call took longer than its limit"),
    "quota_exhausted": (False, 429, "the account has no credit left"),
    "unauthorized": (False, 401, "the key is missing or wrong"),
    "forbidden": (False, 403, "the key may not do this"),
    "not_found": (False, 404, "there is no such model"),
    "invalid_request": (False, 400, "the provider refused the request"),
    "context_too_long": (False, 400, "the prompt is longer than the model's context"),
    "content_filter": (False, None, "the provider's content filter stopped the answer"),
}
#: Replies that come whole and are wrong.
REPLIES: dict[str, str] = {
    "broken_arguments": "calls a tool with arguments that are not JSON",
    "wrong_arguments": "calls a tool with arguments that do not match its schema",
    "unknown_tool": "calls a tool that does not exist",
    "cut_arguments": "is cut by the token limit in the middle of a call",
    "empty_reply": "says nothing",
}
SILENCE = "silence"
"""The answer falls silent and stays so until it is given up."""

_MEANT = {
    "rate_limit": "rate_limited",
    "ratelimit": "rate_limited",
    "429": "rate_limited",
    "truncated": "stream_truncated",
    "truncated_stream": "stream_truncated",
    "idle": SILENCE,
    "hang": SILENCE,
    "invalid_json": "broken_arguments",
    "bad_json": "broken_arguments",
    "empty": "empty_reply",
}


class Fault:
    """One thing that goes wrong.

    `kind` is an error code (`rate_limited`, `overloaded`, `provider_error`, `connect_failed`, `stream_truncated`,
    `timeout`, `unauthorized`, `context_too_long`...), `silence`, or a reply that is whole and wrong:
    `broken_arguments`, `wrong_arguments`, `unknown_tool`, `cut_arguments`, `empty_reply`.

    Errors and silence come `after` so many pieces of the answer; `retry_after` (seconds), `status` (HTTP) and
    `message` stand in place of what is usual.
    """

    __slots__ = ("after", "kind", "message", "retry_after", "status")

    def __init__(
        self,
        kind: str,
        *,
        after: int = 0,
        message: str | None = None,
        retry_after: float | None = None,
        status: int | None = None,
    ) -> None:
        if kind not in ERRORS and kind not in REPLIES and kind != SILENCE:
            known = [*ERRORS, SILENCE, *REPLIES]
            near = _MEANT.get(kind) or next(iter(get_close_matches(str(kind), known, n=1)), None)
            hint = f"; did you mean {near!r}?" if near else "."
            raise UsageError(f"there is no fault {kind!r}{hint} There are {', '.join(known)}.")
        if after < 0:
            raise UsageError(f"a fault comes after {after} pieces; give 0 or more")
        if kind in REPLIES and (after or message or retry_after or status):
            raise UsageError(
                f"{kind!r} is a whole reply; it takes no `after`, `message`, `retry_after` or `status`"
            )
        self.kind = kind
        self.after = after
        self.message = message
        self.retry_after = retry_after
        self.status = status

    def breach(self) -> Plan:
        """As the core breaks an answer off."""
        if self.kind == SILENCE:
            return {"after": self.after}
        retryable, status, meaning = ERRORS[self.kind]
        error: dict[str, Any] = {
            "code": self.kind,
            "message": self.message or f"a fault of the test: {meaning}",
            "retryable": retryable,
            "provider": "test",
        }
        if self.status is not None or (status is not None and not self.after):
            error["status"] = self.status or status
        if self.retry_after is not None:
            error["retry_after_ms"] = round(self.retry_after * 1000)
        return {"after": self.after, "error": error}

    def __repr__(self) -> str:
        options = [
            f"{name}={getattr(self, name)!r}"
            for name in self.__slots__
            if name != "kind" and getattr(self, name)
        ]
        return f"Fault({', '.join([repr(self.kind), *sorted(options)])})"


AnyFault = Union[str, Fault]  # noqa: UP007 -- evaluated here


class FaultModel(ObservedModel):
    """A model of which certain calls go wrong::

        model = FaultModel(["Hello."], {1: "rate_limited", 2: Fault("stream_truncated", after=2)})
        agent = ax.Agent("greeter", model=ax.fallback(model, retry={"attempts": 3, "base": 0}))
        assert agent.run("hi").text == "Hello."
        assert [call.error and call.error.code for call in model.calls] == ["rate_limited", "stream_truncated", None]

    The first argument is a model, or a script as for `ScriptedModel`. `faults` says by number, counted from 1 over
    all runs, what happens to which call: a `Fault`, or its kind. `always` happens to every call that has no fault of
    its own. A call with a fault answers nothing of its script: the next call gets the turn.
    """

    __slots__ = ()

    def __init__(
        self,
        model: Model | str | PathLike[str] | Iterable[Any],
        faults: Mapping[int, AnyFault] | Sequence[AnyFault | None] = (),
        *,
        always: AnyFault | None = None,
    ) -> None:
        by_number = _numbered(faults)
        if isinstance(model, Model):
            inner = model
        else:
            from .scripted import ScriptedModel

            script = _with_gaps(model, by_number) if isinstance(model, (list, tuple)) else model
            inner = ScriptedModel(script)
        super().__init__(inner, _Faulty(by_number, None if always is None else _fault(always)))


def _fault(given: AnyFault) -> Fault:
    return given if isinstance(given, Fault) else Fault(given)


def _numbered(faults: Mapping[int, AnyFault] | Sequence[AnyFault | None]) -> dict[int, Fault]:
    if isinstance(faults, (str, Fault)):
        raise UsageError(f"say on which call: FaultModel(..., {{1: {faults!r}}})")
    pairs = faults.items() if isinstance(faults, Mapping) else enumerate(faults, 1)
    numbered = {}
    for number, fault in pairs:
        if type(number) is not int or number < 1:
            raise UsageError(f"calls are counted from 1; there is no call {number!r}")
        if fault is not None:
            numbered[number] = _fault(fault)
    return numbered


def _with_gaps(turns: Iterable[Any], faults: Mapping[int, Fault]) -> list[Any]:
    """The script with a turn that nobody hears for each wrong reply, which is a turn of the conversation, too."""
    script = list(turns)
    before = 0
    for number in sorted(faults):
        if faults[number].kind in REPLIES and faults[number].kind != "empty_reply":
            script.insert(number - 1 - before, "")
        else:
            before += 1  # what fails or says nothing leaves the conversation as it was
    return script


class _Faulty(Observer):
    def __init__(self, faults: dict[int, Fault], always: Fault | None) -> None:
        super().__init__()
        self.faults = faults
        self.always = always

    def plan(self, call: ModelCall) -> Plan | None:
        fault = self.faults.get(call.number, self.always)
        if fault is None:
            return None
        if fault.kind in REPLIES:
            return {"chunks": _wrong_reply(fault.kind, call)}
        return {"breach": fault.breach()}


def _wrong_reply(kind: str, call: ModelCall) -> list[dict[str, Any]]:
    if kind == "empty_reply":
        return [{"end": "stop"}]
    tools = call.request.tools
    if not tools:
        raise UsageError(f"the fault {kind!r} calls a tool, and call {call.number} was offered none")
    name = tools[0]["name"]
    arguments = {
        "broken_arguments": '{"not": JSON',
        "wrong_arguments": '{"no_such_argument": true}',
        "unknown_tool": "{}",
        "cut_arguments": '{"cut": "he',
    }[kind]
    chosen = ToolCall(
        f"no_such_{name}" if kind == "unknown_tool" else name, arguments, id=f"fault_{call.number}"
    )
    return [
        {"tool_call": {"part": 0, "id": chosen.id, "name": chosen.name}},
        {"arguments": {"part": 0, "text": arguments}},
        {"end": "length" if kind == "cut_arguments" else "tool_calls"},
    ]
