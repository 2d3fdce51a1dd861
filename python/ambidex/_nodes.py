"""What nodes and branches of a graph are made of: functions, as the core calls them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ._states import StateType
from .errors import AmbidexError, UsageError
from .tools import signature
from .tools.decorator import _is_context
from .tools.schema import Scope, Shapes, Unsupported

#: Where paths begin, and where they end.
START = "start"
END = "end"

# Mistakes of code: another attempt would make them again.
_MISTAKES = (
    TypeError,
    NameError,
    AttributeError,
    SyntaxError,
    ImportError,
    AssertionError,
    NotImplementedError,
)


class Send:
    """An item for a node, which runs once for each: a node or a branch returns it, or a list of them."""

    __slots__ = ("item", "node")

    def __init__(self, node: str, item: Any) -> None:
        self.node = node
        self.item = item

    def __repr__(self) -> str:
        return f"Send({self.node!r}, {self.item!r})"


class Command:
    """What a node may return in place of an update: that, where the path goes on (``goto``, of a node with
    ``goes=``), and items for other nodes."""

    __slots__ = ("goto", "send", "update")

    def __init__(
        self,
        update: Any = None,
        *,
        goto: str | Send | Iterable[str | Send] = (),
        send: Send | Iterable[Send] = (),
    ) -> None:
        self.update = update
        self.goto = [goto] if isinstance(goto, (str, Send)) else list(goto)
        self.send = [send] if isinstance(send, Send) else list(send)

    def __repr__(self) -> str:
        return f"Command({self.update!r}, goto={self.goto!r}, send={self.send!r})"


def target(name: Any) -> str:
    """A target's name in the core."""
    if not isinstance(name, str):
        raise UsageError(f"a node is named by a text, not {name!r}")
    return END if name == "__end__" else name


class Function:
    """A function as the core calls it: ``call(state, item, has_item, context)``, and what it makes of the result."""

    def __init__(
        self,
        where: str,
        function: Callable[..., Any],
        state: StateType,
        *,
        thread: str = "pool",
        whole: bool = False,
        table: Mapping[Any, str] | None = None,
        always: Iterable[str] = (),
        chooses: bool = False,
        retries_on: Any = None,
    ) -> None:
        self.where = where
        self.function = function
        self.kind = signature.kind_of(function)
        if self.kind not in ("sync", "async"):
            raise UsageError(f"{where}: it is a generator; a node returns what it has to say, once")
        self.thread = thread
        self.whole = whole
        self.chooses = chooses
        self.state = state
        self._table = table
        self._always = list(always)
        self._retries_on = retries_on
        takes, context = _parameters(where, function)
        self.wants_context = context is not None
        self.call = self._caller(takes, context)

    def _caller(self, takes: int, context: str | None) -> Callable[..., Any]:
        function, make, state_type = self.function, self.state.make, self.state

        def arguments(state: Any, item: Any, has_item: bool) -> tuple[Any, ...]:
            if takes == 0:
                return ()
            if takes == 1 and has_item:
                return (item,)
            state = state if make is None or not isinstance(state, dict) else make(state)
            return (state,) if takes == 1 else (state, item)

        def plain(state: Any, item: Any, has_item: bool, ctx: Any) -> Any:
            given = arguments(state, item, has_item)
            return function(*given) if context is None else function(*given, **{context: ctx})

        if make is None or self.chooses:
            return plain

        def update(state: Any, given: tuple[Any, ...], value: Any) -> Any:
            if not self.whole and state_type.is_instance(value):
                return state_type.update_of(state, given[0] if given else None, value)
            return value

        if self.kind == "async":

            async def acall(state: Any, item: Any, has_item: bool, ctx: Any) -> Any:
                given = arguments(state, item, has_item)
                named = {} if context is None else {context: ctx}
                return update(state, given, await function(*given, **named))

            return acall

        def call(state: Any, item: Any, has_item: bool, ctx: Any) -> Any:
            given = arguments(state, item, has_item)
            named = {} if context is None else {context: ctx}
            return update(state, given, function(*given, **named))

        return call

    def output(self, value: Any) -> tuple[Any, list[tuple[str, Any]], list[str]]:
        """What it returned, as the core takes it: an update or a value, items that are sent, targets."""
        if self.chooses:
            return self._choice(value)
        sends: list[tuple[str, Any]] = []
        goes: list[str] = []
        if isinstance(value, Command):
            for one in (*value.goto, *value.send):
                if isinstance(one, Send):
                    sends.append(self._sent(one))
                else:
                    goes.append(target(one))
            value = value.update
        elif isinstance(value, Send):
            sends.append(self._sent(value))
            value = None
        elif isinstance(value, (list, tuple)) and value and all(isinstance(one, Send) for one in value):
            sends += map(self._sent, value)
            value = None
        return self.state.plain(value), sends, goes

    def _choice(self, value: Any) -> tuple[Any, list[tuple[str, Any]], list[str]]:
        chosen = value if isinstance(value, (list, tuple, set, frozenset)) else [value]
        sends: list[tuple[str, Any]] = []
        goes = list(self._always)
        for one in chosen:
            if isinstance(one, Send):
                sends.append(self._sent(one))
            elif self._table is not None and one in self._table:
                goes.append(self._table[one])
            elif one is None:
                goes.append(END)
            elif isinstance(one, str):
                goes.append(target(one))
            else:
                known = f"; its targets are {list(self._table)}" if self._table else ""
                raise UsageError(
                    f"{self.where} chose {one!r}; it returns the name of a node, or several{known}"
                )
        if sends and not goes:
            goes.append(END)
        return None, sends, goes

    def _sent(self, send: Send) -> tuple[str, Any]:
        return target(send.node), self.state.plain(send.item)

    def retries(self, error: BaseException) -> bool:
        """Whether another attempt may help."""
        if self._retries_on is not None:
            on = self._retries_on
            return isinstance(error, on) if isinstance(on, (type, tuple)) else bool(on(error))
        if isinstance(error, AmbidexError):
            return error.retryable
        return isinstance(error, Exception) and not isinstance(error, _MISTAKES)


