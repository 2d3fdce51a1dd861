"""Streams: read by threads and tasks, once; whoever stops reading hangs up."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import pytest

import ambidex as ax

from .conftest import Endless, calls


def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


def adder() -> ax.Agent[Any]:
    return ax.Agent("a", model=calls(("add", {"a": 1, "b": 2})), tools=[add])


TYPES = [
    "run.created",
    "run.started",
    "step.started",
    "model.started",
    "model.finished",
    "step.finished",
    "step.started",
    "tool.called",
    "tool.finished",
    "step.finished",
    "step.started",
    "model.started",
    "model.delta",
    "model.finished",
    "step.finished",
    "run.finished",
]


async def events_of(stream: Any) -> list[ax.Event]:
    return [event async for event in stream]


async def gathered(stream: Any, into: list[ax.Event]) -> None:
    async for event in stream:
        into.append(event)


def test_events_come_in_order_and_the_result_after_them() -> None:
    agent = adder()
    stream = agent.stream("go")
    events = list(stream)
    assert [event.type for event in events] == TYPES
    assert [event.seq for event in events] == list(range(1, len(TYPES) + 1))
    assert stream.result.text == "done"
    assert {event.run_id for event in events} == {stream.result.run_id}

    async def main() -> None:
        stream = agent.astream("go")
        assert [event.type for event in await events_of(stream)] == TYPES
        assert stream.result.text == "done"

    asyncio.run(main())


def test_a_stream_under_trio() -> None:
    import trio

    async def main() -> None:
        stream = adder().astream("go")
        assert [event.type for event in await events_of(stream)] == TYPES
        async with adder().astream("go") as other:
            async for _ in other:
                break

    trio.run(main)


def test_async_tools_of_a_stream_run_on_the_loop_that_reads() -> None:
    import trio

    where: list[str] = []

    async def nap() -> str:
        """N."""
        await (trio.sleep(0) if where == [] else asyncio.sleep(0))
        where.append("asyncio" if where else "trio")
        return "rested"

    agent = ax.Agent("a", model=calls(("nap", {})), tools=[nap])

    async def read() -> str:
        stream = agent.astream("go")
        await events_of(stream)
        text: str = stream.result.messages[2].tool_results[0].text
        return text

    assert trio.run(read) == "rested"
    assert asyncio.run(read()) == "rested"
    list(agent.stream("go"))
    assert where == ["trio", "asyncio", "asyncio"]


def test_what_an_event_says() -> None:
    events = {event.type: event for event in adder().stream("go", thread="t")}
    called = events["tool.called"]
    assert called.data == {"id": "t0.0", "name": "add", "args": {"a": 1, "b": 2}}
    assert called.data is called.data
    assert (called.step, called.agent, called.attempt, called.thread_id) == ("t0.0", "a", 1, "t")
    assert called.ts.endswith("Z")
    delta = events["model.delta"]
    assert (delta.text, delta.data) == ("done", {"text": "done"})
    assert called.text == ""
    plain = events["run.finished"].to_dict()
    assert (plain["type"], plain["data"]["status"], plain["thread"]) == ("run.finished", "succeeded", "t")
    assert repr(delta) == f"Event({delta.seq} model.delta {{'text': 'done'}})"


def test_a_thread_goes_on_through_streams() -> None:
    agent = ax.Agent("e", model=ax.models.function(lambda messages: str(len(messages))))
    for expected in ("1", "3"):
        stream = agent.stream("x", thread="a")
        list(stream)
        assert stream.result.text == expected
    assert agent.run("x", thread="a").text == "5"


def test_a_failed_run_raises_after_its_last_event() -> None:
    def fails(messages: Any) -> str:
        raise ValueError("broken")

    agent = ax.Agent("f", model=ax.models.function(fails))
    seen: list[str] = []
    stream = agent.stream("go")
    with pytest.raises(ax.ModelError, match="broken") as raised:
        seen.extend(event.type for event in stream)
    assert isinstance(raised.value.__cause__, ValueError)
    assert raised.value.result is not None
    with pytest.raises(ax.UsageError, match="its run failed"):
        _ = stream.result

    async def main() -> None:
        seen: list[ax.Event] = []
        with pytest.raises(ax.ModelError) as raised:
            await gathered(agent.astream("go"), seen)
        assert seen[-1].type == "run.finished"
        assert isinstance(raised.value.__cause__, ValueError)

    asyncio.run(main())


def test_break_hangs_up(endless: Endless) -> None:
    stream = ax.Agent("e", model=endless.model()).stream("go")
    for event in stream:
        if event.type == "model.delta":
            break
    assert endless.sees_the_hang_up()


def test_break_hangs_up_under_a_loop(endless: Endless) -> None:
    async def main() -> None:
        stream = ax.Agent("e", model=endless.model()).astream("go")
        async for event in stream:
            if event.type == "model.delta":
                break
        assert await asyncio.to_thread(endless.sees_the_hang_up)
        assert stream is not None

    asyncio.run(main())


def test_a_stream_that_is_dropped_hangs_up(endless: Endless) -> None:
    stream = ax.Agent("e", model=endless.model()).stream("go")
    while next(stream).type != "model.delta":
        pass
    del stream
    gc.collect()
    assert endless.sees_the_hang_up()


@pytest.mark.parametrize("how", ["close", "with"])
def test_closing_waits_until_the_run_has_stopped(endless: Endless, how: str) -> None:
    agent = ax.Agent("e", model=endless.model())
    stream = agent.stream("go", thread="t")
    if how == "close":
        next(stream)
        stream.close()
        stream.close()
    else:
        with stream:
            next(stream)
    with pytest.raises(ax.UsageError, match="was closed"):
        _ = stream.result

    async def main() -> None:
        async with agent.astream("go") as stream:
            async for event in stream:
                if event.type == "model.delta":
                    break
        other = agent.astream("go")
        await other.aclose()
        await other.aclose()

    asyncio.run(main())
    assert endless.sees_the_hang_up()


def test_a_cancelled_reader_hangs_up(endless: Endless) -> None:
    async def main() -> None:
        reading = asyncio.Event()

        async def read() -> None:
            async for event in ax.Agent("e", model=endless.model()).astream("go"):
                if event.type == "model.delta":
                    reading.set()

        task = asyncio.create_task(read())
        await reading.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(endless.sees_the_hang_up)

    asyncio.run(main())


def test_nothing_begins_before_the_first_read() -> None:
    asked = []

    def model(messages: Any) -> str:
        asked.append(1)
        return "said"

    agent = ax.Agent("l", model=ax.models.function(model))
    stream = agent.stream("go")
    agent.stream("go").close()
    assert asked == []
    list(stream)
    assert asked == [1]


def test_a_stream_is_read_once() -> None:
    stream = adder().stream("go")
    list(stream)
    with pytest.raises(ax.UsageError, match=r"read already.*stream\(\) again"):
        list(stream)
    with pytest.raises(ax.UsageError, match="read already"):
        next(stream)
    one_by_one = adder().stream("go")
    assert next(one_by_one).type == "run.created"
    assert next(one_by_one).type == "run.started"
    with pytest.raises(ax.UsageError, match="read already"):
        iter(one_by_one)


def test_each_door_has_its_own_loop() -> None:
    with pytest.raises(ax.UsageError, match=r"astream\(\).*async for"):
        list(adder().astream("go"))  # type: ignore[call-overload]

    async def main() -> None:
        with pytest.raises(ax.UsageError, match=r"stream\(\), which is read with `for`"):
            await events_of(adder().stream("go"))

    asyncio.run(main())


def test_a_second_thread_that_reads_at_the_same_time_is_told(endless: Endless) -> None:
    iterator = iter(ax.Agent("e", model=endless.model()).stream("go"))
    told = threading.Event()
    errors: list[BaseException] = []

    def read() -> None:
        try:
            while not told.is_set():
                next(iterator)
        except BaseException as error:
            errors.append(error)
            told.set()

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 1
    assert isinstance(errors[0], ax.UsageError)
    assert "give each reader a stream of its own" in str(errors[0])


def test_a_stream_may_be_handed_from_thread_to_thread() -> None:
    iterator = iter(adder().stream("go"))
    seen: list[str] = []
    for _ in TYPES:
        thread = threading.Thread(target=lambda: seen.append(next(iterator).type))
        thread.start()
        thread.join()
    assert seen == TYPES


def test_a_call_of_a_model_streams_too() -> None:
    model = ax.models.scripted(["one two three"], pace=0.001)
    stream = model.stream("go")
    events = list(stream)
    assert [event.type for event in events][:2] == ["model.started", "model.delta"]
    assert events[-1].type == "model.finished"
    assert "".join(event.text for event in events) == "one two three"
    assert stream.result.text == "one two three"

    async def main() -> None:
        stream = model.astream("go")
        assert "".join([event.text async for event in stream]) == "one two three"
        assert str(stream.result) == "one two three"

    asyncio.run(main())


def test_a_call_of_a_model_that_breaks_raises_at_the_end() -> None:
    script = {"text": "one two", "faults": [{"kind": "provider_error", "after": 1, "always": True}]}
    model = ax.models.scripted([script], pace=0.001)
    seen: list[str] = []
    with pytest.raises(ax.ModelError) as raised:
        seen.extend(event.type for event in model.stream("go"))
    assert raised.value.code == "provider_error"

    async def main() -> None:
        with pytest.raises(ax.ModelError):
            await events_of(model.astream("go"))

    asyncio.run(main())


def test_a_call_of_a_model_has_its_time(endless: Endless) -> None:
    with pytest.raises(ax.TimeoutError):
        list(endless.model().stream("go", timeout=0.2))
    assert endless.sees_the_hang_up()
    for event in endless.model().stream("go"):
        if event.type == "model.delta":
            break
    assert endless.sees_the_hang_up()


def test_many_streams_at_once() -> None:
    agent = adder()

    async def main() -> None:
        counts = await asyncio.gather(*(events_of(agent.astream("go")) for _ in range(30)))
        assert {len(events) for events in counts} == {len(TYPES)}

    asyncio.run(main())
