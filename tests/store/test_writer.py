"""What a written file looks like: places, alignment, and what readers of others' make of it."""

from __future__ import annotations

from pathlib import Path

import h5py
import ml_dtypes
import numpy as np
import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import modelarchive as ma
from modelarchive.store.index import is_user_block_size
from modelarchive.store.layout import ARRAY_ALIGNMENT, DATA_ALIGNMENT
from tests.hdf5_tools import needs_hdf5_tools, run
from tests.structures import assert_same, every_dtype, everything, index_of


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("writer") / "x.h5"


@pytest.mark.slow
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.sampled_from(["u1", "i2", "f4", "f8", "c16"]), st.integers(0, 200)), max_size=12))
def test_layout(path: Path, sizes: list[tuple[str, int]]) -> None:
    data = {f"a{at}": np.arange(size).astype(dtype) for at, (dtype, size) in enumerate(sizes)}
    ma.save(path, data, durable=False)
    contents = index_of(path)
    assert is_user_block_size(contents.user_block)
    placed = {name: entry for name, entry in contents.arrays.items() if entry.nbytes}
    raw = path.read_bytes()
    position = min((entry.offset for entry in placed.values()), default=0)
    assert position % DATA_ALIGNMENT == 0
    for name, entry in placed.items():
        assert entry.offset == position, "a gap, or another order than the index tells"
        position += entry.nbytes
        assert entry.offset % data[name].itemsize == 0
        if entry.nbytes % ARRAY_ALIGNMENT == 0:
            assert entry.offset % ARRAY_ALIGNMENT == 0
        assert raw[entry.offset : position] == data[name].tobytes()
        assert entry.digest == blake3(data[name].tobytes()).hexdigest()
    if placed:
        assert position == len(raw)
    whole = [name for name in placed if placed[name].nbytes % ARRAY_ALIGNMENT == 0]
    assert list(placed)[: len(whole)] == [name for name in data if name in whole], "in the order given"


def test_hdf5_offsets_are_those_of_the_index(path: Path) -> None:
    ma.save(path, everything(), durable=False)
    contents = index_of(path)
    with h5py.File(path) as file:
        assert file.userblock_size == contents.user_block
        for name, entry in contents.arrays.items():
            dataset = file[f"arrays/{name}"]
            assert dataset.chunks is None
            assert not entry.nbytes or dataset.id.get_offset() == entry.offset


@pytest.mark.slow
def test_wide_and_deep_files(path: Path) -> None:
    data = {f"layer.{at}.weight": np.arange(at % 7) for at in range(5000)}
    ma.save(path, data, durable=False)
    assert_same(data, ma.load(path))
    assert list(ma.load(path)) == list(data)
    nested = {f"g{outer}": {f"h{inner}": {"x": np.arange(3)} for inner in range(12)} for outer in range(30)}
    ma.save(path, nested, durable=False)
    with ma.open(path) as archive:
        archive.verify()
    assert_same(nested, ma.load(path))


@pytest.mark.parametrize("size", [1, 300, 60_000])
def test_keys_of_all_lengths(path: Path, size: int) -> None:
    for character in ("k", "ü", "/"):
        data = {character * (size // len(character.encode()) // (3 if character == "/" else 1)): np.arange(3)}
        ma.save(path, data, durable=False)
        assert_same(data, ma.load(path, verify=True))


def test_a_key_too_long_for_hdf5(path: Path) -> None:
    with pytest.raises(ma.UnsupportedDataError, match="the key takes more than"):
        ma.save(path, {"k" * 60_001: 1})


def test_large_arrays_in_pieces(path: Path) -> None:
    """Above the piece size, contiguous and not, several at once, hashed by several threads."""
    base = np.random.default_rng(0).integers(0, 2**63, (1500, 600))
    data = {
        "c": base,
        "f": np.asfortranarray(base),
        "s": base[::-1, ::2],
        "be": base.astype(">i8"),
        "bf": base.astype(ml_dtypes.bfloat16).T,
        "b": np.broadcast_to(base[0], (900, 600)),
    }
    ma.save(path, data, durable=False)
    assert_same(data, ma.load(path, verify=True))
    assert_same({"only": base.T}, save_and_load(path, {"only": base.T}))


def save_and_load(path: Path, data: object) -> object:
    ma.save(path, data, durable=False)
    return ma.load(path, verify=True)


def test_progress_counts_every_byte(path: Path) -> None:
    data = {"a": np.arange(300_000), "b": np.arange(10), "c": np.arange(7, dtype="u1")}
    done: list[int] = []
    ma.save(path, data, progress=done.append)
    assert sum(done) == sum(array.nbytes for array in data.values())
    assert max(done) <= 1 << 20


def test_nothing_in_the_file_tells_when_or_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "first.h5", tmp_path / "a" / "second.h5"
    second.parent.mkdir()
    ma.save(first, everything())
    monkeypatch.setattr("time.time", lambda: 0)
    ma.save(second, everything(), durable=False)
    assert first.read_bytes() == second.read_bytes()


@needs_hdf5_tools
def test_h5dump_and_h5ls_read_it(path: Path) -> None:
    data = every_dtype()
    ma.save(path, {**data, "x": ["a text", 5, np.array(["p", "qq"])]}, durable=False)
    listed = run("h5ls", "-r", path)
    for name in data:
        assert f"/arrays/{name} " in listed
    for name, cells in {"int16": data["int16"], "bool": data["bool"], "uint64": data["uint64"]}.items():
        text = run("h5dump", "-d", f"/arrays/{name}", "-y", "-w", "0", path).split("DATA {")[1].split("}")[0]
        words = text.replace(",", " ").split()
        assert words == [str(cell).upper() if name == "bool" else str(cell) for cell in cells.ravel().tolist()]
    assert '"a text"' in run("h5dump", "-d", "/arrays/x/0", path).replace("\\", "").replace('""', '"')


@needs_hdf5_tools
def test_h5dump_shows_bfloat16_as_numbers(path: Path) -> None:
    values = np.array([1.5, -2, 3e38, 2**-126], ml_dtypes.bfloat16)
    ma.save(path, values, durable=False)
    text = run("h5dump", "-d", "/arrays/array", "-y", "-m", "%.9g", path).split("DATA {")[1].split("}")[0]
    assert [np.float32(word) for word in text.replace(",", " ").split()] == values.astype("f4").tolist()
