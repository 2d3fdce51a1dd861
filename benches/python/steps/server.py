"""A Postgres server of the comparison's own, on a free port, gone when the block ends."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def postgres() -> Iterator[str]:
    folder = Path(tempfile.mkdtemp(prefix="ambidex-steps-", dir="/tmp"))
    # A server does not run as root.
    user = pwd.getpwnam("postgres" if known("postgres") else "nobody") if os.geteuid() == 0 else None
    if user:
        os.chown(folder, user.pw_uid, user.pw_gid)
    identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}

    def call(name: str, *arguments: str) -> None:
        command = [program(name), "-D", str(folder / "data"), *arguments]
        log = folder / "output"
        # The server inherits what it is given: a pipe would never end.
        with log.open("ab") as output:
            done = subprocess.run(command, stdout=output, stderr=output, cwd="/", check=False, **identity)
        if done.returncode != 0:
            raise RuntimeError(f"{name} failed: {log.read_text()}")

    try:
        call("initdb", "--auth=trust", "--username=bench", "--encoding=UTF8", "--locale=C")
        port = free_port()
        settings = (
            f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c max_connections=200"
        )
        call("pg_ctl", "-w", "-l", str(folder / "log"), "-o", settings, "start")
        try:
            yield f"postgres://bench@127.0.0.1:{port}/postgres"
        finally:
            call("pg_ctl", "-w", "-m", "fast", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def known(user: str) -> bool:
    return any(entry.pw_name == user for entry in pwd.getpwall())


def program(name: str) -> str:
    """Of the newest Postgres of this machine."""
    versions = (path for path in Path("/usr/lib/postgresql").glob("*") if path.name.isdigit())
    for version in sorted(versions, key=lambda path: -int(path.name)):
        if (version / "bin" / name).exists():
            return str(version / "bin" / name)
    found = shutil.which(name)
    if found is None:
        raise RuntimeError(f"there is no Postgres server ({name}) here; run tests/install.sh")
    return found


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
