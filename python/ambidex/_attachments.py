"""Files and images as part of what a model is given."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from .errors import UsageError
from .messages import Image, Message, Part, Text, plain_input

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
# No provider takes a larger one.
_LARGEST_IMAGE = 20 * 1024 * 1024
# A text of which a model reads more than this is meant for a tool.
_LARGEST_FILE = 1024 * 1024


def attached(task: Any, files: Iterable[Any], images: Iterable[Any]) -> Any:
    """What the core takes of a task with files and images, which belong to its last message."""
    parts: list[Part] = [file(one) for one in _several("files", files)]
    parts += [image(one) for one in _several("images", images)]
    plain = plain_input(task)
    if not parts:
        return plain
    if isinstance(plain, str):
        return [Message("user", [Text(plain), *parts] if plain else parts).to_dict()]
    if not plain or plain[-1]["role"] != "user":
        plain.append(Message("user", parts).to_dict())
    else:
        plain[-1]["parts"] += [part.to_dict() for part in parts]
    return plain


def _several(name: str, given: Any) -> Iterable[Any]:
    if isinstance(given, (str, bytes, os.PathLike)):
        return [given]
    if not isinstance(given, Iterable):
        raise UsageError(f"{name} is {given!r}; give it a list of paths, bytes or URLs")
    return given


def file(source: Any) -> Text:
    """A text file, with its name, as part of a message."""
    name = "file"
    if isinstance(source, (bytes, bytearray)):
        data = bytes(source)
    elif isinstance(source, str) and source.startswith(("http://", "https://")):
        raise UsageError(f"files are paths or bytes, not URLs; let a tool fetch {source}, or read it before")
    else:
        name = os.path.basename(os.fspath(source))
        data = _read(source, _LARGEST_FILE)
    if len(data) > _LARGEST_FILE:
        raise UsageError(
            f"{name} has more than {_LARGEST_FILE} bytes; give the model a tool that reads parts of it"
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{name} is no text (UTF-8); give images with images=[...]") from None
    return Text(f'<file name="{name}">\n{text}\n</file>')


def image(source: Any) -> Image:
    """An image from a path, bytes, or a URL."""
    if isinstance(source, Image):
        return source
    if isinstance(source, str) and source.startswith(("http://", "https://")):
        return Image(url=source, media_type=_by_name(source) or "image/png")
    if isinstance(source, str) and source.startswith("data:"):
        head, _, data = source[5:].partition(",")
        if not head.endswith(";base64"):
            raise UsageError("a data URL of an image is written data:image/png;base64,...")
        return Image(data=data, media_type=head[: -len(";base64")])
    content = bytes(source) if isinstance(source, (bytes, bytearray)) else _read(source, _LARGEST_IMAGE)
    kind = _by_bytes(content) or (
        None if isinstance(source, (bytes, bytearray)) else _by_name(os.fspath(source))
    )
    if kind is None:
        raise UsageError("this is no image that models take: PNG, JPEG, GIF or WebP")
    import base64

    return Image(data=base64.b64encode(content).decode("ascii"), media_type=kind)


def _read(source: Any, most: int) -> bytes:
    if not isinstance(source, (str, os.PathLike)):
        raise UsageError(f"files and images are paths, bytes or URLs, not {type(source).__name__}")
    with open(source, "rb") as opened:
        data = opened.read(most + 1)
    if len(data) > most:
        raise UsageError(f"{os.fspath(source)} has more than {most} bytes")
    return data


def _by_bytes(data: bytes) -> str | None:
    for signature, kind in _SIGNATURES:
        if data.startswith(signature):
            return kind
    return "image/webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


def _by_name(name: str) -> str | None:
    ending = name.split("?", 1)[0].rsplit(".", 1)[-1].lower()
    kinds = {
        "png": "image/png",
        "jpg": "image/jpeg",
        "jpeg": "image/jpeg",
        "gif": "image/gif",
        "webp": "image/webp",
    }
    return kinds.get(ending)
