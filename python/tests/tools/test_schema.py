"""Type hints as JSON Schema 2020-12."""

import collections
import collections.abc
import dataclasses
import datetime
import decimal
import enum
import ipaddress
import pathlib
import re
import typing
import uuid
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, Optional, TypedDict, TypeVar, Union

import pytest
import typing_extensions
from annotated_types import Ge, Gt, Interval, Le, Len, Lt, MaxLen, MinLen, MultipleOf, Predicate
from jsonschema import Draft202012Validator

from ambidex.errors import UsageError
from ambidex.tools import Tool, tool


def schema_of(hint: Any) -> Any:
    def function(value: Any) -> None: ...

    function.__annotations__["value"] = hint
    schema = tool(function).schema
    Draft202012Validator.check_schema(schema)
    assert schema["type"] == "object"
    assert schema["required"] == ["value"]
    assert schema["additionalProperties"] is False
    found = dict(schema["properties"]["value"])
    if "$defs" in schema:
        found["$defs"] = schema["$defs"]
    return found


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Shape(enum.Enum):
    ROUND = (1, 1)
    FLAT = (2, 0)


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Word(str): ...


UserId = NewType("UserId", int)

PLAIN = [
    (int, {"type": "integer"}),
    (float, {"type": "number"}),
    (str, {"type": "string"}),
    (bool, {"type": "boolean"}),
    (None, {"type": "null"}),
    (type(None), {"type": "null"}),
    (Any, {}),
    (object, {}),
    (Word, {"type": "string"}),
    (UserId, {"type": "integer"}),
    (list, {"type": "array", "items": {}}),
    (list[int], {"type": "array", "items": {"type": "integer"}}),
    (typing.List[str], {"type": "array", "items": {"type": "string"}}),  # noqa: UP006
    (collections.abc.Sequence[str], {"type": "array", "items": {"type": "string"}}),
    (typing.Sequence[str], {"type": "array", "items": {"type": "string"}}),
    (collections.abc.Iterable[str], {"type": "array", "items": {"type": "string"}}),
    (collections.deque[int], {"type": "array", "items": {"type": "integer"}}),
    (set[int], {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}),
    (frozenset[int], {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}),
    (set, {"type": "array", "items": {}, "uniqueItems": True}),
    (tuple, {"type": "array", "items": {}}),
    (tuple[int, ...], {"type": "array", "items": {"type": "integer"}}),
    (tuple[int, int], {"type": "array", "minItems": 2, "maxItems": 2, "items": {"type": "integer"}}),
    (
        tuple[int, str],
        {
            "type": "array",
            "minItems": 2,
            "maxItems": 2,
            "items": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
            "prefixItems": [{"type": "integer"}, {"type": "string"}],
        },
    ),
    (tuple[()], {"type": "array", "minItems": 0, "maxItems": 0, "items": {}}),
    (dict, {"type": "object"}),
    (dict[str, Any], {"type": "object"}),
    (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
    (collections.abc.Mapping[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
    (
        dict[int, str],
        {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "propertyNames": {"pattern": "^-?[0-9]+$"},
        },
    ),
    (
        dict[Colour, str],
        {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "propertyNames": {"type": "string", "enum": ["red", "blue"]},
        },
    ),
    (collections.Counter[str], {"type": "object", "additionalProperties": {"type": "integer"}}),
    (Optional[int], {"anyOf": [{"type": "integer"}, {"type": "null"}]}),  # noqa: UP045
    (int | None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
    (Union[int, str], {"anyOf": [{"type": "integer"}, {"type": "string"}]}),  # noqa: UP007
    (int | str | None, {"anyOf": [{"type": "integer"}, {"type": "string"}, {"type": "null"}]}),
    (Union[int, object], {}),  # noqa: UP007
    (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
    (Literal["a", 1, None], {"enum": ["a", 1, None]}),
    (Literal[Colour.RED], {"type": "string", "enum": ["red"]}),
    (Colour, {"type": "string", "enum": ["red", "blue"]}),
    (Level, {"type": "integer", "enum": [1, 2], "description": "1: LOW, 2: HIGH"}),
    (Shape, {"type": "string", "enum": ["ROUND", "FLAT"]}),
    (Rights, {"type": "integer", "description": "The sum of 1: READ, 2: WRITE"}),
    (datetime.datetime, {"type": "string", "format": "date-time"}),
    (datetime.date, {"type": "string", "format": "date"}),
    (datetime.time, {"type": "string", "format": "time"}),
    (datetime.timedelta, {"type": "string", "format": "duration"}),
    (uuid.UUID, {"type": "string", "format": "uuid"}),
    (pathlib.Path, {"type": "string", "format": "path"}),
    (pathlib.PurePosixPath, {"type": "string", "format": "path"}),
    (decimal.Decimal, {"type": "string", "pattern": r"^[-+]?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]{1,9})?$"}),
    (bytes, {"type": "string", "contentEncoding": "base64"}),
    (ipaddress.IPv4Address, {"type": "string", "format": "ipv4"}),
    (ipaddress.IPv6Address, {"type": "string", "format": "ipv6"}),
    (re.Pattern[str], {"type": "string", "format": "regex"}),
    (typing_extensions.LiteralString, {"type": "string"}),
    ("list[int]", {"type": "array", "items": {"type": "integer"}}),
    (list["int"], {"type": "array", "items": {"type": "integer"}}),
]


@pytest.mark.parametrize(("hint", "expected"), PLAIN, ids=lambda value: str(value)[:60])
def test_plain_types(hint: Any, expected: Any) -> None:
    assert schema_of(hint) == expected


CONSTRAINED = [
    (Annotated[int, "How many."], {"type": "integer", "description": "How many."}),
    (Annotated[int, typing_extensions.Doc("How many.")], {"type": "integer", "description": "How many."}),
    (Annotated[int, Ge(1), Lt(9)], {"type": "integer", "minimum": 1, "exclusiveMaximum": 9}),
    (Annotated[float, Gt(0.5), Le(9)], {"type": "number", "exclusiveMinimum": 0.5, "maximum": 9}),
    (Annotated[int, Interval(ge=1, le=3)], {"type": "integer", "minimum": 1, "maximum": 3}),
    (Annotated[int, MultipleOf(5)], {"type": "integer", "multipleOf": 5}),
    (Annotated[str, MinLen(1), MaxLen(3)], {"type": "string", "minLength": 1, "maxLength": 3}),
    (Annotated[str, re.compile("^a+$")], {"type": "string", "pattern": "^a+$"}),
    (
        Annotated[list[int], Len(1, 3)],
        {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 3},
    ),
    (
        Annotated[dict[str, int], MinLen(1)],
        {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1},
    ),
    (list[Annotated[int, Ge(0)]], {"type": "array", "items": {"type": "integer", "minimum": 0}}),
    (Annotated[int | None, Ge(0)], {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}]}),
    (
        Annotated[int | str, Ge(0), MinLen(2)],
        {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "minLength": 2}]},
    ),
    (Annotated[Annotated[int, "inner"], "outer"], {"type": "integer", "description": "outer"}),
    (Annotated[int, Predicate(bool), object()], {"type": "integer"}),
    (Annotated[datetime.date, Ge(datetime.date(2020, 1, 1))], {"type": "string", "format": "date"}),
]


@pytest.mark.parametrize(("hint", "expected"), CONSTRAINED, ids=lambda value: str(value)[:60])
def test_constraints(hint: Any, expected: Any) -> None:
    assert schema_of(hint) == expected


@dataclasses.dataclass
class Author:
    """Who wrote it.

    Attributes:
        name: First and last.
    """

    name: str
    born: datetime.date | None = None
    books: list[str] = dataclasses.field(default_factory=list)
    rank: Annotated[int, Ge(1)] = 3
    level: Level = Level.LOW
    nick: str = dataclasses.field(default="", metadata={"description": "What friends say."})
    hidden: int = dataclasses.field(default=0, init=False)


AUTHOR = {
    "type": "object",
    "description": "Who wrote it.",
    "properties": {
        "name": {"type": "string", "description": "First and last."},
        "born": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
        "books": {"type": "array", "items": {"type": "string"}},
        "rank": {"type": "integer", "minimum": 1, "default": 3},
        "level": {"type": "integer", "enum": [1, 2], "description": "1: LOW, 2: HIGH", "default": 1},
        "nick": {"type": "string", "description": "What friends say.", "default": ""},
    },
    "required": ["name"],
    "additionalProperties": False,
}


@dataclasses.dataclass
class Book(Author):
    title: str = "untitled"
    author: Author | None = None


@dataclasses.dataclass
class Tree:
    label: str
    children: "list[Tree]"
    parent: Optional["Tree"] = None


class Move(TypedDict, total=False):
    """Where to."""

    x: typing_extensions.Required[int]
    y: int
    speed: typing_extensions.NotRequired[Annotated[float, "Metres a second."]]


class Point(NamedTuple):
    x: int
    y: int = 0


T = TypeVar("T")


@dataclasses.dataclass
class Box(Generic[T]):
    inside: T
    more: list[T]


@dataclasses.dataclass
class Chain(Generic[T]):
    value: T
    next: "Chain[T] | None" = None


@dataclasses.dataclass
class IntBox(Box[int]):
    label: str = ""


def test_a_dataclass_is_an_object_without_other_members() -> None:
    assert schema_of(Author) == AUTHOR


def test_a_class_that_is_used_twice_is_defined_once() -> None:
    schema = schema_of(tuple[Author, Author])
    assert schema["items"] == {"$ref": "#/$defs/Author"}
    assert schema["$defs"] == {"Author": AUTHOR}


def test_a_class_that_is_used_once_stands_in_its_place_under_the_outer_description() -> None:
    assert schema_of(Annotated[Author, "The first."]) == {**AUTHOR, "description": "The first."}


def test_a_class_inherits_members() -> None:
    schema = schema_of(Book)
    assert list(schema["properties"]) == [*AUTHOR["properties"], "title", "author"]
    assert schema["properties"]["author"] == {"anyOf": [AUTHOR, {"type": "null"}]}


def test_a_class_may_contain_itself() -> None:
    schema = schema_of(Tree)
    assert schema == {
        "$ref": "#/$defs/Tree",
        "$defs": {
            "Tree": {
                "type": "object",
                "properties": {
                    "label": {"type": "string"},
                    "children": {"type": "array", "items": {"$ref": "#/$defs/Tree"}},
                    "parent": {"anyOf": [{"$ref": "#/$defs/Tree"}, {"type": "null"}]},
                },
                "required": ["label", "children"],
                "additionalProperties": False,
            }
        },
    }


def test_typed_dict() -> None:
    assert schema_of(Move) == {
        "type": "object",
        "description": "Where to.",
        "properties": {
            "x": {"type": "integer"},
            "y": {"type": "integer"},
            "speed": {"type": "number", "description": "Metres a second."},
        },
        "required": ["x"],
        "additionalProperties": False,
    }


def test_named_tuple() -> None:
    assert schema_of(Point) == {
        "type": "object",
        "properties": {"x": {"type": "integer"}, "y": {"type": "integer", "default": 0}},
        "required": ["x"],
        "additionalProperties": False,
    }


def test_generic_classes() -> None:
    assert schema_of(Box[int])["properties"] == {
        "inside": {"type": "integer"},
        "more": {"type": "array", "items": {"type": "integer"}},
    }
    assert schema_of(Box)["properties"] == {"inside": {}, "more": {"type": "array", "items": {}}}
    assert schema_of(IntBox)["properties"]["more"] == {"type": "array", "items": {"type": "integer"}}
    both = schema_of(tuple[Box[int], Box[str]])
    assert both["prefixItems"][0]["properties"]["inside"] == {"type": "integer"}
    assert both["prefixItems"][1]["properties"]["inside"] == {"type": "string"}
    chain = schema_of(Chain[str])["$defs"]["Chain"]["properties"]
    assert chain == {
        "value": {"type": "string"},
        "next": {"anyOf": [{"$ref": "#/$defs/Chain"}, {"type": "null"}]},
    }


def test_attrs_classes() -> None:
    import attrs

    @attrs.define
    class Part:
        name: str
        _size: int = 3
        tags: list[str] = attrs.Factory(list)

    assert schema_of(Part) == {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "size": {"type": "integer", "default": 3},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["name"],
        "additionalProperties": False,
    }


def test_members_may_be_named_like_keywords() -> None:
    odd = TypedDict("odd", {"required": Author, "enum": Tree, "$ref": int, "properties": Author})
    schema = schema_of(odd)
    assert schema["properties"]["required"] == {"$ref": "#/$defs/Author"}
    assert schema["properties"]["enum"] == {"$ref": "#/$defs/Tree"}
    assert schema["properties"]["$ref"] == {"type": "integer"}
    assert schema["$defs"].keys() == {"Author", "Tree"}


def test_two_classes_of_one_name_are_kept_apart() -> None:
    def other() -> type:
        @dataclasses.dataclass
        class Tree:
            """Another."""

            size: int

        return Tree

    schema = schema_of(tuple[Tree, list[other()], other(), other()])
    assert {"Tree"} <= schema["$defs"].keys()
    assert schema["prefixItems"][1]["items"]["description"] == "Another."


# -- functions -------------------------------------------------------------------------------------------------


def test_the_parameters_of_a_function() -> None:
    @tool
    def search(
        query: str, /, limit: int = 10, *, exact: bool = False, since: datetime.date | None = None
    ) -> None:
        """Searches.

        Args:
            query: What for.
            limit: At most so many.
        """

    assert search.schema == {
        "type": "object",
        "properties": {
            "query": {"type": "string", "description": "What for."},
            "limit": {"type": "integer", "description": "At most so many.", "default": 10},
            "exact": {"type": "boolean", "default": False},
            "since": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
        },
        "required": ["query"],
        "additionalProperties": False,
    }
    assert search.description == "Searches."


def test_no_parameters() -> None:
    @tool
    def now() -> str:
        return ""

    assert now.schema == {"type": "object", "properties": {}, "additionalProperties": False}


def test_a_default_of_none_admits_null() -> None:
    @tool
    def f(limit: int = None): ...  # type: ignore[assignment]  # noqa: RUF013

    assert f.schema["properties"]["limit"] == {"anyOf": [{"type": "integer"}, {"type": "null"}]}


def test_annotated_goes_before_the_docstring() -> None:
    @tool
    def f(x: Annotated[int, "from the hint"]) -> None:
        """F.

        Args:
            x: from the docstring
        """

    assert f.schema["properties"]["x"]["description"] == "from the hint"


def test_keyword_arguments_are_other_members() -> None:
    @tool
    def f(a: int, **rest: float) -> None: ...
    @tool
    def g(**rest) -> None: ...  # type: ignore[no-untyped-def]

    assert f.schema["additionalProperties"] == {"type": "number"}
    assert g.schema == {"type": "object", "properties": {}, "additionalProperties": True}


def test_output_schemas_say_more_than_text() -> None:
    @tool
    def count(text: str) -> int: ...
    @tool
    def said(text: str) -> str: ...
    @tool
    def who() -> Author: ...
    @tool
    def odd() -> re.Match[str]: ...

    assert count.output_schema == {"type": "integer"}
    assert who.output_schema == AUTHOR
    assert said.output_schema is None
    assert odd.output_schema is None


# -- what cannot be said ---------------------------------------------------------------------------------------


class Opaque: ...


REFUSED = [
    (Opaque, "`Opaque` has no JSON form; make it a dataclass"),
    (list[Opaque], "`Opaque` has no JSON form"),
    (collections.abc.Callable[[int], int], "Callable"),
    (type[int], "has no JSON form"),
    (complex, "`complex` has no JSON form"),
    (dict[tuple[int, int], str], "keys of JSON objects are text"),
    (Literal[b"a"], "has no JSON form"),
    ("Unknown", "the name `Unknown` is not known"),
    ("int |", "cannot be read"),
]


@pytest.mark.parametrize(("hint", "problem"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_has_no_schema_is_refused(hint: Any, problem: str) -> None:
    def function(value: Any) -> None: ...

    function.__annotations__["value"] = hint
    with pytest.raises(UsageError) as raised:
        Tool(function).schema  # noqa: B018
    message = str(raised.value)
    assert problem in message
    assert "`function`" in message
    assert "`value`" in message
    assert f"{__file__}:{function.__code__.co_firstlineno}" in message


def test_a_fault_inside_a_class_names_the_field() -> None:
    @dataclasses.dataclass
    class Holder:
        thing: Opaque

    with pytest.raises(UsageError, match="the parameter `value`: in the field `thing` of `Holder`: `Opaque`"):
        schema_of(Holder)
