"""Modules for what PyTorch's own classes do not say: layouts, one-sided padding, activations, other returns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

from modelarchive.exchange.torch.functions import activate, pad, reshape
from modelarchive.ops.shapes import normal_axis
from modelarchive.ops.windows import output_sizes


class Kind:
    """What every module here has beside PyTorch's: the fields of its kind, as the architecture writes them."""

    kind: str
    config: dict[str, Any]

    def extra_repr(self) -> str:
        """The fields."""
        return ", ".join(f"{name}={value!r}" for name, value in self.config.items())


def _second(x: torch.Tensor, config: Mapping[str, Any]) -> torch.Tensor:
    """`x` with its channels second."""
    return x.movedim(-1, 1) if config["layout"].endswith("C") else x


def _back(x: torch.Tensor, config: Mapping[str, Any]) -> torch.Tensor:
    return x.movedim(1, -1) if config["layout"].endswith("C") else x


def _flat(pairs: Sequence[Sequence[int]]) -> list[int]:
    """Pairs (before, after) for each axis in the order of ``torch.nn.functional.pad``."""
    return [size for pair in reversed(pairs) for size in pair]


class Dense(Kind, torch.nn.Linear):
    """Linear with an input that is flattened, and an activation."""

    def forward(self, x: torch.Tensor) -> Any:
        """Run the layer."""
        if self.config["flatten"]:
            x = x.reshape(x.shape[0], self.in_features)
        return activate(self.config["activation"], super().forward(x))


class _Convolution(Kind):
    def forward(self, x: torch.Tensor) -> Any:
        """Run the layer."""
        x = _second(x, self.config)
        if any(before != after for before, after in self.config["padding"]):
            x = F.pad(x, _flat(self.config["padding"]))
        x = self._conv_forward(x, self.weight, self.bias)  # type: ignore[attr-defined]
        return _back(activate(self.config["activation"], x), self.config)


class Conv1D(_Convolution, torch.nn.Conv1d):
    """Convolution with a layout, one-sided padding, an activation."""


class Conv2D(_Convolution, torch.nn.Conv2d):
    """Convolution with a layout, one-sided padding, an activation."""


class Conv3D(_Convolution, torch.nn.Conv3d):
    """Convolution with a layout, one-sided padding, an activation."""


class _Transposed(Kind):
    def forward(self, x: torch.Tensor) -> Any:
        """Run the layer."""
        x = super().forward(_second(x, self.config))  # type: ignore[misc]
        if any(before != after for before, after in self.config["padding"]):
            x = F.pad(x, [-size for size in _flat(self.config["padding"])])
        return _back(activate(self.config["activation"], x), self.config)


class Conv1DTranspose(_Transposed, torch.nn.ConvTranspose1d):
    """Transposed convolution with a layout, one-sided padding, an activation."""


class Conv2DTranspose(_Transposed, torch.nn.ConvTranspose2d):
    """Transposed convolution with a layout, one-sided padding, an activation."""


class Conv3DTranspose(_Transposed, torch.nn.ConvTranspose3d):
    """Transposed convolution with a layout, one-sided padding, an activation."""


class Plain(Kind, torch.nn.Module):
    """A module without a class of PyTorch's own behind it."""

    def __init__(self, kind: str, config: dict[str, Any]) -> None:
        super().__init__()
        self.kind = kind
        self.config = config


class Pool(Plain):
    """Pooling with a layout, or with one-sided or wide padding."""

    def forward(self, x: torch.Tensor) -> Any:
        """Run the layer."""
        config = self.config
        x = _second(x, config)
        kernel, strides, padding = config["pool_size"], config["strides"], config["padding"]
        spatial = x.shape[2:]
        sizes = output_sizes(spatial, kernel, strides, padding, (1,) * len(kernel), ceil_mode=config["ceil_mode"])
        # Exactly what the windows cover: PyTorch's own padding is symmetric and at most half a window.
        around = [
            (before, (out - 1) * step + taps - size - before)
            for out, step, taps, size, (before, _) in zip(sizes, strides, kernel, spatial, padding, strict=True)
        ]
        rank = len(kernel)
        if self.kind.startswith("Max"):
            least = -math.inf if x.is_floating_point() else torch.iinfo(x.dtype).min
            x = F.pad(x, _flat(around), value=least)
            return _back((F.max_pool1d, F.max_pool2d, F.max_pool3d)[rank - 1](x, kernel, strides), config)
        x = F.pad(x, _flat(around))
        total = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[rank - 1](x, kernel, strides) * math.prod(kernel)
        return _back(total / self._counts(spatial, sizes, x), config)

    def _counts(self, spatial: Sequence[int], sizes: Sequence[int], x: torch.Tensor) -> Any:
        """How many elements count in each window."""
        config = self.config
        counts = torch.ones((), dtype=x.dtype, device=x.device)
        for axis, size in enumerate(spatial):
            before, after = config["padding"][axis]
            begin = torch.arange(sizes[axis], device=x.device) * config["strides"][axis] - before
            end = (begin + config["pool_size"][axis]).clamp(max=size + after)
            if not config["count_include_pad"]:
                begin, end = begin.clamp(min=0), end.clamp(max=size)
            counts = counts[..., None] * (end - begin).to(x.dtype)
        return counts


class GlobalPool(Plain):
    """Pooling over all spatial axes, channels last."""

    def forward(self, x: torch.Tensor) -> Any:
        """Run the layer."""
        axes = tuple(range(1, x.ndim - 1)) if self.config["layout"].endswith("C") else tuple(range(2, x.ndim))
        return x.amax(axes, keepdim=True) if "Max" in self.kind else x.mean(axes, keepdim=True)


