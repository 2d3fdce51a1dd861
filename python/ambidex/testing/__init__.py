"""For tests of agents: models that follow a script, fail on demand, or play back what was recorded.

The fixtures of pytest are in `plugin.py`; pytest finds them by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .faults import Fault as Fault
    from .faults import FaultModel as FaultModel
    from .leaks import LeakCheck as LeakCheck
    from .network import NetworkRefused as NetworkRefused
    from .network import no_network as no_network
    from .observer import ModelCall as ModelCall
    from .recording import ReplayError as ReplayError
    from .recording import record as record
    from .recording import replay as replay
    from .scripted import ScriptedModel as ScriptedModel

_HOMES = {
    "Fault": "faults",
    "FaultModel": "faults",
    "LeakCheck": "leaks",
    "ModelCall": "observer",
    "NetworkRefused": "network",
    "ReplayError": "recording",
    "ScriptedModel": "scripted",
    "no_network": "network",
    "record": "recording",
    "replay": "recording",
}

__all__ = [
    "Fault",
    "FaultModel",
    "LeakCheck",
    "ModelCall",
    "NetworkRefused",
    "ReplayError",
    "ScriptedModel",
    "no_network",
    "record",
    "replay",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value
