"""``modelarchive show``."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file

import modelarchive as ma
from modelarchive.archive import saving
from tests.cli.conftest import Run


def test_table(run: Run, model: Path) -> None:
    done = run("show", model)
    assert (done.code, done.err) == (0, "")
    for word in (
        "features.0.weight",
        "Dense",
        "float32",
        "8 x 5",
        "160 B",
        "license: MIT",
        "batch x 5",
        "123 parameters",
    ):
        assert word in done.out


def test_tree(run: Run, model: Path) -> None:
    lines = run("show", model, "--tree").out.splitlines()
    assert "  features: Sequential" in lines
    assert '    0: Dense units=8 activation="relu"' in lines
    assert "      weight  float32 8 x 5" in lines
    assert lines.index("  features: Sequential") < lines.index("  output: Dense units=3 use_bias=true")


def test_the_tree_has_blocks_without_parameters(run: Run, tmp_path: Path) -> None:
    net = ma.nn.Sequential(ma.nn.Dense(3), ma.nn.Dropout(0.5), ma.nn.Dense(2))
    net.initialize(seed=0)
    ma.save_model(tmp_path / "x.h5", net, inputs=np.zeros((1, 4), "float32"))
    lines = run("show", tmp_path / "x.h5", "--tree").out.splitlines()
    blocks = [line for line in lines if line.startswith("  ") and line[2] != " "]
    start = blocks.index("  0: Dense units=3 use_bias=true")
    assert blocks[start + 1 :] == ["  1: Dropout rate=0.5", "  2: Dense units=2 use_bias=true"]


def test_json_tells_everything(run: Run, model: Path, net: ma.nn.Block) -> None:
    found = run("show", model, "--json").json
    assert found["metadata"] == {"license": "MIT", "accuracy": 0.5}
    assert found["architecture"]["model"]["kind"] == "Graph"
    assert list(found["arrays"]) == list(net.collect_params())
    assert found["arrays"]["output.bias"]["shape"] == [3]
    assert found["bytes"] == model.stat().st_size
    assert found["index"] == "valid"


def test_stats(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "values.h5"
    ma.save(path, {"a": np.array([0, -1.5, np.nan, 3], np.float32), "empty": np.zeros((0, 2)), "c": np.ones(2, "c8")})
    done = run("show", path, "--stats")
    assert done.code == 0
    assert "-1.5" in done.out
    found = run("show", path, "--stats", "--json").json["arrays"]
    said = found["a"]["stats"]
    assert sum(said.pop("histogram")["counts"]) == 3
    assert said == {
        "size": 4, "least": -1.5, "greatest": 3.0, "mean": 0.5, "deviation": pytest.approx(1.8708287), "zeros": 1,
        "nans": 1, "infinities": 0, "not_finite": 1,
    }  # fmt: skip
    assert found["empty"]["stats"]["least"] is None


def test_saved_structures(run: Run, arrays: Path) -> None:
    out = run("show", arrays).out
    assert "more/1" in out
    assert "two" in out


def test_control_characters_of_a_name_do_not_reach_the_terminal(run: Run, arrays: Path) -> None:
    for how in ((), ("--tree",), ("--stats",)):
        out = run("show", arrays, *how).out
        assert "\x1b" not in out
        assert r"esc\x1b[31m" in out


def test_shared_parameters(run: Run, tmp_path: Path) -> None:
    class Tied(ma.nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.one = ma.nn.Dense(4, in_units=4)
            self.two = ma.nn.Dense(4, in_units=4)
            self.two.weight = self.one.weight

    tied = Tied()
    tied.initialize(seed=0)
    path = tmp_path / "tied.h5"
    tied.save_parameters(path)
    assert "= one.weight" in run("show", path).out
    assert run("show", path, "--json").json["arrays"]["two.weight"]["shares"] == "one.weight"


def test_a_stale_index_is_said_in_one_line(run: Run, parameters: Path) -> None:
    with h5py.File(parameters, "r+") as file:
        file.attrs["note"] = "changed"
    done = run("show", parameters)
    assert done.code == 0
    assert done.err.startswith("modelarchive: warning: ")
    assert done.err.count("\n") == 1
    assert "modelarchive reindex" in done.err


def test_an_invalid_architecture_is_said(run: Run, tmp_path: Path, net: ma.nn.Block) -> None:
    path = tmp_path / "strange.h5"
    texts = saving.json_texts(architecture={"model": {"kind": "Nothing", "children": []}})
    saving.write_model(path, saving.initialized(net), kinds={"": "Nothing"}, texts=texts)
    done = run("show", path)
    assert done.code == 0
    assert "the architecture is invalid" in done.err
    assert "features.0.weight" in done.out
    assert run("show", path, "--tree").code == 0
    assert run("verify", path).code == 1


def test_a_pipe_gets_every_column(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "long.h5"
    name = "long" * 60
    ma.save(path, {name: np.zeros(1)})
    assert name in run("show", path).out


def test_a_tree_is_as_long_as_its_names(run: Run, tmp_path: Path) -> None:
    name = "a." * 5_000 + "w"
    save_file({name: np.zeros(2)}, tmp_path / "deep.safetensors")
    assert len(run("show", "--tree", tmp_path / "deep.safetensors").out) < 2 * len(name)
    save_file({name * 10: np.zeros(2)}, tmp_path / "deep.safetensors")
    done = run("convert", tmp_path / "deep.safetensors", tmp_path / "x.h5")
    assert done.code == 2
    assert "the key takes more than 60,000 bytes" in done.err
    assert not (tmp_path / "x.h5").exists()
