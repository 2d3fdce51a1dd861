"""From JSON values to the types that a function's hints name.

Each maker here gives a converter: a function from a JSON value to the wanted type that raises `Mismatch`
where the value does not fit. Converters are made once per function, never per call.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Convert = Callable[[Any], Any]


class Mismatch(Exception):
    """A value does not fit its type. `path` is written from the inside out."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.path: list[str | int] = []

    def within(self, step: str | int) -> Mismatch:
        self.path.append(step)
        return self

    def place(self) -> str:
        """Where it is, as Python would write it: `filters[2].name`; empty for the value itself."""
        text = ""
        for step in reversed(self.path):
            if isinstance(step, int):
                text += f"[{step}]"
            else:
                text += f".{step}" if text else step
        return text


def expected(what: str, found: object) -> Mismatch:
    return Mismatch(f"expected {what}, found {quoted(found)}")


def quoted(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def anything(value: Any) -> Any:
    return value


def text(value: Any) -> str:
    if type(value) is str or isinstance(value, str):
        return value
    raise expected("text", value)


def integer(value: Any) -> int:
    if type(value) is int:
        return value
    if isinstance(value, float) and value.is_integer():  # JSON has one kind of number: 3.0 is whole
        return int(value)
    raise expected("a whole number", value)


def number(value: Any) -> float:
    if type(value) is float:
        return value
    if type(value) is int:
        return float(value)
    raise expected("a number", value)


def boolean(value: Any) -> bool:
    if value is True or value is False:
        return value
    raise expected("true or false", value)


def null(value: Any) -> None:
    if value is not None:
        raise expected("null", value)


def subclass(base: Convert, kind: type) -> Convert:
    """A class that is made from a scalar, such as one derived from `str`."""
    return _parsed(lambda value: kind(base(value)), kind.__name__)


def one_of(members: Mapping[tuple[type, Any], Any]) -> Convert:
    """One of fixed values, by type and value: 1, 1.0 and true are three."""
    known = ", ".join(quoted(value) for _, value in members)

    def convert(value: Any) -> Any:
        try:
            return members[type(value), value]
        except (KeyError, TypeError):
            other = {int: float, float: int}.get(type(value))  # JSON's 1 and 1.0 are one number
            if other is not None and (other, value) in members:
                return members[other, value]
            raise expected(f"one of {known}", value) from None

    return convert


def _parsed(parse: Convert, what: str, *, of: type | None = None) -> Convert:
    def convert(value: Any) -> Any:
        if of is not None and not isinstance(value, of):
            raise expected(what, value)
        try:
            return parse(value)
        except Mismatch:
            raise
        except (ValueError, TypeError, ArithmeticError) as error:
            raise Mismatch(f"expected {what}, found {quoted(value)} ({error})") from error

    return convert


def parsed_text(parse: Callable[[str], Any], what: str) -> Convert:
    """A type that is written as text."""
    return _parsed(parse, what, of=str)


def moment(parse: Callable[[str], Any], what: str) -> Convert:
    """A date, a time or both, as ISO 8601 writes them."""
    return parsed_text(lambda value: parse(_iso(value)), what)


_FRACTION = re.compile(r"\.(\d+)")


def _iso(value: str) -> str:
    if value[-1:] in ("Z", "z"):
        value = value[:-1] + "+00:00"
    if sys.version_info < (3, 11):  # which knows fractions of three and six digits alone
        value = _FRACTION.sub(lambda found: "." + found[1][:6].ljust(6, "0"), value)
    return value


_DURATION = re.compile(
    r"([-+]?)P(?:(\d+(?:\.\d+)?)W)?(?:(\d+(?:\.\d+)?)D)?"
    r"(?:T(?:(\d+(?:\.\d+)?)H)?(?:(\d+(?:\.\d+)?)M)?(?:(\d+(?:\.\d+)?)S)?)?",
    re.ASCII,
)


def duration(value: str) -> Any:
    from datetime import timedelta

    found = _DURATION.fullmatch(value)
    if found is None or value[-1:] in ("P", "T"):
        raise ValueError(
            "durations are written like PT1H30M or P2DT12H; years and months have no fixed length"
        )
    weeks, days, hours, minutes, seconds = (float(part or 0) for part in found.groups()[1:])
    span = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    return -span if found[1] == "-" else span


def written_duration(span: Any) -> str:
    """A `timedelta` as `duration` reads it."""
    if span.days < 0:
        return f"-{written_duration(-span)}"
    text = f"P{span.days}D" if span.days else "P"
    if span.seconds or span.microseconds or not span.days:
        hours, rest = divmod(span.seconds, 3600)
        minutes, seconds = divmod(rest, 60)
        fraction = f".{span.microseconds:06}".rstrip("0") if span.microseconds else ""
        text += "T" + (f"{hours}H" if hours else "") + (f"{minutes}M" if minutes else "")
        if seconds or fraction or not (hours or minutes):
            text += f"{seconds}{fraction}S"
    return text


def pattern(value: str) -> re.Pattern[str]:
    try:
        return re.compile(value)
    except re.error as error:
        raise ValueError(error) from error


def base64(value: str) -> bytes:
    import base64 as codec

    return codec.b64decode(value, validate=True)


def items(item: Convert, make: Callable[[Iterable[Any]], Any] | None) -> Convert:
    """An array of one type; `make` puts the items into the collection that is wanted, none means a list."""

    def convert(value: Any) -> Any:
        if not isinstance(value, list):
            raise expected("an array", value)
        try:
            converted = [item(entry) for entry in value]
        except Mismatch as mismatch:
            raise mismatch.within(_position(item, value)) from mismatch.__cause__
        if make is None:
            return converted
        try:
            return make(converted)
        except TypeError as error:
            raise Mismatch(f"its items cannot be put into a {make.__name__}: {error}") from error

    return convert


def _position(item: Convert, value: list[Any]) -> int:
    """The first item that does not fit."""
    for index, entry in enumerate(value):
        try:
            item(entry)
        except Mismatch:
            return index
    return len(value)


def row(converters: list[Convert]) -> Convert:
    """A tuple of fixed length."""

    def convert(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise expected("an array", value)
        if len(value) != len(converters):
            raise Mismatch(f"expected {len(converters)} items, found {len(value)}")
        row = []
        for index, entry in enumerate(value):
            try:
                row.append(converters[index](entry))
            except Mismatch as mismatch:
                raise mismatch.within(index) from mismatch.__cause__
        return tuple(row)

    return convert


def mapping(key: Convert | None, value: Convert, make: Callable[[dict[Any, Any]], Any] | None) -> Convert:
    """An object with keys of one type; `key` none means text."""
    as_text = text

    def convert(found: Any) -> Any:
        if not isinstance(found, dict):
            raise expected("an object", found)
        converted = {}
        for name, entry in found.items():
            try:
                converted[as_text(name) if key is None else key(name)] = value(entry)
            except Mismatch as mismatch:
                raise mismatch.within(str(name)) from mismatch.__cause__
        return converted if make is None else make(converted)

    return convert


def key_of(convert: Convert, kinds: frozenset[str]) -> Convert | None:
    """A converter for keys, which JSON knows as text alone. None where the type cannot be a key."""
    if "string" in kinds:
        return convert

    def from_number(name: Any) -> Any:
        try:
            return convert(int(name) if "integer" in kinds else float(name))
        except ValueError:
            raise expected("a number as the key", name) from None

    if "integer" in kinds or "number" in kinds:
        return from_number
    return None


def union(members: list[tuple[Convert, frozenset[str]]]) -> Convert:
    """The first of several types that takes the value, among those that its JSON type admits."""
    table: dict[type, list[Convert]] = {}
    for kind, name in _KINDS.items():
        exact = [convert for convert, kinds in members if name in kinds]
        if kind is int:
            exact += [convert for convert, kinds in members if "number" in kinds and "integer" not in kinds]
        elif kind is float:
            exact += [convert for convert, kinds in members if "integer" in kinds and "number" not in kinds]
        table[kind] = exact

    def convert(value: Any) -> Any:
        candidates = table.get(type(value), ())
        if len(candidates) == 1:
            return candidates[0](value)
        problems = []
        for candidate in candidates:
            try:
                return candidate(value)
            except Mismatch as mismatch:
                place = mismatch.place()
                problems.append(f"{place}: {mismatch.problem}" if place else mismatch.problem)
        if not problems:
            raise Mismatch(f"none of the alternatives takes {quoted(value)}")
        raise Mismatch(f"none of the alternatives fits: {'; '.join(problems)}")

    return convert


_KINDS: dict[type, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    type(None): "null",
    list: "array",
    dict: "object",
}
EVERY_KIND = frozenset(_KINDS.values())


def record(
    name: str,
    fields: Mapping[str, Convert],
    required: frozenset[str],
    make: Callable[[dict[str, Any]], Any] | None,
    extra: Convert | None = None,
) -> Convert:
    """An object with known members. `make` builds the class from them; none leaves a dict.

    `fields` may still be filled after this: a class can contain itself.
    """

    def convert(value: Any) -> Any:
        if not isinstance(value, dict):
            raise expected(f"an object ({name})", value)
        members = {}
        for key, entry in value.items():
            field = fields.get(key, extra)
            if field is None:
                raise Mismatch(f"{name} has no member {key!r}; it has {', '.join(fields) or 'none'}")
            try:
                members[key] = field(entry)
            except Mismatch as mismatch:
                raise mismatch.within(key) from mismatch.__cause__
        if not required <= members.keys():
            raise Mismatch(f"{', '.join(sorted(required - members.keys()))} is missing")
        if make is None:
            return members
        try:
            return make(members)
        except (ValueError, TypeError) as error:
            raise Mismatch(f"{name} refuses these values: {error}") from error

    return convert


def checked(convert: Convert, checks: list[tuple[Callable[[Any], bool], str]]) -> Convert:
    """Constraints that JSON Schema cannot say of the type, such as the earliest of dates."""

    def constrained(value: Any) -> Any:
        result = convert(value)
        for holds, rule in checks:
            if not holds(result):
                raise Mismatch(f"expected {rule}, found {quoted(value)}")
        return result

    return constrained
