"""A limit that threads and tasks of any loop share."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ambidex import aio
from ambidex._bridge import SyncCallUnderLoopWarning

from .conftest import Runner, script


class Inside:
    """Counts who is inside."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.now = 0
        self.peak = 0
        self.total = 0

    def __enter__(self) -> None:
        with self.lock:
            self.now += 1
            self.total += 1
            self.peak = max(self.peak, self.now)

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.now -= 1


def wait_until(condition: Any) -> None:
    """For what another thread is about to do; the test's own limit ends it."""
    while not condition():
        time.sleep(0.001)


def test_tasks_of_a_loop(run_loop: Runner[Any]) -> None:
    limiter, inside = aio.Limiter(3), Inside()

    async def work() -> None:
        async with limiter:
            with inside:
                await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(*(work() for _ in range(50)))

    run_loop(main())
    assert (inside.peak, inside.total, limiter.held, limiter.waiting) == (3, 50, 0, 0)


def test_one_made_before_any_loop_serves_threads_and_loops_of_all_kinds_at_once() -> None:
    limiter, inside = aio.Limiter(4), Inside()
    together = threading.Barrier(6)

    def thread() -> None:
        together.wait()
        for _ in range(200):
            with limiter, inside:
                time.sleep(0)

    async def task() -> None:
        for _ in range(20):
            async with limiter:
                with inside:
                    await asyncio.sleep(0)

    async def loop() -> None:
        await asyncio.gather(*(task() for _ in range(10)))

    def loop_thread() -> None:
        together.wait()
        asyncio.run(loop())

    def trio_thread() -> None:
        trio = pytest.importorskip("trio")

        async def work() -> None:
            for _ in range(100):
                async with limiter:
                    with inside:
                        await trio.sleep(0)

        async def main() -> None:
            async with trio.open_nursery() as nursery:
                for _ in range(2):
                    nursery.start_soon(work)

        together.wait()
        trio.run(main)

    with ThreadPoolExecutor(6) as threads:
        for done in [
            threads.submit(f) for f in (thread, thread, thread, loop_thread, loop_thread, trio_thread)
        ]:
            done.result()
    assert inside.total == 3 * 200 + 2 * 200 + 200
    assert inside.peak <= 4
    assert (inside.now, limiter.held, limiter.waiting) == (0, 0, 0)


def test_who_came_first_is_let_in_first_whatever_he_is() -> None:
    limiter = aio.Limiter(1)
    order: list[int] = []

    def thread(number: int) -> None:
        with limiter:
            order.append(number)

    async def task(number: int) -> None:
        async with limiter:
            order.append(number)

    with limiter:
        started = []
        for number in range(6):
            target = (lambda n=number: asyncio.run(task(n))) if number % 2 else (lambda n=number: thread(n))
            started.append(threading.Thread(target=target))
            started[-1].start()
            wait_until(lambda n=number: limiter.waiting == n + 1)
    for one in started:
        one.join()
    assert order == [0, 1, 2, 3, 4, 5]


def test_a_newcomer_does_not_pass_those_who_wait() -> None:
    limiter = aio.Limiter(2)

    async def main() -> list[str]:
        order: list[str] = []

        async def work(name: str) -> None:
            async with limiter:
                order.append(name)
                await asyncio.sleep(0)

        async with limiter:
            first = [asyncio.ensure_future(work(name)) for name in "abc"]
            await asyncio.sleep(0)
            await work("d")
        await asyncio.gather(*first)
        return order

    assert asyncio.run(main()) == ["a", "b", "c", "d"]


def test_a_task_that_is_cancelled_while_it_waits_leaves_its_place(run_loop: Runner[Any]) -> None:
    limiter = aio.Limiter(1)

    async def work() -> None:
        async with limiter:
            pass

    async def main() -> None:
        async with limiter:
            tasks = [asyncio.ensure_future(work()) for _ in range(5)]
            await asyncio.sleep(0)
            assert limiter.waiting == 5
            for task in tasks[:4]:
                task.cancel()
            await asyncio.gather(*tasks[:4], return_exceptions=True)
            assert limiter.waiting == 1
        await tasks[4]

    run_loop(main())
    assert limiter.held == 0


def test_a_task_that_is_cancelled_just_as_it_is_let_in_gives_its_permit_back() -> None:
    limiter = aio.Limiter(1)

    async def work() -> None:
        async with limiter:
            raise AssertionError("it was cancelled before")

    async def main() -> None:
        async with limiter:
            task = asyncio.ensure_future(work())
            await asyncio.sleep(0)
            # Let in, woken, and cancelled before it could look.
        assert limiter.held == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert limiter.held == 0

    asyncio.run(main())


