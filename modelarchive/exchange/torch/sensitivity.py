"""Elements of a module's outputs that hang on the last bits of its numbers: roundings, choices among near equals."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Final

import numpy as np
import torch

from modelarchive.exchange.torch.keeping import kept
from modelarchive.exchange.torch.tensors import array_of

#: By how many of its dtype's smallest steps a number is changed, a run each: sums in another order differ by as much.
_STEPS: Final = (4, 16, 64) * 8
#: After so many runs one of the elements in question has moved, or it is not rounding that makes the difference.
_FEW: Final = 6


def steady(
    network: torch.nn.Module,
    outputs: Callable[[list[torch.Tensor]], list[torch.Tensor] | None],
    given: list[torch.Tensor],
    wanted: torch.Tensor,
    number: int,
    differing: np.ndarray,
    apart: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> np.ndarray | None:
    """Which elements of an output stay where they are when all numbers change in their last bits.

    Args:
        network: The module, whose parameters are changed meanwhile.
        outputs: What gives its outputs for inputs.
        given: The inputs.
        wanted: What it gives for them.
        number: Which output that is.
        differing: Truths of its shape: the elements in question, after which no more runs are needed.
        apart: Which elements of two arrays are not the same.

    Returns:
        Truths of the output's shape; None: the module does not run so.
    """
    expected = array_of(wanted)
    found = np.ones(expected.shape, np.bool_)
    for seed, steps in enumerate(_STEPS):
        if not (differing & found).any() or (seed == _FEW and (differing <= found).all()):
            break
        generator = torch.Generator().manual_seed(seed)
        again = None
        with contextlib.suppress(Exception), kept(network), torch.no_grad():  # whatever a forward raises
            for each in (*network.parameters(), *network.buffers()):
                if each.is_floating_point():
                    each.copy_(_shaken(each, steps, generator))
            again = outputs([_shaken(each, steps, generator) for each in given])
        if again is None or len(again) <= number or again[number].shape != wanted.shape:
            return None
        found &= ~apart(array_of(again[number]), expected)
    return found


def _shaken(tensor: torch.Tensor, steps: int, generator: torch.Generator) -> torch.Tensor:
    if not tensor.is_floating_point():
        return tensor.clone()
    noise = torch.randn(tensor.shape, generator=generator) * (steps * torch.finfo(tensor.dtype).eps)
    return (tensor.detach() * (1 + noise.to(torch.float64))).to(tensor.dtype)
