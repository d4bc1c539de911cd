"""How ONNX's Resize is lifted: as the layer where its places are the same, else as taps along each axis."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.onnx.extents import MAX_RANK
from modelarchive.exchange.onnx.lifting_context import Context
from modelarchive.exchange.onnx.lifting_windows import LAYOUTS
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lifting
from modelarchive.nn.dim import Dim
from modelarchive.ops import cubic

#: Elements that one result is made of along an axis.
_MAX_TAPS: Final = 4096


@dataclass(frozen=True)
class _Way:
    """The attributes of a Resize.

    Attributes:
        mode: "nearest", "linear" or "cubic".
        place: Which place of the input a place of the result is.
        rounding: To which element a place between two belongs; "": to the one before, and where there are fewer after
            than before to the one behind, as before opset 11.
        cubic: The free parameter of cubic interpolation.
        outside: What is outside the part that is cropped.
        exclude: Whether elements beyond the border count nothing.
        antialias: Whether a smaller result is made of all elements in between.
    """

    mode: str
    place: str
    rounding: str
    cubic: float
    outside: float
    exclude: bool
    antialias: bool


@dataclass(frozen=True)
class _Axis:
    """One axis: its size before and after (None: free), the factor, and the part that is taken."""

    before: int | None
    after: int | None
    scale: float
    part: tuple[float, float] = (0.0, 1.0)


def _resize(context: Context) -> Ref:
    node, rank = context.node, context.rank(0)
    way = _Way(
        node.text("mode", "nearest"),
        node.text("coordinate_transformation_mode", "half_pixel"),
        node.text("nearest_mode", "round_prefer_floor"),
        node.number("cubic_coeff_a", -0.75),
        node.number("extrapolation_value", 0.0),
        node.flag("exclude_outside", default=False),
        node.flag("antialias", default=False),
    )
    axes = [context.axis(axis) for axis in node.integers("axes", list(range(rank)))]
    if way.exclude and not (way.mode == "cubic" or (way.mode == "linear" and way.antialias)):
        raise Refusal(f"exclude_outside in the mode {way.mode!r} is not supported: runtimes refuse it")
    found = _axes(context, axes, rank, node.text("keep_aspect_ratio_policy", "stretch"))
    if way.place == "tf_crop_and_resize":
        region = [float(each) for each in context.constant(1).reshape(-1)]
        half = len(region) // 2
        for place, axis in enumerate(axes):
            old = found[axis]
            part = (region[place], region[place + half])
            if way.antialias or (old.scale == 1 and part != (0.0, 1.0)):
                raise Refusal(f"tf_crop_and_resize to {part} with a factor of {old.scale}, or with antialias, is not "
                              f"supported: runtimes take it in two ways")  # fmt: skip
            found[axis] = _Axis(old.before, old.after, old.scale, part)
    else:
        context.has(1)  # of no meaning then
    if way.mode != "nearest" and context.dtype(0)[0] in "iub":
        raise Refusal(f"Resize of {context.dtype(0)} in the mode {way.mode!r} is not supported")
    layer = _layer(found, way)
    if layer is not None:
        return context.block(layer, context.ref(0))
    return _tapped(context, found, way)


def _axes(context: Context, axes: list[int], rank: int, policy: str) -> list[_Axis]:
    """What becomes of each axis."""
    before, both = context.shape(0), context.known(0).shapes
    found = [_Axis(size, size, 1.0) for size in before]
    if not context.has(3):
        for axis, scale in zip(axes, _factors(context), strict=True):
            old = before[axis]
            found[axis] = _Axis(old, None if old is None else int(np.floor(old * np.float32(scale))), scale)
        return found
    if context.has(2) and 0 not in context.shape(2):  # an empty one stands for none
        raise Refusal("both scales and sizes are given")
    sizes = context.sizes(3)
    if policy not in ("stretch", "not_larger", "not_smaller"):
        raise Refusal(f"keep_aspect_ratio_policy = {policy!r} is not supported")
    if policy != "stretch":
        if any(before[axis] is None for axis in axes) or any(isinstance(each, Dim) for each in sizes):
            raise Refusal("resizing to a size that is not fixed is not supported: pass inputs=")
        ratios = [size / (before[axis] or 1) for axis, size in zip(axes, sizes, strict=True)]
        scale = min(ratios) if policy == "not_larger" else max(ratios)
        for axis in axes:
            old = before[axis] or 0
            found[axis] = _Axis(old, math.floor(scale * old + 0.5), scale)
        return found
    for axis, size in zip(axes, sizes, strict=True):
        if not isinstance(size, Dim):
            found[axis] = _Axis(before[axis], size, size / before[axis] if before[axis] else 0.0)
        elif size.pair != (both[0][axis], both[1][axis]):
            whole = _whole_factor(size.pair, (both[0][axis], both[1][axis]))
            found[axis] = _Axis(None, None, whole)
    return found


def _whole_factor(after: tuple[int, int], before: tuple[int, int]) -> float:
    """How often a free size is in another one; the same for both that are tried."""
    factors = {new / old for new, old in zip(after, before, strict=True) if old}
    if len(factors) != 1 or min(factors) < 1 or min(factors) != int(min(factors)):
        raise Refusal("resizing to a size that is not fixed is not supported: pass inputs=")
    return factors.pop()


def _factors(context: Context) -> list[float]:
    factors = context.stored(2).array
    if factors.dtype.kind != "f" or factors.ndim != 1 or factors.shape[0] > MAX_RANK:
        raise Refusal(f"scales of {factors.dtype} {factors.shape} are not supported, only a list of floats")
    return [float(each) for each in context.constant(2)]


def _layer(axes: list[_Axis], way: _Way) -> dict[str, Any] | None:
    """The fields of an Upsample that takes the same elements; None: there is none."""
    space = axes[2:]
    whole = all(axis.scale == int(axis.scale) and axis.scale >= 1 for axis in axes)
    still = all(axis.after == axis.before and axis.scale == 1 for axis in axes[:2]) and len(space) in LAYOUTS
    exact = all(
        axis.before is None or axis.after is None or abs(axis.after - axis.before * axis.scale) < 1e-6 for axis in axes
    )
    if not still or (way.antialias and not whole) or not (whole or exact) or way.exclude:
        return None
    if any(None in (axis.before, axis.after) for axis in space) and not whole:
        return None
    corners = way.place == "align_corners"
    if way.mode == "nearest":
        # Half a pixel off, whole factors take the same neighbours, whichever way a half is rounded.
        half = way.place in ("half_pixel", "half_pixel_symmetric") and way.rounding.startswith("round")
        half = half or (way.place == "tf_half_pixel_for_nn" and way.rounding == "floor")
        before = way.rounding == "floor" or (way.rounding == "" and all(axis.scale >= 1 for axis in axes))
        fits = (way.place == "asymmetric" and before) or (whole and half)
        corners = False
    else:
        half = way.place in ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric")
        single = way.place == "pytorch_half_pixel" and any(axis.after == 1 for axis in space)
        fits = way.mode == "linear" and (corners or half) and not single
    if not fits:
        return None
    return {
        "kind": "Upsample",
        "scale": [int(axis.scale) for axis in space] if whole else None,
        "mode": "nearest" if way.mode == "nearest" else "linear",
        "align_corners": corners,
        "size": None if whole else [axis.after for axis in space],
        "layout": LAYOUTS[len(space)],
    }


def _tapped(context: Context, axes: list[_Axis], way: _Way) -> Ref:
    """Along one axis after the other: the elements that a result is made of, times what each of them counts."""
    x, dtype, rank = context.ref(0), context.dtype(0), len(axes)
    beyond: list[tuple[int, np.ndarray]] = []
    for axis, one in enumerate(axes):
        if one.before == one.after and one.scale == 1 and one.part == (0.0, 1.0):
            continue
        if one.before is None or one.after is None:
            raise Refusal(f"Resize in the mode {way.mode!r} of sizes that are not fixed is not supported: pass inputs=")
        if one.before < 1 or one.after < 1:
            raise Refusal(f"Resize from {one.before} to {one.after} elements is not supported")
        context.make(8 * one.after)
        places = _places(one, way)
        if way.place == "tf_crop_and_resize" and bool(((places < 0) | (places > one.before - 1)).any()):
            beyond.append((axis, (places < 0) | (places > one.before - 1)))
        taps, shares = _taps(context, places, one, way)
        total: Ref | None = None
        for tap, share in zip(taps.T, shares.T, strict=True):
            part = context.op("take", x, context.fixed(tap), axis=axis)
            if way.mode != "nearest":
                share = share.reshape([-1] + [1] * (rank - axis - 1)).astype(np.float32)
                part = context.op("multiply", part, context.as_dtype(context.fixed(share), dtype))
            total = part if total is None else context.op("add", total, part)
        x = x if total is None else total
    for axis, mask in beyond:
        outside = context.fixed(mask.reshape([-1] + [1] * (rank - axis - 1)))
        x = context.op("where", outside, context.literal(way.outside, dtype), x)
    return x


def _places(axis: _Axis, way: _Way) -> np.ndarray:
    """The place in the input for each place of the result, in float32 as runtimes have it."""
    after, before, scale = axis.after or 0, axis.before or 0, np.float32(axis.scale)
    x = np.arange(after, dtype=np.float32)
    half = np.float32(0.5)
    if way.place == "half_pixel" or (way.place == "pytorch_half_pixel" and after > 1):
        return (x + half) / scale - half
    if way.place == "pytorch_half_pixel":
        return x * 0
    if way.place == "asymmetric":
        return x / scale
    if way.place == "tf_half_pixel_for_nn":
        return (x + half) / scale
    if way.place == "half_pixel_symmetric":
        adjusted = np.float32(after) / (scale * np.float32(before))
        return np.float32(before / 2) * (1 - adjusted) + (x + half) / scale - half
    if way.place == "align_corners":
        if abs(after - before * axis.scale) > 1e-6:
            raise Refusal(f"align_corners with a factor of {axis.scale} from {before}: runtimes take it in two ways")
        return x * np.float32((before - 1) / (after - 1)) if after > 1 else x * 0
    if way.place == "tf_crop_and_resize":
        start, end = axis.part
        # In the order of ONNX Runtime: which places are beyond the part is a matter of the last digit.
        first, last, reach = np.float32(start), np.float32(end), np.float32(before - 1)
        if after > 1:
            return first * reach + (x * (last - first) * reach) / np.float32(after - 1)
        return np.full(1, half * (first + last) * reach, np.float32)
    raise Refusal(f"coordinate_transformation_mode = {way.place!r} is not supported")


_ROUNDINGS: Final[dict[str, Callable[[np.ndarray], np.ndarray]]] = {
    "round_prefer_floor": lambda x: np.ceil(x - np.float32(0.5)),
    "round_prefer_ceil": lambda x: np.floor(x + np.float32(0.5)),
    "floor": np.floor,
    "ceil": np.ceil,
}


def _taps(context: Context, places: np.ndarray, axis: _Axis, way: _Way) -> tuple[np.ndarray, np.ndarray]:
    """Which elements make each result, and how much of each: two arrays (results, taps)."""
    last = (axis.before or 1) - 1
    if way.mode == "nearest":
        rounding = way.rounding or ("ceil" if axis.scale < 1 else "floor")
        if rounding not in _ROUNDINGS:
            raise Refusal(f"nearest_mode = {rounding!r} is not supported")
        found = np.clip(_ROUNDINGS[rounding](places), 0, last).astype(np.int64)[:, None]
        return found, np.ones(found.shape)
    reach = {"linear": 1, "cubic": 2}.get(way.mode)
    if reach is None:
        raise Refusal(f"mode = {way.mode!r} is not supported")
    scale = min(axis.scale, 1.0) if way.antialias else 1.0
    if not scale > 0:
        raise Refusal(f"a factor of {axis.scale} is not supported")
    first = math.floor(-reach / scale) + 1
    if 2 - 2 * first > _MAX_TAPS:
        raise Refusal(f"a factor of {axis.scale} is not supported: too many elements make one")
    context.make(2 * len(places) * (2 - 2 * first))
    low = np.floor(places)
    steps = np.arange(first, 2 - first)
    away = np.abs(steps[None] - (places - low)[:, None].astype(np.float64)) * scale
    shares = np.maximum(1 - away, 0) if way.mode == "linear" else _cubic(away, way.cubic)
    taps = low[:, None].astype(np.int64) + steps[None]
    if way.exclude:
        shares = np.where((taps < 0) | (taps > last), 0, shares)
    if way.exclude or way.antialias:
        shares = shares / shares.sum(1, keepdims=True)
    return np.clip(taps, 0, last), shares


def _cubic(x: np.ndarray, a: float) -> np.ndarray:
    """Keys' kernel of cubic convolution, at a distance."""
    return np.where(x <= 1, cubic.near(x, a), np.where(x < 2, cubic.far(x, a), 0))


ROWS: Final[list[Lifting]] = [
    Lifting("Upsample", "Upsample, take, multiply, add", _resize, "as Resize"),
    Lifting(
        "Resize",
        "Upsample, take, multiply, add, where",
        _resize,
        "fixed sizes, but for whole factors and the nearest element or linear; no linear or cubic of integers",
    ),
]
