"""Exported models, read without MXNet: outputs are those that MXNet recorded."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import nn
from modelarchive.exchange import mxnet, numpy, save_bundle
from tests.exchange.mxnet.files import FOREIGN, OPERATORS, dense, file_of, written

NETWORKS = ["lenet", "resnet", "spam"]
FAMILIES = sorted(path.name.removesuffix("-symbol.json") for path in OPERATORS.glob("*-symbol.json"))
#: What cannot be understood without the shapes of the inputs.
NEED_SHAPES = ("moving", "products", "normalisation", "sequences", "scaling")


def recorded(stem: Path) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Inputs, and what MXNet made of them."""
    with np.load(f"{stem}-io.npz") as arrays:
        return [arrays[key] for key in arrays if key[0] == "x"], [arrays[key] for key in arrays if key[0] == "y"]


def outputs(network: Any, inputs: list[np.ndarray]) -> list[np.ndarray]:
    found = network(*inputs)
    return list(found) if isinstance(found, tuple) else [found]


def check(network: Any, stem: Path) -> None:
    inputs, expected = recorded(stem)
    found = outputs(network, inputs)
    assert [each.shape for each in found] == [each.shape for each in expected]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_give_the_recorded_outputs(tmp_path: Path, name: str) -> None:
    bundle = mxnet.read(FOREIGN / f"{name}-symbol.json")
    check(bundle.build(), FOREIGN / name)
    save_bundle(tmp_path / "net.h5", bundle)
    check(ma.load_model(tmp_path / "net.h5"), FOREIGN / name)
    stored = mxnet.read(FOREIGN / f"{name}.params").parameters
    values = sorted(array.tobytes() for array in stored.values())
    assert sorted(array.tobytes() for array in bundle.parameters.values()) == values


@pytest.mark.parametrize("name", FAMILIES)
def test_operators_give_the_recorded_outputs(name: str) -> None:
    stem = OPERATORS / name
    shapes = [(None, *each.shape[1:]) for each in recorded(stem)[0]]
    bundle = mxnet.read(f"{stem}-symbol.json", inputs=shapes if name in NEED_SHAPES else None)
    check(bundle.build(), stem)


@pytest.mark.slow
def test_a_symbol_and_its_parameters_are_found_from_each_other() -> None:
    one, other = mxnet.read(FOREIGN / "lenet-symbol.json"), mxnet.read(FOREIGN / "lenet-0000.params")
    assert one.architecture == other.architecture
    third = mxnet.read(FOREIGN / "lenet-symbol.json", parameters=FOREIGN / "lenet-0000.params")
    assert third.architecture == one.architecture


def test_a_symbol_alone_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "alone-symbol.json"
    path.write_bytes((FOREIGN / "lenet-symbol.json").read_bytes())
    with pytest.raises(ma.FormatError, match="beside"):
        mxnet.read(path)


@pytest.mark.slow
def test_parameters_may_come_from_elsewhere(tmp_path: Path) -> None:
    stored = mxnet.read(written(tmp_path, (OPERATORS / "numpy-0000.params").read_bytes())).parameters
    np.savez(tmp_path / "other.npz", **stored)
    (tmp_path / "net-symbol.json").write_bytes((OPERATORS / "numpy-symbol.json").read_bytes())
    for parameters in (stored, numpy.read(tmp_path / "other.npz").parameters, tmp_path / "other.npz"):
        check(mxnet.read(tmp_path / "net-symbol.json", parameters=parameters).build(), OPERATORS / "numpy")


def test_shapes_of_inputs_are_told_from_what_takes_them() -> None:
    assert mxnet.read(FOREIGN / "resnet-symbol.json").architecture["inputs"][0]["shape"] == [None, 3, None, None]  # type: ignore[index]
    lenet = mxnet.read(FOREIGN / "lenet-symbol.json")
    assert lenet.architecture["inputs"][0]["shape"] == [None, 1, 28, 28]  # type: ignore[index]
    assert "(inputs)" in [note.where for note in lenet.notes]
    told = mxnet.read(FOREIGN / "lenet-symbol.json", inputs={"data": (None, 1, 29, 29)})
    assert told.architecture["inputs"][0]["shape"] == [None, 1, 29, 29]  # type: ignore[index]
    with pytest.raises(ma.ConversionError):
        mxnet.read(FOREIGN / "lenet-symbol.json", inputs=[(None, 1, 90, 90)])


