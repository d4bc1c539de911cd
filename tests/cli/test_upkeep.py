"""``modelarchive repack`` and ``modelarchive reindex``."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

import modelarchive as ma
from tests.cli.conftest import Run


def test_reindex_after_an_hdf5_tool(run: Run, parameters: Path) -> None:
    before = ma.load(parameters)
    with h5py.File(parameters, "r+") as file:
        file.attrs["note"] = "changed"
    assert run("verify", parameters).code == 1
    done = run("reindex", parameters)
    assert (done.code, done.err) == (0, "")
    assert run("verify", parameters).code == 0
    after = ma.load(parameters)
    assert list(after) == list(before)
    assert all(np.array_equal(after[name], before[name]) for name in before)


def test_repack_leaves_out_what_is_no_part(run: Run, parameters: Path, tmp_path: Path) -> None:
    before = ma.load(parameters)
    with h5py.File(parameters, "r+") as file:
        file["stray"] = np.arange(10)
    out = tmp_path / "packed.h5"
    done = run("repack", parameters, "-o", out)
    assert done.code == 0
    assert "/stray" in done.out
    assert run("verify", out).code == 0
    assert list(ma.load(out)) == list(before)
    found = run("repack", parameters, "--json").json
    assert found["left_out"] == ["/stray"]
    assert run("verify", parameters).code == 0


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "w.h5"
    numbers = np.random.default_rng(0).standard_normal((2, 300, 200)).astype("f4")
    ma.save(path, {"a.weight": numbers[0], "b.weight": numbers[1], "scale": np.float32([1e-30, 7]), "n": np.arange(3)})
    return path


def test_repack_compresses_and_back(run: Run, weights: Path, tmp_path: Path) -> None:
    before, plain = ma.load(weights), weights.read_bytes()
    out = tmp_path / "out.h5"
    assert run("repack", weights, "-o", out, "--compression", "a.*=deflate").code == 0
    assert "1 array, 234.4 KiB -> " in run("show", out).out
    shown = run("show", out, "--json").json["arrays"]
    assert shown["a.weight"]["compressed"] < shown["a.weight"]["bytes"]
    assert shown["b.weight"]["compressed"] is None
    assert run("repack", weights, "-o", out, "--compression", "deflate").code == 0
    assert run("verify", out).code == 0
    assert out.stat().st_size < 0.9 * len(plain)
    assert all(np.array_equal(ma.load(out)[name], before[name]) for name in before)
    assert run("repack", out).code == 0
    assert out.stat().st_size < 0.9 * len(plain)
    assert run("repack", out, "--compression", "none").code == 0
    assert out.read_bytes() == plain


def test_repack_converts_and_says_what_it_costs(run: Run, weights: Path) -> None:
    done = run("repack", weights, "--dtype", "b.*=keep", "--dtype", "*=float16", "--json").json
    assert [each["name"] for each in done["converted"]] == ["a.weight", "scale"]
    assert done["converted"][1]["zeroed"] == 1
    assert {name: array.dtype.name for name, array in ma.load(weights).items()} == {
        "a.weight": "float16", "b.weight": "float32", "scale": "float16", "n": "int64"}  # fmt: skip
    done = run("repack", weights, "--dtype", "float32")
    assert "largest error: 0, in" in done.out
    ma.save(weights, {"x": np.float32([1e9])})
    done = run("repack", weights, "--dtype", "float16")
    assert done.code == 2
    assert "1e+09 is beyond float16" in done.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--compression", "gzip"], "expected deflate, none, keep"),
        (["--dtype", "int8"], "expected bfloat16"),
        (["--dtype", "float16", "--dtype", "float32"], "OLD=NEW"),
        (["--compression", "nothing=deflate"], "no such array"),
    ],
)
def test_repack_refuses_other_choices(run: Run, weights: Path, arguments: list[str], words: str) -> None:
    before = weights.read_bytes()
    done = run("repack", weights, *arguments)
    assert done.code == 2
    assert words in done.err
    assert weights.read_bytes() == before


@pytest.mark.parametrize("command", ["reindex", "repack"])
def test_any_hdf5_file_is_none_of_keras(run: Run, command: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["data/x"] = np.arange(3)
    done = run(command, tmp_path / "x.h5")
    assert done.code == 4
    assert "neither a model nor weights of Keras" in done.err
    assert "are read with h5py" in done.err
