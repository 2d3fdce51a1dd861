"""agno: an `Agent` over `OpenAILike`, its model for servers that speak Chat Completions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agno.agent import Agent, RunEvent
from agno.models.openai.like import OpenAILike

if TYPE_CHECKING:
    from harness.setup import Setup


class Contender:
    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.model = OpenAILike(id=setup.model, base_url=setup.base_url, api_key="sk-bench")
        self.chatter = Agent(model=self.model, instructions=setup.instructions, telemetry=False)
        self.worker = self.build()

    def build(self) -> Agent:
        return Agent(
            model=self.model, instructions=self.setup.instructions, tools=self.setup.tools, telemetry=False
        )

    async def chat(self) -> str:
        return (await self.chatter.arun(self.setup.task)).content

    async def agent(self) -> str:
        return (await self.worker.arun(self.setup.task)).content

    async def tokens(self) -> tuple[str, int]:
        pieces = []
        async for event in self.chatter.arun(self.setup.task, stream=True):
            if event.event == RunEvent.run_content and event.content:
                pieces.append(event.content)
        return "".join(pieces), len(pieces)
