"""Tests that reach nothing but this machine."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .. import _core
from .. import model as model_module
from ..errors import ModelError
from ..model import Model
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
    connect, connect_ex, begin = socket.socket.connect, socket.socket.connect_ex, Model.__init__
    rebuilt = model_module._rebuilt

    def refusing(self: socket.socket, address: Any) -> None:
        _check(self, address)
        connect(self, address)

    def refusing_ex(self: socket.socket, address: Any) -> int:
        _check(self, address)
        return connect_ex(self, address)

    def guarded(self: Model, name: str, **settings: Any) -> None:
        begin(self, name, **settings)
        _guard(self)

    def guarded_rebuilt(name: str, settings: dict[str, Any], provider: dict[str, Any]) -> Model:
        model = rebuilt(name, settings, provider)
        _guard(model)
        return model

    socket.socket.connect = refusing  # type: ignore[assignment,method-assign]
    socket.socket.connect_ex = refusing_ex  # type: ignore[assignment,method-assign]
    Model.__init__ = guarded  # type: ignore[method-assign]
    model_module._rebuilt = guarded_rebuilt
    try:
        yield
    finally:
        socket.socket.connect = connect  # type: ignore[method-assign]
        socket.socket.connect_ex = connect_ex  # type: ignore[method-assign]
        Model.__init__ = begin  # type: ignore[method-assign]
        model_module._rebuilt = rebuilt


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


def _guard(model: Model) -> None:
    config = model._config
    if config is None:
        return
    base_url = config[2].get("base_url")
    if base_url is None or not _is_here(urlsplit(base_url).hostname or "?"):
        model._core = _core.Model.observed(model._core, _Guard(config[0]))


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
