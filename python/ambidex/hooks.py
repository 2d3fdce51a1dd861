"""Hooks: objects that look at, or replace, what passes the seams of a run.

A hook is any object with one or more of these methods, ``def`` or ``async def``; only those it has cost anything::

    class Log:
        def before_model(self, ctx, request):      # ax.Request; return request.replace(...) to change it
            print(len(request.messages), "messages")

        async def before_tool(self, ctx, call):    # .id .name .arguments; return call.replace({...}) to change them,
            if call.name == "send":                # anything else but None stands in for the tool's result
                return "not sent: this is a test"

    agent = ax.Agent("writer", model="demo", hooks=[Log()])

``after_model(ctx, reply)`` returns None or a reply (``reply.replace(...)``), ``after_tool(ctx, call, result)``
None or what stands in for the result, ``on_finish(ctx, result)`` None or ``result.replace(...)``. An exception
fails the step: of a call of a tool the model is told, else the run fails with ``HookError``. ``ctx`` is an
``ax.ToolContext``: ``ctx.state`` is shared by all tools and hooks of the run.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Protocol

from . import _core

if TYPE_CHECKING:
    from ._core import Call as Call
    from ._core import CallResult as CallResult
    from ._core import Finish as Finish
    from ._core import Reply, Request, ToolContext

__all__ = ["AfterModel", "AfterTool", "BeforeModel", "BeforeTool", "Call", "CallResult", "Finish", "OnFinish"]

if not TYPE_CHECKING:
    Call = _core.Call
    CallResult = _core.CallResult
    Finish = _core.Finish


class BeforeModel(Protocol):
    """Sees each request before the model does."""

    def before_model(
        self, ctx: ToolContext, request: Request
    ) -> Request | Awaitable[Request | None] | None: ...


class AfterModel(Protocol):
    """Sees each whole reply."""

    def after_model(self, ctx: ToolContext, reply: Reply) -> Reply | Awaitable[Reply | None] | None: ...


class BeforeTool(Protocol):
    """Sees each call of a tool before the tool does."""

    def before_tool(self, ctx: ToolContext, call: Call) -> Any: ...


class AfterTool(Protocol):
    """Sees what each call of a tool came to."""

    def after_tool(self, ctx: ToolContext, call: Call, result: CallResult) -> Any: ...


class OnFinish(Protocol):
    """Sees how the run ends, before it does; not called for a cancelled run."""

    def on_finish(
        self, ctx: ToolContext, result: Finish
    ) -> Finish | str | Awaitable[Finish | str | None] | None: ...
