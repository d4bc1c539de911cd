"""The sizes at which a module may do something else: one, what nothing divides, and where conditions turn."""

import numpy as np
import pytest

import modelarchive

torch = pytest.importorskip("torch")

from sympy import Symbol  # noqa: E402 - PyTorch brings it

from modelarchive.exchange.torch import guards as module  # noqa: E402
from modelarchive.exchange.torch.capturing import captured  # noqa: E402
from modelarchive.exchange.torch.guards import Guards, further_tries, usual_tries  # noqa: E402
from modelarchive.nn.trials import first_trial  # noqa: E402

TRIAL = first_trial([{"name": "x", "shape": ["batch", "length"], "dtype": "float32"}])
BASE = [[3, 64]]


class Of(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def guards(function, length=64):
    with torch.no_grad():
        return captured(Of(function), [torch.ones(12, length)], [[0, 1]]).guards


def test_small_sizes_and_one_that_nothing_divides():
    tried = [(each.axis, each.size, each.shapes) for each in usual_tries(TRIAL, BASE)]
    assert tried == [
        ("batch", 1, [[1, 64]]),
        ("length", 1, [[3, 1]]),
        ("length", 2, [[3, 2]]),
        ("length", 67, [[3, 67]]),
    ]


@pytest.mark.parametrize(
    ("function", "size"),
    [
        (lambda x: x * 2 if x.shape[1] > 100 else x, 101),
        (lambda x: x * 2 if x.shape[1] >= 50 else x, 49),
        (lambda x: x * 2 if 3 * x.shape[1] > 600 else x, 201),
        (lambda x: x * 2 if x.shape[1] % 7 == 0 else x, 7),
    ],
)
def test_where_a_condition_turns(function, size):
    found = guards(function)
    assert [each.size for each in further_tries(TRIAL, BASE, found, set()) if each.axis == "length"] == [size]


def test_what_other_sizes_have_broken_is_not_tried_again():
    found = guards(lambda x: x * 2 if x.shape[1] > 100 else x)
    assert list(further_tries(TRIAL, BASE, found, found.broken([[3, 101]]))) == []


def test_sizes_that_are_too_far_are_not_tried():
    found = guards(lambda x: x * 2 if x.shape[1] > 1_000_000 else x)
    assert list(further_tries(TRIAL, BASE, found, set())) == []


def test_many_conditions_are_looked_at_one_by_one(monkeypatch):
    """Not all of them for each size that is looked for: of 150 that took minutes."""
    length = Symbol("length", integer=True)
    found = Guards({length: (0, 1)}, [length < 20_000 + 7 * at for at in range(150)])
    asked = []
    holds = module._holds
    monkeypatch.setattr(module, "_holds", lambda condition, sizes: asked.append(condition) or holds(condition, sizes))
    assert list(further_tries(TRIAL, BASE, found, set())) == []
    assert len(asked) < 150 * 150


def test_conditions_that_sympy_cannot_solve_stay(tmp_path):
    """A pyramid: what was halved is doubled and joined, which holds for multiples of a number."""

    functional, kernel = torch.nn.functional, torch.ones(3, 1, 3, 3)

    def pyramid(x):
        for _ in range(2):
            x = functional.conv2d(x, kernel, stride=2, padding=1, groups=3)
        levels = [functional.max_pool2d(x, 2)]
        for _ in range(2):
            levels.append(functional.max_pool2d(levels[-1], 2))
        for level in levels[1::-1]:
            levels.append(functional.interpolate(levels[-1], scale_factor=2) + level)
        return levels[-1]

    net = Of(pyramid)
    modelarchive.save_model(tmp_path / "net.h5", net, inputs={"shape": ["n", 3, "height", "width"], "dtype": "float32"})
    built = modelarchive.load_model(tmp_path / "net.h5")
    for height, width in [(32, 64), (96, 32), (160, 224)]:
        x = torch.randn(2, 3, height, width)
        np.testing.assert_array_equal(built(x.numpy()), net(x))
    with pytest.raises(ValueError, match="add"):
        built(np.zeros((1, 3, 48, 64), np.float32))
