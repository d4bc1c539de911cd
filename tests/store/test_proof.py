"""What proves that HDF5 shows what the index says: the same bytes, and nothing less."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import nn
from modelarchive.store import proof
from modelarchive.store.contents import block_group
from modelarchive.store.proof import is_as_written
from modelarchive.store.reader import Reader
from tests.hostile import mutators
from tests.structures import everything, verify_both_ways

DATA = Path(__file__).parents[1] / "data" / "format-1"


def is_proven(path: Path, kinds: dict[str, str] | None = None) -> bool:
    reader = Reader(path)
    try:
        return is_as_written(reader.source, reader.contents, kinds or {})
    finally:
        reader.source.close()


def save_network(path: Path, **options: Any) -> dict[str, str]:
    network = nn.Sequential(nn.Conv2D(4, 3), nn.Flatten(), nn.Dense(600, activation="relu"), nn.Dense(3))
    network.initialize(seed=1)
    words = {"3.bias": ["a", "b", "c"]}
    ma.save_model(path, network, inputs=np.zeros((1, 2, 8, 8), "f4"), metadata={"a": 1}, tokens=words, **options)
    kinds = {"": "Sequential", "0": "Conv2D", "1": "Flatten", "2": "Dense", "3": "Dense"}
    return {block_group(block): kind for block, kind in kinds.items()}


@pytest.mark.slow
def test_whatever_is_saved_is_proven_and_hdf5_agrees(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    for data in (everything(), [], np.arange(3), {f"a{at}": np.arange(at % 3) for at in range(3000)}):
        ma.save(path, data)
        verify_both_ways(path)
    for compression in (None, "deflate"):
        kinds = save_network(path, compression=compression)
        verify_both_ways(path)
        assert is_proven(path, kinds)
        assert not is_proven(path, kinds | {"/parameters/2": "Conv1D"}), "another kind than viewers are shown"
        assert not is_proven(path)


def test_parameters_without_an_architecture_are_proven_by_the_kinds_of_their_index(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    network = nn.Sequential(nn.Dense(3, in_units=2), nn.Dense(2, in_units=3))
    network.initialize(seed=0)
    network.save_parameters(path, durable=False)
    verify_both_ways(path)
    header, own = mutators.parts_of(path.read_bytes())
    assert own["kinds"] == {"/parameters": "Sequential", "/parameters/0": "Dense", "/parameters/1": "Dense"}
    own["kinds"]["/parameters/1"] = "Lied"
    path.write_bytes(mutators.reindexed(path.read_bytes(), header, own) or b"")
    with ma.open(path) as archive, pytest.raises(ma.IntegrityError, match="/parameters/1") as caught:
        archive.verify()
    assert caught.value.damaged["/parameters/1"][1] == "HDF5: Dense"


def test_no_byte_of_the_metadata_may_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.h5"
    ma.save(path, {f"a{at}": np.arange(3) for at in range(10)}, durable=False)
    reader = Reader(path)
    try:
        (begin, end), *_ = reader.contents.metadata_ranges()
        assert is_as_written(reader.source, reader.contents, {})
        # What it is compared with is always the same.
        metadata = proof.Metadata(reader.contents, proof.group_attributes(reader.contents))
        rendered = metadata.render(reader.contents)
        monkeypatch.setattr(metadata, "render", lambda contents: rendered)
        monkeypatch.setattr(proof, "Metadata", lambda contents, attributes: metadata)
        for at in range(begin, end):
            with path.open("r+b") as file:
                file.seek(at)
                old = file.read(1)
                file.seek(at)
                file.write(bytes([old[0] ^ 0x10]))
                file.flush()
                assert not is_as_written(reader.source, reader.contents, {}), f"byte {at - begin} may be anything"
                file.seek(at)
                file.write(old)
        assert is_as_written(reader.source, reader.contents, {})
    finally:
        reader.source.close()


@pytest.mark.parametrize("name", ["one", "nested", "compressed", "tied-parameters", "tied-model"])
def test_what_the_library_wrote_is_not_proven_and_whole_all_the_same(name: str) -> None:
    assert not is_proven(DATA / f"{name}.h5")
    with ma.open(DATA / f"{name}.h5") as archive:
        archive.verify()


@pytest.mark.parametrize("name", ["", ".", "a//b", "a\0", "\ud800", "x" * 60_001, "a/b"])
def test_an_index_that_hdf5_cannot_show_is_not_proven(name: str, tmp_path: Path) -> None:
    """Names that no HDF5 file holds, and a path that leads to two things."""
    path = tmp_path / "x.h5"
    ma.save(path, {"a": np.arange(3), "b": np.arange(3)}, durable=False)
    reader = Reader(path)
    try:
        arrays = reader.contents.arrays
        reader.contents.arrays = {"a": arrays["a"], name: arrays["b"]}
        assert not is_as_written(reader.source, reader.contents, {})
    finally:
        reader.source.close()


def test_metadata_that_would_be_far_larger_than_the_files_is_not_made(tmp_path: Path) -> None:
    """Arrays of 32 axes: the tree of each one's chunks takes 18 KB, an index says it in 300 bytes."""
    path = tmp_path / "x.h5"
    ma.save(path, {"a": np.zeros((100, 400))}, compression="deflate", durable=False)
    reader = Reader(path)
    try:
        contents = reader.contents
        entry, chunks = contents.arrays["a"], contents.chunks["a"]
        for number in range(2000):
            contents.arrays[f"a{number}"] = entry._replace(shape=(1,) * 32)
            contents.chunks[f"a{number}"] = chunks._replace(shape=(1,) * 32, sizes=(1,))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("modelarchive.store.hdf5.metadata.Metadata.render", None)
            contents.metadata_ranges = lambda: [(512, 4096)]  # type: ignore[method-assign]
            assert not is_as_written(reader.source, contents, {})
    finally:
        reader.source.close()
