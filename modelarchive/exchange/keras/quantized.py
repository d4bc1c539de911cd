"""The variables of Keras' quantised layers as the floats that they stand for: int8, int4 and float8."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import ml_dtypes
import numpy as np

from modelarchive.exchange.refusal import Refusal
from modelarchive.store.deferred import Deferred
from modelarchive.store.strict import short

_MODE: Final = re.compile(r"(int8|float8|int4)(?:/(-?\d{1,9}))?(?:_from_\w+)?")
#: Policies that say so.
POLICIES: Final = ("QuantizedDTypePolicy", "Int4DTypePolicy", "QuantizedFloat8DTypePolicy")
#: The largest number of float8.
FLOAT8_MAX: Final = 448.0


@dataclass(frozen=True)
class Quantized:
    """How a layer keeps its kernel.

    Attributes:
        mode: int8, int4 or float8.
        in_blocks: Whether parts of a channel have scales of their own, and a zero: these multiply; others divide.
        source: The dtype that the layer computes in.
    """

    mode: str
    in_blocks: bool
    source: str

    def variables(self, kind: str) -> list[str]:
        """Its variables behind the kernel and the bias of other layers, in Keras' order."""
        stem = "embeddings" if kind == "Embedding" else "kernel"
        if self.mode == "float8":
            return ["inputs_scale", "inputs_amax_history", "kernel_scale"]
        return [f"{stem}_scale", *([f"{stem}_zero", "g_idx"] if self.in_blocks else [])]

    def bias(self, stored: Deferred) -> Deferred:
        """A bias, which beside a product of float8 is rounded to bfloat16."""
        if self.mode != "float8":
            return stored
        return stored.changed(lambda array: array.astype(ml_dtypes.bfloat16).astype(array.dtype))

    def floats(self, stored: Deferred, more: Sequence[Deferred], shape: Sequence[int], scale: Spread) -> Deferred:
        """The kernel in floats.

        Args:
            stored: As the file has it.
            more: Its further variables.
            shape: The kernel's shape.
            scale: How a scale of int8 spreads over it.

        Raises:
            Refusal: Shapes or dtypes do not fit.
        """
        dtype = np.dtype(self.source)
        wanted = np.float32 if self.mode == "float8" else np.int8
        if stored.dtype != wanted or (self.mode != "int4" and list(stored.shape) != list(shape)):
            raise Refusal(f"its quantised kernel is {stored.dtype.name} {stored.shape}, expected {tuple(shape)}")

        if self.mode == "int4":
            _expect_packed(stored.shape, shape)
        # What is small is read now: it tells whether all fits.
        few = [each.read() for each in more]
        spread = None
        if self.mode == "int8":
            spread = scale.over(few[0], shape)
        elif self.mode == "int4" and not self.in_blocks:
            spread = _of_channels(few[0], stored.shape, shape, scale.axis)
        if self.in_blocks:
            _expect_blocks(few, shape, scale.axis)

        def read() -> np.ndarray:
            array = stored.read()
            if self.mode == "float8":
                found = _rounded(array, few[2])
            else:
                array = _unpacked(array, shape) if self.mode == "int4" else array
                if spread is None:
                    found = _scaled_in_blocks(array, few, scale.axis).reshape(shape)
                else:
                    found = (array.astype(np.float32) / spread).reshape(shape)
            return found.astype(dtype)

        return Deferred(tuple(shape), dtype, read)


