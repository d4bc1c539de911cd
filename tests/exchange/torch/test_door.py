"""What people hand over first: examples, shapes, programs, tensors without values, hooks; and that each hint works."""

import copy
import os
import re
from collections import OrderedDict

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange.torch import build_module, read_module
from tests.exchange.small_networks import network
from tests.exchange.torch.comparison import Function, X
from tests.zoo.conftest import transformers

torch = pytest.importorskip("torch")
__all__ = ["transformers"]  # the fixture

SCRIPTS = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


def refused(tmp_path, model, error=ma.ConversionError, **options):
    """The error of save_model; nothing is written."""
    with pytest.raises(error) as caught:
        ma.save_model(tmp_path / "net.h5", model, **options)
    assert not (tmp_path / "net.h5").exists()
    return caught.value


def follow(hint, module, tmp_path, monkeypatch):
    """Type the call that a hint gives."""
    monkeypatch.chdir(tmp_path)
    call = re.search(r"save_model\(.*\)$", hint)[0]
    name = re.match(r'save_model\("\w+\.h5", (\w+)', call)[1]
    exec(call, {"save_model": ma.save_model, "torch": torch, name: module})
    return ma.load_model(next(tmp_path.glob("*.h5")))


# ---------------------------------------------------------------------- inputs


class Classifier(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.features = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2))
        self.output = torch.nn.Linear(4 * 14 * 14, 3)

    def forward(self, images):
        return self.output(torch.flatten(self.features(images), 1))


class Pair(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.words = torch.nn.Embedding(9, 4)

    def forward(self, one, other, scale=2.0):
        return self.words(one) * scale - self.words(other)


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


@pytest.mark.parametrize("inputs", [(1, 1, 28, 28), torch.Size([1, 1, 28, 28]), [None, 1, 28, 28], ((1, 1, 28, 28),)])
def test_a_shape_is_no_example(inputs, tmp_path):
    error = refused(tmp_path, Classifier(), inputs=inputs)
    assert "is a shape" in str(error)
    for way in re.findall(r"inputs=(torch\.randn\([^)]*\)|\{.*?\})", error.hint):
        ma.save_model(tmp_path / "net.h5", Classifier(), inputs=eval(way))
        assert ma.load_model(tmp_path / "net.h5")(np.zeros((3, 1, 28, 28), np.float32)).shape == (3, 3)


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


def test_inputs_by_name_are_told_their_order(tmp_path):
    ids = torch.zeros(1, 5, dtype=torch.int64)
    error = refused(tmp_path, Pair(), inputs={"other": ids, "one": ids})
    assert error.hint == "give them in the order of forward(one, other, scale): inputs=(one, other)"
    ma.save_model(tmp_path / "net.h5", Pair(), inputs=(ids, ids))


@pytest.mark.parametrize(
    "x", [torch.ones(1, 28, 28), torch.ones(2, 1, 32, 32), torch.ones(2, 3, 28, 28), torch.ones(2, 1, 28, 28).double()]
)
def test_an_example_that_does_not_fit_is_told_with_one_that_does(x, tmp_path, monkeypatch):
    error = refused(tmp_path, Classifier(), inputs=x)
    assert error.unsupported[0][0] == "inputs"
    assert str(tuple(x.shape)) in str(error)
    assert "expected" not in str(error)
    follow(error.hint, Classifier(), tmp_path, monkeypatch)


def test_words_that_are_no_integers(tmp_path, monkeypatch):
    module = torch.nn.Sequential(torch.nn.Embedding(7, 4))
    error = refused(tmp_path, module, inputs=torch.ones(1, 5))
    assert "float32 (1, 5)" in str(error)
    follow(error.hint, module, tmp_path, monkeypatch)


def test_lists_of_numbers_are_arrays(tmp_path):
    assert ma.save_model(tmp_path / "net.h5", torch.nn.Sequential(torch.nn.Embedding(7, 4)), inputs=[[1, 2, 3]]) == []


def test_modules_without_a_forward(tmp_path):
    class Average(torch.nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

    error = refused(tmp_path, Average(Classifier()))
    assert "Average has no forward" in str(error)
    assert error.hint == "give the network inside of it: save_model(path, x.module, ...)"
    error = refused(tmp_path, torch.nn.ModuleList([torch.nn.ReLU(), torch.nn.ReLU()]), inputs=torch.ones(1))
    assert "ModuleList has no forward" in str(error)


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


# ---------------------------------------------------------------------- no networks


def test_a_state_dict_is_told_and_save_takes_it(tmp_path):
    state = Classifier().state_dict()
    error = refused(tmp_path, state, error=TypeError)
    assert isinstance(error, ma.UnsupportedDataError)
    assert "is a state_dict" in str(error)
    assert "save(path, state_dict)" in error.hint
    ma.save(tmp_path / "state.h5", state)
    assert set(ma.load(tmp_path / "state.h5")) == set(state)


class Trainer:
    def __init__(self, model):
        self.model = model


@pytest.mark.parametrize(
    ("model", "told", "hint"),
    [
        (Classifier, "is the class Classifier, not a network of it", 'save_model("classifier.h5", Classifier(...)'),
        (torch.optim.SGD(Classifier().parameters()), r"is an optimizer \(SGD\)", "give the network that it trains"),
        (Trainer(Classifier()), "is Trainer, which holds a network", "give its .model: save_model(path, x.model"),
        (torch.ones(2), "is a tensor", "save(path, tensor)"),
        ({"a": {"b": torch.ones(1)}}, "is a state_dict", "save_model needs the module"),
        (OrderedDict(), "is OrderedDict, expected a Block", None),
        (3, "is int, expected a Block, a torch.nn.Module, a keras.Model or a Bundle", None),
        (int, "is type, expected", None),
    ],
)
def test_what_is_no_network_is_told(model, told, hint, tmp_path):
    error = refused(tmp_path, model, error=TypeError, inputs=torch.ones(1))
    assert re.search(told, str(error))
    assert (error.hint is None) if hint is None else hint in error.hint


def test_a_model_of_transformers_goes_by_its_folder(transformers, tmp_path, monkeypatch):
    sizes = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 40}
    model = transformers.BertForMaskedLM(transformers.BertConfig(vocab_size=50, **sizes)).eval()
    error = refused(tmp_path, model)
    monkeypatch.chdir(tmp_path)
    exec(re.search(r"model\.save_pretrained.*(?=, then)", error.hint)[0], {"model": model})
    exec(re.search(r"convert\(.*\)", error.hint)[0], {"convert": ma.convert})
    ids = torch.randint(50, (2, 6))
    inputs = (ids.numpy(), np.ones_like(ids), np.zeros_like(ids))
    wanted = model(ids).logits.detach().numpy()
    for path in ("model.h5", "folder"):
        np.testing.assert_allclose(ma.load_model(path)(*inputs), wanted, atol=1e-5)
    # One that no folder is read of as a whole is told what every module is told.
    other = transformers.ResNetForImageClassification(
        transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1])
    )
    assert "give an example" in refused(tmp_path / "x", other).hint