class MLP(nn.Block):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Dense(256, activation="relu")
        self.output = nn.Dense(10)

    def forward(self, x: Any) -> Any:
        return self.output(self.hidden(x))


class Spam(nn.Block):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        self.encoder = nn.LSTM(12, num_layers=2, bidirectional=True, layout="NTC")
        self.decoder = nn.Dense(2)

    def forward(self, x: Any) -> Any:
        states = self.encoder(self.embedding(x))
        return self.decoder(np.concatenate([states[:, 0], states[:, -1]], axis=1))


@pytest.mark.parametrize(("name", "make"), [("mlp", MLP), ("spam", Spam)])
def test_parameters_of_gluon_fit_the_same_network_here(tmp_path: Path, name: str, make: Callable[[], nn.Block]) -> None:
    bundle = mxnet.read(FOREIGN / f"{name}.params")
    save_bundle(tmp_path / "net.h5", bundle)
    network = make()
    network.load_parameters(tmp_path / "net.h5")
    inputs, expected = recorded(FOREIGN / name)
    if name == "spam":
        inputs = [inputs[0].astype(int)]
    np.testing.assert_allclose(network(*inputs), expected[0], atol=1e-5)


def test_normalising_parameters_are_renamed_with_a_note() -> None:
    bundle = mxnet.read(FOREIGN / "resnet.params")
    assert {"1.weight", "1.bias", "1.running_mean", "1.running_var"} <= set(bundle.parameters)
    assert "1.gamma: is called '1.weight'" in map(str, bundle.notes)


def test_shared_parameters_stay_shared() -> None:
    bundle = mxnet.read(OPERATORS / "tied-symbol.json")
    network = bundle.build()
    assert len({id(each) for each in network.collect_params().values()}) < len(network.collect_params())


def symbol(**changes: Any) -> dict[str, Any]:
    """A small symbol: relu(data)."""
    nodes = [
        {"op": "null", "name": "data", "inputs": []},
        {"op": "relu", "name": "out", "inputs": [[0, 0, 0]]},
    ]
    return {"nodes": nodes, "arg_nodes": [0], "heads": [[1, 0, 0]]} | changes


def read_symbol(folder: Path, content: Any) -> Any:
    path = folder / "made-symbol.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return mxnet.read(path, parameters=written(folder, file_of([dense((1,), 0, b"\0\0\0\0")], ["arg:unused"])))


def test_a_symbol_made_by_hand(tmp_path: Path) -> None:
    bundle = read_symbol(tmp_path, symbol())
    np.testing.assert_array_equal(bundle.build()(np.array([-1.0, 2.0], "float32")), [0, 2])
    assert [note.where for note in bundle.notes] == ["(inputs)", "unused"]


def _node(**changes: Any) -> list[dict[str, Any]]:
    return [{"op": "null", "name": "data", "inputs": []}, {"op": "relu", "name": "out", "inputs": [[0, 0]]} | changes]


DAMAGED = {
    "no JSON": "{nodes",
    "deep": '{"nodes":' + "[" * 100_000,
    "a list": "[]",
    "no nodes": {"heads": [[0, 0]]},
    "empty": symbol(nodes=[]),
    "no heads": symbol(heads=[]),
    "more heads than a network has results": symbol(heads=[[1, 0, 0]] * 4097),
    "head nowhere": symbol(heads=[[2, 0, 0]]),
    "negative head": symbol(heads=[[-1, 0, 0]]),
    "head of text": symbol(heads=["out"]),
    "forward": symbol(nodes=_node(inputs=[[1, 0]])),
    "index": symbol(nodes=_node(inputs=[[0, -1]])),
    "boolean": symbol(nodes=_node(inputs=[[False, 0]])),
    "no op": symbol(nodes=[{"name": "x"}]),
    "attributes": symbol(nodes=_node(attrs={"a": 1})),
    "attributes are a list": symbol(nodes=_node(attrs=[1])),
    "subgraphs": symbol(nodes=_node(subgraphs=[{}])),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_symbols_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ma.FormatError):
        read_symbol(tmp_path, DAMAGED[name])


