"""What is said to calls with arguments that are not taken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .errors import UsageError


def nearest(name: str, known: Iterable[str], likeness: float = 0.6) -> str | None:
    """The known name that was probably meant; `likeness` 1 takes the very name alone."""
    from difflib import get_close_matches

    found = get_close_matches(name, list(known), n=1, cutoff=likeness)
    return found[0] if found else None


def unknown(where: str, names: Iterable[str], known: Iterable[str]) -> UsageError:
    """The error for keyword arguments that `where` does not take."""
    known = [name for name in known if not name.startswith("_")]
    texts = []
    for name in names:
        near = nearest(name, known)
        texts.append(f"{where} takes no argument {name!r}" + (f"; did you mean {near!r}?" if near else ""))
    said = " ".join(text if text.endswith("?") else f"{text}." for text in texts)
    return UsageError(f"{said} It takes {', '.join(known)}.")


# What the core counts with.
_MOST = 2**32 - 1


def number(where: str, name: str, value: Any, *, least: float, whole: bool = False) -> Any:
    """A number of at least `least`; None passes."""
    if value is None:
        return None
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not value >= least:
        kind = "a whole number" if whole else "a number"
        raise UsageError(f"{where}: {name} is {value!r}; give it {kind} of at least {least:g}")
    if whole and value > _MOST:
        raise UsageError(f"{where}: {name} is {value!r}; give it {_MOST} at most")
    return value


def duration(where: str, name: str, value: Any) -> None:
    """Seconds; None passes."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1e9:
        raise UsageError(f"{where}: {name} is {value!r}; give it seconds, more than 0 and at most 1e9")


def choice(where: str, name: str, value: Any, allowed: Iterable[str]) -> Any:
    """One of a few words."""
    allowed = list(allowed)
    if value not in allowed:
        near = nearest(value, allowed) if isinstance(value, str) else None
        hint = f"; did you mean {near!r}?" if near else ""
        raise UsageError(f"{where}: {name} is {value!r}; it is one of {', '.join(map(repr, allowed))}{hint}")
    return value


def plain(where: str, name: str, value: Any, known: Iterable[str]) -> dict[str, Any]:
    """A dict whose keys are known."""
    known = list(known)
    if not isinstance(value, Mapping):
        raise UsageError(f"{where}: {name} is {value!r}; give it a dict with {', '.join(known)}")
    wrong = [key for key in value if key not in known]
    if wrong:
        near = nearest(str(wrong[0]), known)
        hint = f"; did you mean {near!r}?" if near else ""
        raise UsageError(f"{where}: {name} has no {wrong[0]!r}{hint}; it has {', '.join(known)}")
    return dict(value)


def sendable(where: str, text: str) -> str:
    """A text that has a UTF-8 form, which is what everything outside this process is told in."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise UsageError(
                f"{where}: the text holds {text[error.start]!r} at {error.start}, half a character that came of a "
                "wrong decoding; decode it as what it is, or send text.encode('utf-8', 'replace').decode()"
            ) from None
    return text


def spoken(where: str, text: str) -> str:
    """A text that says something and can be sent."""
    if not text or text.isspace():
        raise UsageError(f"{where}: the text is empty; say what is to be done")
    return sendable(where, text)
