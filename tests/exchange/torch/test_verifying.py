"""What no example shows: sizes, random numbers, modes and memories that a forward decides by are never frozen."""

import functools
import operator
import random

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import modelarchive as ma  # noqa: E402 - it imports PyTorch
from modelarchive.errors import ConversionError  # noqa: E402
from modelarchive.exchange.torch import read_module  # noqa: E402
from modelarchive.exchange.torch.comparing import Comparison  # noqa: E402
from modelarchive.exchange.torch.given import random as made_up  # noqa: E402
from modelarchive.exchange.torch.keeping import kept  # noqa: E402


class Of(torch.nn.Module):
    """A function behind a layer."""

    def __init__(self, function):
        super().__init__()
        self.layer, self.function = torch.nn.Linear(8, 8), function

    def forward(self, x):
        return self.function(self.layer(x))


X = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
LENGTH = {"shape": ["batch", "length", 8]}
#: Forwards that do something else at other batches.
BY_BATCH = {
    "one": lambda x: x * 2 if x.shape[0] == 1 else x,
    "squeeze": lambda x: x[:, :1].squeeze(),
    "parity": lambda x: x * 2 if x.shape[0] % 2 == 0 else x,
    "more than": lambda x: x * 2 if x.shape[0] > 4 else x,
    "text of a size": lambda x: x * len(str(x.shape[0] * 5)),
}
#: Forwards that do something else at other lengths.
BY_LENGTH = {
    "more than 10": lambda x: x * 2 if x.shape[1] > 10 else x,
    "more than 100": lambda x: x * 2 if x.shape[1] > 100 else x,
    "one": lambda x: x * 2 if x.shape[1] == 1 else x,
    "multiples of 8": lambda x: x if x.shape[1] % 8 else x * 2,
}


