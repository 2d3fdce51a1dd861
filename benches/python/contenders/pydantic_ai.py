"""pydantic-ai: an `Agent` over `OpenAIChatModel`, whose provider holds the client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

if TYPE_CHECKING:
    from harness.setup import Setup


class Contender:
    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        provider = OpenAIProvider(base_url=setup.base_url, api_key="sk-bench")
        self.model = OpenAIChatModel(setup.model, provider=provider)
        self.chatter = Agent(self.model, instructions=setup.instructions)
        self.worker = self.build()

    def build(self) -> Agent:
        return Agent(self.model, instructions=self.setup.instructions, tools=self.setup.tools)

    async def chat(self) -> str:
        return (await self.chatter.run(self.setup.task)).output

    async def agent(self) -> str:
        return (await self.worker.run(self.setup.task)).output

    async def tokens(self) -> tuple[str, int]:
        pieces = []
        async with self.chatter.run_stream(self.setup.task) as result:
            # Without this, what came within a tenth of a second is joined, and nothing is streamed here.
            async for text in result.stream_text(delta=True, debounce_by=None):
                pieces.append(text)
        return "".join(pieces), len(pieces)
