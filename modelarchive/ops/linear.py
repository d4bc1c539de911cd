"""The affine map of a dense layer."""

from __future__ import annotations

from modelarchive.ops.epilogue import NOTHING, Epilogue
from modelarchive.ops.precision import float_dtype, rounded, widened
from modelarchive.ops.products import multiply
from modelarchive.ops.registry import Array


def linear(x: Array, weight: Array, bias: Array | None, *, epilogue: Epilogue = NOTHING) -> Array:
    """``x @ weight.T + bias`` and what follows, the product as in ``torch.nn.functional.linear``.

    Args:
        x: ``(..., in_units)``.
        weight: ``(units, in_units)``.
        bias: ``(units,)`` or None.
        epilogue: What follows.

    Returns:
        A new array ``(..., units)`` in the float dtype that input and parameters share; computed in
        float32 where that is narrower.
    """
    given = () if bias is None else (bias,)
    dtype = float_dtype(x, weight, *given)
    wide_x, wide_weight = widened(dtype, x, weight)
    # One product of two matrices: a stack of them would be one call of BLAS each.
    result = multiply(wide_x.reshape(-1, weight.shape[1]) if x.ndim > 2 else wide_x, wide_weight.T)
    if bias is not None:
        epilogue = epilogue.after_bias(widened(dtype, bias)[0])
    if epilogue:
        epilogue.into(result, result, result.ndim - 1)
    return rounded(result, dtype).reshape(*x.shape[:-1], len(weight))
