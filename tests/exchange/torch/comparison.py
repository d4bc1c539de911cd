"""How modules that are read are compared, and modules to try it with."""

import copy

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange.bundle import save_bundle
from modelarchive.exchange.torch import build_module, read_module
from tests.cases.case import error

torch = pytest.importorskip("torch")

X = np.random.default_rng(0).standard_normal((2, 4, 6), np.float32)
POSITIVE = np.abs(X) + np.float32(0.1)
IMAGE = np.random.default_rng(0).standard_normal((2, 4, 8, 6), np.float32)
IDS = np.random.default_rng(0).integers(0, 5, (2, 4))


def tensors(inputs):
    return tuple(each if isinstance(each, torch.Tensor) else torch.from_numpy(np.array(each)) for each in inputs)


def flat(value):
    if isinstance(value, tuple | list):
        return [leaf for item in value for leaf in flat(item)]
    if isinstance(value, dict):
        return [leaf for key in sorted(value) for leaf in flat(value[key])]
    return [value]


def assert_read(module, *inputs, folder=None, limit=1e-5, again=True):
    """Read a module; the network in NumPy, and the module built of it, give its outputs and have its parameters."""
    inputs = tensors(inputs)
    bundle = read_module(module, inputs)
    with torch.no_grad():
        wanted = [each.numpy() for each in flat(copy.deepcopy(module).eval()(*inputs))]
    if folder is not None:
        save_bundle(folder / "net.h5", bundle, durable=False)
        net = ma.load_model(folder / "net.h5")
    else:
        net = bundle.build()
    state = module.state_dict()
    for name, array in bundle.parameters.items():
        if name in state:
            assert array.tobytes() == state[name].numpy().tobytes()
    for one, other in zip(flat(net(*(each.numpy() for each in inputs))), wanted, strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        assert error(one, other) <= limit
    if again:
        rebuilt = build_module(net)
        with torch.no_grad():
            for one, other in zip(flat(rebuilt(*inputs)), wanted, strict=True):
                assert one.shape == other.shape
                assert error(one.numpy(), other) <= limit
        if set(state) >= set(bundle.parameters):
            rebuilt.load_state_dict(state, strict=True)
            copy.deepcopy(module).load_state_dict(rebuilt.state_dict(), strict=True)
    return bundle


class Function(torch.nn.Module):
    """A module that is one function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


class Holder(torch.nn.Module):
    """A module that holds another, and calls it in its own way."""

    def __init__(self, held, function):
        super().__init__()
        self.held = held
        self.function = function

    def forward(self, *inputs):
        return self.function(self.held, *inputs)
