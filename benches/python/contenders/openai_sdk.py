"""The plain `openai` SDK: one shared client. It has no agent of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openai import AsyncOpenAI

if TYPE_CHECKING:
    from harness.setup import Setup


class Contender:
    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.client = AsyncOpenAI(base_url=setup.base_url, api_key="sk-bench")

    async def chat(self) -> str:
        completion = await self.client.chat.completions.create(
            model=self.setup.model,
            messages=[
                {"role": "system", "content": self.setup.instructions},
                {"role": "user", "content": self.setup.task},
            ],
        )
        return completion.choices[0].message.content or ""

    async def tokens(self) -> tuple[str, int]:
        stream = await self.client.chat.completions.create(
            model=self.setup.model,
            messages=[
                {"role": "system", "content": self.setup.instructions},
                {"role": "user", "content": self.setup.task},
            ],
            stream=True,
            stream_options={"include_usage": True},
        )
        pieces = []
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                pieces.append(chunk.choices[0].delta.content)
        return "".join(pieces), len(pieces)
