"""Thousands of archives with a byte changed: refused as designed, or the content is the original's.

A seed makes the run repeatable; MODELARCHIVE_FUZZ=100000 makes it long.
"""

from __future__ import annotations

import contextlib
import os
import random
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.store.contents import Contents
from modelarchive.store.drafting import framed
from tests.structures import index_of, same

CASES = int(os.environ.get("MODELARCHIVE_FUZZ", "120"))
DATA = {
    "a": np.arange(40, dtype="f4").reshape(5, 8),
    "b": [np.array(["x", "yy"]), np.arange(3), 7, "text", None, {"c": np.zeros((0, 2), "i2")}],
    "z": np.arange(6, dtype="c16"),
}
#: What may come of a mutant; that it shows other content without a word may not.
OUTCOMES = {"same", "FormatError", "UnsupportedVersionError", "UnsafeFileError", "IntegrityError"}
DESIGNED = (ma.FormatError, ma.UnsafeFileError, ma.IntegrityError)


@pytest.fixture(autouse=True)
def here() -> Iterator[None]:
    """The guard's own rules, in this process and so in a tenth of the time; test_fuzz.py goes the usual way."""
    with ma.trusted():
        yield


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mutations") / "x.h5"
    ma.save(path, DATA, durable=False)
    return path


def mutants(data: bytes, ranges: list[tuple[int, int]], seed: int) -> Iterator[tuple[str, bytes]]:
    """Copies of the data with one byte changed, a bit flipped, some zeroed, or a run moved, within the ranges."""
    random_ = random.Random(seed)
    places = [place for begin, end in ranges for place in range(begin, end)]
    for number in range(CASES):
        at = random_.choice(places)
        changed = bytearray(data)
        how = number % 4
        if how == 0:
            changed[at] ^= 1 << random_.randrange(8)
        elif how == 1:
            changed[at] = random_.choice((0, 1, 0x22, 0x39, 0x7F, 0x80, 0xFF))
        elif how == 2:
            end = min(at + random_.choice((2, 4, 8)), len(data))
            changed[at:end] = random_.randbytes(end - at)
        else:
            other = random_.choice(places)
            size = min(random_.choice((1, 2, 8)), len(data) - max(at, other))
            changed[at : at + size] = data[other : other + size]
        yield f"seed {seed}, case {number}: byte {at}", bytes(changed)


@contextlib.contextmanager
def stale_is_fine() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ma.StaleIndexWarning)
        yield


def outcome(path: Path, **options: bool) -> str:
    """What loading came to: any exception that is not designed goes through."""
    with stale_is_fine():
        try:
            found = ma.load(path, **options)
        except DESIGNED as error:
            return type(error).__name__ if error.file == str(path) else f"no file in {error!r}"
    return "same" if same(DATA, found) is None else "other"


def run(path: Path, data: bytes, ranges: list[tuple[int, int]], seed: int) -> Counter[str]:
    """Every mutant loaded eagerly, mapped and verified; none may give other content unnoticed."""
    counts: Counter[str] = Counter()
    for what, changed in mutants(data, ranges, seed):
        path.write_bytes(changed)
        for options in ({}, {"mmap": True}, {"verify": True}):
            found = outcome(path, **options)
            assert found in OUTCOMES, f"{what} {options}: {found}"
            counts[found] += 1
    return counts


@pytest.mark.slow
def test_the_index(archive: Path, tmp_path: Path) -> None:
    data = archive.read_bytes()
    used = len(data[: index_of(archive).user_block].rstrip())
    counts = run(tmp_path / "x.h5", data, [(0, used)], seed=1)
    assert counts["same"]
    assert counts["FormatError"]


