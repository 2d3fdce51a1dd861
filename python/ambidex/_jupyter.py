"""How results and streams look in notebooks. Imported by nothing but a notebook's display."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .results import Result
    from .streams import Stream


def result_markdown(result: Result[Any]) -> str:
    """The text, with a line on what it took."""
    lines = [result.text] if result.text else []
    if result.error is not None:
        lines.append(f"**{result.error.code}**: {result.error.message}")
    return "\n\n".join([*lines, f"<small>{_facts(result)}</small>"])


def result_html(result: Result[Any]) -> str:
    """The text and the output, with a line on what it took."""
    parts = []
    if result.text:
        parts.append(f'<div style="white-space:pre-wrap">{escape(result.text)}</div>')
    if result._core.has_output:
        parts.append(f"<pre>{escape(repr(result.output))}</pre>")
    if result.error is not None:
        parts.append(
            f'<div style="color:#b00"><b>{escape(result.error.code)}</b>: {escape(result.error.message)}</div>'
        )
    parts.append(f'<div style="opacity:.6;font-size:85%">{escape(_facts(result))}</div>')
    return "".join(parts)


def _facts(result: Result[Any]) -> str:
    usage = result.usage
    calls = "1 model call" if result.iterations_used == 1 else f"{result.iterations_used} model calls"
    usd = "" if usage.usd is None else f", ${usage.usd:.4f}"
    why = f" ({result.pause})" if result.pause else ""
    tokens = f"{usage.input_tokens} + {usage.output_tokens} tokens"
    return f"{result.status}{why}: {calls}, {tokens}{usd}, {result.execution_time:.2f} s"


class LiveText:
    """What has been said so far, as it comes."""

    def __init__(self) -> None:
        self.text = ""
        self.notes: list[str] = []

    def take(self, event: Any) -> bool:
        """Whether there is something new to show."""
        if event.type == "model.delta":
            self.text += event.text
        elif event.type == "model.restarted":
            self.text = ""
        elif event.type == "tool.called":
            self.notes.append(f"{event.data['name']}({_arguments(event.data['args'])})")
            self.text = ""
        elif event.type == "error":
            self.notes.append(event.data["message"])
        else:
            return False
        return True

    def html(self) -> str:
        notes = "".join(f'<div style="opacity:.6"><code>{escape(note)}</code></div>' for note in self.notes)
        return f'{notes}<div style="white-space:pre-wrap">{escape(self.text)}</div>'


def _arguments(arguments: Any) -> str:
    if not isinstance(arguments, dict):
        return str(arguments)
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())


def show_stream(stream: Stream[Any]) -> None:
    """Reads a stream and shows its text while it comes."""
    from importlib import import_module

    # Untyped, and there where this is called.
    shows: Any = import_module("IPython.display")
    HTML, display = shows.HTML, shows.display

    if stream._door != "stream":
        print(f"{stream!r}: read it with `async for`, or show stream() in its place")
        return
    live = LiveText()
    shown = display(HTML(live.html()), display_id=True)
    for event in stream:
        if live.take(event) and shown is not None:
            shown.update(HTML(live.html()))
    if shown is not None:
        end = stream.result
        rich = getattr(end, "_repr_html_", None)
        shown.update(HTML(rich() if rich is not None else live.html()))
