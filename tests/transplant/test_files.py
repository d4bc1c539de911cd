"""Transplants from file to file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.transplant import transplant_file
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
