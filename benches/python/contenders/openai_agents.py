"""openai-agents: an `Agent` over `OpenAIChatCompletionsModel`, tracing off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agents import Agent, AsyncOpenAI, OpenAIChatCompletionsModel, Runner, function_tool, set_tracing_disabled

if TYPE_CHECKING:
    from harness.setup import Setup

set_tracing_disabled(True)


class Contender:
    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        client = AsyncOpenAI(base_url=setup.base_url, api_key="sk-bench")
        self.model = OpenAIChatCompletionsModel(model=setup.model, openai_client=client)
        self.tools = [function_tool(function) for function in setup.tools]
        self.chatter = Agent(name="chatter", instructions=setup.instructions, model=self.model)
        self.worker = self.build()

    def build(self) -> Agent:
        return Agent(name="worker", instructions=self.setup.instructions, model=self.model, tools=self.tools)

    async def chat(self) -> str:
        return (await Runner.run(self.chatter, self.setup.task)).final_output

    async def agent(self) -> str:
        return (await Runner.run(self.worker, self.setup.task)).final_output

    async def tokens(self) -> tuple[str, int]:
        pieces = []
        result = Runner.run_streamed(self.chatter, self.setup.task)
        async for event in result.stream_events():
            if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
                pieces.append(event.data.delta)
        return "".join(pieces), len(pieces)
