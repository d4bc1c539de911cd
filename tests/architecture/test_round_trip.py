"""What a forward may do, from code to JSON and back: same bits, same containers, same names."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelarchive import archive, nn, ops
from modelarchive.architecture import build, describe, part, validate
from tests.cases.case import fixed, set_values, several, values
from tests.cases.kinds import KIND_CASES
from tests.cases.ops import OP_CASES, op_networks
from tests.nn.test_trace import SPELLINGS, Custom
from tests.sampling import some

RNG = np.random.default_rng(0)
X = RNG.standard_normal((5, 4, 6)).astype(np.float32)


class Attention(nn.Block):
    """Heads by split and einsum, a mask by keyword, a causal mask as a constant, several outputs."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Dense(3 * width, flatten=False)
        self.output = nn.Dense(width, flatten=False)
        self.token = nn.Parameter((1, 1, width), init="ones")

    def forward(self, x: Any, mask: Any = None, *, scale: float = 1.0) -> Any:
        batch, length, width = x.shape
        x = x + np.broadcast_to(self.token.data(), (batch, length, width))
        q, k, v = (
            part.reshape(batch, length, self.heads, -1).transpose(0, 2, 1, 3)
            for part in ops.split(self.qkv(x), 3, axis=-1)
        )
        scores = ops.einsum([q, k], "bhqd,bhkd->bhqk") * scale
        causal = np.tril(np.ones((16, 16), bool))[:length, :length]
        scores = np.where(causal, scores, -np.inf)
        if mask is not None:
            scores = ops.where(mask[:, None, None, :], scores, np.finfo(np.float32).min)
        weights = ops.softmax(scores)
        mixed = ops.einsum([weights, v], "bhqk,bhkd->bhqd").transpose(0, 2, 1, 3).reshape(x.shape)
        return {"output": self.output(mixed), "attention": {"weights": weights, "last": (scores[:, :, -1],)}}


class Model(nn.Block):
    """Two attentions, a mask from comparisons, and reductions over what is not fixed."""

    def __init__(self) -> None:
        super().__init__()
        self.first = Attention(6, 2)
        self.second = Attention(6, 3)

    def forward(self, x: Any) -> Any:
        mask = (x.max(axis=-1) >= 0) | ~(x[..., 0] != x[..., 0])
        one = self.first(x, mask=mask, scale=0.5)
        two = self.second(mask=mask, x=one["output"])
        mean = two["output"].sum(axis=0) / x.shape[0]
        table = np.arange(80, dtype=np.float32).reshape(16, 5)
        best = ops.take(table, x.argmax(axis=-1), axis=0)
        return [mean, {"z": best.cumsum(axis=1), "a": one["attention"]}, two["output"].std(axis=-1)]


def leaves(value: Any) -> list[np.ndarray]:
    if isinstance(value, dict):
        return [leaf for key in sorted(value) for leaf in leaves(value[key])]
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in leaves(item)]
    return [value]


def shape_of(value: Any) -> Any:
    """The containers, without the arrays."""
    if isinstance(value, dict):
        return {key: shape_of(item) for key, item in value.items()}
    return type(value)(map(shape_of, value)) if isinstance(value, list | tuple) else 0


@pytest.fixture
def model() -> Model:
    net = Model()
    net.initialize(seed=1)
    return net


def test_the_same_bits_in_the_same_containers(model: Model) -> None:
    architecture = json.loads(json.dumps(describe(model, X), sort_keys=True))
    validate(architecture)
    arrays = {name: parameter.data() for name, parameter in model.collect_stored().items()}
    again = build(architecture, arrays)
    for batch in (X, X[:1], RNG.standard_normal((9, 4, 6)).astype(np.float32)):
        one, two = model(batch), again(batch)
        assert shape_of(one) == shape_of(two)
        for expected, found in zip(leaves(one), leaves(two), strict=True):
            np.testing.assert_array_equal(found, expected, strict=True)


@pytest.mark.parametrize("function", [function for function, _ in SPELLINGS])
def test_every_spelling_means_numpy_s_own_bits(function: Any) -> None:
    net = Custom(function)
    net.initialize(seed=0)
    net.row(net.dense(X))  # so that all shapes are known
    again = build(describe(net, X), {name: each.value() for name, each in net.collect_params().items()})
    for batch in (X, X[:2]):
        expected, found = net(batch), again(batch)
        assert found.dtype == expected.dtype
        if any(node.target == "einsum" for node in again.nodes):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)  # sums in another order
        else:
            np.testing.assert_array_equal(found, expected, strict=True)


def same_bits(one: Any, two: Any) -> None:
    for expected, found in zip(several(one), several(two), strict=True):
        np.testing.assert_array_equal(found, expected, strict=True)


@pytest.mark.parametrize("kind", some(KIND_CASES))
@settings(max_examples=10, derandomize=True)
@given(data=st.data())
def test_every_kind(kind: str, data: Any) -> None:
    case = data.draw(KIND_CASES[kind])
    inputs, arrays = values(case, "float32")
    set_values(case.layer, arrays)
    architecture = json.loads(json.dumps(describe(case.layer, fixed(inputs))))
    again = build(architecture, arrays)
    assert describe(again) == architecture
    same_bits(case.layer(*inputs), again(*inputs))


@pytest.mark.parametrize("op", some(OP_CASES))
def test_every_op(op: str) -> None:
    for net, arrays, declared in op_networks(op):
        architecture = json.loads(json.dumps(describe(net, declared)))
        again = build(architecture)
        assert describe(again) == architecture
        with np.errstate(all="ignore"):
            same_bits(net(*arrays), again(*arrays))


def test_hierarchy_names_and_stored_constants(model: Model) -> None:
    architecture = describe(model, X)
    assert [node["name"] for node in architecture["model"]["nodes"] if "block" in node] == ["first", "second"]
    first = next(node["block"] for node in architecture["model"]["nodes"] if node["name"] == "first")
    assert first["inputs"] == ["x", "mask"]
    assert first["structure"] == {"dict": {"output": 2, "attention": {"dict": {"weights": 1, "last": {"tuple": [0]}}}}}
    constant = {"shape": [16, 5], "dtype": "float32", "persistent": False}
    assert architecture["model"]["parameters"] == {"constant_2": constant}
    assert "frozen" not in architecture["model"]
    assert "constant_2" not in model.collect_params()
    assert "constant_2" in model.collect_stored()
    assert describe(model, X) == architecture
    assert describe(build(architecture)) == architecture
    assert part(architecture, "second").architecture["model"]["kind"] == "Graph"


def test_through_an_archive(model: Model, tmp_path: Any) -> None:
    archive.save_model(tmp_path / "model.h5", model, inputs=X)
    again = archive.load_model(tmp_path / "model.h5")
    for expected, found in zip(leaves(model(X)), leaves(again(X)), strict=True):
        np.testing.assert_array_equal(found, expected, strict=True)


def test_inputs_by_name_also_of_what_is_rebuilt() -> None:
    class Two(nn.Block):
        def forward(self, left: Any, right: Any) -> Any:
            return left - right

    again = build(describe(Two(), (X, X)))
    np.testing.assert_array_equal(again(right=X, left=2 * X), X)
    np.testing.assert_array_equal(again(2 * X, right=X), X)
    with pytest.raises(TypeError, match="the input 'left' is given twice"):
        again(X, left=X)
    np.testing.assert_array_equal(nn.Activation("relu")(x=X), np.maximum(X, 0))
    with pytest.raises(TypeError, match=r"expected the inputs \(x\), found 0 inputs and y by name"):
        nn.Activation("relu")(y=X)
