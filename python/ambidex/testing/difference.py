"""Where two pieces of plain data differ, in words."""

from __future__ import annotations

import json
from typing import Any

_SHOWN = 8
_AROUND = 40


def differences(recorded: Any, asked: Any) -> list[str]:
    """A line for each place: `messages[1].text: recorded 'a', asked 'b'`; not more than a few."""
    lines: list[str] = []
    _compare("", recorded, asked, lines)
    if len(lines) > _SHOWN:
        lines[_SHOWN:] = [f"and {len(lines) - _SHOWN} more"]
    return lines


def _compare(place: str, recorded: Any, asked: Any, lines: list[str]) -> None:
    if recorded == asked:
        return
    if isinstance(recorded, dict) and isinstance(asked, dict):
        for name in {**recorded, **asked}:
            inner = f"{place}.{name}" if place else str(name)
            if name not in asked:
                lines.append(f"{inner}: recorded {_short(recorded[name])}, and is not asked")
            elif name not in recorded:
                lines.append(f"{inner}: not recorded, asked {_short(asked[name])}")
            else:
                _compare(inner, recorded[name], asked[name], lines)
    elif isinstance(recorded, list) and isinstance(asked, list):
        for index in range(min(len(recorded), len(asked))):
            _compare(f"{place}[{index}]", recorded[index], asked[index], lines)
        for index in range(len(asked), len(recorded)):
            lines.append(f"{place}[{index}]: recorded {_short(recorded[index])}, and is not asked")
        for index in range(len(recorded), len(asked)):
            lines.append(f"{place}[{index}]: not recorded, asked {_short(asked[index])}")
    elif isinstance(recorded, str) and isinstance(asked, str):
        lines.append(f"{place}: {_texts(recorded, asked)}")
    else:
        lines.append(f"{place}: recorded {_short(recorded)}, asked {_short(asked)}")


def _texts(recorded: str, asked: str) -> str:
    """Two texts from shortly before where they part."""
    same = next(
        (at for at, pair in enumerate(zip(recorded, asked, strict=False)) if pair[0] != pair[1]), None
    )
    same = min(len(recorded), len(asked)) if same is None else same
    start = max(0, same - _AROUND // 2)
    dots = "..." if start else ""
    parts = [f"{dots}{_short(text[start:], _AROUND + _AROUND // 2)}" for text in (recorded, asked)]
    return f"recorded {parts[0]}, asked {parts[1]}"


def _short(value: Any, most: int = 120) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= most else f"{text[: most - 3]}..."
