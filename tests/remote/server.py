"""A web server of the tests' own: it gives ranges of files, counts what it gives, and errs where it is told."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit


class Request(NamedTuple):
    """A request, and what it was given."""

    path: str
    start: int
    stop: int
    status: int
    sent: int
    headers: dict[str, str]


#: Answers a request in another way than is right; False: it leaves this one alone.
Fault = Callable[["Handler", bytes, int, int], bool]


@dataclass
class Server:
    """What is served, and what was asked for."""

    folder: Path
    url: str
    requests: list[Request] = field(default_factory=list)
    fault: Fault | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all answers."""
        return sum(each.sent for each in self.requests)

    def reset(self) -> None:
        """Forget what was asked for."""
        self.requests.clear()


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server: Web

    def do_GET(self) -> None:
        known = self.server.known
        self.asked = urlsplit(self.path).path
        file = known.folder / self.asked.lstrip("/")
        data = file.read_bytes() if file.is_file() else b""
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        self.start, self.stop = (int(found[1]), min(int(found[2]) + 1, len(data))) if found else (0, len(data))
        if known.fault is not None and known.fault(self, data, self.start, self.stop):
            return
        if not file.is_file():
            self.give(404, b"not here")
        elif self.start >= len(data):
            self.give(416, b"", {"Content-Range": f"bytes */{len(data)}"})
        else:
            self.range(data, self.start, self.stop)

    def do_HEAD(self) -> None:
        self.asked, self.start, self.stop = urlsplit(self.path).path, 0, 0
        file = self.server.known.folder / self.asked.lstrip("/")
        if not file.is_file():
            self.give(404, b"")
            return
        self.give(200, b"", {"Content-Length": str(file.stat().st_size), "Accept-Ranges": "bytes", "ETag": '"1"'})

    def range(self, data: bytes, start: int, stop: int, **more: str) -> None:
        """The right answer."""
        headers = {"Content-Range": f"bytes {start}-{stop - 1}/{len(data)}", "ETag": '"1"'}
        self.give(206, data[start:stop], headers | {key.replace("_", "-"): value for key, value in more.items()})

    def give(self, status: int, body: bytes, headers: dict[str, str] | None = None, *, cut: int | None = None) -> None:
        """Any answer; with `cut` so many bytes of it, and the end of the connection."""
        sent = body if cut is None else body[:cut]
        self.server.known.requests.append(
            Request(self.asked, self.start, self.stop, status, len(sent), dict(self.headers.items()))
        )
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(sent)
        if cut is not None:
            self.wfile.flush()
            self.close_connection = True

    def log_message(self, *arguments: object) -> None:
        """Nothing on the terminal."""


class Web(ThreadingHTTPServer):
    """The server itself."""

    daemon_threads = True
    known: Server

    def handle_error(self, request: object, address: object) -> None:
        """A client that goes away is no error here."""


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """A server of a folder, on a free port of this machine."""
    web = Web(("127.0.0.1", 0), Handler)
    web.known = Server(folder, f"http://127.0.0.1:{web.server_port}")
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield web.known
    finally:
        web.shutdown()
        web.server_close()
        thread.join()


def times(count: int, fault: Fault) -> Fault:
    """A fault that passes after so many requests."""
    left = [count]

    def answer(handler: Handler, data: bytes, start: int, stop: int) -> bool:
        left[0] -= 1
        return left[0] >= 0 and fault(handler, data, start, stop)

    return answer


def later(after: int, fault: Fault) -> Fault:
    """A fault that begins after so many requests."""
    left = [after]

    def answer(handler: Handler, data: bytes, start: int, stop: int) -> bool:
        left[0] -= 1
        return left[0] < 0 and fault(handler, data, start, stop)

    return answer


def status(number: int, **headers: str) -> Fault:
    """An answer without what was asked for."""

    def answer(handler: Handler, data: bytes, start: int, stop: int) -> bool:
        handler.give(number, b"no", {key.replace("_", "-"): value for key, value in headers.items()})
        return True

    return answer


def whole(handler: Handler, data: bytes, start: int, stop: int) -> bool:
    """All of the file, whatever was asked for."""
    handler.give(200, data)
    return True


def cut(at: int) -> Fault:
    """The connection ends after so many bytes of the answer."""

    def answer(handler: Handler, data: bytes, start: int, stop: int) -> bool:
        headers = {"Content-Range": f"bytes {start}-{stop - 1}/{len(data)}", "ETag": '"1"'}
        handler.give(206, data[start:stop], headers, cut=at)
        return True

    return answer


def silent(seconds: float) -> Fault:
    """Nothing comes for so long."""

    def answer(handler: Handler, data: bytes, start: int, stop: int) -> bool:
        time.sleep(seconds)
        return False

    return answer


def redirect(target: str) -> Fault:
    """The file lies elsewhere."""

    def answer(handler: Handler, data: bytes, start: int, stop: int) -> bool:
        if not handler.asked.startswith("/moved/"):
            return False
        handler.give(302, b"", {"Location": target + handler.asked.removeprefix("/moved")})
        return True

    return answer
