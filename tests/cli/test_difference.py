"""``modelarchive diff``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

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


def _damaged(file: Path, at: int) -> Path:
    raw = bytearray(file.read_bytes())
    raw[at] ^= 1
    damaged = file.with_name(f"damaged {file.name}")
    damaged.write_bytes(raw)
    return damaged


def test_damage_is_no_change(run: Run, tmp_path: Path) -> None:
    one, two = tmp_path / "one.h5", tmp_path / "two.h5"
    numbers = np.arange(6.0)
    ma.save(one, {"a": numbers, "b": numbers, "again": numbers + 1})
    ma.save(two, {"a": numbers, "b": numbers + 1, "again": numbers + 1})
    with ma.open(two) as archive:
        damaged = _damaged(two, archive.reader.contents.arrays["a"].offset)
    done = run("diff", one, damaged)
    assert done.code == 1
    lines = {line.split()[0]: " ".join(line.split()) for line in done.out.splitlines() if line.strip()}
    assert lines["a"].startswith("a damaged in B by at most")
    assert lines["b"] == "b changed by at most 1"
    assert f"{damaged}: damaged, and not another version: its digests do not fit a;" in done.out
    assert f"`modelarchive verify '{damaged}'` lists all" in done.out
    found = run("diff", "--json", damaged, one).json
    assert list(found["damaged_a"]) == ["a"]
    assert found["damaged_b"] == {}


def test_damage_of_a_shared_array_stands_under_each_of_its_names(run: Run, tmp_path: Path) -> None:
    layer = ma.nn.Dense(3, in_units=3)
    net = ma.nn.Sequential()
    net.add(a=layer, b=layer)
    net.initialize(seed=0)
    file = tmp_path / "one.h5"
    ma.save_model(file, net, inputs=np.zeros((1, 3), np.float32))
    with ma.open(file) as archive:
        damaged = _damaged(file, archive.reader.contents.arrays["a.weight"].offset)
    assert list(run("diff", "--json", file, damaged).json["damaged_b"]) == ["a.weight", "b.weight"]


def test_damage_of_texts(run: Run, model: Path) -> None:
    damaged = _damaged(model, model.read_bytes().index(b"MIT"))
    done = run("diff", model, damaged)
    assert done.code == 1
    assert "its digests do not fit /metadata/data" in done.out
    done = run("diff", damaged, damaged)
    assert done.code == 1
    assert done.out.startswith("the same: 6 of 6 arrays equal")


def test_what_a_tool_has_changed_is_no_damage(run: Run, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    one, two = tmp_path / "one.h5", tmp_path / "two.h5"
    for file in (one, two):
        ma.save(file, {"a": np.zeros(3)})
    with h5py.File(two, "r+") as file:
        file["arrays/a"][0] = 1
        file.attrs["note"] = "changed"
    done = run("diff", one, two)
    assert done.code == 1
    assert "a       changed   by at most 1" in done.out
    assert "damaged" not in done.out


def test_damage_in_shards(run: Run, tmp_path: Path) -> None:
    whole, folder = tmp_path / "one.h5", tmp_path / "pieces"
    arrays = {"a": np.arange(100.0), "b": np.ones(100)}
    ma.save(whole, arrays)
    ma.save(folder, arrays, max_shard_size=900)
    with ma.open(folder) as archive:
        shard = folder / archive.reader.index.map.places["b"]  # type: ignore[union-attr]
    raw = bytearray(shard.read_bytes())
    raw[-4] ^= 1
    shard.write_bytes(raw)
    done = run("diff", whole, folder)
    assert done.code == 1
    assert "damaged in B" in done.out