@dataclass(frozen=True)
class Spread:
    """How the scales of a kernel stand beside it.

    Attributes:
        axis: The axis along which blocks are counted.
        places: For each axis of the kernel the axis of the scale, counted from its end; None: one for all.
    """

    axis: int
    places: Sequence[int | None]

    def over(self, scale: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """A scale in the axes of the kernel."""
        taken = [place for place in self.places if place is not None]
        if scale.size != np.prod([scale.shape[place] for place in taken], initial=1):
            raise Refusal(f"the scale of its kernel has the shape {scale.shape}, which does not fit {tuple(shape)}")
        order = sorted(taken)
        reduced = scale.reshape([scale.shape[place] for place in order])
        turned = reduced.transpose([order.index(place) for place in taken])
        sizes = iter(turned.shape)
        spread = turned.reshape([1 if place is None else next(sizes) for place in self.places])
        if any(own not in (1, size) for own, size in zip(spread.shape, shape, strict=True)):
            raise Refusal(f"the scale of its kernel has the shape {scale.shape}, which does not fit {tuple(shape)}")
        return np.asarray(spread, np.float32)


#: That of a Dense: one for each unit.
SPREAD: Final = Spread(0, (None, -1))


def quantized(policy: Mapping[str, Any], layer: str) -> Quantized:
    """What a policy says.

    Raises:
        Refusal: It is of a sort that is not supported.
    """
    config = policy.get("config")
    found = config if isinstance(config, dict) else {}
    text, source = str(found.get("mode") or found.get("name")), found.get("source_name") or "float32"
    mode = _MODE.fullmatch(text)
    if mode is None or source not in ("float32", "float16", "bfloat16", "float64"):
        raise Refusal(f"its dtype policy is quantised as {short(text)} of {short(source)}, which is not supported")
    if source != "float32":
        raise Refusal(f"is quantised and computes in {source}, which is not supported, only float32 is")
    return Quantized(mode[1], mode[1] == "int4" and mode[2] not in (None, "-1"), source)


def _expect_packed(packed: Sequence[int], shape: Sequence[int]) -> int:
    """How many numbers there are in a row of what is packed.

    Raises:
        Refusal: They are not those of the kernel.
    """
    rows, whole = math.prod(packed[:-1]), math.prod(shape)
    columns = whole // max(rows, 1)
    if not packed or rows * columns != whole or (columns + 1) // 2 != packed[-1]:
        raise Refusal(f"its packed kernel has the shape {tuple(packed)}, which does not fit {tuple(shape)}")
    return columns


def _of_channels(scale: np.ndarray, packed: Sequence[int], shape: Sequence[int], axis: int) -> np.ndarray:
    """A scale for each column of what is packed, or for each row of an Embedding."""
    wanted = (packed[0],) if axis else (_expect_packed(packed, shape),)
    if scale.shape != wanted:
        raise Refusal(f"the scale of its kernel has the shape {scale.shape}, expected {wanted}")
    return scale[:, None] if axis else scale


def _unpacked(packed: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Two numbers of 4 bits a byte, the first in the lower half; rows of the last axis of what is packed."""
    columns = _expect_packed(packed.shape, shape)
    halves = np.stack([packed & 15, (packed >> 4) & 15], axis=-1).reshape(*packed.shape[:-1], -1)
    return ((halves[..., :columns] ^ 8) - 8).astype(np.int8)


def _expect_blocks(more: Sequence[np.ndarray], shape: Sequence[int], axis: int) -> None:
    scale, zero, groups = more
    fits = scale.ndim == 2 and zero.shape == scale.shape and groups.ndim == 1 and len(groups) > 0
    # Along one axis there are blocks, along the other as many scales as numbers.
    fits = fits and len(groups) * scale.shape[0 if axis else 1] == math.prod(shape)
    if not fits or not 0 <= groups.min() <= groups.max() < scale.shape[axis]:
        raise Refusal("the blocks of its kernel do not fit its scales")


def _scaled_in_blocks(array: np.ndarray, more: Sequence[np.ndarray], axis: int) -> np.ndarray:
    scale, zero, groups = more
    at = groups.astype(np.int64)
    moved = array.astype(np.float32) - np.take(zero, at, axis).astype(np.float32)
    return np.asarray(moved * np.take(scale, at, axis), np.float32)


def _rounded(array: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """To the nearest that float8 has, as Keras does each time."""
    inner = np.clip(array / scale, -FLOAT8_MAX, FLOAT8_MAX).astype(ml_dtypes.float8_e4m3fn)
    return np.asarray(inner.astype(np.float32) * scale, np.float32)
