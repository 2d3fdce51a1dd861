"""Messages: what a conversation is made of.

Whatever takes a conversation takes a text, one message, or a list of messages. A message may be a :class:`Message`, or
a dict with ``role`` and ``content`` as most interfaces write it::

    agent.run([{"role": "user", "content": "hi"}, ax.Message.assistant("Hello."), ax.Message.user("Who are you?")])
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from os import PathLike

__all__ = [
    "Image",
    "Message",
    "Opaque",
    "Part",
    "Reasoning",
    "Refusal",
    "Text",
    "ToolCall",
    "ToolResult",
]


class _Part:
    """Shared by all parts: they compare and show themselves by what they hold."""

    __slots__: tuple[str, ...] = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Part) and type(other) is type(self) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        members = (
            f"{name}={_short(getattr(self, name))}" for name in self.__slots__ if not name.startswith("_")
        )
        return f"{type(self).__name__}({', '.join(members)})"

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        raise NotImplementedError


class Text(_Part):
    """Words."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def to_dict(self) -> dict[str, Any]:
        return {"type": "text", "text": self.text}


class Image(_Part):
    """An image: from a file, from bytes, or at a URL (which the provider fetches)."""

    __slots__ = ("data", "media_type", "url")

    def __init__(
        self, *, url: str | None = None, data: str | None = None, media_type: str = "image/png"
    ) -> None:
        self.url = url
        #: Base64.
        self.data = data
        self.media_type = media_type

    @classmethod
    def of(cls, source: str | bytes | PathLike[str]) -> Image:
        """An image from a path, bytes, or an ``http(s)`` or ``data`` URL."""
        from ._attachments import image

        return image(source)

    def to_dict(self) -> dict[str, Any]:
        source = {"url": self.url} if self.url is not None else {"base64": self.data or ""}
        return {"type": "image", "media_type": self.media_type, "source": source}


class Reasoning(_Part):
    """What the model thought."""

    __slots__ = ("_state", "text")

    def __init__(self, text: str, _state: Any = None) -> None:
        self.text = text
        self._state = _state

    def to_dict(self) -> dict[str, Any]:
        plain: dict[str, Any] = {"type": "reasoning", "text": self.text}
        return plain if self._state is None else {**plain, "state": self._state}


class Refusal(_Part):
    """The model's words where it declined to answer."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def to_dict(self) -> dict[str, Any]:
        return {"type": "refusal", "text": self.text}


class ToolCall(_Part):
    """A call of a tool that a model asked for. ``id`` is the provider's."""

    __slots__ = ("_state", "arguments", "id", "invalid", "name")

    def __init__(
        self,
        name: str,
        arguments: Any = None,
        *,
        id: str = "call_1",
        invalid: str | None = None,
        _state: Any = None,
    ) -> None:
        self.id = id
        self.name = name
        #: A dict; the raw text where it was no JSON, and then ``invalid`` says why.
        self.arguments = {} if arguments is None else arguments
        self.invalid = invalid
        self._state = _state

    def to_dict(self) -> dict[str, Any]:
        if self.invalid is None:
            arguments = {"json": self.arguments}
        else:
            arguments = {"invalid": {"raw": self.arguments, "reason": self.invalid}}
        plain = {"type": "tool_call", "id": self.id, "name": self.name, "arguments": arguments}
        return plain if self._state is None else {**plain, "state": self._state}


class ToolResult(_Part):
    """What a tool gave, as the model reads it."""

    __slots__ = ("call_id", "failed", "name", "text")

    def __init__(self, call_id: str, name: str, text: str, *, failed: bool = False) -> None:
        self.call_id = call_id
        self.name = name
        self.text = text
        self.failed = failed

    def to_dict(self) -> dict[str, Any]:
        plain = {"type": "tool_result", "call_id": self.call_id, "name": self.name, "text": self.text}
        return {**plain, "failed": True} if self.failed else plain


class Opaque(_Part):
    """A part that only its provider understands; it is sent back as it came."""

    __slots__ = ("_state",)

    def __init__(self, _state: Any) -> None:
        self._state = _state

    def to_dict(self) -> dict[str, Any]:
        return {"type": "opaque", "state": self._state}


Part = Text | Image | Reasoning | Refusal | ToolCall | ToolResult | Opaque


class Message:
    """One message: who said it (``role``: system, user, assistant or tool), and its parts."""

    __slots__ = ("parts", "role")

    def __init__(self, role: str, content: str | Part | Iterable[str | Part]) -> None:
        if role not in _ROLES:
            from .errors import UsageError

            raise UsageError(f"a message's role is {role!r}; it is one of {', '.join(_ROLES)}")
        self.role = role
        if isinstance(content, str):
            self.parts: list[Part] = [Text(content)]
        elif isinstance(content, _Part):
            self.parts = [content]
        else:
            self.parts = [Text(part) if isinstance(part, str) else part for part in content]

    @classmethod
    def system(cls, content: str) -> Message:
        return cls("system", content)

    @classmethod
    def user(cls, content: str | Part | Iterable[str | Part]) -> Message:
        return cls("user", content)

    @classmethod
    def assistant(cls, content: str | Part | Iterable[str | Part]) -> Message:
        return cls("assistant", content)

    @property
    def text(self) -> str:
        """The text parts, one after another."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    @property
    def tool_calls(self) -> list[ToolCall]:
        return [part for part in self.parts if isinstance(part, ToolCall)]

    @property
    def tool_results(self) -> list[ToolResult]:
        return [part for part in self.parts if isinstance(part, ToolResult)]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data, which `Message.from_dict` reads."""
        return {"role": self.role, "parts": [part.to_dict() for part in self.parts]}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Message:
        """A message from plain data: ours (``parts``) or with ``content`` as most interfaces write it."""
        parts = plain.get("parts")
        if parts is None:
            return _of_interface(plain)
        return cls(plain["role"], [_content_part(part) for part in parts])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Message) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((self.role, tuple(self.parts)))

    def __repr__(self) -> str:
        if len(self.parts) == 1 and isinstance(self.parts[0], Text):
            return f"Message({self.role!r}, {_short(self.parts[0].text)})"
        return f"Message({self.role!r}, [{', '.join(map(repr, self.parts))}])"


