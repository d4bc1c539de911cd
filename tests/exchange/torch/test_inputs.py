"""What a module takes: examples, shapes, names, what is remembered; and that each hint works."""

import copy
import re

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange.torch import build_module
from tests.cases.networks import network
from tests.exchange.torch.refusals import Classifier, Pair, follow, refused

torch = pytest.importorskip("torch")


MODULES = {
    "images": (Classifier, "torch.randn(1, 1, 28, 28)", "classifier"),
    "words": (lambda: torch.nn.Sequential(torch.nn.Embedding(7, 4)), "torch.randint(7, (1, 16))", "net"),
    "two": (Pair, "(torch.randint(9, (1, 16)), torch.randint(9, (1, 16)))", "pair"),
    "rows": (lambda: torch.nn.Sequential(torch.nn.Linear(5, 2)), "torch.randn(1, 5)", "net"),
    "pooled": (
        lambda: torch.nn.Sequential(torch.nn.Conv2d(3, 4, 7, 4), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()),
        "torch.randn(1, 3, 224, 224)",
        "net",
    ),
    "sequence": (lambda: torch.nn.Sequential(torch.nn.LayerNorm(6), torch.nn.Linear(6, 2)), "torch.randn(1, 6)", "net"),
    "wide": (
        lambda: torch.nn.Sequential(torch.nn.Linear(5, 2)).double(),
        "torch.randn(1, 5, dtype=torch.float64)",
        "net",
    ),
    "volume": (lambda: torch.nn.Sequential(torch.nn.Conv3d(2, 1, 3)), "torch.randn(1, 2, 16, 16, 16)", "net"),
}


@pytest.mark.parametrize("name", MODULES)
def test_inputs_that_are_missing_are_told_with_a_call_that_works(name, tmp_path, monkeypatch):
    make, example, word = MODULES[name]
    module = make()
    error = refused(tmp_path, module)
    assert [where for where, _ in error.unsupported] == ["inputs"]
    assert error.hint == f'give an example: save_model("{word}.h5", {word}, inputs={example})'
    net = follow(error.hint, module, tmp_path, monkeypatch)
    assert set(net.collect_params()) == set(module.state_dict())


@pytest.mark.parametrize(
    "inputs", [(1, 1, 28, 28), torch.Size([1, 1, 28, 28]), [None, 1, 28, 28], (-1, 1, 28, 28), ((1, 1, 28, 28),)]
)
def test_a_shape_is_no_example(inputs, tmp_path):
    error = refused(tmp_path, Classifier(), inputs=inputs)
    assert "is a shape" in str(error)
    for way in re.findall(r"inputs=(torch\.randn\([^)]*\)|\{.*?\})", error.hint):
        ma.save_model(tmp_path / "net.h5", Classifier(), inputs=eval(way))
        assert ma.load_model(tmp_path / "net.h5")(np.zeros((3, 1, 28, 28), np.float32)).shape == (3, 3)


def test_a_loader_is_told_to_give_a_batch(tmp_path):
    images = torch.randn(4, 1, 28, 28)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images, torch.zeros(4)), batch_size=2)
    error = refused(tmp_path, Classifier(), inputs=loader)
    assert "is of type DataLoader" in str(error)
    ma.save_model(tmp_path / "net.h5", Classifier(), inputs=eval(error.hint.partition("inputs=")[2]))


@pytest.mark.parametrize("inputs", ["x", b"x", object(), ("x",), np.array(["x"])])
def test_what_is_no_numbers_is_told_with_an_example(inputs, tmp_path, monkeypatch):
    error = refused(tmp_path, Classifier(), inputs=inputs)
    assert "expected a tensor or a declaration" in str(error)
    if not isinstance(inputs, np.ndarray):
        follow(error.hint, Classifier(), tmp_path, monkeypatch)


def test_an_example_of_another_dtype_is_told_that_of_the_parameters(tmp_path, monkeypatch):
    module = torch.nn.Sequential(torch.nn.Linear(5, 2)).bfloat16()
    error = refused(tmp_path, module, inputs=torch.randn(2, 7, 5))
    assert "its parameters are bfloat16" in str(error)
    assert error.hint.endswith("inputs=torch.randn(2, 7, 5, dtype=torch.bfloat16))")
    follow(error.hint, module, tmp_path, monkeypatch)


