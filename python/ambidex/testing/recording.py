"""Calls of a model, kept in a file and played back without it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from os import PathLike
from typing import TYPE_CHECKING, Any

from .. import _core, models
from ..errors import ModelError, UsageError
from ..model import Model, as_model
from .difference import differences
from .observer import ModelCall, ObservedModel, Observer, Plan

if TYPE_CHECKING:
    from .._core import Request

__all__ = ["ReplayError", "record", "replay"]

VERSION = 1

Match = Callable[[dict[str, Any]], Any]


class ReplayError(ModelError):
    """A call that was not recorded; the message says where it differs from what was."""

    default_code = "invalid_request"


def record(path: str | PathLike[str], model: Model | str) -> ObservedModel:
    """The model, whose calls are written into a file of JSON as they end.

    The file is begun anew and holds requests and replies, failed ones too. It holds no keys; it does hold what people
    and tools said. A call that is cancelled is not recorded.
    """
    inner = as_model(model, "ax.testing.record")
    return ObservedModel(inner, _Recorder(os.fspath(path), inner.name))


def replay(path: str | PathLike[str], *, match: Match | None = None) -> ObservedModel:
    """A model that answers as it was recorded: no key, no network.

    The file is one that `record` wrote, or the recording of a whole run (`ambidex runs export RUN FILE`), of which all
    calls of models are taken.

    A request is answered by a call that was recorded with the same request, each at most once, in the order of the
    recording. One that was not recorded fails with `ReplayError`, which says what differs. `match` is given a request
    as plain data (`instructions`, `messages`, `tools`, `tool_choice`, `output_schema`, `settings`) and gives what of
    it is compared; take out what changes from run to run.
    """
    path = os.fspath(path)
    recording = _read(path)
    inner = models.scripted([], default="", name=recording["model"])
    return ObservedModel(inner, _Player(path, recording["calls"], match))


def plain_request(request: Request) -> dict[str, Any]:
    """A request as a recording holds it."""
    return {
        "instructions": request.instructions,
        "messages": [message.to_dict() for message in request.messages],
        "tools": request.tools,
        "tool_choice": request.tool_choice,
        "output_schema": request.output_schema,
        "settings": request.settings,
    }


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        if text.startswith('{"ambidex_run"'):
            return _of_run(path)
        recording = json.loads(text)
    except FileNotFoundError:
        raise UsageError(
            f"there is no recording {path!r}; make one with ax.testing.record({path!r}, model), or with"
            " `pytest --ambidex-record=new` where the fixture `recording` is used"
        ) from None
    except ValueError as error:
        raise UsageError(f"the recording {path!r} is not JSON: {error}; record it anew") from error
    if not isinstance(recording, dict) or not isinstance(recording.get("calls"), list):
        raise UsageError(f"{path!r} is no recording of calls of a model; record it anew")
    if recording.get("version") != VERSION:
        raise UsageError(
            f"the recording {path!r} has the version {recording.get('version')!r}, and {VERSION} is read; record it"
            " anew"
        )
    return recording


def _of_run(path: str) -> dict[str, Any]:
    """The calls of models in the recording of a run."""
    model, recorded = _core.recorded_calls(path)
    calls = []
    for request, chunks, error in recorded:
        # As it would have been read from a file.
        entry = {"request": json.loads(json.dumps(plain_request(request))), "chunks": chunks}
        if error is not None:
            entry["error"] = error
        calls.append(entry)
    return {"version": VERSION, "model": model or "recorded", "calls": calls}


class _Recorder(Observer):
    def __init__(self, path: str, name: str) -> None:
        super().__init__()
        self.path = path
        self.recording: dict[str, Any] = {"version": VERSION, "model": name, "calls": []}
        self.ended_calls: dict[int, dict[str, Any]] = {}
        self.write()

    def ended(self, call: ModelCall, error: dict[str, Any] | None) -> None:
        entry: dict[str, Any] = {"request": plain_request(call.request), "chunks": call.chunks}
        if error is not None:
            entry["error"] = error
        with self._lock:
            self.ended_calls[call.number] = entry
            self.recording["calls"] = [self.ended_calls[number] for number in sorted(self.ended_calls)]
            self.write()

    def write(self) -> None:
        """All of it, into its place at once: whoever reads it never sees half."""
        folder = os.path.dirname(self.path)
        if folder:
            os.makedirs(folder, exist_ok=True)
        beside = f"{self.path}.{os.getpid()}.part"
        with open(beside, "w", encoding="utf-8") as file:
            file.write(_written(self.recording))
        os.replace(beside, self.path)


class _Player(Observer):
    def __init__(self, path: str, recorded: list[dict[str, Any]], match: Match | None) -> None:
        super().__init__()
        self.path = path
        self.recorded = recorded
        self.match = match or _whole
        self.keys = [self.match(entry["request"]) for entry in recorded]
        self.used = [False] * len(recorded)

    def plan(self, call: ModelCall) -> Plan | None:
        request = json.loads(json.dumps(plain_request(call.request)))
        key = self.match(request)
        with self._lock:
            found = next((at for at, used in enumerate(self.used) if not used and self.keys[at] == key), None)
            if found is None:
                raise ReplayError(self.unknown(call, key))
            self.used[found] = True
        entry = self.recorded[found]
        plan: Plan = {"chunks": entry["chunks"]}
        if "error" in entry:
            plan["breach"] = {"after": 2**32 - 1, "error": entry["error"]}
        return plan

    def unknown(self, call: ModelCall, key: Any) -> str:
        where = f"call {call.number} of the model was not recorded in {self.path!r}"
        again = "record it anew, or leave out what changes with `match`"
        unused = [at for at, used in enumerate(self.used) if not used]
        if key in self.keys:
            times = self.keys.count(key)
            often = "once" if times == 1 else f"{times} times"
            return f"{where} so often: the same request was recorded {often}; {again}"
        if not self.recorded:
            return f"{where}, which is empty; record it anew"
        if not unused:
            return f"{where}: all of its {len(self.recorded)} calls were played; {again}"
        lines = min((differences(self.keys[at], key) for at in unused), key=len)
        return f"{where}. It differs from the nearest recorded one in\n  " + "\n  ".join(lines) + f"\n{again}"


def _written(recording: dict[str, Any]) -> str:
    """JSON to be read in a difference of versions: a line for each member of a request, and for each piece."""

    def line(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False)

    calls = []
    for entry in recording["calls"]:
        members = [f"    {line(name)}: {line(value)}" for name, value in entry["request"].items()]
        parts = ['   "request": {\n' + ",\n".join(members) + "\n   }"]
        pieces = ",\n".join(f"    {line(piece)}" for piece in entry["chunks"])
        parts.append(f'   "chunks": [\n{pieces}\n   ]' if pieces else '   "chunks": []')
        if "error" in entry:
            parts.append(f'   "error": {line(entry["error"])}')
        calls.append("  {\n" + ",\n".join(parts) + "\n  }")
    head = f' "version": {recording["version"]},\n "model": {line(recording["model"])},\n "calls": ['
    return "{\n" + head + ("\n" + ",\n".join(calls) + "\n ]" if calls else "]") + "\n}\n"


def _whole(request: dict[str, Any]) -> Any:
    return request
