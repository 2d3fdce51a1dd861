"""The state of a graph: the type that nodes are given it as, and the plain data it is kept as."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, is_typeddict

from .errors import UsageError
from .tools.arguments import Convert, Mismatch
from .tools.records import is_pydantic, reader_of
from .tools.result import Unwritable, to_json
from .tools.schema import Scope, Shapes, Unsupported, spelled

_SCALARS = (str, int, float, bool, None, type(None), Any, object, dict, list)
_REDUCERS = ("last", "first", "append", "extend", "add", "merge", "max", "min", "union", "and", "or")


class StateType:
    """What is known of a state's type.

    - ``fields``: their names; None where the state is any dict.
    - ``make``: from plain data to what nodes are given; None where that is the dict itself.
    - ``reducers``: those that its hints name.
    """

    def __init__(self, kind: Any) -> None:
        self.kind = kind
        self.name = getattr(kind, "__name__", None) or spelled(kind)
        self.make: Callable[[dict[str, Any]], Any] | None = None
        self.fields: list[str] | None = None
        self.reducers: dict[str, str] = {}
        self.hints: dict[str, Any] = {}
        # Whether there are objects of it: what a TypedDict describes are dicts.
        self._is_class = isinstance(kind, type) and kind is not dict and not is_typeddict(kind)
        self._converters: dict[str, Convert] = {}
        self._defaults: dict[str, Any] = {}
        if kind is None or kind is dict or getattr(kind, "__origin__", None) is dict:
            return
        if not isinstance(kind, type):
            raise self._refused()
        if is_pydantic(kind):
            self._of_pydantic()
        else:
            self._of_record()
        for name, hint in self.hints.items():
            self._note_reducers(name, hint)

    def _refused(self) -> UsageError:
        return UsageError(
            f"ax.Graph: the state is {self.kind!r}; give it a TypedDict, a dataclass, a Pydantic model, or dict"
        )

    # -- kinds ---------------------------------------------------------------------------------------------

    def _of_pydantic(self) -> None:
        kind = self.kind
        self.fields = list(kind.model_fields)
        for name, field in kind.model_fields.items():
            self.hints[name] = _Annotated(field.annotation, tuple(field.metadata))

        def make(state: dict[str, Any]) -> Any:
            return kind.model_validate({name: value for name, value in state.items() if name in known})

        known = set(self.fields)
        self.make = make

    def _of_record(self) -> None:
        reader = reader_of(self.kind)
        if reader is None:
            raise self._refused()
        record = reader(self.kind)
        shapes = Shapes(Scope({}))
        self.fields = [field.name for field in record.fields]
        for field in record.fields:
            try:
                hint = _evaluated(field.hint, field.owner)
                self.hints[field.name] = hint
                if not _is_plain(hint):
                    self._converters[field.name] = shapes.of(hint).convert
            except Unsupported as problem:
                raise UsageError(
                    f"ax.Graph: the field {field.name!r} of {self.name} cannot be kept: {problem}"
                ) from problem
        if record.make is not None:
            self.make = self._build
            if hasattr(self.kind, "__dataclass_fields__"):
                self._defaults = {field.name: field.default for field in record.fields if not field.required}
        elif self._converters:
            self.make = self._converted

    def _converted(self, state: dict[str, Any]) -> dict[str, Any]:
        members = dict(state)
        for name, convert in self._converters.items():
            if name in members:
                members[name] = self._convert(name, convert, members[name])
        return members

    def _build(self, state: dict[str, Any]) -> Any:
        converters = self._converters
        members = {
            name: self._convert(name, converters[name], state[name]) if name in converters else state[name]
            for name in self.fields or ()
            if name in state
        }
        try:
            return self.kind(**members)
        except TypeError as error:
            missing = [name for name in self.fields or () if name not in state]
            raise UsageError(f"the state is no {self.name}: {error} (missing: {missing})") from error

    def _convert(self, name: str, convert: Convert, value: Any) -> Any:
        try:
            return convert(value)
        except Mismatch as mismatch:
            place = mismatch.place()
            where = f"{name}.{place}" if place else name
            raise UsageError(
                f"the state is no {self.name}: its field `{where}`: {mismatch.problem}"
            ) from mismatch.__cause__

    # -- from users to plain data and back -----------------------------------------------------------------

    def begin(self, given: Any) -> dict[str, Any]:
        """The state that a run begins with, as plain data."""
        if isinstance(given, Mapping):
            self.check_names("the state", given)
            if self.make is not None and not self._is_open:
                given = self.make(self._plain("the state", dict(given)))
        elif not self._is_class or not isinstance(given, self.kind):
            raise UsageError(
                f"a graph's run begins with a {self.name} or a dict of its fields, not {given!r}"
            )
        state: dict[str, Any] = self._plain("the state", given)
        return state

    @property
    def _is_open(self) -> bool:
        """Whether fields may be missing."""
        return self.make is None or type(self.kind).__name__ == "_TypedDictMeta"

    def parse(self, state: Any) -> Any:
        """Plain data as what users see."""
        return state if self.make is None or not isinstance(state, dict) else self.make(state)

    def check_names(self, what: str, names: Any) -> None:
        if self.fields is None:
            return
        for name in names:
            if name not in self.fields:
                raise UsageError(self.no_field(what, name))

    def no_field(self, what: str, name: Any) -> str:
        from ._checks import nearest

        near = nearest(str(name), self.fields or ())
        hint = f"; did you mean {near!r}?" if near else ""
        return f"{what} has a field {name!r}, which {self.name} has not{hint}; it has {', '.join(self.fields or ())}"

    def _plain(self, what: str, value: Any) -> Any:
        try:
            return to_json(value)
        except Unwritable as problem:
            place = problem.place().removeprefix("result")
            raise UsageError(f"{what}{place} cannot be kept: {problem.problem}") from None

    def plain(self, value: Any) -> Any:
        """What a node returned, as plain data."""
        return self._plain("what it returned", value)

    def is_instance(self, value: Any) -> bool:
        return self.make is not None and not self._is_open and isinstance(value, self.kind)

    def update_of(self, before: dict[str, Any], given: Any, returned: Any) -> dict[str, Any]:
        """What an object of the state's type says as an update.

        The one a node was given: the fields it changed. A new one: those that were set (Pydantic), or that are not
        as their defaults (dataclass).
        """
        now: dict[str, Any] = self._plain("what it returned", returned)
        if returned is given:
            return {name: value for name, value in now.items() if name not in before or before[name] != value}
        if hasattr(returned, "model_fields_set"):
            return {name: now[name] for name in returned.model_fields_set if name in now}
        defaults = self._defaults
        return {
            name: value
            for name, value in now.items()
            if name not in defaults or getattr(returned, name) != _default(self.kind, name)
        }

    # -- reducers ------------------------------------------------------------------------------------------

    def _note_reducers(self, name: str, hint: Any) -> None:
        for note in getattr(hint, "__metadata__", ()):
            if isinstance(note, str) and note in _REDUCERS:
                self.reducers[name] = note
            elif callable(note) and not isinstance(note, type):
                self.reducers[name] = self.reducer(name, note)

    def reducer(self, field: str, given: Any) -> str:
        """A reducer's name in the core."""
        if isinstance(given, str):
            if given in _REDUCERS:
                return given
        else:
            name = self._known_reducer(field, given)
            if name is not None:
                return name
        raise UsageError(
            f"ax.Graph: the reducer of {field!r} is {given!r}; it is one of {', '.join(map(repr, _REDUCERS))}, or "
            "operator.add, operator.or_, operator.and_, max, min. What these cannot do, a node behind the join does"
        )

    def _known_reducer(self, field: str, given: Any) -> str | None:
        holds = _holds(self.hints.get(field))
        if given is operator.add or given is operator.iadd or given is operator.concat:
            return "extend" if holds is list or given is operator.concat else "add"
        if given is operator.or_ or given is operator.ior:
            return "merge" if holds is dict else "union" if holds is list else "or"
        if given is operator.and_:
            return "and"
        if given is max or given is min:
            return str(given.__name__)
        if given is list.append:
            return "append"
        if given is list.extend:
            return "extend"
        if given is dict.update:
            return "merge"
        return None


