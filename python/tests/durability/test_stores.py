"""Stores: what is kept, listed, answered, gone on with and forked, by both doors."""

from __future__ import annotations

import asyncio
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

import ambidex as ax

from .conftest import Door, Process, calls

sent: list[str] = []


@ax.tool(effect="once")
def send(to: str) -> str:
    """Sends."""
    sent.append(to)
    return f"sent to {to}"


@ax.tool(effect="once")
async def asend(to: str) -> str:
    """Sends."""
    await asyncio.sleep(0)
    sent.append(to)
    return f"sent to {to}"


@pytest.fixture(autouse=True)
def _nothing_sent() -> None:
    sent.clear()


def agent(store: ax.Store | None = None, name: str = "s", tool: Any = send, **more: Any) -> ax.Agent[Any]:
    model = calls((tool.name, {"to": "bob"}))
    return ax.Agent(name, model=model, tools=[tool], approvals={"once": "ask"}, store=store, **more)


@pytest.mark.parametrize("url", ["memory:", "sqlite:state.db"])
@pytest.mark.parametrize("tool", [send, asend], ids=["def", "async def"])
def test_a_run_waits_in_a_store_and_goes_on_there(door: Door, url: str, tool: Any) -> None:
    store = ax.open(url)
    waiting = door(agent(store, tool=tool), "run", "go")
    assert (waiting.status, sent) == ("waiting", [])
    [run] = door(store.runs, "list", status="waiting")
    assert (run.run_id, run.agent, run.status, run.driven_by) == (waiting.run_id, "s", "waiting", None)
    [question] = door(store.questions, "list")
    assert (question["tool"], question["args"], question["why"]) == (
        "send" if tool is send else "asend",
        {"to": "bob"},
        "approval",
    )
    assert door(store.questions, "list", run) == [question]
    door(store.questions, "answer", question["id"], "approve")
    # Another agent of the name, as another process has it, which keeps its own runs elsewhere.
    done = door(store, "resume", run, agents=[agent(None, "other"), agent(None, tool=tool)])
    assert (done.status, done.text, done.run_id, sent) == ("succeeded", "done", waiting.run_id, ["bob"])
    found = door(store.runs, "get", run.run_id)
    assert (found.status, found.result.text, found.result.messages[0].text) == ("succeeded", "done", "go")
    assert door(store, "check") == []
    door(store, "close")
    with pytest.raises(ax.UsageError, match="closed"):
        store.runs.list()


@pytest.mark.parametrize(
    ("decision", "details", "result"),
    [
        ("approve", {}, "sent to bob"),
        ("edit", {"args": {"to": "eve"}}, "sent to eve"),
        ("reject", {"reason": "not now"}, "not now"),
        ("answer", {"answer": "did it by hand"}, "did it by hand"),
    ],
)
def test_every_decision_is_taken(
    store: ax.Store, door: Door, decision: str, details: dict[str, Any], result: str
) -> None:
    waiting = agent(store).run("go")
    door(store.questions, "answer", waiting.questions[0]["id"], decision, **details)
    done = door(agent(store), "resume", waiting.run_id)
    assert done.status == "succeeded"
    assert result in done.messages[2].tool_results[0].text
    assert sent == ([result.removeprefix("sent to ")] if result.startswith("sent") else [])
    with pytest.raises(ax.AmbidexError, match="answered"):
        store.questions.answer(waiting.questions[0]["id"], "approve")


def test_a_run_that_pauses_goes_on_by_its_id_with_as_many_iterations_as_before(
    store: ax.Store, door: Door
) -> None:
    def count(n: int) -> int:
        return n

    model = ax.models.scripted([*(ax.ToolCall("count", {"n": n}) for n in range(3)), "done"])
    counter = ax.Agent("c", model=model, tools=[count], max_iterations=2, store=store)
    paused = door(counter, "run", "go")
    assert (paused.status, paused.pause) == ("paused", "max_iterations")
    again = ax.Agent("c", model=model, tools=[count], max_iterations=2)
    done = door(store, "resume", paused.run_id, [again])
    assert (done.status, done.iterations_used) == ("succeeded", 4)


def test_pages_of_a_listing_follow_each_other(store: ax.Store, door: Door) -> None:
    quick = ax.Agent("q", model=ax.models.scripted(["done"] * 5), store=store)
    other = ax.Agent("other", model=ax.models.scripted(["done"]), store=store)
    ids = [quick.run("go").run_id for _ in range(5)]
    other.run("go")
    first = door(store.runs, "list", agent="q", limit=3)
    second = door(store.runs, "list", agent="q", limit=3, cursor=first.next)
    assert [run.run_id for run in [*first, *second]] == ids[::-1]
    assert second.next is None
    assert [dict(run)["status"] for run in first] == ["succeeded"] * 3
    assert door(store.runs, "list", status=["failed", "waiting"]) == []
    with pytest.raises(ax.UsageError, match="did you mean 'waiting'"):
        store.runs.list(status="waitin")
    with pytest.raises(ax.StoreError, match="no run"):
        door(store.runs, "get", "run_x")


def test_a_run_that_nobody_drives_is_cancelled(store: ax.Store, door: Door) -> None:
    waiting = agent(store).run("go")
    assert door(store.runs, "cancel", waiting) is True
    assert door(store.runs, "cancel", waiting) is False
    found = store.runs.get(waiting)
    assert (found.status, found.result.status, store.questions.list(), sent) == (
        "cancelled",
        "cancelled",
        [],
        [],
    )
    # No call is left without a result.
    assert len(found.result.messages[2].tool_results) == 1


