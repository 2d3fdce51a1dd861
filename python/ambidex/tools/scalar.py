"""Types that are one value: what JSON Schema says of each, and how it is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import arguments
from .arguments import Convert

Schema = dict[str, Any]


class Shape:
    """A type as JSON Schema and as a converter. `kinds` are the types of JSON values it takes."""

    __slots__ = ("convert", "kinds", "schema")

    def __init__(self, schema: Schema, convert: Convert, kinds: frozenset[str]) -> None:
        self.schema = schema
        self.convert = convert
        self.kinds = kinds


def kinds(*names: str) -> frozenset[str]:
    return frozenset(names)


STRING = kinds("string")
OBJECT = kinds("object")
ARRAY = kinds("array")
NULL = Shape({"type": "null"}, arguments.null, kinds("null"))
ANY = Shape({}, arguments.anything, arguments.EVERY_KIND)

PLAIN: dict[Any, Shape] = {
    str: Shape({"type": "string"}, arguments.text, STRING),
    int: Shape({"type": "integer"}, arguments.integer, kinds("integer")),
    float: Shape({"type": "number"}, arguments.number, kinds("number")),
    bool: Shape({"type": "boolean"}, arguments.boolean, kinds("boolean")),
    None: NULL,
    type(None): NULL,
    Any: ANY,
    object: ANY,
    dict: Shape({"type": "object"}, arguments.mapping(None, arguments.anything, None), OBJECT),
    list: Shape({"type": "array", "items": {}}, arguments.items(arguments.anything, None), ARRAY),
}

_DECIMAL = r"^[-+]?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]{1,9})?$"


def _text_of(
    parse: Callable[[Any], Callable[[str], Any]], what: str, **schema: Any
) -> Callable[[Any], Shape]:
    def make(kind: Any) -> Shape:
        return Shape({"type": "string", **schema}, arguments.parsed_text(parse(kind), what), STRING)

    return make


def _moment_of(what: str, name: str) -> Callable[[Any], Shape]:
    def make(kind: Any) -> Shape:
        return Shape({"type": "string", "format": name}, arguments.moment(kind.fromisoformat, what), STRING)

    return make


def _derived(base: type) -> Callable[[Any], Shape]:
    def make(kind: Any) -> Shape:
        shape = PLAIN[base]
        return Shape(shape.schema, arguments.subclass(shape.convert, kind), shape.kinds)

    return make


_PATH = _text_of(lambda kind: kind, "a path", format="path")

# By module and name, so that nothing is imported that the user's hints did not bring.
CLASSES: dict[tuple[str, str], Callable[[Any], Shape]] = {
    ("datetime", "datetime"): _moment_of("a date and time like 2026-01-31T12:00:00Z", "date-time"),
    ("datetime", "date"): _moment_of("a date like 2026-01-31", "date"),
    ("datetime", "time"): _moment_of("a time like 12:00:00", "time"),
    ("datetime", "timedelta"): _text_of(
        lambda kind: arguments.duration, "a duration like PT1H30M", format="duration"
    ),
    ("uuid", "UUID"): _text_of(lambda kind: kind, "a UUID", format="uuid"),
    ("decimal", "Decimal"): _text_of(lambda kind: kind, "a decimal number as text", pattern=_DECIMAL),
    ("pathlib", "PurePath"): _PATH,
    ("pathlib._local", "PurePath"): _PATH,
    ("ipaddress", "IPv4Address"): _text_of(lambda kind: kind, "an IPv4 address", format="ipv4"),
    ("ipaddress", "IPv6Address"): _text_of(lambda kind: kind, "an IPv6 address", format="ipv6"),
    ("re", "Pattern"): _text_of(lambda kind: arguments.pattern, "a regular expression", format="regex"),
    ("builtins", "bytes"): _text_of(lambda kind: arguments.base64, "base64", contentEncoding="base64"),
    ("builtins", "bytearray"): _text_of(
        lambda kind: lambda text: bytearray(arguments.base64(text)), "base64", contentEncoding="base64"
    ),
    ("builtins", "str"): _derived(str),
    ("builtins", "int"): _derived(int),
    ("builtins", "float"): _derived(float),
}
