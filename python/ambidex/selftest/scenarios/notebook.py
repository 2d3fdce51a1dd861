"""A Jupyter kernel, as a notebook drives it."""

from __future__ import annotations

import sys
from typing import Any

from ..checks import Failed


class Notebook:
    """A kernel of this Python, for as long as the `with` lasts."""

    manager: Any
    client: Any

    def __enter__(self) -> Notebook:
        from jupyter_client.manager import KernelManager

        self.manager = KernelManager()
        # Whatever kernels are installed: this interpreter is the one under test.
        self.manager.kernel_spec.argv = [
            sys.executable,
            "-m",
            "ipykernel_launcher",
            "-f",
            "{connection_file}",
        ]
        # Of its warnings on stderr one says that the sockets are not encrypted.
        self.manager.start_kernel(extra_arguments=["--log-level=ERROR"])
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=40)
        return self

    def __exit__(self, *exc: object) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    def cell(self, code: str, wait: float = 20.0) -> str:
        """Runs a cell. Returns what it printed; whatever else it shows, stderr included, is a failure."""
        printed: list[str] = []
        noise: list[str] = []

        def show(message: dict[str, Any]) -> None:
            kind, content = message["msg_type"], message["content"]
            if kind == "stream" and content["name"] == "stdout":
                printed.append(content["text"])
            elif kind == "stream":
                noise.append(content["text"])
            elif kind == "error":
                noise.append("\n".join(content["traceback"]))

        self.client.execute_interactive(code, timeout=wait, output_hook=show)
        if noise:
            raise Failed(f"the cell {code!r} shows: {''.join(noise)}")
        return "".join(printed)