def test_a_run_under_way_is_not_cancelled_from_beside(store: ax.Store) -> None:
    asyncio.run(_cancelled_from_beside(store))


async def _cancelled_from_beside(store: ax.Store) -> None:
    begun = asyncio.Event()

    async def wait() -> None:
        begun.set()
        await asyncio.sleep(3600)

    task = asyncio.ensure_future(
        ax.Agent("w", model=calls(("wait", {})), tools=[wait], store=store).arun("go")
    )
    await begun.wait()
    [run] = await store.runs.alist()
    assert (run.status, run.driven_by, run.interrupted) == ("running", "this process", False)
    with pytest.raises(ax.BusyError, match="driven by this process"):
        await store.runs.acancel(run)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await store.runs.aget(run)).status == "cancelled"


def test_a_fork_goes_its_own_way(store: ax.Store, door: Door) -> None:
    @ax.models.function
    def says(messages: list[ax.Message]) -> str | ax.ToolCall:
        last = messages[-1]
        return (
            ax.ToolCall("look", {})
            if last.text == "go"
            else f"heard {last.text or last.tool_results[0].text}"
        )

    @ax.tool(effect="read")
    def look() -> str:
        return "a cat"

    looker = ax.Agent("l", model=says, tools=[look], store=store)
    run = looker.run("go")
    assert run.text == "heard a cat"
    points = door(store, "checkpoints", run)
    assert [point.effect for point in points] == [None, "m0", "t0.0", "m1", None]
    then = door(points[2], "result")
    assert (then.status, len(then.messages)) == ("running", 3)
    forked = door(store, "fork", run, at=points[2], message="a dog")
    assert store.runs.get(forked).status == "paused"
    assert door(store, "resume", forked, agents=[looker]).text == "heard a dog"
    assert store.runs.get(run).result.text == "heard a cat"
    with pytest.raises(ax.AmbidexError, match="no record 99"):
        door(store, "fork", run, at=99)


def test_the_agent_of_a_run_must_be_there(store: ax.Store) -> None:
    waiting = agent(store).run("go")
    with pytest.raises(ax.UsageError, match="one of 's', and agents holds 'other'"):
        store.resume(waiting, agents=[agent(name="other")])
    with pytest.raises(ax.UsageError, match="is no agent"):
        store.resume(waiting, agents=["s"])  # type: ignore[list-item]


@pytest.mark.parametrize("url", ["sqlite:", "mysql://x", "", 3])
def test_a_place_that_is_none_is_refused(url: Any) -> None:
    with pytest.raises(ax.ConfigError, match=r"ax\.open"):
        ax.open(url)


def test_a_place_that_cannot_be_opened_says_so_and_is_tried_again(tmp_path: Path, door: Door) -> None:
    store = ax.open(f"sqlite:{tmp_path}/made/later/state.db")
    (tmp_path / "made").write_text("a file in the way")
    with pytest.raises(ax.StoreError, match=r"state\.db"):
        door(store.runs, "list")
    (tmp_path / "made").unlink()
    (tmp_path / "made" / "later").mkdir(parents=True)
    assert door(store.runs, "list") == []


def test_with_and_async_with_open_and_close() -> None:
    async def main() -> ax.Store:
        async with ax.open("sqlite:one.db") as store:
            assert Path("one.db").exists()
            assert await store.runs.alist() == []
        return store

    assert asyncio.run(main()).closed
    with ax.open("sqlite:two.db", durability="batch") as other:
        assert Path("two.db").exists()
    assert other.closed
    other.close()
    with pytest.raises(ax.UsageError, match="closed"):
        ax.Agent("a", model="demo", store=other).run("go")


def test_a_store_travels_to_other_processes_and_shows_no_password(tmp_path: Path) -> None:
    store = ax.open(f"sqlite:{tmp_path}/state.db")
    waiting = agent(store).run("go")
    again = pickle.loads(pickle.dumps(store))
    assert again.runs.get(waiting).status == "waiting"
    assert "secret" not in repr(ax.open("postgres://me:secret@host/db"))
    with pytest.raises(ax.UsageError, match="memory"):
        pickle.dumps(ax.open("memory:"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="of systems that fork")
def test_a_forked_child_opens_the_store_anew(process: Process) -> None:
    process("""
        import os
        import ambidex as ax

        store = ax.open("sqlite:state.db")
        agent = ax.Agent("a", model=ax.models.scripted(["one", "two", "three"]), store=store)
        agent.run("go")
        child = os.fork()
        if child == 0:
            agent.run("go")
            assert len(store.runs.list()) == 2
            store.close()
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        agent.run("go")
        assert [run.status for run in store.runs.list()] == ["succeeded"] * 3
        assert store.check() == []
        store.close()
    """)


def test_the_configured_store_is_that_of_agents_without_one(process: Process, tmp_path: Path) -> None:
    (tmp_path / "ambidex.toml").write_text('[store]\nurl = "sqlite:kept.db"\n')
    process("""
        import ambidex as ax

        ax.Agent("a", model=ax.models.scripted(["done"])).run("go")
    """)
    with ax.open("sqlite:kept.db") as store:
        assert [(run.agent, run.status) for run in store.runs.list()] == [("a", "succeeded")]
    listed = process("""
        import sys
        from ambidex._command import main
        sys.argv = ["ambidex", "runs", "list", "--json"]
        main()
    """)
    assert '"agent":"a"' in listed.stdout
