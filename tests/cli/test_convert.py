"""``modelarchive convert``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import modelarchive as ma
from tests.cli.conftest import Run


def test_convert(run: Run, model: Path, tmp_path: Path) -> None:
    done = run("convert", model, tmp_path / "x.safetensors")
    assert (done.code, done.err) == (0, "")
    assert "x.safetensors: a safetensors file, " in done.out
    assert "(architecture): left out" in done.out
    assert list(ma.load(tmp_path / "x.safetensors")) == list(ma.load(model))


def test_json(run: Run, model: Path, tmp_path: Path) -> None:
    found = run("convert", model, tmp_path / "x.npz", "--json").json
    assert found["format"] == "numpy"
    assert found["bytes"] == (tmp_path / "x.npz").stat().st_size
    assert [note["where"] for note in found["notes"]] == ["(architecture)", "(metadata)"]


def test_wrong_use(run: Run, model: Path, tmp_path: Path) -> None:
    done = run("convert", model, tmp_path / "x.xyz")
    assert done.code == 2
    assert "hint" in done.err


def test_cannot(run: Run, arrays: Path, tmp_path: Path) -> None:
    done = run("convert", arrays, tmp_path / "x.npz")
    assert done.code == 4
    assert "cannot be converted" in done.err
    assert run("convert", tmp_path / "missing.npz", tmp_path / "x.h5").code == 4
    np.savez(tmp_path / "o.npz", a=np.array([{}], object))
    assert run("convert", tmp_path / "o.npz", tmp_path / "x.h5").code == 4
    assert not (tmp_path / "x.h5").exists()
