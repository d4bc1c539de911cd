"""``modelarchive run``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from tests.cli.conftest import Run


@pytest.fixture
def given(tmp_path: Path, x: np.ndarray) -> Path:
    path = tmp_path / "x.npy"
    np.save(path, x)
    return path


def test_forward(run: Run, model: Path, given: Path, tmp_path: Path, net: ma.nn.Block, x: np.ndarray) -> None:
    out = tmp_path / "y.npy"
    done = run("run", model, "--input", given, "-o", out)
    assert (done.code, done.err) == (0, "")
    assert "2 x 3" in done.out
    assert np.array_equal(np.load(out), net(x))
    found = run("run", model, "--input", given, "--json").json
    assert found["outputs"][0]["shape"] == [2, 3]
    assert found["written"] is None


def test_in_onnx_runtime(run: Run, model: Path, given: Path, tmp_path: Path, net: ma.nn.Block, x: np.ndarray) -> None:
    pytest.importorskip("onnxruntime")
    out = tmp_path / "y.npy"
    assert run("run", model, "--backend", "onnxruntime", "--input", given, "-o", out).code == 0
    np.testing.assert_allclose(np.load(out), net(x), atol=1e-6)
    assert run("run", model, "--backend", "onnxruntime", "--block", "features", "--input", given, "-o", out).code == 0
    np.testing.assert_allclose(np.load(out), net.features(x), atol=1e-6)
    wide = tmp_path / "wide.npy"
    np.save(wide, np.ones((2, 99), np.float32))
    done = run("run", model, "--backend", "onnxruntime", "--input", wide)
    assert (done.code, done.out) == (2, "")
    assert "the network does not take float32 2 x 99: input x: expected float32" in done.err


def test_a_block_alone(run: Run, model: Path, given: Path, tmp_path: Path, net: ma.nn.Block, x: np.ndarray) -> None:
    out = tmp_path / "y.npz"
    assert run("run", model, "--block", "features", "--input", given, "-o", out).code == 0
    assert np.array_equal(np.load(out)["output0"], net.features(x))


def test_wrong_inputs(run: Run, model: Path, parameters: Path, given: Path, tmp_path: Path) -> None:
    wide = tmp_path / "wide.npy"
    np.save(wide, np.zeros((2, 7), np.float32))
    text = tmp_path / "text.npy"
    text.write_text("hello")
    for arguments, code, words in [
        ([model, "--input", wide], 2, "2 x 7"),
        ([model, "--input", text], 2, "is no .npy or .npz file"),
        ([model, "--input", tmp_path / "none.npy"], 4, "no such file"),
        ([model, "--input", given, "--input", given], 2, "2 inputs given, the network has 1"),
        ([parameters, "--input", given], 2, "no architecture"),
        ([model, "--input", given, "-o", tmp_path / "y.txt"], 2, "neither .npy nor .npz"),
    ]:
        done = run("run", *arguments)
        assert (done.code, words in done.err) == (code, True), done


class Several(ma.nn.Block):
    def __init__(self) -> None:
        super().__init__()
        self.dense = ma.nn.Dense(3)

    def forward(self, x: Any) -> Any:
        y = self.dense(x)
        return {"scores": y, "more": (y + 1, y * 2)}


def test_nested_outputs_are_named(run: Run, tmp_path: Path) -> None:
    net = Several()
    net.initialize(seed=0)
    x = np.ones((2, 4), "float32")
    ma.save_model(tmp_path / "net.h5", net, inputs=x)
    np.save(tmp_path / "x.npy", x)
    done = run("run", tmp_path / "net.h5", "--input", tmp_path / "x.npy", "-o", tmp_path / "y.npz")
    assert done.code == 0
    expected = net(x)
    with np.load(tmp_path / "y.npz") as written:
        assert sorted(written) == ["more.0", "more.1", "scores"]
        assert np.array_equal(written["more.1"], expected["more"][1])
    assert "more.1" in done.out
