"""A turn of a loop's bridge, as that loop calls it, and tasks whose first step is part of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from ambidex._bridge import raise_again

# Tools of one round come one right after the other: those that came while the first took its step need no further turn.
_AGAIN = 4


def turn(carry_out: Callable[[bool], tuple[Any, list[Any]] | None]) -> None:
    """Does what a loop was asked to do, and starts the tasks that are part of that.

    Most of them end with their first step, so they take it here: that costs the loop no further iterations. No frame
    but Python's stands below a task's code.
    """
    for again in range(_AGAIN):
        started = carry_out(again > 0)
        if started is None:
            return
        _start(*started)


def _start(loop: Any, tasks: list[Any]) -> None:
    to_start = iter(tasks)
    try:
        _start_each(loop, to_start)
    except BaseException as error:
        # As a signal's handler raises it, between two tasks.
        for _, coroutine, ended in to_start:
            coroutine.close()
            ended.failed(error)
        raise


def _start_each(loop: Any, tasks: Iterator[Any]) -> None:
    for context, coroutine, ended in tasks:
        try:
            task = context.run(loop.create_task, coroutine)
        except BaseException as error:
            coroutine.close()
            ended.failed(error)
            continue
        try:
            _step(loop, task)
        except BaseException as error:
            # It ends the loop, by a callback of its own: whoever keeps it keeps the frames below it, and those here
            # would keep the bridge of a loop that is closed.
            trace = error.__traceback__ and error.__traceback__.tb_next
            loop.call_soon(raise_again, error.with_traceback(trace and trace.tb_next))
            del trace
        if task.done():
            ended(task)
        else:
            ended.goes_on(task)
            task.add_done_callback(ended)


def _step(loop: Any, task: Any) -> None:
    """Has a new task take its first step, where that is the last thing that the loop was told to do next: the queue of
    asyncio's own loops shows it. Elsewhere the loop does it in its own time."""
    ready = getattr(loop, "_ready", None)
    if not isinstance(ready, deque) or not ready:
        return
    first = ready[-1]
    if getattr(getattr(first, "_callback", None), "__self__", None) is task:
        ready.pop()
        first._run()
