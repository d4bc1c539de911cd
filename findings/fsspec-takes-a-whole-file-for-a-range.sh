#!/usr/bin/env bash
# fsspec 2026.9.0, aiohttp 3.14.5, Python 3.11
#
# `HTTPFileSystem.cat_file(url, start, end)` asks for a range. A server that knows no ranges (the one of Python's
# `http.server`, say) answers 200 with the whole file, which HTTP allows, and that is what comes back: more bytes than
# were asked for, beginning at the first byte of the file, without an error. Whoever reads the header of a safetensors
# or HDF5 file so, and then an array by its offsets, gets the file's beginning for each.
#
# One would have guessed that the range is cut out of such an answer, or that it is refused, as `open()` does.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet fsspec==2026.9.0 aiohttp==3.14.5
"$folder/venv/bin/python" - "$folder" <<'PY'
import functools
import http.server
import pathlib
import sys
import threading

import fsspec

folder = pathlib.Path(sys.argv[1])
(folder / "x.bin").write_bytes(bytes(range(100)))


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *given):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}/x.bin"
found = fsspec.filesystem("http").cat_file(url, 40, 44)
print(f"asked for bytes 40 to 43, got {len(found)} bytes that begin with {list(found[:4])}")
try:
    with fsspec.open(url, block_size=8) as file:
        file.seek(40)
        print("open():", list(file.read(4)))
except Exception as error:
    print(f"open(): {type(error).__name__}: {str(error)[:90]}")
assert len(found) == 100, found
PY
