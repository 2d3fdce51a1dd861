"""Arguments arrive as the types that the hints name, or are refused with the place and the problem."""

import collections
import collections.abc
import dataclasses
import datetime as dt
import decimal
import enum
import ipaddress
import pathlib
import re
import uuid
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import pytest
from annotated_types import Ge, Len, Predicate

from ambidex.errors import ToolError
from ambidex.tools import tool


def given(hint: Any, value: Any) -> Any:
    """What arrives for one argument."""

    def function(value: Any) -> Any:
        return value

    function.__annotations__["value"] = hint
    return tool(function).call({"value": value})


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Shape(enum.Enum):
    ROUND = (1, 1)


class Rights(enum.IntFlag):
    READ = 1
    WRITE = 2


class Word(str): ...


@dataclasses.dataclass
class Author:
    name: str
    born: dt.date | None = None
    tags: set[str] = dataclasses.field(default_factory=set)


@dataclasses.dataclass(kw_only=True)
class Tree:
    label: str
    children: "list[Tree]" = dataclasses.field(default_factory=list)


class Move(TypedDict, total=False):
    when: dt.datetime


class Point(NamedTuple):
    x: int
    y: float = 0.5


UTC = dt.timezone.utc

ARRIVES = [
    (int, 3, 3),
    (int, 3.0, 3),
    (float, 3, 3.0),
    (bool, True, True),
    (str, "a", "a"),
    (Word, "a", Word("a")),
    (None, None, None),
    (Any, {"a": [1]}, {"a": [1]}),
    (list[float], [1, 2.5], [1.0, 2.5]),
    (set[int], [1, 1, 2], {1, 2}),
    (frozenset[str], ["a"], frozenset({"a"})),
    (collections.abc.Set[str], ["a"], frozenset({"a"})),
    (tuple[int, str], [1, "a"], (1, "a")),
    (tuple[float, ...], [1, 2], (1.0, 2.0)),
    (tuple[()], [], ()),
    (collections.deque[int], [1], collections.deque([1])),
    (dict[str, float], {"a": 1}, {"a": 1.0}),
    (dict[int, str], {"1": "a"}, {1: "a"}),
    (dict[Colour, int], {"red": 1}, {Colour.RED: 1}),
    (dict[dt.date, int], {"2026-01-31": 1}, {dt.date(2026, 1, 31): 1}),
    (collections.OrderedDict[str, int], {"a": 1}, collections.OrderedDict(a=1)),
    (collections.Counter[str], {"a": 1}, collections.Counter(a=1)),
    (collections.defaultdict[str, list[int]], {"a": [1]}, collections.defaultdict(list, a=[1])),
    (int | None, None, None),
    (int | str, "a", "a"),
    (int | float, 3, 3),
    (int | float, 3.5, 3.5),
    (float | None, 3, 3.0),
    (dt.date | str, "2026-01-31", dt.date(2026, 1, 31)),
    (dt.date | str, "tomorrow", "tomorrow"),
    (str | dt.date, "2026-01-31", "2026-01-31"),
    (Author | Tree, {"label": "a"}, Tree(label="a")),
    (list[int] | dict[str, int], {"a": 1}, {"a": 1}),
    (Literal["a", 1], 1, 1),
    (Literal[1], 1.0, 1),
    (Literal[Colour.RED], "red", Colour.RED),
    (Colour, "blue", Colour.BLUE),
    (Level, 2, Level.HIGH),
    (Shape, "ROUND", Shape.ROUND),
    (Rights, 3, Rights.READ | Rights.WRITE),
    (dt.datetime, "2026-01-31T12:00:00Z", dt.datetime(2026, 1, 31, 12, tzinfo=UTC)),
    (dt.datetime, "2026-01-31T12:00:00.5+00:00", dt.datetime(2026, 1, 31, 12, 0, 0, 500000, tzinfo=UTC)),
    (dt.date, "2026-01-31", dt.date(2026, 1, 31)),
    (dt.time, "12:30:00", dt.time(12, 30)),
    (dt.timedelta, "PT1H30M", dt.timedelta(hours=1, minutes=30)),
    (dt.timedelta, "-P2DT0.5S", -dt.timedelta(days=2, milliseconds=500)),
    (uuid.UUID, "12345678123456781234567812345678", uuid.UUID("12345678123456781234567812345678")),
    (pathlib.Path, "/a/b", pathlib.Path("/a/b")),
    (decimal.Decimal, "1.10", decimal.Decimal("1.10")),
    (bytes, "aGk=", b"hi"),
    (bytearray, "aGk=", bytearray(b"hi")),
    (ipaddress.IPv4Address, "10.0.0.1", ipaddress.IPv4Address("10.0.0.1")),
    (re.Pattern[str], "a+", re.compile("a+")),
    (Author, {"name": "A", "born": "2000-01-01", "tags": ["x"]}, Author("A", dt.date(2000, 1, 1), {"x"})),
    (Author, {"name": "A"}, Author("A")),
    (Tree, {"label": "a", "children": [{"label": "b"}]}, Tree(label="a", children=[Tree(label="b")])),
    (Move, {"when": "2026-01-31T12:00:00Z"}, {"when": dt.datetime(2026, 1, 31, 12, tzinfo=UTC)}),
    (Move, {}, {}),
    (Point, {"x": 1}, Point(1, 0.5)),
    (Annotated[int, Ge(1)], 3, 3),
]


