"""Files cut, refreshed and written anew."""

from __future__ import annotations

import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest

import modelarchive as ma
from modelarchive import maintenance
from tests.structures import assert_same, everything, stale_load, without_index
from tests.transplant.networks import Donor, Tied, Words, X, ready


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "x.h5"
    ma.save_model(path, ready(Donor()), inputs=X, metadata={"a": 1}, durable=False)
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.h5"


@pytest.mark.parametrize("block", ["", "features", "features.1", "output"])
def test_extract(path: Path, out: Path, block: str) -> None:
    written = path.read_bytes()
    maintenance.extract(path, block, out)
    assert path.read_bytes() == written
    with ma.open(out) as archive, ma.open(path) as whole:
        archive.verify()
        assert archive.metadata == {"a": 1}
        prefix = f"{block}." if block else ""
        assert list(archive.parameters) == [n.removeprefix(prefix) for n in whole.parameters if n.startswith(prefix)]
        for name, array in archive.parameters.items():
            np.testing.assert_array_equal(array, whole.parameters[prefix + name])
        expected = whole.build(block)
    x = X if block != "output" and block != "features.1" else np.ones((2, expected.weight.shape[1]), "f4")
    np.testing.assert_array_equal(ma.load_model(out)(x), expected(x))
    if block == "":
        assert out.read_bytes() == written


def test_extract_children(path: Path, out: Path) -> None:
    maintenance.extract(path, "features", out, children=slice(0, 1))
    np.testing.assert_array_equal(ma.load_model(out)(X), ready(Donor()).features[0](X))


@pytest.mark.parametrize("block", ["nothing", "features.9", "feature"])
def test_extract_what_is_not_there(path: Path, out: Path, block: str) -> None:
    with pytest.raises(ma.SpecError):
        maintenance.extract(path, block, out)
    assert not out.exists()
    ready(Donor()).save_parameters(path)
    with pytest.raises(ma.ParameterError, match=r"did you mean|the blocks are"):
        maintenance.extract(path, block, out)
    with pytest.raises(ValueError, match="architecture"):
        maintenance.extract(path, "features", out, children=slice(0, 1))
    assert not out.exists()


def test_extract_without_an_architecture(path: Path, out: Path) -> None:
    net = ready(Donor())
    net.save_parameters(path)
    maintenance.extract(path, "features", out)
    assert list(ma.load(out, verify=True)) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    with h5py.File(out) as file:
        assert file["parameters/0"].attrs["kind"] == b"Dense"


def test_extract_takes_the_words_along(tmp_path: Path, out: Path) -> None:
    path, x = tmp_path / "w.h5", np.zeros((1, 2), "i4")
    ma.save_model(path, ready(Words(2), x=x), inputs=x, tokens={"embedding.weight": ["cat", "dog"]})
    maintenance.extract(path, "embedding", out)
    with ma.open(out) as archive:
        assert archive.tokens == {"weight": ["cat", "dog"]}
        archive.verify()
    maintenance.extract(path, "output", out)
    with ma.open(out) as archive:
        assert archive.tokens == {}
        archive.verify()


def test_extract_a_block_that_shares_with_another(tmp_path: Path, out: Path) -> None:
    path, x = tmp_path / "t.h5", np.zeros((1, 6), "f4")
    net = ready(Tied(), x=x)
    ma.save_model(path, net, inputs=x)
    maintenance.extract(path, "second", out)
    np.testing.assert_array_equal(ma.load_model(out).weight.data(), net.first.weight.data())
    with ma.open(out) as archive:
        archive.verify()


def test_extract_onto_itself(path: Path) -> None:
    maintenance.extract(path, "output", path)
    assert list(ma.load(path, verify=True)) == ["weight", "bias"]


def test_repack_makes_the_normal_form(path: Path, out: Path) -> None:
    written = path.read_bytes()
    with h5py.File(path, "r+") as file:
        for name in ("features/0/weight", "output/bias"):
            value = file[f"parameters/{name}"][()]
            del file[f"parameters/{name}"]
            file.create_dataset(f"parameters/{name}", data=value.astype(">f4"), compression="gzip", chunks=True)
    assert path.stat().st_size != len(written)
    assert maintenance.repack(path, out) == maintenance.Repacked([], [])
    assert out.read_bytes() == written
    maintenance.repack(path)
    assert path.read_bytes() == written


def test_repack_tells_what_it_leaves_out(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["notes/today"] = np.arange(3)
        file["other/step"] = 5
    assert maintenance.repack(path).left_out == ["/notes/today", "/other/step"]
    with h5py.File(path) as file:
        assert "notes" not in file


def test_repack_keeps_what_is_shared(tmp_path: Path) -> None:
    path, x = tmp_path / "t.h5", np.zeros((1, 6), "f4")
    ma.save_model(path, ready(Tied(), x=x), inputs=x)
    written = path.read_bytes()
    without_index(path)
    maintenance.repack(path)
    assert path.read_bytes() == written


def test_repack_and_reindex_ask_no_warning(path: Path) -> None:
    without_index(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        maintenance.reindex(path)
        without_index(path)
        maintenance.repack(path)


def test_reindex_keeps_everything_else(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["note"] = "kept"
        file["notes/today"] = np.arange(3)
        before = file.userblock_size
    data = path.read_bytes()
    done: list[int] = []
    maintenance.reindex(path, progress=done.append)
    assert path.read_bytes()[before:] == data[before:]
    assert sum(done)
    with ma.open(path) as archive:
        archive.verify()
    with h5py.File(path) as file:
        assert file.attrs["note"] == "kept"
        assert list(file["notes/today"]) == [0, 1, 2]


def test_reindex_of_a_fresh_file_changes_nothing(path: Path) -> None:
    for data in (None, everything()):
        if data is not None:
            ma.save(path, data)
        written = path.read_bytes()
        maintenance.reindex(path)
        assert path.read_bytes() == written


def test_reindex_of_a_damaged_index(path: Path) -> None:
    written = path.read_bytes()
    path.write_bytes(written[:300] + b"~" + written[301:])
    maintenance.reindex(path)
    assert set(ma.load(path, verify=True)) == set(ready(Donor()).collect_params())


def test_reindex_without_room_for_the_index(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", userblock_size=512) as file:
        file.attrs["format"], file.attrs["format_version"] = "modelarchive", 1
        for at in range(20):
            file[f"arrays/{at}"] = np.arange(3)
    written = path.read_bytes()
    with pytest.raises(ma.FormatError, match="user block has 504") as caught:
        maintenance.reindex(path)
    assert "repack" in str(caught.value.hint)
    assert path.read_bytes() == written
    expected = {str(at): np.arange(3) for at in range(20)}
    assert_same(expected, stale_load(path))
    maintenance.repack(path)
    assert_same(expected, ma.load(path, verify=True))


def test_saved_structures_repack(path: Path, out: Path) -> None:
    ma.save(path, everything())
    maintenance.repack(path, out)
    assert out.read_bytes() == path.read_bytes()
