"""Agents: a model, its instructions and its tools, run to an end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, overload

from . import _bridge, _core
from ._checks import choice, duration, number, sendable, spoken, unknown
from ._conversation import SUMMARY, NothingRan, answer_plain, question_id, summary_request
from ._definition import budget_plain, build, listed, tool_name
from .errors import AmbidexError, UsageError
from .messages import plain_input
from .model import as_model
from .results import Result

if TYPE_CHECKING:
    from os import PathLike
    from types import TracebackType
    from typing import NoReturn

    from typing_extensions import Self, TypeVar

    from .messages import Message
    from .model import Conversation, Model
    from .store import Store
    from .streams import Stream

    Attachment = str | bytes | PathLike[str]

    T = TypeVar("T", default=Any)
else:
    from typing import TypeVar

    T = TypeVar("T")

__all__ = ["Agent"]


_ARGUMENTS = (
    "name",
    "model",
    "instructions",
    "tools",
    "mode",
    "max_iterations",
    "tool_concurrency",
    "output",
    "hooks",
    "budget",
    "context",
    "approvals",
    "settings",
    "tool_choice",
    "stop",
    "timeout",
    "store",
)

_RUN = ("task", "thread", "max_iterations", "timeout", "on_busy", "files", "images")
_ON_BUSY = ("enqueue", "reject", "interrupt", "rollback", "steer")
_BATCH = ("tasks", "concurrency", "sequential", "max_iterations", "timeout")
_RESUME = ("run", "iterations", "budget", "timeout")


class Agent(Generic[T]):
    """A model with instructions and tools. Runs of one agent share nothing but what it was made of, so one agent may be
    used by any number of threads, tasks and event loops at once.

    - ``model``: an ``ax.Model``, a route, or a name: ``"openai:MODEL-ID"``, one of ``ambidex.toml``, or ``"demo"``,
      which answers offline.
    - ``instructions``: what it is told to be and do.
    - ``tools``: functions (made tools by their hints and docstrings, see ``ax.tool``), ``ax.tools.http(...)``, or
      names of tools in ``ambidex.toml``.
    - ``mode``: ``"auto"`` works until a whole reply asks for no tool; in ``"chat"`` a cut reply is an answer, too.
    - ``max_iterations``: calls of the model before a run pauses; 25 where it is not given.
    - ``tool_concurrency``: tools of one run at once; 16 where it is not given.
    - ``output``: the type of the answer: a Pydantic model, dataclass, TypedDict, any hint, or a JSON schema.
      ``result.output`` is of it.
    - ``hooks``: objects with any of ``before_model``, ``after_model``, ``before_tool``, ``after_tool``,
      ``on_finish``.
    - ``budget``: ``{"usd", "tokens", "tool_calls", "wall"}`` (``wall`` in seconds); a run that reaches one pauses.
    - ``context``: ``{"compact_at", "keep_last", "summarise_with"}``: near the limit of the model's context a summary
      takes the place of the older part of the conversation. True for the defaults.
    - ``approvals``: ``{"once": "ask", ...}``: ``allow``, ``ask`` or ``deny`` by the effect of tools.
    - ``settings``: of the model's calls, such as ``{"temperature": 0.2}``, over those of the model.
    - ``tool_choice``: ``auto``, ``none``, ``required``, or the name of a tool.
    - ``stop``: ``{"after_tools": [...], "text": "..."}``: ends a run before the model says so.
    - ``timeout``: seconds of active time of each run; 1 h where it is not given.
    - ``store``: where runs are kept, ``ax.open(...)``; where it is not given, as ``[store]`` of ``ambidex.toml`` said
      when the process first ran anything, which is in memory if it says nothing.
    """

    __slots__ = (
        "__weakref__",
        "_config",
        "_convert",
        "_core",
        "name",
    )

    @overload
    def __init__(
        self,
        name: str = ...,
        *,
        output: type[T],
        model: str | Model | None = ...,
        instructions: str = ...,
        tools: Iterable[Any] = ...,
        mode: str = ...,
        max_iterations: int | None = ...,
        tool_concurrency: int | None = ...,
        hooks: Iterable[Any] = ...,
        budget: Mapping[str, Any] | None = ...,
        context: bool | Mapping[str, Any] | None = ...,
        approvals: str | Mapping[str, str] | None = ...,
        settings: Mapping[str, Any] | None = ...,
        tool_choice: str | None = ...,
        stop: Mapping[str, Any] | None = ...,
        timeout: float | None = ...,
        store: Store | None = ...,
    ) -> None: ...
    @overload
    def __init__(
        self: Agent[Any],
        name: str = ...,
        *,
        model: str | Model | None = ...,
        instructions: str = ...,
        tools: Iterable[Any] = ...,
        mode: str = ...,
        max_iterations: int | None = ...,
        tool_concurrency: int | None = ...,
        output: object = ...,
        hooks: Iterable[Any] = ...,
        budget: Mapping[str, Any] | None = ...,
        context: bool | Mapping[str, Any] | None = ...,
        approvals: str | Mapping[str, str] | None = ...,
        settings: Mapping[str, Any] | None = ...,
        tool_choice: str | None = ...,
        stop: Mapping[str, Any] | None = ...,
        timeout: float | None = ...,
        store: Store | None = ...,
    ) -> None: ...

    def __init__(
        self,
        name: str = "agent",
        *,
        model: str | Model | None = None,
        instructions: str = "",
        tools: Iterable[Any] = (),
        mode: str = "auto",
        max_iterations: int | None = None,
        tool_concurrency: int | None = None,
        output: Any = None,
        hooks: Iterable[Any] = (),
        budget: Mapping[str, Any] | None = None,
        context: bool | Mapping[str, Any] | None = None,
        approvals: str | Mapping[str, str] | None = None,
        settings: Mapping[str, Any] | None = None,
        tool_choice: str | None = None,
        stop: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        store: Store | None = None,
        **unknown_arguments: NoReturn,
    ) -> None:
        if unknown_arguments:
            raise unknown("ax.Agent", unknown_arguments, _ARGUMENTS)
        self._config = {
            "name": name,
            "model": model,
            "instructions": instructions,
            "tools": listed("tools", tools),
            "mode": mode,
            "max_iterations": max_iterations,
            "tool_concurrency": tool_concurrency,
            "output": output,
            "hooks": listed("hooks", hooks),
            "budget": budget,
            "context": context,
            "approvals": approvals,
            "settings": settings,
            "tool_choice": tool_choice,
            "stop": stop,
            "timeout": timeout,
            "store": store,
        }
        self.name = name
        self._build()

    def _build(self, before: _core.Agent | None = None) -> None:
        self._core, self._convert = build(self._config, before)

    # -- runs ----------------------------------------------------------------------------------------------

    def run(
        self,
        task: Conversation,
        *,
        thread: str | None = None,
        max_iterations: int | None = None,
        timeout: float | None = None,
        on_busy: str | None = None,
        files: Iterable[Attachment] = (),
        images: Iterable[Attachment] = (),
        **unknown_arguments: NoReturn,
    ) -> Result[T]:
        """Runs a task to its end, on any thread.

        ``thread`` names a conversation that goes on: what was said on it stands before the task, and what is said now
        is remembered, in the agent's store where it has one, else in this agent. ``on_busy`` says what to do where
        another run has a thread of the store: ``enqueue`` (wait; where nothing is said), ``reject``, ``interrupt``,
        ``rollback``, ``steer``. ``timeout`` is in seconds of active time. ``files`` (texts) and ``images`` are paths,
        bytes or URLs.

        A failed run raises; the error has ``.result``. A run that pauses or waits for a person is no error.
        """
        call = self._call(task, thread, max_iterations, timeout, on_busy, files, images, unknown_arguments)
        return self._result(self._core.run, call)

    async def arun(
        self,
        task: Conversation,
        *,
        thread: str | None = None,
        max_iterations: int | None = None,
        timeout: float | None = None,
        on_busy: str | None = None,
        files: Iterable[Attachment] = (),
        images: Iterable[Attachment] = (),
        **unknown_arguments: NoReturn,
    ) -> Result[T]:
        """Like :meth:`run`, awaited on any loop: asyncio, uvloop, trio. Cancelling the task stops the run."""
        call = self._call(task, thread, max_iterations, timeout, on_busy, files, images, unknown_arguments)
        return await self._aresult(self._core.arun, call)

    def stream(
        self,
        task: Conversation,
        *,
        thread: str | None = None,
        max_iterations: int | None = None,
        timeout: float | None = None,
        on_busy: str | None = None,
        files: Iterable[Attachment] = (),
        images: Iterable[Attachment] = (),
        **unknown_arguments: NoReturn,
    ) -> Stream[Result[T]]:
        """The events of a run as they happen: ``for event in agent.stream("task")``. Arguments are those of
        :meth:`run`.

        ``break``, ``close()`` and dropping the stream end the run; ``stream.result`` is what it came to. A run
        that waits for a person goes on when the question is answered (:meth:`answer`).
        """
        call = self._call(task, thread, max_iterations, timeout, on_busy, files, images, unknown_arguments)
        return self._stream("stream", call)

    def astream(
        self,
        task: Conversation,
        *,
        thread: str | None = None,
        max_iterations: int | None = None,
        timeout: float | None = None,
        on_busy: str | None = None,
        files: Iterable[Attachment] = (),
        images: Iterable[Attachment] = (),
        **unknown_arguments: NoReturn,
    ) -> Stream[Result[T]]:
        """Like :meth:`stream`, for ``async for`` on any loop."""
        call = self._call(task, thread, max_iterations, timeout, on_busy, files, images, unknown_arguments)
        return self._stream("astream", call)

    def _stream(self, door: str, call: tuple[Any, ...]) -> Stream[Result[T]]:
        from .streams import Stream

        convert = self._convert
        return Stream(self._core.stream(*call), door, lambda end: Result(end, convert), self)

    def _call(
        self,
        task: Any,
        thread: str | None,
        max_iterations: int | None,
        timeout: float | None,
        on_busy: str | None,
        files: Iterable[Attachment],
        images: Iterable[Attachment],
        unknown_arguments: Mapping[str, Any],
    ) -> tuple[Any, ...]:
        if unknown_arguments:
            raise unknown("a run", unknown_arguments, _RUN)
        if thread is not None:
            if not isinstance(thread, str):
                raise UsageError(f"a run: thread is {thread!r}; give it a text, the name of a conversation")
            sendable("thread", thread)
        if max_iterations is not None:
            number("a run", "max_iterations", max_iterations, least=1, whole=True)
        if timeout is not None:
            duration("a run", "timeout", timeout)
        if isinstance(task, str):
            (sendable if files or images else spoken)("a run", task)
        if not isinstance(task, str) or files or images:
            from ._attachments import attached

            task = attached(task, files, images)
        if on_busy is not None:
            choice("a run", "on_busy", on_busy, _ON_BUSY)
        timeout = self._config["timeout"] if timeout is None else timeout
        return (task, thread, max_iterations, timeout, on_busy)

    def _result(self, run: Callable[..., Any], call: tuple[Any, ...]) -> Result[T]:
        try:
            return Result(run(*call), self._convert)
        except AmbidexError as error:
            self._failed(error)
            raise

    async def _aresult(self, run: Callable[..., Any], call: tuple[Any, ...]) -> Result[T]:
        try:
            return Result(await _bridge.awaited(run, *call), self._convert)
        except AmbidexError as error:
            self._failed(error)
            raise

    def _failed(self, error: AmbidexError) -> None:
        """The error's result knows the type of the output."""
        if error.result is not None:
            error.result._convert = self._convert

    # -- conversations ---------------------------------------------------------------------------------------

    def chat(
        self,
        task: Conversation,
        *,
        max_iterations: int | None = None,
        timeout: float | None = None,
        files: Iterable[Attachment] = (),
        images: Iterable[Attachment] = (),
        **unknown_arguments: NoReturn,
    ) -> Result[T]:
        """Like :meth:`run`, on one thread that goes on from call to call: the agent remembers what was said.

        :meth:`clear` begins anew. Calls at the same time take turns.
        """
        call = self._chat_call(task, max_iterations, timeout, files, images, unknown_arguments)
        return self._result(self._core.run, call)

    async def achat(
        self,
        task: Conversation,
        *,
        max_iterations: int | None = None,
        timeout: float | None = None,
        files: Iterable[Attachment] = (),
        images: Iterable[Attachment] = (),
        **unknown_arguments: NoReturn,
    ) -> Result[T]:
        """Like :meth:`chat`, awaited on any loop."""
        call = self._chat_call(task, max_iterations, timeout, files, images, unknown_arguments)
        return await self._aresult(self._core.arun, call)

    def _chat_call(
        self,
        task: Any,
        max_iterations: int | None,
        timeout: float | None,
        files: Iterable[Attachment],
        images: Iterable[Attachment],
        unknown_arguments: Mapping[str, Any],
    ) -> tuple[Any, ...]:
        if "thread" in unknown_arguments:
            raise UsageError(
                "chat() takes no argument 'thread', for it keeps one of its own; name one with run(task, thread=...)"
            )
        if unknown_arguments:
            raise unknown("chat()", unknown_arguments, [name for name in _RUN if name != "thread"])
        return self._call(task, self._core.chat_thread(), max_iterations, timeout, None, files, images, {})

    def messages(self, thread: str | None = None) -> list[Message]:
        """What was said on a thread; without one, in the chat."""
        from .messages import of_plain

        return of_plain(self._core.messages(self._core.chat_thread() if thread is None else thread))

    async def amessages(self, thread: str | None = None) -> list[Message]:
        """Like :meth:`messages`, awaited on any loop."""
        from .messages import of_plain

        thread = self._core.chat_thread() if thread is None else thread
        return of_plain(await _bridge.awaited(self._core.amessages, thread))

    def clear(self, thread: str | None = None) -> None:
        """Forgets what was said on a thread, also in a store; without one, in the chat."""
        self._core.clear(thread)

    async def aclear(self, thread: str | None = None) -> None:
        """Like :meth:`clear`, awaited on any loop."""
        await _bridge.awaited(self._core.aclear, thread)

    def summary(self, thread: str | None = None, *, timeout: float = 120) -> str:
        """What was said on a thread (without one, in the chat), summarised by the agent's model. Empty where nothing
        was."""
        request = summary_request(self.messages(thread))
        if request is None:
            return ""
        return self._summariser().chat(request, system=SUMMARY, timeout=timeout).text

    async def asummary(self, thread: str | None = None, *, timeout: float = 120) -> str:
        """Like :meth:`summary`, awaited on any loop."""
        request = summary_request(await self.amessages(thread))
        if request is None:
            return ""
        return (await self._summariser().achat(request, system=SUMMARY, timeout=timeout)).text

    def _summariser(self) -> Model:
        context = self._config["context"]
        other = context.get("summarise_with") if isinstance(context, Mapping) else None
        return as_model(other or self._config["model"], f"agent {self.name!r}")

    # -- many tasks ------------------------------------------------------------------------------------------

    def batch(
        self,
        tasks: Iterable[Conversation],
        *,
        concurrency: int = 8,
        sequential: bool = False,
        max_iterations: int | None = None,
        timeout: float | None = None,
        **unknown_arguments: NoReturn,
    ) -> list[Result[T]]:
        """Runs many tasks, ``concurrency`` of them at once, and gives their results in the order of the tasks.

        A failure is a value: its result has ``.error``, and ends no other run. ``sequential=True`` runs one after
        another, each with the conversation before it. ``timeout`` is for each run.
        """
        call = self._batch_call(tasks, concurrency, sequential, max_iterations, timeout, unknown_arguments)
        return [self._item(item) for item in self._core.batch(*call)]

    async def abatch(
        self,
        tasks: Iterable[Conversation],
        *,
        concurrency: int = 8,
        sequential: bool = False,
        max_iterations: int | None = None,
        timeout: float | None = None,
        **unknown_arguments: NoReturn,
    ) -> list[Result[T]]:
        """Like :meth:`batch`, awaited on any loop."""
        call = self._batch_call(tasks, concurrency, sequential, max_iterations, timeout, unknown_arguments)
        return [self._item(item) for item in await _bridge.awaited(self._core.abatch, *call)]

    def _batch_call(
        self,
        tasks: Any,
        concurrency: int,
        sequential: bool,
        max_iterations: int | None,
        timeout: float | None,
        unknown_arguments: Mapping[str, Any],
    ) -> tuple[Any, ...]:
        if unknown_arguments:
            raise unknown("batch()", unknown_arguments, _BATCH)
        if isinstance(tasks, (str, bytes, Mapping)) or not isinstance(tasks, Iterable):
            raise UsageError(f"batch() takes a list of tasks, not {tasks!r}; for one task use run()")
        number("batch()", "concurrency", concurrency, least=1, whole=True)
        number("batch()", "max_iterations", max_iterations, least=1, whole=True)
        duration("batch()", "timeout", timeout)
        inputs = [spoken("batch()", task) if isinstance(task, str) else plain_input(task) for task in tasks]
        timeout = self._config["timeout"] if timeout is None else timeout
        return (inputs, concurrency, sequential, max_iterations, timeout)

    def _item(self, item: Any) -> Result[T]:
        if isinstance(item, BaseException):
            error = item if isinstance(item, AmbidexError) else AmbidexError(str(item), code="internal")
            if error is not item:
                error.__cause__ = item
            core: Any = NothingRan(error) if error.result is None else error.result._core
            return Result(core, self._convert, error)
        return Result(item, self._convert)

    # -- runs that rest --------------------------------------------------------------------------------------

    def answer(
        self,
        question: str,
        decision: str = "approve",
        *,
        text: str | None = None,
        tool_calls: Iterable[Mapping[str, Any]] = (),
        output: Any = None,
        args: Mapping[str, Any] | None = None,
        reason: str = "",
        answer: Any = None,
    ) -> None:
        """Answers a question of a run: ``result.questions``, or an event ``approval.asked`` or ``relay.asked``.

        Decisions: ``approve``; ``edit`` (runs with ``args``); ``reject`` (the model is told the ``reason``);
        ``answer`` (``answer`` stands in for the call's result); ``repeat`` (of a call in doubt: it did not
        happen). A person who is the model says ``text``, ``tool_calls`` or ``output``, which is the decision
        ``reply``. A run that is under way goes on by itself, one that came to rest with :meth:`resume`.
        """
        self._core.answer(
            question_id(question), answer_plain(decision, text, tool_calls, output, args, reason, answer)
        )

    async def aanswer(
        self,
        question: str,
        decision: str = "approve",
        *,
        text: str | None = None,
        tool_calls: Iterable[Mapping[str, Any]] = (),
        output: Any = None,
        args: Mapping[str, Any] | None = None,
        reason: str = "",
        answer: Any = None,
    ) -> None:
        """Like :meth:`answer`, awaited on any loop."""
        plain = answer_plain(decision, text, tool_calls, output, args, reason, answer)
        await _bridge.awaited(self._core.aanswer, question_id(question), plain)

    def resume(
        self,
        run: str | Result[Any],
        *,
        iterations: int | None = None,
        budget: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        **unknown_arguments: NoReturn,
    ) -> Result[T]:
        """Goes on with a run of this agent that waits, is paused, or lost its process; ``run`` is its result or id.

        A run that is paused is granted something: ``iterations`` (as many as before, where nothing is said) or
        more of its ``budget``. A run in a store (``store=``, ``[store]``) can be gone on with by any process; of
        those in memory the process remembers the latest 1,024 that rest.
        """
        call = self._resume_call(run, iterations, budget, timeout, unknown_arguments)
        return self._result(self._core.resume, call)

    async def aresume(
        self,
        run: str | Result[Any],
        *,
        iterations: int | None = None,
        budget: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        **unknown_arguments: NoReturn,
    ) -> Result[T]:
        """Like :meth:`resume`, awaited on any loop."""
        call = self._resume_call(run, iterations, budget, timeout, unknown_arguments)
        return await self._aresult(self._core.aresume, call)

    def _resume_in(
        self, store: _core.Store, run: str, iterations: Any, budget: Any, timeout: Any
    ) -> Result[T]:
        """For a store that goes on with a run of this agent."""
        call = self._resume_call(run, iterations, budget, timeout, {})
        return self._result(self._core.resume, (*call, store))

    async def _aresume_in(
        self, store: _core.Store, run: str, iterations: Any, budget: Any, timeout: Any
    ) -> Result[T]:
        call = self._resume_call(run, iterations, budget, timeout, {})
        return await self._aresult(self._core.aresume, (*call, store))

    def _resume_call(
        self,
        run: Any,
        iterations: int | None,
        budget: Mapping[str, Any] | None,
        timeout: float | None,
        unknown_arguments: Mapping[str, Any],
    ) -> tuple[Any, ...]:
        if unknown_arguments:
            raise unknown("resume()", unknown_arguments, _RESUME)
        if not isinstance(run, (str, Result)):
            raise UsageError(f"resume() takes the result of a run, or its run_id, not {run!r}")
        duration("resume()", "timeout", timeout)
        paused = isinstance(run, Result) and run.status == "paused"
        grant: dict[str, Any] | None = None
        if paused or iterations is not None or budget is not None:
            grant = budget_plain("resume()", budget or self._config["budget"] or {})
            if iterations is not None:
                grant["iterations"] = number("resume()", "iterations", iterations, least=1, whole=True)
            elif isinstance(run, Result) and run.pause == "max_iterations":
                grant["iterations"] = self._config["max_iterations"] or 25
        return (run.run_id if isinstance(run, Result) else run, grant, timeout)

    # -- its life ------------------------------------------------------------------------------------------

    def register(self, *tools: Any) -> Any:
        """Gives the agent more tools, for runs that begin from now on. With one, it can be used as a decorator.

        Conversations go on. Returns the tool, or all of them.
        """
        if self.closed:
            raise UsageError(f"agent {self.name!r} is closed; make a new one with these tools")
        added = listed("tools", tools)
        config = {**self._config, "tools": (*self._config["tools"], *added)}
        before, self._config = self._config, config
        try:
            self._build(self._core)
        except BaseException:
            self._config = before
            raise
        return tools[0] if len(tools) == 1 else tools

    async def aregister(self, *tools: Any) -> Any:
        """Like :meth:`register`."""
        return self.register(*tools)

    def check(self) -> None:
        """Builds what a run needs, to find what is wrong with it: schemas, the model's name, its key."""
        self._core.check()

    def close(self) -> None:
        """Takes no more runs and forgets its conversations. Runs under way end by themselves."""
        self._core.close()

    async def aclose(self) -> None:
        """Like :meth:`close`."""
        self._core.close()

    @property
    def closed(self) -> bool:
        return self._core.closed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        if self.closed:
            raise UsageError(f"agent {self.name!r} is closed; pickle it before")
        return (_rebuilt, (type(self), self._config))

    def __repr__(self) -> str:
        model = self._config["model"]
        parts = [repr(self.name), f"model={model!r}"]
        if self._config["tools"]:
            parts.append(f"tools=[{', '.join(tool_name(tool) for tool in self._config['tools'])}]")
        if self.closed:
            parts.append("closed")
        return f"Agent({', '.join(parts)})"


def _rebuilt(kind: type[Agent[Any]], config: dict[str, Any]) -> Agent[Any]:
    return kind(**config)
