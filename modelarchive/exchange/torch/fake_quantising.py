"""What PyTorch's modules for quantisation while training do, in functions that torch.export can follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch

from modelarchive.exchange.refusal import Refusal


def on_steps(x: torch.Tensor, scale: Any, zero_point: Any, quant_min: int, quant_max: int) -> torch.Tensor:
    """Numbers rounded to steps, ``fake_quantize_per_tensor_affine``; NotImplemented: of a scale that is a number."""
    # Of a scale that is an array PyTorch does not know the shape of the result.
    if not isinstance(scale, torch.Tensor) or not isinstance(zero_point, torch.Tensor):
        return NotImplemented
    steps = torch.round(x * (1 / scale)) + zero_point
    return (steps.clamp(quant_min, quant_max) - zero_point) * scale


def on_steps_of_each(
    x: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor, axis: int, quant_min: int, quant_max: int
) -> torch.Tensor:
    """The same with a scale for each part of an axis, ``fake_quantize_per_channel_affine``."""
    shape = [-1 if at == axis else 1 for at in range(x.ndim)]
    return on_steps(x, scale.reshape(shape), zero_point.reshape(shape), quant_min, quant_max)


def _observed(
    x: torch.Tensor,
    observer_on: torch.Tensor,
    fake_quant_on: torch.Tensor,
    running_min: torch.Tensor,
    running_max: torch.Tensor,
    scale: torch.Tensor,
    zero_point: torch.Tensor,
    averaging_const: float,
    quant_min: int,
    quant_max: int,
    ch_axis: int,
    per_row_fake_quant: bool = False,
    symmetric_quant: bool = False,
) -> torch.Tensor:
    """``fused_moving_avg_obs_fake_quant`` while nothing is observed."""
    if observer_on[0] == 1:
        what = "an observer of ranges that is on, and changes its scale at each call"
        raise Refusal(f"{what}: module.apply(torch.ao.quantization.disable_observer) keeps the scale that there is")
    if fake_quant_on[0] != 1:
        return x
    if per_row_fake_quant:
        return on_steps_of_each(x, scale, zero_point, ch_axis, quant_min, quant_max)
    return on_steps(x, scale, zero_point, quant_min, quant_max)


#: Functions that decide by flags in buffers -> the same by others; they are called where such flags are known.
DECIDING: Final[dict[Any, Callable[..., Any]]] = {torch.fused_moving_avg_obs_fake_quant: _observed}
