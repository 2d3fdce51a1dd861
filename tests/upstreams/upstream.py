"""What the driver needs around a run: an upstream in a process of its own, the sockets it holds,
and a small HTTP service for the http tool to call."""

import http.server
import json
import os
import subprocess
import threading
import time

LISTEN = "0A"


class UpstreamError(Exception):
    """An upstream did not start; the message says what to do."""


class Upstream:
    """A process that printed `{"addr", ...}` when it was ready and ends when its stdin closes or on SIGTERM."""

    def __init__(self, name, command, log, wait=30.0):
        self.log = log
        self.stderr = open(log, "wb")
        try:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.stderr)
        except OSError as error:
            raise UpstreamError(f"{name}: {command[0]} does not start: {error}; "
                                "run tests/upstreams/install.sh or build it") from error
        line = self._first_line(wait)
        try:
            ready = json.loads(line)
            address = ready["addr"]
            self.base_url = ready.get("base_url", f"http://{address}/v1").rstrip("/")
            self.port = int(address.rsplit(":", 1)[1])
            self.pid = int(ready.get("pid", self.process.pid))
        except (ValueError, KeyError, IndexError) as error:
            self.stop()
            raise UpstreamError(f"{name}: no ready line within {wait:.0f} s but {line!r}; "
                                f"its stderr is in {log}") from error

    def _first_line(self, wait):
        box = []
        reader = threading.Thread(target=lambda: box.append(self.process.stdout.readline()), daemon=True)
        reader.start()
        reader.join(wait)
        return box[0].decode("utf-8", "replace").strip() if box else ""

    def alive(self):
        return self.process.poll() is None

    def sockets(self):
        """Connections the upstream holds on its port, in whatever state; the listener not counted."""
        return connections(self.pid, self.port)

    def settled(self, baseline, wait=10.0):
        """The sockets held, once they are back to `baseline` or the wait is over."""
        end = time.monotonic() + wait
        while (now := self.sockets()) > baseline and time.monotonic() < end:
            time.sleep(0.05)
        return now

    def stop(self):
        self.process.stdin.close()
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.stderr.close()


def connections(pid, port):
    """Counts the open TCP connections of a process on one local port, from /proc."""
    held = set()
    for entry in os.scandir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(entry.path)
        except OSError:
            continue  # closed since the listing
        if target.startswith("socket:["):
            held.add(target[8:-1])
    count = 0
    for table in ("tcp", "tcp6"):
        try:
            with open(f"/proc/{pid}/net/{table}") as rows:
                next(rows)
                for row in rows:
                    columns = row.split()
                    local, state, inode = columns[1], columns[3], columns[9]
                    if inode in held and state != LISTEN and int(local.rsplit(":", 1)[1], 16) == port:
                        count += 1
        except FileNotFoundError:
            continue  # no IPv6 here
    return count


def session_members(sessions):
    """Processes that still belong to one of these sessions: (pid, session, command)."""
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            with open(f"{entry.path}/stat") as file:
                text = file.read()
        except OSError:
            continue  # gone since the listing
        command, rest = text[text.index("(") + 1:text.rindex(")")], text[text.rindex(")") + 2:].split()
        if rest[0] != "Z" and int(rest[3]) in sessions:
            found.append((int(entry.name), int(rest[3]), command))
    return found


def catches_interrupt(pid):
    """Whether a process has a handler for SIGINT; before that Ctrl-C simply ends it."""
    try:
        with open(f"/proc/{pid}/status") as file:
            for line in file:
                if line.startswith("SigCgt:"):
                    return bool(int(line.split()[1], 16) & 0b10)
    except OSError:
        pass
    return False


class Items:
    """The service behind the http tool: GET /items/N. Some items fail, as services do."""

    def __init__(self):
        self.calls = 0
        lock = threading.Lock()
        items = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                with lock:
                    items.calls += 1
                number = self.path.rsplit("/", 1)[-1]
                kind = number[-1:]
                if kind == "5":  # the connection breaks without a reply
                    self.close_connection = True
                    return
                status = {"3": 503, "4": 404}.get(kind, 200)
                body = json.dumps({"id": number, "title": f"Ding {number} für 灯台"}).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_):
                pass  # a cancelled run hangs up on us

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
