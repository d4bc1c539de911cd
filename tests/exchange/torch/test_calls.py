"""Functions and methods of tensors as the vocabulary's ops, changes in place, and what is refused."""

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange.torch import read_module
from tests.exchange.torch.comparison import IDS, IMAGE, POSITIVE, Function, X, assert_read

torch = pytest.importorskip("torch")
F = torch.nn.functional

CONSTANT = torch.arange(-3.0, 3.0)
UNARY = ["abs", "exp", "neg", "square", "relu", "sigmoid", "tanh", "erf", "sin", "cos", "clone", "contiguous"]
UNARY += ["float", "double"]
ACTIVATIONS = ["silu", "mish", "softsign", "hardswish", "relu6", "selu", "elu", "celu", "softplus", "gelu"]
ACTIVATIONS += ["leaky_relu", "logsigmoid", "hardsigmoid", "hardtanh", "glu"]
FUNCTIONS = [
    *[(lambda x, name=name: getattr(x, name)(), X) for name in UNARY],
    *[(lambda x, name=name: getattr(torch, name)(x), POSITIVE) for name in ("log", "sqrt", "rsqrt", "reciprocal")],
    *[(lambda x, name=name: getattr(F, name)(x), X) for name in ACTIVATIONS],
    (lambda x: x + 1 - 2 * x / 3, X),
    (lambda x: (1 - x) ** 2 / (x * x + 1), X),
    (lambda x: torch.add(x, x, alpha=2) - torch.sub(x, 1, alpha=3) + torch.rsub(x, 1), X),
    (lambda x: torch.where(x > 0, x, -x) + (x >= 0.5).float() + (x != 0).float() * (x <= 1), X),
    (lambda x: x.masked_fill((x < 0) & ~(x < -1), 7.0), X),
    (lambda x: x.view(x.shape[0], -1).unsqueeze(1).squeeze(1), X),
    (lambda x: torch.reshape(x, (x.size(0), 2, 2, 6)).flatten(2), X),
    (lambda x: x.reshape(-1, 6).t().T.unflatten(0, (-1, 4)), X),
    (lambda x: x.permute(0, 2, 1).transpose(1, 2).movedim(1, 2).moveaxis(1, 2).mT, X),
    (lambda x: torch.cat([x, x.flip(1)], dim=1)[:, 1:-1, ::2], X),
    (lambda x: torch.stack(x.unbind(1), 2) + torch.stack(tuple(x.transpose(0, 1)), -1), X),
    (lambda x: [*x.split(2, dim=1), *x.chunk(4, -1), *torch.split(x, [1, 3], 1)], X),
    (lambda x: x.max(dim=1)[0] + x.min(1).values + x.amax(1) - x.amin(dim=1) + x.argmax(1), X),
    (lambda x: x.mean((1, 2)) + x.sum(dim=(1, 2)) + x.var(dim=(1, 2)) + x.std((1, 2), unbiased=False), X),
    (lambda x: x.norm(dim=-1) + F.normalize(x, dim=-1).sum(-1), X),
    (lambda x: x + torch.nn.functional.dropout(torch.arange(6.0), 0.5, training=False), X),
    (lambda x: x.clamp(0.0, float("inf")) + x.clamp(float("-inf"), 0.5) + x.clamp(max=float("inf")), X),
    (lambda x: x.clamp(-0.5, 0.5) + x.clamp(min=0) + torch.clamp(x, max=0.1) + torch.maximum(x, -x), X),
    (lambda x: torch.softmax(x, -1) + x.softmax(1) + F.log_softmax(x, dim=-1), X),
    (lambda x: torch.matmul(x, x.transpose(-1, -2)) + torch.bmm(x, x.mT) + torch.einsum("bij,bkj->bik", x, x), X),
    (lambda x: x.expand(3, -1, -1, -1).repeat(1, 1, 2, 1) + torch.zeros_like(x).repeat(1, 2, 1), X),
    (lambda x: x.cumsum(1) + torch.ones_like(x), X),
    (lambda x: x.roll((1, -2), (1, 2)) + torch.arange(6) + torch.full((4, 1), 2.5), X),
    (lambda x: x.long() / 2 + x.int() * 1.5 + x.to(torch.float64) - x.half(), X),
    (lambda i: F.one_hot(i, 5), IDS),
    (lambda x: F.pad(x, (1, 2)) [:, :, :6] + F.pad(x, (-1, 1), value=3.0), X),
    (lambda x: F.pad(x, (1, 2), mode="reflect").sum() + F.pad(x, (1, 2), mode="replicate").sum(), X),
    (lambda x: F.layer_norm(x, (4, 6)) + F.dropout(x, 0.5, training=False) + F.rms_norm(x, (6,)), X),
    (lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True), X),
    (lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True) + F.avg_pool2d(x, 3, 2, padding=1, ceil_mode=True), IMAGE),
    # A window that is larger than what it stands on is one where partial ones count, whatever its stride.
    (lambda x: F.max_pool2d(x, (20, 3), (30, 2), 1, ceil_mode=True), IMAGE),
    (lambda x: F.avg_pool2d(x, 20, padding=4, ceil_mode=True), IMAGE),
    (lambda x: F.avg_pool2d(x, (20, 3), padding=(4, 0), ceil_mode=True, count_include_pad=False), IMAGE),
    (lambda x: F.avg_pool1d(x[0], 99, ceil_mode=True), IMAGE),
    (lambda x: F.adaptive_avg_pool2d(x, 1) + F.adaptive_max_pool2d(x, 1), IMAGE),
    (lambda x: F.adaptive_avg_pool2d(x, (2, 3)), IMAGE),
    (lambda x: F.interpolate(x, scale_factor=2), IMAGE),
    (lambda x: F.interpolate(x, (16, 12), mode="bilinear", align_corners=True), IMAGE),
    (lambda x: F.pixel_shuffle(x, 2), IMAGE),
    (lambda x: F.pixel_unshuffle(F.pixel_unshuffle(x, 2)[..., :2], 1), IMAGE),
    (lambda x: x.logsumexp(1) + torch.logsumexp(x, (1, 2), keepdim=True)[..., 0], X),
    (lambda x: torch.logsumexp(torch.where(x > 0, x, -torch.inf), -1), X),
    (lambda x: torch.logsumexp(torch.where(x > 1, torch.inf, x), -1).exp().reciprocal(), X),
    (lambda x: F.cosine_similarity(x, x * x + 1) + F.cosine_similarity(x[:, :1], x, dim=1), X),
    (lambda x: x.tril() + torch.triu(x, 1) * 2 + x.triu(diagonal=-1), X),
    (lambda x: F.threshold(x, 0.1, 20.0) + torch.nn.Threshold(-0.5, 7.0)(x), X),
    (lambda x: CONSTANT + x - CONSTANT * x / (CONSTANT.abs() + 1) + CONSTANT.where(x > 0, x), X),
    (lambda x: x.where(x > 0, CONSTANT) + ((CONSTANT > 0) & (x < 1)).float() + torch.le(CONSTANT, x).float(), X),
    (lambda x: torch.fft.irfft(torch.fft.rfft(x) * torch.fft.rfft(x.flip(1)).conj(), n=6), X),
    (lambda x: torch.view_as_real(torch.fft.rfft(x).conj().resolve_conj()), X),
    (lambda x: torch.fft.rfft(x).conj().imag * 2, X),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:std")