def test_all_operators_that_are_not_supported_are_reported(tmp_path: Path) -> None:
    nodes = [
        *_node(),
        {"op": "Custom", "name": "mine", "attrs": {"op_type": "os.system"}, "inputs": [[1, 0]]},
        {"op": "LRN", "name": "lrn", "inputs": [[1, 0]]},
        {"op": "Activation", "name": "odd", "attrs": {"act_type": "nobody knows"}, "inputs": [[0, 0]]},
        {"op": "relu", "name": "more", "attrs": {"unheard": "of"}, "inputs": [[0, 0]]},
        {"op": "_plus_scalar", "name": "number", "attrs": {"scalar": "__import__('os')"}, "inputs": [[0, 0]]},
        {"op": "add_n", "name": "sum", "inputs": [[2, 0], [3, 0], [4, 0], [5, 0], [6, 0]]},
        {"op": "CTCLoss", "name": "behind", "inputs": [[7, 0]]},
    ]
    with pytest.raises(ma.ConversionError) as caught:
        read_symbol(tmp_path, symbol(nodes=nodes, heads=[[8, 0, 0]]))
    assert [where for where, _ in caught.value.unsupported] == ["mine", "lrn", "odd", "more", "number", "behind"]


ATTRIBUTES = [
    "",
    "(",
    "(1",
    "(1,)" * 1000,
    "1" * 10_000,
    "1" * 10_000 + "x",
    "None",
    "(None,)",
    "-9" * 9,
    "nan",
    "inf",
    "[[1]]",
]


@pytest.mark.parametrize("text", ATTRIBUTES, ids=lambda text: text[:8] or "empty")
@pytest.mark.parametrize(
    ("op", "name"), [("Reshape", "shape"), ("mean", "axis"), ("_mul_scalar", "scalar"), ("SliceChannel", "num_outputs")]
)
def test_absurd_attributes_give_designed_errors(tmp_path: Path, op: str, name: str, text: str) -> None:
    nodes = _node(op=op, attrs={name: text})
    try:
        read_symbol(tmp_path, symbol(nodes=nodes))
    except ma.ModelArchiveError:
        return


def test_a_missing_parameter_is_named(tmp_path: Path) -> None:
    data = json.loads((FOREIGN / "lenet-symbol.json").read_text("utf-8"))
    with pytest.raises(ma.ConversionError, match="conv0_weight"):
        read_symbol(tmp_path, data)


VALUES = ["", "None", "(1,)", "(0, 0)", "-1", "0", "99999999999", "(-3, -2)", "True", "nan", "1e400", "()", "x", "NHWC"]


def _mutated(rng: random.Random, data: dict[str, Any]) -> None:
    """One change that keeps it JSON: an attribute, a reference, an operator, a name, an input less."""
    node, other = rng.choice(data["nodes"]), rng.choice(data["nodes"])
    match rng.randrange(5):
        case 0 if node.get("attrs"):
            node["attrs"][rng.choice(list(node["attrs"]))] = rng.choice(VALUES)
        case 1 if node["inputs"]:
            node["inputs"][rng.randrange(len(node["inputs"]))] = [
                rng.randrange(len(data["nodes"])),
                rng.randrange(3),
                0,
            ]
        case 2:
            node["op"] = other["op"]
        case 3:
            node["name"] = other["name"]
        case _:
            node["inputs"] = node["inputs"][:-1]


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_changed_symbols_give_models_or_designed_errors(tmp_path: Path, name: str) -> None:
    rng = random.Random(name)
    text = (OPERATORS / f"{name}-symbol.json").read_text("utf-8")
    shapes = [(None, *each.shape[1:]) for each in recorded(OPERATORS / name)[0]]
    for attempt in range(8):
        data = json.loads(text)
        for _ in range(rng.randint(1, 3)):
            _mutated(rng, data)
        path = tmp_path / "changed-symbol.json"
        path.write_text(json.dumps(data), "utf-8")
        try:
            # Shapes that are not given are searched for: the symbol is read some hundred times then.
            inputs = None if attempt % 4 == 0 else shapes
            mxnet.read(path, parameters=OPERATORS / f"{name}-0000.params", inputs=inputs).build()
        except (ma.ConversionError, ma.FormatError):
            continue
