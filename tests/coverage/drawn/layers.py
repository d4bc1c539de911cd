"""Layers, drawn with their arguments for what they are to take."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Final

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from tests.coverage.drawn.steps import Function, Step, divisors, has_axes, is_float, is_single, is_whole, one_of

_is_sequence = has_axes(3, of=is_single)
_is_picture = has_axes(4, of=is_single)
_has_places = has_axes(3, 4, of=is_single)


class Called(nn.Module):
    """A module, and what is made of what it gives.

    Args:
        module: The module.
        function: (the module, what it is given) -> what is given on.
    """

    def __init__(self, module: nn.Module, function: Callable[[Any, torch.Tensor], Any]) -> None:
        super().__init__()
        self.module, self.function = module, function

    def forward(self, x: torch.Tensor) -> Any:
        """What is given on."""
        return self.function(self.module, x)


def _of_rank(x: torch.Tensor, name: str) -> Any:
    return getattr(nn, f"{name}{x.ndim - 2}d")


def _linear(drawing: Random, x: torch.Tensor) -> tuple[Function, Any]:
    return nn.Linear(x.shape[-1], drawing.randint(1, 5), bias=drawing.random() < 0.5).to(x.dtype), ""


def _layer_norm(drawing: Random, x: torch.Tensor) -> tuple[Function, Any]:
    number = drawing.randint(1, min(2, x.ndim - 1))
    return nn.LayerNorm(x.shape[-number:], elementwise_affine=drawing.random() < 0.5).to(x.dtype), number


def _rms_norm(drawing: Random, x: torch.Tensor) -> tuple[Function, Any]:
    return nn.RMSNorm(x.shape[-1]).to(x.dtype), ""


def _convolution(drawing: Random, x: torch.Tensor) -> tuple[Function, Any]:
    channels = x.shape[1]
    groups, kernel = drawing.choice(divisors(channels)), drawing.randint(1, 3)
    padding = drawing.choice((0, 1, 2, "same"))
    stride = 1 if padding == "same" else drawing.randint(1, 2)
    dilation, mode = drawing.randint(1, 2), drawing.choice(("zeros", "zeros", "reflect", "circular", "replicate"))
    made = _of_rank(x, "Conv")(
        channels, groups * drawing.randint(1, 2), kernel, stride=stride, padding=padding, dilation=dilation,
        groups=groups, padding_mode=mode, bias=drawing.random() < 0.5,
    )  # fmt: skip
    return made, (kernel, stride, padding, dilation, groups, mode)


def _transposed(drawing: Random, x: torch.Tensor) -> tuple[Function, Any]:
    channels, step, kernel = x.shape[1], drawing.randint(1, 3), drawing.randint(1, 3)
    groups = drawing.choice(divisors(channels))
    more = {"padding": drawing.randint(0, (kernel - 1) // 2), "output_padding": drawing.randint(0, step - 1)}
    made = _of_rank(x, "ConvTranspose")(
        channels, groups * drawing.randint(1, 2), kernel, stride=step, groups=groups, **more
    )
    return made, (kernel, step, groups, *more.values())


def _pooling(drawing: Random, x: torch.Tensor) -> tuple[Function, Any]:
    kernel, step = drawing.randint(1, 3), drawing.randint(1, 3)
    padding, up = drawing.randint(0, kernel // 2), drawing.random() < 0.5
    name = drawing.choice(("MaxPool", "AvgPool", "AdaptiveMaxPool", "AdaptiveAvgPool", "LPPool"))
    kind = _of_rank(x, name)
    if name.startswith("Adaptive"):
        return kind(kernel), (name, kernel)
    if name == "LPPool":
        return kind(2, kernel, step), (name, kernel, step)
    more = {"count_include_pad": drawing.random() < 0.5} if name == "AvgPool" else {}
    return kind(kernel, step, padding, ceil_mode=up, **more), (name, kernel, step, padding, up, *more.values())


def _normalising(drawing: Random, x: torch.Tensor) -> tuple[Function, Any]:
    channels = x.shape[1]
    name = drawing.choice(("BatchNorm", "GroupNorm", "InstanceNorm", "LocalResponseNorm"))
    if name == "BatchNorm":
        made = _of_rank(x, name)(channels, affine=drawing.random() < 0.7)
        made.running_mean.normal_()
        made.running_var.uniform_(0.5, 2)
        return made, name
    if name == "GroupNorm":
        return nn.GroupNorm(drawing.choice(divisors(channels)), channels), name
    return (nn.LocalResponseNorm(2) if name[0] == "L" else _of_rank(x, name)(channels, affine=True)), name


def _resizing(drawing: Random, x: torch.Tensor) -> tuple[Function, Any]:
    smooth = ("linear",) if x.ndim == 3 else ("bilinear", "bicubic")
    given: dict[str, Any] = {"mode": drawing.choice(("nearest", "nearest-exact", "area", *smooth))}
    if given["mode"] in smooth:
        given["align_corners"] = drawing.random() < 0.4
        if x.ndim == 4 and not given["align_corners"]:
            given["antialias"] = drawing.random() < 0.4
    way = drawing.choice(("factor", "size", "half"))
    if way == "factor":
        given["scale_factor"] = drawing.choice((2, 0.5, 1.5))
    if way == "size":
        given["size"] = drawing.randint(1, 6)
    if way == "half":
        return (lambda x: F.interpolate(x, [-(-size // 2) for size in x.shape[2:]], **given)), (way, given)
    return (lambda x: F.interpolate(x, **given)), given


def _recurrent(drawing: Random, x: torch.Tensor) -> tuple[Function, Any]:
    kind, number = drawing.choice((nn.LSTM, nn.GRU, nn.RNN)), drawing.randrange(3)
    made = kind(
        x.shape[-1], drawing.randint(1, 3), num_layers=drawing.randint(1, 2), bidirectional=drawing.random() < 0.5,
        batch_first=True, bias=drawing.random() < 0.7,
    )  # fmt: skip

    def given_on(module: Any, x: torch.Tensor) -> Any:
        found, state = module(x)
        last = state[0] if isinstance(state, tuple) else state
        return (found, last[-1], last.transpose(0, 1).flatten(1))[number]

    return Called(made, given_on), (kind.__name__, number)


def _attention(drawing: Random, x: torch.Tensor) -> tuple[Function, Any]:
    size = x.shape[-1]
    heads, number = drawing.choice(divisors(size)), drawing.randrange(3)
    if number == 2:
        before = drawing.random() < 0.5
        return nn.TransformerEncoderLayer(size, heads, 8, dropout=0.0, batch_first=True, norm_first=before), "a layer"
    made = nn.MultiheadAttention(size, heads, batch_first=True)
    return Called(made, lambda module, x: module(x, x.flip(1), x, need_weights=True)[number]), ("attention", number)


def _embedding(drawing: Random, x: torch.Tensor) -> tuple[Function, Any]:
    made = nn.Embedding(11, drawing.randint(1, 4), padding_idx=drawing.choice((None, 0)))
    return Called(made, lambda module, x: module(x.long() % 11)), ""


class _Scaled(nn.Module):
    def __init__(self, x: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(x.shape[-1:]).to(x.dtype))
        self.register_buffer("shift", torch.rand(()).to(x.dtype))

    def forward(self, x: torch.Tensor) -> Any:
        return x * self.weight + self.shift


def _parameter(drawing: Random, x: torch.Tensor) -> tuple[Function, Any]:
    return _Scaled(x), ""


def _grid(drawing: Random, x: torch.Tensor) -> tuple[Function, Any]:
    mode, padding = drawing.choice(("bilinear", "nearest")), drawing.choice(("zeros", "border", "reflection"))
    corners, whole = drawing.random() < 0.5, drawing.random() < 0.5

    def turned(x: torch.Tensor) -> Any:
        theta = torch.tensor([[1.0, 0.1, 0.01], [-0.1, 0.9, 0.05]]).expand(x.shape[0], 2, 3)
        size = (x.shape[0], 1, *(x.shape[2:] if whole else (3, 3)))
        grid = F.affine_grid(theta, size, align_corners=corners)
        return F.grid_sample(x, grid, mode=mode, padding_mode=padding, align_corners=corners)

    return turned, (mode, padding, corners, whole)


def _folded(x: torch.Tensor) -> Any:
    return F.fold(F.unfold(x, 3, padding=1), x.shape[2:], 3, padding=1)


#: Name -> the layer.
LAYERS: Final[dict[str, Step]] = {
    "Linear": Step(has_axes(2, 3, 4, of=is_float), _linear),
    "LayerNorm": Step(has_axes(2, 3, 4, of=is_float), _layer_norm),
    "RMSNorm": Step(has_axes(2, 3, 4, of=is_float), _rms_norm),
    "a parameter": Step(has_axes(2, 3, 4, of=is_float), _parameter),
    "Conv": Step(_has_places, _convolution),
    "ConvTranspose": Step(_has_places, _transposed),
    "pooling": Step(_has_places, _pooling),
    "normalising": Step(_has_places, _normalising),
    "interpolate": Step(_has_places, _resizing),
    "recurrent": Step(_is_sequence, _recurrent),
    "attention": Step(_is_sequence, _attention),
    "Embedding": Step(has_axes(1, 2, of=is_whole), _embedding),
    "grid_sample": Step(_is_picture, _grid),
    "patches": one_of((lambda x: F.unfold(x, 2, padding=1, stride=2), _folded), _is_picture),
    "pixels": one_of(
        (
            lambda x: F.pixel_shuffle(torch.cat((x,) * 4, 1), 2),
            lambda x: F.channel_shuffle(torch.cat((x,) * 2, 1), 2),
            lambda x: F.pixel_unshuffle(F.pad(x, (0, x.shape[-1] % 2, 0, x.shape[-2] % 2)), 2),
        ),
        _is_picture,
    ),
}
