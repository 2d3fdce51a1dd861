"""Runs by either door: results, failures, limits, threads of conversation."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import pickle
import threading
import weakref
from dataclasses import dataclass
from typing import Any

import pytest

import ambidex as ax

from .conftest import Door, Endless, calls, results

echo = ax.models.function(lambda messages: f"{len(messages)}: {messages[-1].text}", name="echo")


def fails(messages: list[ax.Message]) -> str:
    raise ValueError("no such thing")


def test_a_run_gives_its_result(any_run: Door) -> None:
    result = any_run(ax.Agent("e", model=echo), "hello")
    assert (result.status, result.text, result.task_completed, result.iterations_used) == (
        "succeeded",
        "1: hello",
        True,
        1,
    )
    assert [message.role for message in result.messages] == ["user", "assistant"]
    assert result.run_id.startswith("run_")
    assert result.error is None
    assert result.output is None
    assert result.execution_time >= 0


def test_a_result_is_a_mapping_too() -> None:
    result = ax.Agent("e", model=echo).run("hello")
    assert result["task_completed"] is True
    assert result["run"] == result["run_id"] == result.run_id
    assert dict(result)["text"] == "1: hello"
    assert result.get("nothing") is None
    assert "text" in result
    with pytest.raises(KeyError):
        result["nothing"]
    assert str(result) == "1: hello"
    assert "status='succeeded'" in repr(result)
    assert set(result.to_dict()) == {
        "run",
        "thread",
        "status",
        "text",
        "output",
        "task_completed",
        "iterations_used",
        "execution_time",
        "usage",
        "error",
    }


def test_a_failed_run_raises_with_its_result_and_its_cause(run: Door) -> None:
    with pytest.raises(ax.ModelError) as raised:
        run(ax.Agent("f", model=ax.models.function(fails)), "hello")
    error = raised.value
    assert (error.code, error.retryable) == ("provider_error", False)
    assert error.result is not None
    assert error.result.status == "failed"
    assert isinstance(error.result.error, ax.ModelError)
    assert isinstance(error.__cause__, ValueError)
    assert error.__cause__.__traceback__ is not None


def test_messages_are_input_too(run: Door) -> None:
    agent = ax.Agent("e", model=echo)
    given = [{"role": "user", "content": "a"}, ax.Message.assistant("b"), ax.Message.user("c")]
    assert run(agent, given).text == "3: c"
    assert run(agent, ax.Message.user("alone")).text == "1: alone"
    first = agent.run("first")
    assert run(agent, [*first.messages, "second"]).text == "3: second"


def test_a_limit_of_iterations_pauses_and_a_run_may_set_its_own(run: Door) -> None:
    agent = ax.Agent("p", model=calls(("add", {"a": 1, "b": 2})), tools=[add], max_iterations=1)
    paused = run(agent, "go")
    assert (paused.status, paused.pause, paused.iterations_used) == ("paused", "max_iterations", 1)
    assert run(agent, "go", max_iterations=2).status == "succeeded"
    resumed = agent.resume(paused)
    assert (resumed.status, resumed.run_id, resumed.text) == ("succeeded", paused.run_id, "done")


def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


def test_a_deadline_fails_the_run_and_hangs_up(run: Door, endless: Endless) -> None:
    with pytest.raises(ax.TimeoutError) as raised:
        run(ax.Agent("t", model=endless.model()), "go", timeout=0.2)
    assert isinstance(raised.value, TimeoutError)
    assert raised.value.code == "timeout"
    assert endless.sees_the_hang_up()


def test_a_cancelled_task_hangs_up(endless: Endless) -> None:
    agent = ax.Agent("t", model=endless.model())

    async def main() -> None:
        task = asyncio.create_task(agent.arun("go"))
        while not endless.asked.acquire(blocking=False):
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert endless.sees_the_hang_up()


def test_a_thread_goes_on_and_others_do_not(run: Door) -> None:
    agent = ax.Agent("e", model=echo)
    assert [run(agent, "x", thread="a").text for _ in range(3)] == ["1: x", "3: x", "5: x"]
    assert run(agent, "x", thread="b").text == "1: x"
    assert run(agent, "x").text == "1: x"
    assert run(agent, "x", thread="a").thread_id == "a"
    assert [message.text for message in agent.messages("b")] == ["x", "1: x"]
    agent.clear("a")
    assert run(agent, "x", thread="a").text == "1: x"


def test_runs_on_one_thread_take_turns() -> None:
    agent = ax.Agent("e", model=ax.models.function(_slow_echo))

    async def main() -> list[str]:
        runs = await asyncio.gather(*(agent.arun("x", thread="a") for _ in range(4)))
        return sorted(result.text for result in runs)

    assert asyncio.run(main()) == ["1", "3", "5", "7"]


async def _slow_echo(messages: list[ax.Message]) -> str:
    await asyncio.sleep(0.01)
    return str(len(messages))


def test_a_failed_run_leaves_its_thread_as_it_was() -> None:
    def sometimes(messages: list[ax.Message]) -> str:
        if messages[-1].text == "fail":
            raise ValueError
        return str(len(messages))

    agent = ax.Agent("s", model=ax.models.function(sometimes))
    agent.chat("one")
    with pytest.raises(ax.ModelError):
        agent.chat("fail")
    assert agent.chat("two").text == "3"


def test_a_chat_keeps_its_thread_until_it_is_cleared() -> None:
    agent = ax.Agent("e", model=echo)
    first = agent.chat("a")
    second = asyncio.run(agent.achat("b"))
    assert (first.text, second.text) == ("1: a", "3: b")
    assert first.thread_id == second.thread_id is not None
    assert [message.text for message in agent.messages()] == ["a", "1: a", "b", "3: b"]
    asyncio.run(agent.aclear())
    assert agent.messages() == []
    assert agent.chat("c").text == "1: c"


def test_a_summary_is_what_the_model_makes_of_the_chat() -> None:
    agent = ax.Agent("e", model=echo)
    assert agent.summary() == ""
    agent.chat("the sky is blue")
    assert "the sky is blue" in agent.summary()
    assert "the sky is blue" in asyncio.run(agent.asummary())


def test_tools_can_be_registered_later_and_the_chat_goes_on() -> None:
    agent = ax.Agent("r", model=ax.models.function(_asks_when_it_can))
    assert agent.chat("go").text == "no tools"

    @agent.register
    def double(n: int) -> int:
        """Doubles."""
        return 2 * n

    assert double(4) == 8
    again = agent.chat("go")
    assert results(again) == [("double", "8", False)]
    assert len(again.messages) == 6
    assert asyncio.run(agent.aregister(add, plus_one)) == (add, plus_one)
    with pytest.raises(ax.UsageError, match="two tools named 'add'"):
        agent.register(add)
    assert "tools=[double, add, plus_one]" in repr(agent)


def plus_one(n: int) -> int:
    """Adds one."""
    return n + 1


def _asks_when_it_can(messages: list[ax.Message], tools: list[dict[str, Any]]) -> Any:
    if not tools:
        return "no tools"
    if messages[-1].tool_results:
        return "called"
    return ax.ToolCall("double", {"n": 4})


def test_fifty_threads_each_get_their_own_answer() -> None:
    agent = ax.Agent("e", model=echo)
    answers: dict[int, str] = {}

    def ask(number: int) -> None:
        answers[number] = agent.run(f"number {number}").text

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: f"1: number {number}" for number in range(50)}


def test_fifty_tasks_each_get_their_own_answer() -> None:
    agent = ax.Agent("e", model=echo)

    async def main() -> list[str]:
        return [it.text for it in await asyncio.gather(*(agent.arun(str(number)) for number in range(50)))]

    assert asyncio.run(main()) == [f"1: {number}" for number in range(50)]


def test_an_agent_inside_an_agent(run: Door) -> None:
    inner = ax.Agent("inner", model=echo)

    def ask(question: str) -> str:
        """Asks another agent."""
        return inner.run(question).text

    async def aask(question: str) -> str:
        """Asks another agent."""
        return (await inner.arun(question)).text

    outer = ax.Agent(
        "outer", model=calls(("ask", {"question": "a"}), ("aask", {"question": "b"})), tools=[ask, aask]
    )
    assert results(run(outer, "go")) == [("ask", "1: a", False), ("aask", "1: b", False)]


def test_context_variables_are_seen_by_all_that_a_run_calls(run: Door) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

    def sync() -> str:
        """S."""
        return variable.get()

    async def asynchronous() -> str:
        """A."""
        return variable.get()

    variable.set("mine")
    agent = ax.Agent("v", model=calls(("sync", {}), ("asynchronous", {})), tools=[sync, asynchronous])
    assert results(run(agent, "go")) == [("sync", "mine", False), ("asynchronous", "mine", False)]


@dataclass
class Verdict:
    good: bool
    why: str


def test_output_is_of_the_type_that_was_asked_for(run: Door) -> None:
    said = {"good": True, "why": "it works"}
    agent = ax.Agent("v", model=ax.models.scripted([{"json": said}]), output=Verdict)
    result = run(agent, "judge")
    assert result.output == Verdict(True, "it works")
    assert result.output is result.output
    assert result.to_dict()["output"] == said


def test_output_that_does_not_match_fails_the_run() -> None:
    agent = ax.Agent("v", model=ax.models.scripted(["no json", "still none"]), output=Verdict)
    with pytest.raises(ax.ModelError) as raised:
        agent.run("judge")
    assert raised.value.code == "output_invalid"


def test_a_budget_pauses_a_run_and_more_of_it_lets_it_go_on() -> None:
    model = calls(("add", {"a": 1, "b": 1}), ("add", {"a": 2, "b": 2}))
    agent = ax.Agent("b", model=model, tools=[add], budget={"tool_calls": 1})
    paused = agent.run("go")
    assert (paused.status, paused.pause) == ("paused", "tool_calls")
    resumed = asyncio.run(agent.aresume(paused, budget={"tool_calls": 5}))
    assert (resumed.status, resumed.text) == ("succeeded", "done")


def test_a_closed_agent_refuses() -> None:
    with ax.Agent("c", model="demo") as agent:
        assert agent.run("hi").status == "succeeded"
    assert agent.closed
    with pytest.raises(ax.UsageError, match="the agent c is closed and takes no more runs; make a new one"):
        agent.run("hi")
    with pytest.raises(ax.ConfigError, match="closed"):
        asyncio.run(agent.arun("hi"))
    with pytest.raises(ax.ConfigError, match="closed"):
        agent.stream("hi")
    with pytest.raises(ax.UsageError, match="make a new one"):
        agent.register(add)

    async def main() -> None:
        async with ax.Agent("c", model="demo") as other:
            assert (await other.arun("hi")).status == "succeeded"
        assert other.closed

    asyncio.run(main())


def test_an_agent_is_pickled_by_its_configuration() -> None:
    agent = ax.Agent("p", model="demo", tools=[add], instructions="Add.", max_iterations=3)
    again = pickle.loads(pickle.dumps(agent))
    assert repr(again) == repr(agent)
    assert again.run("hi").status == "succeeded"
    model = pickle.loads(pickle.dumps(ax.Model("openai:m", temperature=0.5)))
    assert repr(model) == "Model('openai:m', temperature=0.5)"


def test_what_cannot_be_pickled_says_what_to_do() -> None:
    with pytest.raises(ax.UsageError, match=r"name it in ambidex\.toml"):
        pickle.dumps(ax.Agent("p", model=echo))
    with pytest.raises(ax.UsageError, match="api_key written out"):
        pickle.dumps(ax.Model("openai:m", api_key="secret"))
    with pytest.raises(ax.UsageError, match="cannot be pickled"):
        pickle.dumps(ax.Agent("p", model="demo").stream("hi"))


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_a_child_of_a_fork_runs_the_same_agent_and_remembers_its_chat() -> None:
    agent = ax.Agent("f", model=echo)
    agent.chat("one")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, agent.chat("two").text.encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        assert pipe.read() == "3: two"
    assert os.waitpid(child, 0)[1] == 0
    assert agent.chat("three").text == "3: three"


def test_an_agent_whose_tool_is_a_method_of_its_owner_is_collected() -> None:
    class Owner:
        def __init__(self) -> None:
            self.agent = ax.Agent(
                "o", model=calls(("greet", {"who": "you"})), tools=[self.greet], hooks=[self]
            )

        def greet(self, who: str) -> str:
            """Greets."""
            return f"hi {who}"

        def after_model(self, ctx: ax.ToolContext, reply: ax.Reply) -> None:
            ctx.state["seen"] = True

    owner = Owner()
    assert results(owner.agent.run("go")) == [("greet", "hi you", False)]
    gone = weakref.ref(owner)
    del owner
    gc.collect()
    assert gone() is None


def test_a_run_that_waits_for_its_turn_can_be_cancelled() -> None:
    begun = asyncio.Event()

    async def waits(messages: list[ax.Message]) -> str:
        begun.set()
        await asyncio.sleep(60)
        return "late"

    async def main() -> None:
        agent = ax.Agent("w", model=ax.models.function(waits))
        first = asyncio.create_task(agent.achat("a"))
        await begun.wait()
        second = asyncio.create_task(agent.achat("b"))
        third = asyncio.create_task(_events(agent.astream("c", thread="other")))
        await asyncio.sleep(0)
        for task in (second, third, first):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(asyncio.wait_for(main(), 30))


async def _events(stream: Any) -> list[ax.Event]:
    return [event async for event in stream]


def test_a_result_that_is_sent_away_says_what_to_send() -> None:
    with pytest.raises(ax.UsageError, match=r"result\.to_dict\(\)"):
        pickle.dumps(ax.Agent("e", model=echo).run("x"))
    agent = ax.Agent("e", model=echo)
    with pytest.raises(ax.UsageError, match=r"usage\.to_dict\(\)"):
        pickle.dumps(agent.run("x").usage)
    with pytest.raises(ax.UsageError, match=r"event\.to_dict\(\)"):
        pickle.dumps(next(iter(agent.stream("x"))))
    with pytest.raises(ax.UsageError, match=r"reply\.text"):
        pickle.dumps(echo.chat("x"))
