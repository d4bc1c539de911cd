"""Chunks against zlib, which nobody here wrote: it reads what pack() makes, and unpack() reads what it makes."""

from __future__ import annotations

import tracemalloc
import zlib

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelarchive.store.deflate import DamagedChunkError, pack, unpack
from tests.store.same_bytes import deflated, repeated

RANDOM = np.random.default_rng(0)
NOISE = (RANDOM.standard_normal(60_000) * 0.02).astype("f4")
SAMPLES = {
    "float32": NOISE,
    "bfloat16": NOISE.astype(ml_dtypes.bfloat16),
    "float16": NOISE.astype("f2"),
    "float64": RANDOM.standard_normal(40_000),
    "complex64": NOISE.view("c8"),
    "complex128": (NOISE.astype("f8") * np.pi).view("c16"),
    "zeros": np.zeros(60_000, "f4"),
    "ids": RANDOM.integers(0, 30_000, 40_000),
    "noise": RANDOM.integers(0, 256, 300_000, dtype="u1"),
    "wide noise": RANDOM.integers(0, 2**63, 40_000),
    "repeated": np.tile(NOISE[:512], 64),
    "one": NOISE[:1],
    "noise first, zeros last": np.concatenate([NOISE[:30_000], np.zeros(30_000, "f4")]),
}


def elements(array: np.ndarray) -> np.ndarray:
    return array.view(np.uint8).reshape(-1, array.itemsize)


def shuffled(array: np.ndarray) -> bytes:
    """HDF5's shuffle: all first bytes, then all second bytes, and so on."""
    raw, size = array.tobytes(), array.itemsize
    return b"".join(raw[at::size] for at in range(size))


@pytest.mark.parametrize("name", SAMPLES)
def test_zlib_reads_what_is_packed_and_the_other_way_round(name: str) -> None:
    array = SAMPLES[name]
    packed = pack(elements(array))
    assert zlib.decompress(packed) == shuffled(array)
    assert len(packed) <= array.nbytes + 5 * (array.nbytes // 65535 + 1) + 16
    for stored in (packed, *(zlib.compress(shuffled(array), level) for level in (0, 1, 4, 9))):
        out = np.full_like(elements(array), 77)
        unpack(memoryview(stored), out)
        assert out.tobytes() == array.tobytes()


@pytest.mark.parametrize("stored", [1, 300, 40_000, 100_000])
def test_what_is_coded_refers_back_to_what_is_stored(stored: int) -> None:
    """As any zlib may write it: its dictionary is what was stored."""
    before = RANDOM.integers(0, 256, stored, dtype="u1").tobytes()
    after = before[-250:] * 3 + before[-8_000:]
    blocks = [before[at : at + 65_535] for at in range(0, stored, 65_535)]
    lengths = [len(block).to_bytes(2, "little") + (len(block) ^ 0xFFFF).to_bytes(2, "little") for block in blocks]
    coding = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=before[-32_768:])
    parts = [b"\x78\x01", *(b"\0" + pair + block for pair, block in zip(lengths, blocks, strict=True))]
    parts += [coding.compress(after), coding.flush(), zlib.adler32(before + after).to_bytes(4, "big")]
    packed = b"".join(parts)
    assert zlib.decompress(packed) == before + after
    assert len(packed) < stored + 1000
    out = np.zeros((stored + len(after), 1), np.uint8)
    unpack(memoryview(packed), out)
    assert out.tobytes() == before + after


@pytest.mark.slow
def test_the_same_bytes_wherever_memory_lies() -> None:
    """The register that ISA-L hashes held an address: of a stack in one function, of the heap in another."""
    count, differ = repeated(10_000, processes=4)
    assert count >= 10_000
    assert differ == 0


@pytest.mark.slow
def test_the_same_bytes_on_the_stack_of_any_thread() -> None:
    found = deflated(seed=0, count=100)
    assert {name: counts.total() for name, counts in found.items()} == dict.fromkeys(found, 100)
    assert {name: len(counts) for name, counts in found.items()} == dict.fromkeys(found, 1)


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16", "float64"])
def test_noise_becomes_smaller_than_zlib_makes_it(name: str) -> None:
    array = SAMPLES[name]
    assert len(pack(elements(array))) <= len(zlib.compress(shuffled(array), 4))


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=300), st.integers(1, 400), st.sampled_from([1, 2, 4, 8, 16]), st.integers(0, 3))
def test_any_bytes_come_back(seed: bytes, times: int, itemsize: int, mixed: int) -> None:
    raw = np.frombuffer(seed * times, np.uint8)
    raw = raw[: len(raw) - len(raw) % itemsize].copy()
    if not raw.size:
        return
    raw[:: mixed + 2] ^= np.random.default_rng(len(seed)).integers(0, 256, raw[:: mixed + 2].size, dtype="u1")
    array = raw.reshape(-1, itemsize)
    packed = pack(array)
    assert zlib.decompress(packed) == array.T.tobytes()
    out = np.empty_like(array)
    unpack(memoryview(packed), out)
    assert out.tobytes() == array.tobytes()


@pytest.mark.slow
@settings(deadline=None, max_examples=200)
@given(st.data())
def test_damage_is_told_or_changes_nothing(data: st.DataObject) -> None:
    array = SAMPLES[data.draw(st.sampled_from(sorted(SAMPLES)))][:3000]
    stored = bytearray(pack(elements(array)) if data.draw(st.booleans()) else zlib.compress(shuffled(array)))
    at = data.draw(st.integers(0, len(stored) - 1))
    how = data.draw(st.sampled_from(["flip", "cut", "insert"]))
    if how == "flip":
        stored[at] ^= 1 << data.draw(st.integers(0, 7))
    elif how == "cut":
        del stored[at:]
    else:
        stored[at:at] = data.draw(st.binary(min_size=1, max_size=9))
    out = np.zeros_like(elements(array))
    try:
        unpack(memoryview(bytes(stored)), out)
    except DamagedChunkError:
        return
    assert out.tobytes() == array.tobytes()


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"\x78\x01\x03\x00",
        b"\x78\x01" + b"\0" * 40,
        b"\x78\x01\x00\xff\xff\x00\x00" + b"x" * 70_000,
        b"\x1f\x8b" + b"\0" * 40,
        zlib.compress(bytes(4000)) + b"more",
        # All of it stored, with more behind it, and the right checksum.
        b"\x78\x01\x01"
        + (4000).to_bytes(2, "little")
        + (4000 ^ 0xFFFF).to_bytes(2, "little")
        + bytes(4000)
        + b"more"
        + zlib.adler32(bytes(4000)).to_bytes(4, "big"),
        zlib.compress(bytes(4001)),
        zlib.compress(bytes(3999)),
        zlib.compress(bytes(4000))[:-1],
        pack(np.zeros((1001, 4), "u1")),
        pack(RANDOM.integers(0, 256, (1001, 4), dtype="u1")),
        pack(RANDOM.integers(0, 256, (999, 4), dtype="u1")),
    ],
)
def test_what_is_no_chunk_of_that_length_is_refused(stored: bytes) -> None:
    with pytest.raises(DamagedChunkError):
        unpack(memoryview(stored), np.empty((1000, 4), "u1"))


def test_a_bomb_takes_no_more_memory_than_the_chunk() -> None:
    bomb = zlib.compress(bytes(50 << 20), 1)
    tracemalloc.start()
    with pytest.raises(DamagedChunkError):
        unpack(memoryview(bomb), np.empty((1000, 4), "u1"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20