def _parameters(where: str, function: Callable[..., Any]) -> tuple[int, str | None]:
    """How many of state and item it takes, and the name under which it takes its context."""
    try:
        found = signature.read(function)
    except Unsupported:
        return 1, None
    shapes = Shapes(Scope(getattr(signature.described(function), "__globals__", {})))
    context = next((it.name for it in found.parameters if _is_context(it, shapes)), None)
    others = [it for it in found.parameters if it.name != context]
    required = [it for it in others if it.default is signature.MISSING]
    code = signature.code_of(signature.described(function))
    named = code.co_varnames[code.co_argcount :][: code.co_kwonlyargcount] if code is not None else ()
    given = [it for it in others if it.name not in named]
    if len(required) > 2 or any(it.name in named for it in required):
        names = ", ".join(it.name for it in required)
        raise UsageError(
            f"{where}: its function takes {names}; a node's takes the state (over items: the item), or state and item, "
            "and may take an ax.ToolContext"
        )
    if len(required) == 2 or (len(given) >= 2 and given[1].name == "item"):
        return 2, context
    return (1 if given or found.args else 0), context


class Inputs:
    """Makes the inputs of nodes that are no fields of the state."""

    def __init__(self, state: StateType) -> None:
        self._state = state
        self._made: dict[str, Callable[..., Any]] = {}

    def __bool__(self) -> bool:
        return True

    def source(self, where: str, node: str, given: Any, arguments: Iterable[str] | None = None) -> Any:
        """A node's input as its definition says it."""
        if given is None:
            if arguments is None:
                return "state"
            self._made[f"arguments of {node}"] = _picked(tuple(arguments))
            return {"template": f"arguments of {node}"}
        if isinstance(given, str):
            if "{" in given:
                return {"template": f"text:{given}"}
            if self._state.fields is not None and given.partition(".")[0] not in self._state.fields:
                raise UsageError(f"{where}: {self._state.no_field('its input', given)}")
            return {"field": given}
        if not callable(given):
            raise UsageError(
                f"{where}: input is {given!r}; give it the name of a field, a text with {{fields}} in it, or a "
                "function of the state"
            )
        if signature.kind_of(given) != "sync":
            raise UsageError(f"{where}: the function of its input is async; put that into a node before it")
        takes, _ = _parameters(f"{where}: its input", given)
        self._made[f"input of {node}"] = _called(given, takes, self._state)
        return {"template": f"input of {node}"}

    def __call__(self, template: str, state: dict[str, Any], item: Any, has_item: bool) -> Any:
        if template.startswith("text:"):
            return _filled(template[5:], state, item, has_item)
        made = self._made.get(template)
        if made is None:
            raise UsageError(
                f"there is no {template} here; the run began with another definition of its graph"
            )
        return self._state.plain(made(state, item, has_item))


def _filled(text: str, state: dict[str, Any], item: Any, has_item: bool) -> str:
    values = {**state, "item": item} if has_item else state
    try:
        return text.format_map(values)
    except KeyError as error:
        raise UsageError(f"the text {text!r} names {error}, which the state has not") from None


def _called(function: Callable[..., Any], takes: int, state_type: StateType) -> Callable[..., Any]:
    def call(state: dict[str, Any], item: Any, has_item: bool) -> Any:
        if takes == 0:
            return function()
        if takes == 1 and has_item:
            return function(item)
        shown = state_type.parse(state)
        return function(shown) if takes == 1 else function(shown, item)

    return call


def _picked(names: tuple[str, ...]) -> Callable[..., Any]:
    """A tool's arguments: its item, else the fields that are called as they are."""

    def pick(state: dict[str, Any], item: Any, has_item: bool) -> Any:
        if has_item:
            return item if isinstance(item, dict) or len(names) != 1 else {names[0]: item}
        return {name: state[name] for name in names if name in state}

    return pick
