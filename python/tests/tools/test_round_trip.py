"""Properties over all hints: what the schema admits arrives as the type, what it does not admit is refused."""

import dataclasses
import datetime as dt
import decimal
import enum
import json
import types
import typing
import uuid
from typing import Any, Literal, NamedTuple, TypedDict

import typing_extensions
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from ambidex.errors import ToolError
from ambidex.tools import as_output, tool


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclasses.dataclass
class Author:
    name: str
    born: dt.date | None = None
    scores: list[float] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Tree:
    label: int
    children: "list[Tree]"


class Move(TypedDict):
    x: int
    y: typing_extensions.NotRequired[Colour]


class Point(NamedTuple):
    x: int
    y: float = 0.5


SCALARS = [
    int,
    float,
    str,
    bool,
    None,
    Colour,
    Level,
    Literal["a", 1],
    dt.datetime,
    dt.date,
    dt.time,
    dt.timedelta,
    uuid.UUID,
    decimal.Decimal,
    bytes,
]
RECORDS = [Author, Tree, Move, Point]


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        inner.map(lambda hint: list[hint]),
        inner.map(lambda hint: tuple[hint, ...]),
        st.tuples(inner, inner).map(lambda pair: tuple[pair[0], pair[1]]),
        inner.map(lambda hint: dict[str, hint]),
        inner.map(lambda hint: typing.Optional[hint]),  # noqa: UP045
        st.tuples(inner, inner).map(lambda pair: typing.Union[pair]),  # noqa: UP007
        st.sampled_from([set[int], frozenset[str], set[dt.date], dict[int, str], dict[Colour, float]]),
    )


HINTS = st.recursive(st.sampled_from(SCALARS + RECORDS), containers, max_leaves=4)

FORMATS: dict[str, st.SearchStrategy[str]] = {
    "date": st.dates().map(dt.date.isoformat),
    "date-time": st.datetimes(timezones=st.just(dt.timezone.utc)).map(
        lambda moment: moment.isoformat().replace("+00:00", "Z")
    ),
    "time": st.times().map(dt.time.isoformat),
    "duration": st.builds(
        "P{}DT{}H{}.{}S".format,
        st.integers(0, 999),
        st.integers(0, 23),
        st.integers(0, 59),
        st.integers(0, 999999),
    ),
    "uuid": st.uuids().map(str),
}


