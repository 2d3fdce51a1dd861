"""langgraph: the agent of `langchain.agents`, a compiled graph, over `ChatOpenAI`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain.agents import create_agent
from langchain.tools import tool
from langchain_core.messages import AIMessageChunk
from langchain_openai import ChatOpenAI

if TYPE_CHECKING:
    from harness.setup import Setup


class Contender:
    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.model = ChatOpenAI(model=setup.model, base_url=setup.base_url, api_key="sk-bench")
        self.tools = [tool(parse_docstring=True)(function) for function in setup.tools]
        self.chatter = create_agent(self.model, system_prompt=setup.instructions)
        self.worker = self.build()
        self.input = {"messages": [{"role": "user", "content": setup.task}]}

    def build(self) -> Any:
        return create_agent(self.model, self.tools, system_prompt=self.setup.instructions)

    async def chat(self) -> str:
        return (await self.chatter.ainvoke(self.input))["messages"][-1].text

    async def agent(self) -> str:
        return (await self.worker.ainvoke(self.input))["messages"][-1].text

    async def tokens(self) -> tuple[str, int]:
        pieces = []
        async for message, _ in self.chatter.astream(self.input, stream_mode="messages"):
            if isinstance(message, AIMessageChunk) and message.text:
                pieces.append(message.text)
        return "".join(pieces), len(pieces)