@pytest.mark.parametrize(("hint", "value", "expected"), ARRIVES, ids=lambda value: str(value)[:40])
def test_values_arrive_as_the_hints_say(hint: Any, value: Any, expected: Any) -> None:
    found = given(hint, value)
    assert found == expected
    assert type(found) is type(expected)


def test_items_have_their_types_too() -> None:
    assert [type(item) for item in given(list[float], [1, 2.0])] == [float, float]
    assert given(collections.defaultdict[str, list[int]], {})["new"] == []


REFUSED = [
    (int, "3", "`value`: expected a whole number, found '3'"),
    (int, 3.5, "`value`: expected a whole number, found 3.5"),
    (int, True, "`value`: expected a whole number, found True"),
    (float, True, "`value`: expected a number, found True"),
    (bool, 1, "`value`: expected true or false, found 1"),
    (str, 1, "`value`: expected text, found 1"),
    (list[int], [1, "x"], "`value[1]`: expected a whole number, found 'x'"),
    (list[int], {"a": 1}, "`value`: expected an array, found {'a': 1}"),
    (set[Any], [[1]], "`value`: its items cannot be put into a set"),
    (tuple[int, int], [1], "`value`: expected 2 items, found 1"),
    (dict[str, int], {"a": "x"}, "`value.a`: expected a whole number, found 'x'"),
    (dict[int, int], {"a": 1}, "`value.a`: expected a number as the key, found 'a'"),
    (Colour, "green", "`value`: expected one of 'red', 'blue', found 'green'"),
    (Literal[1], True, "`value`: expected one of 1, found True"),
    (Literal["a"], [], "`value`: expected one of 'a', found []"),
    (dt.date, "yesterday", "`value`: expected a date like 2026-01-31, found 'yesterday'"),
    (dt.timedelta, "P1Y", "years and months have no fixed length"),
    (dt.timedelta, "PT", "durations are written like"),
    (uuid.UUID, "x", "`value`: expected a UUID, found 'x'"),
    (decimal.Decimal, "x", "`value`: expected a decimal number as text, found 'x'"),
    (bytes, "ä", "`value`: expected base64, found 'ä'"),
    (re.Pattern[str], "(", "`value`: expected a regular expression, found '('"),
    (Author, {}, "`value`: name is missing"),
    (Author, {"name": "A", "age": 3}, "`value`: Author has no member 'age'; it has name, born, tags"),
    (Author, {"name": "A", "tags": [1]}, "`value.tags[0]`: expected text, found 1"),
    (Tree, {"label": "a", "children": [{"label": 3}]}, "`value.children[0].label`: expected text, found 3"),
    (Author, 3, "`value`: expected an object (Author), found 3"),
    (int | None, "x", "`value`: none of the alternatives takes 'x'"),
    (Author | Tree, {}, "none of the alternatives fits: name is missing; label is missing"),
    (
        Annotated[dt.date, Ge(dt.date(2020, 1, 1))],
        "2019-12-31",
        "expected at least 2020-01-01, found '2019-12-31'",
    ),
    (Annotated[bytes, Len(3, 9)], "aGk=", "expected a length of at least 3"),
    (Annotated[int, Predicate(lambda number: number % 2 == 0)], 3, "holds, found 3"),
    (Annotated[decimal.Decimal | None, Ge(decimal.Decimal(1))], "0.5", "expected at least 1, found '0.5'"),
]


