"""From what a tool returns to what JSON can hold."""

from __future__ import annotations

import sys
from typing import Any

from .arguments import written_duration
from .records import is_enum, is_flag

_DEEPEST = 64
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1


class Unwritable(Exception):
    """A value that JSON cannot hold. `path` is written from the inside out."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.path: list[str] = []

    def within(self, step: str) -> Unwritable:
        self.path.append(step)
        return self

    def place(self) -> str:
        return "result" + "".join(reversed(self.path))


def to_json(value: Any, depth: int = 0) -> Any:
    """The value as dicts, lists, text, numbers, booleans and None.

    Dataclasses, NamedTuples, attrs classes and Pydantic models become objects; dates, UUIDs, paths and
    decimals text; enums their values; bytes base64. Raises `Unwritable`.
    """
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value
    if kind is int:
        return value if _SMALLEST <= value <= _LARGEST else str(value)
    if kind is float:
        return value if value - value == 0 else str(value)  # JSON knows neither infinity nor NaN
    if depth > _DEEPEST:
        raise Unwritable(f"it is nested more than {_DEEPEST} deep, or contains itself")
    if kind is list or kind is tuple:
        return _list(value, depth)
    if kind is dict:
        return _dict(value, depth)
    return _other(value, depth)


def _list(value: Any, depth: int) -> list[Any]:
    entries = []
    for entry in value:
        try:
            entries.append(to_json(entry, depth + 1))
        except Unwritable as problem:
            raise problem.within(f"[{len(entries)}]") from None
    return entries


def _dict(value: Any, depth: int) -> dict[str, Any]:
    members = {}
    for key, entry in value.items():
        try:
            members[key if type(key) is str else _key(key)] = to_json(entry, depth + 1)
        except Unwritable as problem:
            raise problem.within(f"[{key!r}]") from None
    return members


def _key(key: Any) -> str:
    plain = to_json(key, _DEEPEST)
    if isinstance(plain, bool):
        return "true" if plain else "false"
    if plain is None:
        return "null"
    if isinstance(plain, (str, int, float)):
        return str(plain)
    raise Unwritable(f"a key is `{_named(key)}`, which is not text")


def _members(names: Any, value: Any, depth: int) -> dict[str, Any]:
    members = {}
    for name in names:
        try:
            members[name] = to_json(getattr(value, name), depth + 1)
        except Unwritable as problem:
            raise problem.within(f".{name}") from None
    return members


def _other(value: Any, depth: int) -> Any:
    kind: Any = type(value)
    known: Any = value
    if is_enum(kind):
        return int(value.value) if is_flag(kind) else to_json(_enum_value(value), depth + 1)
    if hasattr(kind, "model_dump"):
        return to_json(value.model_dump(mode="json"), depth + 1)
    if hasattr(kind, "__dataclass_fields__"):
        return _members(kind.__dataclass_fields__, value, depth)
    if isinstance(value, tuple) and hasattr(kind, "_fields"):
        return _members(kind._fields, value, depth)
    if hasattr(kind, "__attrs_attrs__"):
        return _members([field.name for field in kind.__attrs_attrs__], value, depth)
    for base in kind.__mro__:
        write = _WRITERS.get((base.__module__, base.__qualname__))
        if write is not None:
            return write(value, depth)
    if hasattr(kind, "tolist") and hasattr(kind, "dtype"):  # numpy, and what looks like it
        return to_json(known.tolist(), depth + 1)
    abstract = sys.modules["collections.abc"]
    if isinstance(value, abstract.Mapping):
        return _dict(value, depth)
    if isinstance(value, (abstract.Sequence, abstract.Set, abstract.ValuesView, abstract.KeysView)):
        return _list(value, depth)
    raise Unwritable(f"`{_named(value)}` has no JSON form")


def _enum_value(member: Any) -> Any:
    """As the schema offers it: the value where it is plain, else the name."""
    plain = isinstance(member, (str, int)) or type(member.value) in (str, int, float, bool, type(None))
    return getattr(member, "value" if plain else "name")


def _text(value: Any, depth: int) -> str:
    return str.__str__(value) if isinstance(value, str) else str(value)


def _iso(value: Any, depth: int) -> str:
    return str(value.isoformat())


def _bytes(value: Any, depth: int) -> str:
    import base64

    return base64.b64encode(value).decode("ascii")


_WRITERS: dict[tuple[str, str], Any] = {
    ("builtins", "str"): _text,
    ("builtins", "int"): lambda value, depth: to_json(int(value), depth),
    ("builtins", "float"): lambda value, depth: to_json(float(value), depth),
    ("builtins", "list"): _list,
    ("builtins", "tuple"): _list,
    ("builtins", "set"): _list,
    ("builtins", "frozenset"): _list,
    ("builtins", "dict"): _dict,
    ("builtins", "bytes"): _bytes,
    ("builtins", "bytearray"): _bytes,
    ("builtins", "memoryview"): _bytes,
    ("collections", "deque"): _list,
    ("datetime", "date"): _iso,
    ("datetime", "time"): _iso,
    ("datetime", "timedelta"): lambda value, depth: written_duration(value),
    ("uuid", "UUID"): _text,
    ("decimal", "Decimal"): _text,
    ("fractions", "Fraction"): _text,
    ("pathlib", "PurePath"): _text,
    ("pathlib._local", "PurePath"): _text,
    ("ipaddress", "_BaseAddress"): _text,
    ("ipaddress", "_BaseNetwork"): _text,
    ("re", "Pattern"): lambda value, depth: value.pattern,
}


def _named(value: object) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
