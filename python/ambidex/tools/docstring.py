"""What a docstring says of a function: its description and that of each parameter.

Google, NumPy and reST sections are understood. What they say of parameters, errors and the like is taken out
of the description, for the model reads parameters in the schema.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_PARAMETERS = {
    "args",
    "arguments",
    "parameters",
    "params",
    "keyword args",
    "keyword arguments",
    "other parameters",
    "other arguments",
    "attributes",
    "fields",
}
_RESULTS = {"returns", "return", "yields", "yield"}
_LEFT_OUT = {"raises", "raise", "except", "exceptions", "warns", "see also", "references", "todo", "methods"}
_KEPT = {"note", "notes", "example", "examples", "warning", "warnings", "tip", "hint", "important"}
_SECTIONS = _PARAMETERS | _RESULTS | _LEFT_OUT | _KEPT

_GOOGLE_ENTRY = re.compile(r"^\*{0,2}(\w+)\s*(?:\((.*?)\))?\s*:(?:\s+(.*))?$")
_NUMPY_ENTRY = re.compile(r"^(\*{0,2}\w+(?:\s*,\s*\*{0,2}\w+)*)\s*(?::.*)?$")
_FIELD = re.compile(r"^[:@](\w+)(?:\s+([^:]*?))?\s*:(?:\s+(.*))?$")
_FIELD_PARAMETERS = {
    "param",
    "parameter",
    "arg",
    "argument",
    "key",
    "keyword",
    "kwarg",
    "ivar",
    "var",
    "attribute",
}
_RULE = re.compile(r"^[-=~]{3,}$")


class Docstring(NamedTuple):
    """A docstring, read."""

    description: str
    """Everything but parameters, errors and references; what is returned stands at its end."""
    parameters: dict[str, str]


EMPTY = Docstring("", {})


def parse(text: str | None) -> Docstring:
    """Reads a docstring in any of the three styles; none gives an empty one."""
    if not text:
        return EMPTY
    if "\n" not in text and ":" not in text and "@" not in text:
        return Docstring(text.strip(), {})
    reader = _Reader(_dedented(text))
    reader.read()
    return Docstring(
        reader.description(), {name: " ".join(words) for name, words in reader.parameters.items() if words}
    )


def _dedented(text: str) -> list[str]:
    """The lines without the margin that all but the first have in common."""
    lines = text.expandtabs().splitlines()
    margin = min((len(line) - len(line.lstrip()) for line in lines[1:] if line.strip()), default=0)
    return [lines[0].strip(), *(line[margin:].rstrip() for line in lines[1:])] if lines else []


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


class _Reader:
    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.at = 0
        self.prose: list[str] = []
        self.result: list[str] = []
        self.parameters: dict[str, list[str]] = {}

    def read(self) -> None:
        while self.at < len(self.lines):
            line = self.lines[self.at]
            if not line:
                self.prose.append("")
                self.at += 1
            elif line[0] in ":@" and (field := _FIELD.match(line)):
                self.field(field)
            elif (name := self.numpy_heading()) is not None:
                self.at += 2
                self.section(name, numpy=True)
            elif (name := self.google_heading()) is not None:
                self.at += 1
                self.section(name, numpy=False)
            else:
                self.prose.append(line)
                self.at += 1

    def description(self) -> str:
        text = re.sub(r"\n{3,}", "\n\n", "\n".join(self.prose).strip())
        result = " ".join(self.result).strip()
        if not result:
            return text
        return f"{text}\n\nReturns: {result}" if text else f"Returns: {result}"

    def numpy_heading(self) -> str | None:
        name = self.lines[self.at].strip().lower()
        following = self.lines[self.at + 1].strip() if self.at + 1 < len(self.lines) else ""
        return name if name in _SECTIONS and _RULE.match(following) else None

    def google_heading(self) -> str | None:
        line = self.lines[self.at]
        if not line.endswith(":") or line[0] == " ":
            return None
        name = line[:-1].strip().lower()
        return name if name in _SECTIONS else None

    def section(self, name: str, *, numpy: bool) -> None:
        body = self.body(numpy=numpy)
        if name in _PARAMETERS:
            self.entries(body, _NUMPY_ENTRY if numpy else _GOOGLE_ENTRY, numpy=numpy)
        elif name in _RESULTS:
            self.result = self.returned(body, numpy=numpy)
        elif name in _KEPT:
            self.prose += [f"{name.capitalize()}:", *body, ""]

    def body(self, *, numpy: bool) -> list[str]:
        """The lines of a section: in Google's style those that are indented, else up to the next heading."""
        start = self.at
        while self.at < len(self.lines):
            line = self.lines[self.at]
            if line and not numpy and line[0] != " ":
                break
            if line and numpy and (self.numpy_heading() is not None or _FIELD.match(line)):
                break
            self.at += 1
        return self.lines[start : self.at]

    def entries(self, body: list[str], form: re.Pattern[str], *, numpy: bool) -> None:
        indents = [_indent(line) for line in body if line]
        outer = min(indents, default=0)
        words: list[list[str]] = []
        for line in body:
            if not line:
                continue
            entry = form.match(line.strip()) if _indent(line) == outer else None
            if entry is None:
                for target in words:
                    target.append(line.strip())
            elif numpy:
                names = [name.strip().lstrip("*") for name in entry[1].split(",")]
                words = [self.parameters.setdefault(name, []) for name in names]
            else:
                target = self.parameters.setdefault(entry[1], [])
                words = [target]
                if entry[3]:
                    target.append(entry[3].strip())

    def returned(self, body: list[str], *, numpy: bool) -> list[str]:
        lines = [line for line in body if line]
        if not numpy or not lines:
            return [line.strip() for line in lines]
        outer = min(_indent(line) for line in lines)
        described = [line.strip() for line in lines if _indent(line) > outer]
        return described or [line.strip() for line in lines]

    def field(self, field: re.Match[str]) -> None:
        """One `:param name: text` with the indented lines below it."""
        words = [field[3].strip()] if field[3] else []
        self.at += 1
        while self.at < len(self.lines) and self.lines[self.at].startswith(" "):
            words.append(self.lines[self.at].strip())
            self.at += 1
        kind, subject = field[1].lower(), (field[2] or "").split()
        if kind in _FIELD_PARAMETERS and subject:
            self.parameters.setdefault(subject[-1].lstrip("*\\"), []).extend(words)
        elif kind in ("return", "returns", "yield", "yields"):
            self.result = words
        elif kind not in ("type", "rtype", "raises", "raise", "except", "exception", "vartype", "meta"):
            self.prose.append(field[0])
            self.prose += [f"    {word}" for word in words[1:]]
