"""Verify names what is damaged, and finds an index and HDF5 that tell different stories."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import modelarchive as ma
from modelarchive import nn
from modelarchive.store.source import Source
from tests.hostile.index_attacks import forge
from tests.structures import index_of
from tests.transplant.networks import Donor, Words, X, ready


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "x.h5"
    ma.save_model(path, ready(Donor()), inputs=X, metadata={"a": 1})
    return path


def damaged(path: Path) -> set[str]:
    with ma.open(path) as archive, pytest.raises(ma.IntegrityError) as caught:
        archive.verify()
    assert caught.value.file == str(path)
    assert all(name in str(caught.value) for name in caught.value.damaged)
    return set(caught.value.damaged)


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x10
    path.write_bytes(data)


def test_a_whole_file(path: Path) -> None:
    done: list[int] = []
    with ma.open(path) as archive:
        report = archive.verify(done.append)
    assert (report.arrays, report.texts, report.has_architecture) == (6, 4, True)
    assert report.nbytes == sum(done)
    assert "whole" in str(report)
    assert str(path) in str(report)


@pytest.mark.parametrize("name", ["features.0.weight", "output.bias", "/architecture/data", "/metadata/data"])
@pytest.mark.parametrize("place", ["first", "last"])
def test_one_flipped_bit_is_named(path: Path, name: str, place: str) -> None:
    contents = index_of(path)
    part = contents.arrays.get(name) or contents.texts[name]
    flip(path, part.offset if place == "first" else part.offset + part.nbytes - 1)
    assert damaged(path) == {name}


def test_all_damage_at_once(path: Path) -> None:
    contents = index_of(path)
    for part in (*contents.arrays.values(), *contents.texts.values()):
        flip(path, part.offset)
    assert damaged(path) == {*contents.arrays, *contents.texts}


def test_a_damaged_word_list(tmp_path: Path) -> None:
    path, x = tmp_path / "x.h5", np.zeros((1, 2), "i4")
    ma.save_model(path, ready(Words(2), x=x), inputs=x, tokens={"embedding.weight": ["cat", "dog"]})
    flip(path, index_of(path).texts["/tokens/embedding/weight"].offset)
    assert damaged(path) == {"/tokens/embedding/weight"}


def swap_names(header: Any, own: Any) -> None:
    """A loader would be shown one model, a viewer another."""
    header["features.0.bixs"] = header.pop("features.0.bias")
    own["order"] = [name.replace("0.bias", "0.bixs") for name in own["order"]]


def as_integers(header: Any, own: Any) -> None:
    header["output.weight"]["dtype"] = "I32"


def transposed(header: Any, own: Any) -> None:
    header["output.weight"]["shape"].reverse()


def another_alias(header: Any, own: Any) -> None:
    own["aliases"] = {"output.other": "output.weight"}
    own["order"].append("output.other")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (as_integers, "/parameters/output/weight"),
        (transposed, "/parameters/output/weight"),
        (another_alias, "/parameters/output/other"),
        (swap_names, "/parameters/features/0/bixs"),
    ],
)
def test_an_index_that_tells_another_story(path: Path, change: Callable[[Any, Any], None], named: str) -> None:
    forge(path, change)
    assert named in damaged(path)


def test_saved_structures_too(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    ma.save(path, {"a": [np.arange(3), "x"], "t": ()})
    for change, named in (
        (lambda header, own: own["members"].update({"a": "tuple"}), "/arrays/a"),
        (lambda header, own: own["members"].update({"new": "dict"}), "/arrays/new"),
        (lambda header, own: own["texts"]["/arrays/a/1"].update(dtype="float"), "/arrays/a/1"),
    ):
        ma.save(path, {"a": [np.arange(3), "x"], "t": ()})
        forge(path, change)
        assert named in damaged(path)


def test_an_architecture_of_other_shapes(path: Path) -> None:
    """The digests agree, because whoever wrote the file meant it so: schema and shapes do not."""
    net = ready(Donor())
    ma.save_model(path, net, inputs=X)
    with ma.open(path) as archive:
        text = json.dumps(archive.architecture, indent=1)
    rewrite_architecture(path, text.replace('"units": 8', '"units": 7'))
    with ma.open(path) as archive, pytest.raises((ma.IntegrityError, ma.SpecError)):
        archive.verify()
    with pytest.raises((ma.ParameterError, ma.SpecError)):
        ma.load_model(path)
    rewrite_architecture(path, text.replace('"kind": "Dense"', '"kind": "os.system"'))
    with ma.open(path) as archive, pytest.raises(ma.SpecError, match=r"os\.system"):
        archive.verify()
    rewrite_architecture(path, "{" * 10)
    with ma.open(path) as archive, pytest.raises(ma.FormatError, match="not JSON") as caught:
        archive.verify()
    assert caught.value.file == str(path)
    rewrite_architecture(path, "[1]")
    with pytest.raises(ma.FormatError, match="expected an object"):
        ma.load_model(path)


def rewrite_architecture(path: Path, text: str) -> None:
    from modelarchive import maintenance

    with h5py.File(path, "r+") as file:
        del file["architecture/data"]
        file.create_dataset("architecture/data", data=np.bytes_(text.encode()))
    maintenance.reindex(path)


def test_changed_by_another_tool(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["note"] = "hello"
        file["parameters/output/bias"][...] = 5
    with pytest.warns(ma.StaleIndexWarning):
        archive = ma.open(path)
    with archive, pytest.raises(ma.IntegrityError) as caught:
        archive.verify()
    assert caught.value.damaged.keys() == {"(index)", "output.bias"}


def verify(path: Path) -> None:
    with ma.open(path) as archive:
        archive.verify()


INVALID = ["{}", '{"model": 1}', '{"model": {}}', '{"vocabulary": 99, "inputs": [], "model": {"kind": "Dense"}}']


@pytest.mark.parametrize("text", INVALID)
def test_an_invalid_architecture_is_refused_everywhere(path: Path, tmp_path: Path, text: str) -> None:
    from modelarchive import maintenance
    from modelarchive.models import transplant_file

    rewrite_architecture(path, text)
    out = tmp_path / "out.h5"
    for act in (
        lambda: ma.load_model(path),
        lambda: ma.load_model(path, block="features"),
        lambda: verify(path),
        lambda: maintenance.repack(path, out),
        lambda: maintenance.extract(path, "features", out),
        lambda: transplant_file(path, path, out, freeze=True),
    ):
        with pytest.raises(ma.SpecError):
            act()
        assert not out.exists()
    assert len(ma.load(path, verify=True)) == 6, "its arrays are still there"


def test_word_lists_that_are_none(tmp_path: Path) -> None:
    path, x = tmp_path / "x.h5", np.zeros((1, 2), "i4")
    ma.save_model(path, ready(Words(2), x=x), inputs=x, tokens={"embedding.weight": ["cat", "dog"]})
    with h5py.File(path, "r+") as file:
        del file["tokens/embedding/weight"]
        file["tokens/embedding/weight"] = "hello"
    with pytest.warns(ma.StaleIndexWarning):
        archive = ma.open(path)
    with archive, pytest.raises(ma.FormatError, match="no list of words"):
        _ = archive.tokens


# ---------------------------------------------------------------------- one block


def test_of_a_block_only_its_own_damage_counts(path: Path) -> None:
    contents = index_of(path)
    flip(path, contents.arrays["output.weight"].offset)
    with ma.open(path) as archive:
        report = archive.verify(block="features")
        assert (report.block, report.arrays, report.texts, report.has_architecture) == ("features", 4, 1, True)
        assert "block features: whole" in str(report)
        with pytest.raises(ma.IntegrityError) as caught:
            archive.verify(block="output")
    assert set(caught.value.damaged) == {"output.weight"}
    flip(path, contents.texts["/metadata/data"].offset)
    assert ma.load_model(path, block="features", verify=True) is not None
    flip(path, contents.texts["/metadata/data"].offset)
    for backend in ("numpy", "torch") if importlib.util.find_spec("torch") else ("numpy",):
        assert ma.load_model(path, block="features", verify=True, backend=backend) is not None
        with pytest.raises(ma.IntegrityError, match=r"output\.weight"):
            ma.load_model(path, block="output", verify=True, backend=backend)
        with pytest.raises(ma.IntegrityError):
            ma.load_model(path, verify=True, backend=backend)


@pytest.mark.parametrize("name", ["features.0.weight", "features.1.bias", "/architecture/data"])
def test_damage_in_the_block_is_named(path: Path, name: str) -> None:
    contents = index_of(path)
    part = contents.arrays.get(name) or contents.texts[name]
    flip(path, part.offset + part.nbytes - 1)
    with ma.open(path) as archive, pytest.raises(ma.IntegrityError) as caught:
        archive.verify(block="features")
    assert set(caught.value.damaged) == {name}
    assert caught.value.file == str(path)


def test_a_shared_array_that_lies_elsewhere_belongs_to_the_block(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    first = nn.Dense(4, in_units=4)
    second = nn.Dense(4, in_units=4)
    second.weight = first.weight
    net = nn.Sequential(first, second)
    net.initialize(seed=0)
    ma.save_model(path, net, inputs=np.zeros((1, 4), "f4"))
    flip(path, index_of(path).arrays["0.weight"].offset)
    with ma.open(path) as archive, pytest.raises(ma.IntegrityError) as caught:
        archive.verify(block="1")
    assert set(caught.value.damaged) == {"1.weight"}


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_a_block_is_verified_from_its_own_bytes(
    tmp_path: Path, compression: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.h5"
    net = nn.Sequential(*(nn.Dense(512, in_units=512, use_bias=False) for _ in range(8)))
    net.initialize("ones")
    ma.save_model(path, net, inputs=np.zeros((1, 512), "f4"), compression=compression, durable=False)
    contents = index_of(path)
    own = contents.chunks["5.weight"] if compression else contents.arrays["5.weight"]
    texts = contents.texts["/architecture/data"].nbytes
    with ma.open(path) as archive:
        read: list[tuple[int, int]] = []
        read_all = Source._read_all

        def noted(self: Source, buffer: memoryview, offset: int, *descriptor: int) -> None:
            read.append((offset, len(buffer)))
            read_all(self, buffer, offset, *descriptor)

        monkeypatch.setattr(Source, "_read_all", noted)
        archive.verify(block="5")
    inside = [each for each in read if own.offset <= each[0] < own.offset + own.nbytes]
    assert sum(size for _, size in inside) >= own.nbytes
    assert sum(size for _, size in read) <= own.nbytes + 2 * texts + 4096


def test_a_block_that_is_not_there(path: Path, tmp_path: Path) -> None:
    with ma.open(path) as archive, pytest.raises(ma.SpecError, match="did you mean 'features'"):
        archive.verify(block="featrues")
    ready(Donor()).save_parameters(tmp_path / "parameters.h5")
    with ma.open(tmp_path / "parameters.h5") as archive:
        assert archive.verify(block="features").arrays == 4
        with pytest.raises(ma.ParameterError, match="did you mean 'features"):
            archive.verify(block="featrues")


def test_a_block_of_a_file_that_another_tool_changed(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["parameters/features/0/bias"][0] = 7
        file.create_dataset("new", data=1)
    with pytest.warns(ma.StaleIndexWarning):
        archive = ma.open(path)
    with archive, pytest.raises(ma.IntegrityError, match="reindex") as caught:
        archive.verify(block="features")
    assert set(caught.value.damaged) == {"(index)"}
