"""PEP 604, 695 and 696, where the version has them."""

import textwrap
from typing import Any, Optional, Union

import pytest

from ambidex.tools import as_output, tool


def run(source: str) -> dict[str, Any]:
    names: dict[str, Any] = {"tool": tool, "as_output": as_output, "__name__": __name__}
    exec(compile(textwrap.dedent(source), __file__, "exec", dont_inherit=True), names)
    return names


def test_both_spellings_of_a_union() -> None:
    @tool
    def old(a: Optional[int], b: Union[int, str]) -> None: ...  # noqa: UP007, UP045
    @tool
    def new(a: int | None, b: int | str) -> None: ...

    assert old.schema == new.schema


@pytest.mark.since(3, 12)
def test_aliases() -> None:
    names = run(
        """
        import datetime
        type Day = datetime.date
        type Pair[T] = tuple[T, T]
        type Json = dict[str, Json] | list[Json] | str | int | None

        @tool
        def f(day: Day, pair: Pair[int], json: Json):
            return day, pair, json
        """
    )
    f = names["f"]
    assert f.schema["properties"]["day"] == {"type": "string", "format": "date"}
    assert f.schema["properties"]["pair"] == {
        "type": "array",
        "minItems": 2,
        "maxItems": 2,
        "items": {"type": "integer"},
    }
    assert f.schema["$defs"]["Json"]["anyOf"][1] == {"type": "array", "items": {"$ref": "#/$defs/Json"}}
    day, pair, json = f.call({"day": "2026-01-31", "pair": [1, 2.0], "json": {"a": [1, None, "b"]}})
    assert (day.isoformat(), pair, json) == ("2026-01-31", (1, 2), {"a": [1, None, "b"]})


@pytest.mark.since(3, 12)
def test_generic_classes_and_functions() -> None:
    names = run(
        """
        from dataclasses import dataclass

        @dataclass
        class Node[T]:
            value: T
            next: "Node[T] | None" = None

        @tool
        def f[U: int](node: Node[float], bounded: U):
            return node, bounded

        output = as_output(Node[int])
        """
    )
    node, bounded = names["f"].call({"node": {"value": 1, "next": {"value": 2}}, "bounded": 3})
    assert (type(node.value), type(node.next.value), bounded) == (float, float, 3)
    assert names["output"].parse({"value": 1}).value == 1


@pytest.mark.since(3, 12)
def test_generic_text_annotations() -> None:
    names = run(
        """
        from __future__ import annotations
        from dataclasses import dataclass

        @dataclass
        class Box[T]:
            inside: list[T]

        @tool
        def f[U: int](box: Box[float], bounded: U):
            return box, bounded
        """
    )
    box, bounded = names["f"].call({"box": {"inside": [1]}, "bounded": 3})
    assert (type(box.inside[0]), bounded) == (float, 3)


@pytest.mark.since(3, 13)
def test_defaults_of_type_variables() -> None:
    names = run(
        """
        from dataclasses import dataclass

        @dataclass
        class Box[T = int]:
            inside: T

        @tool
        def f(box: Box): ...
        """
    )
    assert names["f"].schema["properties"]["box"]["properties"] == {"inside": {"type": "integer"}}


@pytest.mark.since(3, 14)
def test_late_annotations() -> None:
    names = run(
        """
        from dataclasses import dataclass

        @tool
        def f(later: Later, more: list[Later]):
            return later

        @dataclass
        class Later:
            inner: Later | None = None
        """
    )
    assert names["f"].call({"later": {"inner": {}}, "more": []}) == names["Later"](names["Later"]())
