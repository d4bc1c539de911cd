"""ATen operators that resize images, axis by axis.

Of fixed sizes by a matrix that PyTorch itself makes, in all modes. Of others each element of the result is taken from
its neighbours, whose places are computed as PyTorch does, in numbers of 32 bits (``UpSample.h``); where it is smoothed,
by a matrix that is computed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch

from modelarchive import ops
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.torch.lifting_context import Context, counted, same
from modelarchive.exchange.torch.lifting_sizes import number_of
from modelarchive.exchange.torch.lifting_windows import along
from modelarchive.exchange.torch.recorded import cast
from modelarchive.nn.dim import Dim
from modelarchive.ops import cubic

#: How many elements the axes have meanwhile that are not resized.
_OTHER: Final = 3
#: With a smaller factor than this, few elements may become as many, which PyTorch copies.
_COPIED: Final = 1.5
#: The number of the cubic filter that smooths.
_SMOOTH: Final = -0.5
#: How arguments are called that hold one factor, axis by axis from the last.
_SCALES: Final = ("scales_w", "scales_h", "scales_d")


def _resize(context: Context, x: Any, **given: Any) -> Any:
    rank = x.ndim - 2
    for axis, wanted in enumerate(context.shape[2:]):
        size = x.shape[axis + 2]
        if isinstance(size, Dim) or isinstance(wanted, Dim):
            x = _resized(context, x, axis + 2, wanted, given)
            continue
        matrix = _matrix(context, axis, size, wanted, rank)
        if np.array_equal(matrix, np.eye(size)):
            continue
        if ((matrix == 0) | (matrix == 1)).all() and (matrix.sum(0) == 1).all():
            x = ops.take(x, matrix.argmax(0), axis=axis + 2)
        else:
            x = along(x, cast(matrix, x.dtype), axis + 2)
    return x


def _matrix(context: Context, axis: int, size: int, wanted: int, rank: int) -> np.ndarray:
    """What each element of the result has of each element along one axis, ``(size, wanted)``."""
    # The other axes stay as they are; of one element PyTorch 2.13 smooths the wrong ones.
    spatial, sizes = [_OTHER] * rank, [_OTHER] * rank
    spatial[axis], sizes[axis] = size, wanted
    places = [0 if at != axis else slice(None) for at in range(rank)]
    target: Any = context.node.target
    arguments = dict(zip((each.name for each in target._schema.arguments), context.node.args, strict=False))
    arguments |= context.node.kwargs
    first = next(iter(arguments))
    rows = [size if at == axis else 1 for at in range(rank)]
    eye = torch.eye(size, dtype=torch.float64).reshape(size, 1, *rows)
    arguments[first] = eye.expand(size, 1, *spatial).contiguous()
    if arguments.get("output_size") is not None:
        arguments["output_size"] = sizes
    if arguments.get("scale_factors") is not None:
        factors: Any = arguments["scale_factors"]
        arguments["scale_factors"] = [factors[at] if at == axis else 1.0 for at in range(rank)]
    for at, name in enumerate(("scales",) if rank == 1 else _SCALES[:rank]):
        if name in arguments and rank - 1 - at != axis:
            arguments[name] = None
    with torch.no_grad():
        found = target(**arguments)
    return np.asarray(found[(slice(None), 0, *places)].numpy())


def _resized(context: Context, x: Any, axis: int, wanted: Any, given: dict[str, Any]) -> Any:
    """One axis of any size resized to any size."""
    name, single = str(context.name), np.dtype(np.float64 if x.dtype == np.float64 else np.float32)
    size = x.shape[axis]
    counts = [number_of(each) if isinstance(each, Dim) else np.asarray(each) for each in (size, wanted)]
    (inside, outside), last = (cast(each, single) for each in counts), ops.subtract(counts[0], 1)
    places = cast(counted(wanted), single)
    is_aligned, factor = bool(given.get("align_corners")), _factor(given, axis, x.ndim - 2)
    if same(size, wanted) and factor in (None, 1):
        return x
    step: Any = single.type(1 / factor) if factor else ops.divide(inside, outside)
    if factor and 1 < factor < _COPIED and ("linear" in name or name.endswith(("_aa", "nearest2d"))):
        step = ops.where(ops.equal(inside, outside), single.type(1), step)
    if is_aligned:
        step = ops.divide(ops.subtract(inside, 1), ops.maximum(ops.subtract(outside, 1), 1))
    if name.endswith("_aa"):
        if is_aligned or "lanczos" in name:
            raise Refusal(f"{name} with align_corners, or by Lanczos' filter, of an image whose size is not fixed")
        is_cubic = "cubic" in name
        return along(x, cast(_smoothing(size, places, step, is_cubic=is_cubic), x.dtype), axis)
    if "nearest" in name:
        places = ops.add(places, 0.5) if "exact" in name else places
        return ops.take(x, ops.minimum(cast(ops.floor(ops.multiply(places, step)), "int64"), last), axis=axis)
    places = ops.multiply(places if is_aligned else ops.add(places, 0.5), step)
    places = places if is_aligned else ops.subtract(places, 0.5)
    taps, weights = (_cubic if "cubic" in name else _linear)(places)
    others = tuple(each for each in range(x.ndim) if each != axis)
    total: Any = None
    for tap, weight in zip(taps, weights, strict=True):
        part = ops.take(x, ops.maximum(ops.minimum(tap, last), 0), axis=axis)
        part = ops.multiply(part, ops.expand_dims(cast(weight, x.dtype), axis=others))
        total = part if total is None else ops.add(total, part)
    return total


def _smoothing(size: Any, places: Any, step: Any, *, is_cubic: bool) -> Any:
    """What each element of the result has of each one before, ``(size, wanted)``: a filter as wide as a step.

    Args:
        size: The size of the axis.
        places: The numbers of the elements of the result.
        step: How many elements come to one.
        is_cubic: Whether the filter is Keys'; else a triangle.
    """
    width = ops.maximum(step, 1)
    middle = ops.multiply(ops.add(places, 0.5), step)
    reach = ops.multiply(width, 2.0 if is_cubic else 1.0)
    low = ops.maximum(cast(_whole(ops.add(ops.subtract(middle, reach), 0.5)), "int64"), 0)
    high = cast(_whole(ops.add(ops.add(middle, reach), 0.5)), "int64")
    rows = ops.expand_dims(counted(size), axis=1)
    away = ops.abs(ops.divide(ops.add(ops.subtract(cast(rows, middle.dtype), middle), 0.5), width))
    if is_cubic:
        weights = ops.where(ops.less(away, 1), cubic.near(away, _SMOOTH), cubic.far(away, _SMOOTH))
        weights = ops.where(ops.less(away, 2), weights, np.zeros((), middle.dtype))
    else:
        weights = ops.maximum(ops.subtract(1, away), 0)
    is_inside = np.logical_and(np.greater_equal(rows, low), ops.less(rows, high))
    weights = ops.where(is_inside, weights, np.zeros((), middle.dtype))
    return ops.divide(weights, ops.sum(weights, axis=0, keepdims=True))


def _whole(x: Any) -> Any:
    """Rounded towards 0."""
    return ops.where(ops.less(x, 0), ops.negative(ops.floor(ops.negative(x))), ops.floor(x))


def _factor(given: dict[str, Any], axis: int, rank: int) -> float | None:
    """How much larger an axis is made; None: by its size alone."""
    if given.get("scale_factors") is not None:
        return float(given["scale_factors"][axis - 2])
    found = given.get("scales" if rank == 1 else _SCALES[rank + 1 - axis])
    return None if found is None else float(found)


def _linear(places: Any) -> tuple[list[Any], list[Any]]:
    """The two neighbours of places, and their shares."""
    places = ops.maximum(places, 0)
    below = ops.floor(places)
    share = ops.subtract(places, below)
    below = cast(below, "int64")
    return [below, ops.add(below, 1)], [ops.subtract(1, share), share]


def _cubic(places: Any) -> tuple[list[Any], list[Any]]:
    """The four neighbours of places, and their shares."""
    below = ops.floor(places)
    share = ops.subtract(places, below)
    below = cast(below, "int64")
    rest = ops.subtract(1, share)
    weights = [cubic.far(share + 1), cubic.near(share), cubic.near(rest), cubic.far(rest + 1)]
    return [ops.add(below, step) for step in (-1, 0, 1, 2)], weights


#: Operator -> what it means.
ROWS: Final[dict[str, Callable[..., Any]]] = dict.fromkeys(
    (
        *(f"{name}{rank}d" for name in ("upsample_nearest", "_upsample_nearest_exact") for rank in (1, 2, 3)),
        *("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d", "upsample_bicubic2d"),
        *("_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa", "_upsample_lanczos2d_aa"),
    ),
    _resize,
)
