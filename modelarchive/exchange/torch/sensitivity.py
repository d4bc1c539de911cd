"""Elements of a module's outputs that hang on the last bits of its numbers: roundings, choices among near equals."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from modelarchive.exchange.torch.tensors import array_of

#: By up to how many of its dtype's smallest steps a result is changed, a run each.
_STEPS: Final = (1, 4, 16) * 8
#: After so many runs one of the elements in question has moved, or it is not rounding that makes the difference.
_FEW: Final = 6
#: By up to how many afterwards, which move a number further, by so many times at least, where it is no flip that does.
_MANY: Final = 256
_GROWING: Final = 4
#: Operators that round nothing: what they give is one of the numbers they are given, or a whole number.
_EXACT: Final = frozenset((
    "_to_copy", "abs", "amax", "amin", "arange", "cat", "ceil", "clamp", "clamp_max", "clamp_min", "clone",
    "constant_pad_nd", "copy", "embedding", "eye", "fill", "flip", "floor", "floor_divide", "full", "full_like",
    "gather", "index", "index_put", "index_select", "masked_fill", "max", "max_pool2d_with_indices",
    "max_pool3d_with_indices", "maximum", "min", "minimum", "nan_to_num", "neg", "new_full", "new_ones",
    "new_zeros", "ones", "ones_like", "reflection_pad1d", "reflection_pad2d", "relu", "repeat",
    "replication_pad1d", "replication_pad2d", "roll", "round", "scalar_tensor", "scatter", "sgn", "sign", "sort",
    "stack", "topk", "tril", "triu", "trunc", "upsample_nearest1d", "upsample_nearest2d", "where", "zeros",
    "zeros_like",
))  # fmt: skip


class Steadiness(NamedTuple):
    """How the elements of an output move.

    Attributes:
        stays: Whether each is the same.
        by: How far each moves, where it moves the further the more is changed: it is all rounding, as what is left
            of numbers that cancel out. 0: not so, as where a rounding or a choice flips.
    """

    stays: np.ndarray
    by: np.ndarray


def steady(
    outputs: Callable[[list[torch.Tensor]], list[torch.Tensor] | None],
    given: list[torch.Tensor],
    wanted: torch.Tensor,
    number: int,
    differing: np.ndarray,
    apart: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> Steadiness | None:
    """How the elements of an output move when all results on the way, and what they are of, change in their last bits.

    Args:
        outputs: What gives a module's outputs for inputs.
        given: The inputs.
        wanted: What it gives for them.
        number: Which output that is.
        differing: Truths of its shape: the elements in question, after which no more runs are needed.
        apart: Which elements of two arrays are not the same.

    Returns:
        None: the module does not run so.
    """
    expected = array_of(wanted)
    stays = np.ones(expected.shape, np.bool_)

    def moved(steps: int, seed: int) -> np.ndarray | None:
        """How far each element moves; None: the module does not run so."""
        again = None
        with contextlib.suppress(Exception), _Shaken(steps, seed):  # whatever a forward raises
            again = outputs(given)
        if again is None or len(again) <= number or again[number].shape != wanted.shape:
            return None
        other = array_of(again[number])
        np.logical_and(stays, ~apart(other, expected), out=stays)
        return np.abs(other.astype(_wide(other)) - expected.astype(_wide(other)))

    by = np.zeros(expected.shape)
    for seed, steps in enumerate(_STEPS):
        if not (differing & stays).any() or (seed == _FEW and (differing <= stays).all()):
            break
        found = moved(steps, seed)
        if found is None:
            return None
        by = np.fmax(by, found)
    sure = stays.copy()
    if (differing & stays).any():
        return Steadiness(sure, np.zeros(expected.shape))
    most = np.zeros(expected.shape)
    for seed in range(2):
        found = moved(_MANY, len(_STEPS) + seed)
        if found is None:
            return Steadiness(sure, np.zeros(expected.shape))
        most = np.fmax(most, found)
    return Steadiness(sure, np.where(most >= _GROWING * by, most * (max(_STEPS) / _MANY), 0))


def _wide(array: np.ndarray) -> type:
    return np.complex128 if array.dtype.kind == "c" else np.float64


class _Shaken(TorchDispatchMode):
    """Results are rounded otherwise than PyTorch does: equal numbers alike, whole ones of whole ones not at all."""

    supports_higher_order_operators = True

    def __init__(self, steps: int, seed: int) -> None:
        super().__init__()
        self._steps, self._seed = steps, seed

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        schema = getattr(func, "_schema", None)
        if schema is None or any(each.alias_info is not None for each in (*schema.returns, *schema.arguments)):
            return func(*args, **kwargs)
        if schema.name.partition("::")[2] in _EXACT:
            return func(*args, **kwargs)
        is_whole = all(map(_is_whole, tree_leaves((args, kwargs))))
        # Numbers of the state, which nothing has given, and what an operator rounds of larger ones on its way.
        args, kwargs = tree_map(lambda each: self._changed(each, is_whole), (args, kwargs))
        return tree_map(lambda each: self._changed(each, is_whole), func(*args, **kwargs))

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: skipping would import PyTorch's compiler, which takes longer than everything here."""
        return False

    def _changed(self, value: Any, is_whole: bool) -> Any:
        if not torch.is_tensor(value) or not value.is_floating_point():
            return value
        # Told by the number itself, so that two that are equal stay so.
        phase = (value.double() * (12.9898 + self._seed)).frexp().mantissa * (43758.5453 + self._seed)
        noise = (phase - phase.floor()) * 2 - 1
        changed = (value.double() * (1 + noise * (self._steps * torch.finfo(value.dtype).eps))).to(value.dtype)
        return torch.where(value == value.round(), value, changed) if is_whole else changed


def _is_whole(value: Any) -> bool:
    if isinstance(value, float):
        return value.is_integer()
    return not torch.is_tensor(value) or not value.is_floating_point() or bool((value == value.round()).all())
