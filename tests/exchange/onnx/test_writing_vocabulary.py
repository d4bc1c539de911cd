"""Every kind, op and activation of the vocabulary, written as ONNX: the checker's word, and ONNX Runtime's outputs."""

import contextlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import modelarchive as ma
from modelarchive import nn, ops
from modelarchive.errors import SpecError
from modelarchive.exchange.onnx.lowering import LOWERINGS
from modelarchive.ops.activation import ACTIVATIONS, ALPHAS
from tests.cases.case import fixed
from tests.cases.kinds import BATCH_ELSEWHERE, KIND_CASES, drawn
from tests.cases.ops import OP_CASES, op_networks
from tests.exchange.onnx.live import same_outputs

SOME = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)
FEWER = settings(SOME, max_examples=3)


def test_the_tables_are_the_vocabulary():
    assert set(LOWERINGS) == set(nn.KINDS) | set(ops.OPS)


@pytest.mark.parametrize("kind", KIND_CASES)
@SOME
@given(data=st.data())
def test_every_kind(kind, data, tmp_path):
    layer, inputs = drawn(data, kind)
    same_outputs(layer, tmp_path, *inputs, declared=fixed(inputs) if kind in BATCH_ELSEWHERE else None)


@pytest.mark.parametrize("kind", KIND_CASES)
@SOME
@given(data=st.data())
def test_every_kind_where_no_size_is_fixed(kind, data, tmp_path):
    layer, inputs = drawn(data, kind)
    last = getattr(layer, "layout", "NC")[-1] == "C" or kind in ("Dense", "MultiHeadAttention", "PositionalEmbedding")
    for kept in (None, -1 if last else 1):
        declared = fixed(inputs)
        for each in declared:
            rank = len(each["shape"])
            each["shape"] = [
                size if kept is not None and axis == kept % rank else None for axis, size in enumerate(each["shape"])
            ]
        try:
            same_outputs(layer, tmp_path, *inputs, declared=declared)
            break
        except SpecError:
            pass  # its parameters fix the size of more axes


@pytest.mark.parametrize("kind", KIND_CASES)
@FEWER
@given(data=st.data(), dtype=st.sampled_from(["float64", "float16", "bfloat16"]))
def test_every_kind_with_parameters_of_other_dtypes(kind, data, dtype, tmp_path):
    if kind == "Embedding" and dtype == "bfloat16":
        return  # ONNX Runtime computes it, and has no such NumPy array to give it back in
    layer, inputs = drawn(data, kind)
    layer.cast(dtype)
    floats = "float64" if dtype == "float64" else "float32"
    inputs = [each.astype(floats) if each.dtype == np.float32 else each for each in inputs]
    same_outputs(layer, tmp_path, *inputs, declared=fixed(inputs) if kind in BATCH_ELSEWHERE else None)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8", "bool"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation(name, dtype, tmp_path):
    x = np.linspace(-9, 9, 42).reshape(6, 7).astype(dtype)
    same_outputs(nn.Activation(name), tmp_path, x)
    if dtype == "float32":
        dense = nn.Dense(3, name)
        dense.initialize("xavier", seed=0)
        same_outputs(dense, tmp_path, x)
    if dtype == "float32" and name in ALPHAS:
        same_outputs(nn.Activation(name, 0.3), tmp_path, x)


@pytest.mark.parametrize("op", OP_CASES)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8", "bool", "float16", "float8_e4m3fn"])
def test_every_op(op, dtype, tmp_path):
    tried = 0
    for net, arrays, declared in op_networks(op, dtype):
        if dtype == "bool" and op in ("power", "floor_divide", "remainder"):
            continue  # NumPy gives int8, the vocabulary says bool; or a division by zero
        settings = str([node.arguments for node in net.nodes]) if op == "grid_sample" and dtype != "float32" else ""
        if "nearest" in settings and "reflection" in settings:
            continue  # places in the middle of two elements, which ONNX rounds before it mirrors them
        # A number of groups that is not fixed.
        refused = contextlib.suppress(ma.ConversionError) if op == "conv" else contextlib.nullcontext()
        with np.errstate(all="ignore"), refused:
            same_outputs(net, tmp_path, *arrays, declared=declared)
        tried += 1
    assert tried or dtype == "bool"


@pytest.mark.parametrize(
    ("value", "dtype"),
    [(0.5, None), (3, None), (["Infinity", 1.0], "float32"), ([[1, 2]], "int64"), (True, "bool"), ([0.1], "float64")],
)
def test_every_constant(value, dtype, tmp_path):
    nodes = [{"name": "c", "op": "constant", "inputs": [], "arguments": {"value": value, "dtype": dtype}}]
    nodes.append({"name": "sum", "op": "add", "inputs": ["x", "c"], "arguments": {}})
    model = {"kind": "Graph", "inputs": ["x"], "nodes": nodes, "outputs": ["sum"] if dtype is None else ["sum", "c"]}
    declared = [{"name": "x", "shape": [None, 2], "dtype": "float32"}]
    net = ma.build({"vocabulary": 1, "inputs": declared, "model": model}, {})
    same_outputs(net, tmp_path, np.ones((3, 2), np.float32), declared=declared)
