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

    That is: connections of Python's sockets to other than loopback addresses, and calls of models of providers that
    are made inside, unless their `base_url` is a loopback address. Models that were made before are not seen, nor is
    `ax.tools.http`, which connects to public addresses alone: give tests their own tools. With pytest,
    `--ambidex-no-network` begins before any test is read.
    """
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def refusing(self: socket.socket, address: Any) -> None:
        _check(self, address)
        connect(self, address)

    def refusing_ex(self: socket.socket, address: Any) -> int:
        _check(self, address)
        return connect_ex(self, address)

    user: Any = model  # the one module that makes models of providers
    before = user._core
    socket.socket.connect = refusing  # type: ignore[assignment,method-assign]
    socket.socket.connect_ex = refusing_ex  # type: ignore[assignment,method-assign]
    user._core = _GuardedCore(before)
    try:
        yield
    finally:
        socket.socket.connect = connect  # type: ignore[method-assign]
        socket.socket.connect_ex = connect_ex  # type: ignore[method-assign]
        user._core = before


class _GuardedCore:
    """The extension module, but for models of providers: these are watched by a guard."""

    def __init__(self, core: Any) -> None:
        self._core = core
        self.Model = self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._core.Model if hasattr(self._core.Model, name) else self._core, name)

    def configured(self, name: str, settings: Any = None, provider: Any = None, key: Any = None) -> Any:
        made = self._core.Model.configured(name, settings, provider, key)
        base_url = (provider or {}).get("base_url")
        if base_url is not None and _is_here(urlsplit(base_url).hostname or "?"):
            return made
        return _core.Model.observed(made, _Guard(name))


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
