"""Threads and sessions of a store."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import ambidex as ax

from .conftest import Door, Process, calls


def counter(store: ax.Store | None) -> ax.Agent[Any]:
    model = ax.models.function(lambda messages: f"{len(messages)} messages")
    return ax.Agent("counter", model=model, store=store)


@pytest.mark.parametrize("url", ["memory:", "sqlite:state.db"])
def test_a_conversation_is_kept_by_the_store(door: Door, url: str) -> None:
    store = ax.open(url)
    assert door(counter(store), "run", "one", thread="anna").text == "1 messages"
    # Another agent object, as another process has it.
    agent = counter(store)
    assert door(agent, "run", "two", thread="anna").text == "3 messages"
    assert [message.text for message in door(agent, "messages", "anna")] == [
        "one",
        "1 messages",
        "two",
        "3 messages",
    ]
    thread = door(store.threads, "load", "anna")
    assert (thread.id, thread.messages, thread.agent, thread.title) == ("anna", 4, "counter", "one")
    assert door(agent, "chat", "a").text == "1 messages"
    assert door(agent, "chat", "b").text == "3 messages"
    door(agent, "clear")
    assert door(agent, "chat", "c").text == "1 messages"
    door(agent, "clear", "anna")
    assert door(agent, "messages", "anna") == []
    store.close()


def test_threads_are_listed_searched_forked_edited_and_moved(door: Door, store: ax.Store) -> None:
    agent = counter(store)
    for text in ("apples and pears", "plums"):
        door(agent, "run", text, thread="fruit")
    threads = store.threads
    door(threads, "rename", "fruit", "Orchard")
    assert [thread.title for thread in door(threads, "list")] == ["Orchard"]
    assert [thread.id for thread in door(threads, "search", "pears")] == ["fruit"]
    assert door(threads, "search", "bananas") == []
    forked = door(threads, "fork", "fruit", 2, new="half")
    assert (forked.messages, forked.parent) == (2, "fruit")
    edited = door(threads, "edit", "fruit", 2, "cherries", new="other")
    assert [message.text for message in door(threads, "messages", edited.id)][2] == "cherries"
    assert [message.text for message in door(threads, "messages", "fruit")][2] == "plums"
    exported = door(threads, "export", "fruit")
    moved = threads.import_(exported, "copy")
    assert (moved.title, moved.messages) == ("Orchard", 4)
    door(threads, "append", "copy", [ax.Message.user("by hand")])
    assert door(threads, "load", "copy").messages == 5
    door(threads, "delete", "copy")
    with pytest.raises(ax.AmbidexError) as caught:
        door(threads, "load", "copy")
    assert caught.value.code == "not_found"


def test_a_thread_is_compacted_and_keeps_its_messages(door: Door, store: ax.Store) -> None:
    agent = counter(store)
    for n in range(5):
        agent.run(f"say {n}", thread="long")
    summariser = ax.Agent("s", model=ax.models.function(lambda messages: "they counted"))
    compacted = door(store.threads, "compact", "long", summariser, keep=2)
    assert compacted.summary == "they counted"
    assert len(store.threads.messages("long")) == 10
    assert int(agent.run("more", thread="long").text.split()[0]) < 11
    assert door(store.threads, "expand", "long").summary is None


def test_sessions_hold_state_with_a_version_check(door: Door, store: ax.Store) -> None:
    session = door(store.sessions, "create", "s", {"step": 1})
    assert (session.id, session.state, session.version) == (
        "s",
        {"step": 1},
        door(store.sessions, "load", "s").version,
    )
    saved = door(store.sessions, "save", session, {"step": 2})
    assert saved.version > session.version
    with pytest.raises(ax.AmbidexError) as caught:
        door(store.sessions, "save", session, {"step": 3})
    assert caught.value.code == "conflict"
    assert door(store.sessions, "save", "s", {"step": 4}).state == {"step": 4}
    door(store.threads, "create", "t", session="s", title="T", metadata={"a": 1})
    [thread] = door(store.threads, "list", session="s")
    assert (thread.session, thread.metadata) == ("s", {"a": 1})
    door(store.sessions, "delete", "s")
    assert door(store.sessions, "list") == []
    assert door(store.threads, "list") == []


def test_runs_on_one_thread_take_turns(store: ax.Store) -> None:
    agent = counter(store)

    async def main() -> list[str]:
        results = await asyncio.gather(*(agent.arun("hi", thread="t") for _ in range(5)))
        return [result.text for result in results]

    assert sorted(asyncio.run(main())) == [f"{n} messages" for n in (1, 3, 5, 7, 9)]


def test_another_process_goes_on_with_a_conversation(process: Process) -> None:
    program = """
import ambidex as ax
store = ax.open("sqlite:state.db")
agent = ax.Agent("c", model=ax.models.function(lambda messages: f"{len(messages)}"), store=store)
"""
    process(f"{program}\nassert agent.run('one', thread='t').text == '1'")
    process(f"{program}\nassert agent.run('two', thread='t').text == '3'")


def test_what_to_do_while_another_run_has_the_thread_is_said_with_the_run(store: ax.Store) -> None:
    begun = asyncio.Event()

    async def wait() -> None:
        begun.set()
        await asyncio.sleep(3600)

    slow = ax.Agent("slow", model=calls(("wait", {})), tools=[wait], store=store)

    async def main() -> str:
        task = asyncio.ensure_future(slow.arun("go", thread="t"))
        await begun.wait()
        with pytest.raises(ax.BusyError):
            await counter(store).arun("hi", thread="t", on_busy="reject")
        text = (await counter(store).arun("hi", thread="t", on_busy="rollback")).text
        with pytest.raises(ax.CancelledError):
            await task
        return text

    assert asyncio.run(main()) == "1 messages"
    with pytest.raises(ax.UsageError, match="did you mean 'reject'"):
        counter(store).run("hi", thread="t", on_busy="rejectt")
