"""The awaitable of the async door is a future in every way that asyncio looks at."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import os
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ambidex import _bridge, _core


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    async def wrapped() -> Any:
        return await main()

    return asyncio.run(wrapped())


def test_gather_wait_shield_and_as_completed_take_it() -> None:
    async def main() -> None:
        assert await asyncio.gather(_core.ayielded(), _core.asleep(0.01)) == [None, None]
        done, pending = await asyncio.wait([_core.asleep(0.01), _core.asleep(0.02)])
        assert (len(done), len(pending)) == (2, 0)
        assert await asyncio.shield(_core.asleep(0.01)) is None
        finished = 0
        for each in asyncio.as_completed([_core.asleep(0.02), _core.asleep(0.01)]):
            await each
            finished += 1
        assert finished == 2
        assert await asyncio.wait_for(_core.asleep(0.01), 5) is None

    run(main)


def test_it_may_be_awaited_again_and_keeps_its_value() -> None:
    async def main() -> None:
        async def value() -> int:
            return 7

        call = _core.acall(value)
        assert await call == 7
        assert await call == 7
        assert (call.done(), call.cancelled(), call.result(), call.exception()) == (True, False, 7, None)

    run(main)


def test_its_state_while_it_is_pending() -> None:
    async def main() -> None:
        call = _core.asleep(30)
        assert not call.done()
        with pytest.raises(asyncio.InvalidStateError):
            call.result()
        with pytest.raises(asyncio.InvalidStateError):
            call.exception()
        assert call.get_loop() is asyncio.get_running_loop()
        assert call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert call.cancelled()
        assert not call.cancel()

    run(main)


def test_the_error_of_a_function_keeps_its_traceback() -> None:
    async def fails() -> None:
        raise LookupError("not here")

    async def main() -> None:
        with pytest.raises(LookupError, match="not here") as caught:
            await _core.acall(fails)
        assert "fails" in [entry.name for entry in caught.traceback]

    run(main)


def test_a_cancelled_call_waits_for_the_task_it_started() -> None:
    seen: list[str] = []

    async def tidy() -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            await asyncio.sleep(0.05)
            seen.append("tidied")
            raise

    async def main() -> None:
        task = asyncio.ensure_future(_bridge.awaited(_core.acall, tidy))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert seen == ["tidied"]

    run(main)


def test_a_cancellation_that_comes_with_the_answer_is_not_lost() -> None:
    async def main() -> None:
        call = _core.ayielded()
        # The loop has not heard of the answer yet: whoever cancels now is told that it will be cancelled.
        if call.cancel():
            with pytest.raises(asyncio.CancelledError):
                await call
        else:
            await call

    for _ in range(50):
        run(main)


def test_a_cancellation_arrives_with_what_it_said() -> None:
    said: list[tuple[object, ...]] = []

    async def waits() -> None:
        try:
            await _core.asleep(30)
        except asyncio.CancelledError as error:
            said.append(error.args)
            raise

    async def main() -> None:
        task = asyncio.ensure_future(waits())
        await asyncio.sleep(0.01)
        task.cancel("enough")
        with pytest.raises(asyncio.CancelledError):
            await task
        # Where it arrives: to whoever awaits the task 3.10 does not pass it on.
        assert said == [("enough",)]
        call = _core.asleep(30)
        call.cancel()
        for _ in range(2):
            with pytest.raises(asyncio.CancelledError) as caught:
                await call
            assert caught.value.args == ()

    run(main)


def test_anyio_takes_its_own_cancellation_back() -> None:
    anyio = pytest.importorskip("anyio")

    async def main() -> None:
        with anyio.move_on_after(0.01) as scope:
            await _core.asleep(30)
        assert scope.cancelled_caught
        with pytest.raises(TimeoutError), anyio.fail_after(0.01):
            await _core.asleep(30)

    run(main)


def test_loops_that_take_turns_in_one_thread_keep_their_bridges() -> None:
    loops = [asyncio.new_event_loop() for _ in range(2)]

    async def calls() -> None:
        await _core.ayielded()

    try:
        for loop in loops:
            loop.run_until_complete(calls())
        before = len(os.listdir("/dev/fd"))
        for loop in loops * 5:
            loop.run_until_complete(calls())
        assert len(os.listdir("/dev/fd")) == before
    finally:
        for loop in loops:
            loop.close()


def test_a_loop_does_not_keep_the_context_of_its_first_call() -> None:
    class Thing:
        pass

    variable: contextvars.ContextVar[Thing] = contextvars.ContextVar("variable")

    async def first() -> weakref.ref[Thing]:
        thing = Thing()
        variable.set(thing)
        await _core.ayielded()
        return weakref.ref(thing)

    async def main() -> None:
        reference = await asyncio.create_task(first())
        await asyncio.create_task(asyncio.sleep(0))
        gc.collect()
        assert reference() is None

    run(main)


def test_callbacks_are_called_once_with_their_context_and_can_be_removed() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    seen: list[str] = []

    async def main() -> None:
        def told(future: Any) -> None:
            assert future.done()
            seen.append(variable.get())

        call = _core.asleep(0.01)
        context = contextvars.copy_context()
        context.run(variable.set, "given")
        call.add_done_callback(told, context=context)
        call.add_done_callback(print)
        assert call.remove_done_callback(print) == 1
        await call
        await asyncio.sleep(0)
        call.add_done_callback(told)
        await asyncio.sleep(0)
        assert seen == ["given", "none"]

    run(main)


def test_dropping_it_cancels_what_it_started() -> None:
    ended: list[str] = []

    async def main() -> None:
        started = asyncio.Event()

        async def waits() -> None:
            started.set()
            try:
                await asyncio.sleep(30)
            finally:
                ended.append("ended")

        call = _core.acall(waits)
        await started.wait()
        del call
        gc.collect()
        async with asyncio_timeout(5):
            while not ended:
                await asyncio.sleep(0.01)

    run(main)


def test_nothing_of_the_caller_is_kept_when_it_has_ended() -> None:
    class Thing:
        pass

    variable: contextvars.ContextVar[Thing] = contextvars.ContextVar("variable")

    async def main() -> weakref.ref[Thing]:
        thing = Thing()
        reference = weakref.ref(thing)

        async def inner() -> None:
            variable.set(thing)

            async def gives() -> Thing:
                return variable.get()

            assert await _core.acall(gives) is thing

        await asyncio.create_task(inner())
        return reference

    reference = run(main)
    gc.collect()
    assert reference() is None


def test_a_closed_loop_with_calls_pending_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(20):
        loop = asyncio.new_event_loop()

        async def main() -> list[Any]:
            return [_core.asleep(0.01) for _ in range(5)]

        pending = loop.run_until_complete(main())
        loop.close()
        del pending, loop
    _core._sleep(0.05)
    gc.collect()
    assert capfd.readouterr().err == ""


def test_without_a_loop_the_error_says_so() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        _core.ayielded()


def test_the_door_is_a_coroutine_function() -> None:
    assert inspect.iscoroutinefunction(_bridge.awaited)


def asyncio_timeout(seconds: float) -> Any:
    """`asyncio.timeout`, which 3.10 has not."""
    if hasattr(asyncio, "timeout"):
        return asyncio.timeout(seconds)
    from contextlib import AsyncExitStack

    return AsyncExitStack()
