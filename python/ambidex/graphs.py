"""Graphs: nodes over a state, run by the same driver as agents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, overload

from . import _core
from ._checks import choice, duration, nearest, number, plain, unknown
from ._compiled import CompiledGraph, GraphResult
from ._definition import budget_plain, core_store, core_tool
from ._nodes import END, START, Command, Function, Inputs, Send, target
from ._states import StateType
from .agent import Agent
from .errors import UsageError
from .model import Model

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    from .store import Store

    S = TypeVar("S", default=Any)
    F = TypeVar("F", bound=Callable[..., Any])
else:
    from typing import TypeVar

    S = TypeVar("S")

__all__ = ["END", "START", "Command", "CompiledGraph", "Graph", "GraphResult", "Send"]

_EFFECTS = ("undeclared", "read", "idempotent", "once")
_APPROVALS = ("allow", "ask", "deny")


class Graph(Generic[S]):
    """Nodes over a state, and the edges between them.

    - ``state``: a TypedDict, dataclass or Pydantic model, or ``dict`` for any fields. Nodes are given it (a dict of a
      TypedDict, else an object) and return an update: a dict of the fields they change.
    - ``reducers``: how fields take updates, by name; the last one counts where nothing is said. ``append``, ``extend``,
      ``add``, ``merge``, ``union``, ``max``, ``min``, ``first``, ``last``, ``and``, ``or``, or ``operator.add`` and the
      like. ``Annotated[list[str], operator.add]`` in the state's hints says it, too.
    - ``effect``: that of nodes that say none: ``read``, ``idempotent``, ``once``. What was under way when its process
      died is repeated where that is allowed; else a person is asked.
    - ``max_steps``: starts of nodes before a run pauses; 10,000 where it is not given.
    - ``concurrency``: nodes of a run at once; 16 where it is not given.
    - ``output``: the field that is the run's output; without it the whole state.
    - ``budget``: ``{"usd", "tokens", "tool_calls", "wall"}``; a run that reaches one pauses.

    Paths begin at the first node that is added, or where ``edge(ax.START, ...)`` leads. A node starts when a path has
    reached it and none under way still can: several edges into one node are a join.
    """

    def __init__(
        self,
        state: type[S],
        reducers: Mapping[str, Any] | None = None,
        *,
        name: str = "graph",
        effect: str | None = None,
        max_steps: int | None = None,
        concurrency: int | None = None,
        output: str | None = None,
        budget: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(name, str):
            raise UsageError(f"ax.Graph: the name is {name!r}; give it a text")
        self.name = name
        self._state = StateType(state)
        where = f"graph {name!r}"
        if reducers is not None and not isinstance(reducers, Mapping):
            raise UsageError(f"{where}: reducers is {reducers!r}; give it a dict, by the names of fields")
        self._state.check_names("reducers", reducers or ())
        given = {field: self._state.reducer(field, it) for field, it in (reducers or {}).items()}
        self._reducers = {**self._state.reducers, **given}
        number(where, "max_steps", max_steps, least=1, whole=True)
        number(where, "concurrency", concurrency, least=1, whole=True)
        if effect is not None:
            choice(where, "effect", effect, _EFFECTS)
        self._effect = effect
        self._options = {
            "max_steps": max_steps or 10_000,
            "concurrency": concurrency or 16,
            "output": output,
            "budget": budget_plain(where, budget) if budget is not None else {},
        }
        self._nodes: dict[str, dict[str, Any]] = {}
        self._functions: dict[str, Function] = {}
        self._agents: dict[str, Agent[Any]] = {}
        self._graphs: dict[str, Any] = {}
        self._tools: dict[str, _core.Tool] = {}
        self._inputs = Inputs(self._state)
        self._edges: dict[str, list[str]] = {}
        self._branches: dict[str, tuple[Any, list[str], Any, bool, str]] = {}

    # -- nodes ---------------------------------------------------------------------------------------------

    @overload
    def node(self, name: str, work: None = None, **options: Any) -> Callable[[F], F]: ...
    @overload
    def node(self, name: F, work: None = None, **options: Any) -> F: ...
    @overload
    def node(self, name: str, work: Any, **options: Any) -> Graph[S]: ...
    def node(self, name: Any, work: Any = None, **options: Any) -> Any:
        """Adds a node: ``node("plan", plan)``, or as a decorator, ``@graph.node`` or ``@graph.node("plan", ...)``.

        ``work`` is a function (``def`` on a thread, ``async def`` on the caller's loop), an agent, a model, a tool,
        another graph, or an object with ``execute`` or ``execute_async``. Functions take the state (over items: the
        item), or state and item, and may take an ``ax.ToolContext``. They return an update, None, ``ax.Send`` or
        ``ax.Command``. Agents, models, tools and graphs give a value, which goes into the field ``output``, or that of
        the node's name.

        - ``input``: what it is given: a field, a text with ``{fields}``, or a function of the state. An agent's task, a
          tool's arguments (else the fields of their names), a graph's state.
        - ``output``: the field that takes the result, whatever it is.
        - ``each``: the field with a list: it runs once for each element, ``concurrency`` of them at once.
        - ``sends``: nodes that it may send items to; ``goes``: nodes between which its ``ax.Command(goto=)`` chooses.
        - ``retry``: attempts, or ``{"attempts", "base", "cap", "on"}`` (seconds; ``on``: exceptions, or a function).
        - ``timeout``: seconds of an attempt. ``cache``: the result of the same input may be given again.
        - ``on_error``: ``fail``, ``continue``, or a node; ``error_field`` takes what went wrong.
        - ``effect``: ``read``, ``idempotent``, ``once``; ``approval``: ``allow``, ``ask``, ``deny``.
        - ``pause_before``, ``pause_after``; ``max_visits``: starts in a run.
        - ``thread``: ``"caller"`` for a ``def`` that must run on the very thread that asked.
        """
        if not isinstance(name, str):
            if not callable(name):
                raise UsageError(f"node(): the name is {name!r}; give it a text, and what it does")
            self._add(getattr(name, "__name__", "node"), name, **options)
            return name
        if work is None:

            def decorate(function: F) -> F:
                self._add(name, function, **options)
                return function

            return decorate
        self._add(name, work, **options)
        return self

    def ask(
        self, name: str, question: str, *, form: Any = None, expires: float | None = None, **options: Any
    ) -> Graph[S]:
        """Adds a node that asks a person: ``question`` is a field, or a text. The answer goes into ``output``.

        ``form`` is the type of the answer, or its JSON schema. It expires after so many seconds, which is an error.
        """
        where = self._place(name)
        work: dict[str, Any] = {}
        if form is not None:
            from .tools import as_output

            work["form"] = as_output(form).schema if not isinstance(form, Mapping) else dict(form)
        if expires is not None:
            duration(where, "expires", expires)
            work["expire_ms"] = round(expires * 1000)
        is_field = question in (self._state.fields or ())
        source = {"field": question} if is_field else {"value": question}
        self._put(name, {"ask": work}, {**options, "input": None}, source=source)
        return self

    def wait(self, name: str, seconds: float | None = None, *, until: str | None = None) -> Graph[S]:
        """Adds a node that lets so many seconds pass, or waits until the time in a field (RFC 3339, or milliseconds
        since 1970). A run that waits needs no process."""
        where = self._place(name)
        if (seconds is None) == (until is None):
            raise UsageError(f"{where}: give it seconds, or the field with the time as until=")
        if seconds is not None:
            duration(where, "seconds", seconds)
        work = {"wait": {"ms": None if seconds is None else round(seconds * 1000)}}
        self._put(name, work, {}, source="state" if until is None else {"field": until})
        return self

    def _place(self, name: Any) -> str:
        return f"graph {self.name!r}: node {name!r}"

    def _add(self, name: str, work: Any, **options: Any) -> None:
        where = self._place(name)
        if isinstance(work, Agent):
            self._agents[name] = work
            return self._put(name, {"agent": {"agent": name}}, options, gives=True)
        if isinstance(work, Model):
            self._agents[name] = Agent(name, model=work, mode="chat")
            return self._put(name, {"agent": {"agent": name}}, options, gives=True)
        graph = work.compile() if isinstance(work, Graph) else work
        if hasattr(graph, "_as_node"):
            self._graphs[name] = graph._as_node()
            return self._put(name, {"graph": {"graph": name}}, options, gives=True)
        if hasattr(work, "_ambidex_core") or type(work).__name__ == "Tool" or isinstance(work, str):
            return self._add_tool(name, work, options)
        for method in ("execute_async", "execute"):
            if not callable(work) and callable(getattr(work, method, None)):
                work = getattr(work, method)
        if not callable(work) or isinstance(work, type):
            raise UsageError(
                f"{where} is {work!r}; give it a function, an agent, a model, a tool, a graph, or an object with "
                "execute or execute_async"
            )
        thread = options.pop("thread", "pool")
        choice(where, "thread", thread, ("pool", "caller"))
        retry = options.get("retry")
        retries_on = retry.get("on") if isinstance(retry, Mapping) else None
        function = Function(
            where,
            work,
            self._state,
            thread=thread,
            whole=options.get("output") is not None,
            retries_on=retries_on,
        )
        if options.get("input") is not None:
            raise UsageError(f"{where}: a function takes the state, so it has no input=")
        self._put(name, {"code": {"function": name}}, options)
        self._functions[name] = function
        return None

    def _add_tool(self, name: str, work: Any, options: dict[str, Any]) -> None:
        tool = core_tool(work)
        if isinstance(work, str):
            known, arguments, effect, exclusive = work, None, None, False
        else:
            known, effect = work.name, work.effect
            schema = getattr(work, "schema", None) or getattr(work, "input_schema", {})
            arguments, exclusive = list(schema.get("properties", {})), bool(getattr(work, "exclusive", False))
        options.setdefault("effect", effect)
        self._put(
            name,
            {"tool": {"tool": known, "exclusive": exclusive}},
            options,
            gives=True,
            arguments=arguments,
        )
        self._tools[known] = tool

    def _put(
        self,
        name: str,
        work: dict[str, Any],
        options: dict[str, Any],
        *,
        gives: bool = False,
        arguments: Iterable[str] | None = None,
        source: Any = None,
    ) -> None:
        where = self._place(name)
        if not isinstance(name, str) or not name:
            raise UsageError(f"{where}: a node is named by a text")
        if name in self._nodes:
            raise UsageError(f"{where} is there already; give this one another name")
        if name in (END, "__end__", "__start__"):
            raise UsageError(f"{where}: that is the name of an end of paths; give it another one")
        unknown_options = [option for option in options if option not in _OPTIONS]
        if unknown_options:
            raise unknown(where, unknown_options, _OPTIONS)
        node: dict[str, Any] = {"name": name, "work": work}
        given = options.get("input")
        node["input"] = source if source is not None else self._inputs.source(where, name, given, arguments)
        for option in ("output", "each", "error_field"):
            field = options.get(option)
            if field is None:
                continue
            if not isinstance(field, str):
                raise UsageError(f"{where}: {option} is {field!r}; give it the name of a field")
            if option != "each" or "." not in field:
                self._known_field(where, option, field)
            node[option] = field
        takes = self._reducers.get(node.get("error_field", ""), "append")
        if takes != "append":
            raise UsageError(
                f"{where}: error_field {node['error_field']!r} is folded by {takes!r}; failures are appended, so "
                "give it 'append', or no reducer"
            )
        if gives and "output" not in node:
            fields = self._state.fields
            if fields is not None and name not in fields:
                raise UsageError(
                    f"{where} gives a value, and {self._state.name} has no field {name!r} for it; name one with "
                    f"output=, of {', '.join(fields)}"
                )
        effect = options.get("effect")
        if effect is None:
            effect = self._effect
        if effect is None and options.get("retry") is not None:
            effect = "idempotent"
        if effect is not None:
            node["effect"] = choice(where, "effect", effect, _EFFECTS)
        if options.get("approval") is not None:
            node["approval"] = choice(where, "approval", options["approval"], _APPROVALS)
        for option in ("concurrency", "max_visits"):
            if options.get(option) is not None:
                node[option] = number(where, option, options[option], least=1, whole=True)
        if options.get("timeout") is not None:
            duration(where, "timeout", options["timeout"])
            node["timeout_ms"] = max(1, round(options["timeout"] * 1000))
        if options.get("retry") is not None:
            node["retry"] = _retry(where, options["retry"])
        for option in ("cache", "pause_before", "pause_after"):
            if options.get(option):
                node[option] = True
        on_error = options.get("on_error")
        if on_error is not None:
            node["on_error"] = on_error if on_error in ("fail", "continue") else {"go": target(on_error)}
        for option in ("sends", "goes"):
            names = options.get(option) or ()
            if isinstance(names, str):
                names = [names]
            node[option] = [target(one) for one in names]
        self._nodes[name] = node

    def _known_field(self, where: str, option: str, field: str) -> None:
        fields = self._state.fields
        if fields is not None and field not in fields:
            raise UsageError(f"{where}: {self._state.no_field(option, field)}")

    # -- edges ---------------------------------------------------------------------------------------------

    def edge(self, source: str | Iterable[str], to: str | Iterable[str]) -> Graph[S]:
        """The path goes from one node to another; from and to several, where lists are given. From ``ax.START`` paths
        begin, at ``ax.END`` they end."""
        for one in [source] if isinstance(source, str) else source:
            one = START if one == "__start__" and START not in self._nodes else one
            for other in [to] if isinstance(to, str) else to:
                edges = self._edges.setdefault(one, [])
                if target(other) not in edges:
                    edges.append(target(other))
        return self

    def branch(
        self,
        source: str,
        function: Callable[..., Any],
        targets: Iterable[str] | Mapping[Any, str] | None = None,
        *,
        sends: bool | None = None,
        thread: str = "pool",
    ) -> Graph[S]:
        """Where the path goes on from ``source`` is what the function says, given the state: the name of a node, or
        several; ``ax.END``. Edges from the same node are followed as well.

        ``targets`` are the names that it may return, or a dict from what it returns to names; without them those of
        its return hint, ``Literal["a", "b"]``. One that returns ``ax.Send`` has a hint that says so, or ``sends=True``.
        """
        where = f"graph {self.name!r}: the branch behind {source!r}"
        if source in self._branches:
            raise UsageError(
                f"{where} is there already; put both into one function, which may return several names"
            )
        if not callable(function):
            raise UsageError(f"{where} is {function!r}; give it a function of the state")
        hinted, may_send = _return_hint(function)
        table = None
        if isinstance(targets, Mapping):
            table, names = dict(targets), list(targets.values())
        elif targets is not None:
            names = [targets] if isinstance(targets, str) else list(targets)
        else:
            names = hinted
        if not names:
            raise UsageError(
                f"{where}: say where it may lead, with targets=[...] or a return hint such as Literal['a', 'b']"
            )
        choice(where, "thread", thread, ("pool", "caller"))
        names = [target(name) for name in names]
        self._branches[source] = (function, names, table, may_send if sends is None else sends, thread)
        return self

    # -- making it -----------------------------------------------------------------------------------------

    def compile(self, store: Store | None = None) -> CompiledGraph[S]:
        """The graph, checked and ready to run. ``store`` keeps its runs; without one they are where agents keep theirs.

        What is added later is not in it.
        """
        where = f"graph {self.name!r}"
        if not self._nodes:
            raise UsageError(f"{where} has no nodes; add one with node()")
        nodes = {name: dict(node) for name, node in self._nodes.items()}
        functions = dict(self._functions)
        self._check_targets(where)
        hidden: list[dict[str, Any]] = []
        edges = dict(self._edges)
        branches = dict(self._branches)
        starts = edges.pop(START, []) if START not in nodes else []
        if START in branches and START not in nodes:
            if starts:
                raise UsageError(f"{where}: ax.START has edges and a branch; let the branch choose all")
            hidden.append({"name": START, "work": "pass", "input": "state", "goes": [], "sends": []})
            nodes[START] = hidden[-1]
            starts = [START]
        for name, node in list(nodes.items()):
            self._lead(where, name, node, edges.get(name, []), branches.get(name), nodes, functions)
        definition = {
            "name": self.name,
            "start": [one for one in starts if one != END] or [next(iter(self._nodes))],
            "nodes": list(nodes.values()),
            "fields": self._reducers,
            **self._options,
        }
        core = _core.Graph(
            definition,
            functions,
            {name: agent._core for name, agent in self._agents.items()},
            dict(self._graphs),
            list(self._tools.values()),
            self._state.fields,
            self._inputs,
            None if store is None else core_store(where, store),
        )
        core.check()
        parse = None if self._options["output"] is not None else self._state.parse
        return CompiledGraph(core, self.name, self._state, parse, store)

    def _check_targets(self, where: str) -> None:
        def known(what: str, name: str) -> None:
            if name in self._nodes or name == END:
                return
            near = nearest(name, self._nodes)
            hint = f"; did you mean {near!r}?" if near else f"; its nodes are {', '.join(self._nodes)}"
            raise UsageError(f"{where}: {what} {name!r}, which is no node{hint}")

        for source, targets in self._edges.items():
            if source != START:
                known("an edge leads from", source)
            for one in targets:
                known(f"the edge from {source!r} leads to", one)
        for source, (_, targets, _, _, _) in self._branches.items():
            if source != START:
                known("a branch stands behind", source)
            for one in targets:
                known(f"the branch behind {source!r} leads to", one)
        for name, node in self._nodes.items():
            for option in ("sends", "goes"):
                for one in node[option]:
                    known(f"node {name!r} {option} to", one)

    def _lead(
        self,
        where: str,
        name: str,
        node: dict[str, Any],
        edges: list[str],
        branch: tuple[Any, list[str], Any, bool, str] | None,
        nodes: dict[str, dict[str, Any]],
        functions: dict[str, Function],
    ) -> None:
        """Where the path goes on from a node."""
        goes = node.pop("goes")
        if goes and branch is not None:
            raise UsageError(f"{where}: node {name!r} has goes= and a branch; let one of them choose")
        if goes:
            if edges:
                raise UsageError(f"{where}: node {name!r} has goes= and edges; name their targets in goes=")
            node["next"] = {"branch": {"targets": goes}}
            return
        if branch is None:
            if edges and edges != [END]:
                node["next"] = {"to": [one for one in edges if one != END]}
            return
        function, targets, table, may_send, thread = branch
        always = [one for one in edges if one != END]
        place = f"graph {self.name!r}: the branch behind {name!r}"
        made = Function(place, function, self._state, thread=thread, table=table, always=always, chooses=True)
        all_targets = list(dict.fromkeys([*targets, *always]))
        if not may_send:
            functions[f"{name}?"] = made
            node["next"] = {"branch": {"function": f"{name}?", "targets": all_targets}}
            return
        # Items are sent by nodes alone, so a node of its own chooses.
        chooser = f"{name} sends"
        functions[chooser] = made
        node["next"] = {"to": [chooser]}
        nodes[chooser] = {
            "name": chooser,
            "work": {"code": {"function": chooser}},
            "effect": "read",
            "sends": [one for one in targets if one != END],
            "next": {"branch": {"targets": list(dict.fromkeys([*all_targets, END]))}},
        }

    def __repr__(self) -> str:
        return f"<Graph {self.name!r} of {self._state.name}: {', '.join(self._nodes) or 'no nodes'}>"


_OPTIONS = (
    "input",
    "output",
    "each",
    "concurrency",
    "sends",
    "goes",
    "retry",
    "timeout",
    "cache",
    "on_error",
    "error_field",
    "effect",
    "approval",
    "pause_before",
    "pause_after",
    "max_visits",
)


def _retry(where: str, given: Any) -> dict[str, Any]:
    if isinstance(given, Mapping):
        options = plain(where, "retry", given, ("attempts", "base", "cap", "on"))
        options.pop("on", None)
    else:
        options = {"attempts": given}
    number(where, "retry", options.get("attempts"), least=1, whole=True)
    made = {"attempts": options.get("attempts") or 3}
    for name in ("base", "cap"):
        if options.get(name) is not None:
            number(where, f"retry[{name!r}]", options[name], least=0)
            made[f"{name}_ms"] = round(options[name] * 1000)
    return made


def _return_hint(function: Any) -> tuple[list[str], bool]:
    """The names in a function's return hint, and whether it may send."""
    from .tools import signature

    try:
        described = signature.described(function)
        hint = getattr(described, "__annotations__", {}).get("return")
        if isinstance(hint, str):
            hint = eval(hint, getattr(described, "__globals__", {}))
    except Exception:
        return [], False
    names: list[str] = []
    sends = False
    waiting = [hint]
    while waiting:
        one = waiting.pop(0)
        if one is Send:
            sends = True
        elif isinstance(one, str):
            names.append(one)
        else:
            waiting += list(getattr(one, "__args__", ()) or ())
    return names, sends
