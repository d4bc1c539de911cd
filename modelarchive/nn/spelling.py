"""What NumPy's functions mean in ops, where the two are not one and the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np

from modelarchive import ops
from modelarchive.nn.dim import Dim
from modelarchive.nn.refusal import refuse
from modelarchive.ops.contraction import normal_pattern
from modelarchive.ops.registry import BY_NUMPY

_BOOL: Final = np.dtype(np.bool_)


def _moveaxis(a: Any, source: Any, destination: Any) -> Any:
    sources = [axis % a.ndim for axis in (source if isinstance(source, list | tuple) else [source])]
    places = [axis % a.ndim for axis in (destination if isinstance(destination, list | tuple) else [destination])]
    order = [axis for axis in range(a.ndim) if axis not in sources]
    for place, axis in sorted(zip(places, sources, strict=True)):
        order.insert(place, axis)
    return a.transpose(order)


def _split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    if not isinstance(indices_or_sections, Sequence | np.ndarray):
        return list(ops.split(ary, sizes=indices_or_sections, axis=axis))
    cuts = [0, *(int(place) for place in indices_or_sections)]
    sizes = [after - before for before, after in pairwise(cuts)]
    if min(sizes, default=0) < 0:
        raise TypeError("expected places of cuts in ascending order, from 0 on")
    return list(ops.split(ary, sizes=[*sizes, -1], axis=axis))


def _take(a: Any, indices: Any, axis: int | None = None) -> Any:
    source = _flat(a) if axis is None else a
    return ops.take(source, indices if hasattr(indices, "dtype") else np.asarray(indices), axis=axis or 0)


def _flat(a: Any) -> Any:
    return ops.reshape(a, shape=[-1])


def _along(a: Any, indices: Any, axis: int | None = -1) -> Any:
    return ops.gather(a if axis is not None else _flat(a), indices, axis=axis or 0)


def _pad(array: Any, pad_width: Any, mode: str = "constant", *, constant_values: Any = 0) -> Any:
    pairs = np.broadcast_to(np.asarray(pad_width), (array.ndim, 2)).tolist()
    value = constant_values.item() if isinstance(constant_values, np.generic) else constant_values
    if not isinstance(value, bool | int | float):
        raise TypeError("expected one number as constant_values")
    return ops.pad(array, padding=pairs, mode=mode, value=int(value) if isinstance(value, bool) else value)


def _clip(a: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Any:
    low, high = (min if a_min is None else a_min), (max if a_max is None else a_max)
    if low is None and high is None:
        return a
    if all(bound is None or type(bound) in (int, float) for bound in (low, high)):
        return ops.clip(a, low=low, high=high)
    # Bounds that are arrays, as NumPy itself does it: the upper bound wins.
    a = a if low is None else ops.maximum(a, low)
    return a if high is None else ops.minimum(a, high)


def _var(a: Any, axis: Any = None, *, ddof: int = 0, keepdims: bool = False) -> Any:
    return ops.var(a, axis=axis, keepdims=keepdims, ddof=ddof)


def _std(a: Any, axis: Any = None, *, ddof: int = 0, keepdims: bool = False) -> Any:
    return ops.sqrt(_var(a, axis, ddof=ddof, keepdims=keepdims))


def _cumsum(a: Any, axis: int | None = None) -> Any:
    return ops.cumsum(_flat(a) if axis is None else a, axis=axis or 0)


def _einsum(pattern: Any, *operands: Any, optimize: Any = False) -> Any:
    try:
        normal = normal_pattern(pattern, [np.ndim(each) for each in operands])
    except ValueError as error:
        raise TypeError(str(error)) from error
    return ops.einsum(list(operands), pattern=normal)


def _broadcast_to(array: Any, shape: Any) -> Any:
    wanted = list(shape) if isinstance(shape, tuple | list) else [shape]
    if not any(isinstance(size, Dim) for size in wanted):
        return ops.broadcast_to(array, array, shape=wanted)
    like = array.scope.with_shape(wanted)
    if like is None:
        refuse(
            "shape",
            f"no array has the free sizes of {tuple(wanted)} at the same axes",
            "write ops.broadcast_to(x, like, shape), with None where the size is that of the array `like`",
        )
    return ops.broadcast_to(array, like, shape=[None if isinstance(size, Dim) else size for size in wanted])


def _full_like(a: Any, fill_value: Any, dtype: Any = None) -> Any:
    value = np.asarray(fill_value, a.dtype if dtype is None else dtype)
    return ops.broadcast_to(value, a, shape=[None] * a.ndim)


def _repeat(a: Any, repeats: Any, axis: int | None = None) -> Any:
    if type(repeats) is not int:
        raise TypeError("expected one int as repeats")
    a, place = (_flat(a), 0) if axis is None else (a, axis % a.ndim)
    wide = ops.expand_dims(a, axis=place + 1)
    shape = [repeats if at == place + 1 else None for at in range(wide.ndim)]
    sizes = a.shape
    return ops.broadcast_to(wide, wide, shape=shape).reshape(
        *sizes[:place], sizes[place] * repeats, *sizes[place + 1 :]
    )


def _tile(A: Any, reps: Any) -> Any:  # noqa: N803
    several = [*reps] if isinstance(reps, tuple | list) else [reps]
    several = [1] * (A.ndim - len(several)) + several
    if len(several) > A.ndim or not all(type(times) is int and times > 0 for times in several):
        raise TypeError("expected at most one positive int for each axis as reps")
    for axis, times in enumerate(several):
        A = ops.concatenate([A] * times, axis=axis) if times > 1 else A  # noqa: N806
    return A


def _flip(m: Any, axis: Any = None) -> Any:
    axes = range(m.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    turned = {each % m.ndim for each in axes}
    return ops.slice(m, index=[[None, None, -1 if at in turned else None] for at in range(m.ndim)])


def _dot(a: Any, b: Any) -> Any:
    if not 1 <= np.ndim(a) <= 2 or not 1 <= np.ndim(b) <= 2:
        raise TypeError("expected arrays of 1 or 2 dimensions; write a @ b")
    return ops.matmul(a, b)


def _stacked(tup: Any) -> Any:
    return ops.concatenate(list(tup), axis=0 if tup[0].ndim == 1 else 1)


def _rows(tup: Any) -> Any:
    return ops.concatenate([each.reshape(1, -1) if each.ndim == 1 else each for each in tup], axis=0)


def _logical(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def combined(x1: Any, x2: Any) -> Any:
        for each in (x1, x2):
            if np.result_type(getattr(each, "dtype", each)) != _BOOL:
                raise TypeError("expected arrays of dtype bool")
        return function(x1, x2)

    return combined


def _not(x: Any) -> Any:
    if x.dtype != _BOOL:
        raise TypeError("expected an array of dtype bool")
    return ops.equal(x, np.False_)


#: NumPy functions that are no op of their own: what they mean in ops, bit for bit.
MEANINGS: Final[dict[Any, Callable[..., Any]]] = {
    np.square: lambda x: ops.multiply(x, x),
    np.positive: lambda x: x,
    np.copy: lambda x: x,
    np.ravel: lambda x: x.flatten(),
    np.swapaxes: lambda a, axis1, axis2: a.swapaxes(axis1, axis2),
    np.moveaxis: _moveaxis,
    np.amax: lambda a, axis=None, *, keepdims=False: a.max(axis, keepdims=keepdims),
    np.amin: lambda a, axis=None, *, keepdims=False: a.min(axis, keepdims=keepdims),
    np.shape: lambda a: a.shape,
    np.ndim: lambda a: a.ndim,
    np.size: lambda a: a.size,
    np.tanh: lambda x: ops.tanh(x),
    np.reciprocal: lambda x: ops.divide(1, x),
    np.split: _split,
    np.take: _take,
    np.take_along_axis: _along,
    np.pad: _pad,
    np.clip: _clip,
    np.var: _var,
    np.std: _std,
    np.cumsum: _cumsum,
    np.einsum: _einsum,
    np.broadcast_to: _broadcast_to,
    np.full_like: _full_like,
    np.zeros_like: lambda a, dtype=None: _full_like(a, 0, dtype),
    np.ones_like: lambda a, dtype=None: _full_like(a, 1, dtype),
    np.repeat: _repeat,
    np.tile: _tile,
    np.flip: _flip,
    np.dot: _dot,
    np.hstack: _stacked,
    np.vstack: _rows,
    np.not_equal: lambda x1, x2: _not(ops.equal(x1, x2)),
    np.greater_equal: lambda x1, x2: ops.maximum(ops.greater(x1, x2), ops.equal(x1, x2)),
    np.less_equal: lambda x1, x2: ops.maximum(ops.less(x1, x2), ops.equal(x1, x2)),
    np.logical_and: _logical(ops.minimum),
    np.logical_or: _logical(ops.maximum),
    np.logical_xor: _logical(lambda x, y: _not(ops.equal(x, y))),
    np.logical_not: _not,
    np.invert: _not,
}


def meaning(function: Any) -> Callable[..., Any] | None:
    """What a NumPy function means in ops; None: nothing."""
    entry = BY_NUMPY.get(function)
    if function in MEANINGS or entry is None:
        return MEANINGS.get(function)
    return getattr(ops, entry.name)  # type: ignore[no-any-return]
