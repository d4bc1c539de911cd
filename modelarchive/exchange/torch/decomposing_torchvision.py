"""Operators of torchvision by PyTorch's own: what samples between the elements of an image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch.nn import functional


def _deform_conv2d(
    x: torch.Tensor,
    weight: torch.Tensor,
    offset: torch.Tensor,
    mask: torch.Tensor,
    bias: torch.Tensor,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    groups: int,
    offset_groups: int,
    use_mask: bool,  # as torchvision has them
) -> torch.Tensor:
    """A convolution whose windows have their elements moved: they are sampled side by side, and then weighed.

    Args as in ``torchvision.ops.deform_conv2d``: `offset` is ``(batch, 2 * offset_groups * rows * columns, height and
    width of the output)``, the vertical first, and `mask`, where `use_mask`, what each element counts.
    """
    _, channels, height, width = x.shape
    rows, columns = weight.shape[2:]
    high, wide = offset.shape[2:]
    moved = offset.reshape(-1, rows, columns, 2, high, wide).permute(0, 4, 1, 5, 2, 3)
    along = {"dtype": x.dtype, "device": x.device}
    down = torch.arange(high, **along)[:, None] * stride_h - pad_h + torch.arange(rows, **along) * dilation_h
    across = torch.arange(wide, **along)[:, None] * stride_w - pad_w + torch.arange(columns, **along) * dilation_w
    y, x_at = moved[..., 0] + down[:, :, None, None], moved[..., 1] + across
    grid = torch.stack([(2 * x_at + 1) / width - 1, (2 * y + 1) / height - 1], -1)
    grid = grid.reshape(-1, high * rows, wide * columns, 2)
    parts = x.reshape(-1, channels // offset_groups, height, width)
    sampled = functional.grid_sample(parts, grid, align_corners=False)
    if use_mask:
        counts = mask.reshape(-1, 1, rows, columns, high, wide).permute(0, 1, 4, 2, 5, 3)
        sampled = sampled * counts.reshape(-1, 1, high * rows, wide * columns)
    sampled = sampled.reshape(-1, channels, high * rows, wide * columns)
    return functional.conv2d(sampled, weight, bias, stride=(rows, columns), groups=groups)


#: Operator -> the same by PyTorch's own.
TORCHVISION: Final[dict[str, Callable[..., Any]]] = {"torchvision::deform_conv2d": _deform_conv2d}
