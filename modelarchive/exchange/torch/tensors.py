"""Arrays as tensors and tensors as arrays, on the same memory."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch

from modelarchive import dtypes, tensors
from modelarchive.errors import UnsupportedDataError

#: Logical name of a dtype -> PyTorch's.
TORCH: Final[dict[str, torch.dtype]] = {name: getattr(torch, name) for name in dtypes.DENSE}
NAMES: Final[dict[torch.dtype, str]] = {dtype: name for name, dtype in TORCH.items()}


def torch_dtype(dtype: Any) -> torch.dtype:
    """PyTorch's dtype of a NumPy dtype or a logical name; PyTorch's own stays.

    Raises:
        ValueError: There is none.
    """
    if isinstance(dtype, torch.dtype):
        return dtype
    name = dtype if isinstance(dtype, str) else dtypes.dense_name(np.dtype(dtype))
    if name not in TORCH:
        raise ValueError(f"dtype: expected one of {', '.join(TORCH)}, found {dtype!r}")
    return TORCH[name]


def numpy_dtype(dtype: torch.dtype) -> np.dtype[Any]:
    """NumPy's dtype of one of PyTorch's.

    Raises:
        UnsupportedDataError: It is quantised, or otherwise none of an archive.
    """
    if dtype not in NAMES:
        raise UnsupportedDataError([("dtype", f"{dtype} has no place in an archive")])
    return dtypes.numpy_dtype(NAMES[dtype])


def tensor_of(array: Any) -> torch.Tensor:
    """A tensor on the memory of `array`; on a copy only where that is read-only or has a foreign byte order."""
    return tensors.torch_tensor(array, torch)


def array_of(tensor: torch.Tensor) -> np.ndarray:
    """An array on the memory of a tensor; a copy where that is on a device, or not in C order.

    Raises:
        UnsupportedDataError: The tensor has no dense values in memory: it is sparse, quantised, on "meta", ...
    """
    return tensors.asarray(tensor)


def tensors_of(data: Any, device: Any = None) -> Any:
    """The same lists, tuples and dicts with tensors in place of arrays, on the arrays' memory or on a device.

    Args:
        data: What :func:`modelarchive.load` returns. Arrays of strings stay what they are: PyTorch has none.
        device: Where the tensors go; None: they stay on the arrays' memory.
    """
    made: dict[int, torch.Tensor] = {}

    def of(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: of(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return type(value)([of(each) for each in value])
        if not isinstance(value, np.ndarray) or value.dtype.kind in "SUTO":
            return value
        if id(value) not in made:
            tensor = tensor_of(value)
            made[id(value)] = tensor if device is None else tensor.to(device)
        return made[id(value)]

    return of(data)
