"""Tools that are not functions: HTTP endpoints, described by data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .. import _core
from .._checks import choice, number, unknown
from ..errors import ConfigError, UsageError

if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["HttpTool", "http", "mcp"]

_ARGUMENTS = (
    "name",
    "url",
    "method",
    "description",
    "input",
    "headers",
    "query",
    "body",
    "effect",
    "timeout",
    "parallel",
    "allow_private",
    "max_output",
    "attempts",
    "concurrency",
)
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


class HttpTool:
    """An HTTP endpoint that a model may call; made by :func:`http`."""

    __slots__ = ("__weakref__", "_ambidex_core", "description", "name")

    def __init__(self, name: str, description: str, core: _core.Tool) -> None:
        self.name = name
        self.description = description
        self._ambidex_core = core

    def __repr__(self) -> str:
        return f"<HTTP tool {self.name!r}>"


def http(
    name: str,
    url: str,
    *,
    method: str = "GET",
    description: str = "",
    input: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    query: Mapping[str, str] | None = None,
    body: Any = None,
    effect: str | None = None,
    timeout: float | None = None,
    parallel: bool = True,
    allow_private: bool = False,
    max_output: int | None = None,
    attempts: int | None = None,
    concurrency: int | None = None,
    **unknown_arguments: NoReturn,
) -> HttpTool:
    """A tool that asks an HTTP endpoint::

        ax.tools.http("item", "https://api.example.com/items/{id}", input={"id": "integer"})

    ``{placeholders}`` in the URL's path, ``query``, ``headers`` and ``body`` are filled with the model's
    arguments, which ``input`` names with their types (or a JSON Schema). ``effect`` is ``read`` for GET and HEAD.
    Only public addresses are reached unless ``allow_private`` is set, and redirects are not followed. ``timeout``
    is in seconds (30 where it is not given), ``max_output`` in bytes (256 KiB); ``parallel=False`` keeps it from
    running beside another tool of its run.
    """
    where = "ax.tools.http"
    if unknown_arguments:
        raise unknown(where, unknown_arguments, _ARGUMENTS)
    if "://" in name and "://" not in url:
        raise UsageError(f'{where}: give the name first: {where}("item", {name!r})')
    choice(where, "method", method.upper(), _METHODS)
    if effect is not None:
        choice(where, "effect", effect, ("read", "idempotent", "once"))
    number(where, "timeout", timeout, least=0)
    spec = {
        "url": url,
        "method": method.upper(),
        "description": description,
        "input": dict(input or {}),
        "headers": dict(headers or {}),
        "query": dict(query or {}),
        "body": body,
        "effect": effect,
        "timeout": None if timeout is None else f"{round(timeout * 1000)}ms",
        "exclusive": not parallel,
        "allow_private": allow_private,
        "max_output": max_output,
        "attempts": attempts,
        "concurrency": concurrency,
    }
    return HttpTool(name, description, _core.Tool.http(name, spec))


def mcp(*args: Any, **kwargs: Any) -> NoReturn:
    """Tools of an MCP server: not in this version."""
    raise ConfigError(
        "tools of MCP servers are not in this version; wrap what you need of one in a function, or use ax.tools.http",
        code="unsupported",
    )
