"""What a child process is told to do."""

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Job:
    # Which of `harness.plan.TABLES` it is for.
    table: str
    contender: str
    # chat, agent, tokens, waiting or building
    kind: str
    # What the upstream plays.
    model: str
    concurrency: int = 1
    # How long is measured. Each of the concurrent workers does at least one operation.
    seconds: float = 1.0
    sync_door: bool = False
    # Tools are `def` and not `async def`.
    blocking_tools: bool = False
    upstream: str = ""

    @property
    def answer_tokens(self) -> int:
        """Tokens of the reply that ends the operation."""
        script, _, size = self.model.partition("-")
        return int(size) if script == "chat" else 20

    @property
    def rounds(self) -> tuple[int, int]:
        """Rounds of tool calls, and calls in each."""
        script, _, size = self.model.partition("-")
        if script != "agent":
            return 0, 0
        rounds, tools = size.split("x")
        return int(rounds), int(tools)

    @property
    def tool_calls(self) -> int:
        rounds, tools = self.rounds
        return rounds * tools

    @property
    def requests(self) -> int:
        """Calls of the model in one operation."""
        return self.rounds[0] + 1

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Job":
        return cls(**json.loads(text))
