"""An LLM-agent runtime that works with either hand: sync or async.

::

    import ambidex as ax

    @ax.tool
    def word_count(text: str) -> int:
        "Counts the words of a text."
        return len(text.split())

    agent = ax.Agent("writer", model="demo", tools=[word_count])
    print(agent.run("How many words has this?").text)          # sync, anywhere
    print((await agent.arun("And this?")).text)                # async, any loop
    for event in agent.stream("Tell me a story."): ...         # `async for` over agent.astream(...)

Parts are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _core

if TYPE_CHECKING:
    from . import aio as aio
    from . import errors as errors
    from . import hooks as hooks
    from . import models as models
    from . import testing as testing
    from . import tools as tools
    from ._bridge import SyncCallUnderLoopWarning as SyncCallUnderLoopWarning
    from ._core import Event as Event
    from ._core import Reply as Reply
    from ._core import Request as Request
    from ._core import ToolContext as ToolContext
    from ._core import Usage as Usage
    from .agent import Agent as Agent
    from .errors import AmbidexError as AmbidexError
    from .errors import BudgetError as BudgetError
    from .errors import BusyError as BusyError
    from .errors import CancelledError as CancelledError
    from .errors import ConfigError as ConfigError
    from .errors import HookError as HookError
    from .errors import InternalError as InternalError
    from .errors import ModelError as ModelError
    from .errors import ModelTimeoutError as ModelTimeoutError
    from .errors import StoreError as StoreError
    from .errors import TimeoutError as TimeoutError
    from .errors import ToolError as ToolError
    from .errors import ToolTimeoutError as ToolTimeoutError
    from .errors import UsageError as UsageError
    from .graphs import END as END
    from .graphs import START as START
    from .graphs import Command as Command
    from .graphs import CompiledGraph as CompiledGraph
    from .graphs import Graph as Graph
    from .graphs import Send as Send
    from .messages import Image as Image
    from .messages import Message as Message
    from .messages import ToolCall as ToolCall
    from .messages import ToolResult as ToolResult
    from .model import Model as Model
    from .models import balance as balance
    from .models import fallback as fallback
    from .models import hedge as hedge
    from .models import race as race
    from .results import Result as Result
    from .store import Store as Store
    from .store import open as open
    from .streams import Stream as Stream
    from .team import Team as Team
    from .tools import tool as tool
    from .workflow import Workflow as Workflow

if not TYPE_CHECKING:
    Event = _core.Event
    Reply = _core.Reply
    Request = _core.Request
    ToolContext = _core.ToolContext
    Usage = _core.Usage

_MODULES = ("aio", "errors", "hooks", "models", "testing", "tools")
_HOMES = {
    "Agent": "agent",
    "Model": "model",
    "Result": "results",
    "Store": "store",
    "open": "store",
    "Team": "team",
    "Workflow": "workflow",
    "Stream": "streams",
    "tool": "tools",
    "SyncCallUnderLoopWarning": "_bridge",
    **dict.fromkeys(("END", "START", "Command", "CompiledGraph", "Graph", "Send"), "graphs"),
    **dict.fromkeys(("balance", "fallback", "hedge", "race"), "models"),
    **dict.fromkeys(("Image", "Message", "ToolCall", "ToolResult"), "messages"),
    **dict.fromkeys(
        (
            "AmbidexError",
            "BudgetError",
            "BusyError",
            "CancelledError",
            "ConfigError",
            "HookError",
            "InternalError",
            "ModelError",
            "ModelTimeoutError",
            "StoreError",
            "TimeoutError",
            "ToolError",
            "ToolTimeoutError",
            "UsageError",
        ),
        "errors",
    ),
}

__all__ = [
    "END",
    "START",
    "Agent",
    "AmbidexError",
    "BudgetError",
    "BusyError",
    "CancelledError",
    "Command",
    "CompiledGraph",
    "ConfigError",
    "Event",
    "Graph",
    "HookError",
    "Image",
    "InternalError",
    "Message",
    "Model",
    "ModelError",
    "ModelTimeoutError",
    "Reply",
    "Request",
    "Result",
    "Send",
    "Store",
    "StoreError",
    "Stream",
    "SyncCallUnderLoopWarning",
    "Team",
    "TimeoutError",
    "ToolCall",
    "ToolContext",
    "ToolError",
    "ToolResult",
    "ToolTimeoutError",
    "Usage",
    "UsageError",
    "Workflow",
    "aio",
    "balance",
    "errors",
    "fallback",
    "hedge",
    "hooks",
    "models",
    "open",
    "race",
    "testing",
    "tool",
    "tools",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _MODULES:
        return import_module(f".{name}", __name__)
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
