"""``modelarchive verify``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import modelarchive as ma
from tests.cli.conftest import Run, damage


def test_a_whole_file(run: Run, model: Path, arrays: Path) -> None:
    done = run("verify", model, arrays)
    assert (done.code, done.err) == (0, "")
    assert done.out.count(": whole: ") == 2
    assert [each["ok"] for each in run("verify", "--json", model, arrays).json] == [True, True]


def test_damage_is_named(run: Run, model: Path, arrays: Path) -> None:
    damage(model, "output.weight")
    done = run("verify", arrays, model)
    assert done.code == 1
    assert "output.weight" in done.out
    assert "features" not in done.out
    found = run("verify", "--json", model).json[0]
    assert not found["ok"]
    assert list(found["damaged"]) == ["output.weight"]


def test_the_worst_file_decides(run: Run, model: Path, tmp_path: Path) -> None:
    damage(model, "output.weight")
    done = run("verify", model, tmp_path / "nothing.h5")
    assert done.code == 4
    assert "output.weight" in done.out
    assert "nothing.h5: no such file" in done.err


def test_digests_are_short(run: Run, model: Path) -> None:
    damage(model, "output.weight")
    with ma.open(model) as archive:
        digest = archive.reader.contents.entry("output.weight").digest
    assert digest is not None
    out = run("verify", model).out
    assert f"expected {digest[:16]}..., found" in out
    assert digest not in out
    # Extracting reads what is damaged, and says so in the same words.
    done = run("sign", model, "--key", model)
    assert digest not in done.err
    assert run("verify", "--json", model).json[0]["damaged"]["output.weight"]["expected"] == digest


def test_a_name_does_not_pass_for_a_line(run: Run, tmp_path: Path) -> None:
    bad = tmp_path / "a\ngood.h5: whole: 1 arrays"
    ma.save(bad, {"x\ngood.h5: whole": np.arange(100.0)})
    data = bytearray(bad.read_bytes())
    data[-9] ^= 1
    bad.write_bytes(data)
    done = run("verify", bad)
    assert done.code == 1
    assert not any(line.startswith("good.h5: whole") for line in done.out.splitlines())
    assert r"a\ngood.h5: whole: 1 arrays: damaged" in done.out
    bad.write_bytes(b"")
    assert r"a\ngood.h5" in run("verify", bad).err
