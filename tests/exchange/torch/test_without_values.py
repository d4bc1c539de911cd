"""Parameters without plain values: told by name, and each way out works."""

import copy

import numpy as np
import pytest

import modelarchive as ma
from tests.exchange.torch.comparison import X
from tests.exchange.torch.refusals import refused

torch = pytest.importorskip("torch")


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
