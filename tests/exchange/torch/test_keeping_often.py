"""What a module is made of is found once for all blocks that put it back."""

import random

import numpy as np
import pytest

import modelarchive as ma
from tests.exchange.torch.comparison import X

torch = pytest.importorskip("torch")
keeping = pytest.importorskip("modelarchive.exchange.torch.keeping")
kept = keeping.kept


class Network(torch.nn.Module):
    """Holds what a forward may change."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(6, 6)
        self.cache = {}
        self.row = [0]
        self.numpy = np.random.default_rng(3)
        self.generator = torch.Generator().manual_seed(1)


def test_blocks_that_share_what_was_found():
    module = Network()
    weight, bias = module.linear.weight.detach().clone(), module.linear.bias.detach().clone()

    def write(number):
        with torch.no_grad():
            module.linear.weight += number
        module.cache[number] = number
        module.row.append(number)
        return random.random(), module.numpy.random(), torch.rand(1, generator=module.generator).item()

    def is_as_it_was():
        return torch.equal(module.linear.weight, weight) and module.cache == {} and module.row == [0]

    with keeping.kept_often(module):
        drawn = []
        for number in (1, 2):
            with kept(module) as writes:
                drawn.append(write(number))
                assert writes.changed(module.linear.weight)
                assert not writes.changed(module.linear.bias)
                with kept(module):  # to what it is by now, not to what was found
                    write(3)
                assert module.row == [0, number]
                assert torch.equal(module.linear.weight, weight + number)
            assert is_as_it_was()
            assert not writes.changed(module.linear.weight)
        assert drawn[0] == drawn[1]
        with kept(torch.nn.Linear(2, 2)):
            write(4)
        assert not is_as_it_was()  # that was another module's block
        module.cache.clear()
        module.row.pop()
    assert is_as_it_was()
    with kept(module):
        write(5)
    assert is_as_it_was()
    assert torch.equal(module.linear.bias, bias)


def test_what_a_module_is_made_of_is_found_twice(monkeypatch, tmp_path):
    found = []

    class Counted(keeping._Snapshot):
        def __init__(self, module):
            found.append(module)
            super().__init__(module)

    monkeypatch.setattr(keeping, "_Snapshot", Counted)
    module = torch.nn.Sequential(torch.nn.Linear(6, 6), torch.nn.ReLU())
    ma.save_model(tmp_path / "a.h5", module, inputs=X)
    assert found == [module] * 2  # as it is, and as it is evaluated
