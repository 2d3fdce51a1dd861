"""Ambidex: an `Agent` over a `Model`; both doors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ambidex as ax

if TYPE_CHECKING:
    from harness.setup import Setup


class Contender:
    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.model = ax.Model(f"openai:{setup.model}", base_url=setup.base_url, api_key="sk-bench")
        self.tools = [ax.tool(function) for function in setup.tools]
        self.chatter = ax.Agent("chatter", model=self.model, instructions=setup.instructions)
        self.worker = self.build()

    def build(self) -> ax.Agent:
        return ax.Agent("worker", model=self.model, instructions=self.setup.instructions, tools=self.tools)

    async def chat(self) -> str:
        return (await self.chatter.arun(self.setup.task)).text

    async def agent(self) -> str:
        return (await self.worker.arun(self.setup.task)).text

    async def tokens(self) -> tuple[str, int]:
        pieces = []
        async for event in self.chatter.astream(self.setup.task):
            if event.type == "model.delta":
                pieces.append(event.text)
        return "".join(pieces), len(pieces)

    def chat_sync(self) -> str:
        return self.chatter.run(self.setup.task).text

    def agent_sync(self) -> str:
        return self.worker.run(self.setup.task).text