class _Annotated:
    """A hint with its notes, as `Annotated` shows them."""

    def __init__(self, origin: Any, metadata: tuple[Any, ...]) -> None:
        self.__origin__ = origin
        self.__metadata__ = metadata


def _default(kind: Any, name: str) -> Any:
    field = kind.__dataclass_fields__[name]
    factory = field.default_factory
    return factory() if callable(factory) else field.default


def _evaluated(hint: Any, owner: type) -> Any:
    if isinstance(hint, str):
        return _evaluated(Scope({}).inside(owner).evaluate(hint), owner)
    if type(hint).__name__ == "ForwardRef":
        return _evaluated(hint.__forward_arg__, owner)
    name = getattr(getattr(hint, "__origin__", None), "_name", None)
    if name in ("Required", "NotRequired", "ReadOnly"):
        return _evaluated(hint.__args__[0], owner)
    return hint


def _holds(hint: Any) -> Any:
    """`list`, `dict`, or whatever else the hint is of."""
    if hasattr(hint, "__metadata__"):
        hint = hint.__origin__
    origin = getattr(hint, "__origin__", hint)
    named = getattr(origin, "__name__", "")
    if origin in (list, tuple, set, frozenset) or named in ("Sequence", "MutableSequence"):
        return list
    if origin is dict or named in ("Mapping", "MutableMapping"):
        return dict
    return origin


def _is_plain(hint: Any) -> bool:
    """Whether its values are the same in JSON."""
    if hasattr(hint, "__metadata__"):
        return _is_plain(hint.__origin__)
    try:
        if hint in _SCALARS:
            return True
    except TypeError:
        return False
    if type(hint).__name__ == "_TypedDictMeta":
        return all(_is_plain(_evaluated(inner, hint)) for inner in hint.__annotations__.values())
    origin: Any = getattr(hint, "__origin__", None)
    inner: Any = getattr(hint, "__args__", ())
    if origin is list:
        return all(map(_is_plain, inner))
    if origin is dict:
        return bool(inner) and inner[0] is str and _is_plain(inner[1])
    named = getattr(origin, "_name", None) or type(hint).__name__
    if named in ("Union", "Optional", "UnionType"):
        return all(map(_is_plain, inner))
    if named == "Literal":
        return all(type(value) in (str, int, bool, type(None)) for value in inner)
    return False
