"""The dtypes that an archive stores, and their codes in NumPy and safetensors."""

from __future__ import annotations

import sys
from typing import Final

import ml_dtypes
import numpy as np

#: Logical name of each dense dtype -> its NumPy dtype, in native byte order.
DENSE: Final[dict[str, np.dtype]] = {
    name: np.dtype(kind)
    for name, kind in {
        "bool": np.bool_,
        "int8": np.int8,
        "int16": np.int16,
        "int32": np.int32,
        "int64": np.int64,
        "uint8": np.uint8,
        "uint16": np.uint16,
        "uint32": np.uint32,
        "uint64": np.uint64,
        "float16": np.float16,
        "float32": np.float32,
        "float64": np.float64,
        "complex64": np.complex64,
        "complex128": np.complex128,
        "bfloat16": ml_dtypes.bfloat16,
        "float8_e4m3fn": ml_dtypes.float8_e4m3fn,
        "float8_e5m2": ml_dtypes.float8_e5m2,
    }.items()
}

#: Logical name -> the dtype as files have it. The native one where that is little-endian: a dtype from
#: newbyteorder("<") prints as '<f4'.
LITTLE: Final[dict[str, np.dtype]] = {
    name: dtype.newbyteorder("<") if sys.byteorder == "big" and dtype.kind in "iufc" else dtype
    for name, dtype in DENSE.items()
}

#: Logical name -> safetensors code. A complex array is a pair of reals in a last axis of two there,
#: because loaders older than safetensors 0.6 refuse a whole file that names a code they do not know.
SAFETENSORS: Final[dict[str, str]] = {
    "bool": "BOOL",
    "int8": "I8",
    "int16": "I16",
    "int32": "I32",
    "int64": "I64",
    "uint8": "U8",
    "uint16": "U16",
    "uint32": "U32",
    "uint64": "U64",
    "float16": "F16",
    "float32": "F32",
    "float64": "F64",
    "complex64": "F32",
    "complex128": "F64",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
}

#: safetensors code -> logical name, for the dtypes that have a code of their own.
FROM_SAFETENSORS: Final[dict[str, str]] = {
    code: name for name, code in SAFETENSORS.items() if not name.startswith("complex")
}

_NAMES: Final[dict[np.dtype, str]] = {dtype: name for name, dtype in DENSE.items()}


def dense_name(dtype: np.dtype) -> str | None:
    """The logical name of a dense dtype in whatever byte order, or None if an archive has none."""
    found = _NAMES.get(dtype)
    # Asking for the native byte order takes longer than the rest.
    return _NAMES.get(dtype.newbyteorder("=")) if found is None and dtype.kind in "iufc" else found


def is_dense(name: str) -> bool:
    """Whether `name` is the logical name of a dense dtype."""
    return name in DENSE


def numpy_dtype(name: str) -> np.dtype:
    """The NumPy dtype (native byte order) of a logical name.

    Raises:
        KeyError: `name` is not in :data:`DENSE`.
    """
    return DENSE[name]


def is_float(dtype: np.dtype) -> bool:
    """Whether `dtype` is a real floating-point dtype, bfloat16 and float8 included."""
    return dtype.kind == "f" or _NAMES.get(dtype, "").startswith(("bfloat", "float"))
