"""A small MCP server on stdin and stdout, and a client for it that lives on the loop it is used from."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

TOOL = {
    "name": "shout",
    "description": "Says it loudly.",
    "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
}


def serve() -> None:
    """Answers JSON-RPC lines until stdin closes."""
    for line in sys.stdin:
        message = json.loads(line)
        if "id" not in message:
            continue
        method, params = message["method"], message.get("params", {})
        result: dict[str, Any] = {}
        if method == "initialize":
            server = {"name": "shout", "version": "1"}
            result = {
                "protocolVersion": params["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": server,
            }
        elif method == "tools/list":
            result = {"tools": [TOOL]}
        elif method == "tools/call":
            result = {"content": [{"type": "text", "text": params["arguments"]["text"].upper()}]}
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)


class McpClient:
    """Starts the server at the first call. One call at a time."""

    def __init__(self) -> None:
        self.started = 0
        self.process: asyncio.subprocess.Process | None = None
        self.numbers = 0

    async def call(self, tool: str, **arguments: Any) -> str:
        if self.process is None:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                __name__,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            self.started += 1
            client = {"name": "selftest", "version": "1"}
            await self.ask("initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo=client)
        result = await self.ask("tools/call", name=tool, arguments=arguments)
        return str(result["content"][0]["text"])

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        assert self.process is not None
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.numbers += 1
        message = {"jsonrpc": "2.0", "id": self.numbers, "method": method, "params": params}
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        await self.process.stdin.drain()
        answer: dict[str, Any] = json.loads(await self.process.stdout.readline())
        result: dict[str, Any] = answer["result"]
        return result

    def close(self) -> None:
        """Ends the server."""
        if self.process is not None:
            try:
                os.kill(self.process.pid, 15)
            except ProcessLookupError:
                pass


if __name__ == "__main__":
    serve()
