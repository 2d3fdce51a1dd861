"""Messages, files and images: what a model is given."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

import ambidex as ax
from ambidex.messages import Opaque, Reasoning, Refusal, Text

PNG = b"\x89PNG\r\n\x1a\n" + bytes(16)
ENCODED = base64.b64encode(PNG).decode()

shows = ax.Agent("s", model=ax.models.scripted([], default="seen"))


def given(**options: Any) -> list[Any]:
    return shows.run("look", **options).messages[0].parts


def test_a_message_is_made_of_parts() -> None:
    message = ax.Message.user(["look", ax.Image(url="https://example.com/a.png")])
    assert (message.role, message.text) == ("user", "look")
    assert ax.Message("assistant", ax.ToolCall("add", {"a": 1})).tool_calls[0].arguments == {"a": 1}
    assert repr(ax.Message.user("hi")) == "Message('user', 'hi')"
    assert ax.Message.user("a") == ax.Message.user("a") != ax.Message.user("b")
    assert len({ax.Message.user("a"), ax.Message.user("a")}) == 1
    with pytest.raises(ax.UsageError, match="one of system, user, assistant, tool"):
        ax.Message("boss", "hi")


@pytest.mark.parametrize(
    "part",
    [
        Text("words"),
        ax.Image(data=ENCODED, media_type="image/png"),
        ax.Image(url="https://example.com/a.png"),
        Reasoning("hm", {"format": "f", "json": "{}"}),
        Reasoning("hm"),
        Refusal("no"),
        ax.ToolCall("add", {"a": 1}, id="c1"),
        ax.ToolCall("add", "{a", id="c1", invalid="not JSON"),
        ax.ToolResult("c1", "add", "3"),
        ax.ToolResult("c1", "add", "3", failed=True),
        Opaque({"format": "f", "json": "{}"}),
    ],
    ids=lambda it: type(it).__name__,
)
def test_each_part_goes_into_the_core_and_back(part: Any) -> None:
    role = "tool" if isinstance(part, ax.ToolResult) else "assistant"
    message = ax.Message(role, [part])
    assert ax.Message.from_dict(message.to_dict()) == message
    seen: list[Any] = []

    def model(messages: list[ax.Message]) -> str:
        seen.extend(messages)
        return "seen"

    ax.models.function(model).chat([ax.Message.user("a"), message, ax.Message.user("b")])
    assert seen[1] == message
    assert "_state" not in repr(part)


def test_messages_as_chat_completions_writes_them() -> None:
    plain = [
        {"role": "developer", "content": "Be brief."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "see"}, _image_part("https://example.com/a.png")],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}},
                {"id": "c2", "type": "function", "function": {"name": "add", "arguments": "{a"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "2"},
    ]
    system, user, assistant, tool = (ax.Message.from_dict(one) for one in plain)
    assert (system.role, system.text) == ("system", "Be brief.")
    assert user.parts[1] == ax.Image(url="https://example.com/a.png")
    first, second = assistant.tool_calls
    assert (first.id, first.arguments, first.invalid) == ("c1", {"a": 1}, None)
    assert second.arguments == "{a"
    assert second.invalid is not None
    assert tool.tool_results[0].call_id == "c1"


def _image_part(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def test_images_from_paths_bytes_and_urls(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    image = ax.Image(data=ENCODED, media_type="image/png")
    assert (
        given(images=[PNG, tmp_path / "a.png", "a.png", f"data:image/png;base64,{ENCODED}"])[1:]
        == [image] * 4
    )
    assert given(images=["https://example.com/b.webp?x=1"])[1] == ax.Image(
        url="https://example.com/b.webp?x=1", media_type="image/webp"
    )
    assert given(images=[b"\xff\xd8\xff123"])[1].media_type == "image/jpeg"
    assert ax.Image.of(PNG) == image
    assert given(images=PNG)[1] == image


def test_files_are_told_with_their_names(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("# Notes\nä")
    parts = given(files=["notes.md", b"loose"])
    assert [part.text for part in parts] == [
        "look",
        '<file name="notes.md">\n# Notes\nä\n</file>',
        '<file name="file">\nloose\n</file>',
    ]


def test_they_belong_to_the_last_message_of_the_user() -> None:
    messages = shows.run(["first", ax.Message.user("last")], images=[PNG]).messages
    assert [len(message.parts) for message in messages[:2]] == [1, 2]
    messages = shows.run([ax.Message.user("a"), ax.Message.assistant("b")], images=[PNG]).messages
    assert [message.role for message in messages[:3]] == ["user", "assistant", "user"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"images": [b"GIF9"]}, "PNG, JPEG, GIF or WebP"),
        ({"images": ["data:image/png,abc"]}, "data:image/png;base64,"),
        ({"images": [7]}, "not int"),
        ({"files": [b"\xff\xfe"]}, r"images=\[...\]"),
        ({"files": ["https://example.com/a.txt"]}, "let a tool fetch"),
        ({"files": [bytes(2 * 1024 * 1024)]}, "a tool that reads parts"),
        ({"files": 7}, "a list of paths"),
    ],
    ids=lambda it: str(it)[:30],
)
def test_what_is_no_file_or_image_is_said(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ax.UsageError, match=says):
        given(**options)
    with pytest.raises(FileNotFoundError):
        given(files=["missing.txt"])
