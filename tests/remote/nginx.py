"""nginx serving a folder, with a log of what it sent."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

PROGRAM = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")

_CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
  log_format counted '$status $body_bytes_sent $http_range';
  access_log {folder}/access.log counted;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    root {folder}/served;
    location /without/ {{ alias {folder}/served/; max_ranges 0; }}
    location /slow/ {{ alias {folder}/served/; limit_rate 400k; }}
  }}
}}
"""


class Request(NamedTuple):
    """A line of the log."""

    status: int
    nbytes: int
    range: str


@dataclass
class Nginx:
    """What serves."""

    folder: Path
    url: str
    log: Path

    def requests(self, count: int) -> list[Request]:
        """What was asked for, once so many requests are written down: that happens after they were answered."""
        for _ in range(100):
            if len(found := self._logged()) >= count:
                break
            time.sleep(0.05)
        return found

    def _logged(self) -> list[Request]:
        lines = self.log.read_text("utf-8").splitlines() if self.log.exists() else []
        return [Request(int(status), int(nbytes), text) for status, nbytes, text in (each.split(" ") for each in lines)]


@contextmanager
def serving(folder: Path) -> Iterator[Nginx]:
    """nginx on a free port, serving ``served`` in a folder."""
    if PROGRAM is None:
        raise FileNotFoundError("nginx is not installed: `apt-get install nginx-light`")
    served = folder / "served"
    served.mkdir(exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    configuration = folder / "nginx.conf"
    user = "user root;\n" if folder.owner() == "root" else ""
    configuration.write_text(user + _CONFIGURATION.format(folder=folder, port=port), "utf-8")
    command = [PROGRAM, "-e", str(folder / "error.log"), "-p", str(folder), "-c", str(configuration)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait(port, process)
            yield Nginx(served, f"http://127.0.0.1:{port}", folder / "access.log")
        finally:
            process.terminate()


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until it answers."""
    for _ in range(600):
        assert process.poll() is None, "nginx ended at once: see error.log"
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError("nginx does not answer")
