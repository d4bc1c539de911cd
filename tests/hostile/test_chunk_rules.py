"""What an index says of compressed arrays is hostile until checked, and so is what their chunks become."""

from __future__ import annotations

import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import modelarchive as ma
from modelarchive.store import chunks
from modelarchive.store.deflate import pack
from tests.hostile import naive, views
from tests.hostile.hdf5_structures import mended, structures
from tests.hostile.index_attacks import Change, forge, parts_of
from tests.hostile.mutators import sealed
from tests.sampling import some
from tests.structures import assert_same

ARRAY = (np.random.default_rng(0).standard_normal((120, 100)) * 0.02).astype("f4")
DATA = {"a": ARRAY, "b": ARRAY[::-1].copy(), "n": np.arange(64), "pad": {str(at): np.arange(9) for at in range(12)}}
HUGE = 10**400


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(chunks, "CHUNK", 1 << 14)
    path = tmp_path / "x.h5"
    ma.save(path, DATA, compression="deflate", durable=False)
    return path


def said(**values: Any) -> Change:
    return lambda header, own: own["compressed"]["a"].update(values)


def changed(key: str, change: Callable[[Any], Any]) -> Change:
    return lambda header, own: own["compressed"]["a"].__setitem__(key, change(own["compressed"]["a"][key]))


def swapped(header: Any, own: Any) -> None:
    one, two = own["compressed"]["a"], own["compressed"]["b"]
    one["offset"], two["offset"] = two["offset"], one["offset"]


def overlapping(header: Any, own: Any) -> None:
    own["compressed"]["b"]["offset"] = own["compressed"]["a"]["offset"] + 1


def over_a_dense_array(header: Any, own: Any) -> None:
    own["compressed"]["a"]["offset"] = header["n"]["data_offsets"][0]


def twice(header: Any, own: Any) -> None:
    own["compressed"]["n"] = own["compressed"].pop("a")
    own["members"].pop("a")


#: Words of docs/format.md: the rule that is broken where no naive reader is harmed.
TABLE = "The record's `compressed` maps its name to"
DTYPE = "of a compressed array: `dtype` is unknown"
LENGTHS = "`shape` or `chunk` hold something else than integers >= 1"
AXES = "the logical shape; 1 to 32 axes"
CHUNK = "as many axes, none longer than the array's"
INTEGERS = "All integers are written without fraction and exponent"
SIZES = "`sizes` has not one integer >= 1 for each chunk"
PLACE = "a chunk lies outside the file, the chunks overlap anything else or are not listed in the order of the file"
BECOME = "MUST become exactly n k bytes"
FILL = "The stream MUST fill the chunk's bytes"
DIGEST = "another digest is not 64 such digits"

#: Name -> what is changed, words of the error here, what it does to a naive reader or the rule that it breaks.
ATTACKS: dict[str, tuple[Change, str, str]] = {
    "no object": (lambda header, own: own["compressed"].__setitem__("a", 7), "not described by an object", TABLE),
    "no mapping": (lambda header, own: own.__setitem__("compressed", [1]), "expected an object", TABLE),
    "a dense array, too": (twice, "stored twice", "lie"),
    "dtype": (said(dtype="object"), "has the dtype 'object'", DTYPE),
    "dtype of another size": (said(dtype="F64"), "chunk 0|expected", BECOME),
    "no digest": (said(digest="0" * 63), "no digest", DIGEST),
    "shape no list": (said(shape="9"), "the shape of 'a'", LENGTHS),
    "shape negative": (said(shape=[-120, 100]), "the shape of 'a'", LENGTHS),
    "shape a boolean": (said(shape=[True, 100]), "the shape of 'a'", LENGTHS),
    "shape without axes": (said(shape=[]), "the shape of 'a'", AXES),
    "shape of zero": (said(shape=[0, 100]), "the shape of 'a'", "lie"),
    "shape of many axes": (said(shape=[1] * 33), "the shape of 'a'", AXES),
    "shape beyond memory": (said(shape=[2**62, 100]), "no memory can hold", "memory"),
    "shape beyond integers": (said(shape=[HUGE, 100]), "the shape of 'a'", "memory"),
    "shape of more rows": (said(shape=[1 << 40, 100]), "sizes for", "memory"),
    "chunk larger than the array": (said(chunk=[121, 100]), "chunks of", CHUNK),
    "chunk of zero": (said(chunk=[0, 100]), "the chunk of 'a'", LENGTHS),
    "chunk of other rank": (said(chunk=[30]), "chunks of", "overflow"),
    "chunk smaller": (said(chunk=[1, 1]), "sizes for", "overflow"),
    "offset negative": (said(offset=-1), "offset", PLACE),
    "offset beyond": (said(offset=HUGE), "offset", PLACE),
    "offset a float": (said(offset=1.0), "offset", INTEGERS),
    "offset too far": (said(offset=1 << 16), "outside the file", "leak"),
    "sizes no list": (said(sizes={}), "no list of integers", "lie"),
    "sizes of floats": (changed("sizes", lambda sizes: [float(size) for size in sizes]), "no list of integers", SIZES),
    "size of zero": (changed("sizes", lambda sizes: [0, *sizes[1:]]), "outside the file", SIZES),
    "size negative": (changed("sizes", lambda sizes: [-sizes[0], *sizes[1:]]), "outside the file", "memory"),
    "size huge": (changed("sizes", lambda sizes: [HUGE, *sizes[1:]]), "outside the file", "crash"),
    "one size less": (changed("sizes", lambda sizes: sizes[:-1]), "sizes for", "lie"),
    "one size more": (changed("sizes", lambda sizes: [*sizes, 1]), "sizes for", SIZES),
    "a byte less than was written": (
        changed("sizes", lambda sizes: [sizes[0] - 1, *sizes[1:]]),
        "chunk 0|changed since",
        FILL,
    ),
    "out of order": (swapped, "order of the file", PLACE),
    "overlapping": (overlapping, "order of the file", PLACE),
    "over a dense array": (over_a_dense_array, "overlap", PLACE),
}


