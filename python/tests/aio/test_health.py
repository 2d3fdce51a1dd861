"""How loops, threads and connections fare, and who keeps a loop from its work.

Nothing here hopes for a time: who blocks a loop does so until the watcher has seen it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from ambidex import _core, aio
from ambidex._bridge import SyncCallUnderLoopWarning

from .conftest import Runner, script


def wait_until(condition: Callable[[], object]) -> None:
    """For what another thread is about to do; the test's own limit ends it."""
    while not condition():
        time.sleep(0.005)


def loop_of(thread: threading.Thread | None = None) -> aio.LoopHealth:
    """The open loop of a thread, this one if none is named."""
    name = (thread or threading.current_thread()).name
    (found,) = [loop for loop in aio.health().loops if loop.name.startswith(f"{name} (") and not loop.closed]
    return found


def blocks_of(health: aio.LoopHealth, file: str = __file__) -> list[aio.Block]:
    """Those that code of this file did: on a busy machine a loop may also have to wait for a processor."""
    return [block for block in health.blocks if (block.who or "").startswith(file)]


def stand_still(thread: threading.Thread | None = None) -> None:
    """Blocks the loop that runs here until the watcher has seen it, and who does it."""

    def seen() -> bool:
        now = loop_of(thread).blocked_now
        return now is not None and (now.who or "").startswith(__file__)

    wait_until(seen)


async def blocks_were_counted(number: int) -> aio.LoopHealth:
    """A block ends with the loop's next turn."""
    while len(blocks_of(loop_of())) < number:
        await asyncio.sleep(0.005)
    return loop_of()


@pytest.fixture(autouse=True)
def no_loop_is_left_over() -> None:
    """Loops of earlier tests on this thread are closed."""
    assert [
        loop for loop in aio.health().loops if loop.name.startswith("MainThread (") and not loop.closed
    ] == []


def test_who_blocks_a_loop_with_a_call_of_ours_on_it_is_named(run_loop: Runner[Any]) -> None:
    async def main() -> aio.LoopHealth:
        call = asyncio.ensure_future(_awaited(_core.asleep(3600)))
        await asyncio.sleep(0)
        stand_still()
        health = await blocks_were_counted(1)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        return health

    health = run_loop(main())
    (block,) = blocks_of(health)
    assert block.who is not None
    assert block.seconds > 0.1
    # The line in the function that blocks, not the one that called it, and no frame of ours.
    assert not block.who.split()[1].endswith("main")
    assert health.blocked_longest == max(block.seconds for block in health.blocks)
    assert health.blocked_total == pytest.approx(sum(block.seconds for block in health.blocks))
    assert health.lag_max >= block.seconds
    assert health.blocked_now is None


async def _awaited(awaitable: Any) -> Any:
    return await awaitable


def test_a_sync_call_of_ours_that_blocks_a_loop_is_seen_without_any_other_call() -> None:
    seen = threading.Event()
    main_thread = threading.current_thread()

    async def until_seen() -> None:
        while not seen.is_set():
            now = loop_of(main_thread).blocked_now
            if now is not None and (now.who or "").startswith(__file__):
                seen.set()
            await asyncio.sleep(0.005)

    async def main() -> aio.LoopHealth:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyncCallUnderLoopWarning)
            aio.run(until_seen())
        with aio.watch():
            return await blocks_were_counted(1)

    (block,) = blocks_of(asyncio.run(main()))
    assert block.who is not None
    # The line that made the call, though the innermost frame is one of the package.
    assert block.who.split()[1].endswith("main")


def test_a_loop_under_watch_is_measured_without_calls_of_ours(run_loop: Runner[Any]) -> None:
    async def main() -> None:
        with aio.watch():
            stand_still()
            health = await blocks_were_counted(1)
            assert health.calls == 0
            before = health.lag
            # It beats while it is idle.
            while loop_of().lag == before:
                await asyncio.sleep(0.005)

    run_loop(main())


def test_a_loop_of_another_thread_may_be_watched() -> None:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="elsewhere")
    thread.start()
    watch = aio.watch(loop)
    wait_until(lambda: any(found.name.startswith("elsewhere (") for found in aio.health().loops))
    loop.call_soon_threadsafe(stand_still, thread)
    wait_until(lambda: len(blocks_of(loop_of(thread))) == 1)
    watch.stop()
    watch.stop()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
    (health,) = [found for found in aio.health().loops if found.name.startswith("elsewhere (")]
    assert health.closed


def test_a_watch_that_was_stopped_before_it_began_never_begins() -> None:
    loop = asyncio.new_event_loop()
    watch = aio.watch(loop)
    watch.stop()
    loop.run_until_complete(asyncio.sleep(0))
    assert not any(found.name.startswith("MainThread (") and not found.closed for found in aio.health().loops)
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        aio.watch(loop)


def test_a_loop_that_waits_for_nothing_of_ours_gets_no_beats() -> None:
    async def main() -> None:
        await _core.asleep(0.001)
        before = loop_of()
        await asyncio.sleep(0.3)
        assert loop_of() == before

    asyncio.run(main())


def test_a_loop_that_does_not_run_is_not_blocked() -> None:
    loop = asyncio.new_event_loop()

    async def begin() -> asyncio.Future[Any]:
        call = asyncio.ensure_future(_awaited(_core.asleep(3600)))
        await asyncio.sleep(0)
        return call

    call = loop.run_until_complete(begin())
    time.sleep(0.3)
    wait_until(lambda: loop_of().blocked_now is None)
    call.cancel()
    loop.run_until_complete(asyncio.gather(call, return_exceptions=True))
    assert blocks_of(loop_of()) == []
    loop.close()


