"""What of an ONNX model is not read is told: a note, or an error."""

from __future__ import annotations

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange import onnx
from modelarchive.exchange.onnx import schema
from tests.exchange.onnx.wire import field, function, graph, model, node, tensor, value

X, Y = value("x", ["batch", 4]), value("y", ["batch", 4])
NEG = node("Neg", ["x"], ["y"])


def notes(path, model_bytes, **files):
    path.write_bytes(model_bytes)
    for name, content in files.items():
        (path.parent / name).write_bytes(content)
    return [str(each) for each in onnx.read(path).notes]


def test_of_a_model_that_is_read_as_a_whole_nothing_is_told(tmp_path):
    assert notes(tmp_path / "m.onnx", model(graph([NEG], (), [X], [Y]))) == []


@pytest.mark.parametrize("tail", [bytes(16), b"\0\0", b"xyz"])
def test_bytes_behind_a_model_are_an_error(tail, tmp_path):
    with pytest.raises(ma.FormatError, match="damaged"):
        notes(tmp_path / "m.onnx", model(graph([NEG], (), [X], [Y])) + tail)


@pytest.mark.parametrize(
    ("where", "data"),
    [
        ("(model)", model(graph([NEG], (), [X], [Y])) + field(99, b"strange")),
        ("(graph)", model(graph([NEG], (), [X], [Y]) + field(99, b"strange"))),
        ("(node)", model(graph([NEG + field(99, 7)], (), [X], [Y]))),
        ("(input)", model(graph([NEG], (), [X + field(99, 7)], [Y]))),
    ],
)
def test_fields_that_onnx_does_not_have(where, data, tmp_path):
    (note,) = notes(tmp_path / "m.onnx", data)
    assert note.startswith(f"{where}: has the field 99, which ONNX does not have")


def test_fields_that_nobody_has_are_told_once(tmp_path):
    data = model(graph([NEG], (), [X], [Y])) + b"".join(field(100 + at % 50, 1) for at in range(5000))
    assert len(notes(tmp_path / "m.onnx", data)) <= 20


def test_what_no_output_needs(tmp_path):
    dead = [node("Relu", ["x"], [f"unused{at}"]) for at in range(12)]
    (note,) = notes(tmp_path / "m.onnx", model(graph([NEG, *dead], (), [X], [Y])))
    assert note.startswith("unused0, unused1")
    assert "and 4 more" in note


def test_a_function_that_nothing_calls(tmp_path):
    functions = [function("f", [node("Neg", ["a"], ["b"])], ["a"], ["b"])]
    (note,) = notes(tmp_path / "m.onnx", model(graph([NEG], (), [X], [Y]), functions))
    assert note == "mine::f: is a function that nothing calls, and is left out"


@pytest.mark.parametrize(
    "call",
    [
        node("f", ["x"], ["y"], field(1, "strange") + field(3, 1) + field(20, 2), domain="mine"),
        node("f", ["x", "x"], ["y"], domain="mine"),
        node("Neg", ["x", "x"], ["y"]),
    ],
)
def test_attributes_and_inputs_that_nothing_takes(call, tmp_path):
    functions = [function("f", [node("Neg", ["a"], ["b"])], ["a"], ["b"])]
    with pytest.raises(ma.ConversionError, match=r"strange|found 2|inputs"):
        notes(tmp_path / "m.onnx", model(graph([call], (), [X], [Y]), functions))


@pytest.mark.parametrize(("content", "rest"), [(bytes(16), 0), (bytes(19), 3), (bytes(32), 16)])
def test_bytes_of_a_file_beside_that_belong_to_no_array(content, rest, tmp_path):
    stored = [tensor("w", [4], external={"location": "data"})]
    data = model(graph([node("Add", ["x", "w"], ["y"])], stored, [X], [Y]))
    expected = [f"data: has {rest} bytes that belong to no array: they are not read"] if rest else []
    assert notes(tmp_path / "m.onnx", data, data=content) == expected
    bundle = onnx.read(tmp_path / "m.onnx", parameters_only=True)
    assert [str(each) for each in bundle.notes] == expected


def test_gaps_that_align_arrays_are_none(tmp_path):
    stored = [
        tensor("w", [4], external={"location": "data"}),
        tensor("v", [4], external={"location": "data", "offset": 4096}),
    ]
    nodes = [node("Add", ["x", "w"], ["t"]), node("Mul", ["t", "v"], ["y"])]
    assert notes(tmp_path / "m.onnx", model(graph(nodes, stored, [X], [Y])), data=np.ones(1028, "<f4").tobytes()) == []


def test_the_tables_have_every_field_that_onnx_has():
    onnx_ml_pb2 = pytest.importorskip("onnx.onnx_ml_pb2")
    messages = onnx_ml_pb2.DESCRIPTOR.message_types_by_name
    tables = {"Tensor": schema.TENSOR, "Attribute": schema._ATTRIBUTE, "Node": schema._NODE, "Graph": schema._GRAPH}
    tables |= {"Function": schema._FUNCTION, "Model": schema.MODEL, "ValueInfo": schema._VALUE}
    for name, table in tables.items():
        for each in messages[f"{name}Proto"].fields:
            assert table[each.number].name == each.name, (name, each.name)
