"""A help desk: what the tests beside this file test."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import ambidex as ax


@dataclass
class Ticket:
    number: int
    title: str
    state: Literal["open", "closed"] = "open"


@dataclass
class Desk:
    """Where tickets are kept."""

    tickets: dict[int, Ticket] = field(default_factory=dict)

    @ax.tool(effect="read")
    def find(self, words: str) -> list[Ticket]:
        """Finds tickets whose title has a word.

        Args:
            words: One or more words.
        """
        wanted = words.lower().split()
        return [
            ticket for ticket in self.tickets.values() if any(word in ticket.title.lower() for word in wanted)
        ]

    @ax.tool(effect="once")
    async def close(self, number: int) -> Ticket:
        """Closes a ticket."""
        ticket = self.tickets.get(number)
        if ticket is None:
            raise ValueError(f"there is no ticket {number}; find it first")
        ticket.state = "closed"
        return ticket


@dataclass
class Answer:
    """What the customer is told."""

    words: str
    closed: list[int]


def helper(desk: Desk, model: ax.Model | str = "openai:gpt-5-mini") -> ax.Agent[Answer]:
    return ax.Agent(
        "helper",
        model=model,
        instructions="You look after the tickets of a help desk. Close what the customer says is solved.",
        tools=[desk.find, desk.close],
        output=Answer,
    )