def notes(bundle):
    return [each.what for each in bundle.notes]


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("name", BY_BATCH)
def test_a_batch_that_decides_is_fixed_and_told(name, size):
    module = Of(BY_BATCH[name]).eval()
    bundle = read_module(module, X[:size])
    assert bundle.architecture["inputs"][0]["shape"] == [size, 8]
    assert any("are of fixed sizes" in each for each in notes(bundle))
    with torch.no_grad():
        np.testing.assert_allclose(bundle.build()(X[:size].numpy()), module(X[:size]).numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", BY_LENGTH)
def test_a_length_that_decides_is_refused_where_it_is_declared_free(name):
    with pytest.raises(ConversionError, match=r"does something else (where length is|at)") as error:
        read_module(Of(BY_LENGTH[name]).eval(), LENGTH)
    assert "as of one size" in error.value.hint


def test_a_length_that_what_was_read_lacks_is_refused_where_it_is_declared_free():
    def filled(x):
        wanted = operator.index(-(-x.shape[1] // 16) * 16)  # which fixes it for torch.export
        return torch.nn.functional.pad(x, (0, 0, 0, wanted - x.shape[1]))[:, : x.shape[1]]

    with pytest.raises(ConversionError, match="what was read does not"):
        read_module(Of(filled).eval(), LENGTH)


def test_a_length_that_is_cut_is_free():
    module = Of(lambda x: x[:, :100]).eval()
    network = read_module(module, LENGTH).build()
    for length in (1, 99, 100, 101, 230):
        x = torch.randn(2, length, 8)
        with torch.no_grad():
            np.testing.assert_allclose(network(x.numpy()), module(x).numpy(), rtol=0, atol=1e-5)


def test_two_lengths_in_one_another_are_no_number():
    """Sums and products of two free axes are of no one size at the sizes that are tried."""

    class Joined(torch.nn.Module):
        def forward(self, x, y):
            both = torch.cat([x, y], 1)
            return both + torch.arange(both.shape[1])[:, None], x.flatten(1).shape[1] + x[:, :, None] * y[:, None]

    module = Joined().eval()
    network = read_module(module, (LENGTH, {"shape": ["batch", "past", 8]})).build()
    x, y = torch.randn(3, 5, 8), torch.randn(3, 9, 8)
    for one, other in zip(network(x.numpy(), y.numpy()), module(x, y), strict=True):
        np.testing.assert_allclose(one, other.numpy(), rtol=0, atol=1e-4)


GENERATOR = np.random.default_rng(0)
OWN = random.Random(3)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * random.random(),
        lambda x: x * np.random.rand(),
        lambda x: x * GENERATOR.random(),
        lambda x: x * OWN.random(),
        lambda x: x * 2 if random.random() > 0.5 else x,
    ],
)
def test_random_numbers_of_python_and_numpy_are_refused(function):
    with pytest.raises(ConversionError, match="gives something else each time"):
        read_module(Of(function).eval(), X)


def test_random_numbers_that_nothing_uses_are_no_matter():
    def forward(x):
        np.random.uniform(0, 1)
        return x

    before = np.random.get_state()[1].tolist()
    assert not notes(read_module(Of(forward).eval(), X))
    assert np.random.get_state()[1].tolist() == before


def test_what_is_kept_from_call_to_call_is_told():
    class Counting(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.calls = torch.nn.Linear(8, 8), 0

        def forward(self, x):
            self.calls += 1
            return self.layer(x) * self.calls

    module = Counting().eval()
    bundle = read_module(module, X)
    assert any("when it is called again" in each for each in notes(bundle))
    assert module.calls == 0


def test_what_depends_on_recorded_gradients_is_told():
    bundle = read_module(Of(lambda x: x * 2 if torch.is_grad_enabled() else x).eval(), X)
    assert any("where gradients are recorded" in each for each in notes(bundle))


def test_buffers_written_where_gradients_are_recorded_are_as_they_were():
    class Cached(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(8, 8)
            self.register_buffer("cache", torch.zeros(4, 8))

        def forward(self, x):
            self.cache[:2] = self.layer(x[:2])
            return self.cache[:2] * 2

    module = Cached().eval()
    read_module(module, X)
    assert module.cache.is_leaf
    assert not module.cache.requires_grad
    assert not module.cache.any()


@functools.lru_cache
def _triangle(size):
    return torch.ones(size, size).tril()


def test_functions_that_remember_are_asked_anew_afterwards():
    module = Of(lambda x: x @ _triangle(8)).eval()
    _triangle.cache_clear()
    bundle = read_module(module, X)
    assert type(_triangle(8)) is torch.Tensor
    with torch.no_grad():
        np.testing.assert_allclose(bundle.build()(X.numpy()), module(X).numpy(), rtol=0, atol=1e-5)


def test_random_states_are_put_back():
    random.seed(5)
    before = random.getstate()
    with kept(torch.nn.Linear(1, 1), seed=1):
        random.random()
    assert random.getstate() == before


def test_a_loop_by_values_ends():
    def forward(x):
        while x.abs().max() > 1:
            x = x / 2
        return x

    with pytest.raises(ConversionError, match="depends on the values of"):
        read_module(Of(forward).eval(), X)


def test_few_positions_are_compared_all_the_same():
    """A network that takes fewer positions than shapes are followed at is compared at few."""

    class Short(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.places = torch.nn.Embedding(16, 8)

        def forward(self, x):
            assert x.shape[1] <= 16
            return x + self.places(torch.arange(x.shape[1]))

    bundle = read_module(Short().eval(), LENGTH)
    assert not any("was not compared" in each for each in notes(bundle))


def test_a_tensor_that_is_given_twice_is_two_inputs(tmp_path):
    class Apart(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(4, 4)

        def forward(self, x, other):
            return self.layer(x) - other * 2

    module, x = Apart().eval(), torch.randn(3, 4)
    for inputs in ((x, x), (x, x[:, [0, 1, 2, 3]]), (module.layer.weight, x[:1].expand(4, 4)), (x.T.T, x)):
        ma.save_model(tmp_path / "net.h5", module, inputs=inputs)
        one, other = torch.randn(4, 4), torch.randn(4, 4)
        found = ma.load_model(tmp_path / "net.h5")(one.numpy(), other.numpy())
        np.testing.assert_allclose(found, module(one, other).detach().numpy(), atol=1e-5)


def test_inputs_that_are_made_up_are_others_for_each():
    declared = [{"shape": [2, 3], "dtype": dtype} for dtype in ("float32", "float32", "int64", "int64")]
    one, other, number, another = made_up(declared, [[2, 3]] * 2 + [[7, 9]] * 2)
    assert not torch.equal(one, other)
    assert not torch.equal(number, another)
    assert all(map(torch.equal, made_up(declared[:1], [[2, 3]]), [one]))


class Scaled(torch.nn.Module):
    def forward(self, x):
        return x * 1000 + 1


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (torch.arange(1, 50), lambda x: x * 1000),
        (torch.full((3,), 2**53), lambda x: x * 1000 + 2),
        (torch.arange(500), lambda x: np.where(x % 10, x * 1000 + 1, x * 1000 + 2)),
    ],
)
def test_whole_numbers_are_compared_one_by_one(given, found):
    """Where most are one off that is no rounding, however large they are."""
    module = Scaled()
    with pytest.raises(ConversionError, match="differs from the module's"):
        Comparison(module, module, found).runs_alike([given])
    rounded = Comparison(module, module, lambda x: np.where(x == 7, x * 1000 + 2, x * 1000 + 1))
    assert rounded.runs_alike([torch.arange(500)])


class Floors(torch.nn.Module):
    """Numbers that are rounded down, beside others that are not."""

    def __init__(self, count):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.full((8,), 10.0))
        self.count = count

    def forward(self, x):
        return torch.where(torch.arange(8) < self.count, torch.floor(x * self.scale), x)


def one_less(count, by=0.0):
    """What another order of summing may give: whole numbers are a bit less, and their floor is one less."""

    def run(x):
        found = np.where(np.arange(8) < count, np.floor(x * 10 - 1e-6), x)
        found[3, 5] += by
        return found.astype(np.float32)

    return run


def test_what_hangs_on_rounding_is_no_difference():
    module, x = Floors(2), torch.randn(40, 8)
    x[:, 0] = (torch.arange(40) % 9 + 1) / 10
    before = {name: value.clone() for name, value in module.state_dict().items()}
    comparison = Comparison(module, module, one_less(2))
    assert comparison.runs_alike([x])
    assert [note.what.partition(" elements")[0] for note in comparison.notes] == ["40 of 320"]
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_steady_elements_are_compared_beside_others():
    module, x = Floors(2), torch.randn(40, 8)
    x[:, 0] = (torch.arange(40) % 9 + 1) / 10
    with pytest.raises(ConversionError, match="differs from the module's"):
        Comparison(module, module, one_less(2, by=0.5)).runs_alike([x])


class LogDeterminant(torch.nn.Module):
    """Of a rotation: 0, but for rounding."""

    def __init__(self, size):
        super().__init__()
        torch.manual_seed(0)
        self.weight = torch.nn.Parameter(torch.linalg.qr(torch.randn(size, size))[0])

    def forward(self, x):
        return x @ self.weight, torch.linalg.slogdet(self.weight)[1].repeat(len(x))


def test_what_is_left_where_numbers_cancel_out_is_rounding():
    module, x = LogDeterminant(16), torch.randn(5, 16)
    network = read_module(module, x).build()
    assert np.abs(network(x.numpy())[1]).max() < 1e-5
    wanted = [each.detach().numpy() for each in module(x)]
    with pytest.raises(ConversionError, match=r"differs from the module's|hangs on the last bits"):
        Comparison(module, module, lambda x: (wanted[0], wanted[1] + np.float32(1e-3))).runs_alike([x])


def test_what_hangs_on_rounding_everywhere_cannot_be_compared():
    module = Floors(8)
    with pytest.raises(ConversionError, match=r"output 0 hangs on the last bits(?s:.*)pass an example"):
        Comparison(module, module, one_less(8)).runs_alike([torch.full((40, 8), 0.3)])


def test_whole_numbers_and_choices_among_equals_hang_on_nothing():
    """They are the same in whatever order sums are made: another choice is a fault of what was read."""

    class Chosen(torch.nn.Module):
        def forward(self, x, words):
            twice = torch.cat((x, x), -1) * 0.7
            return twice.argmax(-1), torch.floor(words.float() * 3 / 3)

    module, x, words = Chosen(), torch.randn(40, 8), torch.arange(40)
    wanted = [each.numpy() for each in module(x, words)]
    others = [
        [np.where(np.arange(40) % 2, wanted[0], wanted[0] + 8), wanted[1]],
        [wanted[0], wanted[1] - (wanted[1] > 30)],
    ]
    for found in others:
        with pytest.raises(ConversionError, match="differs from the module's"):
            Comparison(module, module, lambda *inputs, found=found: tuple(found)).runs_alike([x, words])


class Attends(torch.nn.Module):
    """Every place of an image looks at every other one."""

    def forward(self, x):
        places = x.flatten(2)
        return (places.transpose(1, 2) @ places).softmax(-1) @ places.transpose(1, 2)


@pytest.mark.slow
def test_no_sizes_are_tried_of_which_results_are_large(monkeypatch):
    """With 224 by 224 places two images would take 20 GB."""
    tried, compare = [], Comparison.runs_alike

    def noted(self, given, **how):
        tried.append(tuple(given[0].shape))
        return compare(self, given, **how)

    monkeypatch.setattr(Comparison, "runs_alike", noted)
    bundle = read_module(Attends(), {"shape": ["batch", 3, "height", "width"]})
    assert not bundle.notes
    assert len(set(tried)) > 2
    assert max(batch * (height * width) ** 2 for batch, _, height, width in tried) <= 2**26


class InParts(torch.nn.Module):
    """Normalises so many rows at a time, as TabNet does."""

    def __init__(self):
        super().__init__()
        self.layer, self.norm = torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4)

    def forward(self, x):
        parts = self.layer(x).chunk(int(np.ceil(len(x) / 2)), 0)
        return torch.cat([self.norm(part) for part in parts], 0)


@pytest.mark.parametrize("batch", [3, 5])
def test_what_does_not_run_at_the_example_with_free_axes_has_its_sizes(batch, tmp_path):
    module, x = InParts().eval(), torch.randn(batch, 4)
    notes = ma.save_model(tmp_path / "net.h5", module, inputs=x)
    assert any(f"are of fixed sizes, which the module decides by: input 0 [{batch}, 4]" in str(each) for each in notes)
    assert np.allclose(ma.load_model(tmp_path / "net.h5")(x.numpy()), module(x).detach().numpy(), atol=1e-6)
