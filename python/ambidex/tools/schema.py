"""From type hints to JSON Schema (2020-12), and to the converters that bring values back.

One walk over a hint gives both, as a `Shape`, so they cannot disagree. How members of classes are found is in
`records.py`.
"""

from __future__ import annotations

import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from . import arguments, records
from .arguments import Convert
from .constraints import Notes
from .definition import locals_around
from .scalar import ANY, ARRAY, CLASSES, OBJECT, PLAIN, Schema, Shape


class Unsupported(Exception):
    """A hint that no schema can be made of; the message says what to write in its place."""


class Unresolved(Unsupported):
    """A name in a hint that does not exist, or not yet."""


class Scope:
    """Where the names of hints that are written as text are looked up."""

    __slots__ = ("globals", "locals", "owner")

    def __init__(
        self, globals: dict[str, Any], locals: Mapping[str, Any] | None = None, owner: type | None = None
    ) -> None:
        self.globals = globals
        self.locals = locals
        self.owner = owner

    def evaluate(self, text: str, module: str | None = None) -> Any:
        names = vars(sys.modules[module]) if module in sys.modules and module else self.globals
        try:
            return eval(text, names, self.locals)
        except NameError as error:
            around = locals_around(self.owner) if self.owner is not None else None
            if around is not None:  # a class that a function defined
                return Scope(names, {**around, **(self.locals or {})}).evaluate(text)
            raise Unresolved(
                f"the name `{error.name}` is not known where it is defined; define or import it there at run"
                " time (not under `if TYPE_CHECKING`)"
            ) from error
        except Exception as error:
            raise Unsupported(f"it cannot be read: {error}") from error

    def inside(self, owner: type) -> Scope:
        """The scope of a class: its module, its own names, and what is around it."""
        module = sys.modules.get(owner.__module__)
        around = dict(self.locals or {})
        around.setdefault(owner.__name__, owner)
        for parameter in getattr(owner, "__type_params__", ()):
            around[parameter.__name__] = parameter
        return Scope(vars(module) if module else self.globals, around, owner)


# Collections by the name of the hint's class: what makes one from a list, and whether items are unique.
_COLLECTIONS: dict[str, tuple[Callable[[Any], Any] | None, bool]] = {
    "list": (None, False),
    "Sequence": (None, False),
    "MutableSequence": (None, False),
    "Iterable": (None, False),
    "Collection": (None, False),
    "Reversible": (None, False),
    "set": (set, True),
    "MutableSet": (set, True),
    "Set": (frozenset, True),
    "frozenset": (frozenset, True),
}
_MAPPINGS = {"dict", "Mapping", "MutableMapping", "OrderedDict", "defaultdict", "Counter"}
_WRAPPERS = {"Final", "ClassVar", "Required", "NotRequired", "ReadOnly"}


class _Definition:
    __slots__ = ("name", "shape", "uses")

    def __init__(self, name: str) -> None:
        self.name = name
        self.shape: Shape | None = None
        self.uses = 0