@pytest.mark.slow
def test_the_index_of_one_who_seals_it_again(archive: Path, tmp_path: Path) -> None:
    """The index's own digest stops no attacker: what parses must be refused or be consistent in itself."""
    data = archive.read_bytes()
    contents = index_of(archive)
    used = len(data[: contents.user_block].rstrip())
    for what, changed in mutants(data, [(8, used)], seed=2):
        path = tmp_path / "x.h5"
        path.write_bytes(resealed(changed, contents))
        for options in ({}, {"mmap": True}, {"verify": True}):
            assert outcome(path, **options) in OUTCOMES | {"other"}, what
        with stale_is_fine(), contextlib.suppress(*DESIGNED), ma.open(path) as found:
            found.verify()
            # Whatever else an index may say, what `verify` has passed is what HDF5 shows.
            value = found.data()
            assert same(DATA, value) is None, what


def resealed(data: bytes, contents: Contents) -> bytes:
    """The digest of the index, made to fit again."""
    from modelarchive.store.digest import digest

    at = data.find(contents.index_digest.encode())
    if at < 0:
        return data
    zeroed = data[8:at] + b"0" * 64 + data[at + 64 : contents.user_block]
    return data[:at] + digest(zeroed).encode() + data[at + 64 :]


@pytest.mark.slow
def test_hdf5_metadata(archive: Path, tmp_path: Path) -> None:
    data = archive.read_bytes()
    # Files are padded to whole pages before the data; only what HDF5 wrote is of interest.
    ranges = [(begin, min(end, begin + 6000)) for begin, end in index_of(archive).metadata_ranges()]
    counts = run(tmp_path / "x.h5", data, ranges, seed=3)
    assert counts["FormatError"]


@pytest.mark.slow
def test_hdf5_metadata_without_an_index(archive: Path, tmp_path: Path) -> None:
    contents = index_of(archive)
    data = bytes(contents.user_block) + archive.read_bytes()[contents.user_block :]
    ranges = [(begin, min(end, begin + 6000)) for begin, end in contents.metadata_ranges()]
    path = tmp_path / "x.h5"
    for what, changed in mutants(data, ranges, seed=4):
        path.write_bytes(changed)
        for options in ({}, {"mmap": True}):
            assert outcome(path, **options) in OUTCOMES | {"other"}, what
        assert outcome(path, verify=True) in ("IntegrityError", "FormatError", "UnsafeFileError"), what


@pytest.mark.slow
def test_data(archive: Path, tmp_path: Path) -> None:
    data, contents = archive.read_bytes(), index_of(archive)
    parts = {**contents.arrays, **contents.texts}
    ranges = [(part.offset, part.offset + part.nbytes) for part in parts.values() if part.nbytes]
    path = tmp_path / "x.h5"
    for what, changed in mutants(data, ranges, seed=5):
        path.write_bytes(changed)
        damaged = {
            name
            for name, part in parts.items()
            if part.nbytes and changed[part.offset :][: part.nbytes] != data[part.offset :][: part.nbytes]
        }
        with ma.open(path) as found:
            if not damaged:
                found.verify()
                continue
            with pytest.raises(ma.IntegrityError) as caught:
                found.verify()
        assert caught.value.damaged.keys() == damaged, what
        for options in ({"verify": True}, {"verify": True, "mmap": True}):
            assert outcome(path, **options) == "IntegrityError", what


def test_truncation_everywhere(archive: Path, tmp_path: Path) -> None:
    data, contents = archive.read_bytes(), index_of(archive)
    ends = {0, 1, 7, 8, 9, 15, 16, 511, 512, contents.user_block - 1, contents.user_block, contents.user_block + 48}
    for part in (*contents.arrays.values(), *contents.texts.values()):
        if part.nbytes:
            ends |= {part.offset, part.offset + part.nbytes - 1, part.offset + part.nbytes}
    path = tmp_path / "x.h5"
    for end in sorted(ends - {len(data)}):
        path.write_bytes(data[:end])
        with pytest.raises(ma.FormatError) as caught:
            ma.load(path)
        assert str(path) in str(caught.value)


def test_sealing(archive: Path) -> None:
    contents = index_of(archive)
    assert resealed(archive.read_bytes(), contents) == archive.read_bytes()
    assert framed(contents)[8:].strip().startswith(b"{")
