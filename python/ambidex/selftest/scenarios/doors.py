"""A: where a run is called from. One agent, two doors, any thread and any loop."""

from __future__ import annotations

import asyncio
import http.client
import inspect
import threading
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import quote

import ambidex as ax

from ..checks import Figure, at_least, at_most, clock, equal, holds, text_has, took, within
from ..child import Child
from ..scenario import part, scenario
from ..witness import Upstream, call
from .common import USER_CODE, T, an_agent, as_user_code, in_threads
from .servers import serve_asgi, serve_wsgi

WARNS = "works; one warning per call site, naming `arun` and the line; a strict setting makes it an error"
STRICT = {"AMBIDEX__RUNTIME__STRICT_SYNC": "true"}


@scenario("A01", "one sync run in a script", "the right answer")
def sync_run(up: Upstream) -> Figure:
    agent = an_agent(up)
    start = clock()
    result = agent.run("hello")
    equal(result.text, "you said hello", "text")
    equal((result.status, result.task_completed, result.iterations_used), ("succeeded", True, 1), "result")
    return took(start)


@scenario("A02", "one async run in a script", "the right answer")
def async_run(up: Upstream) -> Figure:
    agent = an_agent(up)

    async def main() -> str:
        holds(inspect.iscoroutinefunction(agent.arun), "arun is no coroutine function")
        result = await agent.arun("hello")
        return result.text

    start = clock()
    equal(asyncio.run(main()), "you said hello", "text")
    return took(start)


@ax.tool
async def nap(i: int) -> int:
    """Sleeps without blocking."""
    await asyncio.sleep(0.05)
    return i


# A tool that must run while the caller's loop is blocked is what deadlocks most bridges.
NAPS: dict[str, Any] = {"rounds": [[call("nap", i=i) for i in range(3)]]}
NAPPED = 'tools said ["0", "1", "2"]'


@as_user_code
def run_three_times(agent: ax.Agent) -> int:
    """One call site, three calls. Returns its line."""
    for _ in range(3):
        result = agent.run("hello")
        equal(result.text, NAPPED, "text")
    return run_three_times.__code__.co_firstlineno + 4


@scenario("A03", "run inside a running asyncio loop", WARNS)
def run_under_asyncio(up: Upstream) -> Figure:
    agent = an_agent(up, nap, **NAPS)

    async def main() -> int:
        return run_three_times(agent)

    start = clock()
    line = asyncio.run(main())
    refused_when_strict(up, "A03.strict")
    warned_at_each_site(up)
    return took(start, warned=line)


@scenario("A04", "run inside a running uvloop", WARNS, needs=("uvloop",))
def run_under_uvloop(up: Upstream) -> Figure:
    import uvloop

    agent = an_agent(up, nap, **NAPS)

    async def main() -> int:
        holds(isinstance(asyncio.get_running_loop(), uvloop.Loop), "not under uvloop")
        return run_three_times(agent)

    start = clock()
    line = uvloop_run(main)
    refused_when_strict(up, "A04.strict")
    return took(start, warned=line)


@scenario("A05", "run inside an `async def` of FastAPI", WARNS, needs=("fastapi", "uvicorn"))
def run_under_fastapi(up: Upstream) -> Figure:
    from fastapi import FastAPI

    agent = an_agent(up, nap, **NAPS)
    app = FastAPI()

    @app.get("/line")
    async def line_of_call() -> int:
        return run_three_times(agent)

    start = clock()
    with serve_asgi(app) as port:
        line = int(get(port, "/line"))
    refused_when_strict(up, "A03.strict")
    return took(start, warned=line)


def refused_when_strict(up: Upstream, id: str) -> None:
    """The strict setting turns the warning into an error, before anything is sent."""
    before = up.counts()["requests"]
    ended = Child(id, up.address, STRICT).wait(20).cleanly("with the strict setting")
    text_has(ended.facts["error"], "arun", what="error of the strict setting")
    equal(up.counts()["requests"], before, "requests sent in spite of the strict setting")


@part("A03.strict")
def strict(up: Upstream) -> dict[str, str]:
    agent = an_agent(up)
    return asyncio.run(refusal(agent))


@part("A04.strict")
def strict_under_uvloop(up: Upstream) -> dict[str, str]:
    agent = an_agent(up)
    return uvloop_run(lambda: refusal(agent))


@as_user_code
async def refusal(agent: ax.Agent) -> dict[str, str]:
    try:
        agent.run("hello")
    except ax.AmbidexError as error:
        return {"error": str(error)}
    return {"error": "none"}


def warned_at_each_site(up: Upstream) -> None:
    """Two call sites, called twice each, warn twice."""
    ended = Child("A03.sites", up.address).wait(20)
    equal(ended.report.get("result"), "held", f"two call sites: {ended.report} {ended.stderr}")
    warnings = [line for line in ended.stderr.splitlines() if "Warning:" in line]
    wanted = [f"{USER_CODE}:{line}:" for line in ended.facts["lines"]]
    equal(len(warnings), 2, f"warnings of two call sites: {ended.stderr!r}")
    for warning, place in zip(warnings, wanted, strict=True):
        text_has(warning, "arun", place, what="warning")


