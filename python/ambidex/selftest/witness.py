"""Starts the upstream and asks it. What it saw is the proof of a scenario."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import uuid
from typing import Any

from .paths import python_path

ENVIRONMENT = "AMBIDEX_SELFTEST_UPSTREAM"


def call(name: str, **arguments: Any) -> dict[str, Any]:
    """A tool call of a script."""
    return {"name": name, "arguments": arguments}


class UpstreamProcess:
    """The upstream, for as long as the `with` lasts. It also ends when this process does."""

    def __enter__(self) -> UpstreamProcess:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ambidex.selftest.upstream"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": python_path()},
            start_new_session=True,  # Ctrl-C is for us alone
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the upstream of the self-test did not start; its error stands above")
        self.port = int(json.loads(line)["port"])
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.kill()
        self.process.communicate()

    def space(self) -> str:
        """The address of an unused space."""
        return f"http://127.0.0.1:{self.port}/{uuid.uuid4().hex[:12]}"


class Upstream:
    """One scenario's view of the upstream: writes its scripts, reads its ledger."""

    def __init__(self, address: str | None = None) -> None:
        self.address = address or os.environ[ENVIRONMENT]
        host, _, self.space = self.address.removeprefix("http://").partition("/")
        self.host, _, port = host.partition(":")
        self.port = int(port)

    @property
    def base_url(self) -> str:
        """What a client takes as `base_url`."""
        return self.address + "/v1"

    def script(self, model: str, **script: Any) -> str:
        """Says how `model` replies, and returns its name.

        - `delay`: seconds before the first byte.
        - `rounds`: lists of tool calls, one list per turn; after them comes the text.
        - `text`: may hold `{user}`, what was asked, `{tools}`, the results as the model saw them, in JSON.
        - `deltas`, `gap`: so many pieces of text in its place, so many seconds apart.
        """
        self._ask("POST", "/script", json.dumps({model: script}))
        return model

    def counts(self) -> dict[str, int]:
        """`requests`, `replies`, `hangups`, `connections`, `open` now, `peak` of those open at once."""
        counts: dict[str, int] = self.ledger()["counts"]
        return counts

    def ledger(self) -> dict[str, Any]:
        """`counts`, `requests` and `hangups` with their times."""
        return self._ask("GET", "/ledger")

    def until(self, within: float = 10.0, **counts: int) -> dict[str, Any]:
        """The ledger, once each of `counts` is reached, or after `within` seconds."""
        query = "&".join(f"{name}={count}" for name, count in counts.items())
        return self._ask("GET", f"/until?within={within}&{query}", wait=within + 10)

    def _ask(self, method: str, path: str, body: str | None = None, wait: float = 10.0) -> dict[str, Any]:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=wait)
        try:
            connection.request(method, f"/{self.space}{path}", body)
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
            return answer
        finally:
            connection.close()
