"""`@tool`: a function that a model may call."""

from __future__ import annotations

import functools
import re
import sys
import types
from collections.abc import Callable, Mapping
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    Literal,
    NamedTuple,
    NoReturn,
    ParamSpec,
    TypeVar,
    cast,
    overload,
)

from ..errors import ToolError, UsageError
from . import arguments, definition, docstring, result, signature
from .arguments import Convert, Mismatch
from .constraints import Notes
from .scalar import Schema, Shape
from .schema import Scope, Shapes, Unresolved, Unsupported, spelled, with_default
from .signature import MISSING, Parameter, Signature

if TYPE_CHECKING:
    from typing_extensions import Self

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
S = TypeVar("S")

Effect = Literal["read", "idempotent", "once"]
OnError = Literal["tell", "raise"]
Thread = Literal["pool", "caller"]

_MARKS = {
    "_is_coroutine_marker": (
        "inspect",
        "_is_coroutine_mark" if sys.version_info >= (3, 13) else "_is_coroutine_marker",
    ),
    "_is_coroutine": ("asyncio.coroutines", "_is_coroutine"),
}
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_EFFECTS = ("read", "idempotent", "once")


class Options(NamedTuple):
    """What `@tool(...)` was given; the meaning of each is told there."""

    effect: str | None = None
    timeout: float | None = None
    parallel: bool = True
    name: str | None = None
    description: str | None = None
    concurrency: int | None = None
    attempts: int | None = None
    on_error: str = "tell"
    thread: str = "pool"


_DEFAULT = Options()


class Compiled(NamedTuple):
    """What is made of a function's parameters, once."""

    schema: Schema
    converters: dict[str, Convert]
    required: frozenset[str]
    rest: Convert | None
    """For members that are no parameters: the function takes `**kwargs`."""
    positional: tuple[tuple[str, Any], ...]
    """Parameters that can be given by position alone, with their defaults."""
    fills: dict[str, Callable[[], Any]]
    """Defaults that Python itself would not put in, as those in Pydantic's `Field`."""
    context: str | None
    returns: Any


