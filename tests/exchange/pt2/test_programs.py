"""Exported programs in files are whole models: the same numbers, names and states as the module they were made of."""

import warnings
import zipfile

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange.pt2 import read
from modelarchive.formats import recognise
from modelarchive.tensors import asarray as array_of
from tests.exchange.pt2.programs import Net, changed, exported, saved

torch = pytest.importorskip("torch")
X, Y = torch.randn(3, 4), torch.randn(3, 4)


def leaves(value):
    return torch.utils._pytree.tree_leaves(value)


def assert_same(bundle, module, *inputs):
    found = bundle.build()(*(each.numpy() for each in inputs))
    for one, other in zip(leaves(found), leaves(module(*inputs)), strict=True):
        np.testing.assert_allclose(one, other.detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layout", ["now", "before 2.8", "extra"])
def test_a_program_is_a_whole_model(layout, tmp_path):
    module = Net()
    wanted = {name: each.clone() for name, each in module.state_dict().items()}
    path = saved(exported(module, (X, Y)), tmp_path / "net.pt2", layout)
    bundle = read(path)
    assert [each["shape"] for each in bundle.architecture["inputs"]] == [[None, 4], [None, 4]]
    assert [each["name"] for each in bundle.architecture["inputs"]] == ["x", "y"]
    assert set(bundle.parameters) == set(wanted) - {"norm.num_batches_tracked", "other.weight"} | (
        {"other.weight"} & set(bundle.parameters)
    )
    for name, array in bundle.parameters.items():
        np.testing.assert_array_equal(array, wanted[name].numpy())
    assert_same(bundle, module, torch.randn(5, 4), torch.randn(2, 4))
    assert any("is changed by each call" in each.what for each in bundle.notes)
    assert any("extra files" in each.what for each in bundle.notes) == (layout == "extra")


def test_the_ways_in(tmp_path):
    module = Net()
    path = saved(exported(module, (X, Y)), tmp_path / "net.pt2")
    notes = ma.convert(path, tmp_path / "net.h5")
    assert not [each for each in notes if "architecture" in each.where]
    found = ma.load_model(tmp_path / "net.h5")(X.numpy(), Y.numpy())
    np.testing.assert_allclose(found["h"], module(X, Y)["h"].detach().numpy(), rtol=1e-5, atol=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        again = ma.load_model(path, backend="torch")
        arrays = ma.load(path)
    torch.testing.assert_close(again(X, Y)["h"], module(X, Y)["h"])
    np.testing.assert_array_equal(arrays["one.weight"], module.one.weight.detach().numpy())
    alone = ma.convert(path, tmp_path / "net.safetensors", parameters_only=True)
    assert any("only the parameters" in each.what for each in alone)
    assert set(ma.load(tmp_path / "net.safetensors")) == set(module.state_dict())


def test_it_is_known_by_what_is_in_it(tmp_path):
    path = saved(exported(Net(), (X, Y)), tmp_path / "net.bin")
    assert recognise(path) == "pt2"
    ma.convert(path, tmp_path / "net.h5")


def test_blocks_stand_as_the_modules_did(tmp_path):
    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = torch.nn.LayerNorm(8)
            self.rows = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.GELU(), torch.nn.Linear(16, 8))

        def forward(self, x):
            return x + self.rows(self.norm(x))

    module = torch.nn.Sequential(Block(), Block())
    bundle = read(saved(exported(module, (torch.randn(3, 8),)), tmp_path / "net.pt2"))
    model = bundle.architecture["model"]
    assert model["kind"] == "Sequential"
    inside = {each["name"]: each["block"]["kind"] for each in model["children"][0]["block"]["nodes"] if "block" in each}
    assert inside == {"norm": "LayerNorm", "rows": "Sequential"}
    assert set(bundle.parameters) == set(module.state_dict())


def case(name):
    attention = torch.nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    cells = {
        "bfloat16": (torch.nn.Linear(4, 3).to(torch.bfloat16), (torch.randn(2, 4, dtype=torch.bfloat16),)),
        "convolution": (
            torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)),
            (torch.randn(2, 3, 8, 8),),
        ),
        "attention": (attention, (torch.randn(2, 5, 8),)),
        "embedding": (torch.nn.Embedding(9, 4), (torch.randint(0, 9, (2, 5)),)),
        "recurrence": (torch.nn.GRU(4, 5, batch_first=True), (torch.randn(2, 6, 4),)),
        "no_grad": (Function(lambda x: _without_gradients(x) * 2), (torch.randn(3, 4),)),
        "autocast": (Function(_in_bfloat16), (torch.randn(3, 4),)),
        "strided": (Strided(), (torch.randn(3, 4),)),
    }
    return cells[name]


