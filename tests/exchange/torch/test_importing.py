"""Programs of torch.export as blocks: names, kinds, rows, states, and what is shared."""

import copy

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange.torch import build_module, read_module
from tests.exchange.torch.comparison import IMAGE, Function, Holder, X, assert_read

torch = pytest.importorskip("torch")
F = torch.nn.functional


def kinds(architecture):
    """Dotted path -> kind, of all blocks."""
    found = {}

    def visit(block, path):
        found[path] = block["kind"]
        for each in (*block.get("children", ()), *block.get("nodes", ())):
            if "block" in each:
                visit(each["block"], f"{path}.{each['name']}".strip("."))

    visit(architecture["model"], "")
    return found


def strict(module, bundle):
    rebuilt = build_module(bundle)
    rebuilt.load_state_dict(module.state_dict(), strict=True)
    copy.deepcopy(module).load_state_dict(rebuilt.state_dict(), strict=True)
    return rebuilt


class Residual(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.branch = torch.nn.Sequential(torch.nn.Conv2d(4, 4, 3, padding=1), torch.nn.BatchNorm2d(4), torch.nn.ReLU())

    def forward(self, x):
        return x + self.branch(x)


def test_hierarchy_and_names_are_those_of_the_modules():
    module = torch.nn.Sequential(torch.nn.Conv2d(4, 4, 1), Residual(), torch.nn.Identity(), torch.nn.Flatten())
    bundle = assert_read(module, IMAGE)
    assert kinds(bundle.architecture) == {
        "": "Sequential",
        "0": "Conv2D",
        "1": "Graph",
        "1.branch": "Sequential",
        "1.branch.0": "Conv2D",
        "1.branch.1": "BatchNorm",
        "1.branch.2": "Activation",
        "2": "Identity",
        "3": "Flatten",
    }
    strict(module.eval(), bundle)


def test_subclasses_that_change_nothing_are_kinds():
    class Mine(torch.nn.Linear):
        pass

    class Wide(torch.nn.Conv2d):
        def __init__(self, channels):
            super().__init__(channels, channels, 3, padding=1)

    found = kinds(read_module(torch.nn.Sequential(Wide(4), torch.nn.Flatten(), Mine(192, 2)), IMAGE).architecture)
    assert [found[name] for name in ("0", "1", "2")] == ["Conv2D", "Flatten", "Dense"]


class Same(torch.nn.Conv2d):
    """Padding as TensorFlow has it."""

    def forward(self, x):
        return F.conv2d(F.pad(x, (0, 1, 0, 1)), self.weight, self.bias, self.stride)


class Acting(torch.nn.BatchNorm2d):
    def __init__(self, channels):
        super().__init__(channels)
        self.act = torch.nn.ReLU(inplace=True)

    def forward(self, x):
        return self.act(super().forward(x))


def test_a_layer_called_as_a_function_stays_at_its_place():
    module = torch.nn.Sequential(Same(4, 4, 2, 2), Acting(4)).eval()
    bundle = assert_read(module, IMAGE)
    found = kinds(bundle.architecture)
    assert found["0"] == "Conv2D"
    assert (found["1"], found["1.batchnorm"], found["1.act"]) == ("Graph", "BatchNorm", "Activation")
    # One array under two names, and a state that has one of them.
    rebuilt = strict(module, bundle)
    assert "1.batchnorm.weight" not in rebuilt.state_dict()
    assert bundle.parameters["1.batchnorm.weight"] is bundle.parameters["1.weight"]
    with torch.no_grad():
        rebuilt.half().double()
        wanted = copy.deepcopy(module).half().double()(torch.from_numpy(IMAGE).double())
        assert torch.allclose(rebuilt(torch.from_numpy(IMAGE).double()), wanted)


def test_a_block_that_is_called_twice_is_one_block():
    module = Holder(torch.nn.Sequential(torch.nn.Linear(6, 6), torch.nn.Tanh()), lambda held, x: held(held(x)))
    bundle = assert_read(module, X)
    nodes = bundle.architecture["model"]["nodes"]
    assert [("block" in each, each.get("call")) for each in nodes] == [(True, None), (False, "held")]


def test_a_block_that_does_other_things_at_each_call_is_read_all_the_same():
    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(6, 6)

        def forward(self, x):
            return self.linear(x) if x.ndim == 3 else self.linear(x) * 2

    assert_read(Holder(Twice(), lambda held, x: held(x)[:, 0] + held(x[:, 0])), X)


def test_tied_parameters_stay_tied():
    module = torch.nn.Sequential(torch.nn.Linear(6, 6), torch.nn.Linear(6, 6))
    module[1].weight = module[0].weight
    bundle = assert_read(module, X)
    assert bundle.parameters["1.weight"] is bundle.parameters["0.weight"]
    rebuilt = strict(module.eval(), bundle)
    assert rebuilt[1].weight is rebuilt[0].weight


def test_parameters_of_another_module_are_given_to_a_block():
    class Uses(torch.nn.Module):
        def __init__(self, other):
            super().__init__()
            self.other = [other]

        def forward(self, x):
            return F.linear(x, self.other[0].weight) * 2

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Linear(6, 6)
            self.second = Uses(self.first)

        def forward(self, x):
            return self.second(self.first(x))

    assert_read(Net(), X)


def test_a_program_of_another_process_gives_the_same_as_its_module(tmp_path):
    module = torch.nn.Sequential(torch.nn.Conv2d(4, 4, 1), Residual()).eval()
    x = torch.from_numpy(IMAGE)
    program = torch.export.export(module, (x,), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    bundle = read_module(program)
    assert kinds(bundle.architecture) == kinds(read_module(module, x).architecture)
    np.testing.assert_allclose(bundle.build()(IMAGE[:1]), module(x[:1]).detach().numpy(), atol=1e-5)


def test_what_cannot_be_said_is_listed_with_the_module_that_does_it():
    module = torch.nn.Sequential(Function(torch.special.bessel_j1), Function(torch.special.bessel_j0))
    with pytest.raises(ma.ConversionError) as caught:
        read_module(module, X)
    assert [where for where, _ in caught.value.unsupported] == ["0", "1"]


class Masked(torch.nn.Module):
    """A mask that is made in the forward, a table that is in no state_dict, and one that is."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(16, 16)
        self.register_buffer("table", torch.randn(16, 16), persistent=False)
        self.register_buffer("scale", torch.rand(16, 16))

    def forward(self, x):
        mask = torch.triu(torch.ones(16, 16, dtype=torch.bool), 1)
        return ((self.linear(x) + self.table) * self.scale).masked_fill(mask, -1e9).softmax(-1)


def test_constants_are_no_parameters(tmp_path):
    module = Masked().eval()
    x = torch.randn(2, 16, 16)
    notes = ma.save_model(tmp_path / "net.h5", module, inputs=x)
    assert not notes
    net = ma.load_model(tmp_path / "net.h5")
    wanted = module(x).detach().numpy()
    np.testing.assert_allclose(net(x.numpy()), wanted, rtol=1e-5)
    state = set(module.state_dict())
    assert set(net.collect_params()) == set(ma.load(tmp_path / "net.h5")) == state
    built = ma.load_model(tmp_path / "net.h5", backend="torch")
    built.load_state_dict(module.state_dict(), strict=True)
    module.load_state_dict(built.state_dict(), strict=True)
    np.testing.assert_allclose(built(x).detach().numpy(), wanted, rtol=1e-5)
    # and again, from what this package built, through files of parameters, and into what has them
    ma.save_model(tmp_path / "again.h5", built)
    assert ma.load_model(tmp_path / "again.h5", backend="torch").state_dict().keys() == state
    for name in ("net.pt", "net.safetensors", "net.npz"):
        ma.convert(tmp_path / "net.h5", tmp_path / name)
        assert set(ma.load(tmp_path / name)) == state
    report = ma.transplant(tmp_path / "net.h5", Masked())
    assert not report.unexpected


def test_constants_go_with_a_part_and_through_other_systems(tmp_path):
    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = Masked()
            self.last = torch.nn.Linear(16, 2)

        def forward(self, x):
            return self.last(self.first(x))

    module = Two().eval()
    x = torch.randn(2, 16, 16)
    ma.save_model(tmp_path / "net.h5", module, inputs=x)
    part = ma.load_model(tmp_path / "net.h5", block="first")
    np.testing.assert_allclose(part(x.numpy()), module.first(x).detach().numpy(), rtol=1e-5)
    ma.convert(tmp_path / "net.h5", tmp_path / "net.onnx")
    np.testing.assert_allclose(ma.load_model(tmp_path / "net.onnx")(x.numpy()), module(x).detach().numpy(), rtol=1e-4)


class Biased(torch.nn.Module):
    """Attention that is given its bias, which is a part of the network around."""

    def __init__(self, bias):
        super().__init__()
        self.project = torch.nn.Linear(6, 6)
        self.bias = [bias] if bias is not None else []  # in a list: no part

    def forward(self, x, bias=None):
        found = bias or self.bias[0]
        return (self.project(x)[:, None] * found(x)).softmax(-1).sum(1)


class Places(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(6, 6)
        self.scale = torch.nn.Linear(6, 6)

    def forward(self, x):
        return self.scale(self.table(torch.arange(6))) * x.mean()


@pytest.mark.parametrize("is_passed", [True, False])
def test_a_module_called_by_one_that_it_is_no_part_of(is_passed):
    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.places = Places()
            self.first, self.second = (Biased(None if is_passed else self.places) for _ in range(2))

        def forward(self, x):
            given = (self.places,) if is_passed else ()
            return self.second(self.first(x, *given), *given)

    torch.manual_seed(0)
    module = Network()
    bundle = assert_read(module, X[:, 0].copy())
    assert set(bundle.parameters) == set(module.state_dict())
    strict(module, bundle)


def test_a_module_that_is_no_part_of_anything_leaves_its_parameters_where_they_are():
    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            one = torch.nn.Linear(6, 6)
            self.__dict__["shape_of_it"] = one
            self.rows = torch.nn.ParameterDict({"weight": one.weight, "bias": one.bias})

        def forward(self, x):
            return self.shape_of_it(x)

    module = Network()
    bundle = assert_read(module, X[:, 0].copy())
    assert set(bundle.parameters) == set(module.state_dict())


def test_an_array_of_a_size_that_values_decide_is_refused_with_its_line():
    class Picked(torch.nn.Module):
        def forward(self, x):
            kept = x[x[:, 0] > 0]
            return kept.exp().cumsum(0).sum(0)  # each row depends on those before

    with pytest.raises(
        ma.ConversionError, match=r"index gives an array whose size depends on values.*test_importing\.py, line "
    ) as it:
        read_module(Picked(), X[:, 0].copy())
    assert "kept = x[x[:, 0] > 0]" in str(it.value)
    assert str(it.value).count("size depends on values") == 1


def test_sums_of_neighbours_of_a_graph_are_read():
    class Sum(torch.nn.Module):
        def forward(self, given, index, number):
            return given.new_zeros(number, given.shape[1]).index_add(0, index, given)

    class Graph(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.sum = torch.nn.Linear(6, 6), Sum()

        def forward(self, x, edges):
            return self.sum(self.layer(x)[edges[0]], edges[1], len(x))

    assert_read(Graph(), X.reshape(8, 6)[:3], np.asarray([[0, 1, 2, 1, 0], [1, 0, 0, 2, 2]]))


def test_a_module_called_at_two_sizes_does_at_each_what_its_operators_do_there():
    class Scaled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.rand(3, 1, 1))

        def forward(self, x):
            return (torch.nn.functional.normalize(x, dim=1) * self.weight).flatten(2)

    class Levels(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head = Scaled()

        def forward(self, x):
            return self.head(x), self.head(x[..., ::2, ::2])

    module = Levels().eval()
    bundle = read_module(module, torch.randn(2, 3, 8, 8))
    assert list(bundle.parameters) == ["head.weight"]
    x = torch.randn(5, 3, 8, 8)
    for one, other in zip(bundle.build()(x.numpy()), module(x), strict=True):
        np.testing.assert_allclose(one, other.detach().numpy(), rtol=0, atol=1e-6)


def test_weights_that_a_layer_nobody_calls_computes():
    """A layer of computed weights that is not called itself, but what computes them is."""

    class Unit(torch.nn.Module):
        def forward(self, weight):
            return torch.nn.functional.normalize(weight, dim=-1)

    class Alone(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(8, 4, bias=False)
            torch.nn.utils.parametrize.register_parametrization(self.linear, "weight", Unit())

        def forward(self, x):
            return x @ self.linear.weight.T

    module = Alone().eval()
    bundle = read_module(module, torch.randn(2, 8))
    x = torch.randn(3, 8)
    np.testing.assert_allclose(bundle.build()(x.numpy()), module(x).detach().numpy(), rtol=0, atol=1e-6)


def test_a_part_of_a_layer_that_nobody_calls_is_used():
    """Attention whose own forward is never called, but whose last layer is."""

    class Own(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = torch.nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x):
            weights, biases = self.attention.in_proj_weight, self.attention.in_proj_bias
            q, k, v = F.linear(x, weights, biases).chunk(3, -1)
            last = self.attention.out_proj
            return F.linear(F.scaled_dot_product_attention(q, k, v), last.weight, last.bias)

    module = Own().eval()
    bundle = read_module(module, torch.randn(2, 5, 8))
    assert set(bundle.parameters) == set(module.state_dict())
    x = torch.randn(3, 5, 8)
    np.testing.assert_allclose(bundle.build()(x.numpy()), module(x).detach().numpy(), rtol=0, atol=1e-5)