class Shapes:
    """Makes the shapes of the hints of one function or type.

    `strict`: as the strict modes of providers take it.
    """

    def __init__(self, scope: Scope, *, strict: bool = False) -> None:
        self.scope = scope
        self.strict = strict
        self.variables: dict[Any, Any] = {}
        self.definitions: dict[Any, _Definition] = {}
        self.lifted: Schema = {}

    # -- hints ---------------------------------------------------------------------------------------------

    def of(self, hint: Any) -> Shape:
        """The shape of a hint.

        Raises `Unsupported` where there is none, `Unresolved` where a name in it is unknown.
        """
        try:
            plain = PLAIN.get(hint)
        except TypeError:  # unhashable metadata
            plain = None
        if plain is not None:
            return plain
        if isinstance(hint, str):
            return self.of(self.scope.evaluate(hint))
        if hasattr(hint, "__metadata__"):
            return self.annotated(hint.__origin__, hint.__metadata__)
        if isinstance(hint, types.UnionType):
            return self.union(hint.__args__)
        origin = getattr(hint, "__origin__", None)
        if origin is not None:
            return self.generic(hint, origin, hint.__args__)
        if isinstance(hint, type):
            return self.of_class(hint, ())
        return self.special(hint)

    def annotated(self, inner: Any, metadata: tuple[Any, ...]) -> Shape:
        shape = self.of(inner)
        schema, checks = Notes().read(metadata).apply(shape.schema)
        convert = arguments.checked(shape.convert, checks) if checks else shape.convert
        return Shape(schema, convert, shape.kinds)

    def generic(self, hint: Any, origin: Any, parameters: tuple[Any, ...]) -> Shape:
        if origin is typing.Union:
            return self.union(parameters)
        name = getattr(origin, "__name__", None) or getattr(origin, "_name", None)
        if name == "Literal":
            return self.literal(parameters)
        if name in _WRAPPERS:
            return self.of(parameters[0])
        if type(origin).__name__ == "TypeAliasType":
            return self.alias(origin, parameters)
        if not isinstance(origin, type):
            raise Unsupported(f"`{spelled(hint)}` has no JSON form")
        if origin is tuple:
            return self.row(parameters)
        if origin.__module__ in ("builtins", "collections", "collections.abc"):
            if name == "deque":
                return self.collection(parameters, origin, unique=False)
            if name in _COLLECTIONS:
                make, unique = _COLLECTIONS[name]
                return self.collection(parameters, make, unique=unique)
            if name in _MAPPINGS:
                return self.mapping(name, origin, parameters)
            if name in ("Callable", "type"):
                raise Unsupported(
                    f"`{spelled(hint)}` has no JSON form; take a name of it, as `str` or `Literal[...]`"
                )
        if origin.__module__ == "re" and name == "Pattern":
            return CLASSES["re", "Pattern"](origin)
        return self.of_class(origin, parameters)

    def special(self, hint: Any) -> Shape:
        """What is neither a class nor has parameters: variables, aliases, references."""
        kind = type(hint).__name__
        if kind == "ForwardRef":
            module = getattr(hint, "__forward_module__", None)
            return self.of(self.scope.evaluate(hint.__forward_arg__, getattr(module, "__name__", module)))
        if kind == "TypeVar":
            return self.variable(hint)
        if kind == "TypeAliasType":
            return self.alias(hint, ())
        if kind == "NewType":
            return self.of(hint.__supertype__)
        if kind == "InitVar":
            return self.of(hint.type)
        if getattr(hint, "_name", None) in ("LiteralString", "AnyStr"):
            return PLAIN[str]
        raise Unsupported(f"`{spelled(hint)}` has no JSON form")

    def variable(self, variable: Any) -> Shape:
        if variable in self.variables:
            return self.of(self.variables[variable])
        if getattr(variable, "has_default", bool)():
            return self.of(variable.__default__)
        if variable.__bound__ is not None:
            return self.of(variable.__bound__)
        if variable.__constraints__:
            return self.union(variable.__constraints__)
        return ANY

    def substituted(self, hint: Any) -> Any:
        """The hint with the type variables that are bound here put in."""
        if type(hint).__name__ == "TypeVar":
            return self.variables.get(hint, hint)
        open_variables = getattr(hint, "__parameters__", ())
        if open_variables and not isinstance(hint, type):
            return hint[tuple(self.variables.get(variable, variable) for variable in open_variables)]
        return hint

    def union(self, members: tuple[Any, ...]) -> Shape:
        shapes = [self.of(member) for member in members]
        schemas: list[Schema] = []
        for shape in shapes:
            for member in shape.schema["anyOf"] if shape.schema.keys() == {"anyOf"} else [shape.schema]:
                if member not in schemas:
                    schemas.append(member)
        kinds = frozenset().union(*(shape.kinds for shape in shapes))
        schema: Schema = {} if {} in schemas else schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
        return Shape(schema, arguments.union([(shape.convert, shape.kinds) for shape in shapes]), kinds)

    def literal(self, values: tuple[Any, ...]) -> Shape:
        members: dict[tuple[type, Any], Any] = {}
        for value in values:
            plain = value.value if records.is_enum(type(value)) else value
            if plain is not None and not isinstance(plain, (str, int, bool)):
                raise Unsupported(
                    f"`Literal[{value!r}]` has no JSON form; use text, whole numbers, true, false or None"
                )
            members[type(plain), plain] = value
        return self.choice(members)

    def choice(self, members: dict[tuple[type, Any], Any]) -> Shape:
        """Fixed values of scalar types."""
        kinds = {_SCALARS[kind] for kind, _ in members}
        named = sorted(kinds)
        schema: Schema = {"type": named[0]} if len(named) == 1 else {}
        schema["enum"] = [value for _, value in members]
        return Shape(schema, arguments.one_of(members), frozenset(kinds))

    def row(self, parameters: tuple[Any, ...]) -> Shape:
        if len(parameters) == 2 and parameters[1] is Ellipsis:
            return self.collection(parameters[:1], tuple, unique=False)
        if parameters == ((),):  # `tuple[()]` before Python 3.11
            parameters = ()
        shapes = [self.of(parameter) for parameter in parameters]
        schemas: list[Schema] = []
        for shape in shapes:
            if shape.schema not in schemas:
                schemas.append(shape.schema)
        schema: Schema = {"type": "array", "minItems": len(shapes), "maxItems": len(shapes)}
        # `items` beside `prefixItems` says nothing new; it is there for providers that know no other.
        schema["items"] = {} if not schemas else schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
        if len(schemas) > 1:
            schema["prefixItems"] = [shape.schema for shape in shapes]
        return Shape(schema, arguments.row([shape.convert for shape in shapes]), ARRAY)

    def collection(
        self, parameters: tuple[Any, ...], make: Callable[[Any], Any] | None, *, unique: bool
    ) -> Shape:
        item = self.of(parameters[0]) if parameters else ANY
        schema: Schema = {"type": "array", "items": item.schema}
        if unique and not self.strict:
            schema["uniqueItems"] = True
        return Shape(schema, arguments.items(item.convert, make), ARRAY)

    def mapping(self, name: str, origin: Any, parameters: tuple[Any, ...]) -> Shape:
        key = self.of(parameters[0]) if parameters else PLAIN[str]
        value = self.of(parameters[1]) if len(parameters) > 1 else PLAIN[int] if name == "Counter" else ANY
        schema: Schema = {"type": "object"}
        if value.schema:
            schema["additionalProperties"] = value.schema
        convert_key = None
        if key is not PLAIN[str] and key is not ANY:
            convert_key = arguments.key_of(key.convert, key.kinds)
            if convert_key is None:
                raise Unsupported("keys of JSON objects are text; use `dict[str, ...]`, or a list of pairs")
            if "string" in key.kinds:
                names = {word: rule for word, rule in key.schema.items() if word != "description"}
            else:
                names = {"pattern": r"^-?[0-9]+$" if "integer" in key.kinds else r"^-?[0-9]+(\.[0-9]+)?$"}
            schema["propertyNames"] = names
        make: Callable[[Any], Any] | None = None
        if name == "defaultdict":
            factory = _factory(parameters[1]) if len(parameters) > 1 else None
            make = lambda members: origin(factory, members)  # noqa: E731
        elif name in ("OrderedDict", "Counter"):
            make = origin
        return Shape(schema, arguments.mapping(convert_key, value.convert, make), OBJECT)

    def alias(self, alias: Any, parameters: tuple[Any, ...]) -> Shape:
        """`type Name = ...`, which may name itself."""
        parameters = tuple(self.substituted(parameter) for parameter in parameters)

        def build() -> Shape:
            before = self.variables
            self.variables = {
                **before,
                **dict(zip(getattr(alias, "__type_params__", ()), parameters, strict=False)),
            }
            try:
                return self.of(alias.__value__)
            except NameError as error:
                raise Unresolved(
                    f"the name `{error.name}` in `type {alias.__name__}` is not known"
                ) from error
            finally:
                self.variables = before

        return self.named(
            (id(alias), tuple(str(parameter) for parameter in parameters)), alias.__name__, build
        )

    # -- classes -------------------------------------------------------------------------------------------

    def of_class(self, kind: type, parameters: tuple[Any, ...]) -> Shape:
        make = CLASSES.get((kind.__module__, kind.__qualname__))
        if make is not None:
            return make(kind)
        if records.is_enum(kind):
            return self.enum(kind)
        if records.is_pydantic(kind):
            return self.pydantic(kind, parameters)
        reader = records.reader_of(kind)
        if reader is not None:
            parameters = tuple(self.substituted(parameter) for parameter in parameters)
            key = (kind, tuple(str(parameter) for parameter in parameters))
            return self.named(key, kind.__name__, lambda: self.record(kind, parameters, reader))
        if kind is tuple:
            return self.collection((), tuple, unique=False)
        if kind.__module__ in ("builtins", "collections", "collections.abc") and (
            kind.__name__ in _COLLECTIONS or kind.__name__ in _MAPPINGS or kind.__name__ == "deque"
        ):
            return self.generic(kind, kind, ())
        for base in kind.__mro__:
            make = CLASSES.get((base.__module__, base.__qualname__))
            if make is not None:
                return make(kind)
        if hasattr(kind, "__get_pydantic_core_schema__") and "pydantic" in sys.modules:
            return self.pydantic_type(kind)
        raise Unsupported(
            f"`{kind.__qualname__}` has no JSON form; make it a dataclass, a TypedDict or an Enum, or take"
            " its parts"
        )

    def enum(self, kind: type) -> Shape:
        members = list(kind.__members__.values())  # type: ignore[attr-defined]
        if records.is_flag(kind):
            said = ", ".join(f"{member.value}: {member.name}" for member in members)
            schema = {"type": "integer", "description": f"The sum of {said}"}
            return Shape(schema, arguments.subclass(arguments.integer, kind), PLAIN[int].kinds)
        if not members:
            raise Unsupported(f"`{kind.__qualname__}` has no members")
        if all(type(member.value) in _SCALARS for member in members) or all(
            isinstance(member, (str, int)) for member in members
        ):
            plain = {_plain_member(member): member for member in members}
            shape = self.choice(plain)
            if all(type(member.value) is int for member in members):  # numbers say nothing by themselves
                named = {member.value: member.name for member in reversed(members)}
                shape.schema["description"] = ", ".join(f"{value}: {named[value]}" for _, value in plain)
            return shape
        return self.choice({(str, member.name): member for member in members})

    def record(self, kind: type, parameters: tuple[Any, ...], reader: records.Reader) -> Shape:
        """A class with named members, as an object that has no others."""
        scope, variables = self.scope, self.variables
        self.variables = {**variables, **records.bindings(kind, parameters)}
        try:
            record = reader(kind)
            converters: dict[str, Convert] = {}
            properties: Schema = {}
            required = []
            for field in record.fields:
                self.scope = scope.inside(field.owner)
                field = records.resolved(field, self.scope.evaluate)
                try:
                    shape = self.of(field.hint)
                except Unsupported as problem:
                    message = f"in the field `{field.name}` of `{kind.__name__}`: {problem}"
                    raise type(problem)(message) from problem
                schema = shape.schema
                if field.description and "description" not in schema:
                    schema = {**schema, "description": field.description}
                properties[field.name] = with_default(schema, field.default)
                converters[field.name] = shape.convert
                if field.required:
                    required.append(field.name)
        finally:
            self.scope, self.variables = scope, variables
        schema = {
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": False,
        }
        if not required:
            del schema["required"]
        if record.description:
            schema["description"] = record.description
        convert = arguments.record(kind.__name__, converters, frozenset(required), record.make)
        return Shape(schema, convert, OBJECT)

    def pydantic(self, kind: Any, parameters: tuple[Any, ...]) -> Shape:
        model = kind[parameters] if parameters else kind
        convert = records.validated(model.model_validate, kind.__name__)
        return Shape(self.lift(model.model_json_schema()), convert, arguments.EVERY_KIND)

    def pydantic_type(self, kind: Any) -> Shape:
        """A type that knows how Pydantic makes it, such as `EmailStr`; Pydantic was imported by the user."""
        adapter = sys.modules["pydantic"].TypeAdapter(kind)
        convert = records.validated(adapter.validate_python, kind.__name__)
        return Shape(self.lift(adapter.json_schema()), convert, arguments.EVERY_KIND)

    def lift(self, schema: Schema) -> Schema:
        """A finished schema as a part of this one: its definitions become ours."""
        renamed = {}
        for name, part in schema.get("$defs", {}).items():
            part = records.without_titles(part)
            free, count = name, 2
            while free in self.lifted and self.lifted[free] != part:
                free, count = f"{name}{count}", count + 1
            renamed[name] = free
            self.lifted[free] = part
        body: Schema = records.without_titles(
            {word: rule for word, rule in schema.items() if word != "$defs"}
        )
        if any(name != free for name, free in renamed.items()):
            references = {f"#/$defs/{name}": f"#/$defs/{free}" for name, free in renamed.items()}
            body = _referring(body, references)
            for free in renamed.values():
                self.lifted[free] = _referring(self.lifted[free], references)
        return body

    # -- definitions ---------------------------------------------------------------------------------------

    def named(self, key: Any, name: str, build: Callable[[], Shape]) -> Shape:
        """A shape that may come again, or contain itself."""
        definition = self.definitions.get(key)
        if definition is None:
            definition = self.definitions[key] = _Definition(self.free_name(name))
            try:
                definition.shape = build()
            except BaseException:
                del self.definitions[key]
                raise
        definition.uses += 1
        reference: Schema = {"$ref": f"#/$defs/{definition.name}"}
        known = definition
        if known.shape is not None:
            return Shape(reference, known.shape.convert, known.shape.kinds)

        def later(value: Any) -> Any:
            return known.shape.convert(value) if known.shape else value

        return Shape(reference, later, arguments.EVERY_KIND)

    def free_name(self, name: str) -> str:
        taken = {definition.name for definition in self.definitions.values()}
        free, count = name, 2
        while free in taken:
            free, count = f"{name}{count}", count + 1
        return free

    def finish(self, schema: Schema) -> Schema:
        """The schema as it stands alone: what is used once is put in its place, the rest into `$defs`."""
        if not self.definitions and not self.lifted:
            return schema
        here: Schema = {}
        apart: Schema = dict(self.lifted)
        for definition in self.definitions.values():
            if definition.shape is not None:
                target = apart if definition.uses > 1 else here
                target[f"{definition.name}"] = definition.shape.schema
        finished: Schema = self.placed(schema, here)
        if apart:
            finished["$defs"] = {name: self.placed(definition, here) for name, definition in apart.items()}
        return finished

    def placed(self, schema: Any, here: Schema, *, names: bool = False) -> Any:
        """`names`: the keys here are names of members and not keywords."""
        if isinstance(schema, list):
            return [self.placed(entry, here) for entry in schema]
        if not isinstance(schema, dict):
            return schema
        if names:
            return {name: self.placed(entry, here) for name, entry in schema.items()}
        reference = schema.get("$ref")
        if isinstance(reference, str):
            name = reference.removeprefix("#/$defs/")
            siblings = {word: rule for word, rule in schema.items() if word != "$ref"}
            if name in here:
                return self.placed({**here[name], **siblings}, here)
            return {"$ref": reference} if self.strict else schema
        return {
            word: rule if word in _VALUES else self.placed(rule, here, names=word in _NAMED)
            for word, rule in schema.items()
        }