@pytest.mark.parametrize("name", some(ATTACKS))
def test_a_forged_index_is_refused(name: str, path: Path) -> None:
    change, words, proof = ATTACKS[name]
    honest = naive.shown(path)
    forge(path, change)
    naive.prove(path, honest, proof)
    for options in ({}, {"mmap": True}, {"verify": True}):
        tracemalloc.start()
        start = time.process_time()
        with pytest.raises((ma.FormatError, ma.IntegrityError, UserWarning), match=words) as caught:
            ma.load(path, **options)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert time.process_time() - start < 5
        assert peak < 16 << 20
        assert len(str(caught.value)) < 2000


def test_forging_nothing_is_accepted(path: Path) -> None:
    honest = naive.shown(path)
    forge(path, lambda header, own: None)
    assert naive.harm(path, honest) == ""
    assert honest["view"] == {name: [dtype, [*shape], at] for name, (dtype, shape, at) in views.by_h5py(path).items()}
    assert_same(DATA, ma.load(path, verify=True))


def test_verify_tells_an_index_that_shows_another_array_than_hdf5(path: Path) -> None:
    """Both are arrays of the file, each with its right digest; only their names are exchanged."""

    def exchange(header: Any, own: Any) -> None:
        own["compressed"] = {"b": own["compressed"]["a"], "a": own["compressed"]["b"]}

    forge(path, exchange)
    assert_same(DATA["b"], ma.load(path, verify=True)["a"])
    with ma.open(path) as archive, pytest.raises(ma.IntegrityError, match="HDF5") as caught:
        archive.verify()
    assert set(caught.value.damaged) == {"/arrays/a", "/arrays/b"}


def test_a_chunk_that_zlib_and_hdf5_read_otherwise_is_refused(path: Path) -> None:
    """Bytes behind the end of a stream: HDF5 does not look at them, and here they are refused."""
    own = parts_of(path)[1]["compressed"]["a"]
    data = path.read_bytes()
    at = 8 + int.from_bytes(data[:8], "little") + own["offset"]
    with h5py.File(path) as file:
        before = file["arrays/a"][()]
    plain = zlib.decompress(data[at : at + own["sizes"][0]])
    shorter = zlib.compress(bytes(len(plain)))
    path.write_bytes(data[:at] + shorter + data[at + len(shorter) :])
    with h5py.File(path) as file:
        assert not np.array_equal(file["arrays/a"][()], before)
    with pytest.raises(ma.FormatError, match="a: chunk 0 "):
        ma.load(path)


@pytest.mark.parametrize("rank", [1, 2])
def test_a_bomb_is_refused_before_it_grows(rank: int, path: Path) -> None:
    """A gigabyte of zeros in a megabyte, declared as it is, opens; declared in less bytes than deflate needs, not."""
    shape = [1 << 30] if rank == 1 else [1 << 20, 1 << 10]
    honest = naive.shown(path)
    forge(path, said(shape=shape, chunk=shape, dtype="U8", sizes=[4000]))
    naive.prove(path, honest, "memory")
    tracemalloc.start()
    with pytest.raises(ma.FormatError, match="more than deflate"):
        ma.load(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 << 20


def test_chunks_of_hdf5_that_share_bytes_are_not_indexed(tmp_path: Path) -> None:
    """What HDF5 places otherwise than one after another is for HDF5 to read: no index describes it."""
    path = tmp_path / "x.h5"
    ma.save(path, {"n": np.arange(3)})
    array = np.arange(4000, dtype="i4").reshape(40, 100)
    with h5py.File(path, "r+") as file:
        made = file.create_dataset("arrays/a", array.shape, "<i4", chunks=(20, 100), compression="gzip", shuffle=True)
        for start in (20, 0):
            part = np.ascontiguousarray(array[start : start + 20]).view("u1").reshape(-1, 4)
            made.id.write_direct_chunk((start, 0), pack(part))
    with pytest.warns(ma.StaleIndexWarning):
        assert_same(array, ma.load(path)["a"])
    with pytest.warns(ma.StaleIndexWarning), ma.open(path) as archive:
        assert archive.reader.contents.chunks == {}


def test_verify_tells_a_width_of_shuffling_that_hdf5_takes_otherwise(tmp_path: Path) -> None:
    """HDF5 believes the file about the width; the array's own width is what counts here."""
    path = tmp_path / "x.h5"
    ma.save(path, {"a": ARRAY}, compression="deflate")
    with ma.open(path) as archive:
        contents = archive.reader.contents
    data = bytearray(path.read_bytes())
    shuffle = struct.pack("<HHHI", 2, 1, 1, 4)
    assert data.count(shuffle) == 1
    at = data.index(shuffle)
    header = next(each for each in structures(bytes(data)) if each.begin < at < each.end)
    data[at : at + len(shuffle)] = struct.pack("<HHHI", 2, 1, 1, 2)
    mended(data, header)
    path.write_bytes(sealed(bytes(data), contents))
    with h5py.File(path) as file:
        assert not np.array_equal(file["arrays/a"][()], ARRAY)
    assert_same(ARRAY, ma.load(path, verify=True)["a"])
    with ma.open(path) as archive, pytest.raises(ma.IntegrityError, match="HDF5"):
        archive.verify()
