"""Tests that reach nothing but this machine."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .. import _core, model
from ..errors import ModelError
from ..tools import endpoint, tool
from .observer import ModelCall, Observer, Plan

if TYPE_CHECKING:
    from .._core import Request

__all__ = ["NetworkRefused", "no_network"]

_OFFLINE = ("scripted", "human", "python")
"""Providers that are none."""
_REMEDY = "use ax.testing.ScriptedModel, or play back a recording"


class NetworkRefused(ModelError, OSError):
    """A test wanted to reach another machine."""

    default_code = "connect_failed"


@contextmanager
def no_network() -> Iterator[None]:
    """Refuses what would leave this machine, with `NetworkRefused`.

    That is: connections of Python's sockets, calls of models of providers, and of `ax.tools.http`, to other than
    loopback addresses. Models and tools that were made before are not seen, nor are HTTP tools of `ambidex.toml`.
    With pytest, `--ambidex-no-network` begins before any test is read.
    """
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def refusing(self: socket.socket, address: Any) -> None:
        _check(self, address)
        connect(self, address)

    def refusing_ex(self: socket.socket, address: Any) -> int:
        _check(self, address)
        return connect_ex(self, address)

    users: tuple[Any, ...] = (model, endpoint)  # what makes models of providers, and HTTP tools
    before = [user._core for user in users]
    socket.socket.connect = refusing  # type: ignore[assignment,method-assign]
    socket.socket.connect_ex = refusing_ex  # type: ignore[assignment,method-assign]
    for user in users:
        user._core = _GuardedCore(user._core)
    try:
        yield
    finally:
        socket.socket.connect = connect  # type: ignore[method-assign]
        socket.socket.connect_ex = connect_ex  # type: ignore[method-assign]
        for user, core in zip(users, before, strict=True):
            user._core = core


class _GuardedCore:
    """The extension module, but for models of providers and HTTP tools: these are watched by a guard."""

    def __init__(self, core: Any) -> None:
        self._core = core
        self.Model = _GuardedModels(core.Model)
        self.Tool = _GuardedTools(core.Tool)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._core, name)


class _GuardedModels:
    def __init__(self, models: Any) -> None:
        self._models = models

    def __getattr__(self, name: str) -> Any:
        return getattr(self._models, name)

    def configured(self, name: str, settings: Any = None, provider: Any = None, key: Any = None) -> Any:
        made = self._models.configured(name, settings, provider, key)
        base_url = (provider or {}).get("base_url")
        if base_url is not None and _is_here(urlsplit(base_url).hostname or "?"):
            return made
        return _core.Model.observed(made, _Guard(name))


class _GuardedTools:
    def __init__(self, tools: Any) -> None:
        self._tools = tools

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tools, name)

    def http(self, name: str, spec: dict[str, Any]) -> Any:
        made = self._tools.http(name, spec)
        host = urlsplit(spec["url"]).hostname or "?"
        if _is_here(host):
            return made

        def refused(**arguments: Any) -> None:
            raise NetworkRefused(
                f"this test may not reach the network: the tool {name!r} was to ask {host}; give the agent a tool of"
                " the test's own"
            )

        return _core.Tool.function(
            tool(name=name, description=spec["description"], on_error="raise")(refused)
        )


def _check(connection: socket.socket, address: Any) -> None:
    if connection.family in (socket.AF_INET, socket.AF_INET6) and not _is_here(str(address[0])):
        raise NetworkRefused(f"this test may not reach the network: a socket was to connect to {address[0]}")


def _is_here(host: str) -> bool:
    if host in ("localhost", ""):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return False


class _Guard(Observer):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def asked(self, request: Request, provider: str) -> tuple[ModelCall, Plan | None]:
        if provider not in _OFFLINE:
            raise NetworkRefused(
                f"this test may not reach the network: the model {self.name!r} of {provider} was asked; {_REMEDY}"
            )
        return super().asked(request, provider)
