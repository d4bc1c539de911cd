"""PyTorch's rules of dtypes on symbols: where they differ from NumPy's, values are cast first."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from modelarchive import ops
from modelarchive.exchange.torch.proxy import CannotError
from modelarchive.exchange.torch.tensors import NAMES, torch_dtype
from modelarchive.nn.dim import Dim
from modelarchive.nn.symbol import Symbol


def _meta(value: Any) -> Any:
    """An empty tensor of the same dtype and number of axes; numbers stay."""
    if isinstance(value, Symbol | np.ndarray | np.generic):
        return torch.empty([1] * value.ndim, dtype=torch_dtype(value.dtype), device="meta")
    return 1 if isinstance(value, Dim) else value


def cast(x: Any, dtype: torch.dtype) -> Any:
    """`x` in a dtype of PyTorch's."""
    name = NAMES.get(dtype)
    if name is None:
        raise CannotError(f"{dtype} is no dtype of an archive")
    return x if torch_dtype(x.dtype) == dtype else ops.cast(x, dtype=name)


def promoted(*values: Any, real: bool = False) -> list[Any]:
    """Values in the dtype to which PyTorch promotes them, with `real` a float one; Python numbers stay."""
    dtype = functools.reduce(torch.promote_types, [torch.result_type(*pair) for pair in _pairs(values)])
    if real and not (dtype.is_floating_point or dtype.is_complex):
        dtype = torch.get_default_dtype()
    return [cast(each, dtype) if isinstance(each, Symbol | np.ndarray | np.generic) else each for each in values]


def _pairs(values: Sequence[Any]) -> list[tuple[Any, Any]]:
    metas = [_meta(each) for each in values]
    return [(one, other) for one in metas for other in metas] if len(metas) == 2 else [(one, one) for one in metas]


def floating(x: Any) -> Any:
    """`x` in the default dtype where it is of integers, as PyTorch's functions of real numbers do."""
    return promoted(x, real=True)[0]
