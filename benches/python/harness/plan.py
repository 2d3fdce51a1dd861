"""What is measured, in which order, within which time."""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from harness.job import Job
from harness.sample import RUST, Machinery, Sample
from harness.upstream import Upstream

OURS = "ambidex"
BY_HAND = "aiohttp_by_hand"
# Name of the contender's file, what it is called, and what a user of it imports.
CONTENDERS = {
    OURS: ("ambidex", "import ambidex"),
    "openai_sdk": ("openai SDK", "from openai import AsyncOpenAI"),
    "agno": ("agno", "from agno.agent import Agent; from agno.models.openai.like import OpenAILike"),
    "langgraph": (
        "langgraph",
        "from langchain.agents import create_agent; from langchain_openai import ChatOpenAI",
    ),
    "openai_agents": ("openai-agents", "from agents import Agent, OpenAIChatCompletionsModel, Runner"),
    "pydantic_ai": (
        "pydantic-ai",
        "from pydantic_ai import Agent; from pydantic_ai.models.openai import OpenAIChatModel; "
        "from pydantic_ai.providers.openai import OpenAIProvider",
    ),
    BY_HAND: ("aiohttp by hand", "import aiohttp"),
}
WITHOUT_AGENTS = {"openai_sdk"}
NOTHING_TO_BUILD = {"openai_sdk", BY_HAND}
# One call, three rounds of two tools, a streamed reply.
MODELS = {"chat": "chat-20", "agent": "agent-3x2", "tokens": "chat-200"}
# The same run with more calls in each round: what it costs more, it costs for these. Each call comes twice in a
# round, which is no repetition yet that a run would be warned of.
MORE_CALLS = "agent-3x4"
TOOL_CONCURRENCY = 64
# More runs at once than this are measured once.
MANY = 64
STARTS = 3
TABLES = ["chat", "agent", "tokens", "waiting", "start", "building", "tool", "doors"]

IMPORT = "{line}\nprint()\nprint(open('/proc/self/status').read())"
FIRST_ANSWER = """
import sys
from harness.setup import Setup, answer
from contenders.{name} import Contender

def show(text):
    assert text == answer(20), text
    print("answered", flush=True)

{ask}
print(open("/proc/self/status").read())
"""
ASK_ASYNC = """
import asyncio

async def ask():
    contender = Contender(Setup(sys.argv[1], "chat-20"))
    show(await contender.chat())
    if hasattr(contender, "close"):
        await contender.close()

asyncio.run(ask())
"""
ASK_SYNC = 'show(Contender(Setup(sys.argv[1], "chat-20")).chat_sync())'


@dataclass
class Start:
    """A whole process that imports, or imports and asks once."""

    what: str
    contender: str
    found: dict[str, float] = field(default_factory=dict)
    failure: str = ""


@dataclass(frozen=True)
class Options:
    machinery: Machinery
    contenders: list[str]
    tables: list[str]
    concurrency: list[int]
    repetitions: int
    waiting: int
    seconds: float
    # No repetition is begun that is not expected to end within so many seconds of the whole run.
    budget: float


@dataclass
class Results:
    samples: list[Sample] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)
    seconds: float = 0.0


# A step measures one thing and notes it.
Step = Callable[[Results], None]


def carry_out(options: Options) -> Results:
    results = Results()
    begin = time.monotonic()
    for name in options.contenders:
        # Byte code is compiled and files are read before anything counts.
        options.machinery.start(IMPORT.format(line=f"import contenders.{name}"), None)
    took: dict[str, float] = {}
    for number, (block, repetition) in enumerate(order(options)):
        start = time.monotonic()
        if number and start - begin + took.get(block, 0) > options.budget:
            say(f"no repetition {repetition + 1} of {block}: the time is used")
            continue
        for step in BLOCKS[block](options, repetition):
            step(results)
        took[block] = time.monotonic() - start
    results.seconds = time.monotonic() - begin
    return results


def order(options: Options) -> list[tuple[str, int]]:
    """Blocks of measurements. What targets are set for is repeated most; what takes longest is done once."""
    first = [("several", 0), ("alone", 0), ("once", 0)]
    again = [("several", number) for number in range(1, options.repetitions)]
    return first + again + [("alone", number) for number in range(1, options.repetitions - 1)]