# ---------------------------------------------------------------------- programs


@SCRIPTS
@pytest.mark.parametrize("is_part", [False, True])
@pytest.mark.parametrize("make", [torch.jit.script, lambda net: torch.jit.trace(net, torch.ones(1, 6))])
def test_scripts_are_told_by_name(make, is_part, tmp_path):
    net = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.ReLU())
    program = make(net)
    model = torch.nn.Sequential(torch.nn.Sequential(program), torch.nn.Linear(4, 4)) if is_part else program
    error = refused(tmp_path, model, inputs=torch.from_numpy(X))
    assert [where for where, _ in error.unsupported] == ["0.0" if is_part else "(model)"]
    assert "TorchScript" in str(error)
    assert "pass the module that it was made of" in error.hint
    ma.save_model(tmp_path / "net.h5", net, inputs=torch.from_numpy(X))


@pytest.mark.filterwarnings("ignore")
def test_quantised_layers_are_told_by_name(tmp_path):
    net = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.ReLU())
    quantised = torch.ao.quantization.quantize_dynamic(net, {torch.nn.Linear}, dtype=torch.qint8)
    error = refused(tmp_path, quantised, inputs=torch.from_numpy(X))
    assert [where for where, _ in error.unsupported] == ["0"]
    assert "quantised" in str(error)
    assert "before torch.ao.quantization.convert" in error.hint
    ma.save_model(tmp_path / "net.h5", net, inputs=torch.from_numpy(X))


# ---------------------------------------------------------------------- tensors without values


