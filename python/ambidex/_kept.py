"""What graphs, workflows and teams have in common: runs that rest, their questions and their past."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from . import _bridge
from ._checks import duration, number, unknown
from ._definition import budget_plain
from .errors import AmbidexError
from .results import Result
from .store import Checkpoint, Run, _run_id

if TYPE_CHECKING:
    from . import _core

R = TypeVar("R", bound=Result[Any])


class Kept(Generic[R]):
    """Something whose runs are kept, answered, gone on with and looked back at."""

    __slots__ = ("__weakref__", "_core")

    _core: Any
    name: str

    def _shown_result(self, core: Any) -> R:
        raise NotImplementedError

    def _ready(self) -> Any:
        """What the core has of it."""
        return self._core

    def _result(self, run: Callable[..., Any], call: tuple[Any, ...]) -> R:
        try:
            return self._shown_result(run(*call))
        except AmbidexError as error:
            self._failed(error)
            raise

    async def _aresult(self, run: Callable[..., Any], call: tuple[Any, ...]) -> R:
        try:
            return self._shown_result(await _bridge.awaited(run, *call))
        except AmbidexError as error:
            self._failed(error)
            raise

    def _failed(self, error: AmbidexError) -> None:
        if error.result is not None:
            error.result = self._shown_result(error.result._core)

    def answer(self, question: str, decision: str = "approve", **details: Any) -> None:
        """Answers a question of a run, as ``agent.answer`` does. What a step asked takes
        ``answer(id, "answer", answer=...)``."""
        self._ready().ask(_answer(question, decision, details))

    async def aanswer(self, question: str, decision: str = "approve", **details: Any) -> None:
        """Like :meth:`answer`, awaited on any loop."""
        await _bridge.awaited(self._ready().aask, _answer(question, decision, details))

    def resume(
        self,
        run: str | Run | Result[Any],
        *,
        steps: int | None = None,
        budget: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> R:
        """Goes on with a run that waits, is paused, or lost its process. One that reached its limit of steps is granted
        as many again, or ``steps``."""
        return self._result(self._ready().resume, self._resume_call(run, steps, budget, timeout))

    async def aresume(
        self,
        run: str | Run | Result[Any],
        *,
        steps: int | None = None,
        budget: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> R:
        """Like :meth:`resume`, awaited on any loop."""
        return await self._aresult(self._ready().aresume, self._resume_call(run, steps, budget, timeout))

    def _resume_in(self, store: _core.Store, run: str, iterations: Any, budget: Any, timeout: Any) -> R:
        """For a store that goes on with a run of this."""
        call = self._resume_call(run, iterations, budget, timeout)
        return self._result(self._ready().resume, (*call, store))

    async def _aresume_in(
        self, store: _core.Store, run: str, iterations: Any, budget: Any, timeout: Any
    ) -> R:
        call = self._resume_call(run, iterations, budget, timeout)
        return await self._aresult(self._ready().aresume, (*call, store))

    def _resume_call(self, run: Any, steps: Any, budget: Any, timeout: Any) -> tuple[Any, ...]:
        duration("resume()", "timeout", timeout)
        number("resume()", "steps", steps, least=1, whole=True)
        grant: dict[str, Any] | None = None
        if steps is not None or budget is not None:
            grant = budget_plain("resume()", budget or {})
            if steps is not None:
                grant["iterations"] = steps
        return (_run_id(run), grant, timeout)

    def checkpoints(self, run: str | Run | Result[Any]) -> list[Checkpoint]:
        """The points of a run to look at and to fork from, oldest first."""
        run = _run_id(run)
        return [
            Checkpoint(self._ready(), run, it) for it in self._ready().ask({"ask": "checkpoints", "run": run})
        ]

    async def acheckpoints(self, run: str | Run | Result[Any]) -> list[Checkpoint]:
        """Like :meth:`checkpoints`, awaited on any loop."""
        run = _run_id(run)
        points = await _bridge.awaited(self._ready().aask, {"ask": "checkpoints", "run": run})
        return [Checkpoint(self._ready(), run, point) for point in points]


def _answer(question: Any, decision: str, details: dict[str, Any]) -> dict[str, Any]:
    from .store import _answer as plain_answer

    known = {"text": None, "tool_calls": (), "output": None, "args": None, "reason": "", "answer": None}
    wrong = [name for name in details if name not in known]
    if wrong:
        raise unknown("answer()", wrong, known)
    return plain_answer(question, decision, *{**known, **details}.values())