class Function(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Strided(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.turned = torch.nn.Parameter(torch.randn(6, 4).t()[:, ::2])

    def forward(self, x):
        return x @ self.turned


def _without_gradients(x):
    with torch.no_grad():
        return x + 1


def _in_bfloat16(x):
    with torch.autocast("cpu", torch.bfloat16):
        return x @ x.t()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("layout", ["now", "before 2.8"])
@pytest.mark.parametrize(
    "name",
    ["bfloat16", "convolution", "attention", "embedding", "recurrence", "no_grad", "autocast", "strided"],
)
def test_programs_of_many_kinds(name, layout, tmp_path):
    module, inputs = case(name)
    path = saved(exported(module, inputs), tmp_path / "net.pt2", layout)
    bundle = read(path)
    with torch.no_grad():
        wanted = leaves(module.eval()(*inputs))
    found = leaves(bundle.build()(*map(array_of, inputs)))
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(np.asarray(one, np.float64), other.to(torch.float64).numpy(), rtol=2e-2, atol=2e-2)


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
def test_a_program_in_core_operators_is_read(tmp_path):
    module = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.LayerNorm(8), torch.nn.GELU(), torch.nn.Linear(8, 2))
    program = exported(module, (X,)).run_decompositions()
    bundle = read(saved(program, tmp_path / "net.pt2"))
    assert_same(bundle, module, torch.randn(5, 4))
    assert set(bundle.parameters) == set(module.state_dict())


def test_inputs_that_were_fixed_are_told(tmp_path):
    class Options(torch.nn.Module):
        def forward(self, x, scale=2.0, mask=None):
            return x * scale if mask is None else x * mask

    program = torch.export.export(Options(), (X,), {"scale": 3.0, "mask": None})
    bundle = read(saved(program, tmp_path / "net.pt2"))
    assert [each["name"] for each in bundle.architecture["inputs"]] == ["x"]
    np.testing.assert_allclose(bundle.build()(X.numpy()), X.numpy() * 3, rtol=1e-6)


def test_an_operator_of_somebody_s_own_is_told_by_name(tmp_path):
    path = saved(exported(torch.nn.Linear(4, 4), (X,)), tmp_path / "net.pt2")

    def change(program):
        program["graph_module"]["graph"]["nodes"][-1]["target"] = "torch.ops.mine.linear.default"

    with pytest.raises(ma.ConversionError, match=r"mine\.linear") as caught:
        ma.convert(changed(path, change), tmp_path / "net.h5")
    assert "parameters" in caught.value.hint
    with pytest.warns(UserWarning, match=r"mine\.linear"):
        assert set(ma.load(path)) == {"weight", "bias"}


def test_compiled_code_is_told_with_the_way_out(tmp_path):
    with zipfile.ZipFile(tmp_path / "net.pt2", "w") as file:
        file.writestr("net/archive_format", "pt2")
        file.writestr("net/data/aotinductor/model/model.so", b"\x7fELF")
    with pytest.raises(ma.FormatError, match="compiled code") as caught:
        ma.convert(tmp_path / "net.pt2", tmp_path / "net.h5")
    assert "torch.export.save" in caught.value.hint


def test_several_programs_in_one_file(tmp_path):
    package = pytest.importorskip("torch.export.pt2_archive._package")
    program = exported(torch.nn.Linear(4, 4), (X,))
    package.package_pt2(str(tmp_path / "net.pt2"), exported_programs={"one": program, "other": program})
    with pytest.raises(ma.FormatError, match="holds 2 programs"):
        read(tmp_path / "net.pt2")
