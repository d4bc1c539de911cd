"""Attention of opset 23 and newer, rotary positions: what ONNX Runtime gives, as read and written once more."""

import itertools

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange import onnx as exchange
from tests.exchange.onnx.test_reading_live import compared, make, onnx, session

RNG = np.random.default_rng(0)


def floats(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def there_and_back(path, *inputs):
    bundle = compared(path, *inputs)
    again = path.with_name("again.onnx")
    exchange.write(bundle, again)
    runs = [session(each) for each in (path, again)]
    wanted, found = (
        each.run(None, dict(zip([one.name for one in each.get_inputs()], inputs, strict=True))) for each in runs
    )
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


#: What is given beside queries, keys and values, and how the attention is set.
WAYS = [
    dict(zip(("mask", "causal", "softcap", "flat", "groups"), way, strict=True))
    for way in itertools.product((None, "bool", "float"), (0, 1), (0.0, 2.0), (False, True), (1, 2))
]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_it_is_onnx_runtime_s(way, tmp_path):
    heads, keys, length = 4, 4 // way["groups"], 5
    shapes = [(2, 4, length, 6), (2, keys, length, 6), (2, keys, length, 6)]
    fields = {"is_causal": way["causal"], "softcap": way["softcap"]}
    if way["flat"]:
        shapes = [(2, length, one[1] * 6) for one in shapes]
        fields |= {"q_num_heads": heads, "kv_num_heads": keys}
    inputs = dict(zip("qkv", (floats(*each) for each in shapes), strict=True))
    if way["mask"]:
        mask = RNG.random((length, length)) < 0.6
        mask[0] = way["mask"] != "bool" or way["causal"]  # a row that may attend to nothing gives zeros
        inputs["m"] = mask if way["mask"] == "bool" else np.where(mask, 0, -1.5).astype(np.float32)
    node = onnx.helper.make_node("Attention", [*inputs], ["y"], **fields)
    declared = {name: (["n", *each.shape[1:]] if name != "m" else each.shape, each.dtype.char)
                for name, each in inputs.items()}  # fmt: skip
    there_and_back(make(tmp_path, [node], declared, {"y": (None, "f")}, opset=23), *inputs.values())


def test_past_keys_align_the_causal_mask_at_the_end(tmp_path):
    inputs = {"q": floats(1, 2, 3, 4), "k": floats(1, 2, 3, 4), "v": floats(1, 2, 3, 4), "p": floats(1, 2, 5, 4),
              "w": floats(1, 2, 5, 4)}  # fmt: skip
    node = onnx.helper.make_node("Attention", ["q", "k", "v", "", "p", "w"], ["y", "k2", "v2"], is_causal=1)
    declared = {name: (each.shape, "f") for name, each in inputs.items()}
    path = make(tmp_path, [node], declared, dict.fromkeys(("y", "k2", "v2"), (None, "f")), opset=23)
    there_and_back(path, *inputs.values())


def test_free_lengths(tmp_path):
    inputs = {name: floats(2, 7, 8) for name in "qkv"}
    node = onnx.helper.make_node("Attention", [*inputs], ["y"], is_causal=1, q_num_heads=2, kv_num_heads=2)
    declared = dict.fromkeys(inputs, (["n", "t", 8], "f"))
    path = make(tmp_path, [node], declared, {"y": (None, "f")}, opset=23)
    there_and_back(path, *inputs.values())


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("turned", [0, 4])
@pytest.mark.parametrize("flat", [False, True])
def test_rotary_positions(interleaved, turned, flat, tmp_path):
    x = floats(2, 3, 5, 8) if not flat else floats(2, 5, 24)
    half = (turned or 8) // 2
    inputs = {"x": x, "c": floats(10, half), "s": floats(10, half), "p": RNG.integers(0, 10, (2, 5))}
    node = onnx.helper.make_node("RotaryEmbedding", [*inputs], ["y"], interleaved=interleaved,
                                 rotary_embedding_dim=turned, **({"num_heads": 3} if flat else {}))  # fmt: skip
    declared = {name: (each.shape, each.dtype.char) for name, each in inputs.items()}
    there_and_back(make(tmp_path, [node], declared, {"y": (None, "f")}, opset=23), *inputs.values())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_what_pytorch_exports_at_opset_23(tmp_path):
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.linear = torch.nn.RMSNorm(8), torch.nn.Linear(8, 24)

        def forward(self, x):
            q, k, v = (
                each.reshape(x.shape[0], x.shape[1], 2, 4).transpose(1, 2)
                for each in self.linear(self.norm(x)).chunk(3, -1)
            )
            return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)

    x = torch.randn(1, 4, 8)
    torch.onnx.export(Net().eval(), (x,), tmp_path / "m.onnx", opset_version=23, dynamo=True, verbose=False)
    assert "Attention" in {node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node}
    there_and_back(tmp_path / "m.onnx", x.numpy())


def test_heads_that_do_not_fit_are_refused_by_name(tmp_path):
    inputs = {name: ([1, heads, 3, 4], "f") for name, heads in zip("qkv", (3, 2, 2), strict=True)}
    node = onnx.helper.make_node("Attention", [*inputs], ["y"])
    with pytest.raises(ma.ConversionError, match="3 heads over 2"):
        exchange.read(make(tmp_path, [node], inputs, {"y": (None, "f")}, opset=23))
