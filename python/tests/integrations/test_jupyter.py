"""The example for notebooks, with a real kernel."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest
from jupyter_client.manager import KernelManager

Fixture = Callable[..., Any]

BERGEN, CAIRO = "It is 9 degrees in Bergen.", "It is 31 degrees in Cairo."


@pytest.fixture
def cells(write: Fixture) -> list[str]:
    """The cells of the manual: a plain call, a top-level await, text as it comes, a stream, a result."""
    found: list[str] = write("Jupyter")
    assert len(found) == 5
    return found


def test_a_notebook_of_the_examples(
    cells: list[str], environment: dict[str, str], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells * 2])
    nbclient.NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=60,
        resources={"metadata": {"path": str(place)}},
        coalesce_streams=True,
    ).execute()
    # One output each, and none of them on stderr.
    assert [len(cell.outputs) for cell in notebook.cells] == [1] * 10
    shown = [cell.outputs[0] for cell in notebook.cells]
    for at in (0, 5):
        printed = shown[at : at + 3]
        assert [(output.output_type, output.name) for output in printed] == [("stream", "stdout")] * 3
        assert [output.text.strip() for output in printed] == [BERGEN, CAIRO, BERGEN]
        stream, result = shown[at + 3 : at + 5]
        assert (stream.output_type, result.output_type) == ("display_data", "execute_result")
        for output in (stream, result):
            assert CAIRO in output.data["text/html"]
            assert "2 model calls" in output.data["text/html"]


class Kernel:
    """A kernel and what it shows, with the time of each piece."""

    def __init__(self, environment: dict[str, str], place: Path) -> None:
        self.manager = KernelManager(kernel_name="python3")
        # The log says of stderr only that the sockets are not encrypted.
        self.manager.start_kernel(env=environment, cwd=str(place), extra_arguments=["--log-level=ERROR"])
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def run(self, code: str, on_text: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
        """Runs a cell and gives the kernel's reply."""

        def show(message: dict[str, Any]) -> None:
            content = message["content"]
            if message["msg_type"] == "stream":
                assert content["name"] == "stdout", content
                on_text(content["text"])
            elif message["msg_type"] in ("display_data", "update_display_data"):
                on_text(content["data"]["text/html"])

        reply: dict[str, Any] = self.client.execute_interactive(code, timeout=60, output_hook=show)["content"]
        return reply

    def end(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture
def kernel(environment: dict[str, str], place: Path) -> Iterator[Kernel]:
    kernel = Kernel(dict(os.environ) | environment, place)
    yield kernel
    kernel.end()


def test_text_is_shown_while_the_model_speaks(cells: list[str], kernel: Kernel) -> None:
    assert kernel.run(cells[0])["status"] == "ok"
    pieces: list[str] = []
    times: list[float] = []

    def shown(text: str) -> None:
        pieces.append(text)
        times.append(time.monotonic())

    assert kernel.run(cells[2], shown)["status"] == "ok"
    assert "".join(pieces) == BERGEN
    # The upstream takes 0.36 s to say it, pauses are its own; what was collected first comes at once.
    assert len(pieces) >= 3
    assert times[-1] - times[0] > 0.1


def test_a_stream_is_shown_while_the_model_speaks(cells: list[str], kernel: Kernel) -> None:
    assert kernel.run(cells[0])["status"] == "ok"
    shown: list[str] = []
    times: list[float] = []

    def update(html: str) -> None:
        shown.append(html)
        times.append(time.monotonic())

    assert kernel.run(cells[3], update)["status"] == "ok"
    parts = [CAIRO[:6] in html and CAIRO not in html for html in shown]
    assert sum(parts) >= 3, shown
    assert times[-1] - times[parts.index(True)] > 0.1
    assert "temperature" in shown[parts.index(True)], "the call of the tool is shown"
    assert CAIRO in shown[-1]
    assert "2 model calls" in shown[-1]


# A kernel ends what a cell awaits by cancelling it; a cell that awaits `asyncio.sleep` says the same.
@pytest.mark.parametrize(
    ("door", "raised"),
    [("agent.run({!r})", "KeyboardInterrupt"), ("await agent.arun({!r})", "CancelledError")],
)
def test_interrupt_cancels_the_run_of_a_cell(
    cells: list[str], kernel: Kernel, upstream: Any, door: str, raised: str
) -> None:
    assert kernel.run(cells[0])["status"] == "ok"
    # After an error a kernel drops what it is asked in the next moment, unless told not to.
    kernel.client.execute(door.format("Tell a long story."), stop_on_error=False)
    due = time.monotonic() + 60
    while upstream.seen("census")["in_flight"] == 0:
        assert time.monotonic() < due, "the run never began"
        time.sleep(0.02)
    kernel.manager.interrupt_kernel()
    upstream.hung_up()
    reply = kernel.client.get_shell_msg(timeout=60)["content"]
    assert reply["status"] == "error"
    assert reply["ename"] == raised
    # It goes on as if nothing had been.
    assert kernel.run(cells[0])["status"] == "ok"
