"""Classes with named members: dataclasses, TypedDicts, NamedTuples, attrs classes, Pydantic models.

They are known by their attributes, so none of the libraries is imported here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from .arguments import Convert, Mismatch
from .docstring import parse

NONE: Any = object()
"""No default."""


class Field(NamedTuple):
    name: str
    hint: Any
    required: bool
    default: Any
    description: str | None
    owner: type
    """The class that wrote the hint, in whose module its names are looked up."""


class Record(NamedTuple):
    fields: list[Field]
    description: str
    make: Callable[[dict[str, Any]], Any] | None
    """Builds the class from converted members; none where a dict is what is wanted."""


Reader = Callable[[Any], Record]


def reader_of(kind: type) -> Reader | None:
    """How the members of this class are found; none where it has none."""
    if "__dataclass_fields__" in kind.__dict__ or hasattr(kind, "__dataclass_fields__"):
        return _dataclass
    if type(kind).__name__ == "_TypedDictMeta":
        return _typed_dict
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return _named_tuple
    if hasattr(kind, "__attrs_attrs__"):
        return _attrs
    return None


def is_enum(kind: type) -> bool:
    enum = sys.modules.get("enum")
    return enum is not None and issubclass(kind, enum.Enum)


def is_flag(kind: type) -> bool:
    enum = sys.modules.get("enum")
    return enum is not None and issubclass(kind, enum.Flag)


def is_pydantic(kind: type) -> bool:
    return hasattr(kind, "model_json_schema") and hasattr(kind, "model_validate")


def bindings(kind: Any, parameters: tuple[Any, ...]) -> dict[Any, Any]:
    """The type variables of a generic class and of those it extends, with what stands for them."""
    nothing: tuple[Any, ...] = ()
    own: tuple[Any, ...] = getattr(kind, "__type_params__", nothing) or getattr(
        kind, "__parameters__", nothing
    )
    bound = {variable: hint for variable, hint in zip(own, parameters, strict=False) if variable is not hint}
    for base in getattr(kind, "__orig_bases__", ()):
        origin = getattr(base, "__origin__", None)
        if isinstance(origin, type) and hasattr(origin, "__orig_bases__"):
            for variable, hint in bindings(origin, base.__args__).items():
                known = bound.get(hint, hint) if type(hint).__name__ == "TypeVar" else hint
                bound.setdefault(variable, known)
    return bound


def resolved(field: Field, evaluate: Callable[[str], Any]) -> Field:
    """The field without `Required` and `NotRequired` around its hint, which may be hidden in text."""
    hint = field.hint
    while True:
        if isinstance(hint, str):
            hint = evaluate(hint)
        elif type(hint).__name__ == "ForwardRef":
            hint = evaluate(hint.__forward_arg__)
        elif hasattr(hint, "__metadata__") and _wrapper(hint.__origin__):
            return field._replace(required=_wrapper(hint.__origin__) == "Required")
        else:
            break
    name = _wrapper(hint)
    if name is None:
        return field._replace(hint=hint)
    inner = field._replace(hint=hint.__args__[0])
    return resolved(inner if name == "ReadOnly" else inner._replace(required=name == "Required"), evaluate)


def _wrapper(hint: Any) -> str | None:
    origin = getattr(hint, "__origin__", None)
    name = getattr(origin, "_name", None)
    return name if name in ("Required", "NotRequired", "ReadOnly") else None


def _documented(kind: type, *generated: str) -> tuple[str, dict[str, str]]:
    """What the class's own docstring says; not one that was generated for it."""
    text = kind.__dict__.get("__doc__")
    # Since 3.15 what `dataclass` generates is no text before it is asked for.
    if not isinstance(text, str) or not text or any(text.startswith(start) for start in generated):
        return "", {}
    return parse(text)


def _annotations(kind: type) -> dict[str, Any]:
    """The hints that this very class wrote."""
    if sys.version_info >= (3, 14):
        import annotationlib

        return annotationlib.get_annotations(kind, format=annotationlib.Format.FORWARDREF)
    found: dict[str, Any] = kind.__dict__.get("__annotations__", {})  # its own alone, not those of its bases
    return found


