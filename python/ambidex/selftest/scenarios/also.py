"""F: the list that follows the 49. Each shows what comes of it: it works, or an error says why not."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from typing import Any

import ambidex as ax

from ..checks import Failed, Figure, NotApplicable, clock, equal, holds, said, took, within
from ..child import Child
from ..scenario import part, scenario
from ..witness import Upstream, call
from .cancelling import hangup_after
from .common import an_agent, in_threads
from .processes import DOUBLED, ROUND, async_double, forked, sync_double
from .streams import LONG
from .tools import calls, told


@scenario(
    "F01",
    "eight forks while four threads run",
    "each child makes one run, at most 10 s, exit 0",
    needs=("posix",),
    limit=60,
)
def forks_under_load(up: Upstream) -> Figure:
    agent = an_agent(up, sync_double, async_double, rounds=ROUND)
    enough = threading.Event()
    runs: list[str] = []

    def keep_running() -> None:
        while not enough.is_set():
            runs.append(agent.run("hello").text)

    threads = [threading.Thread(target=keep_running) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        seconds = [forked(lambda: agent.run("hello").text == DOUBLED) for _ in range(8)]
    finally:
        enough.set()
        for thread in threads:
            thread.join()
    equal(set(runs), {DOUBLED}, "texts of the threads")
    return Figure(max(seconds), "s", f"slowest child; {len(runs)} runs beside them")


@scenario("F02", "300 threads at once", "all right", limit=60)
def three_hundred_threads(up: Upstream) -> Figure:
    agent = an_agent(up, sync_double, async_double, delay=0.2, rounds=ROUND)
    start = clock()
    equal(in_threads(300, lambda _: agent.run("hello").text), [DOUBLED] * 300, "texts")
    return took(start)


@ax.tool
def block(seconds: float) -> str:
    """Blocks its thread."""
    time.sleep(seconds)
    return "awake"


@ax.tool
async def sleep(seconds: float) -> str:
    """Sleeps on its loop."""
    await asyncio.sleep(seconds)
    return "awake"


@scenario("F03", "four daemon threads inside runs when the process ends", "within 1 s, exit 0, stderr empty")
def ends_with_daemons(up: Upstream) -> Figure:
    ended = Child("F03.script", up.address).wait(20).cleanly("four daemon threads", exit_within=1.0)
    return Figure(ended.exit_seconds, "s")


@part("F03.script")
def four_daemons(up: Upstream) -> dict[str, Any]:
    blocking = an_agent(up, block, model="blocking", rounds=[[call("block", seconds=20.0)] * 1])
    sleeping = an_agent(up, sleep, model="sleeping", rounds=[[call("sleep", seconds=20.0)]])
    waiting = an_agent(up, model="waiting", delay=20.0)
    flowing = an_agent(up, model="flowing", deltas=1000, gap=0.02)

    def read() -> None:
        for _ in flowing.stream("hello"):
            pass

    for work in (
        lambda: blocking.run("hello"),
        lambda: sleeping.run("hello"),
        lambda: waiting.run("hello"),
        read,
    ):
        threading.Thread(target=work, daemon=True).start()
    up.until(requests=4, replies=2)
    time.sleep(0.1)
    return {}


@scenario("F04", "one of two loops is cancelled and closed", "its three runs end, those of the other go on")
def one_of_two_loops(up: Upstream) -> Figure:
    slow = an_agent(up, model="slow", delay=8.0)
    steady = an_agent(up, sync_double, async_double, model="steady", delay=0.3, rounds=ROUND)
    closed: list[float] = []

    async def cancelled() -> None:
        tasks = [asyncio.create_task(slow.arun("hello")) for _ in range(3)]
        await asyncio.sleep(0.3)
        closed.append(clock())
        del tasks[0]  # asyncio.run cancels them all

    async def going_on() -> list[str]:
        results = await asyncio.gather(*[steady.arun("hello") for _ in range(3)])
        return [result.text for result in results]

    def loop(i: int) -> object:
        return asyncio.run(going_on() if i else cancelled())

    equal(in_threads(2, loop)[1], [DOUBLED] * 3, "texts of the other loop")
    hangups = up.until(hangups=3, within=2)["hangups"]
    equal([hangup["model"] for hangup in hangups], ["slow"] * 3, "hang-ups")
    return Figure(
        within(max(h["at"] for h in hangups) - closed[0], 1, "hang-ups"), "s", "to the third hang-up"
    )


@scenario(
    "F05", "a TaskGroup whose failure cancels three runs", "three hang-ups within 1 s, the failure comes out"
)
def task_group(up: Upstream) -> Figure:
    agent = an_agent(up, delay=8.0)

    async def fail() -> None:
        await asyncio.sleep(0.3)
        raise ValueError("the fourth task")

    async def main() -> float:
        start = clock()
        try:
            await grouped([agent.arun("hello") for _ in range(3)] + [fail()])
        except Exception as error:
            holds("the fourth task" in repr(error), f"another error came out: {error!r}")
            within(clock() - start, 1.3, "the group's end")
            return start + 0.3
        raise Failed("no error came out")

    failed_at = asyncio.run(main())
    hangups = up.until(hangups=3, within=2)["hangups"]
    equal(len(hangups), 3, "hang-ups")
    return Figure(
        within(max(h["at"] for h in hangups) - failed_at, 1, "hang-ups"), "s", "to the third hang-up"
    )


async def grouped(coroutines: list[Any]) -> None:
    """`asyncio.TaskGroup`, or what it does where Python 3.10 has none."""
    if sys.version_info >= (3, 11):
        async with asyncio.TaskGroup() as group:
            for coroutine in coroutines:
                group.create_task(coroutine)
        return
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    done, left = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    for task in done:
        task.result()


@scenario("F06", "a bare `break` out of a stream, sync and async", "the upstream sees the hang-up within 1 s")
def bare_break(up: Upstream) -> Figure:
    agent = an_agent(up, **LONG)
    for event in agent.stream("hello"):
        if event.type == "model.delta":
            break
    left = clock()
    first = hangup_after(up, left)

    async def main() -> float:
        async for event in agent.astream("hello"):
            if event.type == "model.delta":
                break
        left = clock()
        ledger = await asyncio.to_thread(up.until, hangups=2, within=2)
        equal(len(ledger["hangups"]), 2, "hang-ups after the async break")
        return within(ledger["hangups"][1]["at"] - left, 1, "hang-up after the async break")

    return Figure(max(first, asyncio.run(main())), "s", "to the hang-up")


class Alarm(Exception):
    """What a signal handler raises."""


@scenario(
    "F07",
    "a Python signal handler during a sync run",
    "runs within 0.2 s, the run goes on; one that raises ends the run",
    needs=("posix",),
)
def signal_handler(up: Upstream) -> Figure:
    agent = an_agent(up, delay=1.0)
    handled: list[float] = []
    signal.signal(signal.SIGUSR1, lambda *_: handled.append(clock()))
    with KillLater(signal.SIGUSR1, 0.4) as killer:
        equal(agent.run("hello").text, "you said hello", "text")
    holds(handled, "the handler did not run")
    late = within(handled[0] - killer.sent(), 0.2, "the handler")

    def raises(*_: object) -> None:
        raise Alarm

    signal.signal(signal.SIGUSR1, raises)
    slow = an_agent(up, model="slow", delay=8.0)
    with KillLater(signal.SIGUSR1, 0.4) as killer:
        try:
            slow.run("hello")
        except Alarm:
            within(clock() - killer.sent(), 1, "the handler's exception")
        else:
            raise Failed("the handler's exception did not come out")
    hangup_after(up, killer.sent())
    return Figure(late * 1000, "ms", "to the handler")


class KillLater:
    """A process that sends this one a signal, from outside as a user would."""

    def __init__(self, number: int, seconds: float) -> None:
        code = f"time.sleep({seconds}); print(time.monotonic()); os.kill({os.getpid()}, {int(number)})"
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", "import os, time; " + code], stdout=subprocess.PIPE, text=True
        )
        self.told: float | None = None

    def __enter__(self) -> KillLater:
        return self

    def __exit__(self, *exc: object) -> None:
        self.sent()

    def sent(self) -> float:
        """When it was sent. Waits for that."""
        if self.told is None:
            self.told = float(self.process.communicate()[0])
        return self.told


@scenario("F08", "a run inside an atexit handler", "works, or an error says why not; never a hang")
def run_at_exit(up: Upstream) -> Figure:
    notes = []
    for name in ("after", "before"):
        ended = (
            Child(f"F08.{name}", up.address).wait(15).cleanly(f"a handler registered {name} the first run")
        )
        lines = [line for line in ended.stdout.splitlines() if line.startswith("atexit: ")]
        equal(len(lines), 1, f"lines of a handler registered {name} the first run")
        outcome = lines[0].removeprefix("atexit: ")
        if outcome != DOUBLED and "interpreter is ending" not in outcome:
            raise Failed(f"a handler registered {name} the first run: {outcome}")
        notes.append(f"registered {name} the first run: {'works' if outcome == DOUBLED else outcome}")
    return said("; ".join(notes))


def at_exit(agent: ax.Agent) -> None:
    try:
        outcome = agent.run("hello").text
    except Exception as error:
        outcome = f"{type(error).__name__}: {error}"
    print("atexit: " + outcome, flush=True)


@part("F08.after")
def registered_after(up: Upstream) -> dict[str, Any]:
    import atexit

    agent = an_agent(up, sync_double, async_double, rounds=ROUND)
    equal(agent.run("hello").text, DOUBLED, "text")
    atexit.register(at_exit, agent)
    return {}


@part("F08.before")
def registered_before(up: Upstream) -> dict[str, Any]:
    import atexit

    agents: list[ax.Agent] = []
    atexit.register(lambda: at_exit(agents[0]))
    agents.append(an_agent(up, sync_double, async_double, rounds=ROUND))
    equal(agents[0].run("hello").text, DOUBLED, "text")
    return {}


@scenario(
    "F09",
    "an sqlite3 object of the main thread in a sync tool",
    'works with `@tool(thread="caller")`, both doors',
)
def sqlite_on_callers_thread(up: Upstream) -> Figure:
    import sqlite3

    database = sqlite3.connect(":memory:")
    database.execute("create table notes (text)")

    @ax.tool(thread="caller")
    def note(i: int) -> int:
        """Writes a note and counts them."""
        database.execute("insert into notes values (?)", (str(i),))
        return int(database.execute("select count(*) from notes").fetchone()[0])

    @ax.tool
    def on_a_thread() -> int:
        """The same without thread="caller"."""
        return int(database.execute("select count(*) from notes").fetchone()[0])

    agent = an_agent(up, note, rounds=calls("note") * 2)
    equal(agent.run("hello").text, told(1, 2), "text, sync door")
    equal(asyncio.run(agent.arun("hello")).text, told(3, 4), "text, async door")
    without = an_agent(up, on_a_thread, model="without", rounds=[[call("on_a_thread")]]).run("hello").text
    holds("same thread" in without, f"without it, the model was told {without!r}")
    return said("works; without it the model is told sqlite3's error")


@scenario("F10", "Django's ORM in tools", "works, sync and async tools, both doors", needs=("django",))
def django_orm(up: Upstream) -> Figure:
    from . import django_app

    start = clock()
    with django_app.database() as note:

        @ax.tool
        def save(i: int) -> int:
            """Writes a row with the sync ORM."""
            return int(note.objects.create(text=str(i)).pk)

        @ax.tool
        async def count(i: int) -> int:
            """Counts rows with the async ORM."""
            return int(await note.objects.acount())

        agent = an_agent(up, save, count, rounds=[[call("save", i=1)], [call("count", i=1)]])
        equal(agent.run("hello").text, told(1, 1), "text, sync door")
        equal(asyncio.run(agent.arun("hello")).text, told(2, 2), "text, async door")
        note.objects.all().delete()
    return took(start)


@scenario(
    "F11",
    "Celery, prefork; a run in the worker's parent before the forks",
    "each task gets its answer",
    needs=("celery", "posix"),
    limit=90,
)
def celery_prefork(up: Upstream) -> Figure:
    from .celery_worker import Worker

    an_agent(up, sync_double, async_double, rounds=ROUND)
    with Worker(up.address) as worker:
        start = clock()
        answers = worker.ask(8)
        seconds = clock() - start
    equal([text for text, _ in answers], [DOUBLED] * 8, "answers")
    children = {pid for _, pid in answers}
    return Figure(seconds, "s", f"{len(children)} forked children")


@scenario("F12", "gevent-patched threads", "works, or an error says why not; never a hang", needs=("gevent",))
def gevent_patched(up: Upstream) -> Figure:
    ended = Child("F12.script", up.address, gevent=True).wait(20).cleanly("under gevent's patches")
    return said(ended.facts["outcome"])


@part("F12.script")
def run_patched(up: Upstream) -> dict[str, Any]:
    agent = an_agent(up, sync_double, async_double, delay=0.2, rounds=ROUND)
    start = clock()
    try:
        texts = in_threads(4, lambda _: agent.run("hello").text)
    except ax.AmbidexError as error:
        holds("gevent" in str(error), f"the error does not name gevent: {error}")
        return {"outcome": f"an error: {error}"}
    equal(texts, [DOUBLED] * 4, "texts")
    return {"outcome": f"works; four patched threads took {clock() - start:.1f} s"}


@scenario("F13", "the interpreter ends during runs of a loop", "within 1 s, exit 0, stderr empty")
def exit_during_run(up: Upstream) -> Figure:
    slowest = 0.0
    for id in ("F13.tasks", "F13.exit", "F13.thread"):
        ended = Child(id, up.address).wait(20).cleanly(id, exit_within=1.0)
        slowest = max(slowest, ended.exit_seconds)
    return Figure(slowest, "s", "the slowest of three ways to end")


def busy_agents(up: Upstream) -> list[ax.Agent]:
    return [
        an_agent(
            up,
            block,
            sleep,
            model="tools",
            rounds=[[call("sleep", seconds=20.0), call("block", seconds=20.0)]],
        ),
        an_agent(up, model="waiting", delay=20.0),
    ]


async def leave_running(up: Upstream) -> list[asyncio.Task[Any]]:
    tasks = [asyncio.create_task(agent.arun("hello")) for agent in busy_agents(up)]
    await asyncio.to_thread(up.until, requests=2, replies=1)
    await asyncio.sleep(0.1)
    return tasks


@part("F13.tasks")
def ends_with_tasks(up: Upstream) -> dict[str, Any]:
    asyncio.run(leave_running(up))
    return {}


@part("F13.exit")
def exits_in_coroutine(up: Upstream) -> dict[str, Any]:
    async def main() -> None:
        tasks = await leave_running(up)
        equal(len(tasks), 2, "tasks")
        sys.exit(0)

    try:
        asyncio.run(main())
    except SystemExit:
        pass
    return {}


@part("F13.thread")
def ends_beside_loop(up: Upstream) -> dict[str, Any]:
    async def main() -> None:
        await leave_running(up)
        ready.set()
        await asyncio.sleep(20)

    ready = threading.Event()
    threading.Thread(target=lambda: asyncio.run(main()), daemon=True).start()
    holds(ready.wait(10), "the loop did not get there")
    return {}


@scenario("F14", "free-threaded Python", "works without the GIL, which stays off")
def free_threaded(up: Upstream) -> Figure:
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        raise NotApplicable("this Python has the GIL")
    agent = an_agent(up, sync_double, async_double, rounds=ROUND)
    start = clock()
    texts = in_threads(16, lambda _: [agent.run("hello").text for _ in range(20)])
    equal(texts, [[DOUBLED] * 20] * 16, "texts")
    gil_is_on = getattr(sys, "_is_gil_enabled", lambda: True)
    equal(gil_is_on(), False, "whether the GIL is on after the import")
    return took(start)


@scenario(
    "F15",
    "sub-interpreters",
    "an ImportError says that they are not supported; the main interpreter works on",
)
def sub_interpreter(up: Upstream) -> Figure:
    interpreters = import_interpreters()
    code = (
        "import sys\n"
        f"sys.path[:] = {sys.path!r}\n"
        "try:\n    import ambidex; ambidex.Agent\n    seen = 'it was imported'\n"
        "except ImportError as error:\n    seen = f'ImportError: {error}'\n"
        "with open('seen', 'w') as file: file.write(seen)"
    )
    run = getattr(interpreters, "exec", None) or interpreters.run_string
    interpreter = interpreters.create()
    run(interpreter, code)
    interpreters.destroy(interpreter)
    with open("seen") as file:
        seen = file.read()
    holds(seen.startswith("ImportError") and "subinterpreter" in seen, f"in a sub-interpreter: {seen}")
    equal(an_agent(up).run("hello").text, "you said hello", "text in the main interpreter")
    return said(seen)


def import_interpreters() -> Any:
    """The low-level module, which has had three names."""
    for name in ("_interpreters", "_xxsubinterpreters"):
        try:
            return __import__(name)
        except ImportError:
            continue
    raise NotApplicable("this Python has no sub-interpreters")


@scenario("F16", "an MCP tool through the sync door", "works, and its server ends with it")
def mcp_tool(up: Upstream) -> Figure:
    from .mcp_server import McpClient

    client = McpClient()

    @ax.tool
    async def shout(text: str) -> str:
        """A tool of an MCP server, started by the first call."""
        return await client.call("shout", text=text)

    agent = an_agent(up, shout, rounds=[[call("shout", text="one")], [call("shout", text="two")]])
    start = clock()
    # The second run speaks to the same server: the loop of async tools outlives a run.
    for _ in range(2):
        equal(agent.run("hello").text, told("ONE", "TWO"), "text")
    equal(client.started, 1, "servers started")
    client.close()
    return took(start)


@scenario(
    "F17", "a `def` tool that returns a coroutine", "awaited, both doors; never a coroutine to the model"
)
def returns_coroutine(up: Upstream) -> Figure:
    async def work(i: int) -> int:
        await asyncio.sleep(0.01)
        return i

    @ax.tool
    def promise(i: int) -> Any:
        """Returns what must be awaited."""
        return work(i)

    agent = an_agent(up, promise, rounds=calls("promise", "promise"))
    equal(agent.run("hello").text, told(0, 1), "text, sync door")
    equal(asyncio.run(agent.arun("hello")).text, told(0, 1), "text, async door")
    return said("awaited")


@scenario("F18", "a tool that is a method", "bound to its object, sync and async, decorated or not")
def methods(up: Upstream) -> Figure:
    class Counter:
        def __init__(self, count: int) -> None:
            self.count = count

        @ax.tool
        def add(self, i: int) -> int:
            """Adds."""
            self.count += i
            return self.count

        @ax.tool
        async def aadd(self, i: int) -> int:
            """Adds."""
            self.count += i
            return self.count

        def plain(self, i: int) -> int:
            """Adds."""
            self.count += i
            return self.count

    one, other = Counter(0), Counter(100)
    rounds = [[call(name, i=1)] for name in ("add", "aadd", "plain")]
    for counter in (one, other):
        agent = an_agent(up, counter.add, counter.aadd, counter.plain, rounds=rounds)
        first = counter.count
        equal(agent.run("hello").text, told(first + 1, first + 2, first + 3), "text")
    equal((one.count, other.count), (3, 103), "counts of two objects")
    return said("works")


@scenario(
    "F19",
    "a tool that is a generator",
    "what it yields is progress, what it returns the result, or the last it yields; sync and async",
)
def generators(up: Upstream) -> Figure:
    from collections.abc import AsyncIterator, Generator

    @ax.tool
    def steps(count: int) -> Generator[str, None, str]:
        """Yields its progress and returns its result."""
        for i in range(count):
            yield f"step {i}"
        return f"{count} steps"

    @ax.tool
    async def asteps(count: int) -> AsyncIterator[str]:
        """Yields its progress; an async generator returns nothing."""
        for i in range(count):
            await asyncio.sleep(0)
            yield f"step {i}"

    agent = an_agent(up, steps, asteps, rounds=[[call("steps", count=3)], [call("asteps", count=3)]])
    progress = []
    text = ""
    for event in agent.stream("hello"):
        if event.type == "tool.progress":
            progress.append(event.data)
        elif event.type == "run.finished":
            text = event.data["text"]
    equal(len(progress), 6, f"progress events ({progress})")
    equal(text, told("3 steps", "step 2"), "text")
    return said("works")


@scenario(
    "F20",
    "pickling an agent",
    "works by its configuration, also into a spawned process; a key is never pickled",
)
def pickling(up: Upstream) -> Figure:
    import pickle

    up.script("script", rounds=ROUND)
    os.environ["OPENAI_API_KEY"] = "test"
    model = ax.Model("openai:script", base_url=up.base_url)
    agent = ax.Agent("pickled", model=model, tools=[sync_double, async_double])
    copy = pickle.loads(pickle.dumps(agent))
    equal(copy.run("hello").text, DOUBLED, "text of a copy")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        equal(pool.apply(run_text, (agent,)), DOUBLED, "text in a spawned process")
    try:
        pickle.dumps(an_agent(up))
    except (TypeError, pickle.PicklingError, ax.AmbidexError) as error:
        holds("pickle" in str(error) and "key" in str(error), f"the error names no remedy: {error!r}")
        return said(f"works; with a key written out: {type(error).__name__}: {error}")
    raise Failed("a key that is written out was pickled")


def run_text(agent: ax.Agent) -> str:
    return agent.run("hello").text