def test_a_loop_that_is_closed_with_waiters_takes_nothing_along() -> None:
    limiter = aio.Limiter(1)
    loop = asyncio.new_event_loop()

    async def work() -> None:
        async with limiter:
            raise AssertionError("its loop was closed")

    with limiter:
        task = loop.create_task(work())
        loop.run_until_complete(asyncio.sleep(0))
        assert limiter.waiting == 1
        loop.close()
    # Whose turn it was cannot be told, so the next is let in.
    with limiter:
        assert limiter.held == 1
    assert (limiter.held, limiter.waiting) == (0, 0)
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    del task
    gc.collect()
    assert (limiter.held, limiter.waiting) == (0, 0)


def test_a_finaliser_may_use_the_limiter_that_it_interrupts() -> None:
    limiter = aio.Limiter(2)

    class Cyclic:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            with limiter:
                pass

    threshold = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(300):
            Cyclic()
            with limiter:
                pass
    finally:
        gc.set_threshold(*threshold)
    gc.collect()
    assert limiter.held == 0


def test_a_thread_that_would_wait_for_itself_is_told_so() -> None:
    limiter = aio.Limiter(1)
    with limiter:
        with pytest.raises(RuntimeError, match="would wait for ever"), limiter:
            pass
        assert limiter.held == 1
    assert (limiter.held, limiter.waiting) == (0, 0)


def test_a_coroutine_that_would_wait_for_its_own_loop_is_told_so() -> None:
    limiter = aio.Limiter(1)

    async def main() -> None:
        async with limiter:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SyncCallUnderLoopWarning)
                with pytest.raises(RuntimeError, match="use `async with`"), limiter:
                    pass

    asyncio.run(main())


def test_it_is_told_so_also_when_its_own_loop_is_let_in_before_it() -> None:
    limiter = aio.Limiter(1)
    entered, leave = threading.Event(), threading.Event()

    def holds() -> None:
        with limiter:
            entered.set()
            leave.wait()

    holder = threading.Thread(target=holds)
    holder.start()
    entered.wait()

    async def task() -> None:
        async with limiter:
            pass

    async def main() -> None:
        waiting = asyncio.ensure_future(task())
        await asyncio.sleep(0)
        assert limiter.waiting == 1
        threading.Thread(target=lambda: (wait_until(lambda: limiter.waiting == 2), leave.set())).start()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyncCallUnderLoopWarning)
            with pytest.raises(RuntimeError, match="would wait for ever"), limiter:
                pass
        await waiting

    asyncio.run(main())
    holder.join()
    assert limiter.held == 0


def test_waiting_with_the_sync_door_under_a_loop_is_warned_of() -> None:
    limiter = aio.Limiter(1)
    entered = threading.Event()

    def holds() -> None:
        with limiter:
            entered.set()
            wait_until(lambda: limiter.waiting == 1)

    holder = threading.Thread(target=holds)
    holder.start()
    entered.wait()

    async def main() -> None:
        with pytest.warns(SyncCallUnderLoopWarning, match="async with limiter"), limiter:
            pass

    asyncio.run(main())
    holder.join()


def test_a_failure_inside_gives_the_permit_back() -> None:
    limiter = aio.Limiter(1)
    with pytest.raises(ValueError, match="inside"), limiter:
        raise ValueError("inside")
    assert limiter.held == 0


class Clock:
    """A time that only waiting moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Time for limiters, and waits that let it pass."""
    clock = Clock()

    def wait(self: Any, timeout: float | None) -> None:
        assert timeout is not None
        clock.now += max(timeout, 0.0)

    async def await_(self: Any, timeout: float | None) -> None:
        # Who watches the clock lets time pass, the others wait to be woken.
        if timeout is not None:
            clock.now += max(timeout, 0.0)
        await asyncio.sleep(0)

    wakeup = sys.modules["ambidex.aio.wakeup"]
    monkeypatch.setattr(sys.modules["ambidex.aio.limiter"], "_now", clock)
    monkeypatch.setattr(wakeup.ThreadWakeup, "wait", wait)
    monkeypatch.setattr(wakeup.LoopWakeup, "wait", await_)
    return clock