class Tool(Generic[P, R_co]):
    """A function that a model may call. It stays callable as the function it is made of.

    Made by :func:`tool`, or from a plain function that is given to an agent. Attributes say what a model is
    told (`name`, `description`, `schema`) and how calls are treated (`effect`, `exclusive`, `timeout` in
    seconds, `concurrency`, `attempts`, `on_error`, `thread`).
    """

    __wrapped__: Callable[..., Any]
    __name__: str
    __qualname__: str

    def __init__(self, function: Callable[P, R_co], options: Options = _DEFAULT) -> None:
        self._owner_binds = isinstance(function, classmethod)
        self._static = isinstance(function, staticmethod)
        inner: Any = function.__func__ if isinstance(function, (classmethod, staticmethod)) else function
        self._function: Callable[..., Any] = inner
        self._options = options
        self._instance: Any = MISSING
        self._compiled: Compiled | None = None
        self._locals: dict[str, Any] | None = None
        source = signature.described(inner)
        functools.update_wrapper(self, source if signature.code_of(source) is not None else inner)
        self.__wrapped__ = inner
        self.name: str = options.name or signature.name_of(inner)
        self._checked(options)
        self.kind: Literal["sync", "async", "generator", "async_generator"] = cast(
            Any, signature.kind_of(inner)
        )
        if self.thread == "caller" and self.kind.startswith("async"):
            self._misuse("`thread` is for `def` tools; an `async def` runs on its caller's loop already")
        self._documented = docstring.parse(getattr(source, "__doc__", None))
        self.description: str = (
            self._documented.description if options.description is None else options.description
        )
        try:
            self._compile()
        except Unresolved:
            self._locals = definition.locals_of(signature.code_of(source))
            try:
                self._compile()
            except Unresolved:
                pass  # a class that is defined further down, perhaps: the first use tries again

    def _checked(self, options: Options) -> None:
        """Takes the options over, or says what is wrong with one."""
        if not _NAME.fullmatch(self.name):
            self._misuse(
                f"`{self.name}` cannot be the name of a tool; give one with `name=`, of letters, digits, `_`"
                " and `-`, 64 at most"
            )
        if options.effect not in (None, *_EFFECTS):
            self._misuse(f"`effect` is one of {', '.join(map(repr, _EFFECTS))}, not {options.effect!r}")
        if options.on_error not in ("tell", "raise"):
            self._misuse(
                f"`on_error` is 'tell' (the model) or 'raise' (out of the run), not {options.on_error!r}"
            )
        if options.thread not in ("pool", "caller"):
            self._misuse(f"`thread` is 'pool' or 'caller', not {options.thread!r}")
        for word, least in (("concurrency", 1), ("attempts", 1)):
            number = getattr(options, word)
            if number is not None and (type(number) is not int or number < least):
                self._misuse(f"`{word}` is a whole number of at least {least}, not {number!r}")
        timeout: Any = options.timeout
        if hasattr(timeout, "total_seconds"):
            timeout = timeout.total_seconds()
        if timeout is not None and (
            not isinstance(timeout, (int, float))
            or isinstance(timeout, bool)
            or not 0 < timeout < float("inf")
        ):
            self._misuse(f"`timeout` is a number of seconds above 0, not {options.timeout!r}")
        self.effect: Literal["read", "idempotent", "once", "undeclared"] = cast(
            Any, options.effect or "undeclared"
        )
        self.exclusive: bool = not options.parallel
        self.timeout: float | None = None if timeout is None else float(timeout)
        self.concurrency: int | None = options.concurrency
        self.attempts: int | None = options.attempts
        self.on_error: OnError = cast(Any, options.on_error)
        self.thread: Thread = cast(Any, options.thread)

    # -- what the model is told ----------------------------------------------------------------------------

    @property
    def schema(self) -> Schema:
        """JSON Schema (2020-12) of the arguments."""
        return self._ready().schema

    @property
    def input_schema(self) -> Schema:
        """The same as `schema`."""
        return self._ready().schema

    @functools.cached_property
    def output_schema(self) -> Schema | None:
        """JSON Schema of the result, where its annotation says more than text."""
        returns = self._ready().returns
        if returns in (MISSING, None, type(None), str, Any) or "generator" in self.kind:
            return None
        shapes = Shapes(Scope(getattr(signature.described(self._function), "__globals__", {})))
        try:
            return shapes.finish(shapes.of(returns).schema) or None
        except Unsupported:
            return None

    @property
    def wants_context(self) -> str | None:
        """The name of the parameter that gets the call's context."""
        return self._ready().context

    # -- calls ---------------------------------------------------------------------------------------------

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        return cast(R_co, self._function(*args, **kwargs))

    def call(self, arguments: Mapping[str, Any], context: Any = None) -> Any:
        """Calls the function with arguments as JSON has them.

        Gives what the function gives: a value, a coroutine or a generator. Raises `ToolError`
        (`invalid_arguments`) where an argument does not fit; what the function raises passes through.
        """
        compiled = self._compiled or self._ready()
        converters = compiled.converters
        values = {}
        for name, value in arguments.items():
            convert = converters.get(name)
            if convert is None:
                convert = self._rest(compiled, name)
            try:
                values[name] = convert(value)
            except Mismatch as mismatch:
                self._refuse(mismatch.within(name))
        if not compiled.required <= values.keys():
            missing = [name for name in converters if name in compiled.required and name not in values]
            self._refuse(Mismatch(f"{_listed(missing)} {_is(missing)} missing"))
        for name, make in compiled.fills.items():
            if name not in values:
                values[name] = make()
        if compiled.context is not None:
            values[compiled.context] = context
        if compiled.positional:
            given = [values.pop(name, default) for name, default in compiled.positional]
            return self._function(*given, **values)
        return self._function(**values)

    def output(self, value: Any) -> Any:
        """What the function gave, as JSON can hold it. None is the text `done`.

        Raises `ToolError` (`tool_failed`) where there is no such form.
        """
        if type(value) is str:
            return value
        if value is None:
            return "done"
        try:
            return result.to_json(value)
        except result.Unwritable as problem:
            raise ToolError(
                f"the result of tool `{self.name}` cannot be written as JSON:"
                f" {problem.place()}: {problem.problem}; return text, numbers, lists, dicts, dataclasses or"
                " Pydantic models"
            ) from problem.__cause__

    def _rest(self, compiled: Compiled, name: str) -> Convert:
        taken = name == compiled.context or name in ("self", "cls")
        if compiled.rest is None or taken:
            self._refuse(
                Mismatch(f"there is no parameter `{name}`; there are {_listed(list(compiled.converters))}")
            )
        return compiled.rest

    def _refuse(self, mismatch: Mismatch) -> NoReturn:
        place = mismatch.place()
        problem = f"`{place}`: {mismatch.problem}" if place else mismatch.problem
        raise ToolError(
            f"the arguments of `{self.name}` do not fit: {problem}", code="invalid_arguments"
        ) from mismatch.__cause__

    # -- making it -----------------------------------------------------------------------------------------

    def _ready(self) -> Compiled:
        compiled = self._compiled
        if compiled is None:
            self._locals = {
                **(self._locals or {}),
                **(definition.locals_of(signature.code_of(signature.described(self._function))) or {}),
            }
            try:
                compiled = self._compile()
            except Unresolved as problem:
                self._misuse(str(problem), problem)
        return compiled

    def _compile(self) -> Compiled:
        try:
            found = signature.read(self._function)
            compiled = self._compiled = self._read(found)
            self._locals = None
            return compiled
        except Unresolved:
            raise
        except Unsupported as problem:
            self._misuse(str(problem), problem)

    def _read(self, found: Signature) -> Compiled:
        if found.args is not None:
            self._misuse(
                f"`*{found.args}` has no names that a model could give; take a list in its place, such as"
                f" `{found.args}: list[str]`"
            )
        self._method = found.method and not self._static
        given = found.parameters[1:] if self._method else found.parameters
        shapes = Shapes(self._scope())
        context = next((one for one in given if _is_context(one, shapes)), None)
        given = [one for one in given if one is not context]
        if context is not None and context.positional:
            self._misuse(f"the context `{context.name}` must be a parameter that can be given by name")
        missing = [one.name for one in given if one.hint is MISSING]
        if missing:
            has, it = ("has", "it") if len(missing) == 1 else ("have", "them")
            self._misuse(
                f"{_listed(missing)} {has} no type annotation, so the model cannot be told what to give;"
                f" annotate {it}, such as `{missing[0]}: str`"
            )
        properties: Schema = {}
        converters: dict[str, Convert] = {}
        required = []
        positional: list[tuple[str, Any]] = []
        fills: dict[str, Callable[[], Any]] = {}
        for parameter in given:
            shape, default = self._parameter(parameter, shapes, fills)
            described = self._documented.parameters.get(parameter.name)
            schema = shape.schema
            if described and "description" not in schema:
                schema = {**schema, "description": described}
            properties[parameter.name] = with_default(schema, default) if default is not MISSING else schema
            converters[parameter.name] = shape.convert
            if default is MISSING and parameter.name not in fills:
                required.append(parameter.name)
            if parameter.positional:
                positional.append((parameter.name, default))
        schema = {"type": "object", "properties": properties}
        if required:
            schema["required"] = required
        rest, schema["additionalProperties"] = self._others(found.kwargs, shapes, properties)
        return Compiled(
            shapes.finish(schema),
            converters,
            frozenset(required),
            rest,
            tuple(positional),
            fills,
            context.name if context is not None else None,
            self._returned(found.returns, shapes),
        )

    def _scope(self) -> Scope:
        source = signature.described(self._function)
        names = getattr(source, "__globals__", None)
        if names is None:
            names = getattr(type(self._function), "__dict__", {})
        local = dict(self._locals or {})
        for parameter in getattr(source, "__type_params__", ()):
            local[parameter.__name__] = parameter
        return Scope(dict(names) if not isinstance(names, dict) else names, local)

    def _parameter(
        self, parameter: Parameter, shapes: Shapes, fills: dict[str, Callable[[], Any]]
    ) -> tuple[Shape, Any]:
        default = parameter.default
        try:
            shape = shapes.of(parameter.hint)
        except Unsupported as problem:
            raise type(problem)(f"the parameter `{parameter.name}`: {problem}") from problem
        if type(default).__name__ == "FieldInfo":  # `x: int = Field(1, ge=0)`, as Pydantic writes it
            schema, checks = Notes().read((default,)).apply(shape.schema)
            convert = arguments.checked(shape.convert, checks) if checks else shape.convert
            shape = Shape(schema, convert, shape.kinds)
            default = _field_default(default)
            if default is not MISSING:
                fills[parameter.name] = default
                default = MISSING
        if default is None and "null" not in shape.kinds:  # `x: int = None` means that None may be given
            shape = Shape(
                {"anyOf": [shape.schema, {"type": "null"}]},
                arguments.union([(shape.convert, shape.kinds), (arguments.null, frozenset(("null",)))]),
                shape.kinds | {"null"},
            )
        return shape, default

    def _others(
        self, kwargs: Parameter | None, shapes: Shapes, properties: Schema
    ) -> tuple[Convert | None, Schema | bool]:
        """What is done with members that are no parameters."""
        if kwargs is None:
            return None, False
        if kwargs.hint is MISSING:
            return arguments.anything, True
        hint = shapes.scope.evaluate(kwargs.hint) if isinstance(kwargs.hint, str) else kwargs.hint
        if getattr(getattr(hint, "__origin__", None), "_name", None) == "Unpack" or spelled(hint).startswith(
            "*"
        ):
            raise Unsupported(
                f"`**{kwargs.name}: Unpack[...]` is not read; take the TypedDict itself as a parameter"
            )
        shape = shapes.of(hint)
        return shape.convert, shape.schema or True

    def _returned(self, returns: Any, shapes: Shapes) -> Any:
        if not isinstance(returns, str):
            return returns
        try:
            return shapes.scope.evaluate(returns)
        except Unsupported:  # it is for people then; a result needs no schema
            return MISSING

    def _place(self) -> str:
        return signature.place_of(self._function)

    def _misuse(self, problem: str, cause: BaseException | None = None) -> NoReturn:
        raise UsageError(f"tool `{self.name}` ({self._place()}): {problem}") from cause

    # -- methods -------------------------------------------------------------------------------------------

    @overload
    def __get__(self, instance: None, owner: Any = None) -> Self: ...
    @overload
    def __get__(self: Tool[Concatenate[S, Q], R], instance: S, owner: Any = None) -> Tool[Q, R]: ...
    @overload
    def __get__(self, instance: object, owner: Any = None) -> Self: ...
    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if self._owner_binds:
            return self.bind(owner if owner is not None else type(instance))
        if instance is None or self._instance is not MISSING or not self.needs_object:
            return self
        return self.bind(instance)

    @property
    def needs_object(self) -> bool:
        """It is a method of no object yet; a model cannot call it."""
        return self._instance is MISSING and getattr(self, "_method", False)

    def bind(self, instance: Any) -> Tool[..., R_co]:
        """The tool as a method of this object."""
        bound: Tool[..., R_co] = object.__new__(type(self))
        bound.__dict__.update(self.__dict__)
        bound.__dict__.pop("_ambidex_core", None)  # what an agent made of the other
        bound._instance = instance
        bound._owner_binds = False
        bound._function = types.MethodType(self._function, instance)
        bound.__wrapped__ = bound._function
        return bound

    # -- being a function ----------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        # How `inspect` and `asyncio` know an async function that is none; they are the ones who ask.
        if name in _MARKS and self.__dict__.get("kind") == "async":
            module, mark = _MARKS[name]
            return getattr(sys.modules.get(module), mark, None)
        raise AttributeError(f"a tool has no attribute {name!r}", name=name, obj=self)

    def __reduce__(self) -> Any:
        """By name, as functions are."""
        if self._instance is not MISSING:
            return getattr, (self._instance, self.__name__)
        found: Any = sys.modules.get(self.__module__)
        for step in self.__qualname__.split("."):
            found = getattr(found, step, None)
        return self.__qualname__ if found is self else (as_tool, (self.__wrapped__,))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def __repr__(self) -> str:
        return f"<tool {self.name} ({self.kind}, {self._place()})>"


