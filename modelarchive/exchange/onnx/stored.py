"""Stored arrays that operators only give another shape, order or dtype: they are parameters still."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from modelarchive import dtypes
from modelarchive.exchange.onnx.extents import numbers_of, wanted_shape
from modelarchive.exchange.onnx.folds import MOVES, real, squeezed, unsqueezed
from modelarchive.exchange.onnx.lifting_context import Context
from modelarchive.exchange.onnx.values import Constant
from modelarchive.exchange.onnx.words import DTYPES
from modelarchive.exchange.refusal import Refusal


def moved(context: Context) -> Constant | None:
    """What a step makes of a stored array, if it only moves its elements; None: it does something else.

    Raises:
        Refusal: The array has no such shape or axes.
    """
    x = context.operands[0] if context.operands else None
    if not isinstance(x, Constant) or (x.part is not None and not x.stored):
        return None
    if context.node.op == "Identity":
        return x
    found = _moved(context, x)
    return replace(found, part=context.part(0)) if found is not None and found.changed and found.stored else found


def _moved(context: Context, x: Constant) -> Constant | None:
    shape, op = x.array.shape, context.node.op
    if op == "Transpose":
        axes = context.node.integers("perm", None)
        if axes is not None and sorted(axes) != list(range(len(shape))):
            raise Refusal(f"Transpose has the axes {axes} for {len(shape)}")
        return x.transposed(axes if axes is not None else range(len(shape))[::-1])
    if op == "Cast":
        return _cast(context, x)
    if op not in MOVES or not all(isinstance(one, Constant) for one in context.operands[1:]):
        return None
    rest = [context.constant(index) for index in range(1, len(context))]
    try:
        if op == "Reshape":
            return x.reshaped(wanted_shape(context, shape, numbers_of(rest[0])))
        # A view of one element: only its shape matters.
        ghost = np.broadcast_to(np.zeros((), np.bool_), shape)
        return x.reshaped((squeezed if op == "Squeeze" else unsqueezed)(context, [ghost, *rest]).shape)
    except (ValueError, IndexError) as error:
        raise Refusal(f"{op}: {error}") from error


def _cast(context: Context, x: Constant) -> Constant | None:
    to = DTYPES.get(context.node.integer("to"), "")
    if to not in dtypes.DENSE or to.startswith("float8") or x.array.dtype.itemsize < 2:
        return None
    dtype = real(x.array.dtype.newbyteorder("="), dtypes.DENSE[to])
    if dtype == x.array.dtype:
        return x

    def cast(values: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):  # beyond the range of the dtype, as where it is computed while reading
            return values.astype(dtype)

    array = x.array.changed(cast, dtype=dtype)
    return Constant(array, x.stored, x.then(to))
