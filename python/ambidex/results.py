"""Results of runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Generic, NoReturn

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    from ._core import RunResult, Usage
    from .errors import AmbidexError
    from .messages import Message

    T_co = TypeVar("T_co", covariant=True, default=Any)
else:
    from typing import TypeVar

    T_co = TypeVar("T_co", covariant=True)

__all__ = ["Result"]

_NAMES = (
    "run_id",
    "thread_id",
    "status",
    "text",
    "output",
    "task_completed",
    "iterations_used",
    "execution_time",
    "usage",
    "messages",
    "error",
    "pause",
    "questions",
)
# As the command line and the server name them.
_OTHER_NAMES = {"run": "run_id", "thread": "thread_id"}


class Result(Generic[T_co]):
    """How a run came to rest. Reads as attributes and as a mapping: ``r.text`` is ``r["text"]``.

    ``status`` is ``succeeded``, ``paused`` (a budget, or ``max_iterations``), ``waiting`` (for a person), ``failed`` or
    ``cancelled``. Failed runs raise; of those the result is ``error.result``.
    """

    __slots__ = ("_convert", "_core", "_failure", "_messages", "_output")

    def __init__(
        self,
        core: RunResult,
        convert: Callable[[Any], T_co] | None = None,
        failure: AmbidexError | None = None,
    ) -> None:
        self._core = core
        self._convert = convert
        self._failure = failure

    @property
    def run_id(self) -> str:
        return self._core.run_id

    @property
    def thread_id(self) -> str | None:
        """The thread of conversation it belongs to, if any."""
        return self._core.thread_id

    @property
    def status(self) -> str:
        return self._core.status

    @property
    def text(self) -> str:
        """The model's last words."""
        return self._core.text

    @property
    def output(self) -> T_co:
        """What the agent's ``output=`` asked for, as that type. None where the run has none: it asked for nothing,
        or did not succeed."""
        try:
            return self._output
        except AttributeError:
            pass
        value = self._core.output
        if self._core.has_output and self._convert is not None:
            value = self._convert(value)
        self._output: T_co = value
        return self._output

    @property
    def task_completed(self) -> bool:
        """Whether a whole reply asked for no further tool."""
        return self._core.task_completed

    @property
    def iterations_used(self) -> int:
        """Calls of the model."""
        return self._core.iterations_used

    @property
    def execution_time(self) -> float:
        """Seconds of active time: without waiting for a person, without pauses."""
        return self._core.execution_time

    @property
    def usage(self) -> Usage:
        return self._core.usage

    @property
    def messages(self) -> list[Message]:
        """The whole conversation."""
        try:
            return self._messages
        except AttributeError:
            from .messages import of_plain

            self._messages: list[Message] = of_plain(self._core.messages())
            return self._messages

    @property
    def error(self) -> AmbidexError | None:
        """Why it failed. In a batch, where failures are values, this is also what could not even begin."""
        if self._failure is None:
            plain = self._core.error
            if plain is not None:
                from .errors import of_code

                code = plain["code"]
                self._failure = of_code(code)(plain["message"], code=code, retryable=plain["retryable"])
        return self._failure

    @property
    def pause(self) -> str | None:
        """Why it stands still, if it is paused: ``max_iterations``, or the budget that was reached."""
        return self._core.pause

    @property
    def questions(self) -> list[dict[str, Any]]:
        """What a person is asked, if it waits for one."""
        return self._core.questions()

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data, as ``ambidex run --result-json`` prints it."""
        error = self._core.error
        return {
            "run": self.run_id,
            "thread": self.thread_id,
            "status": self.status,
            "text": self.text,
            "output": self._core.output,
            "task_completed": self.task_completed,
            "iterations_used": self.iterations_used,
            "execution_time": self.execution_time,
            "usage": {name: value for name, value in self.usage.to_dict().items() if name in _USAGE},
            "error": error,
        }

    def keys(self) -> tuple[str, ...]:
        return _NAMES

    def __getitem__(self, name: str) -> Any:
        name = _OTHER_NAMES.get(name, name)
        if name not in _NAMES:
            raise KeyError(name)
        return getattr(self, name)

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self else default

    def __contains__(self, name: object) -> bool:
        return name in _NAMES or name in _OTHER_NAMES

    def __iter__(self) -> Iterator[str]:
        return iter(_NAMES)

    def __len__(self) -> int:
        return len(_NAMES)

    def __reduce__(self) -> NoReturn:
        from .errors import UsageError

        raise UsageError(
            "a result cannot be pickled; send result.to_dict(), or the part of it that is wanted"
        )

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        text = self.text if len(self.text) <= 80 else f"{self.text[:77]}..."
        parts = [f"status={self.status!r}", f"text={text!r}"]
        if self._core.has_output:
            parts.append(f"output={self.output!r}")
        if self.error is not None:
            parts.append(f"error={self.error!r}")
        if self.pause is not None:
            parts.append(f"pause={self.pause!r}")
        calls = "call" if self.iterations_used == 1 else "calls"
        return (
            f"<Result {' '.join(parts)} ({self.iterations_used} model {calls}, {self.execution_time:.2f} s)>"
        )

    def _repr_markdown_(self) -> str:
        from ._jupyter import result_markdown

        return result_markdown(self)

    def _repr_html_(self) -> str:
        from ._jupyter import result_html

        return result_html(self)


_USAGE = ("input_tokens", "output_tokens", "cached_input_tokens", "reasoning_tokens", "usd")