def values(schema: Any, root: Any) -> st.SearchStrategy[Any]:
    """JSON values that a schema admits."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/$defs/")
        return st.deferred(lambda: values(root["$defs"][name], root))
    if "anyOf" in schema:
        return st.one_of([values(member, root) for member in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kind = schema["type"]
    if kind == "object" and "properties" in schema:
        members = {name: values(member, root) for name, member in schema["properties"].items()}
        required = {name: members.pop(name) for name in schema.get("required", ())}
        return st.fixed_dictionaries(required, optional=members)
    if kind == "object":
        names = schema.get("propertyNames", {})
        key = (
            st.sampled_from(names["enum"])
            if "enum" in names
            else st.integers().map(str)
            if names
            else st.text()
        )
        return st.dictionaries(key, values(schema["additionalProperties"], root), max_size=3)
    if kind == "array" and "prefixItems" in schema:
        return st.tuples(*(values(item, root) for item in schema["prefixItems"])).map(list)
    if kind == "array":
        return st.lists(
            values(schema["items"], root),
            min_size=schema.get("minItems", 0),
            max_size=schema.get("maxItems", 3),
            unique=schema.get("uniqueItems", False),
        )
    if kind == "string":
        if "contentEncoding" in schema:
            return st.binary().map(lambda data: __import__("base64").b64encode(data).decode())
        if "pattern" in schema:
            return st.from_regex(schema["pattern"], fullmatch=True)
        return FORMATS[schema["format"]] if "format" in schema else st.text()
    return {
        "integer": st.one_of(st.integers(-(2**63), 2**64 - 1), st.integers(-99, 99).map(float)),
        "number": st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**53), 2**53)),
        "boolean": st.booleans(),
        "null": st.none(),
    }[kind]


def is_a(value: Any, hint: Any) -> bool:
    """Whether a value is of the type that a hint names, told without the code under test."""
    if hint is None:
        return value is None
    if isinstance(hint, str):
        return is_a(value, eval(hint))
    if hasattr(hint, "__forward_arg__"):
        return is_a(value, eval(hint.__forward_arg__))
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(is_a(value, member) for member in inner)
    if origin is Literal:
        return any(value == member and type(value) is type(member) for member in inner)
    if origin is typing_extensions.NotRequired:
        return is_a(value, inner[0])
    if origin is tuple and inner[1:] == (Ellipsis,):
        return type(value) is tuple and all(is_a(item, inner[0]) for item in value)
    if origin is tuple:
        return type(value) is tuple and len(value) == len(inner) and all(map(is_a, value, inner))
    if origin in (list, set, frozenset):
        return type(value) is origin and all(is_a(item, inner[0]) for item in value)
    if origin is dict:
        return type(value) is dict and all(is_a(k, inner[0]) and is_a(v, inner[1]) for k, v in value.items())
    if hint is Move:
        return type(value) is dict and all(is_a(value[name], Move.__annotations__[name]) for name in value)
    if hint in (Author, Tree, Point):
        names = hint.__annotations__
        return type(value) is hint and all(is_a(getattr(value, name), names[name]) for name in names)
    return type(value) is hint


def identity(hint: Any) -> Any:
    def function(value: Any) -> Any:
        return value

    function.__annotations__.update(value=hint)
    return tool(function)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_what_the_schema_admits_arrives_as_the_type_and_goes_back(data: st.DataObject) -> None:
    hint = data.draw(HINTS, label="hint")
    made = identity(hint)
    Draft202012Validator.check_schema(made.schema)
    json.dumps(made.schema)
    arguments = data.draw(values(made.schema, made.schema), label="arguments")
    Draft202012Validator(made.schema).validate(arguments)

    found = made.call(arguments)
    assert is_a(found, hint)

    back = made.output({"value": found})
    Draft202012Validator(made.schema).validate(json.loads(json.dumps(back)))
    again = made.call(back)
    assert is_a(again, hint)
    assert again == found


SOMETHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3)
    | st.sampled_from(["red", "a", "1"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["x", "y", "name", "label", "children", "born", "1", "red"]), inner, max_size=3
        )
    ),
    max_leaves=5,
)
# Of these the schema says all: it has no format and no pattern that JSON Schema only notes.
EXACT = st.recursive(
    st.sampled_from([int, float, str, bool, None, Colour, Level, Literal["a", 1], Tree, Move, Point]),
    lambda inner: st.one_of(
        inner.map(lambda hint: list[hint]),
        st.tuples(inner, inner).map(lambda pair: tuple[pair[0], pair[1]]),
        inner.map(lambda hint: dict[str, hint]),
        st.tuples(inner, inner).map(lambda pair: typing.Union[pair]),  # noqa: UP007
        st.sampled_from([dict[int, str], dict[Colour, float]]),
    ),
    max_leaves=3,
)


@settings(deadline=None, max_examples=500)
@given(EXACT, SOMETHING)
def test_arguments_are_taken_where_the_schema_admits_them_and_only_there(hint: Any, value: Any) -> None:
    made = identity(hint)
    admitted = Draft202012Validator(made.schema).is_valid({"value": value})
    try:
        found = made.call({"value": value})
    except ToolError as error:
        assert error.code == "invalid_arguments"  # noqa: PT017
        assert not admitted
    else:
        assert admitted
        assert is_a(found, hint)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_outputs_arrive_as_the_type(data: st.DataObject) -> None:
    hint = data.draw(HINTS.filter(lambda hint: hint not in (str, None)), label="hint")
    output = as_output(hint)
    Draft202012Validator.check_schema(output.schema)
    reply = data.draw(values(output.schema, output.schema), label="reply")
    Draft202012Validator(output.schema).validate(reply)
    assert is_a(output.parse(reply), hint)
