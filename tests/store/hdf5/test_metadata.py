"""HDF5 metadata written here, as HDF5's library reads it, and as it goes on with it when a tool changes the file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h5py
import ml_dtypes
import numpy as np
import pytest
from h5py import h5f, h5p, h5t
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import modelarchive as ma
from modelarchive import dtypes, nn
from modelarchive.store.contents import Contents, Entry
from modelarchive.store.hdf5 import Metadata, types
from tests.hdf5_tools import needs_hdf5_tools, run
from tests.hostile.hdf5_structures import structures
from tests.structures import assert_same, everything

#: Where the form of a group changes: into a heap, a tree of two levels, larger nodes, a larger heap.
COUNTS = [
    0,
    1,
    8,
    9,
    45,
    46,
    1149,
    1150,
    pytest.param(5000, marks=pytest.mark.slow),
    pytest.param(20_000, marks=pytest.mark.slow),
]


def library_file(path: Path) -> h5py.File:
    """A new file whose metadata the library writes, in the versions that archives have."""
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_libver_bounds(h5f.LIBVER_V18, h5f.LIBVER_V110)
    return h5py.File(h5f.create(bytes(path), h5f.ACC_TRUNC, None, access))


@pytest.mark.parametrize("count", COUNTS)
def test_every_member_is_found_by_its_name_and_in_the_list(count: int, tmp_path: Path) -> None:
    names = [f"layer{number}.weight{'x' * (number % 7)}" for number in range(count)]
    ma.save(tmp_path / "x.h5", {name: np.array([at]) for at, name in enumerate(names)}, durable=False)
    with h5py.File(tmp_path / "x.h5") as file:
        group = file["arrays"]
        assert sorted(group) == sorted(names), "by the tree, and by the heap"
        for name in names[:: max(1, count // 500)]:
            assert group[name][0] == int(name.partition(".")[0].removeprefix("layer"))
        assert "layer" not in group


@pytest.mark.slow
@pytest.mark.parametrize("count", [3, 8, 9, 46, 1150, 3000])
def test_the_library_goes_on_with_the_file(count: int, tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    data = {f"a{number}": np.arange(number % 5 + 1.0) for number in range(count)}
    ma.save(path, data, durable=False)
    with h5py.File(path, "r+") as file:
        group = file["arrays"]
        for number in range(0, count, 2):
            del group[f"a{number}"]
        for number in range(count):
            group[f"new{number}"] = np.array([number])
        for number in range(20):  # more than a header keeps
            group["new0"].attrs[f"attribute{number}"] = "x" * number
            group.attrs[f"attribute{number}"] = number
        group["a1"].attrs["seen"] = 1
        group.create_group("deeper")["x"] = 5
    kept = {name: array for name, array in data.items() if int(name[1:]) % 2}
    kept |= {f"new{number}": np.array([number]) for number in range(count)}
    with h5py.File(path, "r+") as file:
        group = file["arrays"]
        assert sorted(group) == sorted([*kept, "deeper"])
        assert all(np.array_equal(group[name], array) for name, array in kept.items())
        assert len(group["new0"].attrs) == 20
        assert len(group.attrs) == 21
        for name in list(group):
            del group[name]
    with h5py.File(path, "r+") as file:
        assert list(file["arrays"]) == []
        file["arrays/again"] = 7
        assert file["arrays/again"][()] == 7


@needs_hdf5_tools
def test_h5repack_and_h5stat_take_it(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    data = {**everything(), "many": {f"m{number}": np.array([number]) for number in range(300)}}
    ma.save(path, data, durable=False)
    run("h5stat", str(path))
    run("h5repack", str(path), str(tmp_path / "y.h5"))
    with pytest.warns(UserWarning, match="through HDF5"):
        found = ma.load(tmp_path / "y.h5")
    assert_same(data["many"], found["many"])


@pytest.mark.parametrize("dtype", dtypes.DENSE)
def test_a_type_is_the_librarys(dtype: str, tmp_path: Path) -> None:
    expected = h5t.py_create(dtypes.DENSE[dtype] if not dtype.startswith(("bfloat", "float8")) else np.dtype("u1"))
    if dtype == "bool":
        expected = h5t.py_create(np.dtype("?"), logical=True)
    if dtype == "bfloat16":
        expected = h5t.IEEE_F32LE.copy()
        expected.set_fields(15, 7, 8, 0, 7)
        expected.set_size(2)
        expected.set_ebias(127)
    ma.save(tmp_path / "x.h5", {"a": np.zeros(3, dtypes.DENSE[dtype])})
    with h5py.File(tmp_path / "x.h5") as file:
        assert file["arrays/a"].id.get_type().equal(expected)
    if types.array_type(dtype)[0] >> 4 == 1:  # in the library's own version, byte for byte
        assert expected.encode()[2:] == types.array_type(dtype)


@pytest.mark.slow
@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@example([70, 70], "<f4", 1, 1)
@given(
    # A tree has a level more from 65 and from 4,097 chunks on; a cube of as many on each side has 70 times as many.
    st.lists(st.integers(1, 70), min_size=1, max_size=2) | st.lists(st.integers(1, 18), min_size=3, max_size=3),
    st.sampled_from(["u1", "<f4", "bfloat16", "<c16"]),
    st.integers(0, 2),
    st.integers(1, 9),
)
def test_chunks_are_found(tmp_path: Path, shape: list[int], dtype: str, axis: int, rows: int) -> None:
    """Against the library's own reading, of trees of one to three levels."""
    axis = min(axis, len(shape) - 1)
    chunk = (*[1] * axis, min(rows, shape[axis]), *shape[axis + 1 :])
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    array = np.resize(np.arange(251), shape).astype(kind)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("modelarchive.store.chunks.chunk_shape", lambda *_: chunk)
        patch.setattr("modelarchive.store.chunks.LEAST", 0)
        patch.setattr("modelarchive.store.compressing._WORTH", 100)
        patch.setattr("modelarchive.store.compressing.tree_bytes", lambda *_: -(1 << 40))
        ma.save(tmp_path / "x.h5", {"a": array}, compression="deflate", durable=False)
    with h5py.File(tmp_path / "x.h5") as file:
        found = file["arrays/a"]
        assert found.chunks == chunk
        assert found.id.get_num_chunks() == np.prod([-(-a // b) for a, b in zip(shape, chunk, strict=True)])
        assert dtype == "bfloat16" or found[()].tobytes() == array.tobytes()
    assert ma.load(tmp_path / "x.h5")["a"].tobytes() == array.tobytes()
    with ma.open(tmp_path / "x.h5") as archive:
        archive.verify()


def test_a_shared_parameter_outlives_one_of_its_names(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Dense(3, in_units=3), nn.Dense(3, in_units=3), nn.Dense(3, in_units=3))
    network.initialize(seed=0)
    network[1].weight = network[2].weight = network[0].weight
    network.save_parameters(tmp_path / "x.h5", durable=False)
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        group = file["parameters"]
        assert h5py.h5o.get_info(group["0/weight"].id).rc == 3
        assert h5py.h5o.get_info(group["0/bias"].id).rc == 1
        assert group["0/weight"] == group["2/weight"]
        del group["0/weight"], group["2/weight"]
        assert np.array_equal(group["1/weight"], network[1].weight.data())
        assert h5py.h5o.get_info(group["1/weight"].id).rc == 1


@pytest.mark.slow
def test_the_order_of_a_set_plays_no_part(tmp_path: Path) -> None:
    """Groups without attributes, of tokens, are made as they come."""
    code = (
        "import sys, numpy as np, modelarchive as ma\n"
        "arrays = {f'{part}.weight': np.zeros((2, 2)) for part in 'abcdefgh'}\n"
        "ma.save_stream(sys.argv[1], arrays.items(), announced=arrays)\n"
    )
    written = set()
    for seed in range(3):
        environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
        subprocess.run([sys.executable, "-c", code, tmp_path / "x.h5"], check=True, env=environment, timeout=300)
        written.add((tmp_path / "x.h5").read_bytes())
    assert len(written) == 1


@pytest.mark.slow
def test_every_structure_has_its_checksum(tmp_path: Path) -> None:
    ma.save(tmp_path / "x.h5", {f"a{number}": np.array([number]) for number in range(1200)}, durable=False)
    kinds = [structure.kind for structure in structures((tmp_path / "x.h5").read_bytes())]
    assert kinds.count("OHDR") == 1202
    assert {"superblock", "FRHP", "BTHD", "BTIN"} <= set(kinds)


@pytest.mark.slow
def test_the_library_spends_more(tmp_path: Path) -> None:
    """The same objects, written by the library, take more room: nothing here is left out that they need."""
    data = {f"a{number}": np.zeros(4) for number in range(500)}
    ma.save(tmp_path / "x.h5", data, durable=False)
    with library_file(tmp_path / "y.h5") as file:
        for name, array in data.items():
            file[f"arrays/{name}"] = array
        theirs = {name: dataset.dtype for name, dataset in file["arrays"].items()}
    with h5py.File(tmp_path / "x.h5") as file:
        assert {name: dataset.dtype for name, dataset in file["arrays"].items()} == theirs
        ours = (tmp_path / "x.h5").stat().st_size - file.userblock_size
    assert ours < (tmp_path / "y.h5").stat().st_size


@pytest.mark.parametrize("name", ["", ".", "a\0b", "\ud800", "k" * 60_001])
def test_what_hdf5_cannot_hold_is_refused(name: str) -> None:
    contents = Contents("arrays", "x", 512, {name: Entry("int8", (1,), 4096, 1, None)})
    with pytest.raises(ValueError, match=r"no link named|surrogates not allowed"):
        Metadata(contents, {})


def test_a_path_leads_to_one_thing() -> None:
    entry = Entry("int8", (1,), 4096, 1, None)
    with pytest.raises(ValueError, match="two things"):
        Metadata(Contents("arrays", "x", 512, {"a": entry, "a/b": entry}), {})
    with pytest.raises(ValueError, match="two things"):
        Metadata(Contents("arrays", "x", 512, {"a": entry}, aliases={"b/c": "a", "b": "a"}), {})