_PARTS = (Text, Image, Reasoning, Refusal, ToolCall, ToolResult, Opaque)
_ROLES = ("system", "user", "assistant", "tool")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _part(plain: Mapping[str, Any]) -> Part:
    kind = plain.get("type")
    if kind == "text":
        return Text(plain["text"])
    if kind == "tool_call":
        arguments = plain["arguments"]
        broken = arguments.get("invalid")
        if broken is None:
            return ToolCall(plain["name"], arguments["json"], id=plain["id"], _state=plain.get("state"))
        reason = broken["reason"]
        return ToolCall(
            plain["name"], broken["raw"], id=plain["id"], invalid=reason, _state=plain.get("state")
        )
    if kind == "tool_result":
        return ToolResult(plain["call_id"], plain["name"], plain["text"], failed=plain.get("failed", False))
    if kind == "reasoning":
        return Reasoning(plain["text"], plain.get("state"))
    if kind == "refusal":
        return Refusal(plain["text"])
    if kind == "image":
        source = plain["source"]
        return Image(url=source.get("url"), data=source.get("base64"), media_type=plain["media_type"])
    if kind == "opaque":
        return Opaque(plain["state"])
    from .errors import UsageError

    raise UsageError(
        f"a part of a message has the type {kind!r}; it is text, image, tool_call or tool_result"
    )


def _of_interface(plain: Mapping[str, Any]) -> Message:
    """A message as Chat Completions writes it."""
    from .errors import UsageError

    role = plain.get("role")
    if not isinstance(role, str) or ("content" not in plain and "tool_calls" not in plain):
        raise UsageError(
            f'a message is a dict like {{"role": "user", "content": "hi"}}, not {_short(dict(plain))}'
        )
    if role == "developer":
        role = "system"
    content = plain.get("content")
    if role == "tool":
        text = (
            content if isinstance(content, str) else "".join(part.get("text", "") for part in content or ())
        )
        return Message(role, ToolResult(plain.get("tool_call_id", ""), plain.get("name", ""), text))
    parts: list[Part] = []
    if isinstance(content, str):
        parts.append(Text(content))
    elif content is not None:
        parts.extend(_content_part(part) for part in content)
    for call in plain.get("tool_calls") or ():
        function = call.get("function", call)
        arguments = function.get("arguments", {})
        invalid = None
        if isinstance(arguments, str):
            import json

            try:
                arguments = json.loads(arguments or "{}")
            except ValueError as error:
                invalid = f"the arguments are not JSON: {error}"
        parts.append(ToolCall(function["name"], arguments, id=call.get("id", "call_1"), invalid=invalid))
    return Message(role, parts)


def _content_part(part: Any) -> Part:
    if isinstance(part, str):
        return Text(part)
    if isinstance(part, _PARTS):
        return part
    if part.get("type") in ("text", "input_text", "output_text"):
        return Text(part["text"])
    if part.get("type") in ("image_url", "input_image"):
        url = part.get("image_url")
        return Image.of(url["url"] if isinstance(url, Mapping) else url)
    return _part(part)


def of_plain(plain: Sequence[Mapping[str, Any]]) -> list[Message]:
    """Messages from the plain data of the core."""
    return [Message.from_dict(message) for message in plain]


def plain_input(given: Any) -> Any:
    """What the core takes of what a user gives: a text as it is, else a list of plain messages."""
    if isinstance(given, str):
        return given
    if isinstance(given, (Message, Mapping)):
        given = [given]
    if not isinstance(given, Iterable) or isinstance(given, (bytes, bytearray)):
        from .errors import UsageError

        raise UsageError(f"a task is a text or messages, not {type(given).__name__}; give it as str(...)")
    return list(_plain(given))


def _plain(given: Iterable[Any]) -> Iterator[dict[str, Any]]:
    for one in given:
        if isinstance(one, Message):
            yield one.to_dict()
        elif isinstance(one, str):
            yield {"role": "user", "parts": [{"type": "text", "text": one}]}
        elif isinstance(one, Mapping):
            yield Message.from_dict(one).to_dict()
        elif hasattr(one, "message") and isinstance(one.message, Message):
            yield one.message.to_dict()
        else:
            from .errors import UsageError

            kind = type(one).__name__
            raise UsageError(f"messages are ax.Message, dicts with role and content, or texts, not {kind}")
