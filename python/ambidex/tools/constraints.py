"""What `Annotated[...]` adds to a type: descriptions and constraints.

They are known by their attributes and not by their class. So `annotated_types`, Pydantic's `Field` and what
looks like them are understood without being imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

Check = tuple[Callable[[Any], bool], str]

_NUMBERS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
}
_LENGTHS = {
    "min_length": {"string": "minLength", "array": "minItems", "object": "minProperties"},
    "max_length": {"string": "maxLength", "array": "maxItems", "object": "maxProperties"},
}
_CHECKS: dict[str, tuple[Callable[[Any, Any], object], str]] = {
    "ge": (lambda value, bound: value >= bound, "at least {}"),
    "gt": (lambda value, bound: value > bound, "more than {}"),
    "le": (lambda value, bound: value <= bound, "at most {}"),
    "lt": (lambda value, bound: value < bound, "less than {}"),
    "multiple_of": (lambda value, step: value % step == 0, "a multiple of {}"),
    "min_length": (lambda value, length: len(value) >= length, "a length of at least {}"),
    "max_length": (lambda value, length: len(value) <= length, "a length of at most {}"),
    "pattern": (lambda value, pattern: True, "text that matches {}"),
}


class Notes:
    """What metadata say, gathered."""

    __slots__ = ("description", "examples", "limits", "predicates", "schema_extra")

    def __init__(self) -> None:
        self.description: str | None = None
        self.limits: dict[str, Any] = {}
        self.predicates: list[Callable[[Any], object]] = []
        self.examples: list[Any] | None = None
        self.schema_extra: dict[str, Any] | None = None

    def read(self, metadata: Iterable[Any]) -> Notes:
        for entry in metadata:
            if isinstance(entry, str):
                self.description = entry
            elif not isinstance(entry, type):
                self._entry(entry)
        return self

    def _entry(self, entry: Any) -> None:
        description = getattr(entry, "description", None) or getattr(entry, "documentation", None)
        if isinstance(description, str):
            self.description = description
        nested = getattr(entry, "metadata", None)  # Pydantic's FieldInfo keeps its constraints there
        if isinstance(nested, (list, tuple)):
            self.read(nested)
        examples = getattr(entry, "examples", None)
        if isinstance(examples, list):
            self.examples = examples
        extra = getattr(entry, "json_schema_extra", None)
        if isinstance(extra, dict):
            self.schema_extra = extra
        for name in (*_NUMBERS, *_LENGTHS):
            limit = getattr(entry, name, None)
            if limit is not None:
                self.limits[name] = limit
        pattern = getattr(entry, "pattern", None) or getattr(entry, "regex", None)
        if pattern is not None:
            self.limits["pattern"] = getattr(pattern, "pattern", pattern)
        if type(entry).__name__ == "Predicate" and callable(getattr(entry, "func", None)):
            self.predicates.append(entry.func)

    def apply(self, schema: dict[str, Any]) -> tuple[dict[str, Any], list[Check]]:
        """The schema with what it can say of the constraints, and checks for the rest."""
        checks = [_predicate(holds) for holds in self.predicates]
        if self.limits:
            schema, unsaid = self._limited(schema)
            checks += [_limit(name, limit) for name, limit in self.limits.items() if name in unsaid]
        added: dict[str, Any] = {}
        if self.description:
            added["description"] = self.description
        if self.examples:
            added["examples"] = self.examples
        if self.schema_extra:
            added.update(self.schema_extra)
        return {**schema, **added} if added else schema, checks

    def _limited(self, schema: dict[str, Any]) -> tuple[dict[str, Any], set[str]]:
        """The schema with its limits, and the names of those it cannot hold."""
        unsaid: set[str] = set()
        if "anyOf" in schema:
            members = []
            for member in schema["anyOf"]:
                limited, rest = self._limited(member)
                members.append(limited)
                if member.get("type") != "null":
                    unsaid |= rest
            return {**schema, "anyOf": members}, unsaid
        kind = "bytes" if "contentEncoding" in schema else schema.get("type")
        limited = dict(schema)
        for name, limit in self.limits.items():
            keyword = _keyword(name, kind)
            if keyword is None or (kind in ("integer", "number") and not isinstance(limit, (int, float))):
                unsaid.add(name)
            else:
                limited[keyword] = limit
        return limited, unsaid


def _keyword(name: str, kind: str | None) -> str | None:
    """How JSON Schema says a limit of this type of value; none where it cannot."""
    if name in _LENGTHS:
        return _LENGTHS[name].get(kind or "")
    if name == "pattern":
        return "pattern" if kind == "string" else None
    return _NUMBERS[name] if kind in ("integer", "number") else None


def _limit(name: str, limit: Any) -> Check:
    compare, rule = _CHECKS[name]

    def holds(value: Any) -> bool:
        try:
            return bool(compare(value, limit))
        except TypeError:  # of another member of a union, which has no such limit
            return True

    return holds, rule.format(limit)


def _predicate(holds: Callable[[Any], object]) -> Check:
    return (
        lambda value: bool(holds(value))
    ), f"a value for which {getattr(holds, '__qualname__', holds)} holds"