@part("A03.sites")
@as_user_code
def two_sites(up: Upstream) -> dict[str, list[int]]:
    agent = an_agent(up)

    async def main() -> None:
        for _ in range(2):
            agent.run("one")
            agent.run("two")

    asyncio.run(main())
    first = main.__code__.co_firstlineno + 2
    return {"lines": [first, first + 1]}


@scenario(
    "A06",
    "FastAPI `def`: 8 requests at once, 0.2 s upstream",
    "all right, at most 1.5 s",
    needs=("fastapi", "uvicorn"),
)
def fastapi_def(up: Upstream) -> Figure:
    from fastapi import FastAPI

    agent = an_agent(up, delay=0.2)
    app = FastAPI()

    @app.get("/ask")
    def ask(q: str) -> str:
        return agent.run(q).text

    with serve_asgi(app) as port:
        return eight_at_once(up, port)


@scenario(
    "A07",
    "FastAPI `async def` awaits `arun`: 8 at once",
    "all right, at most 1.5 s",
    needs=("fastapi", "uvicorn"),
)
def fastapi_async_def(up: Upstream) -> Figure:
    from fastapi import FastAPI

    agent = an_agent(up, delay=0.2)
    app = FastAPI()

    @app.get("/ask")
    async def ask(q: str) -> str:
        return (await agent.arun(q)).text

    with serve_asgi(app) as port:
        return eight_at_once(up, port)


@scenario("A08", "threaded Flask: 8 requests at once", "all right, at most 1.5 s", needs=("flask",))
def flask_threaded(up: Upstream) -> Figure:
    from flask import Flask, request

    agent = an_agent(up, delay=0.2)
    app = Flask("selftest")

    @app.get("/ask")
    def ask() -> str:
        return agent.run(request.args["q"]).text

    with serve_wsgi(app) as port:
        return eight_at_once(up, port)


def eight_at_once(up: Upstream, port: int) -> Figure:
    start = clock()
    answers = in_threads(8, lambda i: get(port, "/ask?q=" + quote(f"question {i}")))
    seconds = within(clock() - start, 1.5, "8 requests at once")
    for i, answer in enumerate(answers):
        equal(answer.strip('"'), f"you said question {i}", "answer")
    at_least(up.counts()["peak"], 2, "requests at the upstream at once")
    return Figure(seconds, "s")