def several(options: Options, repetition: int) -> Iterator[Step]:
    """Some runs at once, and what Ambidex is compared with itself for."""
    yield from contest(options, repetition, [number for number in options.concurrency if 1 < number <= MANY])
    if OURS in options.contenders:
        yield from of_ours(options)


def alone(options: Options, repetition: int) -> Iterator[Step]:
    """One run at a time."""
    yield from contest(options, repetition, [number for number in options.concurrency if number == 1])


def once(options: Options, repetition: int) -> Iterator[Step]:
    """Many runs at once, and processes that are started."""
    yield from contest(options, repetition, [number for number in options.concurrency if number > MANY])
    for name in options.contenders:
        if "waiting" in options.tables and name not in WITHOUT_AGENTS:
            yield measured(options, Job("waiting", name, "waiting", "wait-600000", options.waiting))
        if "building" in options.tables and name not in NOTHING_TO_BUILD:
            yield measured(options, Job("building", name, "building", "chat-20", seconds=options.seconds / 2))
    if "start" not in options.tables:
        return
    for number in range(STARTS):
        yield started(options, "python", "nothing")
        for name in options.contenders:
            # Those that take seconds are steady enough to be started once.
            if number == 0 or name in (OURS, BY_HAND):
                yield started(options, name, "import")
                yield started(options, name, "first answer")
        if OURS in options.contenders:
            yield started(options, OURS, "first answer, sync")


BLOCKS = {"several": several, "alone": alone, "once": once}


def contest(options: Options, repetition: int, concurrency: list[int]) -> Iterator[Step]:
    """Contenders take turns, and another one begins each time."""
    turn = repetition % len(options.contenders)
    for kind in ("chat", "agent", "tokens"):
        for number in concurrency if kind in options.tables else []:
            for name in options.contenders[turn:] + options.contenders[:turn]:
                if not (kind == "agent" and name in WITHOUT_AGENTS):
                    yield measured(options, Job(kind, name, kind, MODELS[kind], number, options.seconds))


def of_ours(options: Options) -> Iterator[Step]:
    """What is compared with itself: a run with more tool calls, the two doors."""
    if "tool" in options.tables:
        for contender, kind, model, blocking in (
            (RUST, "chat", MODELS["chat"], False),
            (RUST, "agent", MODELS["agent"], False),
            (OURS, "chat", MODELS["chat"], False),
            (OURS, "agent", MODELS["agent"], False),
            (OURS, "agent", MORE_CALLS, False),
            (OURS, "agent", MODELS["agent"], True),
            (OURS, "agent", MORE_CALLS, True),
        ):
            job = Job("tool", contender, kind, model, TOOL_CONCURRENCY, options.seconds)
            yield measured(options, replace(job, blocking_tools=blocking))
    if "doors" in options.tables:
        for kind in ("chat", "agent"):
            for concurrency in (1, 64):
                for sync_door in (False, True):
                    job = Job(
                        "doors", OURS, kind, MODELS[kind], concurrency, options.seconds, sync_door=sync_door
                    )
                    yield measured(options, job)


def measured(options: Options, job: Job) -> Step:
    def step(results: Results) -> None:
        sample = options.machinery.sample(job)
        results.samples.append(sample)
        figure = sample.failure or describe(sample)
        say(f"{job.contender} {job.kind} {job.model} at {job.concurrency}: {figure}")

    return step


def describe(sample: Sample) -> str:
    if "bytes" in sample.found:
        return f"{sample.found['bytes'] / sample.found['runs'] / 1024:.1f} KiB each"
    return f"{sample.microseconds:.1f} us each, {sample.found['runs']} runs"


def started(options: Options, name: str, what: str) -> Step:
    machinery = options.machinery

    def step(results: Results) -> None:
        if what == "nothing":
            found, failure = machinery.start(IMPORT.format(line=""), None)
        elif what == "import":
            found, failure = machinery.start(IMPORT.format(line=CONTENDERS[name][1]), None)
        else:
            ask = ASK_SYNC if what.endswith("sync") else ASK_ASYNC
            with Upstream(machinery.upstream, machinery.events_per_write) as upstream:
                found, failure = machinery.start(FIRST_ANSWER.format(name=name, ask=ask), upstream)
        results.starts.append(Start(what, name, found, failure))
        say(f"{name}, {what}: {failure or {key: round(value, 3) for key, value in found.items()}}")

    return step


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)
