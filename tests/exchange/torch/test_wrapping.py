"""Networks inside of wrappers: the same file as without, names without prefixes, the caller's module untouched."""

import copy

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange.torch import read_module
from tests.exchange.torch.comparison import X

torch = pytest.importorskip("torch")
wrapping = pytest.importorskip("modelarchive.exchange.torch.wrapping")
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper  # noqa: E402
from torch.optim.swa_utils import AveragedModel  # noqa: E402

# What PyTorch's own compiler says while it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")


class Net(torch.nn.Module):
    """Two parts, one of them with a buffer; the head is tied to the first layer."""

    def __init__(self):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.BatchNorm1d(4), torch.nn.Tanh())
        self.head = torch.nn.Linear(5, 6, bias=False)
        self.head.weight = torch.nn.Parameter(self.body[0].weight.detach().T.contiguous())
        self.tied = self.head

    def forward(self, x):
        return self.tied(self.head(self.body(x)) @ self.body[0].weight.T)


@pytest.fixture
def net():
    torch.manual_seed(0)
    net = Net()
    net(torch.randn(64, 4, 6))  # statistics of its own
    return net.eval()


@pytest.fixture
def group():
    """This process as a group of one."""
    torch.distributed.init_process_group("gloo", rank=0, world_size=1, store=torch.distributed.HashStore())
    yield
    torch.distributed.destroy_process_group()


def in_place(net):
    net.compile()
    return net


def averaged(net):
    model = AveragedModel(net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.5), use_buffers=True)
    other = copy.deepcopy(net)
    with torch.no_grad():
        for each in other.parameters():
            each += 1
    for _ in range(3):
        model.update_parameters(other)
    return model


WRAPPED = {
    "compiled": (torch.compile, "torch.compile"),
    "compiled in place": (in_place, "compiled in place"),
    "data parallel": (torch.nn.DataParallel, "DataParallel"),
    "averaged": (averaged, "AveragedModel"),
    "checkpointed": (checkpoint_wrapper, "CheckpointWrapper"),
    "several": (lambda net: torch.compile(torch.nn.DataParallel(torch.compile(net))), "torch.compile"),
}


def expected(module):
    with torch.no_grad():
        return module(torch.from_numpy(X)).numpy()


def plain(module):
    """The network inside, by hand."""
    while not isinstance(module, Net):
        module = next(module.children())
    return module


@pytest.mark.parametrize("name", WRAPPED)
def test_the_network_inside_is_saved(name, net, tmp_path):
    wrap, word = WRAPPED[name]
    wrapped = wrap(net).eval()
    before = dict(vars(wrapped)), {name: id(each) for name, each in wrapped.named_modules()}
    notes = ma.save_model(tmp_path / "net.h5", wrapped, inputs=torch.from_numpy(X))
    assert any(word in note.what and note.where == "(model)" for note in notes)
    inner = plain(wrapped)
    with ma.open(tmp_path / "net.h5") as archive:
        assert set(archive.parameters) == {each for each in inner.state_dict() if "num_batches" not in each}
        for parameter, array in archive.parameters.items():
            assert array.tobytes() == inner.state_dict()[parameter].numpy().tobytes()
    inner._compiled_call_impl = None
    np.testing.assert_allclose(ma.load_model(tmp_path / "net.h5")(X), expected(inner), rtol=1e-5, atol=1e-5)
    if name != "compiled in place":
        assert (dict(vars(wrapped)), {each: id(one) for each, one in wrapped.named_modules()}) == before


@pytest.mark.parametrize("name", [name for name in WRAPPED if name != "averaged"])
def test_wrapped_parts_deep_inside(name, net, tmp_path):
    wanted = expected(net)
    body = net.body
    wrapped = net.body = WRAPPED[name][0](net.body)
    notes = ma.save_model(tmp_path / "net.h5", net, inputs=torch.from_numpy(X))
    assert next(note.where for note in notes if "num_batches" not in note.where) == "body"
    assert net.body is wrapped
    assert (body._compiled_call_impl is not None) == (name == "compiled in place")
    loaded = ma.load_model(tmp_path / "net.h5", backend="torch")
    np.testing.assert_allclose(expected(loaded), wanted, atol=1e-5)
    assert "body.0.weight" in loaded.state_dict()


