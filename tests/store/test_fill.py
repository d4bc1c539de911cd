"""Bytes in C order, little-endian, from every layout; digests of just those bytes."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given, settings

from modelarchive.store.deferred import Deferred
from modelarchive.store.digest import PIECE, digest, digest_pieces
from modelarchive.store.fill import Fill, fill, pieces
from modelarchive.store.source import Source
from tests.properties.strategies import arrays


def plain(array: np.ndarray) -> bytes:
    native = array.dtype.newbyteorder("<") if array.dtype.kind in "iufc" else array.dtype
    return np.ascontiguousarray(array).astype(native).tobytes()


@pytest.mark.slow
@settings(max_examples=150, deadline=None, derandomize=True)
@given(arrays())
def test_pieces_are_the_array(array: np.ndarray) -> None:
    assert b"".join(pieces(array)) == plain(array)


@pytest.mark.parametrize("value", [94493.12, 1e-45, 0.0])
def test_a_number_of_the_other_byte_order(value: float) -> None:
    """NumPy before 2.3 gave nditer a buffer for it that nothing was put into."""
    assert b"".join(pieces(np.array(value, dtype=">f4"))) == np.float32(value).tobytes()


@pytest.mark.parametrize("layout", ["C", "F", "big", "strided"])
def test_no_piece_is_longer_than_a_piece(layout: str) -> None:
    array = np.arange(3 * PIECE // 8 + 5, dtype="i8").reshape(-1, 1)
    array = {
        "C": array,
        "F": np.asfortranarray(array.repeat(2, 1)),
        "big": array.astype(">i8"),
        "strided": array.repeat(2, 1)[:, ::2],
    }[layout]
    found = [bytes(piece) for piece in pieces(array)]
    assert max(map(len, found)) <= PIECE
    assert len(found) > 3
    assert b"".join(found) == plain(array)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_fill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    monkeypatch.setattr("modelarchive.store.threads.THREADS", threads)
    monkeypatch.setattr("modelarchive.store.fill.WORTH_THREADS", 0)
    path = tmp_path / "x"
    sizes = [3 * PIECE + 1, 5, 0, PIECE, 7, PIECE - 1, 2, 2 * PIECE]
    data = [np.random.default_rng(size).integers(0, 256, size, dtype="u1") for size in sizes]
    offsets = np.cumsum([100, *sizes]).tolist()
    path.write_bytes(bytes(offsets[-1] + 50))
    fills = [Fill(at, array) for at, array in zip(offsets, data, strict=False) if array.size]
    done: list[int] = []
    found = fill(path, fills, progress=done.append)
    assert path.read_bytes() == bytes(100) + b"".join(array.tobytes() for array in data) + bytes(50)
    assert found == [blake3(array.tobytes()).hexdigest() for array in data if array.size]
    assert sum(done) == sum(sizes)
    assert fill(path, []) == []


def test_digests() -> None:
    # The first vector of BLAKE3's own test file.
    assert digest(b"") == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    assert digest_pieces([b"ab", b"", memoryview(b"c")], threads=2) == digest(b"abc")


def test_what_is_read_when_it_is_its_turn(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sizes = [10, 3 * PIECE, 20, 30, PIECE + 1, 5, 2 * PIECE]
    values = [rng.integers(0, 256, size, dtype=np.uint8) for size in sizes]
    threads = set()

    def later(array: np.ndarray) -> Deferred:
        def read() -> np.ndarray:
            threads.add(threading.get_ident())
            return array

        return Deferred(array.shape, array.dtype, read)

    path = tmp_path / "out"
    path.touch()
    offsets = np.cumsum([0, *sizes]).tolist()
    fills = [
        Fill(offset, later(array) if number % 2 else array)
        for number, (offset, array) in enumerate(zip(offsets, values, strict=False))
    ]
    done: list[int] = []
    assert fill(path, fills, progress=done.append) == [digest(array.tobytes()) for array in values]
    assert path.read_bytes() == b"".join(array.tobytes() for array in values)
    assert sum(done) == sum(sizes)
    assert threads == {threading.get_ident()}


def test_what_is_read_is_what_was_announced(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.touch()
    with pytest.raises(ValueError, match=r"float32 .3,. was announced, float64 .3,. came"):
        fill(path, [Fill(0, Deferred((3,), np.dtype(np.float32), lambda: np.zeros(3)))])


@pytest.mark.parametrize("worth", [0, 1 << 62])
def test_digests_of_ranges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worth: int) -> None:
    monkeypatch.setattr("modelarchive.store.source.WORTH_THREADS", worth)
    rng = np.random.default_rng(0)
    data = rng.integers(0, 256, 5 * PIECE + 77, dtype="u1").tobytes()
    (tmp_path / "x").write_bytes(data)
    # Small ones with and without gaps, in any order, longer than a piece, at the very ends, of nothing.
    ranges = [(64 * at, 3) for at in range(40_000)] + [
        (0, 3 * PIECE),
        (7, 0),
        (0, 0),
        (len(data), 0),
        (len(data) - 1, 1),
    ]
    ranges += [(int(begin), int(count)) for begin, count in rng.integers(0, 2 * PIECE, (60, 2))]
    done: list[int] = []
    with contextlib.closing(Source(tmp_path / "x")) as source:
        found = source.digests(ranges, done.append)
    assert found == [blake3(data[begin : begin + count]).hexdigest() for begin, count in ranges]
    assert sum(done) == sum(count for _, count in ranges)
