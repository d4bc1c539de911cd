"""Every kind, op and known network in ONNX Runtime, called as in NumPy, from an archive that it maps itself."""

import contextlib
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import modelarchive as ma
from modelarchive.nn.nesting import leaves, structure_of
from tests.cases.case import fixed
from tests.cases.kinds import BATCH_ELSEWHERE, KIND_CASES, drawn
from tests.cases.networks import NETWORKS, network
from tests.cases.ops import OP_CASES, op_networks
from tests.exchange.onnx.live import assert_close

pytest.importorskip("onnxruntime")
FEW = settings(
    max_examples=3,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def same_outputs(net, path, *inputs, declared=None, limit=1e-5):
    """Save a network, and compare what ONNX Runtime makes of the archive with what the network does."""
    ma.save_model(path, net, inputs=inputs if declared is None else declared, durable=False)
    found, wanted = ma.load_model(path, backend="onnxruntime", threads=1)(*inputs), net(*inputs)
    assert structure_of(found) == structure_of(wanted)
    for one, other in zip(leaves(found), leaves(wanted), strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        assert_close(one, other, limit)


@pytest.mark.parametrize("kind", KIND_CASES)
@FEW
@given(data=st.data(), dtype=st.sampled_from(["float32", "float64", "float16", "bfloat16"]))
def test_every_kind(kind, data, dtype, tmp_path):
    layer, inputs = drawn(data, kind)
    if dtype != "float32":
        layer.cast(dtype)
        floats = "float64" if dtype == "float64" else "float32"
        inputs = [each.astype(floats) if each.dtype == np.float32 else each for each in inputs]
    declared = fixed(inputs) if kind in BATCH_ELSEWHERE else None
    same_outputs(layer, tmp_path / "kind.h5", *inputs, declared=declared)


@pytest.mark.parametrize("op", OP_CASES)
@pytest.mark.parametrize("dtype", ["float32", "int64", "bool", "bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_every_op(op, dtype, tmp_path):
    for net, arrays, declared in op_networks(op, dtype):
        if dtype == "bool" and op in ("power", "floor_divide", "remainder"):
            continue  # NumPy gives int8, the vocabulary says bool; or a division by zero
        told = str([node.arguments for node in net.nodes]) if op == "grid_sample" and dtype != "float32" else ""
        if "nearest" in told and "reflection" in told:
            continue  # places in the middle of two elements, which ONNX rounds before it mirrors them
        refused = contextlib.suppress(ma.ConversionError) if op == "conv" else contextlib.nullcontext()
        with np.errstate(all="ignore"), refused:
            same_outputs(net, tmp_path / "op.h5", *arrays, declared=declared)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network(name, tmp_path):
    net, inputs = network(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same_outputs(net, tmp_path / "network.h5", *inputs)
