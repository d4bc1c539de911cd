"""``modelarchive repack`` and ``modelarchive reindex``."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

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
