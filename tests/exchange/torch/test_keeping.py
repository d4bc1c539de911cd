"""A module that was read, or refused, is the module that it was: whatever its forward writes, wherever."""

import copy
import dataclasses
import random
from collections import OrderedDict, defaultdict, deque
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import modelarchive as ma
from modelarchive.exchange.torch import read_module
from tests.exchange.torch.comparison import X

torch = pytest.importorskip("torch")
kept = pytest.importorskip("modelarchive.exchange.torch.keeping").kept

BESIDE = {}


@dataclasses.dataclass(slots=True)
class Slots:
    last: object = None


class Holder:
    def __init__(self):
        self.inside = {"list": [1, {"deep": []}]}


class Writing(torch.nn.Module):
    """Its forward writes as `write` says; its outputs do not depend on that."""

    of_the_class = {"cache": None}  # noqa: RUF012, that is what is tried
    count = 0

    def __init__(self, write):
        super().__init__()
        self.linear = torch.nn.Linear(6, 6)
        self.norm = torch.nn.BatchNorm1d(4)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.table = torch.arange(6.0)
        self.cache = {}
        self.ordered = OrderedDict(a=1)
        self.default = defaultdict(list)
        self.row = [0]
        self.nested = ([{}], {"set": set(), "deque": deque([1], maxlen=3)})
        self.holder = Holder()
        self.slots = Slots()
        self.space = SimpleNamespace(value=None)
        self.generator = torch.Generator().manual_seed(1)
        self.random = random.Random(2)
        self.numpy = np.random.default_rng(3)
        self.array = np.zeros(3)
        self.function = self._closure()
        self.write = write

    def _closure(self):
        last, calls = [], 0

        def function(x):
            nonlocal calls
            calls += 1
            last.append(x)
            return calls, len(last)

        return function

    def forward(self, x, memory=[]):  # noqa: B006, that is what is tried
        self.write(self, self.linear.weight if "weight" in self.write.__name__ else x, memory)
        return self.norm(self.linear(x)) + x


def keep_in_dicts(module, x, memory):
    module.cache["x"] = module.ordered["b"] = module.nested[0][0]["x"] = x
    module.default[0].append(x)
    module.ordered.move_to_end("a")


def keep_in_rows(module, x, memory):
    module.row.append(x)
    module.row[0] = module.nested[1]
    module.nested[1]["set"].add("new")
    module.nested[1]["deque"].extend([x, x, x])


def keep_in_objects(module, x, memory):
    module.holder.inside["list"][1]["deep"].append(x)
    module.holder.new = x
    module.slots.last = x
    module.space.value = x


def keep_as_attributes(module, x, memory):
    module.last, module.training, module.cache = x, True, None
    module.linear.extra = x
    del module.table


def keep_beside(module, x, memory):
    BESIDE["x"] = x
    memory.append(x)
    module.of_the_class["cache"] = x
    type(module).count += 1
    type(module).newest = x
    module.function(x)


def change_the_tree(module, x, memory):
    module.register_buffer("new", torch.zeros(1))
    module.added = torch.nn.Linear(1, 1)
    module.register_forward_hook(lambda *inputs: None)
    module.norm.eval()
    module.linear.train()


def change_tensors(module, x, memory):
    module.table.mul_(2)
    module.table[1] = 7
    module._buffers["steps"] += 1
    module.norm.running_mean.data.add_(0.0)
    module._parameters["linear"] = None
    module._parameters.pop("linear")
    module.linear._parameters["bias"].requires_grad_(False)
    module.linear._parameters["bias"].grad = torch.ones(6)


def change_memory(module, x, memory):
    bias = module.linear._parameters["bias"]
    bias.data = bias.data.clone()
    bias.data += 1
    bias.data -= 1


def draw(module, x, memory):
    torch.rand(3)
    torch.rand(3, generator=module.generator)
    random.random()
    np.random.rand()
    module.random.random()
    module.numpy.random()
    module.array[0] += 1


def fail(module, x, memory):
    keep_in_dicts(module, x, memory)
    change_tensors(module, x, memory)
    raise RuntimeError("it fails")


def depend_on_values(module, x, memory):
    keep_in_objects(module, x, memory)
    keep_beside(module, x, memory)
    for _ in range(int(x.sum())):
        module.row.append(1)


WRITES = [
    keep_in_dicts, keep_in_rows, keep_in_objects, keep_as_attributes, keep_beside, change_the_tree, change_tensors,
    change_memory, draw,
]  # fmt: skip


