"""Hundreds of servers that answer as chance has it: what is read is right, or an error says why it is not.

A seed makes the run repeatable; MODELARCHIVE_FUZZ=3000 makes it long.
"""

from __future__ import annotations

import gzip
import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.remote import http
from tests.hostile.readers.samples import safetensors
from tests.remote.server import Handler, Server

CASES = int(os.environ.get("MODELARCHIVE_FUZZ", "200"))
DESIGNED = (ma.RemoteError, ma.FormatError, ma.IntegrityError, ma.UnsafeFileError)

Answer = Callable[[Handler, bytes, int, int, random.Random], None]


def right(handler: Handler, data: bytes, start: int, stop: int, rng: random.Random) -> None:
    handler.range(data, start, stop)


def less(handler: Handler, data: bytes, start: int, stop: int, rng: random.Random) -> None:
    handler.range(data, start, rng.randint(start + 1, stop))


def cut(handler: Handler, data: bytes, start: int, stop: int, rng: random.Random) -> None:
    headers = {"Content-Range": f"bytes {start}-{stop - 1}/{len(data)}", "ETag": rng.choice(('"1"', '"1"', '"3"'))}
    handler.give(206, data[start:stop], headers, cut=rng.randrange(stop - start))


def other_range(handler: Handler, data: bytes, start: int, stop: int, rng: random.Random) -> None:
    begin, end = sorted(rng.choice((start, stop, 0, len(data), rng.randrange(len(data) + 9))) for _ in range(2))
    size = rng.choice((len(data), len(data) + 1, 0, 10**18, "*", "9" * 30, -1))
    word = rng.choice(("bytes", "bytes", "bits", ""))
    body = data[begin:end] if rng.random() < 0.5 else data[start:stop]
    handler.give(206, body, {"Content-Range": f"{word} {begin}-{end - 1}/{size}", "ETag": '"1"'})


def another_file(handler: Handler, data: bytes, start: int, stop: int, rng: random.Random) -> None:
    handler.range(data[::-1], start, stop, ETag='"2"')


def encoded(handler: Handler, data: bytes, start: int, stop: int, rng: random.Random) -> None:
    body = gzip.compress(data[start:stop])
    headers = {"Content-Range": f"bytes {start}-{stop - 1}/{len(data)}", "ETag": '"1"'}
    handler.give(206, body, headers | {"Content-Encoding": rng.choice(("gzip", "identity, gzip", "x", "GZIP"))})


def whole(handler: Handler, data: bytes, start: int, stop: int, rng: random.Random) -> None:
    handler.give(200, data, {"ETag": '"1"'})


def refused(handler: Handler, data: bytes, start: int, stop: int, rng: random.Random) -> None:
    status = rng.choice((204, 304, 400, 403, 404, 416, 429, 500, 503, 299))
    handler.give(status, b"" if status in (204, 304) else b"no", {"Content-Range": f"bytes */{rng.choice((0, 5))}"})


def moved(handler: Handler, data: bytes, start: int, stop: int, rng: random.Random) -> None:
    place = rng.choice((handler.asked, "", "/../..", "//", "http://[", "ftp://x/", "http://127.0.0.1:1/", "x" * 3000))
    handler.give(rng.choice((301, 302, 303, 307, 308)), b"", {"Location": place})


def damaged(handler: Handler, data: bytes, start: int, stop: int, rng: random.Random) -> None:
    at = rng.randrange(start, stop)
    handler.range(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], start, stop)


def compressed(handler: Handler, data: bytes, start: int, stop: int, rng: random.Random) -> None:
    body = gzip.compress(data[start:stop])[: stop - start].ljust(stop - start, b"\0")
    handler.give(206, body, {"Content-Range": f"bytes {start}-{stop - 1}/{len(data)}", "ETag": '"1"'})


#: What a version or a length gives away, and what digests alone do.
ANSWERS: tuple[Answer, ...] = (less, cut, cut, other_range, another_file, encoded, whole, refused, moved)
UNSEEN: tuple[Answer, ...] = (damaged, compressed)


@pytest.mark.parametrize("name", ["model.h5", "plain.safetensors"])
def test_answers_by_chance(server: Server, model: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_SILENCE", 5.0)
    plain = {"w": np.arange(90_000, dtype="<f4"), "b": np.arange(3, dtype="<f4")}
    (server.folder / "plain.safetensors").write_bytes(safetensors(plain))
    expected = ma.load(server.folder / name)
    outcomes: Counter[str] = Counter()
    for number in range(CASES):
        rng = random.Random(number)
        share = rng.choice((0.1, 0.3, 0.9))

        def answer(
            handler: Handler, data: bytes, start: int, stop: int, rng: random.Random = rng, share: float = share
        ) -> bool:
            given = ANSWERS if name == "plain.safetensors" else (*ANSWERS, *UNSEEN)
            if start < stop:
                (rng.choice(given) if rng.random() < share else right)(handler, data, start, stop, rng)
            return start < stop

        server.fault = answer
        server.reset()
        try:
            found = ma.load(f"{server.url}/{name}")
        except DESIGNED as error:
            outcomes[type(error).__name__] += 1
        else:
            outcomes["read"] += 1
            assert found.keys() == expected.keys(), number
            assert all(np.array_equal(found[each], expected[each]) for each in expected), number
        assert server.nbytes < 60 * (server.folder / name).stat().st_size, number
    assert outcomes["RemoteError"] > CASES // 10 < outcomes["read"]
