"""The upstream of the scenarios: an OpenAI chat server in a process of its own.

It is the witness of the self-test. A scenario writes a script for a model name, the server plays it and keeps
a ledger: requests with their time stamps, how many were open at once, connections, and *hang-ups*: replies
whose client went away before their end. All times are `time.monotonic()`, which processes of a machine share.

One server serves many scenarios. Each has a space of its own below `/SPACE/`, so they do not see each other:

    POST /SPACE/v1/chat/completions   the model, streaming and not
    POST /SPACE/script                {MODEL: Script as JSON}
    GET  /SPACE/ledger                what happened so far
    GET  /SPACE/until?NAME=COUNT&within=SECONDS     the ledger, once its NAME has reached COUNT or time is up

`python -m ambidex.selftest.upstream` prints `{"port": ...}` when it is ready and ends when its stdin closes.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import deque
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from .measure import raise_descriptor_limit

BACKLOG = 8192
#: Of requests and hang-ups, how many of the latest are in the ledger. Counts are of all.
KEPT = 400
CHAT = "/v1/chat/completions"


class Space:
    """What one scenario sees of the server."""

    def __init__(self) -> None:
        self.scripts: dict[str, dict[str, Any]] = {}
        self.requests: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self.hangups: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self.requested = 0
        self.hung_up = 0
        self.connections: set[int] = set()
        self.open = 0
        self.peak = 0
        self.replies = 0
        self.changed = asyncio.Event()

    def tell(self) -> None:
        """Wakes those who wait for the ledger to change."""
        self.changed.set()
        self.changed = asyncio.Event()

    def counts(self) -> dict[str, int]:
        return {
            "requests": self.requested,
            "hangups": self.hung_up,
            "connections": len(self.connections),
            "open": self.open,
            "peak": self.peak,
            "replies": self.replies,
        }

    def ledger(self) -> dict[str, Any]:
        return {"counts": self.counts(), "requests": list(self.requests), "hangups": list(self.hangups)}


class Server:
    """All spaces and all connections."""

    def __init__(self) -> None:
        self.spaces: dict[str, Space] = {}
        self.connections = 0

    def space(self, name: str) -> Space:
        return self.spaces.setdefault(name, Space())


class Connection(asyncio.Protocol):
    """One client. Requests on it are answered one after the other; losing it ends the reply under way."""

    def __init__(self, server: Server) -> None:
        self.server = server
        server.connections += 1
        self.number = server.connections
        self.buffer = b""
        self.task: asyncio.Task[None] | None = None
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def eof_received(self) -> None:
        # What is still buffered would keep a transport that is only closed.
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.task is not None:
            self.task.cancel()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        self.next_request()

    def next_request(self) -> None:
        if self.task is not None or b"\r\n\r\n" not in self.buffer:
            return
        head, _, rest = self.buffer.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        length = int(headers.get("content-length", "0"))
        if len(rest) < length:
            return
        self.buffer = rest[length:]
        target = lines[0].split(" ")[1]
        self.task = asyncio.ensure_future(self.answer(target, rest[:length]))
        self.task.add_done_callback(self.answered)

    def answered(self, task: asyncio.Task[None]) -> None:
        self.task = None
        if not task.cancelled() and task.exception() is not None:
            print(f"upstream: {task.exception()!r}", file=sys.stderr)
            self.transport.close()
        elif not self.transport.is_closing():
            self.next_request()

    async def answer(self, target: str, body: bytes) -> None:
        url = urlsplit(target)
        name, _, path = url.path.lstrip("/").partition("/")
        space = self.server.space(name)
        if "/" + path == CHAT:
            await Reply(self, space, json.loads(body)).play()
        elif path == "script":
            space.scripts.update(json.loads(body))
            self.send_json({})
        elif path == "ledger":
            self.send_json(space.ledger())
        elif path == "until":
            await until(space, dict(parse_qsl(url.query)))
            self.send_json(space.ledger())
        else:
            self.send_json(
                {"error": {"message": f"no such path: {target}", "type": "not_found"}}, "404 Not Found"
            )

    def write(self, data: bytes) -> None:
        if not self.transport.is_closing():  # asyncio complains of writing to what is lost
            self.transport.write(data)

    def send_json(self, value: Any, status: str = "200 OK") -> None:
        body = json.dumps(value).encode()
        head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        self.write(head.encode() + body)

    def send_head_of_stream(self) -> None:
        self.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )

    def send_event(self, value: Any) -> None:
        text = value if isinstance(value, str) else json.dumps(value)
        event = f"data: {text}\n\n".encode()
        self.write(b"%x\r\n%s\r\n" % (len(event), event))

    def send_end_of_stream(self) -> None:
        self.write(b"0\r\n\r\n")


async def until(space: Space, query: dict[str, str]) -> None:
    """Waits until every count of the query is reached, at most `within` seconds."""
    due = time.monotonic() + float(query.pop("within", "10"))
    wanted = {name: int(count) for name, count in query.items()}
    while any(space.counts()[name] < count for name, count in wanted.items()):
        left = due - time.monotonic()
        if left <= 0:
            return
        try:
            await asyncio.wait_for(space.changed.wait(), left)
        except asyncio.TimeoutError:
            return


class Reply:
    """One chat completion, played by the script of its model."""

    def __init__(self, connection: Connection, space: Space, request: dict[str, Any]) -> None:
        self.connection = connection
        self.space = space
        self.request = request
        self.model = str(request.get("model", ""))
        self.script = space.scripts.get(self.model, {})
        self.sent = 0

    async def play(self) -> None:
        space = self.space
        space.connections.add(self.connection.number)
        space.open += 1
        space.peak = max(space.peak, space.open)
        messages = self.request.get("messages", [])
        entry = {"at": time.monotonic(), "model": self.model, "messages": len(messages)}
        space.requests.append(entry)
        space.requested += 1
        space.tell()
        try:
            await asyncio.sleep(float(self.script.get("delay", 0.0)))
            await self.send(*self.content(messages))
            entry["answered"] = time.monotonic()
            space.replies += 1
        except asyncio.CancelledError:
            space.hung_up += 1
            space.hangups.append({"at": time.monotonic(), "model": self.model, "deltas": self.sent})
            raise
        finally:
            space.open -= 1
            space.tell()

    def content(self, messages: list[dict[str, Any]]) -> tuple[list[str], list[dict[str, Any]]]:
        """The deltas of text and the tool calls of this turn."""
        last = max((i for i, m in enumerate(messages) if m.get("role") == "user"), default=-1)
        after = messages[last + 1 :]
        turn = sum(1 for m in after if m.get("role") == "assistant" and m.get("tool_calls"))
        rounds = self.script.get("rounds", [])
        if turn < len(rounds):
            calls = [
                {
                    "index": i,
                    "id": f"call_{turn}_{i}",
                    "type": "function",
                    "function": {"name": call["name"], "arguments": json.dumps(call["arguments"])},
                }
                for i, call in enumerate(rounds[turn])
            ]
            return [], calls
        if deltas := int(self.script.get("deltas", 0)):
            return [f"{i} " for i in range(deltas)], []
        told = [text_of(m) for m in after if m.get("role") == "tool"]
        text = str(self.script.get("text", "tools said {tools}" if told else "you said {user}"))
        asked = text_of(messages[last]) if last >= 0 else ""
        return [text.replace("{user}", asked).replace("{tools}", json.dumps(told))], []

    async def send(self, deltas: list[str], calls: list[dict[str, Any]]) -> None:
        finish = "tool_calls" if calls else "stop"
        usage = {
            "prompt_tokens": 11,
            "completion_tokens": max(1, len(deltas)),
            "total_tokens": 11 + len(deltas),
        }
        head = {
            "id": f"chatcmpl-{self.space.requested}",
            "created": int(time.time()),
            "model": self.model,
        }
        if not self.request.get("stream"):
            message: dict[str, Any] = {"role": "assistant", "content": "".join(deltas) or None}
            if calls:
                message["tool_calls"] = [{k: v for k, v in call.items() if k != "index"} for call in calls]
            choice = {"index": 0, "message": message, "finish_reason": finish}
            self.connection.send_json(
                {**head, "object": "chat.completion", "choices": [choice], "usage": usage}
            )
            return
        head["object"] = "chat.completion.chunk"
        gap = float(self.script.get("gap", 0.0))
        self.connection.send_head_of_stream()
        self.event(head, {"role": "assistant", "content": ""})
        for text in deltas:
            if gap:
                await asyncio.sleep(gap)
            self.event(head, {"content": text})
            self.sent += 1
        for call in calls:
            self.event(head, {"tool_calls": [call]})
        self.event(head, {}, finish)
        if (self.request.get("stream_options") or {}).get("include_usage"):
            self.connection.send_event({**head, "choices": [], "usage": usage})
        self.connection.send_event("[DONE]")
        self.connection.send_end_of_stream()

    def event(self, head: dict[str, Any], delta: dict[str, Any], finish: str | None = None) -> None:
        self.connection.send_event(
            {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
        )


def text_of(message: dict[str, Any]) -> str:
    """The text of a message, be its content a string or parts."""
    content = message.get("content")
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content or "")


async def main() -> None:
    """Serves on a free port of loopback until stdin closes."""
    raise_descriptor_limit()
    loop = asyncio.get_running_loop()
    server = Server()
    listener = await loop.create_server(lambda: Connection(server), "127.0.0.1", 0, backlog=BACKLOG)
    print(json.dumps({"port": listener.sockets[0].getsockname()[1]}), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        pass
