"""The dtypes that Keras computes in where several meet: those of NumPy are others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.keras.lifting_context import FLOATS, Context
from modelarchive.exchange.refusal import Refusal
from modelarchive.nn.parameter import dtype_name

#: What a number of Python's is beside tensors of its own sort or of a wider one.
_Weak = bool | int | float


def settled(context: Context, values: Sequence[Any], *, least: str = "bool") -> list[Ref]:
    """Tensors, arrays and numbers of the config as tensors of one dtype, that in which Keras computes with them.

    Args:
        context: The layer or operation.
        values: What it is called on.
        least: The narrowest dtype that is computed in.
    """
    weak = [each for each in values if isinstance(each, _Weak)]
    refs = [None if isinstance(each, _Weak) else context.tensor_of(each) for each in values]
    dtype = _together([_name(context, ref) for ref in refs if ref is not None], weak, least)
    is_there = any(ref is not None and _name(context, ref) == dtype for ref in refs)

    def turned(value: Any, ref: Ref | None) -> Ref:
        if ref is None:
            return context.constant(value) if is_there else context.constant(_of_sort(value, dtype), dtype)
        return as_dtype(context, ref, dtype)

    return [turned(value, ref) for value, ref in zip(values, refs, strict=True)]


def as_dtype(context: Context, ref: Ref, dtype: str) -> Ref:
    """A tensor in a dtype, cast where it has another."""
    return ref if _name(context, ref) == dtype else context.op("cast", ref, dtype=dtype, role="cast")


def turned(context: Context, ref: Ref) -> Ref:
    """A tensor whose largest elements are the smallest of another: of whole numbers without one that has no negative.

    Raises:
        Refusal: It is of uint64, whose numbers no other dtype holds.
    """
    dtype = context.dtype(ref)
    if dtype.kind not in "biu":
        return context.op("negative", ref)
    if dtype == np.uint64:
        raise Refusal(f"{context.layer.kind} of uint64 is not supported")
    return context.op("subtract", context.constant(-1, "int64"), as_dtype(context, ref, "int64"))


def _name(context: Context, ref: Ref) -> str:
    return dtype_name(context.dtype(ref))


def _of_sort(value: _Weak, dtype: str) -> _Weak:
    return float(value) if dtype in FLOATS else bool(value) if dtype == "bool" else int(value)


def _together(strong: Sequence[str], weak: Sequence[_Weak], least: str) -> str:
    """Floats win over whole numbers, however wide these are; a number of Python's decides nothing but the sort."""
    floats = [each for each in strong if each in FLOATS]
    if floats:
        return _widest(floats)
    if least in FLOATS or any(isinstance(each, float) for each in weak):
        return "float32"
    whole = [each for each in (*strong, least) if each != "bool"]
    if not whole:
        return "int32" if any(type(each) is int for each in weak) else "bool"
    found = np.result_type(*(np.dtype(each) for each in whole))
    return "float32" if found.kind == "f" else found.name


def _widest(floats: Sequence[str]) -> str:
    if {"float16", "bfloat16"} <= set(floats) and "float64" not in floats:
        return "float32"
    return max(floats, key=("float16", "bfloat16", "float32", "float64").index)