def test_a_rate_lets_in_so_many_in_any_stretch_of_time(clock: Clock) -> None:
    limiter = aio.Limiter(3, per=1.0)
    entered: list[float] = []
    for number in range(10):
        with limiter:
            entered.append(clock.now)
        # Somebody takes his time now and then.
        clock.now += 0.4 if number % 4 == 0 else 0.0
    for first, fourth in zip(entered, entered[3:], strict=False):
        assert fourth - first >= 1.0 - 1e-9
    assert clock.now - 100.0 < 4.0


def test_a_rate_is_kept_over_all_tasks_and_nothing_is_wasted(clock: Clock) -> None:
    limiter, inside = aio.Limiter(5, per=2.0), Inside()

    async def work() -> None:
        async with limiter:
            with inside:
                pass

    async def main() -> None:
        await asyncio.gather(*(work() for _ in range(25)))

    asyncio.run(main())
    # The last five of 25 are let in when four stretches are over.
    assert (inside.total, clock.now) == (25, pytest.approx(108.0))
    assert limiter.held == 0


def test_a_rate_in_real_time_lets_a_crowd_of_threads_and_tasks_through() -> None:
    limiter = aio.Limiter(20, per=0.05)
    inside = Inside()

    async def task() -> None:
        async with limiter:
            with inside:
                pass

    async def main() -> None:
        await asyncio.gather(*(task() for _ in range(50)))

    def thread() -> None:
        for _ in range(10):
            with limiter, inside:
                pass

    began = time.monotonic()
    with ThreadPoolExecutor(6) as threads:
        jobs = [threads.submit(thread) for _ in range(5)] + [threads.submit(lambda: asyncio.run(main()))]
        for job in jobs:
            job.result()
    # 100 entries in groups of 20: the last may not come before the fourth stretch is over.
    assert time.monotonic() - began >= 4 * 0.05
    assert inside.total == 100


def test_a_waiter_of_a_rate_that_is_cancelled_leaves_the_clock_to_the_next() -> None:
    limiter = aio.Limiter(1, per=0.05)

    async def work() -> None:
        async with limiter:
            pass

    async def main() -> None:
        await work()
        tasks = [asyncio.ensure_future(work()) for _ in range(3)]
        await asyncio.sleep(0)
        # The one that watches the clock.
        tasks[0].cancel()
        await asyncio.gather(*tasks[1:])

    asyncio.run(main())
    assert limiter.waiting == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_after_a_fork_the_child_has_the_permits_of_threads_that_it_does_not_have() -> None:
    done = script(
        """
import os, sys, threading, warnings
import ambidex.aio as aio
warnings.simplefilter("ignore")
limiter = aio.Limiter(2)
entered, leave = threading.Event(), threading.Event()
def hold():
    with limiter:
        entered.set()
        leave.wait()
holder = threading.Thread(target=hold)
holder.start()
entered.wait()
with limiter:
    child = os.fork()
    if child == 0:
        # The permit of this thread is held here too, the other one is free.
        assert (limiter.held, limiter.waiting) == (1, 0), repr(limiter)
        with limiter:
            pass
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
leave.set()
holder.join()
assert limiter.held == 0
print("ok")
"""
    )
    assert (done.stdout, done.stderr) == ("ok\n", "")


def test_ctrl_c_ends_the_wait_of_the_main_thread() -> None:
    done = script(
        """
import os, signal, threading, time
import ambidex.aio as aio
limiter = aio.Limiter(1)
entered, leave = threading.Event(), threading.Event()
def hold():
    with limiter:
        entered.set()
        leave.wait()
holder = threading.Thread(target=hold)
holder.start()
entered.wait()
def interrupt():
    while not limiter.waiting:
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt).start()
try:
    with limiter:
        raise AssertionError
except KeyboardInterrupt:
    assert limiter.waiting == 0
leave.set()
holder.join()
assert limiter.held == 0
print("ok")
"""
    )
    assert (done.stdout, done.stderr) == ("ok\n", "")


def test_wrong_numbers_are_refused_and_it_says_what_it_is() -> None:
    with pytest.raises(ValueError, match="1 or more"):
        aio.Limiter(0)
    with pytest.raises(TypeError, match="whole number"):
        aio.Limiter(1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="above 0 seconds"):
        aio.Limiter(1, per=0)
    with aio.Limiter(2) as _, (limiter := aio.Limiter(3)):
        assert repr(limiter) == "Limiter(3) held=1 waiting=0"
    assert repr(aio.Limiter(3, per=60)) == "Limiter(3, per=60) waiting=0"
    assert (limiter.permits, limiter.per) == (3, None)
