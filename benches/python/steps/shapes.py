"""The graphs that both build, and what their runs must come to."""

from typing import Any

CHAIN = 10
LOOP = 1000
FAN = 100
# What a step of `history` adds to the state.
LINE = "x" * 100

# Steps of one run; a fan-out is its items, the node before them and the one that joins them.
STEPS = {"chain": CHAIN, "loop": LOOP, "fan-out": FAN + 2, "history": LOOP}


def check(shape: str, state: dict[str, Any]) -> None:
    """Whether a run did what it should. An answer that is wrong is no fast one."""
    found = (state["count"], len(state.get("log") or []))
    expected = {
        "chain": (CHAIN, 0),
        "loop": (LOOP, 0),
        "fan-out": (sum(range(FAN)), 0),
        "history": (LOOP, LOOP),
    }[shape]
    if found != expected:
        raise AssertionError(f"{shape}: {found} where {expected} was expected")
