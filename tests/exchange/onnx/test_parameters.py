"""The arrays of an ONNX model alone: of any opset, any operators, branches and loops, and without a graph to say."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import names
from modelarchive.exchange import onnx as exchange
from modelarchive.exchange.onnx.parameters import _cleaned
from tests.conftest import ROOT
from tests.exchange.onnx import wire

FOREIGN = ROOT / "tests" / "data" / "foreign" / "onnx"
W = np.arange(6, dtype=np.float32).reshape(2, 3)
B = np.array([1, -2, 0.5], np.float32)


def _tensor(name: str, array: np.ndarray, code: int = 1) -> bytes:
    return wire.tensor(name, array.shape, array.tobytes(), code=code)


def _attribute(name: str, field: int, content: bytes, kind: int) -> bytes:
    return wire.field(1, name) + wire.field(field, content) + wire.field(20, kind)


def _branch(name: str, graph: bytes) -> bytes:
    return _attribute(name, 6, graph, 5)


def _constant(output: str, array: np.ndarray, code: int = 1) -> bytes:
    return wire.node("Constant", [], [output], _attribute("value", 5, _tensor("", array, code), 4))


def _model(path: Path, graph: bytes, **opsets: int) -> Path:
    found = wire.field(1, 8) + wire.field(7, graph)
    for domain, version in opsets.items():
        found += wire.field(8, wire.field(1, domain.replace("_", ".")) + wire.field(2, version))
    path.write_bytes(found)
    return path


@pytest.mark.parametrize("name", sorted(path.stem for path in FOREIGN.glob("*.onnx")))
def test_of_a_model_that_is_read_too(name: str) -> None:
    whole = exchange.read(FOREIGN / f"{name}.onnx")
    alone = exchange.read(FOREIGN / f"{name}.onnx", parameters_only=True)
    assert alone.architecture is None
    assert alone.reason
    assert alone.metadata == whole.metadata
    one, two = ({array.tobytes() for array in bundle.parameters.values()} for bundle in (whole, alone))
    assert one & two
    for key in set(whole.parameters) & set(alone.parameters):
        if whole.parameters[key].shape == alone.parameters[key].shape:
            assert whole.parameters[key].tobytes() == alone.parameters[key].tobytes()


def test_an_old_opset_and_unknown_operators(tmp_path: Path) -> None:
    nodes = [wire.node("Mystery", ["x", "layer.w"], ["h"], domain="com.example"), wire.node("Add", ["h", "b"], ["y"])]
    graph = wire.graph(nodes, [_tensor("layer.w", W), _tensor("b", B)], [wire.value("x", [2])], [wire.value("y", [3])])
    path = _model(tmp_path / "old.onnx", graph, **{"": 6, "com_example": 1})
    with pytest.raises(ma.ConversionError, match=r"operator 'com\.example::Mystery' is not supported") as caught:
        exchange.read(path)
    assert caught.value.hint is None
    with pytest.raises(ma.ConversionError, match=r"operator 'com\.example::Mystery' is not supported") as caught:
        ma.load_model(path)
    assert "--parameters-only" in str(caught.value.hint)
    assert "load()" in str(caught.value.hint)
    with pytest.warns(UserWarning, match=r"\(architecture\): there is none, only the arrays.*Mystery"):
        found = ma.load(path)
    assert list(found) == ["layer.w", "b"]
    assert np.array_equal(found["layer.w"], W)
    notes = ma.convert(path, tmp_path / "old.h5", parameters_only=True)
    assert [note.where for note in notes] == ["(architecture)"]
    assert np.array_equal(ma.load(tmp_path / "old.h5")["b"], B)
    with ma.open(tmp_path / "old.h5") as archive:
        assert archive.section == "parameters"
        assert archive.metadata["source"] == {"format": "ONNX", "opset": 6}


def test_branches_loops_and_constants(tmp_path: Path) -> None:
    inner = wire.graph([_constant("deep", W + 2)], [_tensor("w", W + 1)], [], [wire.value("deep", [2, 3])])
    then = wire.graph([wire.node("Loop", ["n", "c"], ["l"], _branch("body", inner), name="loop")], [_tensor("w", W)])
    nodes = [
        wire.node("If", ["c"], ["y"], _branch("then_branch", then), _branch("else_branch", inner), name="choice"),
        _constant("bias", B),
        _constant("sizes", np.array([2, 3, 4], np.int64), 7),
        _constant("half", np.array(0.5, np.float32)),
        _constant("quantised", np.ones((2, 2), np.int8), 3),
        _constant("axes", np.ones(2, np.int8), 3),
    ]
    path = _model(tmp_path / "x.onnx", wire.graph(nodes, [_tensor("w", W * 2)]), **{"": 11})
    bundle = exchange.read(path, parameters_only=True)
    expected = {
        "w": W * 2,
        "choice.then_branch.w": W,
        "choice.then_branch.loop.body.w": W + 1,
        "choice.then_branch.loop.body.deep": W + 2,
        "choice.else_branch.w": W + 1,
        "choice.else_branch.deep": W + 2,
        "bias": B,
        "quantised": np.ones((2, 2), np.int8),
    }
    assert set(bundle.parameters) == set(expected)
    for name, array in expected.items():
        assert np.array_equal(bundle.parameters[name], array)
    assert bundle.notes == []


def test_classical_machine_learning(tmp_path: Path) -> None:
    weights = _attribute("coefficients", 7, B.tobytes(), 6)
    node = wire.node("DictVectorizer", ["x"], ["y"], weights, name="classifier", domain="ai.onnx.ml")
    path = _model(tmp_path / "ml.onnx", wire.graph([node]), ai_onnx_ml=1)
    with pytest.raises(ma.ConversionError, match=r"ai\.onnx\.ml only.*classical machine learning.*DictVectorizer"):
        exchange.read(path)
    found = exchange.read(path, parameters_only=True)
    assert np.array_equal(found.parameters["classifier.coefficients"], B)


def test_what_no_array_can_be(tmp_path: Path) -> None:
    four_bits = wire.tensor("packed", [4], b"\x12\x34", code=22)
    texts = wire.field(1, 1) + wire.field(2, 8) + wire.field(8, "labels") + wire.field(6, "one")
    path = _model(tmp_path / "x.onnx", wire.graph([], [four_bits, texts, _tensor("w", W)]), **{"": 21})
    bundle = exchange.read(path, parameters_only=True)
    assert list(bundle.parameters) == ["w"]
    assert {note.where for note in bundle.notes} == {"packed", "labels"}
    empty = _model(tmp_path / "y.onnx", wire.graph([wire.node("Relu", ["x"], ["y"])]), **{"": 21})
    with pytest.raises(ma.FormatError, match="holds no arrays"):
        exchange.read(empty, parameters_only=True)


def test_names_that_are_none_of_parameters(tmp_path: Path) -> None:
    stored = [
        "/encoder/layer.0/Constant_output_0",
        "dense/kernel:0",
        "dense/kernel",
        "a",
        "a.b",
        "über größe",
        "",
        "onnx::MatMul_7",
    ]
    path = _model(
        tmp_path / "x.onnx", wire.graph([], [_tensor(name, W + at) for at, name in enumerate(stored)]), **{"": 9}
    )
    bundle = exchange.read(path, parameters_only=True)
    ours = list(bundle.parameters)
    assert ours == ["encoder.layer.0.Constant_output_0", "dense.kernel", "dense.kernel_2", "a_2", "a.b", "_ber_gr__e",
                    "array", "onnx.MatMul_7"]  # fmt: skip
    assert not any(names.problem_with_name(name) for name in ours)
    told = {note.where: note.what for note in bundle.notes}
    assert told == {old: f"is the parameter {new!r}" for old, new in zip(stored, ours, strict=True) if old != new}
    assert ma.convert(path, tmp_path / "x.h5", parameters_only=True)
    with ma.open(tmp_path / "x.h5") as archive:
        assert list(archive.parameters) == ours
        assert archive.section == "parameters"
    assert _cleaned(".".join(["x"] * 100)).count(".") == names.MAX_PARTS - 1


@pytest.mark.slow
def test_many_of_one_name_take_no_time(tmp_path: Path) -> None:
    stored = [wire.tensor("/" * number + "w", [1], b"abcd") for number in range(1, 3000)]
    bundle = exchange.read(_model(tmp_path / "x.onnx", wire.graph([], stored), **{"": 9}), parameters_only=True)
    assert len(bundle.parameters) == 2999


def test_a_message_shows_nothing_of_this_package(tmp_path: Path) -> None:
    nodes = [wire.node("Shape", ["z"], ["s"]), wire.node("Reshape", ["x", "s"], ["y"])]
    inputs = [wire.value("x", ["N", 7]), wire.value("z", ["M", "T", "U"])]
    graph = wire.graph(nodes, [], inputs, [wire.value("y", ["M", "T", "U"])])
    path = _model(tmp_path / "shape.onnx", graph, **{"": 17})
    with pytest.raises(ma.ConversionError, match=r"reshape to \(\?, \?, \?\)") as caught:
        exchange.read(path)
    assert "pass inputs=" in str(caught.value)
    assert not any(word in str(caught.value).replace(str(path), "") for word in (".py", "Dim", "(model)"))
    assert exchange.read(path, inputs=[(6, 7), (2, 3, 7)]).architecture  # as it says


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from modelarchive.cli import main

    node = wire.node("Mystery", ["x", "w"], ["y"])
    graph = wire.graph([node], [_tensor("w", W)], [wire.value("x", [2])], [wire.value("y", [2])])
    path = _model(tmp_path / "x.onnx", graph, **{"": 17})
    assert main(["convert", str(path), str(tmp_path / "x.h5")]) == 4
    assert "--parameters-only" in capsys.readouterr().err
    assert main(["convert", str(path), str(tmp_path / "x.h5"), "--parameters-only", "--json"]) == 0
    notes = json.loads(capsys.readouterr().out)["notes"]
    assert notes == [
        {"where": "(architecture)", "what": "there is none: only the arrays were asked for, not the graph"}
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(ma.load(tmp_path / "x.h5")) == ["w"]
