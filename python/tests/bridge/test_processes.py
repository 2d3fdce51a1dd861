"""What only a process of its own can show: its end, its forks, its signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest

import ambidex

PRELUDE = """
import asyncio, os, random, signal, sys, threading, time
from ambidex import _bridge, _core

async def slow():
    await asyncio.sleep(0.05)

def many_calls():
    while True:
        _core._call(slow)
        _core._sleep(0.001)
"""


def run_script(body: str, *, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    script = [sys.executable, "-c", PRELUDE + textwrap.dedent(body)]
    return subprocess.run(script, capture_output=True, text=True, timeout=timeout, env=environment())


def environment() -> dict[str, str]:
    """With the package that this process tests."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(ambidex.__file__)))
    return {**os.environ, "PYTHONPATH": package}


@pytest.mark.parametrize("turn", range(5))
def test_a_process_ends_quietly_with_calls_in_flight(turn: int) -> None:
    ended = run_script(
        """
        async def loop():
            while True:
                await asyncio.gather(*[_bridge.awaited(_core.acall, slow) for _ in range(5)])

        for _ in range(4):
            threading.Thread(target=many_calls, daemon=True).start()
        threading.Thread(target=lambda: asyncio.run(loop()), daemon=True).start()
        time.sleep(random.random() * 0.15)
        """
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_children_of_a_busy_process_start_afresh() -> None:
    ended = run_script(
        """
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        for _ in range(4):
            threading.Thread(target=many_calls, daemon=True).start()
        time.sleep(0.1)
        children = []
        for _ in range(8):
            child = os.fork()
            if child == 0:
                _core._call(slow)
                asyncio.run(_bridge.awaited(_core.acall, slow))
                os._exit(7)
            children.append(child)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        assert codes == [7] * 8, codes
        """
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_child_does_not_wait_at_its_exit_for_threads_of_its_parent() -> None:
    ended = run_script(
        """
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 and later, of forks beside threads
        inside = threading.Event()

        async def nothing():
            pass

        def stays():
            inside.set()
            time.sleep(30)
            return nothing()

        def waits():
            _core._call(stays)

        # A loop's thread that carries out a job of the bridge is inside of the gate for all of it.
        threading.Thread(target=waits, daemon=True).start()
        inside.wait()
        child = os.fork()
        if child == 0:
            # Whoever waits sleeps again and again. Time is no measure where the machine is busy.
            import resource

            before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
            _core._at_exit()
            os._exit(int(resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before > 50))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        sys.stdout.flush()
        os._exit(0)
        """
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "0\n", "")


def test_ctrl_c_ends_a_sync_call_after_its_task_has_ended() -> None:
    ended = run_script(
        """
        async def tidy():
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                print("cancelled", flush=True)
                raise

        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            _core._call(tidy)
        except KeyboardInterrupt:
            print("interrupted")
        """
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "cancelled\ninterrupted\n", "")


def test_ctrl_c_reaches_a_sync_call_that_is_hardly_ever_asleep() -> None:
    ended = run_script(
        """
        import ambidex as ax

        def model(messages):
            turn = 0
            while True:
                yield "x"
                turn += 1
                if turn == 200:
                    os.kill(os.getpid(), signal.SIGINT)
                if turn % 20 == 0:
                    time.sleep(0.0005)

        try:
            ax.Agent("busy", model=ax.models.function(model)).run("go")
        except KeyboardInterrupt:
            print("interrupted")
        """
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "interrupted\n", "")


def test_a_stream_of_the_parent_is_refused_in_a_child() -> None:
    ended = run_script(
        """
        import ambidex as ax

        def model(messages):
            for piece in "abcd":
                yield piece
                time.sleep(0.01)

        stream = iter(ax.Agent("talks", model=ax.models.function(model)).stream("go"))
        next(stream)
        child = os.fork()
        if child == 0:
            try:
                list(stream)
            except ax.UsageError as error:
                print("before the process forked" in str(error))
            del stream
            sys.stdout.flush()
            os._exit(0)
        os.waitpid(child, 0)
        print(len(list(stream)) > 0)
        """
    )
    assert (ended.returncode, ended.stdout) == (0, "True\nTrue\n")


def test_a_signal_handler_of_the_user_runs_during_a_sync_call() -> None:
    ended = run_script(
        """
        signal.signal(signal.SIGUSR1, lambda *_: print("handled", flush=True))
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        _core._sleep(0.5)
        print("slept")
        """
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "handled\nslept\n", "")


def test_a_call_works_inside_an_exit_handler() -> None:
    ended = run_script(
        """
        import atexit
        async def answer():
            return 42
        _core._call(answer)  # 3.12 and later start no thread in an exit handler: its loop must run by then
        atexit.register(lambda: print(_core._call(answer)))
        """
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "42\n", "")


def test_a_background_loop_whose_thread_cannot_be_started_is_not_waited_for() -> None:
    ended = run_script(
        """
        start = _bridge.start_background_loop

        def fails(loop, depth):
            raise RuntimeError("can't start new thread")

        async def answer():
            return 42

        _bridge.start_background_loop = fails
        try:
            _core._call(answer)
        except RuntimeError as error:
            print(error)
        _bridge.start_background_loop = start
        print(_core._call(answer))
        """
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "can't start new thread\n42\n", "")


def test_a_killed_process_leaves_no_child() -> None:
    script = PRELUDE + "print('ready', flush=True)\n_core._sleep(60)\n"
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment()
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(5) == -signal.SIGTERM
    process.stdout.close()