@pytest.mark.parametrize(("hint", "value", "problem"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_does_not_fit_is_refused_with_its_place(hint: Any, value: Any, problem: str) -> None:
    with pytest.raises(ToolError) as raised:
        given(hint, value)
    assert raised.value.code == "invalid_arguments"
    assert problem in str(raised.value)
    assert "`function`" in str(raised.value)


def test_a_limit_of_one_member_of_a_union_is_not_asked_of_another() -> None:
    assert given(Annotated[decimal.Decimal | None, Ge(decimal.Decimal(1))], None) is None


def test_what_a_class_refuses_is_told() -> None:
    @dataclasses.dataclass
    class Even:
        number: int

        def __post_init__(self) -> None:
            if self.number % 2:
                raise ValueError(f"{self.number} is odd")

    with pytest.raises(ToolError, match="`value`: Even refuses these values: 3 is odd") as raised:
        given(Even, {"number": 3})
    assert isinstance(raised.value.__cause__, ValueError)


def test_missing_and_unknown_arguments() -> None:
    @tool
    def f(a: int, b: int, c: int = 0) -> None: ...

    with pytest.raises(ToolError, match="`a` and `b` are missing") as raised:
        f.call({})
    assert raised.value.code == "invalid_arguments"
    with pytest.raises(ToolError, match="there is no parameter `d`; there are `a`, `b` and `c`"):
        f.call({"a": 1, "b": 2, "d": 3})


def test_the_arguments_that_are_given_stay_as_they_are() -> None:
    @tool
    def f(dates: list[dt.date]) -> None: ...

    arguments = {"dates": ["2026-01-31"]}
    f.call(arguments)
    assert arguments == {"dates": ["2026-01-31"]}


def test_what_the_function_raises_passes_through() -> None:
    @tool
    def f(a: int) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        f.call({"a": 1})


def test_defaults_are_the_functions_own() -> None:
    sentinel = object()

    @tool
    def f(a: int, b: Any = sentinel, *, c: set[int] = {1}) -> Any:  # noqa: B006
        return a, b, c

    assert f.call({"a": 1}) == (1, sentinel, {1})


def test_positional_parameters() -> None:
    @tool
    def f(a: int, b: float = 2.0, /, c: int = 3) -> Any:
        return a, b, c

    assert f.call({"a": 1}) == (1, 2.0, 3)
    assert f.call({"c": 7, "b": 1, "a": 1}) == (1, 1.0, 7)


def test_keyword_arguments() -> None:
    @tool
    def f(a: int, /, ctx: Any = None, **rest: dt.date) -> Any:
        return a, ctx, rest

    assert f.call({"a": 1, "when": "2026-01-31"}, "context") == (1, "context", {"when": dt.date(2026, 1, 31)})
    with pytest.raises(ToolError, match="there is no parameter `ctx`"):
        f.call({"a": 1, "ctx": "2026-01-31"})
    with pytest.raises(ToolError, match="`when`: expected a date"):
        f.call({"a": 1, "when": 3})
