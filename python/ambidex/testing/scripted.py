"""A model that says what a test tells it to."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from typing import TYPE_CHECKING, Any

from .. import models
from .observer import ObservedModel, Observer

if TYPE_CHECKING:
    from typing import NoReturn

    from .._core import Reply
    from ..messages import ToolCall

__all__ = ["ScriptedModel"]


class ScriptedModel(ObservedModel):
    """A model without key and network that follows a script and remembers what it was asked.

    The script is as for `ax.models.scripted`: a list of turns, each a text, an `ax.ToolCall`, a list of those, or a
    dict with `when`, `faults` and the like; one text alone is one turn, and a path is that of a script's file. Each
    conversation begins at the first turn::

        model = ScriptedModel([ax.ToolCall("add", {"a": 1, "b": 2}), "It is 3."])
        agent = ax.Agent("sums", model=model, tools=[add])
        assert agent.run("1 + 2?").text == "It is 3."
        assert model.calls[1].messages[-1].text == "3"

    `default` is said when no turn is left; without it that is an error. `delay` and `pace` are seconds before a
    reply and before each of its pieces, `chunk` is the number of characters of a piece.
    """

    __slots__ = ()

    def __init__(
        self,
        script: str | PathLike[str] | ToolCall | Reply | Iterable[Any] = (),
        *,
        default: Any = None,
        name: str = "script",
        delay: float | None = None,
        pace: float | None = None,
        chunk: int | None = None,
        **unknown_arguments: NoReturn,
    ) -> None:
        turns: Any = [script] if _is_one_turn(script) else script
        if not isinstance(turns, (str, PathLike)):
            turns = list(turns)
            if not turns and default is None:
                default = ""  # a model that says nothing; what matters is what it is asked
        inner = models.scripted(
            turns, default=default, name=name, delay=delay, pace=pace, chunk=chunk, **unknown_arguments
        )
        super().__init__(inner, Observer())


def _is_one_turn(script: Any) -> bool:
    """One turn without the list around it."""
    if isinstance(script, str):
        return not script.startswith("builtin:")
    return isinstance(script, dict) or not isinstance(script, (Iterable, PathLike))
