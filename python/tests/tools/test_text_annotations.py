"""Hints that are text: forward references, and `from __future__ import annotations`."""

from __future__ import annotations

import dataclasses
import datetime
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypedDict

import pytest
import typing_extensions

from ambidex.errors import UsageError
from ambidex.tools import as_output, as_tool, tool

if TYPE_CHECKING:
    from fractions import Fraction

    from ambidex import ToolContext


@tool
def early(thing: Later, others: list[Later]) -> Later:
    """Its type comes further down."""
    return thing


@dataclasses.dataclass
class Later:
    when: datetime.date
    inner: Later | None = None


class Move(TypedDict):
    x: typing_extensions.Required[int]
    y: typing_extensions.NotRequired[datetime.date]


class Wider(Move, total=False):
    z: Later
    w: Annotated[typing_extensions.Required[int], "How wide."]


class Point(NamedTuple):
    when: datetime.date
    size: int = 3


def test_a_class_that_is_defined_later() -> None:
    assert early.schema["properties"]["thing"] == {"$ref": "#/$defs/Later"}
    found = early.call({"thing": {"when": "2026-01-31"}, "others": []})
    assert found == Later(datetime.date(2026, 1, 31))


def test_members_of_classes() -> None:
    @tool
    def f(move: Wider, point: Point) -> object:
        return move, point

    assert f.schema["properties"]["move"]["required"] == ["x", "w"]
    assert f.call({"move": {"x": 1, "y": "2026-01-31", "w": 2}, "point": {"when": "2026-01-31"}}) == (
        {"x": 1, "y": datetime.date(2026, 1, 31), "w": 2},
        Point(datetime.date(2026, 1, 31)),
    )


def test_local_classes() -> None:
    @dataclasses.dataclass
    class Inner:
        number: int

    @dataclasses.dataclass
    class Local:
        inner: Inner
        others: list[Local]

    @tool
    def decorated(local: Local) -> Local:
        return local

    def plain(local: Local) -> Local:
        return local

    class Holder:
        @tool
        def method(self, local: Local) -> Local:
            return local

    value = {"inner": {"number": 1}, "others": [{"inner": {"number": 2}, "others": []}]}
    expected = Local(Inner(1), [Local(Inner(2), [])])
    for one in (decorated, as_tool(plain), Holder().method):
        assert one.call({"local": value}) == expected
    assert as_output(Local).parse(value) == expected
    assert as_output(list[Local]).parse({"result": [value]}) == [expected]


def test_local_classes_that_are_defined_later() -> None:
    @tool
    def f(local: Local) -> Local:
        return local

    with pytest.raises(UsageError, match="the name `Local` is not known where it is defined"):
        f.schema  # noqa: B018

    @dataclasses.dataclass
    class Local:
        number: int

    assert f.call({"local": {"number": 1}}) == Local(1)


def test_names_for_type_checkers_alone() -> None:
    @tool
    def f(number: Fraction) -> None: ...

    with pytest.raises(UsageError) as raised:
        f.call({})
    assert "the parameter `number`: the name `Fraction` is not known where it is defined" in str(raised.value)
    assert "not under `if TYPE_CHECKING`" in str(raised.value)
    assert f"{__file__}:" in str(raised.value)


def test_the_context_may_be_imported_for_type_checkers_alone() -> None:
    @tool
    def f(a: int, context: ToolContext) -> object:
        return context

    assert f.wants_context == "context"
    assert f.call({"a": 1}, "it") == "it"


def test_a_result_of_an_unknown_name_is_no_matter() -> None:
    @tool
    def f(a: int) -> Fraction: ...

    assert f.output_schema is None
    assert f.schema["required"] == ["a"]
