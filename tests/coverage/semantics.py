"""What PyTorch means by a line, one construct a network: dtypes, views and writing in place, windows, hooks, modes."""

# A table, one construct a line.
# ruff: noqa: E501

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch.utils.checkpoint import checkpoint

from tests.coverage.constructs import IMAGE, SEQUENCE, Function, Module, X, _x
from tests.coverage.judging import Network

_I = torch.int64


def _ints(x: Any, dtype: Any = _I) -> Any:
    return (x * 10).to(dtype)


#: Constructs on (2, 8), behind a layer.
LINES: dict[str, Callable[[Any], Any]] = {
    # dtypes
    "integers and a float": lambda x: _ints(x) * 0.5,
    "int32 and int64": lambda x: _ints(x, torch.int32) + _ints(x),
    "int32 and a number": lambda x: _ints(x, torch.int32) * 3,
    "uint8 and a negative number": lambda x: x.abs().to(torch.uint8) * -1,
    "uint8 goes round": lambda x: x.abs().to(torch.uint8) - 1,
    "int8 goes round": lambda x: _ints(x, torch.int8) * 100,
    "int32 goes round": lambda x: _ints(x, torch.int32) * 1_000_000_007,
    "truths and a number": lambda x: (x > 0) + 1,
    "truths and a float": lambda x: (x > 0) * 0.5,
    "truths and truths": lambda x: (x > 0) + (x < 1),
    "truth minus number": lambda x: 1 - (x > 0).float(),
    "half and float": lambda x: x.half() + x,
    "half and float64 without axes": lambda x: x.half() * torch.tensor(2.0, dtype=torch.float64),
    "bfloat16 and half": lambda x: x.bfloat16() + x.half(),
    "half and a number": lambda x: x.half() * 0.1,
    "half and numpy.float64": lambda x: x.half() * np.float64(0.1),
    "numpy.int64": lambda x: x + np.int64(3),
    "numpy.float32 without axes": lambda x: x * np.float32(0.1),
    "a numpy array": lambda x: x + torch.from_numpy(np.arange(8, dtype=np.float32)),
    "float64 of one axis": lambda x: x + torch.ones(8, dtype=torch.float64),
    "float64 without axes on the left": lambda x: torch.tensor(0.5, dtype=torch.float64) + x,
    "int tensor without axes and float": lambda x: _ints(x) + torch.tensor(0.5),
    "int tensor by int tensor": lambda x: _ints(x) / torch.tensor(3),
    "floor division of negatives": lambda x: _ints(x) // 3,
    "floor division by a negative": lambda x: _ints(x) // -3,
    "floor division of floats": lambda x: x // 0.3,
    "remainder of negatives": lambda x: _ints(x) % -3,
    "remainder of floats": lambda x: x % 0.3,
    "fmod": lambda x: torch.fmod(x, 0.3),
    "fmod of integers": lambda x: torch.fmod(_ints(x), 3),
    "division that truncates": lambda x: torch.div(_ints(x), 3, rounding_mode="trunc"),
    "division that floors": lambda x: torch.div(x, 0.3, rounding_mode="floor"),
    "division of large integers": lambda x: (_ints(x) + 2**60) // 3,
    "true division of integers": lambda x: torch.true_divide(_ints(x), 4),
    "trunc": torch.trunc, "round to decimals": lambda x: torch.round(x, decimals=1),
    "floor of infinity": lambda x: torch.floor(x / 0), "round of halves": lambda x: torch.round(_ints(x).float() / 2),
    "floor of what is large": lambda x: torch.floor(x * 1e20),
    "sum of int32": lambda x: _ints(x, torch.int32).sum(-1),
    "sum of uint8": lambda x: x.abs().to(torch.uint8).sum(),
    "mean in float64": lambda x: x.mean(-1, dtype=torch.float64),
    "sum in half": lambda x: x.half().sum(-1),
    "prod of integers": lambda x: (_ints(x) % 5).prod(-1),
    "cumsum of truths": lambda x: (x > 0).cumsum(-1),
    "softmax in float64": lambda x: x.softmax(-1, dtype=torch.float64),
    "argmax of all": lambda x: x.argmax(), "argmax kept": lambda x: x.argmax(-1, keepdim=True),
    "argmin of ties": lambda x: (x > 0).int().argmin(-1), "max of all": lambda x: x.max(), "maximum with a number": lambda x: torch.maximum(x, torch.tensor(0.0)),
    "max of integers": lambda x: _ints(x).max(-1)[0], "any over axes": lambda x: (x[:, :, None] > 0).any(dim=(1, 2)), "all of all": lambda x: (x > -9).all(),
    "comparison of integers and floats": lambda x: _ints(x) > 0.5, "comparison with a large number": lambda x: _ints(x) < 2**62,
    "equality of half and float": lambda x: x.half() == x, "isclose": lambda x: torch.isclose(x, x + 1e-9), "isfinite": lambda x: torch.isfinite(x / (x > 0)),
    "isinf": lambda x: torch.isinf(x / 0), "sign of integers": lambda x: _ints(x).sign(), "sign of nan": lambda x: torch.sign(x / (x > 0).float() * 0),
    "logical_not of floats": lambda x: torch.logical_not((x > 0) * x), "logical_and of floats": lambda x: torch.logical_and(x, x > 0),
    "bits and": lambda x: _ints(x) & 6, "bits or": lambda x: _ints(x) | 5, "bits xor": lambda x: _ints(x) ^ 3, "bits not": lambda x: ~_ints(x),
    "shift left": lambda x: _ints(x) << 2, "shift right": lambda x: _ints(x) >> 1, "bits of uint8": lambda x: x.abs().to(torch.uint8) & 3,
    "float to bool": lambda x: x.bool(), "float to int8": lambda x: x.to(torch.int8), "float to uint8": lambda x: x.abs().to(torch.uint8),
    "int to float16": lambda x: _ints(x).half(), "to the dtype of another": lambda x: _ints(x).to(x), "view as dtype": lambda x: x.to(torch.float64).type(torch.float32),
    "where of mixed": lambda x: torch.where(x > 0, x, 0), "where of integers and floats": lambda x: torch.where(x > 0, _ints(x), 0.5),
    "where of half": lambda x: torch.where(x > 0, x.half(), 1.0), "masked_fill of integers": lambda x: _ints(x).masked_fill(x > 0, 7),
    "clamp of integers by a float": lambda x: _ints(x).clamp(0.5, 2.5), "clamp below": lambda x: x.clamp_min(0.1), "clamp by tensors of float64": lambda x: torch.clamp(x, torch.tensor(-0.1, dtype=torch.float64)),
    "power of integers": lambda x: _ints(x) ** 2, "number to the power": lambda x: 2 ** x, "integer to the power": lambda x: 2 ** (_ints(x).abs() % 5),
    "power by a half": lambda x: x.abs() ** 0.5, "negative power": lambda x: (x.abs() + 1) ** -2, "rsqrt of integers": lambda x: (_ints(x).abs() + 1).rsqrt(),
    "exp of integers": lambda x: (_ints(x) % 3).exp(), "reciprocal of integers": lambda x: 1 / (_ints(x).abs() + 1), "rsub": lambda x: torch.rsub(x, 1, alpha=2),
    "add with alpha": lambda x: torch.add(x, x, alpha=0.5), "sub with alpha": lambda x: torch.sub(_ints(x), 1, alpha=2), "addcdiv": lambda x: torch.addcdiv(x, x, x.abs() + 1, value=0.5),
    "lerp by a tensor": lambda x: torch.lerp(x, x * 2, x.sigmoid()), "autocast of a layer": lambda x: _autocast_layer(x),
    "autocast to half and back": lambda x: _autocast_float(x), "default dtype": lambda x: x + torch.get_default_dtype().itemsize,
    # functions
    "asin": lambda x: torch.asin(x.tanh()), "acos": lambda x: torch.acos(x.tanh()), "acosh": lambda x: torch.acosh(x.abs() + 1), "atanh": lambda x: torch.atanh(x.tanh() * 0.9),
    "sinc": torch.sinc, "logit": lambda x: torch.logit(x.sigmoid()), "copysign": lambda x: torch.copysign(x, -x), "heaviside": lambda x: torch.heaviside(x, torch.tensor(0.5)),
    "fmax with nan": lambda x: torch.fmax(x / (x > 0).float() * 0, x), "hardsigmoid": F.hardsigmoid, "softsign": F.softsign, "float_power": lambda x: torch.float_power(x.abs(), 2),
    "deg2rad": torch.deg2rad, "xlog1py": lambda x: torch.special.xlog1py(x, x.abs()), "entr": lambda x: torch.special.entr(x.abs()), "logaddexp2": lambda x: torch.logaddexp2(x, x),
    "cummax": lambda x: x.cummax(-1), "cummin": lambda x: x.cummin(-1)[0], "logcumsumexp": lambda x: x.logcumsumexp(-1), "diff": lambda x: x.diff(dim=-1),
    "norm of order 3": lambda x: x.norm(3, -1), "norm of order 0": lambda x: torch.linalg.vector_norm(x.relu(), 0, -1), "infinite norm": lambda x: torch.linalg.vector_norm(x, math.inf, -1),
    "Frobenius norm": lambda x: torch.linalg.matrix_norm(x[:, :, None] * x[:, None, :]), "variance with correction 2": lambda x: x.var(-1, correction=2), "std_mean": lambda x: torch.std_mean(x, -1),
    "cross": lambda x: torch.linalg.cross(x[:, :3], x[:, 3:6]), "vander": lambda x: torch.vander(x[0], 3), "cov": lambda x: torch.cov(x.T), "matrix power": lambda x: torch.linalg.matrix_power(x[:, :, None] * x[:, None, :], 3),
    "pdist": lambda x: F.pdist(x.view(4, 4)), "softmin": lambda x: F.softmin(x, -1), "cosine of one axis": lambda x: F.cosine_similarity(x[0], x[1], dim=0), "renorm": lambda x: x.renorm(2, 0, 1.0),
    "histc": lambda x: torch.histc(x, 4, -1, 1), "bincount": lambda x: torch.bincount(_ints(x).abs().flatten() % 4, minlength=4), "quantile": lambda x: x.quantile(0.3, -1), "nanmean": lambda x: x.nanmean(-1),
    "unique": lambda x: torch.unique(_ints(x)), "nonzero": lambda x: torch.nonzero(x > 0), "masked_select": lambda x: x[x > 0], "item of a result": lambda x: x * x.sum().item(),
    # complex numbers and Fourier transforms
    "rfft and irfft": lambda x: torch.fft.irfft(torch.fft.rfft(x, norm="ortho") * 2, n=8, norm="ortho"), "fft2": lambda x: torch.fft.fft2(x.view(-1, 2, 4)).real,
    "fft and its phase": lambda x: torch.view_as_real(torch.fft.fft(x)), "filter of frequencies": lambda x: torch.fft.irfft2(torch.fft.rfft2(x.view(-1, 2, 4)) * torch.polar(torch.ones(2, 3), torch.ones(2, 3)), s=(2, 4)),
    "rotary positions": lambda x: torch.view_as_real(torch.view_as_complex(x.view(-1, 2, 2, 2)) * torch.polar(torch.ones(2, 2), torch.arange(4.0).view(2, 2))).flatten(1),
    "power of a spectrum": lambda x: torch.fft.rfft(x).abs() ** 2, "stft": lambda x: torch.stft(x.repeat(1, 8), 16, 4, window=torch.hann_window(16), return_complex=True).abs(), "fftshift": lambda x: torch.fft.fftshift(x, dim=-1),
    # views and writing in place
    "assign to a row": lambda x: _write(x, lambda y: y.__setitem__(0, 1.0)), "assign to a column from the end": lambda x: _write(x, lambda y: y.__setitem__((slice(None), -1), 0)),
    "assign steps": lambda x: _write(x, lambda y: y.__setitem__((slice(None), slice(1, None, 2)), -1)), "assign an ellipsis": lambda x: _write(x, lambda y: y.__setitem__((..., 2), 3)),
    "assign by truths of a row": lambda x: _write(x, lambda y: y.__setitem__(y > 0, y.new_tensor(2.0))), "copy_": lambda x: _write(x, lambda y: y[:, :4].copy_(y[:, 4:])),
    "fill_ of a view": lambda x: _write(x, lambda y: y[:, 2:4].fill_(1)), "zero_ of a view": lambda x: _write(x, lambda y: y[0].zero_()), "add_ of a view of a view": lambda x: _write(x, lambda y: y.view(-1, 2, 4)[:, 0].add_(1)),
    "transposed and changed": lambda x: _write(x, lambda y: y.t().mul_(2)), "index_copy_": lambda x: _write(x, lambda y: y.index_copy_(1, torch.tensor([0, 3]), torch.ones(2, 2))),
    "scatter_": lambda x: _write(x, lambda y: y.scatter_(1, torch.zeros(2, 1, dtype=_I), 9.0)), "scatter_reduce": lambda x: torch.zeros_like(x).scatter_reduce(1, _ints(x).abs() % 8, x, "amax"),
    "scatter_add of few": lambda x: torch.zeros(2, 4).scatter_add(1, _ints(x)[:, :3].abs() % 4, x), "index_put_ of two": lambda x: _write(x, lambda y: y.index_put_((torch.tensor([0, 1]), torch.tensor([2, 3])), torch.tensor(5.0))),
    "index_put_ that adds": lambda x: _write(x, lambda y: y.index_put_((torch.tensor([0, 0]),), torch.ones(2, 8), accumulate=True)), "masked_fill_": lambda x: _write(x, lambda y: y.masked_fill_(y > 0, 0)),
    "masked_scatter": lambda x: x.masked_scatter(x > 0, torch.arange(16.0)), "clamp_ of a view": lambda x: _write(x, lambda y: y[:, ::2].clamp_(0)), "swap of halves": lambda x: _write(x, _swapped),
    "expanded and added": lambda x: x[:, None].expand(-1, 3, -1) + 1, "flip and slice": lambda x: x.flip(1)[:, ::3], "as_strided": lambda x: x.contiguous().as_strided((2, 7, 2), (8, 1, 1)),
    "unfold twice": lambda x: x.view(-1, 2, 4).unfold(1, 2, 1).unfold(2, 2, 2), "narrow from the end": lambda x: x.narrow(1, -3, 2), "select from the end": lambda x: x.select(1, -2), "empty slice": lambda x: x[:, 3:3],
    "slice beyond": lambda x: x[:, 5:99], "negative step by flip": lambda x: torch.flip(x[:, 1:6:2], [1]), "index by a range": lambda x: x[:, range(3)], "index by None": lambda x: x[:, None, :, None],
    "index by a row of truths": lambda x: x[:, torch.arange(8) % 3 == 0], "index apart": lambda x: x.view(-1, 2, 4)[torch.tensor([0, 1]), :, torch.tensor([1, 2])], "take": lambda x: torch.take(x, torch.tensor([0, 5])),
    "diagonal beside": lambda x: torch.diagonal(x[:, :, None] * x[:, None, :], 1, 1, 2), "block_diag": lambda x: torch.block_diag(x, x), "rot90": lambda x: torch.rot90(x.view(-1, 2, 4), 1, [1, 2]), "roll of all": lambda x: torch.roll(x, 3),
    "dstack": lambda x: torch.dstack([x, x]), "column_stack": lambda x: torch.column_stack([x, x]), "cartesian": lambda x: torch.cartesian_prod(x[0, :2], x[1, :2]), "broadcast_tensors": lambda x: torch.broadcast_tensors(x, x[:, :1])[1],
    "resize by cat": lambda x: torch.cat([x, x.new_zeros(x.shape[0], 0), x], 1), "ones_like in int": lambda x: torch.ones_like(x, dtype=torch.int32), "tensor of a list": lambda x: x + torch.tensor([1, 2, 3, 4, 5, 6, 7, 8]), "arange by a step": lambda x: x + torch.arange(0, 4, 0.5),
    "logspace": lambda x: x + torch.logspace(0, 1, 8), "triu_indices": lambda x: x[:, torch.triu_indices(2, 2)[0]], "nested results": lambda x: ([x, {"a": (x + 1,)}], x + 2),
    "rows repeated by the batch": lambda x: torch.arange(16.0).view(2, 8).repeat(x.shape[0], 1) * x.repeat(2, 1),
    # modes and transformations
    "checkpoint": lambda x: checkpoint(torch.sin, x, use_reentrant=False), "vmap": lambda x: torch.vmap(lambda row: row.softmax(0) * 2)(x), "vmap over whole numbers": lambda x: x + torch.vmap(lambda at: torch.where(at // 2 > 1, at + 1, at * 2))(torch.arange(8)), "functional call": lambda x: torch.func.functional_call(_LINEAR, dict(_LINEAR.named_parameters()), (x,)),
    "inference within": lambda x: _grad_mode(x), "set_grad_enabled": lambda x: _without(x), "a gradient": lambda x: torch.func.grad(lambda y: (y * y).sum())(x), "dropout at rate 0": lambda x: F.dropout(x, 0.0, True),
    "dropout that drops": lambda x: F.dropout(x, 0.5, True), "random numbers": lambda x: x + torch.randn_like(x), "assert": lambda x: _asserted(x), "print": lambda x: _printed(x), "a python loop": lambda x: sum(x * n for n in range(4)),
    "while over a shape": lambda x: _halved(x), "a generator": lambda x: torch.stack([part * 2 for part in x.split(2, 1)]), "star arguments": lambda x: torch.cat([*x.chunk(4, 1)][::-1], 1), "data of a tensor": lambda x: x.data * 2, "requires_grad": lambda x: x * int(x.requires_grad or 1),
    "numpy within": lambda x: torch.from_numpy(np.sin(x.numpy())), "branch on values": lambda x: x if x.sum() > 0 else -x, "torch.cond": lambda x: torch.cond(x.sum() > 0, torch.sin, torch.cos, (x,)), "device": lambda x: x + torch.zeros(8, device=x.device), "dim and numel": lambda x: x * x.dim() / x.numel() * x.shape[0],
    "is_floating_point": lambda x: x * 2 if x.is_floating_point() else x, "finfo": lambda x: x.clamp(min=torch.finfo(x.dtype).min), "math of a shape": lambda x: x * math.log(x.shape[-1]), "sqrt of a tensor's size": lambda x: x / torch.tensor(x.shape[-1]).sqrt(),
}  # fmt: skip

_LINEAR = torch.nn.Linear(8, 4)


def _write(x: Any, write: Callable[[Any], Any]) -> Any:
    found = x.clone()
    write(found)
    return found * 1


def _swapped(y: Any) -> None:
    y[:, :4], y[:, 4:] = y[:, 4:].clone(), y[:, :4].clone()


def _autocast_layer(x: Any) -> Any:
    with torch.autocast("cpu", torch.bfloat16):
        return F.linear(x, torch.ones(4, 8)).softmax(-1) + x[:, :4]


def _autocast_float(x: Any) -> Any:
    with torch.autocast("cpu", torch.bfloat16):
        found = x @ torch.ones(8, 4)
        with torch.autocast("cpu", enabled=False):
            return found.float() @ torch.ones(4, 2)


def _grad_mode(x: Any) -> Any:
    with torch.enable_grad():
        return x * 3


def _without(x: Any) -> Any:
    with torch.set_grad_enabled(mode=False):
        return x + 1


def _asserted(x: Any) -> Any:
    assert x.shape[-1] == 8, "eight"
    torch._assert(x.ndim == 2, "two axes")
    return x + 1


def _printed(x: Any) -> Any:
    print("", end="")
    return x * 2


def _halved(x: Any) -> Any:
    while x.shape[1] > 1:
        x = x[:, ::2] + x[:, 1::2]
    return x


class _Weighted(torch.nn.Module):
    """Weights that are made of others at each call."""

    def __init__(self, function: Callable[[Any, Any], Any], *shape: int) -> None:
        super().__init__()
        self.weight, self.function = torch.nn.Parameter(_x(*shape)), function

    def forward(self, x: Any) -> Any:
        return self.function(x, self.weight)


class _Sum(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.total = torch.nn.Buffer(torch.zeros(8))
        self.layer = torch.nn.Linear(8, 8)

    def forward(self, x: Any) -> Any:
        self.total.add_(x.mean(0))
        return self.layer(x) + self.total


def _windows(function: Callable[[Any], Any]) -> tuple[Callable[[], torch.nn.Module], tuple[torch.Tensor, ...]]:
    return lambda: Module(lambda self, x: function(self.c(x)), c=torch.nn.Conv2d(3, 4, 1)), (IMAGE,)


def _resized(**how: Any) -> tuple[Callable[[], torch.nn.Module], tuple[torch.Tensor, ...]]:
    return _windows(lambda x: F.interpolate(x, **how))


def _experts(x: Any, weight: Any) -> Any:
    """Convolutions with weights of each image's own, in as many groups as there are images."""
    share = x.mean((2, 3))[:, :2].softmax(-1)
    own = (share @ weight.flatten(1)).view(-1, *weight.shape[2:])
    batch = x.shape[0]
    found = F.conv2d(x.reshape(1, -1, *x.shape[2:]), own, None, 1, 1, groups=batch)
    return found.view(batch, -1, *found.shape[2:])


#: Modules, each with what makes it and an example.
PARTS: dict[str, tuple[Callable[[], torch.nn.Module], tuple[torch.Tensor, ...]]] = {
    "weights of each image": (lambda: _Weighted(_experts, 2, 4, 3, 3, 3), (IMAGE,)),
    "weights normalised by batch_norm": (lambda: _Weighted(lambda x, w: F.conv2d(x, F.batch_norm(w.reshape(1, len(w), -1), None, None, training=True).reshape_as(w)), 4, 3, 3, 3), (IMAGE,)),
    "a transposed convolution of computed weights": (lambda: _Weighted(lambda x, w: F.conv_transpose2d(x, w * 2, None, 2, 1, 1), 3, 4, 3, 3), (IMAGE,)),
    "a transposed convolution in groups": (lambda: _Weighted(lambda x, w: F.conv_transpose2d(x, w * 2, None, (2, 1), 0, 0, 3, (1, 2)), 3, 2, 3, 3), (IMAGE,)),
    "a convolution without a batch": (lambda: Module(lambda self, x: self.c(x[0])[None], c=torch.nn.Conv2d(3, 4, 3)), (IMAGE,)),
    "same padding of an even kernel": (lambda: torch.nn.Conv2d(3, 4, 4, padding="same", dilation=2), (IMAGE,)),
    "reflect padding of a layer": (lambda: torch.nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), (IMAGE,)),
    "weight_norm of a transposed convolution": (lambda: torch.nn.Sequential(torch.nn.utils.parametrizations.weight_norm(torch.nn.ConvTranspose1d(6, 4, 4, 2, 1))), (SEQUENCE,)),
    "old weight_norm of a convolution": (lambda: torch.nn.Sequential(torch.nn.utils.weight_norm(torch.nn.Conv1d(6, 4, 3))), (SEQUENCE,)),
    "old spectral_norm": (lambda: torch.nn.Sequential(torch.nn.utils.spectral_norm(torch.nn.Conv2d(3, 4, 3))), (IMAGE,)),
    "orthogonal": (lambda: torch.nn.Sequential(torch.nn.utils.parametrizations.orthogonal(torch.nn.Linear(8, 8))), (X,)),
    "pruned": (lambda: _pruned(), (X,)),
    "a parametrisation of the author's": (lambda: _parametrised(), (X,)),
    "weights from another network": (lambda: Module(lambda self, x: F.linear(x, self.h(self.e).view(4, 8)), h=torch.nn.Linear(3, 32), e=torch.nn.Parameter(torch.ones(3))), (X,)),
    "LayerNorm of computed weights": (lambda: Module(lambda self, x: F.layer_norm(x, (8,), self.s * 2, self.s), s=torch.nn.Parameter(torch.ones(8))), (X,)),
    "GroupNorm of computed weights": (lambda: Module(lambda self, x: F.group_norm(x, 3, self.s + 1), s=torch.nn.Parameter(torch.ones(3))), (IMAGE,)),
    "instance_norm as a function": _windows(lambda x: F.instance_norm(x)),
    "BatchNorm without weights": (lambda: torch.nn.BatchNorm2d(3, affine=False), (IMAGE,)),
    "batch_norm of the batch": _windows(lambda x: F.batch_norm(x, None, None, training=True)),
    "InstanceNorm with statistics": (lambda: torch.nn.InstanceNorm2d(3, track_running_stats=True), (IMAGE,)),
    "PReLU of a computed slope": (lambda: Module(lambda self, x: F.prelu(x, self.s.sigmoid()), s=torch.nn.Parameter(torch.zeros(8))), (X,)),
    "a running total": (_Sum, (X,)),
    "two hooks": (lambda: _hooks(), (X,)),
    "a hook before": (lambda: _before(), (X,)),
    "a lazy layer": (lambda: _lazy(), (X,)),
    "frozen parameters": (lambda: _frozen(), (X,)),
    "a parameter of one element": (lambda: Module(lambda self, x: x * self.s + self.s.item() * 0, s=torch.nn.Parameter(torch.tensor(2.0))), (X,)),
    "an empty parameter": (lambda: Module(lambda self, x: torch.cat([x, self.e.expand(x.shape[0], 0)], 1), e=torch.nn.Parameter(torch.zeros(1, 0))), (X,)),
    "a buffer of integers": (lambda: Module(lambda self, x: x[:, self.places], places=torch.tensor([3, 1])), (X,)),
    "a buffer of truths": (lambda: Module(lambda self, x: x.masked_fill(self.mask, 0), mask=torch.arange(8) > 4), (X,)),
    "shared buffers": (lambda: _shared_buffer(), (X,)),
    "relative positions": (lambda: Module(lambda self, x: x @ self.t[(torch.arange(8)[:, None] - torch.arange(8)) + 7].transpose(0, 1)[..., 0], t=torch.nn.Parameter(_x(15, 1))), (X,)),
    "max pooling that rounds up": _windows(lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True)),
    "max pooling with dilation that rounds up": _windows(lambda x: F.max_pool2d(x, 3, 2, 1, 2, ceil_mode=True)),
    "places of max pooling": _windows(lambda x: F.max_pool2d(x, 3, 2, 1, return_indices=True)),
    "average pooling by a number": _windows(lambda x: F.avg_pool2d(x, 3, 2, 1, divisor_override=5)),
    "average pooling without padding counted": _windows(lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False, ceil_mode=True)),
    "adaptive pooling to many": _windows(lambda x: F.adaptive_avg_pool2d(x, (5, 7))),
    "adaptive pooling of one axis": _windows(lambda x: F.adaptive_avg_pool2d(x, (None, 3))),
    "adaptive pooling to more": _windows(lambda x: F.adaptive_avg_pool2d(x, 20)),
    "adaptive max pooling of volumes": (lambda: torch.nn.AdaptiveMaxPool3d((1, 2, 3)), (_x(2, 3, 4, 5, 6),)),
    "adaptive pooling of volumes": (lambda: torch.nn.AdaptiveAvgPool3d((1, 2, 3)), (_x(2, 3, 4, 5, 6),)),
    "adaptive max pooling of a sequence": (lambda: torch.nn.AdaptiveMaxPool1d(5), (SEQUENCE,)),
    "LPPool of a sequence": (lambda: torch.nn.LPPool1d(2, 3), (SEQUENCE,)),
    "unpooling of a sequence": (lambda: Module(lambda self, x: F.max_unpool1d(*F.max_pool1d(x, 2, return_indices=True), 2)), (SEQUENCE,)),
    "nearest to a size": _resized(size=(7, 20), mode="nearest"),
    "nearest-exact": _resized(size=(7, 20), mode="nearest-exact"),
    "nearest by a fraction": _resized(scale_factor=0.6, mode="nearest"),
    "linear with corners": _resized(size=(7, 20), mode="bilinear", align_corners=True),
    "linear by a fraction, recomputed": _resized(scale_factor=1.3, mode="bilinear", recompute_scale_factor=True),
    "bicubic with corners": _resized(size=(9, 9), mode="bicubic", align_corners=True),
    "bicubic without ripples": _resized(size=(9, 9), mode="bicubic", antialias=True),
    "bilinear without ripples": _resized(size=(5, 7), mode="bilinear", antialias=True),
    "area": _resized(size=(5, 7), mode="area"),
    "one axis each": _resized(scale_factor=(2, 1), mode="nearest"),
    "trilinear": (lambda: torch.nn.Upsample(size=(3, 5, 9), mode="trilinear"), (_x(2, 2, 4, 5, 6),)),
    "linear of a sequence": (lambda: torch.nn.Upsample(scale_factor=1.5, mode="linear"), (SEQUENCE,)),
    "grid_sample to the nearest": (lambda: Module(lambda self, x, g: F.grid_sample(x, g.tanh(), "nearest", "border", True)), (IMAGE, _x(2, 4, 5, 2))),
    "grid_sample that reflects": (lambda: Module(lambda self, x, g: F.grid_sample(x, g, "bicubic", "reflection", False)), (IMAGE, _x(2, 4, 5, 2))),
    "grid_sample of volumes": (lambda: Module(lambda self, x, g: F.grid_sample(x, g, align_corners=False)), (_x(2, 2, 3, 4, 5), _x(2, 2, 3, 4, 3))),
    "unfold with all options": _windows(lambda x: F.unfold(x, (3, 2), (2, 1), (1, 2), (2, 1))),
    "fold": _windows(lambda x: F.fold(F.unfold(x, 3, 1, 1, 2), (16, 16), 3, 1, 1, 2)),
    "fold with dilation": _windows(lambda x: F.fold(F.unfold(x, 3, 2, 2, 1), (16, 16), 3, 2, 2, 1)),
    "PixelUnshuffle": _windows(lambda x: F.pixel_unshuffle(x, 2)),
    "channels last": _windows(lambda x: x.to(memory_format=torch.channels_last).relu().contiguous()),
    "ZeroPad and crop": _windows(lambda x: F.pad(x, (-2, 1, 3, -1))),
    "replicate pad of volumes": (lambda: torch.nn.ReplicationPad3d(1), (_x(1, 2, 3, 3, 3),)),
    "circular pad": _windows(lambda x: F.pad(x, (1, 2, 0, 1), mode="circular")),
    "windows of Swin": _windows(lambda x: x.permute(0, 2, 3, 1).roll((-2, -2), (1, 2)).view(-1, 4, 4, 4, 4, 4).permute(0, 1, 3, 2, 4, 5).reshape(-1, 16, 4)),
    "EmbeddingBag, mean": (lambda: torch.nn.EmbeddingBag(10, 4, mode="mean"), (torch.tensor([[1, 2, 5], [3, 4, 0]]),)),
    "Embedding with max_norm": (lambda: torch.nn.Embedding(10, 4, max_norm=1.0), (torch.tensor([[1, 2], [3, 4]]),)),
    "LSTM without a batch": (lambda: Module(lambda self, x: self.r(x[0])[0][None], r=torch.nn.LSTM(8, 4)), (SEQUENCE,)),
    "packed sequences": (lambda: Module(_packed, r=torch.nn.LSTM(8, 4, batch_first=True)), (SEQUENCE,)),
    "LSTM and all its states": (lambda: torch.nn.LSTM(8, 4, 2, batch_first=True), (SEQUENCE,)),
    "RNNCell": (lambda: Module(lambda self, x: self.c(x), c=torch.nn.RNNCell(8, 4)), (X,)),
    "attention with float masks": (lambda: Module(lambda self, x, m: F.scaled_dot_product_attention(x, x, x, m)), (_x(2, 2, 3, 4), _x(2, 1, 3, 3))),
    "attention in groups": (lambda: Module(lambda self, q, k: F.scaled_dot_product_attention(q, k, k, enable_gqa=True)), (_x(2, 4, 3, 4), _x(2, 2, 3, 4))),
    "attention without a batch": (lambda: Module(lambda self, x: self.a(x[0], x[0], x[0])[0][None], a=torch.nn.MultiheadAttention(8, 2)), (SEQUENCE,)),
    "a causal TransformerEncoder": (lambda: Module(lambda self, x: self.t(x, mask=torch.nn.Transformer.generate_square_subsequent_mask(6), is_causal=True), t=torch.nn.TransformerEncoder(torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True), 1)), (SEQUENCE,)),
    "a module list backwards": (lambda: Module(lambda self, x: self.m[0](self.m[1](x)), m=torch.nn.ModuleList([torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)])), (X,)),
    "a Sequential in parts": (lambda: Module(lambda self, x: self.s[1:](self.s[0](x)), s=torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4))), (X,)),
    "a layer and its weight": (lambda: Module(lambda self, x: self.l(x) @ self.l.weight, l=torch.nn.Linear(8, 8)), (X,)),
    "unused parameters": (lambda: Module(lambda self, x: self.l(x), l=torch.nn.Linear(8, 4), spare=torch.nn.Linear(3, 3)), (X,)),
    "an input that is returned": (lambda: Module(lambda self, x: (x, self.l(x)), l=torch.nn.Linear(8, 4)), (X,)),
    "inputs of several dtypes": (lambda: Module(lambda self, x, i, m: x[:, :2] + i * m), (X, torch.tensor([[1, 2], [3, 4]]), torch.tensor([[True, False], [True, True]]))),
    "an image of uint8": (lambda: Module(lambda self, x: self.c(x.float() / 255), c=torch.nn.Conv2d(3, 4, 3)), ((IMAGE.abs() * 50).to(torch.uint8),)),
    "a network in half": (lambda: torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.LayerNorm(4)).half(), (X.half(),)),
    "complex weights": (lambda: Module(lambda self, x: torch.fft.irfft(torch.fft.rfft(x) * torch.view_as_complex(self.w), n=8), w=torch.nn.Parameter(_x(5, 2))), (X,)),
    "parameters of complex numbers": (lambda: Module(lambda self, x: (x * self.w).abs(), w=torch.nn.Parameter(torch.view_as_complex(_x(8, 2)))), (X,)),
}  # fmt: skip