def test_shapes_of_words_are_declared_as_integers(tmp_path):
    error = refused(tmp_path, Pair(), inputs=((2, 5), (2, 5)))
    declaration = '{"shape": [None, 5], "dtype": "int64"}'
    examples = "(torch.randint(9, (2, 5)), torch.randint(9, (2, 5)))"
    assert error.hint.endswith(f"inputs={examples}, or inputs=({declaration}, {declaration})")
    for way in (examples, f"({declaration}, {declaration})"):
        ma.save_model(tmp_path / "net.h5", Pair(), inputs=eval(way))


@pytest.mark.parametrize("inputs", [torch.zeros(1, 5, dtype=torch.int64), (torch.zeros(1, 5),) * 4, (), []])
def test_more_or_fewer_inputs_than_forward_takes(inputs, tmp_path):
    error = refused(tmp_path, Pair(), inputs=inputs)
    assert "forward takes (one, other, scale=2.0)" in str(error)
    assert error.hint == 'give one for each: save_model("pair.h5", pair, inputs=(one, other))'


def test_inputs_by_name_are_those_of_forward(tmp_path):
    ids = torch.zeros(1, 5, dtype=torch.int64)
    error = refused(tmp_path, Pair(), inputs={"other": ids, "three": ids})
    assert "is a dict of other, three, and forward takes (one, other, scale)" in str(error)
    assert error.hint == 'give what forward takes, by name: inputs={"one": one, "other": other}'
    ma.save_model(tmp_path / "net.h5", Pair(), inputs={"other": ids, "one": ids})


@pytest.mark.parametrize(
    "x", [torch.ones(1, 28, 28), torch.ones(2, 1, 32, 32), torch.ones(2, 3, 28, 28), torch.ones(2, 1, 28, 28).double()]
)
def test_an_example_that_does_not_fit_is_told_with_one_that_does(x, tmp_path, monkeypatch):
    error = refused(tmp_path, Classifier(), inputs=x)
    assert error.unsupported[0][0] == "inputs"
    assert str(tuple(x.shape)) in str(error)
    assert "expected" not in str(error.hint)
    assert re.search(r"it raises (RuntimeError|ValueError): \S", str(error))  # in the module's own words
    follow(error.hint, Classifier(), tmp_path, monkeypatch)


def test_words_that_are_no_integers(tmp_path, monkeypatch):
    module = torch.nn.Sequential(torch.nn.Embedding(7, 4))
    error = refused(tmp_path, module, inputs=torch.ones(1, 5))
    assert "float32 (1, 5)" in str(error)
    follow(error.hint, module, tmp_path, monkeypatch)


def test_lists_of_numbers_are_arrays(tmp_path):
    assert ma.save_model(tmp_path / "net.h5", torch.nn.Sequential(torch.nn.Embedding(7, 4)), inputs=[[1, 2, 3]]) == []


@pytest.mark.parametrize("name", ["LeNet", "LSTM", "BERT"])
def test_modules_that_we_built_know_their_inputs(name, tmp_path):
    net, inputs = network(name)
    ma.save_model(tmp_path / "net.h5", net, inputs=inputs, durable=False)
    module = ma.load_model(tmp_path / "net.h5", backend="torch")
    for each in (module, copy.deepcopy(module), torch.nn.DataParallel(module), build_module(net, inputs=inputs)):
        ma.save_model(tmp_path / "again.h5", each, durable=False)
        with ma.open(tmp_path / "net.h5") as one, ma.open(tmp_path / "again.h5") as other:
            assert other.architecture["inputs"] == one.architecture["inputs"]
            assert all(other.parameters[key].tobytes() == one.parameters[key].tobytes() for key in one.parameters)


def test_a_part_that_we_built_knows_its_inputs_too(tmp_path):
    ma.save_model(tmp_path / "net.h5", Classifier(), inputs=torch.zeros(2, 1, 28, 28))
    part = ma.load_model(tmp_path / "net.h5", block="features", backend="torch")
    ma.save_model(tmp_path / "part.h5", part)
    x = torch.randn(3, 1, 28, 28)
    np.testing.assert_allclose(ma.load_model(tmp_path / "part.h5")(x.numpy()), part(x).detach().numpy(), atol=1e-6)