class AdaptivePool(Plain):
    """Adaptive pooling, channels last."""

    def forward(self, x: torch.Tensor) -> Any:
        """Run the layer."""
        sizes = self.config["output_size"]
        pool = F.adaptive_avg_pool1d if len(sizes) == 1 else F.adaptive_avg_pool2d
        return _back(pool(_second(x, self.config), sizes), self.config)


class Upsample(Plain):
    """Upsampling to a size, or channels last."""

    def forward(self, x: torch.Tensor) -> Any:
        """Run the layer."""
        config = self.config
        x = _second(x, config)
        old = x.shape[2:]
        sizes = config["size"] or [size * times for size, times in zip(old, config["scale"], strict=True)]
        if config["mode"] == "nearest":
            for axis, size in enumerate(sizes, start=2):
                x = x.index_select(axis, torch.arange(size, device=x.device) * x.shape[axis] // size)
            return _back(x, config)
        mode = ("linear", "bilinear", "trilinear")[len(sizes) - 1]
        return _back(F.interpolate(x, list(sizes), mode=mode, align_corners=config["align_corners"]), config)


class Pad(Plain):
    """Padding of the last axes in any number."""

    def forward(self, x: torch.Tensor) -> Any:
        """Run the layer."""
        return pad(x, self.config["padding"], self.config["mode"], self.config["value"])


class Flatten(Plain):
    """``(batch, ...)`` to ``(batch, product of the rest)``."""

    def forward(self, x: torch.Tensor) -> Any:
        """Run the layer."""
        return torch.flatten(x, 1) if x.ndim > 1 else x[:, None]


class Reshape(Plain):
    """Another shape; None keeps an axis."""

    def forward(self, x: torch.Tensor) -> Any:
        """Run the layer."""
        return reshape(x, self.config["shape"])


class Permute(Plain):
    """The axes in another order."""

    def forward(self, x: torch.Tensor) -> Any:
        """Run the layer."""
        return x.permute(self.config["axes"]) if x.ndim else x


class Activation(Plain):
    """An activation that PyTorch has as a function only."""

    def forward(self, x: torch.Tensor) -> Any:
        """Run the layer."""
        return activate(self.config["activation"], x, self.config["alpha"])


class PReLU(Plain):
    """PReLU with its channels at any axis."""

    weight: torch.Tensor

    def forward(self, x: torch.Tensor) -> Any:
        """Run the layer."""
        slope = self.weight
        if slope.numel() > 1:
            axis = normal_axis(self.config["axis"], x.ndim)
            slope = slope.reshape([-1 if at == axis else 1 for at in range(x.ndim)])
        return x.clamp(min=0) + slope * x.clamp(max=0)


class BatchNorm(Kind, torch.nn.modules.batchnorm._BatchNorm):
    """Batch normalisation over any number of axes; without a count of batches.

    Its version is the one before that count, so that PyTorch's own modules load its state, and it loads theirs.
    """

    _version = 1

    def _check_input_dim(self, x: torch.Tensor) -> None:
        """Any number of axes will do."""

    def forward(self, x: torch.Tensor) -> Any:
        """Run the layer."""
        axis = self.config["axis"]
        if axis == 1 or (axis == -1 and x.ndim == 2):
            return super().forward(x)
        if x.ndim == 1:
            return super().forward(x[None])[0]
        return super().forward(x.movedim(axis, 1)).movedim(1, axis)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        state_dict.pop(f"{prefix}num_batches_tracked", None)
        torch.nn.Module._load_from_state_dict(self, state_dict, prefix, *rest)


class Norm(Plain):
    """LayerNorm, RMSNorm, GroupNorm and InstanceNorm at any axes, with any of weight and bias."""

    weight: torch.Tensor
    bias: torch.Tensor

    def forward(self, x: torch.Tensor) -> Any:
        """Run the layer."""
        config = self.config
        weight, bias = (self._parameters.get(name) for name in ("weight", "bias"))
        axis = config["axis"]
        if self.kind in ("GroupNorm", "InstanceNorm"):
            x = x.movedim(axis, 1)
            groups = config["num_groups"] if self.kind == "GroupNorm" else x.shape[1]
            return torch.group_norm(x, groups, weight, bias, config["epsilon"]).movedim(1, axis)
        axes = [normal_axis(each, x.ndim) for each in ([axis] if isinstance(axis, int) else axis)]
        places = list(range(-len(axes), 0))
        moved = x.movedim(axes, places)
        shape = moved.shape[-len(axes) :]
        if self.kind == "RMSNorm":
            return F.rms_norm(moved, shape, weight, config["epsilon"]).movedim(places, axes)
        return F.layer_norm(moved, shape, weight, bias, config["epsilon"]).movedim(places, axes)


class PositionalEmbedding(Plain):
    """Adds rows of a table, or sines and cosines, to the elements of a sequence."""

    weight: torch.Tensor

    def forward(self, x: torch.Tensor) -> Any:
        """Run the layer."""
        config = self.config
        first, length = config["offset"], x.shape[-2]
        if config["style"] == "learned":
            return x + self.weight[first : first + length]
        units = x.shape[-1]
        rates = config["base"] ** (-torch.arange(0, units, 2, dtype=torch.float64, device=x.device) / units)
        angles = torch.arange(first, first + length, dtype=torch.float64, device=x.device)[:, None] * rates
        waves = torch.stack([angles.sin(), angles.cos()], -1).flatten(-2)[..., :units]
        return x + waves.to(x.dtype)