def get(port: int, path: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read().decode()
    finally:
        connection.close()
    equal(response.status, 200, f"status of {path} ({body[:200]})")
    return body


@scenario(
    "A09",
    "Jupyter: a plain call, twice",
    "both, without nest_asyncio",
    needs=("ipykernel", "jupyter_client"),
    limit=60,
)
def jupyter_plain(up: Upstream) -> Figure:
    return in_notebook(up, "agent.run('hello').text")


@scenario(
    "A10",
    "Jupyter: top-level await, twice",
    "both, without nest_asyncio",
    needs=("ipykernel", "jupyter_client"),
    limit=60,
)
def jupyter_await(up: Upstream) -> Figure:
    return in_notebook(up, "(await agent.arun('hello')).text")


def in_notebook(up: Upstream, expression: str) -> Figure:
    """Two cells that say the same, in a kernel of their own; what they print and their errors."""
    from .notebook import Notebook

    up.script("script", **NAPS)
    setup = (
        "import asyncio, sys\nimport ambidex as ax\n"
        "@ax.tool\nasync def nap(i: int) -> int:\n    await asyncio.sleep(0.05)\n    return i\n"
        f"model = ax.Model('openai:script', base_url={up.base_url!r}, api_key='test')\n"
        "agent = ax.Agent('notebook', model=model, tools=[nap])"
    )
    with Notebook() as notebook:
        equal(notebook.cell(setup), "", "first cell")
        start = clock()
        for _ in range(2):
            equal(notebook.cell(f"print({expression})"), NAPPED + "\n", "cell")
        seconds = clock() - start
        equal(notebook.cell("print('nest_asyncio' in sys.modules)"), "False\n", "nest_asyncio loaded")
    return Figure(seconds, "s", "both cells")


@scenario("A11", "50 threads, one agent, 0.2 s upstream", "all right, at most 5 s")
def fifty_threads(up: Upstream) -> Figure:
    agent = an_agent(up, delay=0.2)
    start = clock()
    texts = in_threads(50, lambda _: agent.run("hello").text)
    seconds = within(clock() - start, 5, "50 threads")
    equal(texts, ["you said hello"] * 50, "texts")
    return Figure(seconds, "s")


def uvloop_run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """`uvloop.run`, which older releases of uvloop have not."""
    import uvloop

    loop = uvloop.new_event_loop()
    try:
        result: T = loop.run_until_complete(main())
        return result
    finally:
        loop.close()


@scenario("A12", "arun under uvloop", "works", needs=("uvloop",))
def arun_under_uvloop(up: Upstream) -> Figure:
    loops: list[object] = []

    @ax.tool
    async def where(i: int) -> int:
        """Notes its loop."""
        loops.append(asyncio.get_running_loop())
        return i

    agent = an_agent(up, where, rounds=[[call("where", i=1), call("where", i=2)]])

    async def main() -> None:
        results = await asyncio.gather(*[agent.arun("hello") for _ in range(5)])
        equal([r.text for r in results], ['tools said ["1", "2"]'] * 5, "texts")
        equal(set(loops), {asyncio.get_running_loop()}, "loops of async tools")

    start = clock()
    uvloop_run(main)
    return took(start)


@scenario("A13", "arun under trio", "works", needs=("trio",))
def arun_under_trio(up: Upstream) -> Figure:
    import trio

    @ax.tool
    def double(i: int) -> int:
        """A sync tool."""
        return 2 * i

    @ax.tool
    async def triple(i: int) -> int:
        """An async tool, for which only trio's loop will do."""
        await trio.sleep(0.01)
        return 3 * i

    agent = an_agent(up, double, triple, rounds=[[call("double", i=1), call("triple", i=2)]])
    slow = an_agent(up, model="slow", delay=8.0)
    texts: list[str] = []

    async def one() -> None:
        texts.append((await agent.arun("hello")).text)

    async def main() -> None:
        await one()
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(one)
        with trio.move_on_after(0.3) as scope:
            await slow.arun("hello")
        holds(scope.cancelled_caught, "the scope's time was over, and arun went on")

    start = clock()
    trio.run(main)
    seconds = within(clock() - start, 5, "all runs")
    equal(texts, ['tools said ["2", "6"]'] * 6, "texts")
    equal(len(up.until(hangups=1, within=1)["hangups"]), 1, "hang-ups after the cancelled scope")
    return Figure(seconds, "s")


@scenario("A14", "20 times `asyncio.run` on one agent", "no error")
def twenty_loops(up: Upstream) -> Figure:
    agent = an_agent(up)
    start = clock()
    for _ in range(20):
        equal(asyncio.run(agent.arun("hello")).text, "you said hello", "text")
    seconds = clock() - start
    return Figure(seconds, "s", f"{up.counts()['connections']} connection(s)")


@scenario("A15", "`asyncio.run` of arun and run in turn, 10 times", "no error")
def alternating(up: Upstream) -> Figure:
    agent = an_agent(up, nap, **NAPS)
    start = clock()
    for _ in range(10):
        equal(asyncio.run(agent.arun("hello")).text, NAPPED, "text of arun")
        equal(agent.run("hello").text, NAPPED, "text of run")
    seconds = clock() - start
    return Figure(seconds, "s", f"{up.counts()['connections']} connection(s)")


@scenario("A16", "two live loops in two threads, one agent", "no error")
def two_loops(up: Upstream) -> Figure:
    strangers: list[str] = []
    home = threading.local()

    @ax.tool
    async def where(i: int) -> int:
        """Notes whether it runs on another loop than its caller's."""
        await asyncio.sleep(0.02)
        if getattr(home, "loop", None) is not asyncio.get_running_loop():
            strangers.append(threading.current_thread().name)
        return i

    agent = an_agent(up, where, delay=0.02, rounds=[[call("where", i=i) for i in range(3)]])

    async def main() -> None:
        home.loop = asyncio.get_running_loop()
        for _ in range(3):
            results = await asyncio.gather(*[agent.arun("hello") for _ in range(5)])
            equal([r.text for r in results], [NAPPED] * 5, "texts")

    start = clock()
    in_threads(2, lambda _: asyncio.run(main()))
    equal(strangers, [], "async tools on a loop that is not their caller's")
    return took(start)


@scenario("A17", "50 threads ask one agent different things", "each gets its own answer")
def fifty_questions_in_threads(up: Upstream) -> Figure:
    agent = an_agent(up, delay=0.05)
    start = clock()
    results = in_threads(50, lambda i: agent.run(f"question {i}"))
    own_answers(results)
    return took(start)


@scenario("A18", "50 tasks ask one agent different things", "each gets its own answer")
def fifty_questions_in_tasks(up: Upstream) -> Figure:
    agent = an_agent(up, delay=0.05)

    async def main() -> list[ax.Result]:
        return await asyncio.gather(*[agent.arun(f"question {i}") for i in range(50)])

    start = clock()
    own_answers(asyncio.run(main()))
    return took(start)


def own_answers(results: list[ax.Result]) -> None:
    equal([r.text for r in results], [f"you said question {i}" for i in range(len(results))], "texts")
    at_most(len(results) - len({r.run_id for r in results}), 0, "runs that share an id")
