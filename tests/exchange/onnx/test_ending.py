"""Where a model ends: in front of what counts its results by their values, as ONNX Runtime computes it there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import cli
from modelarchive.exchange import onnx as exchange

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")
X = np.random.default_rng(0).standard_normal((1, 6, 4)).astype(np.float32)


@pytest.fixture
def detector(tmp_path: Path) -> Path:
    """Boxes and scores of a picture, of which those are taken that hide no better one; and how large it was."""
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("MatMul", ["x", "head.weight"], ["both"], "head"),
        helper.make_node("Sigmoid", ["both"], ["places"], "bounded"),
        helper.make_node("Split", ["places", "sizes"], ["boxes", "class"], "apart", axis=2),
        helper.make_node("Transpose", ["class"], ["scores"], "turned", perm=[0, 2, 1]),
        helper.make_node("NonMaxSuppression", ["boxes", "scores", "most"], ["chosen"], "nms"),
        helper.make_node("Gather", ["chosen", "last"], ["which"], "last_of_them", axis=1),
        helper.make_node("Gather", ["boxes", "which"], ["kept"], "kept_ones", axis=1),
    ]
    random = np.random.default_rng(1)
    stored = {
        "head.weight": random.standard_normal((4, 5)).astype(np.float32),
        "sizes": np.array([4, 1]),
        "most": np.array([3]),
        "last": np.array(2),
    }
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 6, 4])],
        [
            helper.make_tensor_value_info("kept", TensorProto.FLOAT, None),
            helper.make_tensor_value_info("places", TensorProto.FLOAT, None),
        ],
        [onnx.numpy_helper.from_array(array, name) for name, array in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "detector.onnx")
    return tmp_path / "detector.onnx"


def computed(path: Path, names: list[str]) -> list[np.ndarray]:
    """What ONNX Runtime computes of values within a model."""
    model = onnx.load(path)
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    found: list[np.ndarray] = runtime.InferenceSession(model.SerializeToString()).run(None, {"x": X})
    return found


@pytest.mark.parametrize(
    ("until", "names"),
    [("scores", ["scores"]), (["boxes", "scores"], ["boxes", "scores"]), ("apart", ["boxes", "class"])],
)
def test_a_model_ends_with_values_or_with_those_of_a_node(until, names, detector):
    bundle = exchange.read(detector, until=until)
    assert bundle.notes[0].where == "(outputs)"
    assert "kept" in bundle.notes[0].what
    found = bundle.build()(X)
    for ours, theirs in zip(found if isinstance(found, tuple) else [found], computed(detector, names), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_the_refusal_names_what_can_be_read(detector, tmp_path, capsys):
    with pytest.raises(ma.ConversionError, match="depends on values") as caught:
        exchange.read(detector)
    assert caught.value.hint == "convert() keeps what comes before, with until=['boxes', 'scores', 'places']"
    assert cli.main(["convert", str(detector), str(tmp_path / "x.h5")]) != 0
    said = capsys.readouterr().err
    assert "--until boxes --until scores --until places" in said
    ends = ["--until", "boxes", "--until", "scores", "--until", "places"]
    assert cli.main(["convert", str(detector), str(tmp_path / "x.h5"), *ends]) == 0
    found = ma.load_model(tmp_path / "x.h5")(X)
    for ours, theirs in zip(found, computed(detector, ["boxes", "scores", "places"]), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_a_name_of_nothing(detector, tmp_path):
    with pytest.raises(ma.ConversionError, match="did you mean 'scores'"):
        exchange.read(detector, until=["score", "boxes"])
    with pytest.raises(ma.ConversionError, match="names nothing"):
        exchange.read(detector, until=[])
    ma.save(tmp_path / "x.h5", X)
    with pytest.raises(ValueError, match="until is for ONNX models"):
        ma.convert(tmp_path / "x.h5", tmp_path / "y.npz", until="x")
    assert cli.main(["convert", str(tmp_path / "x.h5"), str(tmp_path / "y.npz"), "--until", "x"]) == 2
