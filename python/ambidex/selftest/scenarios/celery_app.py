"""A Celery app as a user writes it, with one agent at the top of its module. Loaded by the worker alone."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from celery.signals import worker_init

import ambidex as ax

from ..witness import Upstream
from .processes import async_double, sync_double

folder = os.environ["AMBIDEX_SELFTEST_CELERY"]

app: Any = Celery("selftest", broker="filesystem://", backend=f"file://{folder}/results")
app.conf.update(
    broker_transport_options={"data_folder_in": f"{folder}/queue", "data_folder_out": f"{folder}/queue"},
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
)

upstream = Upstream()
model = ax.Model("openai:script", base_url=upstream.base_url, api_key="test")
agent = ax.Agent("worker", model=model, tools=[sync_double, async_double])


def run_in_parent(**_: object) -> None:
    """The runtime exists before the forks, with its threads and connections: what breaks most clients."""
    agent.run("hello")


def ask_and_say_where() -> tuple[str, int]:
    return agent.run("hello").text, os.getpid()


worker_init.connect(run_in_parent)
ask: Any = app.task(ask_and_say_where, name="ask")