_SCALARS: dict[type, str] = {
    str: "string",
    int: "integer",
    bool: "boolean",
    float: "number",
    type(None): "null",
}
_VALUES = {"enum", "const", "default", "examples", "required"}
_NAMED = {"properties", "$defs", "patternProperties"}


def _plain_member(member: Any) -> tuple[type, Any]:
    """The JSON value of a member, by its type."""
    value = (
        member.value
        if type(member.value) in _SCALARS
        else str(member)
        if isinstance(member, str)
        else int(member)
    )
    return type(value), value


def _factory(hint: Any) -> Callable[[], Any] | None:
    """What a `defaultdict` of this hint starts its values with."""
    origin = getattr(hint, "__origin__", hint)
    return origin if origin in (int, float, str, bool, list, dict, set) else None


def _referring(schema: Any, references: dict[str, str]) -> Any:
    if isinstance(schema, list):
        return [_referring(entry, references) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        word: references.get(rule, rule)
        if word == "$ref" and isinstance(rule, str)
        else _referring(rule, references)
        for word, rule in schema.items()
    }


def with_default(schema: Schema, default: Any) -> Schema:
    """The schema with a default, where JSON can say it and a model gains by knowing it."""
    if default is None or default is records.NONE:
        return schema
    if records.is_enum(type(default)) and not records.is_flag(type(default)):
        default = default.value if default.value in schema.get("enum", ()) else default.name
    if type(default) is float and default - default != 0:  # neither infinite nor NaN
        return schema
    if type(default) not in _SCALARS or "default" in schema:
        return schema
    return {**schema, "default": default}


def spelled(hint: Any) -> str:
    """A hint as a person would write it."""
    if isinstance(hint, type) and not hasattr(hint, "__origin__"):
        return hint.__qualname__
    return str(hint).replace("typing.", "")
