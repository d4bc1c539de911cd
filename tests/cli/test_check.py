"""``modelarchive verify`` and ``modelarchive diff``."""

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


def test_diff_of_the_same(run: Run, model: Path, parameters: Path) -> None:
    done = run("diff", model, model)
    assert (done.code, done.err) == (0, "")
    assert "the same" in done.out
    assert run("diff", "--json", model, model).json["is_equal"] is True


def test_diff_names_what_changed(run: Run, tmp_path: Path) -> None:
    one, two = tmp_path / "one.h5", tmp_path / "two.h5"
    shared = {"same": np.ones(3), "words": np.array(["a"])}
    ma.save(one, {**shared, "moved": np.zeros(4), "grown": np.zeros(2), "old": np.zeros(1)})
    ma.save(two, {**shared, "moved": np.array([0, 0, 0.25, 0]), "grown": np.zeros(3), "new": np.zeros(1)})
    done = run("diff", one, two)
    assert done.code == 1
    lines = {line.split()[0]: line for line in done.out.splitlines() if line.strip()}
    assert "by at most 0.25" in lines["moved"]
    assert "->" in lines["grown"]
    assert "only in A" in lines["old"]
    assert "only in B" in lines["new"]
    assert "same" not in lines
    found = run("diff", "--json", one, two).json
    assert found["changed"] == {"moved": 0.25}
    assert found["is_equal"] is False


def test_diff_of_architecture_and_metadata(run: Run, model: Path, net: ma.nn.Block, x: np.ndarray) -> None:
    other = model.with_name("other.h5")
    net.output.trainable = True
    net.freeze("output.*")
    ma.save_model(other, net, inputs=x, metadata={"license": "BSD"})
    done = run("diff", model, other)
    assert done.code == 1
    for word in ("frozen", "/license", "MIT", "BSD", "6 of 6 arrays equal"):
        assert word in done.out
