"""The examples for web frameworks, each with the server its users have."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

UVICORN = (r"^INFO: ",)
# The development servers log requests and advise against themselves on stderr.
FLASK = (
    r"^ \* ",
    r"^WARNING: This is a development server",
    r"^Press CTRL\+C",
    r'^127\.0\.0\.1 - - \[.*" 200 -$',
)
DJANGO = (r'^\[\d\d/\w+/\d{4} [\d:]+\] "GET .*" 200 \d+$',)

Fixture = Callable[..., Any]


def uvicorn(start: Fixture, app: str) -> tuple[Any, str]:
    server = start("-m", "uvicorn", app, "--port", "0")
    return server, server.said(r"Uvicorn running on (http://[\d.:]+)")[1]


def ends_well(server: Any, how: signal.Signals, *usual: str) -> None:
    """A server that was told to end does, by itself or by the signal, and said nothing unusual ever."""
    code = server.stop(how)
    assert code in (0, -how), str(server)
    assert server.complaints(*usual) == []


def test_fastapi(
    write: Fixture, start: Fixture, many: Fixture, read_live: Fixture, walk_away: Fixture
) -> None:
    write("FastAPI")
    server, url = uvicorn(start, "app:app")
    many(f"{url}/ask")
    many(f"{url}/ask-sync")
    read_live(f"{url}/stream")
    walk_away(f"{url}/stream")
    ends_well(server, signal.SIGINT, *UVICORN)


def test_flask(write: Fixture, start: Fixture, many: Fixture, read_live: Fixture, walk_away: Fixture) -> None:
    write("Flask")
    server = start("-m", "flask", "--app", "app", "run", "--port", "0")
    url = server.said(r"Running on (http://[\d.:]+)")[1]
    many(f"{url}/ask")
    read_live(f"{url}/stream")
    walk_away(f"{url}/stream")
    ends_well(server, signal.SIGTERM, *FLASK)


@pytest.fixture
def shop(write: Fixture, start: Fixture, place: Path) -> None:
    """A Django project with three users and the manual's views in it."""
    for words in (
        ("-m", "django", "startproject", "shop", "."),
        ("manage.py", "migrate", "--verbosity", "0"),
        (
            "manage.py",
            "shell",
            "--verbosity",
            "0",
            "-c",
            "from django.contrib.auth.models import User\n"
            "for name in 'abc': User.objects.create_user(name)\n"
            "User.objects.create_user('d', is_active=False)",
        ),
    ):
        command = start(*words)
        assert command.ended() == 0, str(command)
    write("Django", place / "shop")


QUESTION = "How many users are active?"


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize("served", ["wsgi", "asgi"])
def test_django(start: Fixture, at_once: Fixture, served: str) -> None:
    if served == "wsgi":
        server = start("manage.py", "runserver", "--noreload", "127.0.0.1:0")
        url, usual = server.said(r"server at (http://[\d.:]+\d)")[1], DJANGO
    else:
        server, url = uvicorn(start, "shop.asgi:application")
        usual = UVICORN
    for view in ("ask", "aask"):
        assert at_once(f"{url}/{view}", [QUESTION] * 8) == ["There are 3 users."] * 8
    ends_well(server, signal.SIGINT, *usual)
