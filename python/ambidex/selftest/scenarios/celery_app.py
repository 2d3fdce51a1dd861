"""A Celery app as a user writes it, with one agent at the top of its module. Loaded by the worker alone."""

from __future__ import annotations

import os

from celery import Celery
from celery.signals import worker_init

from ..witness import Upstream
from .common import ax
from .processes import async_double, sync_double

folder = os.environ["AMBIDEX_SELFTEST_CELERY"]

app = Celery("selftest", broker="filesystem://", backend=f"file://{folder}/results")
app.conf.update(
    broker_transport_options={"data_folder_in": f"{folder}/queue", "data_folder_out": f"{folder}/queue"},
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
)

upstream = Upstream()
model = ax.Model("openai:script", base_url=upstream.base_url, api_key="test")
agent = ax.Agent("worker", model=model, tools=[sync_double, async_double])


@worker_init.connect
def run_in_parent(**_: object) -> None:
    """The runtime exists before the forks, with its threads and connections: what breaks most clients."""
    agent.run("hello")


@app.task(name="ask")
def ask() -> tuple[str, int]:
    return agent.run("hello").text, os.getpid()
