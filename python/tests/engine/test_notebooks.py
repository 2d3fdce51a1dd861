"""How results and streams look in notebooks."""

from __future__ import annotations

import sys
import threading
import types
from typing import Any

import pytest

import ambidex as ax
from ambidex._jupyter import LiveText

from .conftest import calls


def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


def test_a_result_is_shown_with_what_it_took() -> None:
    result = ax.Agent("n", model=ax.models.scripted(["a < b & c"])).run("go")
    html = result._repr_html_()
    assert "a &lt; b &amp; c" in html
    assert "succeeded: 1 model call" in html
    assert result._repr_markdown_().startswith("a < b & c")
    paused = ax.Agent("n", model=calls(("add", {"a": 1, "b": 2})), tools=[add], max_iterations=1).run("go")
    assert "paused (max_iterations)" in paused._repr_html_()


def test_a_failed_result_shows_its_error() -> None:
    def fails(messages: Any) -> str:
        raise ValueError("<broken>")

    [result] = ax.Agent("n", model=ax.models.function(fails)).batch(["go"])
    assert "<b>provider_error</b>: ValueError: &lt;broken&gt;" in result._repr_html_()
    assert "**provider_error**" in result._repr_markdown_()


def test_live_text_grows_and_begins_anew() -> None:
    live = LiveText()
    events = list(ax.Agent("n", model=calls(("add", {"a": 1, "b": 2})), tools=[add]).stream("go"))
    shown = [live.take(event) for event in events]
    assert sum(shown) == 2
    assert live.text == "done"
    assert "add(a=1, b=2)" in live.html()


def test_a_stream_is_shown_while_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    updates: list[str] = []
    shown = threading.Event()

    class Handle:
        def update(self, what: str) -> None:
            updates.append(what)
            shown.set()

    def one_by_one(messages: Any) -> Any:
        yield "one "
        assert shown.wait(20)
        yield "two"

    fake: Any = types.ModuleType("IPython.display")
    fake.HTML = lambda text: text
    fake.display = lambda what, display_id: Handle()
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", fake)
    ax.Agent("n", model=ax.models.function(one_by_one)).stream("go")._ipython_display_()
    assert "one" in updates[0]
    assert "two" not in updates[0]
    assert "one two" in updates[-1]
    assert "succeeded" in updates[-1]
