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
    """The cells of the manual: a plain call, a top-level await, text as it comes."""
    found: list[str] = write("Jupyter")
    assert len(found) == 3
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
    outputs = [cell.outputs for cell in notebook.cells]
    # One output each, and none of them on stderr.
    assert [[(output.output_type, output.name) for output in cell] for cell in outputs] == [
        [("stream", "stdout")]
    ] * 6
    texts = [cell[0].text.strip() for cell in outputs]
    assert texts == [BERGEN, CAIRO, BERGEN] * 2


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
            if message["msg_type"] == "stream":
                assert message["content"]["name"] == "stdout", message["content"]
                on_text(message["content"]["text"])

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


@pytest.mark.parametrize("door", ["agent.run({!r})", "await agent.arun({!r})"])
def test_interrupt_cancels_the_run_of_a_cell(
    cells: list[str], kernel: Kernel, upstream: Any, door: str
) -> None:
    assert kernel.run(cells[0])["status"] == "ok"
    kernel.client.execute(door.format("Tell a long story."))
    due = time.monotonic() + 60
    while upstream.seen("census")["in_flight"] == 0:
        assert time.monotonic() < due, "the run never began"
        time.sleep(0.02)
    kernel.manager.interrupt_kernel()
    upstream.hung_up()
    reply = kernel.client.get_shell_msg(timeout=60)["content"]
    assert reply["status"] == "error"
    assert reply["ename"] in ("KeyboardInterrupt", "CancelledError")
    # It goes on as if nothing had been.
    assert kernel.run(cells[0])["status"] == "ok"
