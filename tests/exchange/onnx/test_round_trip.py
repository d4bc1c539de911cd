"""Written as ONNX and read back: the same bits in all parameters, and the same outputs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelarchive.exchange.onnx import read, write
from tests.cases.case import fixed, several
from tests.cases.kinds import BATCH_ELSEWHERE, KIND_CASES, drawn
from tests.cases.networks import NETWORKS, network
from tests.exchange.onnx.live import assert_close
from tests.exchange.onnx.test_writing_vocabulary import SOME


def parts_of(name, array):
    """Attention of two inputs takes the rows for queries, keys and values one by one, and so they come back."""
    return np.split(array, 3) if "multihead_attn.in_proj" in name else [array]


#: Networks of which not all parameters come back under their names: what recurrences and packed attention pack.
UNNAMED = ("GPT-2", "Transformer", "LSTM", "GRU")


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_comes_back(name, tmp_path):
    net, inputs = network(name)
    write(net, tmp_path / "net.onnx", inputs=inputs, durable=False)
    bundle = read(tmp_path / "net.onnx")
    named = name not in UNNAMED
    found = {(array.shape, array.tobytes()) for array in map(np.asarray, bundle.parameters.values())}
    for parameter, values in net.collect_params().items():
        for part in parts_of(parameter, values.data()):
            assert (part.shape, part.tobytes()) in found, parameter
            assert not named or bundle.parameters[parameter].tobytes() == values.data().tobytes()
    back = bundle.build()
    for one, other in zip(several(back(*inputs)), leaves(net(*inputs)), strict=True):
        assert_close(one, other)


def leaves(value):
    """The outputs of a network in the order in which they are written."""
    if isinstance(value, dict):
        return [leaf for key in sorted(value) for leaf in leaves(value[key])]
    return [leaf for each in value for leaf in leaves(each)] if isinstance(value, tuple | list) else [value]


@pytest.mark.parametrize("kind", KIND_CASES)
@SOME
@given(data=st.data())
def test_every_kind_comes_back(kind, data, tmp_path):
    layer, inputs = drawn(data, kind)
    declared = fixed(inputs)
    if kind not in (*BATCH_ELSEWHERE, "PositionalEmbedding"):
        for each in declared:
            each["shape"][:1] = [None] * len(each["shape"][:1])
    write(layer, tmp_path / "net.onnx", inputs=declared, durable=False)
    bundle = read(tmp_path / "net.onnx")
    for one, other in zip(several(bundle.build()(*inputs)), several(layer(*inputs)), strict=True):
        one, other = np.asarray(one), np.asarray(other)
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        assert_close(one, other)
    found = {array.tobytes() for array in map(np.asarray, bundle.parameters.values())}
    split = kind == "MultiHeadAttention" and len(inputs) > 1
    for name, values in layer.collect_params().items():
        assert values.data().tobytes() in found or (split and name.startswith("in_proj")), name