def with_weight(weight):
    module = torch.nn.Sequential(torch.nn.Linear(6, 2), torch.nn.Linear(2, 2))
    module[1].weight = weight
    return module


def fake():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        return torch.nn.Parameter(torch.ones(2, 2))


def quantised():
    return torch.nn.Parameter(torch.quantize_per_tensor(torch.ones(2, 2), 0.1, 0, torch.qint8), False)


STRANGE = {
    "meta": (lambda: torch.nn.Parameter(torch.ones(2, 2, device="meta")), "to_empty"),
    "fake": (fake, "FakeTensorMode"),
    "sparse": (lambda: torch.nn.Parameter(torch.eye(2).to_sparse()), "to_dense"),
    "quantised": (quantised, "dequantize"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", STRANGE)
def test_tensors_without_plain_values_are_told_by_name(name, tmp_path):
    make, way = STRANGE[name]
    error = refused(tmp_path, with_weight(make()), inputs=torch.from_numpy(X))
    assert [where for where, _ in error.unsupported] == ["1.weight"]
    assert way in str(error)


def test_modules_that_were_never_called_are_told_and_called(tmp_path):
    module = torch.nn.Sequential(torch.nn.LazyLinear(3), torch.nn.LazyBatchNorm1d())
    error = refused(tmp_path, module, inputs=torch.ones(2, 5))
    assert {"0.weight", "0.bias", "1.weight"} <= {where for where, _ in error.unsupported}
    assert "call the module once" in str(error)
    with torch.no_grad():
        module(torch.ones(2, 5))
    ma.save_model(tmp_path / "net.h5", module, inputs=torch.ones(2, 5))


@pytest.mark.filterwarnings("ignore")
def test_parts_of_distributed_tensors_are_told_and_gathered(tmp_path):
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
    from torch.distributed.fsdp import fully_shard

    torch.distributed.init_process_group("gloo", rank=0, world_size=1, store=torch.distributed.HashStore())
    try:
        plain = torch.nn.Sequential(torch.nn.Linear(6, 2), torch.nn.ReLU())
        module = copy.deepcopy(plain)
        fully_shard(module, mesh=torch.distributed.init_device_mesh("cpu", (1,)))
        error = refused(tmp_path, module, inputs=torch.from_numpy(X))
        assert [where for where, _ in error.unsupported] == ["0.weight", "0.bias"]
        assert "full_tensor()" in str(error)
        assert "get_model_state_dict(model, options=StateDictOptions(full_state_dict=True))" in error.hint
        whole = torch.nn.Sequential(torch.nn.Linear(6, 2), torch.nn.ReLU())
        whole.load_state_dict(get_model_state_dict(module, options=StateDictOptions(full_state_dict=True)))
    finally:
        torch.distributed.destroy_process_group()
    ma.save_model(tmp_path / "net.h5", whole, inputs=torch.from_numpy(X))
    np.testing.assert_allclose(ma.load_model(tmp_path / "net.h5")(X), plain(torch.from_numpy(X)).detach(), atol=1e-6)


# ---------------------------------------------------------------------- names


def test_names_that_archives_do_not_have_are_changed_with_a_note(tmp_path):
    module = torch.nn.Sequential()
    for name in ("a/b", "a_b", "c d", "größe", "x" * 200, "x" * 100 + "y" * 100, "__metadata__", "a:b"):
        module.add_module(name, torch.nn.Linear(6, 6))
    module.get_submodule("c d").register_parameter("my scale", torch.nn.Parameter(torch.ones(1)))
    holder = Function(lambda x: x)
    holder.net, holder.function = module, lambda x: holder.net(x) * getattr(holder, "odd name")
    holder.register_parameter("odd name", torch.nn.Parameter(torch.randn(6)))
    holder.register_buffer("späte", torch.ones(3))
    holder.again = module
    notes = ma.save_model(tmp_path / "net.h5", holder, inputs=torch.from_numpy(X))
    net = ma.load_model(tmp_path / "net.h5")
    with torch.no_grad():
        np.testing.assert_allclose(net(X), holder(torch.from_numpy(X)).numpy(), atol=1e-5)
    children = dict(net.named_blocks())["net"].children
    assert list(children) == [
        "a_b_2", "a_b", "c_d", "gr__e", "x" * 100, "x" * 100 + "_2", "x__metadata__", "a_b_3",
    ]  # fmt: skip
    changed = {note.where: note.what for note in notes if "is called" in note.what}
    assert len([note for note in notes if "is called" in note.what]) == 9
    assert changed["net.a/b"].startswith("is called 'a_b_2' here")
    assert changed["odd name"].startswith("is called 'odd_name' here")
    assert all(len(note.where) < 100 for note in notes)
    stored = {name: array.tobytes() for name, array in ma.load(tmp_path / "net.h5").items()}
    assert stored["net.a_b_2.weight"] == module.get_parameter("a/b.weight").detach().numpy().tobytes()
    assert not any("constant" in note.what for note in notes)
    assert "again.a_b_2.weight" in stored


@pytest.mark.parametrize("count", [lambda x: x.nelement(), lambda x: x.numel(), torch.numel])
def test_the_number_of_elements(count, tmp_path):
    module = Function(lambda x: x * count(x))
    net = read_module(module, torch.from_numpy(X)).build()
    for x in (X, np.concatenate([X, X])):
        np.testing.assert_array_equal(net(x), module(torch.from_numpy(x)).numpy())


# ---------------------------------------------------------------------- hooks and parametrisations


def symmetric(module):
    class Symmetric(torch.nn.Module):
        def forward(self, x):
            return x + x.T

    torch.nn.utils.parametrize.register_parametrization(module, "weight", Symmetric())


CHANGED = {
    "weight_norm": (torch.nn.utils.weight_norm, "computed by weight_norm"),
    "spectral_norm": (torch.nn.utils.spectral_norm, "computed by spectral_norm"),
    "pruned": (lambda module: torch.nn.utils.prune.l1_unstructured(module, "weight", 0.5), "pruned"),
    "parametrised weight_norm": (torch.nn.utils.parametrizations.weight_norm, "parametrisation (WeightNorm)"),
    "parametrised spectral_norm": (torch.nn.utils.parametrizations.spectral_norm, "parametrisation (SpectralNorm)"),
    "orthogonal": (torch.nn.utils.parametrizations.orthogonal, "parametrisation (Orthogonal)"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CHANGED)
def test_weights_that_are_computed_are_told_with_what_makes_them_plain(name, tmp_path):
    change, word = CHANGED[name]
    model = torch.nn.Sequential(torch.nn.Sequential(torch.nn.Linear(6, 6)), torch.nn.ReLU())
    change(model[0][0])
    model.eval()
    model(torch.from_numpy(X))
    error = refused(tmp_path, model, inputs=torch.from_numpy(X))
    assert len(error.unsupported) == 1
    where, what = error.unsupported[0]
    assert where.startswith("0.0")
    assert word in what
    wanted = model(torch.from_numpy(X)).detach().numpy()
    eval(re.search(r"torch\.nn\.utils\..*\)(?= makes)", what)[0], {"torch": torch, "model": model})
    ma.save_model(tmp_path / "net.h5", model, inputs=torch.from_numpy(X))
    np.testing.assert_allclose(ma.load_model(tmp_path / "net.h5")(X), wanted, atol=1e-5)


def test_a_parametrisation_of_one_s_own_is_read(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(6, 6))
    symmetric(model[0])
    ma.save_model(tmp_path / "net.h5", model, inputs=torch.from_numpy(X))
    wanted = model(torch.from_numpy(X)).detach().numpy()
    np.testing.assert_allclose(ma.load_model(tmp_path / "net.h5")(X), wanted, atol=1e-5)


def test_hooks_and_replaced_forwards_are_told_by_name(tmp_path):
    def double(module, inputs, output):
        return output * 2

    model = torch.nn.Sequential(torch.nn.Linear(6, 6), torch.nn.ReLU(), torch.nn.ReLU())
    handle = model[0].register_forward_hook(double)
    model[1].forward = lambda x: x * 3
    error = refused(tmp_path, model, inputs={"shape": [None, 6]})
    assert [where for where, _ in error.unsupported] == ["0", "1"]
    assert "(double)" in str(error)
    assert "replaced" in str(error)
    assert os.fspath(tmp_path) not in str(error)
    handle.remove()
    del model[1].forward
    model[2].register_full_backward_hook(lambda *given: None)
    ma.save_model(tmp_path / "net.h5", model, inputs={"shape": [None, 6]})