def picture(module):
    """Everything of a module that somebody could look at: identities, values, states."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers()), "table": module.table}
    return {
        "attributes": [{name: id(value) for name, value in vars(each).items()} for each in module.modules()],
        "inside": [
            {name: list(value.items()) for name, value in vars(each).items() if isinstance(value, dict)}
            for each in module.modules()
        ],
        "containers": copy.deepcopy((module.cache, module.ordered, module.default, module.row, module.nested)),
        "objects": copy.deepcopy((vars(module.holder), module.slots, module.space)),
        "tensors": {
            name: (id(each), each.data_ptr(), each.requires_grad, id(each.grad), each.detach().numpy().tobytes())
            for name, each in tensors.items()
        },
        "beside": copy.deepcopy(BESIDE),
        "class": ({k: v for k, v in vars(Writing).items() if k != "of_the_class"}, dict(Writing.of_the_class)),
        "defaults": [list(each) for each in Writing.forward.__defaults__],
        "closure": [copy.deepcopy(cell.cell_contents) for cell in module.function.__closure__],
        "random": (
            torch.get_rng_state().tolist(),
            module.generator.get_state().tolist(),
            random.getstate(),
            module.random.getstate(),
            module.numpy.bit_generator.state,
            np.random.get_state()[1].tolist(),
            module.array.tolist(),
        ),
        "modes": [each.training for each in module.modules()],
    }


@pytest.mark.parametrize("is_training", [True, False])
@pytest.mark.parametrize("write", WRITES)
def test_whatever_a_forward_writes_is_put_back(write, is_training, tmp_path):
    module = Writing(write).train(is_training)
    module.linear.weight.grad = torch.ones(6, 6)
    before = picture(module)
    read = True
    try:
        ma.save_model(tmp_path / "net.h5", module, inputs=torch.from_numpy(X))
    except ma.ConversionError:
        read = False
    assert picture(module) == before
    assert read or write is change_tensors
    if read:
        module.write = lambda *given: None
        wanted = module.eval()(torch.from_numpy(X)).detach().numpy()
        np.testing.assert_allclose(ma.load_model(tmp_path / "net.h5")(X), wanted, atol=1e-5)


@pytest.mark.parametrize("write", [fail, depend_on_values])
def test_also_where_it_is_refused(write):
    module = Writing(write)
    before = picture(module)
    with pytest.raises(ma.ConversionError):
        read_module(module, torch.from_numpy(X))
    assert picture(module) == before


@settings(deadline=None, max_examples=25)
@given(order=st.permutations(WRITES), times=st.integers(1, 3))
def test_in_any_order_and_nested(order, times):
    module = Writing(draw)
    module.writes = WRITES  # so that what they name is found
    before = picture(module)
    with kept(module), torch.no_grad():
        for write in order * times:
            with kept(module):
                write(module, torch.from_numpy(X), [])
            write(module, torch.from_numpy(X), []) if write is not keep_as_attributes else None
    assert picture(module) == before


def test_a_cache_of_one_run_is_not_there_in_the_next(tmp_path):
    """What levit and efficientformer of timm do."""

    class Biased(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.bias = torch.nn.Parameter(torch.randn(6))
            self.cache = {}

        def forward(self, x):
            if "bias" not in self.cache:
                self.cache["bias"] = self.bias * 2
            return x + self.cache["bias"]

    net = torch.nn.Sequential(Biased(), torch.nn.Linear(6, 6))
    net[0].cache["other"] = other = torch.ones(1)
    ma.save_model(tmp_path / "net.h5", net, inputs=torch.from_numpy(X))
    assert list(net[0].cache) == ["other"]
    assert net[0].cache["other"] is other
    np.testing.assert_allclose(ma.load_model(tmp_path / "net.h5")(X), net(torch.from_numpy(X)).detach(), atol=1e-6)


def test_what_evaluation_changes_is_what_is_saved_and_is_changed_back(tmp_path):
    """What LoRA layers do: merged where they are evaluated."""

    class Merging(torch.nn.Linear):
        is_merged = False

        def __init__(self):
            super().__init__(6, 6)
            self.low = torch.nn.Parameter(torch.randn(6, 6))

        def train(self, mode=True):
            if self.is_merged == mode:
                self.weight.data += -self.low.data if mode else self.low.data
                self.is_merged = not mode
            return super().train(mode)

        def forward(self, x):
            y = torch.nn.functional.linear(x, self.weight, self.bias)
            return y if self.is_merged else y + x @ self.low.T

    module = Merging()
    weight = module.weight.detach().clone()
    wanted = module(torch.from_numpy(X)).detach().numpy()
    ma.save_model(tmp_path / "net.h5", module, inputs=torch.from_numpy(X))
    assert torch.equal(module.weight, weight)
    assert not module.is_merged
    np.testing.assert_allclose(ma.load_model(tmp_path / "net.h5")(X), wanted, atol=1e-5)


def test_counters_have_the_values_from_before(tmp_path):
    class Counting(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("count", torch.tensor([3.0]))
            self.norm = torch.nn.BatchNorm1d(4)

        def forward(self, x):
            self._buffers["count"].add_(1.0)
            return self.norm(x) + self.count * 0

    module = Counting()
    bundle = read_module(module, torch.from_numpy(X))
    assert bundle.parameters["count"].tolist() == [3.0] == module.count.tolist()


def test_no_memory_is_taken_unless_something_is_written():
    module = torch.nn.Sequential(torch.nn.Linear(6, 6), torch.nn.BatchNorm1d(4))
    with kept(module) as writes, torch.no_grad():
        module.eval()(torch.from_numpy(X))
        assert not any(writes.changed(each) for each in module.state_dict(keep_vars=True).values())
        module.train()(torch.from_numpy(X))
        assert writes.changed(module[1].running_var)
        assert writes.changed(module[1].num_batches_tracked)
        assert not writes.changed(module[0].weight)


def test_saving_in_the_middle_of_training(tmp_path):
    """What a step after saving does is what it does without saving, to the last bit."""

    def train(*, saves):
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.5),
                                  torch.nn.Linear(8, 2))  # fmt: skip
        optimizer = torch.optim.Adam(net.parameters())
        for step in range(3):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = net(torch.randn(5, 4, 6)).float().square().mean()
                if saves:
                    metadata = {"loss": loss, "step": np.int64(step), "accuracy": np.float32(0.5)}
                    ma.save_model(tmp_path / "net.h5", net, inputs=torch.from_numpy(X), metadata=metadata)
                    assert torch.is_autocast_enabled("cpu")
            loss.backward()
            if saves:
                ma.save_model(tmp_path / "net.h5", net, inputs=torch.from_numpy(X))
            optimizer.step()
            optimizer.zero_grad(set_to_none=step == 1)
            assert all(each.training for each in net.modules())
        return net, torch.rand(1)

    (saved, drawn), (plain, other) = train(saves=True), train(saves=False)
    assert torch.equal(drawn, other)
    for one, two in zip(saved.state_dict().values(), plain.state_dict().values(), strict=True):
        assert torch.equal(one, two)


def test_inside_of_inference_mode_and_with_gradients(tmp_path):
    net = torch.nn.Sequential(torch.nn.Linear(6, 2), torch.nn.ReLU())
    x = torch.from_numpy(X)
    with torch.inference_mode():
        ma.save_model(tmp_path / "net.h5", net, inputs=x)
    np.testing.assert_allclose(ma.load_model(tmp_path / "net.h5")(X), net(x).detach().numpy(), atol=1e-6)
    assert ma.save_model(tmp_path / "net.h5", net, inputs=x.clone().requires_grad_() * 2) == []
    assert torch.is_grad_enabled()


def test_objects_in_c_whose_members_nobody_may_write_are_left_alone():
    class Spaced(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.kind = np.dtype([("a", np.float32, (300,)), ("b", np.int8)])
            self.spaces = {"x": SimpleNamespace(dtype=np.dtype("float32"), low=np.zeros(3))}

        def forward(self, x):
            return x * self.kind.itemsize

    module = Spaced()
    np.testing.assert_allclose(read_module(module, X).build()(X), X * 1201)
    assert module.kind.itemsize == 1201


def test_what_cannot_be_put_back_keeps_nothing_else_from_it():
    module = torch.nn.Linear(2, 2)
    module.array, module.row = np.zeros(3), [0]
    bias = module.bias.detach().clone()

    def write():
        with kept(module), torch.no_grad():
            module.array.flags.writeable = False
            module.row.append(1)
            module.bias.add_(1)

    with pytest.raises(ValueError, match="read-only"):
        write()
    assert module.row == [0]
    assert torch.equal(module.bias, bias)