@pytest.mark.parametrize("at", range(len(FUNCTIONS)))
def test_functions_and_methods_are_read(at):
    function, x = FUNCTIONS[at]
    assert_read(Function(function), x)


def test_batches_of_every_size_are_understood():
    module = Function(lambda x: x.view(x.size(0), x.size(1) // 2, -1) * x.shape[0])
    net = read_module(module, X).build()
    for size in (1, 3):
        x = np.ones((size, 4, 6), np.float32)
        np.testing.assert_array_equal(net(x), module(torch.from_numpy(x)).numpy())


def test_changes_in_place_are_followed():
    def function(x):
        y = x * 1
        y += 1
        y.mul_(2)
        z = F.relu(y, inplace=True)
        return y + z + torch.nn.ReLU(inplace=True)(z)

    class Inplace(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.relu = torch.nn.ReLU(inplace=True)

        def forward(self, x):
            y = x - 1
            z = self.relu(y)
            return y * 2 + z

    assert_read(Inplace(), X)
    del function


@pytest.mark.parametrize(
    "change",
    [
        lambda y: y.view(-1).add_(1),
        lambda y: y.__setitem__(0, 1.0),
        lambda y: F.relu(y.transpose(0, 1), inplace=True),
    ],
)
def test_changes_through_views_are_read(change):
    def function(x):
        y = x * 2
        change(y)
        return y

    assert_read(Function(function), X)


def test_all_that_cannot_be_expressed_is_listed():
    class Inner(torch.nn.Module):
        def forward(self, x):
            return torch.linalg.pinv(x @ x.mT)

    class Outer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.pool = torch.nn.MaxPool1d(2, return_indices=True)
            self.inner = Inner()

        def forward(self, x):
            x, places = self.pool(x)
            return torch.special.bessel_j0(x).sum() + self.inner(x), places

    with pytest.raises(ma.ConversionError) as caught:
        read_module(Outer(), np.random.default_rng(0).random((2, 3, 16), np.float32))
    found = dict(caught.value.unsupported)
    assert {"inner", "(model)"} <= set(found)
    assert "pinv" in found["inner"]
    assert "bessel" in found["(model)"]
    assert "state_dict" in caught.value.hint


def test_a_branch_on_options_is_one_way():
    class Branch(torch.nn.Module):
        def forward(self, x, mask=None, scale: float = 2.0):
            if mask is not None:
                x = x * mask
            return x * scale

    assert_read(Branch(), X)
    assert_read(Branch(), X, X)


def test_training_is_not_read_into_a_model():
    with pytest.raises(ma.ConversionError, match="dropout"):
        read_module(Function(lambda x: F.dropout(x, 0.5)), X)
    module = Function(lambda x: F.batch_norm(x, module.norm.running_mean, module.norm.running_var, training=True))
    module.norm = torch.nn.BatchNorm1d(4)
    with pytest.raises(ma.ConversionError, match="statistics"):
        read_module(module, X)
    # Those that it makes are not kept.
    assert_read(Function(lambda x: F.batch_norm(x, torch.zeros(4), torch.ones(4), training=True)), X)
    # Where there are no statistics, those of the batch are meant in evaluation too.
    assert_read(torch.nn.BatchNorm1d(4, track_running_stats=False), X)


def test_hooks_are_read():
    module = torch.nn.Linear(6, 2)
    module.register_forward_hook(lambda module, inputs, output: output * 2)
    assert_read(module, X)


def test_what_depends_on_the_class_of_its_input_is_read():
    module = Function(lambda x: x * 2 if isinstance(x, torch.Tensor) else x * 3)
    assert_read(module, X)
    net = read_module(module, {"shape": [None, 4, 6]}).build()
    np.testing.assert_array_equal(net(X), X * 2)


def test_what_comes_after_the_first_thing_that_cannot_be_said_is_told_too():
    class Late(torch.nn.Module):
        def forward(self, x):
            y = torch.linalg.pinv(torch.special.bessel_j1(x)).sort().values.mean()
            return y.relu_().frexp(), x.unfold(0, 1, 1)

    with pytest.raises(ma.ConversionError) as caught:
        read_module(Late(), np.ones((2, 3, 3), np.float32))
    names = [what.split("'")[1] for _, what in caught.value.unsupported]
    assert names == ["special_bessel_j1", "linalg_pinv", "frexp"]


@pytest.mark.parametrize("use", [
    lambda o, w: (o, w), lambda o, w: o + w, lambda o, w: torch.cat([o, w], -1), lambda o, w: o + w[:, :1],
    lambda o, w: o * torch.mean(w), lambda o, w: o * w.mean(),
])  # fmt: skip
def test_the_weights_of_attention_are_read(use):
    class Weighing(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = torch.nn.MultiheadAttention(4, 2, batch_first=True)

        def forward(self, x):
            return use(*self.attention(x, x, x))

    assert_read(Weighing(), X[..., :4].copy())
