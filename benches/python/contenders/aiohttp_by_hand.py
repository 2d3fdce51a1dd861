"""No framework: `aiohttp` and `json`, as a competent engineer would write it by hand."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import aiohttp

if TYPE_CHECKING:
    from harness.setup import Setup

SPECS = [
    {
        "type": "function",
        "function": {
            "name": "read_file",
            "description": "Read a few lines of a file of the repository.",
            "parameters": {
                "type": "object",
                "properties": {
                    "path": {"type": "string", "description": "Path below the root of the repository"},
                    "first_line": {"type": "integer", "description": "The first line to read"},
                },
                "required": ["path", "first_line"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "search_files",
            "description": "Search the files of a folder for a piece of text.",
            "parameters": {
                "type": "object",
                "properties": {
                    "text": {"type": "string", "description": "The text to look for"},
                    "folder": {"type": "string", "description": "The folder to search, with all below it"},
                },
                "required": ["text", "folder"],
            },
        },
    },
]


class Contender:
    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.url = f"{setup.base_url}/chat/completions"
        self.headers = {"Authorization": "Bearer sk-bench"}
        self.tools = {function.__name__: function for function in setup.tools}
        self.session: aiohttp.ClientSession | None = None

    def client(self) -> aiohttp.ClientSession:
        if self.session is None:
            self.session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), headers=self.headers
            )
        return self.session

    async def close(self) -> None:
        await self.client().close()

    def messages(self) -> list[dict[str, Any]]:
        return [
            {"role": "system", "content": self.setup.instructions},
            {"role": "user", "content": self.setup.task},
        ]

    async def ask(self, messages: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        body = {"model": self.setup.model, "messages": messages, **more}
        async with self.client().post(self.url, json=body) as response:
            response.raise_for_status()
            message: dict[str, Any] = (await response.json())["choices"][0]["message"]
            return message

    async def call(self, call: dict[str, Any]) -> dict[str, Any]:
        tool = self.tools[call["function"]["name"]]
        result = tool(**json.loads(call["function"]["arguments"]))
        if asyncio.iscoroutine(result):
            result = await result
        return {"role": "tool", "tool_call_id": call["id"], "content": result}

    async def chat(self) -> str:
        answer: str = (await self.ask(self.messages()))["content"]
        return answer

    async def agent(self) -> str:
        messages = self.messages()
        while True:
            message = await self.ask(messages, tools=SPECS)
            calls = message.get("tool_calls")
            if not calls:
                answer: str = message["content"]
                return answer
            messages.append({"role": "assistant", "content": message["content"], "tool_calls": calls})
            messages.extend(await asyncio.gather(*map(self.call, calls)))

    async def tokens(self) -> tuple[str, int]:
        body = {"model": self.setup.model, "messages": self.messages(), "stream": True}
        pieces = []
        async with self.client().post(self.url, json=body) as response:
            response.raise_for_status()
            async for line in response.content:
                if not line.startswith(b"data: {"):
                    continue
                choices = json.loads(line[6:])["choices"]
                if choices and choices[0]["delta"].get("content"):
                    pieces.append(choices[0]["delta"]["content"])
        return "".join(pieces), len(pieces)
