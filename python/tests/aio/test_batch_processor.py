"""Single items in, batches to a function, single results out."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ambidex import aio
from ambidex._bridge import SyncCallUnderLoopWarning
from ambidex.errors import CancelledError, ModelError, TimeoutError

from .conftest import Runner, script

# Longer than any test: what goes off with it was full, or flushed.
LONG = 600.0


def wait_until(condition: Callable[[], bool]) -> None:
    """For what another thread is about to do; the test's own limit ends it."""
    while not condition():
        time.sleep(0.001)


class Work:
    """A function of a batch, in both kinds, that remembers what it was given."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.threads: set[str] = set()
        self.lock = threading.Lock()
        self.now = 0
        self.peak = 0

    def _begin(self, items: list[int]) -> None:
        with self.lock:
            self.batches.append(items)
            self.threads.add(threading.current_thread().name)
            self.now += 1
            self.peak = max(self.peak, self.now)

    def _end(self, items: list[int]) -> list[int]:
        with self.lock:
            self.now -= 1
        for item in items:
            if item < 0:
                raise ValueError(item)
        return [10 * item for item in items]

    def sync(self, items: list[int]) -> list[int]:
        self._begin(items)
        time.sleep(0.001)
        return self._end(items)

    async def asynchronous(self, items: list[int]) -> list[int]:
        self._begin(items)
        await asyncio.sleep(0.001)
        return self._end(items)


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture(params=["sync", "asynchronous"])
def function(request: pytest.FixtureRequest, work: Work) -> Callable[[list[int]], Any]:
    chosen: Callable[[list[int]], Any] = getattr(work, request.param)
    return chosen


def test_full_batches_go_off_at_once(
    function: Callable[[list[int]], Any], work: Work, run_loop: Runner[Any]
) -> None:
    processor = aio.BatchProcessor(function, batch_size=4, max_wait=LONG)

    async def main() -> list[int]:
        results: list[int] = list(await aio.gather(*(processor.asubmit(item) for item in range(12))))
        await processor.aclose()
        return results

    assert run_loop(main()) == [10 * item for item in range(12)]
    assert sorted(map(tuple, work.batches)) == [(0, 1, 2, 3), (4, 5, 6, 7), (8, 9, 10, 11)]


def test_a_batch_that_is_not_full_waits_no_longer_than_asked(
    function: Callable[[list[int]], Any], work: Work
) -> None:
    processor = aio.BatchProcessor(function, batch_size=100, max_wait=0.05)

    async def main() -> None:
        began = time.monotonic()
        assert await processor.amap(range(3)) == [0, 10, 20]
        # It waited for more, and not for ever.
        assert time.monotonic() - began >= 0.05

    asyncio.run(main())
    assert work.batches == [[0, 1, 2]]
    assert processor.submit(7).result(60) == 70


def test_threads_submit_and_wait_for_their_own_result(
    function: Callable[[list[int]], Any], work: Work
) -> None:
    with (
        aio.BatchProcessor(function, batch_size=8, max_wait=0.01) as processor,
        ThreadPoolExecutor(32) as threads,
    ):
        results = list(threads.map(lambda item: processor.submit(item).result(60), range(400)))
    assert results == [10 * item for item in range(400)]
    assert sorted(item for batch in work.batches for item in batch) == list(range(400))
    assert max(map(len, work.batches)) <= 8


def test_many_items_of_sync_code(function: Callable[[list[int]], Any], work: Work) -> None:
    with aio.BatchProcessor(function, batch_size=10, max_wait=0.01) as processor:
        assert processor.map(range(25)) == [10 * item for item in range(25)]
    assert sorted(item for batch in work.batches for item in batch) == list(range(25))
    assert max(map(len, work.batches)) <= 10


@pytest.mark.parametrize("concurrency", [1, 3])
def test_never_more_batches_at_once_than_allowed(
    function: Callable[[list[int]], Any], work: Work, concurrency: int
) -> None:
    processor = aio.BatchProcessor(function, batch_size=2, max_wait=0.0, concurrency=concurrency)

    async def main() -> list[int]:
        return await processor.amap(range(60))

    with ThreadPoolExecutor(4) as threads:
        asking = [threads.submit(lambda: asyncio.run(main())) for _ in range(2)]
        asking += [threads.submit(lambda: processor.map(range(60))) for _ in range(2)]
        for asked in asking:
            assert asked.result(60) == [10 * item for item in range(60)]
    assert work.peak <= concurrency
    processor.close()


def test_while_all_places_are_taken_the_next_batch_goes_on_filling_up() -> None:
    entered, leave = threading.Event(), threading.Event()
    batches: list[list[int]] = []

    def blocks(items: list[int]) -> list[int]:
        batches.append(items)
        entered.set()
        leave.wait()
        return items

    with aio.BatchProcessor(blocks, batch_size=5, max_wait=0.0, concurrency=1) as processor:
        first = processor.submit(0)
        entered.wait()
        others = []
        for item in range(1, 5):
            others.append(processor.submit(item))
            time.sleep(0.002)
        leave.set()
        assert [future.result(60) for future in [first, *others]] == [0, 1, 2, 3, 4]
    assert batches == [[0], [1, 2, 3, 4]]


def test_an_async_function_runs_on_the_loop_that_asks(work: Work) -> None:
    processor = aio.BatchProcessor(work.asynchronous, batch_size=2, max_wait=0.0)

    async def main() -> list[int]:
        return await processor.amap([1, 2])

    assert asyncio.run(main()) == [10, 20]
    assert work.threads == {threading.current_thread().name}
    # Again on another loop, and for a thread on the background loop.
    assert asyncio.run(main()) == [10, 20]
    assert processor.submit(3).result(60) == 30
    assert work.threads == {threading.current_thread().name, "ambidex-loop-0"}


def test_a_sync_function_never_runs_on_the_loop(work: Work) -> None:
    processor = aio.BatchProcessor(work.sync, batch_size=2, max_wait=0.0)
    assert asyncio.run(processor.asubmit(1)) == 10
    assert all(name.startswith("ambidex-batch-") for name in work.threads)


def test_a_sync_function_works_under_trio_and_an_async_one_says_why_not(work: Work) -> None:
    trio = pytest.importorskip("trio")
    processor = aio.BatchProcessor(work.sync, batch_size=2, max_wait=0.0)
    assert trio.run(processor.asubmit, 4) == 40
    with pytest.raises(RuntimeError, match="trio runs here; give it a `def` function"):
        trio.run(aio.BatchProcessor(work.asynchronous).asubmit, 4)


def test_an_exception_in_place_of_a_result_fails_that_item_alone() -> None:
    def some(items: list[int]) -> list[int | BaseException]:
        return [KeyError(item) if item % 2 else item for item in items]

    with aio.BatchProcessor(some, batch_size=4, max_wait=0.01) as processor:
        even, odd, last = (processor.submit(item) for item in (2, 3, 4))
        assert (even.result(60), last.result(60)) == (2, 4)
        with pytest.raises(KeyError, match="3"):
            odd.result(60)


def test_a_batch_that_fails_is_tried_item_by_item_so_only_the_culprit_fails(
    function: Callable[[list[int]], Any], work: Work
) -> None:
    async def main() -> list[int | BaseException]:
        async with aio.BatchProcessor(function, batch_size=4, max_wait=LONG) as processor:
            return await processor.amap([1, -2, 3, 4], return_exceptions=True)

    first, failed, *others = asyncio.run(main())
    assert (first, others) == (10, [30, 40])
    assert isinstance(failed, ValueError)
    assert work.batches == [[1, -2, 3, 4], [1], [-2], [3], [4]]


def test_without_isolation_all_of_them_fail_and_nothing_is_called_twice(
    function: Callable[[list[int]], Any], work: Work
) -> None:
    with aio.BatchProcessor(function, batch_size=3, max_wait=LONG, isolate=False) as processor:
        failures = processor.map([1, -2, 3], return_exceptions=True)
    assert [type(failure) for failure in failures] == [ValueError] * 3
    assert work.batches == [[1, -2, 3]]


def test_a_provider_that_is_busy_is_not_asked_for_each_item() -> None:
    calls = []

    def busy(items: list[int]) -> list[int]:
        calls.append(items)
        raise ModelError("overloaded", retryable=True)

    with aio.BatchProcessor(busy, batch_size=3, max_wait=LONG) as processor:
        failures = processor.map([1, 2, 3], return_exceptions=True)
    assert [type(failure) for failure in failures] == [ModelError] * 3
    assert calls == [[1, 2, 3]]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda items: len(items), "one value of type int"),
        (lambda items: items[1:], "1 results"),
        (lambda items: "ab", "one value of type str"),
        (lambda items: dict.fromkeys(items), "one value of type dict"),
    ],
)
def test_a_function_that_does_not_give_one_result_for_each_item_is_told_so(wrong: Any, told: str) -> None:
    with aio.BatchProcessor(wrong, batch_size=2, max_wait=LONG) as processor:
        future, _ = processor.submit(1), processor.submit(2)
        with pytest.raises(TypeError, match=rf"one result for each, but returned {told}"):
            future.result(60)


def test_it_sees_the_context_of_the_first_item(function: Callable[[list[int]], Any]) -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)

    def sync(items: list[int]) -> list[int]:
        return [variable.get() for _ in items]

    async def asynchronous(items: list[int]) -> list[int]:
        return sync(items)

    variable.set(5)
    for look in (sync, asynchronous):
        processor: aio.BatchProcessor[int, int] = aio.BatchProcessor(look, batch_size=2, max_wait=LONG)
        assert processor.map([1, 2]) == [5, 5]
        assert asyncio.run(processor.amap([1, 2])) == [5, 5]


def test_cancelled_while_it_waits_an_item_is_withdrawn(
    function: Callable[[list[int]], Any], work: Work
) -> None:
    processor = aio.BatchProcessor(function, batch_size=3, max_wait=LONG)

    async def main() -> list[int]:
        gone = asyncio.ensure_future(processor.asubmit(1))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        results = asyncio.ensure_future(processor.amap([2, 3]))
        await asyncio.sleep(0)
        await processor.aclose()
        return await results

    assert asyncio.run(main()) == [20, 30]
    assert work.batches == [[2, 3]]


def test_a_batch_that_nobody_waits_for_any_more_is_cancelled() -> None:
    ended: list[str] = []

    async def slow(items: list[int]) -> list[int]:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")
        return items

    processor: aio.BatchProcessor[int, int] = aio.BatchProcessor(slow, batch_size=2, max_wait=LONG)

    async def main() -> None:
        both = [asyncio.ensure_future(processor.asubmit(item)) for item in (1, 2)]
        for _ in range(10):
            await asyncio.sleep(0)
        both[0].cancel()
        for _ in range(10):
            await asyncio.sleep(0)
        assert ended == []
        both[1].cancel()
        await asyncio.gather(*both, return_exceptions=True)
        await processor.aclose()
        assert ended == ["cancelled"]

    asyncio.run(main())
    assert processor.batches == 0


def test_a_function_that_cancels_itself_does_not_cancel_those_who_wait() -> None:
    async def cancels(items: list[int]) -> list[int]:
        raise asyncio.CancelledError

    processor: aio.BatchProcessor[int, int] = aio.BatchProcessor(cancels, batch_size=1)
    with pytest.raises(CancelledError, match="was cancelled while it was under way"):
        asyncio.run(processor.asubmit(1))


def test_a_loop_that_ends_takes_its_items_along_and_nothing_else(work: Work) -> None:
    processor = aio.BatchProcessor(work.asynchronous, batch_size=10, max_wait=LONG)

    async def main() -> None:
        asking = [asyncio.ensure_future(processor.asubmit(item)) for item in range(3)]
        await asyncio.sleep(0)
        assert not any(asked.done() for asked in asking)

    asyncio.run(main())
    processor.close()
    assert work.batches == []
    assert (processor.waiting, processor.batches) == (0, 0)


def test_closing_hands_on_what_waits_and_takes_no_more(
    function: Callable[[list[int]], Any], work: Work
) -> None:
    processor = aio.BatchProcessor(function, batch_size=10, max_wait=LONG)
    futures = [processor.submit(item) for item in range(3)]
    assert processor.waiting == 3
    processor.close()
    assert [future.result(0) for future in futures] == [0, 10, 20]
    assert work.batches == [[0, 1, 2]]
    with pytest.raises(RuntimeError, match="is closed"):
        processor.submit(4)
    with pytest.raises(RuntimeError, match="is closed"):
        asyncio.run(processor.asubmit(4))
    processor.close()
    assert "closed" in repr(processor)


def test_aclose_waits_for_items_of_threads_and_of_its_own_loop(function: Callable[[list[int]], Any]) -> None:
    processor = aio.BatchProcessor(function, batch_size=10, max_wait=LONG)

    async def main() -> None:
        future = processor.submit(1)
        own = asyncio.ensure_future(processor.asubmit(2))
        await asyncio.sleep(0)
        await processor.aclose()
        assert future.result(0) == 10
        assert await own == 20

    asyncio.run(main())


def test_closing_in_a_coroutine_what_its_own_loop_has_under_way_is_refused(work: Work) -> None:
    processor = aio.BatchProcessor(work.asynchronous, batch_size=10, max_wait=LONG)

    async def main() -> None:
        own = asyncio.ensure_future(processor.asubmit(2))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match=r"await processor\.aclose\(\)"):
            processor.close()
        await processor.aclose()
        assert await own == 20

    asyncio.run(main())


def test_closing_may_be_given_a_time() -> None:
    leave = threading.Event()

    def blocks(items: list[int]) -> list[int]:
        leave.wait()
        return items

    processor: aio.BatchProcessor[int, int] = aio.BatchProcessor(blocks, batch_size=1)
    future = processor.submit(1)
    with pytest.raises(TimeoutError, match="1 items have no result"):
        processor.close(0.01)
    leave.set()
    assert future.result(60) == 1


def test_leaving_by_an_exception_withdraws_what_waits(work: Work) -> None:
    processor = aio.BatchProcessor(work.sync, batch_size=10, max_wait=LONG)
    future = processor.submit(1)
    with pytest.raises(KeyError), processor:
        raise KeyError
    assert future.cancelled()
    assert work.batches == []


def test_sync_calls_under_a_loop_are_warned_of(work: Work) -> None:
    processor = aio.BatchProcessor(work.sync, batch_size=1)

    async def main() -> None:
        with pytest.warns(SyncCallUnderLoopWarning, match=r"await processor\.amap"):
            assert processor.map([1]) == [10]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            # This one does not block.
            future = processor.submit(2)
        assert await asyncio.wrap_future(future) == 20

    asyncio.run(main())


def test_threads_are_few_and_go_when_there_is_nothing_to_do(
    monkeypatch: pytest.MonkeyPatch, work: Work
) -> None:
    monkeypatch.setattr(sys.modules["ambidex.aio.batch_collector"], "_KEEP_ALIVE", 0.01)
    before = set(threading.enumerate())
    processor = aio.BatchProcessor(work.sync, batch_size=1, max_wait=0.0, concurrency=2)
    assert processor.map(range(100)) == [10 * item for item in range(100)]

    def ours() -> list[threading.Thread]:
        new = set(threading.enumerate()) - before
        return [thread for thread in new if thread.name.startswith("ambidex-batch")]

    # One for each batch under way, and one that waits for the next.
    assert 1 <= len(work.threads) <= 3
    wait_until(lambda: not ours())
    monkeypatch.setattr(sys.modules["ambidex.aio.batch_collector"], "_KEEP_ALIVE", 600.0)
    assert processor.submit(3).result(60) == 30
    processor.close()
    wait_until(lambda: not ours())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_may_go_on_with_it() -> None:
    done = script(
        """