def _packed(self: Any, x: Any) -> Any:
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor([6, 4]), batch_first=True)
    return torch.nn.utils.rnn.pad_packed_sequence(self.r(packed)[0], batch_first=True)[0]


def _pruned() -> torch.nn.Module:
    from torch.nn.utils import prune

    network = torch.nn.Sequential(torch.nn.Linear(8, 4))
    prune.l1_unstructured(network[0], "weight", 0.5)
    return network


class _Symmetric(torch.nn.Module):
    def forward(self, x: Any) -> Any:
        return x.triu() + x.triu(1).transpose(-1, -2)


def _parametrised() -> torch.nn.Module:
    network = torch.nn.Sequential(torch.nn.Linear(8, 8))
    torch.nn.utils.parametrize.register_parametrization(network[0], "weight", _Symmetric())
    return network


def _hooks() -> torch.nn.Module:
    network = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Tanh())
    network[0].register_forward_hook(lambda module, inputs, output: output * 2)
    network[0].register_forward_hook(lambda module, inputs, output: output + inputs[0])
    return network


def _before() -> torch.nn.Module:
    network = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Tanh())
    network[0].register_forward_pre_hook(lambda module, inputs: (inputs[0] * 2,))
    return network


def _lazy() -> torch.nn.Module:
    network = torch.nn.Sequential(torch.nn.LazyLinear(4), torch.nn.ReLU())
    network(X)
    return network


def _frozen() -> torch.nn.Module:
    network = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 4))
    network[0].requires_grad_(requires_grad=False)
    return network


def _shared_buffer() -> torch.nn.Module:
    network = Module(lambda self, x: self.two(self.one(x)), one=torch.nn.BatchNorm1d(8), two=torch.nn.BatchNorm1d(8))
    network.two.running_mean = network.one.running_mean
    return network


def semantics() -> Iterator[Network]:
    """All of them."""
    for name, function in LINES.items():
        yield Network("semantics", name, lambda function=function: (Function(function), (X,)))
    for name, (make, example) in PARTS.items():
        yield Network("semantics", name, lambda make=make, example=example: (make(), example))
