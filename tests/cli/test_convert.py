"""``modelarchive convert``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import modelarchive as ma
from tests.cli.conftest import Run
from tests.conftest import ROOT

FOREIGN = ROOT / "tests" / "data" / "foreign"


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


@pytest.mark.slow
def test_a_folder_in_and_out(run: Run, tmp_path: Path) -> None:
    done = run("convert", FOREIGN / "huggingface" / "bert", tmp_path / "bert.h5")
    assert (done.code, done.err) == (0, "")
    assert "bert.h5: a model archive, " in done.out
    assert "2 of 16 rows have no word" in done.out
    done = run("convert", tmp_path / "bert.h5", f"{tmp_path / 'bert'}/")
    assert (done.code, done.err) == (0, "")
    assert "bert: a Hugging Face folder, " in done.out
    assert (tmp_path / "bert" / "vocab.txt").is_file()
    # It is an archive too, which takes an old one's place and no other folder's.
    assert run("convert", tmp_path / "bert.h5", tmp_path / "bert").code == 0
    (tmp_path / "bert" / "mine.txt").write_text("mine")
    assert run("convert", tmp_path / "bert.h5", tmp_path / "bert").code == 4
    assert (tmp_path / "bert" / "mine.txt").is_file()
    few = run("convert", FOREIGN / "huggingface" / "bert", tmp_path / "few.h5", "--input", "input_ids")
    assert few.code == 0
    with ma.open(tmp_path / "few.h5") as archive:
        assert [each["name"] for each in archive.architecture["inputs"]] == ["input_ids"]


def test_inputs_of_a_symbol_that_does_not_say_them(run: Run, tmp_path: Path) -> None:
    symbol = FOREIGN / "mxnet" / "operators" / "arithmetic-symbol.json"
    assert run("convert", symbol, tmp_path / "x.h5").code == 0
    with ma.open(tmp_path / "x.h5") as archive:
        assert archive.architecture["inputs"] == []
    given = ["--input", "data0:?,3,4:float32", "--input", "data1:?,3,4:float64"]
    done = run("convert", symbol, tmp_path / "x.h5", *given)
    assert (done.code, done.err) == (0, "")
    with ma.open(tmp_path / "x.h5") as archive:
        assert archive.architecture["inputs"] == [
            {"name": "data0", "shape": [None, 3, 4], "dtype": "float32"},
            {"name": "data1", "shape": [None, 3, 4], "dtype": "float64"},
        ]
    for wrong in ("data0:3x4", ":3,4", "data0:3,-2"):
        assert run("convert", symbol, tmp_path / "x.h5", "--input", wrong).code == 2
    assert run("convert", symbol, tmp_path / "x.h5", "--input", "other:3,4").code != 0


def test_inputs_are_declared_anew(run: Run, model: Path, tmp_path: Path) -> None:
    with ma.open(model) as archive:
        (declared,) = archive.architecture["inputs"]
    sizes = ",".join("?" if size is None else str(size) for size in declared["shape"])
    assert run("convert", model, tmp_path / "y.h5", "--input", f"image:{sizes}:float64").code == 0
    with ma.open(tmp_path / "y.h5") as archive:
        assert archive.architecture["inputs"] == [declared | {"name": "image", "dtype": "float64"}]
    assert run("convert", model, tmp_path / "y.h5", "--input", "image:?,77:float32").code == 4


def test_compression(run: Run, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **{"a.w": np.zeros((256, 256), "f4"), "b.w": np.zeros((256, 256), "f4")})
    sizes = {}
    for words in ((), ("deflate",), ("none",), ("a*=deflate",)):
        options = [each for word in words for each in ("--compression", word)]
        done = run("convert", tmp_path / "x.npz", tmp_path / "x.h5", *options)
        assert (done.code, done.err) == (0, "")
        sizes[words] = (tmp_path / "x.h5").stat().st_size
        assert not ma.load(tmp_path / "x.h5")["a.w"].any()
    assert sizes[()] == sizes[("none",)] > 2 * 256 * 256 * 4 > sizes[("a*=deflate",)] > sizes[("deflate",)]
    for out, word in (("y.npz", "deflate"), ("y.h5", "lzma"), ("y.h5", "a*=")):
        assert run("convert", tmp_path / "x.npz", tmp_path / out, "--compression", word).code == 2
        assert not (tmp_path / out).exists()
    with pytest.raises(ValueError, match="only archives are compressed"):
        ma.convert(tmp_path / "x.npz", tmp_path / "y.npz", compression="deflate")


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
