"""Structured output: schemas for strict modes, and replies as the type."""

import dataclasses
import datetime as dt
import enum
import pathlib
from typing import Any, Literal, NamedTuple, NewType, TypedDict

import pytest
from jsonschema import Draft202012Validator

from ambidex.errors import ModelError, UsageError
from ambidex.tools import as_output


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"


@dataclasses.dataclass
class Line:
    text: str
    mood: Mood
    when: dt.date | None = None


@dataclasses.dataclass
class Review:
    """A review."""

    title: str
    lines: list[Line]
    tags: set[str]
    file: pathlib.PurePosixPath


@dataclasses.dataclass
class Tree:
    label: str
    children: list["Tree"]


class Move(TypedDict):
    x: int


class Point(NamedTuple):
    x: int
    y: float = 0.5


def each(schema: Any) -> Any:
    yield schema
    for word, rule in schema.items():
        if word in ("properties", "$defs"):
            for entry in rule.values():
                yield from each(entry)
        elif isinstance(rule, list) and word in ("anyOf", "prefixItems"):
            for entry in rule:
                yield from each(entry)
        elif isinstance(rule, dict) and word in ("items", "additionalProperties"):
            yield from each(rule)


ALL = [
    Review,
    Tree,
    Move,
    Point,
    list[Line],
    Line | Move,
    dict[str, Line],
    int,
    Mood,
    Literal["a"],
    list[Tree],
]


@pytest.mark.parametrize("kind", ALL, ids=str)
def test_schemas_suit_strict_modes(kind: Any) -> None:
    schema = as_output(kind).schema
    Draft202012Validator.check_schema(schema)
    assert schema["type"] == "object"
    assert "anyOf" not in schema
    for part in each(schema):
        if "properties" in part:
            assert part["additionalProperties"] is False
        assert not part.keys() & {"oneOf", "allOf", "uniqueItems", "title", "discriminator"}
        assert part.get("format", "date") in ("date", "date-time", "time", "duration", "uuid")
        if "$ref" in part:
            assert part.keys() == {"$ref"}
            assert part["$ref"].removeprefix("#/$defs/") in schema["$defs"]


def test_a_dataclass() -> None:
    output = as_output(Review)
    assert (output.name, output.schema["description"]) == ("Review", "A review.")
    assert output.schema["required"] == ["title", "lines", "tags", "file"]
    found = output.parse(
        {"title": "T", "lines": [{"text": "a", "mood": "bad"}], "tags": ["x", "x"], "file": "/a"}
    )
    assert found == Review("T", [Line("a", Mood.BAD)], {"x"}, pathlib.PurePosixPath("/a"))


def test_other_classes() -> None:
    assert as_output(Move).parse({"x": 1}) == {"x": 1}
    assert as_output(Point).parse({"x": 1}) == Point(1, 0.5)
    assert as_output(Tree).parse({"label": "a", "children": []}) == Tree("a", [])


def test_what_is_no_object_is_wrapped_in_one() -> None:
    output = as_output(list[Point])
    assert output.schema["required"] == ["result"]
    assert output.parse({"result": [{"x": 1}]}) == [Point(1)]
    assert as_output(int).parse({"result": 3}) == 3
    assert as_output(Line | Move).parse({"result": {"x": 3}}) == {"x": 3}
    assert as_output(NewType("Count", int)).parse({"result": 3}) == 3
    assert as_output(list[Tree]).schema["$defs"].keys() == {"Tree"}


def test_a_schema() -> None:
    schema = {
        "title": "My answer!",
        "type": "object",
        "properties": {"a": {"type": "integer"}},
        "required": ["a"],
    }
    output = as_output(schema)
    assert output.name == "My_answer"
    assert output.schema["additionalProperties"] is False
    assert "additionalProperties" not in schema
    assert output.parse({"a": 1}) == {"a": 1}
    listed = as_output({"type": "array", "items": {"type": "string"}})
    assert listed.parse({"result": ["a"]}) == ["a"]
    assert as_output({"$ref": "#/$defs/A", "$defs": {"A": {"type": "object"}}}).schema["type"] == "object"


def test_it_is_compiled_once() -> None:
    output = as_output(Review)
    assert as_output(output) is output


@pytest.mark.parametrize(
    ("kind", "value", "problem"),
    [
        (Review, {"title": 3}, "the output is no Review: `title`: expected text, found 3"),
        (Point, {}, "the output is no Point: x is missing"),
        (list[int], {"result": [1, "a"]}, "`[1]`: expected a whole number, found 'a'"),
        (list[int], [1], "expected an object with the member `result`, found [1]"),
    ],
    ids=str,
)
def test_replies_that_do_not_fit(kind: Any, value: Any, problem: str) -> None:
    with pytest.raises(ModelError) as raised:
        as_output(kind).parse(value)
    assert raised.value.code == "output_invalid"
    assert problem in str(raised.value)


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        (str, "leave `output` out and read `.text`"),
        (None, "leave it out"),
        ("Review", "`output` is a type"),
        (3, "`output` is a type"),
        (Review("a", [], set(), pathlib.PurePosixPath()), "`output` is a type"),
        ({"a": 1}, "a dict that is no JSON Schema"),
        ({"$ref": "#/$defs/A"}, "which it does not define"),
        (complex, "`output=complex` cannot be asked of a model: `complex` has no JSON form"),
    ],
    ids=str,
)
def test_what_cannot_be_asked_for(kind: Any, problem: str) -> None:
    with pytest.raises(UsageError) as raised:
        as_output(kind)
    assert problem in str(raised.value)
