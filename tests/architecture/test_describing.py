"""describe: the architecture of a network, and the same network from it."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import numpy as np
import pytest
import referencing
import referencing.jsonschema

from modelarchive import nn, ops
from modelarchive.architecture import build, describe, vocabulary
from modelarchive.errors import DeferredShapeError, SpecError
from tests.architecture.architectures import Net, X, network


def whole_schema() -> jsonschema.Draft202012Validator:
    schemas = vocabulary.all_schemas()
    resources = [
        (schema["$id"], referencing.Resource.from_contents(schema, referencing.jsonschema.DRAFT202012))
        for schema in schemas.values()
    ]
    registry: Any = referencing.Registry().with_resources(resources)
    return jsonschema.Draft202012Validator(schemas["architecture-1"], registry=registry)


def test_the_rebuilt_network_gives_the_same_bits() -> None:
    net = network()
    clone = build(describe(net, X), {name: each.data() for name, each in net.collect_params().items()})
    assert not any(isinstance(block, Net) for _, block in clone.named_blocks())
    for one, two in zip(net(X), clone(X), strict=True):
        assert one.dtype == two.dtype
        np.testing.assert_array_equal(one, two)


def test_the_description_is_stable() -> None:
    net = network()
    architecture = describe(net, X)
    assert describe(net, X) == architecture
    text = json.dumps(architecture)
    assert describe(build(json.loads(text))) == architecture


def test_the_whole_schema_set_agrees() -> None:
    architecture = json.loads(json.dumps(describe(network(), X)))
    validator = whole_schema()
    validator.validate(architecture)
    architecture["model"]["nodes"][0]["block"]["nodes"][0]["block"]["children"][0]["block"]["channels"] = 0
    assert not validator.is_valid(architecture)


def test_names_sharing_and_freezing_are_written() -> None:
    net = network()
    model = describe(net, X)["model"]
    blocks = {node["name"]: node["block"] for node in model["nodes"] if "block" in node}
    assert blocks["tied"]["shares"] == {"weight": "mix.weight"}
    stem = {node["name"]: node for node in blocks["stem"]["nodes"]}
    assert stem["gain"] == {"name": "gain", "parameter": "gain"}
    assert stem["shortcut"]["block"]["frozen"] == ["bias"]
    assert {"name": "spare", "block": blocks["spare"]} in model["nodes"]
    clone = build(describe(net, X))
    assert clone.tied.weight is clone.mix.weight
    assert not clone.stem.shortcut.bias.trainable
    assert set(clone.collect_params()) == set(net.collect_params())


def test_a_block_that_stands_twice_is_shared_as_a_whole() -> None:
    layer = nn.Dense(4)
    net = nn.Sequential(layer, nn.Activation("tanh"), layer)
    architecture = describe(net, np.zeros((1, 4), np.float32))
    assert architecture["model"]["children"][2]["block"]["shares"] == "0"
    clone = build(architecture)
    assert clone[2].bias is clone[0].bias


def test_inputs_in_every_form() -> None:
    net = nn.Sequential(nn.Dense(2, in_units=3))
    expected = [{"name": "x", "shape": [None, 3], "dtype": "float32"}]
    x = np.zeros((7, 3), np.float32)
    for inputs in (x, (x,), [x], expected, [{"shape": (None, 3)}]):
        assert describe(net, inputs)["inputs"] == expected
    assert describe(net, [[1.0, 2, 3]])["inputs"][0]["dtype"] == "float64"
    fixed = describe(net, [{"name": "row", "shape": [1, 3], "dtype": "float16"}])["inputs"]
    assert fixed == [{"name": "row", "shape": [1, 3], "dtype": "float16"}]


def test_a_built_network_knows_its_inputs() -> None:
    net = nn.Sequential(nn.Dense(2))
    with pytest.raises(SpecError, match="inputs of the network are not known"):
        describe(net)
    assert describe(build(describe(net, np.zeros((1, 3), "f4"))))["inputs"][0]["shape"] == [None, 3]


def test_a_built_network_is_changed_and_described_again() -> None:
    net = build(describe(network(), X))

    class Head(nn.Block):
        def __init__(self) -> None:
            self.inner = nn.Dense(6)
            self.factor = nn.Parameter((), init="ones", trainable=False)

        def forward(self, x: Any) -> Any:
            return self.inner(x) * self.factor.data()

    net.tied = Head()
    net.initialize(seed=0)
    architecture = describe(net)
    clone = build(architecture, {name: each.data() for name, each in net.collect_params().items()})
    assert isinstance(clone.tied, nn.Graph)
    assert not clone.tied.factor.trainable
    for one, two in zip(net(X), clone(X), strict=True):
        np.testing.assert_array_equal(one, two)


def test_what_the_vocabulary_has_no_place_for_is_refused() -> None:
    net = nn.Sequential(nn.Dense(2))
    net[0].extra = nn.Dense(3, in_units=1)
    net.scale = nn.Parameter((1,))
    with pytest.raises(SpecError) as caught:
        describe(net, np.zeros((1, 2), "f4"))
    assert [message for _, _, message in caught.value.problems] == [
        f"no kind of the vocabulary has a parameter {name!r} there"
        for name in ("0.extra.bias", "0.extra.weight", "scale")
    ]


def test_blocks_in_a_list_are_refused() -> None:
    net = nn.Sequential()
    net.lost = [nn.Dense(2)]
    with pytest.raises(SpecError, match="holds blocks that are no children"):
        describe(net, X)


def test_quantised_arrays_keep_the_declared_dtype() -> None:
    net = nn.Sequential(nn.Embedding(4, 2))
    net[0].weight.set_data(np.zeros((4, 2), np.int8))
    architecture = describe(net, np.zeros((1, 3), np.int64))
    assert architecture["model"]["children"][0]["block"]["dtype"] == "float32"
    assert build(architecture, {"0.weight": net[0].weight.data()})[0].weight.dtype == np.int8


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ((np.zeros((1, 3)),) * 2, "forward takes"),
        (np.array(["a"]), "dtype <U1"),
        ([{"name": "x"}], "no shape"),
        (np.zeros((1, 4), "f4"), "expected 3 input features, found 4"),
    ],
)
def test_inputs_that_do_not_fit(inputs: Any, message: str) -> None:
    class Net(nn.Block):
        def __init__(self) -> None:
            self.dense = nn.Dense(2, in_units=3)

        def forward(self, x: Any) -> Any:
            return self.dense(x)

    with pytest.raises(SpecError, match=message):
        describe(Net(), inputs)


def test_an_own_parameter_of_unknown_shape_is_named() -> None:
    class Net(nn.Block):
        def __init__(self) -> None:
            self.scale = nn.Parameter((0,))

        def forward(self, x: Any) -> Any:
            return x * self.scale.data()

    with pytest.raises(DeferredShapeError, match="'scale'"):
        describe(Net(), np.zeros((1, 3), "f4"))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x**2 + x**0.5 - 1 / (x + 1),
        lambda x: 2**x - x**-1.0 + np.square(x) ** 1.5,
        lambda x: np.exp(-np.log(abs(x) + 1)) @ np.ones((3, 2), np.float32),
        lambda x: (x * np.float64(0.1)).astype(np.float32) + np.array([1, 2, 3], np.float16),
        lambda x: np.concatenate([x, x[:, ::-1]], axis=1).reshape(-1, 3).max(axis=1, keepdims=True),
        lambda x: np.stack([x, -x]).transpose(1, 0, 2)[:, 0],
        lambda x: ops.gelu(ops.softmax(x)) * np.sqrt(np.float32(2)),
        lambda x: np.maximum(np.minimum(x, 0.5), 0.1),
        lambda x: x.astype("float32").sum(axis=0) + x.astype("int32").sum(axis=0) / 2,
        lambda x: x + np.array([np.inf, -np.inf, 0], np.float32),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int32"])
def test_recorded_functions_give_the_same_bits(function: Any, dtype: str) -> None:
    class Net(nn.Block):
        def forward(self, x: Any) -> Any:
            return function(x)

    x = (np.random.default_rng(0).random((5, 3)) * 4 + 1).astype(dtype)
    expected = Net()(x)
    clone = build(describe(Net(), x))
    found = clone(x)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


def test_a_block_of_own_parameters_and_parts_stands_in_two_places() -> None:
    class Scaled(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.part = nn.Dense(3, in_units=3)
            self.scale = nn.Parameter((3,))

        def forward(self, x: Any) -> Any:
            return self.part(x) * self.scale.data()

    block = Scaled()
    net = nn.Sequential(block, nn.Activation("tanh"), block)
    net.initialize(seed=0)
    x = np.ones((2, 3), np.float32)
    clone = build(describe(net, x), {name: each.data() for name, each in net.collect_params().items()})
    np.testing.assert_array_equal(clone(x), net(x))
    assert clone.children["2"].parameters["scale"] is clone.children["0"].parameters["scale"]


@pytest.mark.parametrize("block", [None, 5, "net.h5", {}, object()])
def test_what_is_no_network_is_refused(block: Any) -> None:
    with pytest.raises(TypeError, match=r"describe\(\) takes a Block, found builtins\."):
        describe(block)