def test_in_debug_mode_each_place_is_logged_once_with_its_stack(caplog: pytest.LogCaptureFixture) -> None:
    def culprit() -> None:
        stand_still()

    async def main() -> aio.LoopHealth:
        asyncio.get_running_loop().set_debug(True)
        with aio.watch():
            for number in range(3):
                culprit()
                health = await blocks_were_counted(number + 1)
        return health

    with caplog.at_level(logging.WARNING, logger="ambidex.loops"):
        health = asyncio.run(main())
    messages = [record.getMessage() for record in caplog.records if record.name == "ambidex.loops"]
    # The watcher may have looked at more than one line of the loop that waits there.
    assert 1 <= len(messages) == len({message.split(" by ")[1].split(";")[0] for message in messages}) <= 3
    assert "has been blocked for" in messages[0]
    assert __file__ in messages[0]
    assert "in culprit" in messages[0]
    assert all(block.stack is not None and "culprit" in block.stack for block in blocks_of(health))


def test_otherwise_nothing_is_logged_and_no_stack_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> aio.LoopHealth:
        with aio.watch():
            stand_still()
            return await blocks_were_counted(1)

    health = asyncio.run(main())
    assert [block.stack for block in blocks_of(health)] == [None]
    assert [record for record in caplog.records if record.name == "ambidex.loops"] == []


def test_the_environment_turns_debug_mode_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AMBIDEX__RUNTIME__DEBUG_LOOPS", "true")
    monkeypatch.setattr(sys.modules["ambidex._blocked"], "_said", set())

    async def main() -> None:
        with aio.watch():
            stand_still()
            await blocks_were_counted(1)

    asyncio.run(main())
    assert [record.levelname for record in caplog.records if record.name == "ambidex.loops"][:1] == [
        "WARNING"
    ]


def test_closed_loops_are_remembered_but_not_for_ever() -> None:
    for _ in range(40):
        asyncio.run(_awaited_in_loop())
    closed = [loop for loop in aio.health().loops if loop.closed]
    assert len(closed) == 16
    assert {(loop.calls, loop.tasks, loop.queued) for loop in closed} == {(0, 0, 0)}


async def _awaited_in_loop() -> None:
    await _core.asleep(0.0001)


def test_calls_under_way_are_counted_where_they_are() -> None:
    async def main() -> None:
        calls = [asyncio.ensure_future(_awaited(_core.asleep(3600))) for _ in range(3)]
        await asyncio.sleep(0)
        health = aio.health()
        assert (loop_of().calls, health.calls) == (3, 3)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert loop_of().calls == 0

    asyncio.run(main())


def test_tasks_of_sync_calls_are_counted_on_the_background_loop() -> None:
    def background() -> aio.LoopHealth:
        (found,) = [loop for loop in aio.health().loops if loop.name == "ambidex-loop-0"]
        return found

    async def counted() -> int:
        return background().tasks

    assert aio.run(counted()) == 1
    wait_until(lambda: background().tasks == 0)


def test_it_reads_as_a_report() -> None:
    health = aio.health()
    assert health.threads.limit == 32
    assert health.process_threads >= 1
    assert health.blocked == sum(loop.blocked for loop in health.loops)
    text = repr(health)
    assert text.startswith("<Health\nruns 0, async calls 0, streams 0\nthreads 0 of 32 busy")
    assert "loop ambidex-loop-0: lag " in text
    assert str(health) in text


def test_asked_first_it_starts_nothing() -> None:
    done = script(
        """
import ambidex.aio as aio, threading
health = aio.health()
assert health.loops == () and health.threads.limit == 0 and health.ok, health
assert health.process_threads == 1, health
print("ok")
"""
    )
    assert (done.stdout, done.stderr) == ("ok\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_has_a_health_of_its_own() -> None:
    done = script(
        """
import asyncio, os, warnings
import ambidex.aio as aio
from ambidex import _core
warnings.simplefilter("ignore")
async def main():
    with aio.watch():
        await _core.asleep(0.2)
asyncio.run(main())
child = os.fork()
if child == 0:
    assert aio.health().loops == ()
    asyncio.run(main())
    (loop,) = aio.health().loops
    os._exit(0 if loop.closed else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
print("ok")
"""
    )
    assert (done.stdout, done.stderr) == ("ok\n", "")


def test_a_process_may_end_while_a_loop_is_blocked_and_watched() -> None:
    done = script(
        """
import asyncio, threading, time
import ambidex.aio as aio
def run():
    async def main():
        aio.watch()
        await asyncio.sleep(0.05)
        time.sleep(3600)
    asyncio.run(main())
threading.Thread(target=run, daemon=True).start()
while not any(loop.blocked_now for loop in aio.health().loops):
    time.sleep(0.005)
print("ok")
""",
        developer=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("ok\n", "", 0)


def test_without_a_loop_of_asyncio_there_is_nothing_to_watch() -> None:
    trio = pytest.importorskip("trio")

    async def main() -> None:
        with pytest.raises(RuntimeError, match="trio runs here"):
            aio.watch()

    trio.run(main)
    with pytest.raises(RuntimeError, match="no event loop runs here"):
        aio.watch()
