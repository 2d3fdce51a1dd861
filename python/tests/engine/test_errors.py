"""Errors: a class for every code, and what they carry."""

from __future__ import annotations

import builtins
import pickle
import re
from pathlib import Path

import pytest

import ambidex as ax
from ambidex import errors

ROOT = Path(__file__).parents[3]


def test_every_code_of_the_manual_has_a_class() -> None:
    text = (ROOT / "docs" / "errors.md").read_text()
    codes = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert len(codes) > 30
    assert set(codes) == set(errors.CLASSES)
    for code in codes:
        made = errors.from_core(code, "text", False, None, None, None)
        assert (type(made), made.code) == (errors.CLASSES[code], code)


def test_classes_are_what_programs_catch() -> None:
    for name in ("ModelError", "ToolError", "ConfigError", "BudgetError", "BusyError", "CancelledError"):
        assert issubclass(getattr(ax, name), ax.AmbidexError)
    assert issubclass(ax.TimeoutError, builtins.TimeoutError)
    assert issubclass(ax.ModelTimeoutError, ax.ModelError)
    assert issubclass(ax.ModelTimeoutError, ax.TimeoutError)
    assert issubclass(ax.ToolTimeoutError, ax.ToolError)
    assert issubclass(ax.ToolTimeoutError, builtins.TimeoutError)
    assert issubclass(ax.UsageError, TypeError)
    assert issubclass(ax.CancelledError, Exception)


@pytest.mark.parametrize("kind", sorted({*errors.CLASSES.values()}, key=lambda it: it.__name__))
def test_errors_travel_to_other_processes(kind: type[ax.AmbidexError]) -> None:
    error = kind(
        "what", code="busy", retryable=True, retry_after=1.5, provider="p", status=429, request_id="r1"
    )
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert again.__dict__ == error.__dict__
    assert str(again) == "what (request r1)"
    assert repr(again) == f"{kind.__name__}('what', code='busy')"


def test_an_error_made_by_hand_has_the_code_of_its_class() -> None:
    assert ax.ToolError("x").code == "tool_failed"
    assert ax.TimeoutError("x").code == "timeout"
    assert ax.AmbidexError().code == "internal"
    assert (ax.ModelError("x").retryable, ax.ModelError("x").result) == (False, None)


def test_what_a_provider_asks_for_is_kept() -> None:
    fault = {"kind": "rate_limited", "always": True, "retry_after": 90}
    with pytest.raises(ax.ModelError) as raised:
        ax.models.scripted([{"text": "x", "faults": [fault]}]).chat("hi")
    assert (raised.value.retry_after, raised.value.status, raised.value.retryable) == (90.0, 429, True)
    assert raised.value.provider == "scripted"
