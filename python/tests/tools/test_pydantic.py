"""Pydantic models, which are known by what they can do and never imported by the package."""

import datetime
import subprocess
import sys
from typing import Annotated, Literal, Optional

import pytest
from jsonschema import Draft202012Validator
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, RootModel, field_validator
from pydantic.dataclasses import dataclass

from ambidex.errors import ModelError, ToolError
from ambidex.tools import as_output, tool


class Address(BaseModel):
    """Where."""

    street: str = Field(description="With the number.", min_length=1)
    city: str = "Lima"


class Person(BaseModel):
    name: str
    born: datetime.date
    title: Optional[str] = None  # noqa: UP045
    home: Address
    others: list[Address] = []

    @field_validator("name")
    @classmethod
    def known(cls, name: str) -> str:
        if name == "nobody":
            raise ValueError("nobody is nobody")
        return name


class Tree(BaseModel):
    label: str
    children: list["Tree"] = []


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]


class Owner(BaseModel):
    pet: Cat | Dog = Field(discriminator="kind")


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int


ADA = {"name": "Ada", "born": "1815-12-10", "home": {"street": "1 Main St"}}


def test_a_model_as_a_parameter() -> None:
    @tool
    def greet(person: Person, also: Person | None = None) -> str:
        """Greets."""
        assert isinstance(person, Person)
        return f"{person.name} of {person.home.city}, {person.born.year}"

    Draft202012Validator.check_schema(greet.schema)
    person = greet.schema["properties"]["person"]
    assert person["properties"]["name"] == {"type": "string"}
    assert person["properties"]["title"]["anyOf"] == [{"type": "string"}, {"type": "null"}]
    assert greet.schema["$defs"]["Address"]["properties"]["street"]["description"] == "With the number."
    assert greet.call({"person": ADA}) == "Ada of Lima, 1815"


def test_what_the_model_refuses_is_told_with_its_place() -> None:
    @tool
    def greet(person: Person) -> None: ...

    with pytest.raises(ToolError) as raised:
        greet.call({"person": {**ADA, "name": "nobody", "home": {"street": ""}}})
    assert raised.value.code == "invalid_arguments"
    assert "name: Value error, nobody is nobody" in str(raised.value)
    assert "home.street: String should have at least 1 character" in str(raised.value)
    assert "`person`" in str(raised.value)


def test_models_inside_of_other_types() -> None:
    @tool
    def f(people: dict[str, list[Address]], tree: Tree, either: Address | int) -> object:
        return people, tree, either

    Draft202012Validator.check_schema(f.schema)
    found = f.call(
        {
            "people": {"a": [{"street": "x"}]},
            "tree": {"label": "a", "children": [{"label": "b"}]},
            "either": 3,
        }
    )
    assert found == ({"a": [Address(street="x")]}, Tree(label="a", children=[Tree(label="b")]), 3)


def test_root_models_and_types_that_know_pydantic() -> None:
    class Tags(RootModel[list[str]]): ...

    @tool
    def f(tags: Tags, when: AwareDatetime) -> object:
        return tags, when

    tags, when = f.call({"tags": ["a"], "when": "2026-01-31T12:00:00Z"})
    assert (tags.root, when.year) == (["a"], 2026)


def test_pydantic_dataclasses() -> None:
    @dataclass
    class Point:
        x: int
        y: Annotated[int, Field(ge=0, description="Up.")] = 0

    @tool
    def f(point: Point) -> object:
        return point

    assert f.schema["properties"]["point"]["properties"]["y"] == {
        "type": "integer",
        "minimum": 0,
        "description": "Up.",
        "default": 0,
    }
    assert f.call({"point": {"x": 1}}) == Point(1)


def test_field_in_hints_and_as_the_default() -> None:
    @tool
    def f(
        a: Annotated[int, Field(description="How many.", ge=1, le=9)],
        b: str = Field("x", description="Which.", pattern="^[a-z]+$"),
        c: list[int] = Field(default_factory=list, max_length=3),  # noqa: B008
        d: float = Field(gt=0),
    ) -> object:
        return a, b, c, d

    assert f.schema["properties"] == {
        "a": {"type": "integer", "minimum": 1, "maximum": 9, "description": "How many."},
        "b": {"type": "string", "pattern": "^[a-z]+$", "description": "Which."},
        "c": {"type": "array", "items": {"type": "integer"}, "maxItems": 3},
        "d": {"type": "number", "exclusiveMinimum": 0},
    }
    assert f.schema["required"] == ["a", "d"]
    assert f.call({"a": 1, "d": 2}) == (1, "x", [], 2.0)


def test_models_as_output() -> None:
    output = as_output(Person)
    assert output.name == "Person"
    assert output.schema["additionalProperties"] is False
    assert output.schema["$defs"]["Address"]["additionalProperties"] is False
    assert output.parse(ADA) == Person.model_validate(ADA)
    with pytest.raises(ModelError) as raised:
        output.parse({**ADA, "home": {}})
    assert raised.value.code == "output_invalid"
    assert "home.street: Field required" in str(raised.value)


def test_a_recursive_model_as_output_has_no_reference_at_its_root() -> None:
    schema = as_output(Tree).schema
    assert schema["type"] == "object"
    assert "$ref" not in schema
    assert schema["properties"]["children"]["items"] == {"$ref": "#/$defs/Tree"}
    assert list(Draft202012Validator(schema).iter_errors({"label": "a", "children": [{"label": 3}]})) != []


def test_unions_with_a_discriminator_as_output() -> None:
    output = as_output(Owner)
    assert "oneOf" not in str(output.schema)
    assert "discriminator" not in str(output.schema)
    assert output.parse({"pet": {"kind": "cat", "lives": 9}}).pet == Cat(kind="cat", lives=9)
    assert as_output(Cat | Dog).parse({"result": {"kind": "dog"}}) == Dog(kind="dog")


def test_an_open_model_stays_open() -> None:
    assert as_output(Open).schema["additionalProperties"] is True


def test_results() -> None:
    @tool
    def f() -> Person: ...

    person = Person.model_validate(ADA)
    assert f.output([person])[0]["born"] == "1815-12-10"
    assert f.output(person)["home"] == {"street": "1 Main St", "city": "Lima"}


def test_it_is_never_imported_by_the_package() -> None:
    script = """
import sys
from ambidex.tools import as_output, tool
from dataclasses import dataclass
@dataclass
class Point:
    x: int
@tool
def f(point: Point) -> Point: return point
f.output(f.call({"point": {"x": 1}}))
as_output(Point)
sys.exit("pydantic" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 0
