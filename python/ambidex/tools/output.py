"""Structured output: the type of an agent's answer, as a schema for the model and a parser for its reply."""

from __future__ import annotations

import re
from typing import Any, Generic, TypeVar, overload

from ..errors import ModelError, UsageError
from . import arguments
from .arguments import Convert, Mismatch
from .scalar import Schema
from .schema import Scope, Shapes, Unsupported, spelled

T = TypeVar("T")

WRAPPED = "result"
"""The member that holds an output that is no object: providers want an object at the root."""

# Formats that the strict modes of providers know; another one makes them refuse the schema.
_FORMATS = {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
_VALUES = {"enum", "const", "default", "examples", "required"}
_NAMED = {"properties", "$defs", "patternProperties"}
_DROPPED = {"uniqueItems", "discriminator"}


class Output(Generic[T]):
    """A type of output, compiled: `name`, `schema` (an object at its root) and `parse`."""

    __slots__ = ("_convert", "_wrapped", "name", "schema")

    def __init__(self, name: str, schema: Schema, convert: Convert, wrapped: bool) -> None:
        self.name = name
        self.schema = schema
        self._convert = convert
        self._wrapped = wrapped

    def parse(self, value: Any) -> T:
        """The reply's JSON as the type.

        Raises `ModelError` (`output_invalid`) where it does not fit.
        """
        try:
            if self._wrapped:
                if not isinstance(value, dict) or WRAPPED not in value:
                    raise arguments.expected(f"an object with the member `{WRAPPED}`", value)
                value = value[WRAPPED]
            found: T = self._convert(value)
            return found
        except Mismatch as mismatch:
            place = mismatch.place()
            problem = f"`{place}`: {mismatch.problem}" if place else mismatch.problem
            raise ModelError(
                f"the output is no {self.name}: {problem}", code="output_invalid"
            ) from mismatch.__cause__

    def __repr__(self) -> str:
        return f"<output {self.name}>"


@overload
def as_output(kind: Output[T]) -> Output[T]: ...
@overload
def as_output(kind: type[T]) -> Output[T]: ...
@overload
def as_output(kind: dict[str, Any]) -> Output[Any]: ...
@overload
def as_output(kind: object) -> Output[Any]: ...
def as_output(kind: Any) -> Output[Any]:
    """Compiles what `output=` of an agent was given.

    A Pydantic model, dataclass, TypedDict, NamedTuple or attrs class, any hint of these such as `list[Item]`
    or `Item | Refusal`, or a JSON Schema as a dict. Raises `UsageError`.
    """
    if isinstance(kind, Output):
        return kind
    if isinstance(kind, dict):
        return _of_schema(kind)
    if kind is str:
        raise UsageError(
            "`output=str` asks for text, which every answer is; leave `output` out and read `.text`"
        )
    if kind is None:
        raise UsageError("`output=None` asks for nothing; leave it out")
    generic = hasattr(kind, "__origin__") or hasattr(kind, "__args__")
    if not isinstance(kind, type) and not generic and type(kind).__name__ not in ("TypeAliasType", "NewType"):
        raise UsageError(
            "`output` is a type (a dataclass, a TypedDict, a Pydantic model, `list[...]`) or a JSON Schema as"
            f" a dict, not {arguments.quoted(kind)}"
        )
    shapes = Shapes(Scope({}), strict=True)
    try:
        shape = shapes.of(kind)
    except Unsupported as problem:
        raise UsageError(f"`output={spelled(kind)}` cannot be asked of a model: {problem}") from problem
    return _finished(_name(kind), shapes.finish(shape.schema), shape.convert)


def _of_schema(schema: Schema) -> Output[Any]:
    if not schema.keys() & {"type", "properties", "$ref", "anyOf", "oneOf", "allOf", "enum", "const"}:
        raise UsageError(
            "`output` was given a dict that is no JSON Schema (it has no `type` and no `properties`); write"
            ' {"type": "object", "properties": {...}}, or give a dataclass'
        )
    title = schema.get("title")
    return _finished(_clean(title) if isinstance(title, str) else "output", schema, arguments.anything)


def _finished(name: str, schema: Schema, convert: Convert) -> Output[Any]:
    root = _tidied(_inlined(schema))
    definitions = root.pop("$defs", None)
    wrapped = root.get("type") != "object"
    if wrapped:
        root = {
            "type": "object",
            "properties": {WRAPPED: root},
            "required": [WRAPPED],
            "additionalProperties": False,
        }
    if definitions:
        root["$defs"] = definitions
    return Output(name, root, convert, wrapped)


def _inlined(schema: Schema) -> Schema:
    """The schema without a reference at its root."""
    reference = schema.get("$ref")
    if not isinstance(reference, str) or not reference.startswith("#/$defs/"):
        return schema
    target = schema.get("$defs", {}).get(reference.removeprefix("#/$defs/"))
    if target is None:
        raise UsageError(f"the JSON Schema of `output` refers to `{reference}`, which it does not define")
    return {**target, **{word: rule for word, rule in schema.items() if word != "$ref"}}


def _tidied(schema: Any, *, names: bool = False) -> Any:
    """The schema as strict modes take it, as far as that changes nothing of what it admits.

    Objects that leave open whether they are open are closed. `names`: the keys are names of members.
    """
    if isinstance(schema, list):
        return [_tidied(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    if names:
        return {name: _tidied(entry) for name, entry in schema.items()}
    tidied: Schema = {}
    for word, rule in schema.items():
        if word in _DROPPED or (word == "format" and rule not in _FORMATS):
            continue
        if word == "oneOf" and "anyOf" not in schema:
            word = "anyOf"
        tidied[word] = rule if word in _VALUES else _tidied(rule, names=word in _NAMED)
    if "properties" in tidied:
        tidied.setdefault("additionalProperties", False)
    return tidied


def _name(kind: Any) -> str:
    return _clean(getattr(kind, "__name__", None) or "output") if isinstance(kind, type) else "output"


def _clean(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:64].strip("_") or "output"
