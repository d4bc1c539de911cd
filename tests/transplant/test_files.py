"""Transplants from file to file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.models import transplant_file
from modelarchive.store.source import Source
from tests.transplant.networks import Donor, Receiver, Tied, X, ready

RENAME = {"features.*": "backbone.*"}
OPTIONS = {"select": "features.*", "rename": RENAME}


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    source, target = tmp_path / "source.h5", tmp_path / "target.h5"
    ma.save_model(source, ready(Donor()), inputs=X, metadata={"from": "donor"})
    ma.save_model(target, ready(Receiver(), seed=1), inputs=X, metadata={"to": [1, "receiver"]})
    return source, target


def test_the_result_is_the_target_with_other_values(files: tuple[Path, Path], tmp_path: Path) -> None:
    source, target = files
    before = source.read_bytes(), target.read_bytes()
    out = tmp_path / "out.h5"
    report = transplant_file(source, target, out, **OPTIONS)
    assert len(report.copied) == 4
    assert (source.read_bytes(), target.read_bytes()) == before
    with ma.open(out) as archive:
        archive.verify()
        assert archive.metadata == {"to": [1, "receiver"]}
    donor, old, new = (ma.load_model(path) for path in (source, target, out))
    np.testing.assert_array_equal(new.backbone(X), donor.features(X))
    np.testing.assert_array_equal(new.output.weight.data(), old.output.weight.data())
    # The same as in memory, to the byte.
    ma.transplant(source, old, **OPTIONS)
    ma.save_model(tmp_path / "memory.h5", old, inputs=X, metadata={"to": [1, "receiver"]})
    assert out.read_bytes() == (tmp_path / "memory.h5").read_bytes()


def test_onto_the_target_itself(files: tuple[Path, Path], tmp_path: Path) -> None:
    source, target = files
    transplant_file(source, target, tmp_path / "out.h5", **OPTIONS)
    transplant_file(source, target, target, **OPTIONS)
    assert target.read_bytes() == (tmp_path / "out.h5").read_bytes()


def test_dry_run_and_refusal_write_nothing(files: tuple[Path, Path], tmp_path: Path) -> None:
    source, target = files
    names = sorted(path.name for path in tmp_path.iterdir())
    assert transplant_file(source, target, tmp_path / "out.h5", dry_run=True, **OPTIONS).dry_run
    with pytest.raises(ma.ParameterError):
        transplant_file(source, target, tmp_path / "out.h5", select="*")
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_freeze_is_kept_in_the_architecture(files: tuple[Path, Path]) -> None:
    source, target = files
    report = transplant_file(source, target, target, freeze=True, **OPTIONS)
    assert len(report.frozen) == 4
    net = ma.load_model(target)
    assert [name for name, p in net.collect_params().items() if not p.trainable] == report.frozen
    with ma.open(target) as archive:
        archive.verify()


def test_files_of_parameters_without_an_architecture(tmp_path: Path) -> None:
    source, target, out = (tmp_path / f"{name}.h5" for name in ("source", "target", "out"))
    donor, receiver = ready(Donor()), ready(Receiver(), seed=1)
    donor.save_parameters(source)
    receiver.save_parameters(target)
    with pytest.raises(ValueError, match="needs a target with an architecture"):
        transplant_file(source, target, out, freeze=True, **OPTIONS)
    assert not out.exists()
    transplant_file(source, target, out, **OPTIONS)
    found = ma.load(out, verify=True)
    assert list(found) == list(receiver.collect_params())
    assert found["backbone.0.weight"].tobytes() == donor.features[0].weight.data().tobytes()


def test_what_is_shared_stays_shared(tmp_path: Path) -> None:
    source, target = tmp_path / "source.h5", tmp_path / "target.h5"
    x = np.zeros((1, 6), "f4")
    ma.save_model(source, ready(Tied(), x=x), inputs=x)
    ma.save_model(target, ready(Tied(), seed=1, x=x), inputs=x)
    transplant_file(source, target, target, select="first.weight")
    net = ma.load_model(target)
    assert net.first.weight is net.second.weight
    assert ma.load(target)["first.weight"].tobytes() == ma.load(source)["first.weight"].tobytes()
    with ma.open(target) as archive:
        archive.verify()


def test_a_flat_dict_of_arrays_receives_too(tmp_path: Path) -> None:
    source, target = tmp_path / "source.h5", tmp_path / "target.h5"
    ma.save(source, {"x.weight": np.ones(3), "y": np.zeros(2)})
    ma.save(target, {"x.weight": np.zeros(3), "z": np.full(2, 7.0)})
    report = transplant_file(source, target, target)
    assert list(report.copied) == ["x.weight"]
    found = ma.load(target, verify=True)
    np.testing.assert_array_equal(found["x.weight"], np.ones(3))
    np.testing.assert_array_equal(found["z"], np.full(2, 7.0))


@pytest.mark.parametrize("data", [{"x": [np.zeros(3)]}, {"x": np.zeros(3), "x.y": np.zeros(3)}, {"a b": np.zeros(3)}])
def test_nested_data_receives_nothing(tmp_path: Path, data: dict[str, object]) -> None:
    ma.save(tmp_path / "source.h5", {"x": np.ones(3)})
    ma.save(tmp_path / "target.h5", data)
    written = (tmp_path / "target.h5").read_bytes()
    with pytest.raises(ma.FormatError, match="holds no parameters that could receive"):
        transplant_file(tmp_path / "source.h5", tmp_path / "target.h5", tmp_path / "target.h5")
    assert (tmp_path / "target.h5").read_bytes() == written


def test_a_plan_reads_no_arrays(files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    original = Source.pieces

    def pieces(self: Source, offset: int, nbytes: int) -> Iterator[memoryview]:
        read.append(nbytes)
        return original(self, offset, nbytes)

    monkeypatch.setattr(Source, "pieces", pieces)
    monkeypatch.setattr(Source, "views", None)
    monkeypatch.setattr(Source, "load", None)
    transplant_file(*files, tmp_path / "out.h5", dry_run=True, **OPTIONS)
    planned = len(read)
    transplant_file(*files, tmp_path / "out.h5", **OPTIONS)
    assert len(read) == 2 * planned + len(ready(Receiver()).collect_params()), "each array once, piece by piece"