def _owner(kind: type, name: str) -> type:
    for base in kind.__mro__:
        if name in _annotations(base):
            return base
    return kind


def _dataclass(kind: Any) -> Record:
    missing = sys.modules["dataclasses"].MISSING
    description, documented = _documented(kind, f"{kind.__name__}(")
    fields = []
    for name, field in kind.__dataclass_fields__.items():
        if field._field_type.name == "_FIELD_CLASSVAR" or not field.init:
            continue
        given = field.default is not missing
        said = field.metadata.get("description") or field.metadata.get("doc") or getattr(field, "doc", None)
        fields.append(
            Field(
                name,
                field.type,
                not given and field.default_factory is missing,
                field.default if given else NONE,
                said or documented.get(name),
                _owner(kind, name) if isinstance(field.type, str) else kind,
            )
        )
    return Record(fields, description, lambda members: kind(**members))


def _typed_dict(kind: Any) -> Record:
    description, documented = _documented(kind)
    owners = {name: base for base in reversed(_bases(kind)) for name in _annotations(base)}
    fields = [
        Field(name, hint, name in kind.__required_keys__, NONE, documented.get(name), owners.get(name, kind))
        for name, hint in _hints(kind).items()
    ]
    return Record(fields, description, None)


def _bases(kind: Any) -> list[Any]:
    """A TypedDict and those it extends, which are not among its Python bases."""
    found = [kind]
    for base in getattr(kind, "__orig_bases__", ()):
        base = getattr(base, "__origin__", base)
        if type(base).__name__ == "_TypedDictMeta":
            found += _bases(base)
    return found


def _hints(kind: Any) -> dict[str, Any]:
    """All hints of the class, also of those it extends."""
    if sys.version_info >= (3, 14):
        return _annotations(kind)
    return dict(kind.__annotations__)


def _named_tuple(kind: Any) -> Record:
    description, documented = _documented(kind, f"{kind.__name__}(")
    hints: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        hints.update(_annotations(base))
    defaults = kind._field_defaults
    fields = [
        Field(
            name,
            hints.get(name, Any),
            name not in defaults,
            defaults.get(name, NONE),
            documented.get(name),
            kind,
        )
        for name in kind._fields
    ]
    return Record(fields, description, lambda members: kind(**members))


def _attrs(kind: Any) -> Record:
    nothing = sys.modules["attr"].NOTHING
    description, documented = _documented(kind)
    fields = []
    for field in kind.__attrs_attrs__:
        if not field.init:
            continue
        given = field.default is not nothing
        fields.append(
            Field(
                field.alias or field.name,
                Any if field.type is None else field.type,
                not given,
                field.default if given else NONE,
                field.metadata.get("description") or documented.get(field.name),
                kind,
            )
        )
    return Record(fields, description, lambda members: kind(**members))


def validated(validate: Callable[[Any], Any], name: str) -> Convert:
    """A Pydantic model's own validation, with its faults in our words."""

    def convert(value: Any) -> Any:
        try:
            return validate(value)
        except ValueError as error:
            faults = getattr(error, "errors", None)
            if faults is None:
                raise Mismatch(f"{name} refuses these values: {error}") from error
            lines = []
            for fault in faults():
                place = Mismatch("")
                place.path = list(reversed(fault["loc"]))
                lines.append(f"{place.place()}: {fault['msg']}" if fault["loc"] else str(fault["msg"]))
            raise Mismatch("; ".join(lines)) from error

    return convert


def without_titles(schema: Any, *, names: bool = False) -> Any:
    """A schema without the titles that Pydantic makes from names: they cost tokens and say nothing.

    `names`: the keys here are names of members and not keywords.
    """
    if isinstance(schema, list):
        return [without_titles(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    if names:
        return {name: without_titles(entry) for name, entry in schema.items()}
    return {
        word: rule
        if word in ("enum", "const", "default", "examples")
        else without_titles(rule, names=word in ("properties", "$defs", "patternProperties"))
        for word, rule in schema.items()
        if word != "title" or not isinstance(rule, str)
    }