def test_a_forward_may_reach_into_a_wrapper(net):
    class Reaching(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.part = torch.nn.DataParallel(torch.nn.Linear(6, 2))

        def forward(self, x):
            return self.part.module(x) + self.part(x) + self.part.module.bias

    module = Reaching()
    bundle = read_module(module, torch.from_numpy(X))
    assert list(bundle.parameters) == ["part.weight", "part.bias"]
    np.testing.assert_allclose(bundle.build()(X), expected(module), atol=1e-6)
    assert not hasattr(module.part.module, "module")


@pytest.mark.filterwarnings("ignore")
def test_functions_and_forwards_that_are_compiled(net):
    class Compiled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.part = torch.nn.Linear(6, 2)
            self.function = torch.compile(lambda x: x * 2)

        @torch.compile
        def forward(self, x):
            return self.function(self.part(x))

    module = Compiled()
    bundle = read_module(module, torch.from_numpy(X))
    wanted = module.part(torch.from_numpy(X)).detach().numpy() * 2
    np.testing.assert_allclose(bundle.build()(X), wanted, atol=1e-6)
    net.forward = torch.compile(net.forward)
    np.testing.assert_allclose(read_module(net, torch.from_numpy(X)).build()(X), expected(Net.forward.__get__(net)),
                               atol=1e-5)  # fmt: skip


def test_names_of_tensors_have_no_prefixes(net):
    state = dict(net.state_dict(keep_vars=True))
    net.body = torch.compile(torch.nn.DataParallel(net.body))
    inner, notes = wrapping.unwrapped(torch.nn.DataParallel(net))
    assert inner is net
    assert [note.where for note in notes] == ["(model)", "body", "body"]
    found = wrapping.named_tensors(torch.nn.DataParallel(net))
    assert list(found) == list(state)
    assert all(found[name] is state[name] for name in state)
    assert found["head.weight"] is found["tied.weight"]


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_names_of_a_script_are_those_of_its_state():
    script = torch.jit.trace(torch.nn.Sequential(torch.nn.Linear(2, 3)), torch.ones(1, 2))
    found = wrapping.named_tensors(torch.nn.ModuleDict({"a": script, "b": torch.nn.Linear(1, 1)}))
    assert list(found) == ["a.0.weight", "a.0.bias", "b.weight", "b.bias"]


def test_distributed_data_parallel(net, group, tmp_path):
    wrapped = torch.nn.parallel.DistributedDataParallel(net)
    notes = ma.save_model(tmp_path / "net.h5", wrapped, inputs=torch.from_numpy(X))
    assert any("DistributedDataParallel" in note.what for note in notes)
    np.testing.assert_allclose(ma.load_model(tmp_path / "net.h5")(X), expected(net), atol=1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("use_orig_params", [True, False])
def test_fully_sharded_data_parallel(group, tmp_path, use_orig_params):
    from torch.distributed.fsdp import FullyShardedDataParallel

    part = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh())
    wanted = expected(part)
    cpu = torch.device("cpu")
    module = torch.nn.Sequential(FullyShardedDataParallel(part, device_id=cpu, use_orig_params=use_orig_params))
    if not use_orig_params:
        with pytest.raises(ma.ConversionError, match="shard of FullyShardedDataParallel") as caught:
            ma.save_model(tmp_path / "net.h5", module, inputs=torch.from_numpy(X))
        assert [name for name, _ in caught.value.unsupported] == ["0.0.weight", "0.0.bias"]
        with pytest.raises(ma.ConversionError, match="shard"):
            wrapping.named_tensors(module)
    # The hint is followed.
    with FullyShardedDataParallel.summon_full_params(module):
        ma.save_model(tmp_path / "net.h5", module, inputs=torch.from_numpy(X))
    net = ma.load_model(tmp_path / "net.h5")
    assert list(net.collect_params()) == ["0.0.weight", "0.0.bias"]
    np.testing.assert_allclose(net(X), wanted, atol=1e-6)


def test_a_module_inside_of_itself_ends():
    module = torch.nn.ModuleDict({"a": torch.nn.Linear(1, 1)})
    module._modules["self"] = module
    assert list(wrapping.named_tensors(module)) == ["a.weight", "a.bias"]
    assert [path for path, _ in wrapping.walk(module)] == ["", "a"]


def test_files_are_rid_of_what_wrappers_in_memory_are():
    from modelarchive.transplant.prefixes import without

    for attribute, _ in wrapping._WRAPPERS.values():
        assert "a.weight" in list(without(f"a.{attribute}.weight"))
