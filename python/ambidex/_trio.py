"""Operations of the core under trio. Imported only where trio is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Any

import trio
from trio.lowlevel import Abort, current_task, current_trio_token, reschedule, wait_task_rescheduled


class TrioCall:
    """One operation, awaited by one trio task. The core calls its methods from threads of its own."""

    def __init__(self) -> None:
        self._task = current_task()
        self._token = current_trio_token()
        self._scopes: dict[int, trio.CancelScope] = {}
        self._raise_cancel: Callable[[], Any] | None = None

    async def run(self, start: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """Starts it and waits. Cancelled, it waits until the core has ended what it began."""
        call = start(*args, host=self)

        def abort(raise_cancel: Callable[[], Any]) -> Abort:
            self._raise_cancel = raise_cancel
            call.cancel()
            return Abort.FAILED

        value, error = await wait_task_rescheduled(abort)
        if error is None:
            return value
        if self._raise_cancel is not None:
            self._raise_cancel()
        raise error

    def done(self, value: Any, error: BaseException | None) -> None:
        import outcome

        self._soon(lambda: reschedule(self._task, outcome.Value((value, error))))

    def spawn(
        self,
        id: int,
        make: Callable[[], Awaitable[Any]],
        finish: Callable[[Any, BaseException | None], None],
        context: Context,
    ) -> None:
        scope = trio.CancelScope()

        async def work() -> None:
            try:
                with scope:
                    value = await make()
                    finish(value, None)
                    return
                # Trio's own error of a cancelled task may not leave it.
                finish(None, RuntimeError("the task was cancelled"))
            except BaseException as error:
                finish(None, error)
                # Whoever waits raises it. Let out of here, it would count as a defect of trio itself, which
                # wants nothing back but its own.
                if not isinstance(error, (Exception, SystemExit, KeyboardInterrupt, GeneratorExit)):
                    raise
            finally:
                self._scopes.pop(id, None)

        def begin() -> None:
            # Known before the task takes its first step: it may be cancelled by then.
            self._scopes[id] = scope
            try:
                trio.lowlevel.spawn_system_task(work, context=context)
            except RuntimeError as error:
                # The loop is ending and takes no more tasks.
                self._scopes.pop(id, None)
                finish(None, error)

        self._soon(begin)

    def cancel(self, id: int) -> None:
        def stop() -> None:
            scope = self._scopes.get(id)
            if scope is not None:
                scope.cancel()

        self._soon(stop)

    def call(self, function: Callable[[], None]) -> None:
        self._soon(function)

    def _soon(self, function: Callable[[], Any]) -> None:
        try:
            self._token.run_sync_soon(function)
        except trio.RunFinishedError:
            # Nobody is left to hear of it.
            pass
