"""HDF5 read with care: what other programs write comes out as they meant it; attacks stand in tests/hostile."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from h5py import h5d, h5s, h5t

import modelarchive as ma
from modelarchive.store.guarded import guard
from tests.structures import assert_same, everything, stale_load, without_index


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that another program wrote, and that says it is an archive."""
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.attrs["format"], file.attrs["format_version"] = np.bytes_("modelarchive"), np.uint8(1)
        file.create_group("arrays")
    return path


def test_it_describes_what_the_index_describes(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    ma.save(path, everything())
    with ma.open(path) as archive:
        index = archive.reader.contents
    found = guard.read_contents(path)
    assert set(found.arrays) == set(index.arrays)
    for name, entry in index.arrays.items():
        assert found.arrays[name][:2] == entry[:2]
        assert found.arrays[name].offset == (entry.offset if entry.nbytes else None)
    assert found.members == {key: found.members[key] for key in index.members}
    assert {path: text[:4] for path, text in found.texts.items()} == {
        path: text[:4] for path, text in index.texts.items()
    }
    assert (found.user_block, found.size) == (index.user_block, index.size)


def test_an_empty_archive(path: Path) -> None:
    assert stale_load(path) == {}


def test_attributes_of_any_string_type(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["format"] = "modelarchive"
        file["arrays"].attrs["container"] = "tuple"
        file["arrays/0"], file["arrays/1"] = 1.5, np.arange(2)
    assert_same((np.array(1.5), np.arange(2)), stale_load(path))


@pytest.mark.parametrize("kind", ["bfloat16", "float8_e4m3fn", "float32", "complex64", "int16", "bool"])
@pytest.mark.parametrize("chunked", [False, True])
def test_either_byte_order(path: Path, kind: str, chunked: bool) -> None:
    """Written big-endian, bit by bit, by the low-level interface."""
    from modelarchive import dtypes

    dtype = dtypes.DENSE[kind]
    bits = np.random.default_rng(0).integers(0, 256, 64 * dtype.itemsize, dtype=np.uint8)
    array = (bits[:64] > 127) if kind == "bool" else bits.view(dtype)[:64]
    with h5py.File(path, "r+") as file:
        if kind == "bfloat16":
            type_ = h5t.IEEE_F32BE.copy()
            type_.set_fields(15, 7, 8, 0, 7)
            type_.set_size(2)
            type_.set_ebias(127)
            stored = array.view("u2").byteswap()
        elif kind.startswith("float8"):
            type_, stored = h5t.STD_U8BE, array.view("u1")
        else:
            stored = array.astype(dtype.newbyteorder(">"))
            type_ = h5t.py_create(stored.dtype, logical=True)
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        if chunked:
            creation.set_chunk((16,))
            creation.set_deflate(4)
        dataset = h5d.create(file["arrays"].id, b"x", type_, h5s.create_simple((64,)), creation)
        dataset.write(h5s.ALL, h5s.ALL, stored.view(f"V{dtype.itemsize}"), mtype=type_)
        if kind.startswith("float8"):
            file["arrays/x"].attrs["dtype"] = kind
    assert_same({"x": array}, stale_load(path))


@pytest.mark.parametrize("padding", [h5t.STR_NULLTERM, h5t.STR_NULLPAD, h5t.STR_SPACEPAD])
def test_strings_of_every_padding(path: Path, padding: int) -> None:
    type_ = h5t.C_S1.copy()
    type_.set_size(6)
    type_.set_strpad(padding)
    raw = np.array([b"ab   " if padding == h5t.STR_SPACEPAD else b"ab", "ü".encode()], "S6")
    with h5py.File(path, "r+") as file:
        dataset = h5d.create(file["arrays"].id, b"x", type_, h5s.create_simple((2,)))
        dataset.write(h5s.ALL, h5s.ALL, raw, mtype=type_)
    found = stale_load(path)["x"]
    assert [word.rstrip(" ") for word in found.tolist()] == ["ab", "ü"]


@pytest.mark.parametrize("digits", [4300, 5000])
def test_links_of_many_digits(path: Path, digits: int) -> None:
    with h5py.File(path, "r+") as file:
        file["arrays/" + "9" * digits] = 1
    assert list(stale_load(path)) == ["9" * digits]


def test_scale_offset_and_other_conversions_are_refused(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.create_dataset("arrays/x", data=np.arange(100), scaleoffset=0, chunks=(10,))
    with pytest.raises(ma.UnsafeFileError) as caught:
        ma.load(path)
    assert caught.value.rule == "filters"


def test_floats_of_odd_fields_are_refused(path: Path) -> None:
    type_ = h5t.IEEE_F32LE.copy()
    type_.set_fields(31, 20, 11, 0, 20)
    with h5py.File(path, "r+") as file:
        h5d.create(file["arrays"].id, b"x", type_, h5s.create_simple((2,)))
    with pytest.raises(ma.FormatError, match="dtype that archives do not hold"):
        ma.load(path)


def test_names_of_one_key_are_refused_by_file_name(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["arrays/a"], file["arrays/%61"] = 1, 2
    with pytest.warns(ma.StaleIndexWarning), pytest.raises(ma.FormatError, match="same key") as caught:
        ma.load(path)
    assert caught.value.file == str(path)


def test_without_its_index_nothing_is_lost_but_order(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    ma.save(path, {"b": 1, "a": [np.arange(2)] * 12})
    assert list(stale_load(without_index(path))) == ["a", "b"]
    assert len(stale_load(path)["a"]) == 12
