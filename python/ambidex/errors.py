"""What goes wrong, as exceptions.

Every error of Ambidex is an :class:`AmbidexError` with a stable :attr:`~AmbidexError.code` (the table is in
``docs/errors.md``). The subclasses group codes by what a program does about them::

    try:
        agent.run("task")
    except ax.TimeoutError:         # the builtin TimeoutError catches it too
        ...
    except ax.ModelError as error:
        if error.retryable:
            ...

Cancelling is not failing. When asyncio cancels a task that awaits a run, the run is stopped and asyncio's own
``CancelledError`` passes through; Ctrl-C passes through as ``KeyboardInterrupt``. :class:`CancelledError` of this
module is for everybody else: the run was stopped from elsewhere (its agent was closed, its stream was closed by
another thread) while somebody waited for it. It is an ordinary ``Exception`` and never ends an asyncio task.
"""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .results import Result

__all__ = [
    "AmbidexError",
    "BudgetError",
    "BusyError",
    "CancelledError",
    "ConfigError",
    "HookError",
    "InternalError",
    "ModelError",
    "ModelTimeoutError",
    "StoreError",
    "TimeoutError",
    "ToolError",
    "ToolTimeoutError",
    "UsageError",
]


class AmbidexError(Exception):
    """Anything that goes wrong in Ambidex.

    ``code`` is one of the codes of ``docs/errors.md``; ``retryable`` says whether trying the same again may help, and
    ``retry_after`` when (seconds), where the other side said so. ``provider``, ``status`` (HTTP) and ``request_id``
    are set for errors of a provider. ``result`` is what there is of the run, where a run failed.
    """

    default_code = "internal"

    code: str
    retryable: bool
    retry_after: float | None
    provider: str | None
    status: int | None
    request_id: str | None
    result: Result[Any] | None

    def __init__(
        self,
        message: str = "",
        *,
        code: str | None = None,
        retryable: bool = False,
        retry_after: float | None = None,
        provider: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
        result: Result[Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code if code is not None else self.default_code
        self.retryable = retryable
        self.retry_after = retry_after
        self.provider = provider
        self.status = status
        self.request_id = request_id
        self.result = result

    @property
    def message(self) -> str:
        """What happened, where, and what to do about it."""
        return str(self.args[0]) if self.args else ""

    def __str__(self) -> str:
        request = f" (request {self.request_id})" if self.request_id else ""
        return f"{self.message}{request}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.message!r}, code={self.code!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        # Results hold objects of this process; an error that travels to another leaves its result behind.
        return (type(self), self.args, {**self.__dict__, "result": None})


class ModelError(AmbidexError):
    """A model, or the way to it, failed."""

    default_code = "provider_error"


class ToolError(AmbidexError):
    """A call of a tool failed."""

    default_code = "tool_failed"


class ConfigError(AmbidexError):
    """The configuration is wrong, or asks for what this version cannot do."""

    default_code = "config_invalid"


class UsageError(ConfigError, TypeError):
    """A call of this package with arguments it does not take. It is a ``TypeError``, too."""


class BudgetError(AmbidexError):
    """A budget is used up."""

    default_code = "budget_reached"


class BusyError(AmbidexError):
    """A queue is full; try again later."""

    default_code = "busy"


class CancelledError(AmbidexError):
    """The run was stopped by somebody else than who waits for it; see the module's text."""

    default_code = "cancelled"


class TimeoutError(AmbidexError, builtins.TimeoutError):
    """A limit of time passed: of a call, or the run's deadline. It is the builtin ``TimeoutError``, too."""

    default_code = "timeout"


class ModelTimeoutError(ModelError, TimeoutError):
    """A model stood still, or took too long."""

    default_code = "idle_timeout"


class ToolTimeoutError(ToolError, TimeoutError):
    """A tool ran longer than its limit."""

    default_code = "tool_timeout"


class StoreError(AmbidexError):
    """The store could not be read or written."""

    default_code = "store_failed"


class HookError(AmbidexError):
    """A hook failed; its exception is the ``__cause__``."""

    default_code = "hook_failed"


class InternalError(AmbidexError):
    """A defect in Ambidex; please report it."""


#: The class of each code. A code this version does not know is an :class:`AmbidexError`.
CLASSES: dict[str, type[AmbidexError]] = {
    **dict.fromkeys(
        (
            "connect_failed",
            "bad_upstream",
            "stream_truncated",
            "rate_limited",
            "overloaded",
            "provider_error",
            "breaker_open",
            "quota_exhausted",
            "unauthorized",
            "forbidden",
            "not_found",
            "invalid_request",
            "context_too_long",
            "content_filter",
            "refused",
            "empty_reply",
            "reply_truncated",
            "output_invalid",
        ),
        ModelError,
    ),
    "idle_timeout": ModelTimeoutError,
    "timeout": TimeoutError,
    **dict.fromkeys(
        ("unknown_tool", "invalid_arguments", "tool_failed", "denied", "in_doubt", "repeated_calls"),
        ToolError,
    ),
    "tool_timeout": ToolTimeoutError,
    "cancelled": CancelledError,
    "budget_reached": BudgetError,
    "busy": BusyError,
    # Of threads and sessions.
    "conflict": AmbidexError,
    "store_failed": StoreError,
    "config_invalid": ConfigError,
    "unsupported": ConfigError,
    "hook_failed": HookError,
    # Of graphs.
    "unknown_edge": AmbidexError,
    "loop_limit": AmbidexError,
    "expression_failed": AmbidexError,
    "internal": InternalError,
}


def of_code(code: str) -> type[AmbidexError]:
    """The class of a code."""
    return CLASSES.get(code, AmbidexError)


def from_core(
    code: str,
    message: str,
    retryable: bool,
    retry_after: float | None,
    provider: str | None,
    request_id: str | None,
    status: int | None = None,
    result: Result[Any] | None = None,
) -> AmbidexError:
    """The exception of an error of the core."""
    return of_code(code)(
        message,
        code=code,
        retryable=retryable,
        retry_after=retry_after,
        provider=provider,
        status=status,
        request_id=request_id,
        result=result,
    )