def _is_context(parameter: Parameter, shapes: Shapes) -> bool:
    """Whether it asks for the context: by its annotation, or by the name `ctx` where that is no data."""
    hint = parameter.hint
    if isinstance(hint, str) and ("ToolContext" in hint or parameter.name == "ctx"):
        try:
            hint = shapes.scope.evaluate(hint)
        except Unresolved:  # `if TYPE_CHECKING: from ambidex import ToolContext`
            return "ToolContext" in hint or parameter.name == "ctx"
    for part in getattr(hint, "__args__", None) or (hint,):
        if getattr(part, "__name__", None) == "ToolContext" and str(part.__module__).startswith("ambidex"):
            return True
    if parameter.name != "ctx":
        return False
    try:
        if hint is MISSING or hint is Any:
            return True
        shapes.of(hint)
    except Unsupported:
        return True
    return False


def _field_default(field: Any) -> Any:
    """How a Pydantic `Field` makes its default; MISSING where it has none."""
    if field.default_factory is not None:
        return field.default_factory
    if type(field.default).__name__ in ("PydanticUndefinedType", "ellipsis"):
        return MISSING
    return lambda: field.default


def _listed(names: list[str]) -> str:
    if not names:
        return "none"
    quoted = [f"`{name}`" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"


def _is(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


@overload
def tool(function: Callable[P, R], /) -> Tool[P, R]: ...
@overload
def tool(
    *,
    effect: Effect | None = None,
    timeout: float | None = None,
    parallel: bool = True,
    name: str | None = None,
    description: str | None = None,
    concurrency: int | None = None,
    attempts: int | None = None,
    on_error: OnError = "tell",
    thread: Thread = "pool",
) -> Callable[[Callable[P, R]], Tool[P, R]]: ...
def tool(function: Any = None, /, **options: Any) -> Any:
    """Makes a function one that a model may call.

    The schema comes from type hints and docstring; arguments arrive as the annotated types. Errors of the
    definition are raised here, as :class:`ambidex.errors.UsageError`.

    - `effect`: what a call does to the world: `read` (changes nothing; repeated freely), `idempotent`
      (repeated under the same key) or `once` (never repeated without a person's word). Without it: not
      repeated, approved as `read`.
    - `timeout`: seconds for one call; 30 where it is not given.
    - `parallel`: False keeps it from running beside another tool of its run.
    - `name`, `description`: in place of the function's name and its docstring.
    - `concurrency`: calls that may run at once in this process; 8 where it is not given.
    - `attempts`: in all, for a `read` or `idempotent` tool whose error says that a retry helps; 3 where it is
      not given.
    - `on_error`: `tell` the model what was raised, or `raise` it out of the run, as `ToolError` with it as
      the cause.
    - `thread`: where a `def` runs: on the `pool`, or on the `caller`'s own thread, for objects that are bound
      to it.
    """
    unknown = [word for word in options if word not in Options._fields]
    if unknown:
        raise UsageError(
            f"tool() has no option {_listed(unknown)}; there are {_listed(list(Options._fields))}"
        )
    given = Options(**options)
    if function is None:
        return lambda function: _made(function, given)
    return _made(function, given)


def _made(function: Any, options: Options) -> Tool[..., Any]:
    if isinstance(function, Tool):
        raise UsageError(f"`{function.name}` is a tool already; use `@tool` once")
    if isinstance(function, str):
        raise UsageError(f"`@tool` takes options by name: write `@tool(name={function!r})`")
    if isinstance(function, type):
        raise UsageError(
            f"`{function.__qualname__}` is a class; decorate a function or a method, or give an object that"
            " can be called"
        )
    taken: Any = function
    if not callable(function) and not isinstance(function, (classmethod, staticmethod)):
        raise UsageError(f"`@tool` is for functions, not for `{type(function).__qualname__}`")
    return Tool(taken, options)


def as_tool(function: Any) -> Tool[..., Any]:
    """What an agent is given as a tool, compiled: a `Tool` as it is, another callable as `@tool` would make
    it.

    Plain functions are compiled once. Raises `UsageError`.
    """
    if isinstance(function, Tool):
        if function.needs_object:
            owner, _, method = function.__qualname__.rpartition(".")
            thing = owner.rpartition(".")[2].lower()
            raise UsageError(
                f"`{function.__qualname__}` is a method of no object; give that of an object, such as"
                f" `{thing}.{method}`"
            )
        return function
    if isinstance(function, types.MethodType):
        inner = function.__func__
        made = inner if isinstance(inner, Tool) else _kept(inner)
        return made.bind(function.__self__)
    made = _kept(function) if isinstance(function, types.FunctionType) else _made(function, Options())
    return as_tool(made) if made.needs_object else made


def _kept(function: Any) -> Tool[..., Any]:
    """The tool of a plain function, made at its first use and kept on it."""
    kept = getattr(function, "__ambidex_tool__", None)
    if isinstance(kept, Tool) and kept.__wrapped__ is function:
        return kept
    made = _made(function, Options())
    try:
        function.__ambidex_tool__ = made
    except AttributeError:
        pass
    return made
