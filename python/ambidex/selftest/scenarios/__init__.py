"""The scenarios, a module for each letter. The list that follows the 49 is under F."""

from __future__ import annotations

from importlib import import_module

from ..scenario import PARTS, SCENARIOS, Scenario, Script

MODULES = {
    "A": "doors",
    "B": "tools",
    "C": "cancelling",
    "D": "streams",
    "E": "processes",
    "F": "also",
}
_STRESS = {"S": ".stress"}


def find(id: str) -> Script:
    """The script of a scenario, of a part of one, or of the soak; loads its module alone."""
    import_module("." + {**MODULES, **_STRESS}[id[0]], __name__)
    return PARTS[id] if id in PARTS else SCENARIOS[id].run


def all_scenarios() -> list[Scenario]:
    """The whole list, in order."""
    for module in MODULES.values():
        import_module("." + module, __name__)
    return [SCENARIOS[id] for id in sorted(SCENARIOS)]
