"""What tools give back, as JSON."""

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import json
import pathlib
import types
import uuid
from typing import Any, NamedTuple

import pytest

from ambidex.errors import ToolError
from ambidex.tools import tool


@tool
def f() -> Any: ...


class Colour(enum.Enum):
    RED = "red"


class Shape(enum.Enum):
    ROUND = (1, 1)


class Level(enum.IntEnum):
    LOW = 1


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass
class Author:
    name: str
    born: dt.date


class Point(NamedTuple):
    x: int
    y: float


class Scalar:
    """As numpy has them."""

    dtype = "int64"

    def tolist(self) -> int:
        return 3


WRITTEN = [
    ("text", "text"),
    (None, "done"),
    (3, 3),
    (2.5, 2.5),
    (True, True),
    ([1, (2, "a"), None], [1, [2, "a"], None]),
    ({"a": {"b": [1]}}, {"a": {"b": [1]}}),
    ({2: "a", Colour.RED: "b", None: 0, True: 1}, {"2": "a", "red": "b", "null": 0, "true": 1}),
    ({dt.date(2026, 1, 31): 1}, {"2026-01-31": 1}),
    (Author("A", dt.date(2000, 1, 1)), {"name": "A", "born": "2000-01-01"}),
    ([Point(1, 2.0)], [{"x": 1, "y": 2.0}]),
    (Colour.RED, "red"),
    (Shape.ROUND, "ROUND"),
    (Level.LOW, 1),
    (Rights.READ | Rights.WRITE, 3),
    (dt.datetime(2026, 1, 31, tzinfo=dt.timezone.utc), "2026-01-31T00:00:00+00:00"),
    (dt.timedelta(days=1, hours=2, seconds=3.5), "P1DT2H3.5S"),
    (dt.timedelta(0), "PT0S"),
    (-dt.timedelta(minutes=1), "-PT1M"),
    (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (pathlib.PurePosixPath("/a"), "/a"),
    (decimal.Decimal("1.10"), "1.10"),
    (b"hi", "aGk="),
    (collections.OrderedDict(a=1), {"a": 1}),
    (types.MappingProxyType({"a": 1}), {"a": 1}),
    (collections.deque([1]), [1]),
    (range(3), [0, 1, 2]),
    ({1}, [1]),
    ({"a": 1}.values(), [1]),
    (Scalar(), 3),
    (2**64, "18446744073709551616"),
    (-(2**63), -(2**63)),
    ([float("inf"), float("nan")], ["inf", "nan"]),
]


@pytest.mark.parametrize(("value", "expected"), WRITTEN, ids=lambda value: str(value)[:40])
def test_what_is_written(value: Any, expected: Any) -> None:
    found = f.output(value)
    assert found == expected
    json.dumps(found, allow_nan=False)


class Opaque: ...


LOOP: list[Any] = []
LOOP.append(LOOP)

REFUSED = [
    (Opaque(), "result: `{module}.Opaque` has no JSON form"),
    ({"rows": [1, Opaque()]}, "result['rows'][1]: `{module}.Opaque` has no JSON form"),
    (types.SimpleNamespace(), "result: `types.SimpleNamespace` has no JSON form"),
    (Author("A", Opaque()), "result.born: `{module}.Opaque` has no JSON form"),  # type: ignore[arg-type]
    ({(1, 2): 3}, "result[(1, 2)]: a key is `tuple`, which is not text"),
    (LOOP, "it is nested more than 64 deep, or contains itself"),
    (len, "has no JSON form"),
    (iter([1]), "has no JSON form"),
]


@pytest.mark.parametrize(("value", "problem"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_is_refused(value: Any, problem: str) -> None:
    with pytest.raises(ToolError) as raised:
        f.output(value)
    message = str(raised.value)
    assert raised.value.code == "tool_failed"
    assert problem.format(module=__name__) in message
    assert message.startswith("the result of tool `f` cannot be written as JSON: result")
    assert message.endswith("return text, numbers, lists, dicts, dataclasses or Pydantic models")
