"""What a network takes is remembered, or declared; what is given by mistake gets the hint that fits, and it works."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import nn
from modelarchive.architecture.declarations import declaration
from tests.conftest import ROOT


def zeros(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.zeros(shape, dtype)


class Net(nn.Block):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2D(4, 3), nn.Flatten())
        self.head = nn.Dense(2)

    def forward(self, x: Any) -> Any:
        return self.head(self.features(x))


class Masked(nn.Block):
    def forward(self, words: Any, mask: Any, bias: Any = None, scale: float = 1.0) -> Any:
        y = words * mask * scale
        return y if bias is None else y + bias


def net() -> nn.Block:
    found = Net()
    found.initialize(seed=0)
    return found


def inputs_of(block: nn.Block, inputs: Any = None) -> list[tuple[str, list[int | None], str]]:
    return [(each["name"], each["shape"], each["dtype"]) for each in ma.describe(block, inputs)["inputs"]]


# ---------------------------------------------------------------------- remembered


def test_a_network_that_was_called_is_saved_as_it_is(tmp_path: Path) -> None:
    network, x = net(), np.random.default_rng(0).random((2, 3, 8, 8), np.float32)
    y = network(x)
    ma.save_model(tmp_path / "net.h5", network)
    assert ma.load_model(tmp_path / "net.h5")(x).tobytes() == y.tobytes()
    ma.save_model(tmp_path / "features.h5", network.features)
    assert ma.load_model(tmp_path / "features.h5")(x).tobytes() == network.features(x).tobytes()
    assert inputs_of(network) == [("x", [None, 3, 8, 8], "float32")]
    assert inputs_of(network.head) == [("x", [None, 144], "float32")]


def test_by_name_and_without_what_is_optional() -> None:
    masked = Masked()
    masked(zeros(2, 3), mask=zeros(2, 3, dtype="bool"))
    assert inputs_of(masked) == [("words", ["batch", 3], "float32"), ("mask", ["batch", 3], "bool")]
    masked(mask=zeros(2, 3), words=zeros(2, 3), bias=zeros(2, 1))
    assert [name for name, _, _ in inputs_of(masked)] == ["words", "mask", "bias"]
    masked(zeros(2, 3), zeros(2, 3), None)
    assert [name for name, _, _ in inputs_of(masked)] == ["words", "mask"]
    assert inputs_of(masked, (zeros(2, 3), zeros(2, 3), None)) == inputs_of(masked)


def test_what_is_rebuilt_keeps_what_it_declares_and_its_blocks_what_they_are_given() -> None:
    architecture = ma.describe(net(), {"shape": [None, 3, 8, 8]})
    again = ma.build(architecture)
    again.initialize()
    with pytest.raises(ma.SpecError, match="are not known"):
        ma.describe(again.features)
    again(zeros(5, 3, 8, 8, dtype="float64"))
    assert inputs_of(again) == [("x", [None, 3, 8, 8], "float32")]
    assert inputs_of(again.features) == [("x", [None, 3, 8, 8], "float64")]


def test_a_rebuilt_network_whose_inputs_nobody_declared() -> None:
    architecture = ma.describe(net(), zeros(1, 3, 8, 8)) | {"inputs": []}
    again = ma.build(architecture)
    again.initialize()
    with pytest.raises(ma.SpecError, match="are not known"):
        ma.describe(again)
    again(zeros(2, 3, 8, 8))
    assert inputs_of(again) == [("x", [None, 3, 8, 8], "float32")]


# ---------------------------------------------------------------------- by mistake


def refused(block: nn.Block, inputs: Any = None) -> ma.SpecError:
    with pytest.raises(ma.SpecError) as caught:
        ma.describe(block, inputs)
    assert [pointer for pointer, _, _ in caught.value.problems] == ["/inputs"]
    return caught.value


@pytest.mark.parametrize(
    ("block", "call", "variables"),
    [
        (net, 'save_model("net.h5", net, inputs=x)', {"x": zeros(1, 3, 8, 8)}),
        (Masked, 'save_model("net.h5", net, inputs=(words, mask))', {"words": zeros(1, 3), "mask": zeros(1, 3)}),
        (lambda: nn.Dense(2, in_units=3), 'save_model("net.h5", net, inputs=x)', {"x": zeros(1, 3)}),
    ],
)
def test_unknown_inputs_name_the_call_to_type(
    block: Any, call: str, variables: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = block()
    network.initialize(seed=0)
    error = refused(network)
    assert error.hint == f"call it once, or pass an example: {call}"
    monkeypatch.chdir(tmp_path)
    eval(call, {"save_model": ma.save_model, "net": network, **variables})
    assert ma.load_model("net.h5") is not None
    other = copy.deepcopy(network)
    other(*variables.values())
    ma.save_model("net.h5", other)


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), [1, 3, 8, 8], (None, 3, 8, 8), zeros(1, 3, 8, 8).shape])
def test_a_shape_for_an_example(shape: Any) -> None:
    network = net()
    error = refused(network, shape)
    assert "a shape, where an example is expected" in str(error)
    follow(network, error, [None, 3, 8, 8])


def test_a_shape_without_a_batch() -> None:
    follow(nn.Dense(2), refused(nn.Dense(2), (5,)), [None, 5])


def follow(network: nn.Block, error: ma.SpecError, expected: list[int | None]) -> None:
    """Do what the hint says."""
    declaration = eval(re.search(r"inputs=(\{.*\})", error.hint or "")[1])
    assert inputs_of(network, declaration) == [("x", expected, "float32")]


def test_numbers_that_a_network_takes_are_no_shape() -> None:
    assert inputs_of(Masked(), (3, 4)) == [("words", [], "int64"), ("mask", [], "int64")]
    assert inputs_of(nn.Embedding(5, 2), [[1, 2, 3]]) == [("x", [None, 3], "int64")]


@pytest.mark.parametrize(
    ("inputs", "said", "hint"),
    [
        ("x", "inputs is 'x', which is no array", "inputs=x)"),
        ({"x": zeros(1, 3, 8, 8)}, "inputs is a dict of arrays (x)", "inputs=x)"),
        ({"shape": 3}, "has no shape", '{"shape": [None, 20]'),
        ({"shape": "3"}, "has no shape", '{"shape": [None, 20]'),
        ({"shape": ["the batch", 3]}, "has the shape ['the batch', 3]", "None is any size"),
        ({"shape": [-2, 3]}, "has the shape [-2, 3]", "None is any size"),
        ({"shape": [None, 3], "dtype": "float33"}, "has the dtype 'float33'", '"dtype": "float32"'),
        ((zeros(1),) * 3, "found 3 inputs", "inputs=x)"),
        (np.array(["a"]), "input 'x' has dtype <U1", "pass an array of numbers"),
        ([[1], [1, 2]], "input 'x' has dtype object", "pass an array of numbers"),
        (("a",), "input 'x' is 'a', which is no array", "inputs=x)"),
    ],
)
def test_what_is_no_example(inputs: Any, said: str, hint: str) -> None:
    error = refused(net(), inputs)
    assert said in str(error)
    assert hint in (error.hint or "")


def test_a_call_with_something_else_than_arrays() -> None:
    masked = Masked()
    masked(zeros(2, 3), zeros(2, 3), None, 3.0)
    error = refused(masked)
    assert "the last call of the network was given something else than arrays" in str(error)
    assert error.hint == 'pass an example: save_model("net.h5", net, inputs=(words, mask))'


def test_dtypes_are_named_as_people_name_them() -> None:
    for dtype in ("float16", np.float16, np.dtype("float16")):
        assert inputs_of(net(), {"shape": (None, 3, 8, 8), "dtype": dtype}) == [("x", [None, 3, 8, 8], "float16")]


def test_an_example_of_another_framework() -> None:
    torch = pytest.importorskip("torch")
    assert inputs_of(net(), torch.zeros(2, 3, 8, 8)) == [("x", [None, 3, 8, 8], "float32")]
    assert inputs_of(net(), {"shape": [None, 3, 8, 8], "dtype": torch.bfloat16})[0][2] == "bfloat16"


# ---------------------------------------------------------------------- one declaration, in each of its forms


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("x", {"name": "x"}),
        ("x:", {"name": "x"}),
        ("x:?,3,224", {"name": "x", "shape": [None, 3, 224]}),
        ("x:batch,3,height", {"name": "x", "shape": ["batch", 3, "height"]}),
        ("x:-1,3", {"name": "x", "shape": [None, 3]}),
        ({"shape": ["batch", -1]}, {"shape": ["batch", None]}),
        ("x:?,3:float64", {"name": "x", "shape": [None, 3], "dtype": "float64"}),
        ("x::int64", {"name": "x", "shape": [], "dtype": "int64"}),
        ({"shape": (None, np.int64(3)), "dtype": np.float16}, {"shape": [None, 3], "dtype": "float16"}),
        ({"name": "x", "default": 0, "more": 1}, {"name": "x", "default": 0}),
        ("rate=16000", {"name": "rate", "value": 16000}),
        ("cut=-1.5e3", {"name": "cut", "value": -1500.0}),
        ("past=False", {"name": "past", "value": False}),
        ({"name": "rate", "value": 8}, {"name": "rate", "value": 8}),
    ],
)
def test_a_declaration_is_read_in_one_place(given: Any, said: dict[str, Any]) -> None:
    assert declaration(given) == said


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (":3", "':3' has no name"),
        ("=3", "'=3' has no name"),
        ("rate=fast", "the value of an input is 'fast', which is no number"),
        ("rate=", "the value of an input is '', which is no number"),
        ({"name": "rate", "value": [1]}, "the value of an input is [1], which is no number"),
        ("x:1a,3", "'x:1a,3': '1a,3' is no shape"),
        ("x:-2,3", "'x:-2,3': '-2,3' is no shape"),
        ("x:3:float31", "a declaration of an input has the dtype 'float31'"),
        ({"shape": 3}, "a declaration of an input has no shape"),
        ({"shape": "3,4"}, "a declaration of an input has no shape"),
        ({"shape": [1.5]}, r"a declaration of an input has the shape [1.5]"),
        ({"shape": [3], "dtype": object()}, "a declaration of an input has the dtype"),
    ],
)
def test_a_declaration_that_cannot_be_read_says_how_one_is_written(given: Any, found: str) -> None:
    with pytest.raises(ma.SpecError, match=re.escape(found)) as caught:
        declaration(given)
    assert str(caught.value.hint).startswith("write ")


def test_declarations_of_any_form_reach_every_reader(tmp_path: Path) -> None:
    symbol = ROOT / "tests" / "data" / "foreign" / "mxnet" / "lenet-symbol.json"
    shapes = {"data": [None, 1, 28, 28]}
    expected = ma.convert(symbol, tmp_path / "x.h5", inputs=[{"name": "data", "shape": shapes["data"]}])
    for given in (shapes, ["data:?,1,28,28"], [{"name": "data", "shape": (None, 1, 28, 28), "dtype": np.float32}]):
        assert ma.convert(symbol, tmp_path / "y.h5", inputs=given) == expected
        with ma.open(tmp_path / "x.h5") as one, ma.open(tmp_path / "y.h5") as other:
            assert one.architecture == other.architecture
    with pytest.raises(ma.SpecError, match="has no shape"):
        ma.convert(symbol, tmp_path / "z.h5", inputs=[{"name": "data", "shape": "784"}])
