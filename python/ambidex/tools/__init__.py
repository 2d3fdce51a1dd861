"""Tools: what a model may call.

`tool` makes one of a function; a plain function given to an agent is treated the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .decorator import Tool as Tool
    from .decorator import as_tool as as_tool
    from .decorator import tool as tool
    from .endpoint import HttpTool as HttpTool
    from .endpoint import http as http
    from .endpoint import mcp as mcp
    from .output import Output as Output
    from .output import as_output as as_output

__all__ = ["HttpTool", "Output", "Tool", "as_output", "as_tool", "http", "mcp", "tool"]

_HOMES = {
    "Tool": "decorator",
    "as_tool": "decorator",
    "tool": "decorator",
    "Output": "output",
    "as_output": "output",
    "HttpTool": "endpoint",
    "http": "endpoint",
    "mcp": "endpoint",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value
