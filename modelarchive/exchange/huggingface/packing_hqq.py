"""HQQ (Badri and Shaji 2023): numbers of 1 to 8 bits in rows of bytes or words, with scales and zeros as floats."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from modelarchive.dtypes import DENSE
from modelarchive.exchange.huggingface.packed import MisfitError, Packed
from modelarchive.store.deferred import Deferred
from modelarchive.store.strict import short

#: Name of a packing -> the bits of a number, and the dtype of what they are packed in.
_PACKINGS: Final = {
    "8bit_u8": (8, "uint8"), "4bit_u8": (4, "uint8"), "3bit_32": (3, "int32"), "2bit_u8": (2, "uint8"),
    "1bit_u8": (1, "uint8"),
}  # fmt: skip
#: Longest text that is stored as an array of bytes.
_MOST: Final = 64


def weight(packed: Packed) -> Deferred | None:
    """The weight of a layer of HQQ; None: it is not packed.

    Returns:
        ``(out, in)``, in what HQQ computes in, made when it is read.

    Raises:
        MisfitError: Its parts do not belong together.
    """
    if "W_q" not in packed.parts:
        return None
    for part in ("quant_scale", "quant_zero"):
        if part in packed.parts and packed.small(part, 1).any():
            raise MisfitError(f"{part} is 1: scales and zeros that are quantised themselves are not read")
    packing = _text(packed, "packing")
    if packing not in _PACKINGS:
        raise MisfitError(f"packing is {short(packing)}, expected {', '.join(_PACKINGS)}")
    bits, container = _PACKINGS[packing]
    shape = _shape(packed)
    rows, columns = _matrix(packed, container)
    count = 10 if bits == 3 else 8 // bits
    if not columns or math.prod(shape) % columns or not 0 <= rows * count - math.prod(shape) // columns < count:
        raise MisfitError(f"W_q has {rows:,} rows of {columns:,} in {packing}, which hold no {shape}")
    numbers = (math.prod(shape) // columns, columns)
    for part in ("scale", "zero"):
        entry = packed.expect(part, packed.FLOATS)
        if entry.size != 1 and entry.shape not in ((1, columns), (numbers[0], 1)):
            raise MisfitError(f"{part} has the shape {entry.shape}, expected one for each row or column of {numbers}")
    dtype = _dtype(packed)

    def made(given: np.ndarray, scale: np.ndarray, zero: np.ndarray) -> np.ndarray:
        found = _unpacked(np.ascontiguousarray(given).view(container), bits)[: numbers[0]].astype(np.float32)
        less = (found - zero.astype(np.float32)).astype(dtype).astype(np.float32)
        return np.asarray((less * scale.astype(np.float32)).astype(dtype))

    return packed.made(shape, dtype, ["W_q", "scale", "zero"], made)


def _unpacked(packed: np.ndarray, bits: int) -> np.ndarray:
    """Numbers ``(count * rows, columns)``: the first rows are the highest bits, ten times three of 32 among them."""
    count = 10 if bits == 3 else 8 // bits
    shifts = [bits * (count - 1 - at) for at in range(count)]
    return np.concatenate([(packed >> shift) & (2**bits - 1) for shift in shifts])


def _matrix(packed: Packed, container: str) -> tuple[int, int]:
    """Rows and columns of what is packed, which may be viewed as floats."""
    entry = packed.expect("W_q", ("uint8", "int32", *packed.FLOATS), (None, None))
    rows, columns = entry.shape
    wide = columns * entry.dtype.itemsize
    size = DENSE[container].itemsize
    if wide % size or (entry.dtype.name in ("uint8", "int32") and entry.dtype.name != container):
        raise MisfitError(f"W_q is {entry.dtype.name}, expected {container}")
    return rows, wide // size


def _shape(packed: Packed) -> tuple[int, ...]:
    packed.expect("shape", ("int32", "int64"), (2,))
    shape = tuple(int(size) for size in packed.small("shape", 2))
    if not all(0 < size < 2**31 for size in shape):
        raise MisfitError(f"shape is {shape}")
    return shape


def _text(packed: Packed, name: str) -> str:
    packed.expect(name, "uint8", (None,))
    return bytes(packed.small(name, _MOST)).decode("latin-1")


def _dtype(packed: Packed) -> Any:
    """What HQQ computes in: the floats of scales, zeros and numbers together."""
    own = _text(packed, "compute_dtype").removeprefix("torch.") if "compute_dtype" in packed.parts else "float16"
    names = {own, *(packed.parts[part].dtype.name for part in ("scale", "zero"))}
    if own not in packed.FLOATS:
        raise MisfitError(f"compute_dtype is {short(own)}, expected {' or '.join(packed.FLOATS)}")
    return DENSE[own] if len(names) == 1 else DENSE["float32"]
