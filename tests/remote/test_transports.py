"""Libraries that answer wrongly, as no server of these tests does: file systems of fsspec's, and S3's client."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.remote.s3 import S3Transport
from modelarchive.remote.transport import Failure

SECRET = "geheimes-wort"


@pytest.fixture
def odd(model: Path) -> Any:
    """A file system, ``odd://``, whose reads go through ``change(start, end, data)``, and what it says of files."""
    fsspec = pytest.importorskip("fsspec")
    from fsspec.asyn import AsyncFileSystem

    class Odd(AsyncFileSystem):  # type: ignore[misc]
        protocol = "odd"
        cachable = False
        change: Callable[[int, int, bytes], bytes] = staticmethod(lambda start, end, data: data)
        size: int | None = model.stat().st_size
        asked: ClassVar[list[int]] = []

        async def _info(self, path: str, **options: Any) -> dict[str, Any]:
            return {"name": path, "size": Odd.size, "type": "file"}

        async def _cat_file(self, path: str, start: int = 0, end: int = 0, **options: Any) -> bytes:
            Odd.asked.append(start)
            return Odd.change(start, end, model.read_bytes()[start:end])

    fsspec.register_implementation("odd", Odd, clobber=True)
    return Odd


def test_what_is_right_is_read(odd: Any, model: Path) -> None:
    assert np.array_equal(ma.load("odd://x/model.h5")["1.weight"], ma.load(model)["1.weight"])


def test_more_than_was_asked_for(odd: Any) -> None:
    odd.change = staticmethod(lambda start, end, data: data + b"more")
    with pytest.raises(ma.RemoteError, match="ignores ranges") as caught:
        ma.load("odd://x/model.h5")
    assert caught.value.hint == "download the file"


def test_less_than_was_asked_for_is_asked_for_again(odd: Any, model: Path, pauses: list[float]) -> None:
    odd.change = staticmethod(lambda start, end, data: data[:-1] if len(odd.asked) < 3 else data)
    assert np.array_equal(ma.load("odd://x/model.h5")["1.weight"], ma.load(model)["1.weight"])
    assert pauses
    odd.change = staticmethod(lambda start, end, data: data[:-1])
    with pytest.raises(ma.RemoteError, match="bytes came") as caught:
        ma.load("odd://x/model.h5")
    assert caught.value.hint == "try again later"


def test_a_size_that_is_not_said(odd: Any) -> None:
    odd.size = None
    with pytest.raises(ma.RemoteError, match="does not say how long the file is"):
        ma.load("odd://x/model.h5")


class AnsweredError(Exception):
    """What a client raises."""

    def __init__(self, words: str, **more: Any) -> None:
        super().__init__(words)
        self.__dict__.update(more)


class NoCredentialsError(Exception):
    """As botocore calls it."""


@pytest.mark.parametrize(
    ("error", "words", "hint", "again"),
    [
        (FileNotFoundError(2, "no", SECRET), "there is no such file", "compare it with where", False),
        (PermissionError(13, "no", SECRET), "it may not be read", "a signed URL may have expired", False),
        (IsADirectoryError(21, SECRET), r"IsADirectoryError: \[Errno 21\] \.\.\.", "", False),
        (ValueError(f"{SECRET} is wrong"), r"ValueError: \.\.\. is wrong", "", False),
        (AnsweredError("slow down", status=503), "AnsweredError: slow down", "try again later", True),
        (AnsweredError("gone", code=410), "AnsweredError: gone", "where it was published", False),
        (AnsweredError("no", response=SimpleNamespace(status_code=403)), "AnsweredError: no", "a signed URL", False),
        (
            AnsweredError("no", response={"ResponseMetadata": {"HTTPStatusCode": 429}}),
            "AnsweredError: no",
            "try again later",
            True,
        ),
        (ConnectionResetError(104, f"https://u:{SECRET}@x/y?{SECRET}"), "https://x/y", "try again later", True),
        (NoCredentialsError("none found"), "NoCredentialsError: none found", "credentials are passed as", False),
        (AnsweredError(""), "AnsweredError$", "try again later", True),
        (AnsweredError(f"first line\n{SECRET}"), "first line$", "try again later", True),
    ],
)
def test_what_a_library_raises(
    odd: Any, pauses: list[float], error: Exception, words: str, hint: str, *, again: bool
) -> None:
    def fails(start: int, end: int, data: bytes) -> bytes:
        raise error

    odd.change = staticmethod(fails)
    with pytest.raises(ma.RemoteError) as caught:
        ma.load("odd://x/model.h5", storage_options={"token": SECRET})
    assert re.search(words, caught.value.message.partition("\n")[0])
    assert hint in str(caught.value.hint)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert bool(pauses) is again


class Body:
    """The body of an answer, in pieces; an error among them is raised."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self.pieces = list(pieces)
        self.is_closed = False

    async def read(self, most: int) -> bytes:
        piece = self.pieces.pop(0) if self.pieces else b""
        if isinstance(piece, Exception):
            raise piece
        return piece

    def close(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize(
    ("content", "pieces", "words", "received", "again"),
    [
        ("bytes 0-3/9", [b"ab", b"cd"], None, 4, False),
        ("bytes 0-3/9", [b"ab", b"cdef"], "sends more than the 4 bytes", 0, False),
        ("bytes 0-3/9", [b"ab"], "2 of 4 bytes came", 2, True),
        ("bytes 0-3/9", [b"a", OSError(5, f"key {SECRET}")], r"OSError: \[Errno 5\] key \.\.\.", 1, True),
        ("bytes 1-4/9", [b"abcd"], "does not send the range", 0, False),
        ("bytes 0-9/9", [b"abcd"], "does not send the range", 0, False),
        (None, [b"abcd"], "does not send the range", 0, False),
        ("bytes 0-3/*", [b"abcd"], "does not send the range", 0, False),
    ],
)
def test_answers_of_s3(
    content: str | None, pieces: list[bytes | Exception], words: str | None, received: int, *, again: bool
) -> None:
    asyn = pytest.importorskip("fsspec.asyn")
    body = Body(*pieces)
    asked: list[dict[str, Any]] = []

    async def call(method: str, **arguments: Any) -> dict[str, Any]:
        asked.append(arguments)
        return {"ContentRange": content, "ETag": '"1"', "Body": body}

    system = SimpleNamespace(
        loop=asyn.get_loop(), _call_s3=call, req_kw={}, split_path=lambda path: (*path.split("/"), "a version")
    )
    transport = S3Transport(system, "bucket/key", {"secret": SECRET})
    buffer = bytearray(4)
    if words is None:
        assert tuple(transport.fill(0, memoryview(buffer))) == (4, 9, '"1"')
        assert bytes(buffer) == b"abcd"
    else:
        with pytest.raises(Failure, match=words) as caught:
            transport.fill(0, memoryview(buffer))
        assert (caught.value.received, caught.value.again) == (received, again)
        assert SECRET not in str(caught.value)
    assert asked == [{"Bucket": "bucket", "Key": "key", "Range": "bytes=0-3", "VersionId": "a version"}]
