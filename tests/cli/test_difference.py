"""``modelarchive diff``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import modelarchive as ma
from tests.cli.conftest import Run


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
    for word in ("frozen", "/license", '"MIT"', '"BSD"', "6 of 6 arrays equal"):
        assert word in done.out
    found = run("diff", "--json", model, other).json
    assert {"where": "/license", "a": "MIT", "b": "BSD"} in found["metadata"]
    assert {"where": "/accuracy", "a": 0.5} in found["metadata"]


def test_diff_says_values_in_json_and_blocks_in_words(run: Run, tmp_path: Path) -> None:
    paths = []
    for layers, extra in (((3, 2), {"a": None, "b": True}), ((3, 4, 2), {"a": {"deep": [1]}, "c": "x" * 500})):
        net = ma.nn.Sequential(*(ma.nn.Dense(units) for units in layers))
        net.initialize(seed=0)
        paths.append(tmp_path / f"{len(layers)}.h5")
        ma.save_model(paths[-1], net, inputs=np.zeros((1, 5), np.float32), metadata=extra)
    done = run("diff", *paths)
    assert done.code == 1
    for word in ("None", "True", "{'", "absent at"):
        assert word not in done.out
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert "/model/children/2 absent 2: Dense units=2 use_bias=true" in lines
    assert "/model/children/1/block/units 2 4" in lines
    assert '/a null {"deep": [1]}' in lines
    assert "/b true absent" in lines
    assert any("characters more" in line for line in lines)
    assert "1.weight replaced float32 2 x 3 -> float32 4 x 3" in lines


def test_diff_sees_children_in_another_order(run: Run, tmp_path: Path) -> None:
    paths = []
    for names in (("one", "two"), ("two", "one")):
        net = ma.nn.Sequential()
        net.add(**{name: ma.nn.Dense(5, in_units=5) for name in names})
        net.initialize(seed=0)
        paths.append(tmp_path / f"{names[0]}.h5")
        ma.save_model(paths[-1], net, inputs=np.zeros((1, 5), np.float32))
    found = run("diff", "--json", *paths).json
    assert {"where": "/model/children", "a": ["one", "two"], "b": ["two", "one"]} in found["architecture"]