import os, warnings
import ambidex.aio as aio
warnings.simplefilter("ignore")
processor = aio.BatchProcessor(lambda items: [10 * item for item in items], batch_size=2, max_wait=0.01)
assert processor.map([1, 2, 3]) == [10, 20, 30]
waits = processor.submit(9)
child = os.fork()
if child == 0:
    assert processor.map([4, 5, 6]) == [40, 50, 60]
    processor.close()
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert waits.result(60) == 90
processor.close()
print("ok")
"""
    )
    assert (done.stdout, done.stderr) == ("ok\n", "")


def test_a_process_that_ends_with_items_under_way_ends() -> None:
    done = script(
        """
import time
import ambidex.aio as aio
async def slow(items):
    import asyncio
    await asyncio.sleep(3600)
processor = aio.BatchProcessor(slow, batch_size=1)
processor.submit(1)
sync = aio.BatchProcessor(lambda items: time.sleep(3600), batch_size=1)
sync.submit(1)
while not (processor.batches and sync.batches):
    time.sleep(0.001)
print("ok")
"""
    )
    assert (done.stdout, done.stderr, done.returncode) == ("ok\n", "", 0)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match="function of a list"):
        aio.BatchProcessor(3)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="batch_size"):
        aio.BatchProcessor(len, batch_size=0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="concurrency"):
        aio.BatchProcessor(len, concurrency=1.5)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="max_wait"):
        aio.BatchProcessor(len, max_wait=-1)  # type: ignore[arg-type]


def test_futures_are_those_of_the_standard_library(work: Work) -> None:
    with aio.BatchProcessor(work.sync, batch_size=3, max_wait=0.01) as processor:
        futures = [processor.submit(item) for item in range(9)]
        assert {future.result() for future in concurrent.futures.as_completed(futures, 60)} == {
            10 * item for item in range(9)
        }
