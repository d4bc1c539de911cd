"""compressed-tensors (numbers in words, int8, FP8, MXFP4, NVFP4), FP8 in blocks, and the MXFP4 of gpt-oss."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from modelarchive.dtypes import DENSE
from modelarchive.errors import FormatError
from modelarchive.exchange.huggingface import dequantising
from modelarchive.exchange.huggingface.packed import MisfitError, Packed
from modelarchive.store.deferred import Deferred
from modelarchive.store.strict import short

#: Values of the four bits of MXFP4 and NVFP4 (OCP Microscaling Formats 1.0): a sign, two of an exponent, one more.
_E2M1: Final = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
#: The dtype in which scales of MX formats are computed with.
_BFLOAT16: Final = DENSE["bfloat16"]
_FP8: Final = ("float8_e4m3fn", "float8_e5m2")
#: What is said of a folder that is not quantised numbers in an order of their own.
_FORMATS: Final = (
    "dense", "float-quantized", "int-quantized", "mixed-precision", "mxfp4-pack-quantized", "mxfp8-quantized",
    "naive-quantized", "nvfp4-pack-quantized", "pack-quantized",
)  # fmt: skip


def refused(options: Mapping[str, Any]) -> str:
    """What of compressed-tensors' options is not read; "": nothing."""
    form = options.get("format", "dense")
    if form not in _FORMATS:
        return f"format is {short(form)}, expected {', '.join(_FORMATS)}"
    sparse = options.get("sparsity_config")
    if isinstance(sparse, Mapping) and sparse.get("format", "dense") != "dense":
        return f"sparsity_config is {short(sparse.get('format'))}, which is not read"
    transforms = options.get("transform_config")
    if isinstance(transforms, Mapping) and transforms.get("config_groups"):
        return "transform_config turns inputs and weights, which is not read"
    return ""


def weight(packed: Packed) -> Deferred | None:
    """The weight of a layer of compressed-tensors; None: it is not packed.

    Returns:
        ``(out, in)``, in the dtype of its scales, or bfloat16 where these are bytes, made when it is read.

    Raises:
        MisfitError: Its parts do not belong together.
    """
    if "weight_packed" in packed.parts:
        return _words(packed) if packed.parts["weight_packed"].dtype == np.int32 else _four_bits(packed)
    entry = packed.parts.get("weight")
    return _plain(packed) if entry is not None and entry.dtype.name in ("int8", *_FP8) else None


def _words(packed: Packed) -> Deferred:
    """Numbers of 1 to 8 bits in words of 32, from -2**(bits - 1) on."""
    words = packed.expect("weight_packed", "int32", (None, None))
    packed.expect("weight_shape", ("int32", "int64"), (2,))
    rows, columns = (int(size) for size in packed.small("weight_shape", 2))
    bits = next((bits for bits in _bits(packed.options) if -(-columns * bits // 32) == words.shape[1]), 0)
    if rows != words.shape[0] or not bits:
        known = ", ".join(map(str, _bits(packed.options))) or "no"
        raise MisfitError(
            f"weight_packed has the shape {words.shape}, and holds no ({rows}, {columns}) of {known} bits"
        )
    scale = packed.expect("weight_scale", packed.FLOATS)
    groups = _columns_of(scale, rows)
    size = columns if groups == 1 else -(-columns // groups)
    if groups > columns or size * groups != columns:
        raise MisfitError(f"weight_scale has the shape {scale.shape}, which does not divide {columns} columns")
    names = ["weight_packed", "weight_scale"]
    if has_zeros := "weight_zero_point" in packed.parts:
        packed.expect("weight_zero_point", "int32", (-(-rows * bits // 32), groups))
        names.append("weight_zero_point")
    has_order = "weight_g_idx" in packed.parts
    if has_order:
        packed.expect("weight_g_idx", ("int32", "int64"), (columns,))
        names.append("weight_g_idx")

    def made(given: np.ndarray, scales: np.ndarray, *more: np.ndarray) -> np.ndarray:
        rest = list(more)
        least = 1 << (bits - 1)
        zeros = None
        if has_zeros:
            zeros = dequantising.unpacked(np.ascontiguousarray(rest.pop(0).T), bits, rows).T - least
        place = _order(rest.pop(0), groups) if has_order else np.arange(columns) // size
        numbers = dequantising.unpacked(given, bits, columns) - least
        wide = np.broadcast_to(scales.reshape(-1, groups), (rows, groups))[:, place]
        return _scaled(numbers, wide, None if zeros is None else zeros[:, place])

    return packed.made((rows, columns), scale.dtype, names, made)


def _order(place: np.ndarray, groups: int) -> np.ndarray:
    if not 0 <= place.min() <= place.max() < groups:
        raise FormatError(f"weight_g_idx is from {place.min()} to {place.max()}, expected from 0 to {groups - 1}")
    return place


def _bits(options: Mapping[str, Any]) -> list[int]:
    """How many bits numbers may have, by what is said of any group of layers."""
    groups = options.get("config_groups")
    found = []
    for group in groups.values() if isinstance(groups, Mapping) else ():
        own = group.get("weights") if isinstance(group, Mapping) else None
        bits = own.get("num_bits") if isinstance(own, Mapping) else None
        if type(bits) is int and 1 <= bits <= 8:
            found.append(bits)
    return list(dict.fromkeys(found))


def _columns_of(scale: Deferred, rows: int) -> int:
    """Groups of a row: of scales ``(rows, groups)``, ``(rows, 1)``, ``(rows,)`` or of one."""
    if scale.size == 1:
        return 1
    if not scale.shape or scale.shape[0] != rows or scale.ndim > 2:
        raise MisfitError(f"weight_scale has the shape {scale.shape}, expected {rows} rows")
    return scale.shape[1] if scale.ndim == 2 else 1


def _four_bits(packed: Packed) -> Deferred:
    """NVFP4: scales in FP8 and one over all; MXFP4: scales that are powers of two."""
    entry = packed.expect("weight_packed", "uint8", (None, None))
    rows, columns = entry.shape[0], 2 * entry.shape[1]
    scale = packed.expect("weight_scale", ("uint8", *_FP8, *packed.FLOATS), (rows, None))
    if columns % scale.shape[1]:
        raise MisfitError(f"weight_scale has the shape {scale.shape}, which does not divide {columns} columns")
    size = columns // scale.shape[1]
    names = ["weight_packed", "weight_scale"]
    has_whole = "weight_global_scale" in packed.parts
    if has_whole:
        if packed.expect("weight_global_scale", "float32").size != 1:
            raise MisfitError("weight_global_scale has more than one element")
        names.append("weight_global_scale")

    def made(given: np.ndarray, scales: np.ndarray, *whole: np.ndarray) -> np.ndarray:
        own = _power_of_two(scales) if scales.dtype == np.uint8 else scales
        own = own.astype(_BFLOAT16)
        if has_whole:
            own = own.astype(np.float32) / whole[0].reshape(()).astype(np.float32)
        return _scaled(_two_of_a_byte(given), np.repeat(own, size, axis=1))

    return packed.made((rows, columns), _BFLOAT16, names, made)


def _plain(packed: Packed) -> Deferred:
    """int8 or FP8, one element a byte, with scales of the whole, of rows, of groups or of blocks."""
    rows, columns = packed.expect("weight", ("int8", *_FP8), (None, None)).shape
    scale = packed.expect("weight_scale", ("uint8", *packed.FLOATS))
    dtype = _BFLOAT16 if scale.dtype == np.uint8 else scale.dtype
    block, grid = _grid(packed, scale, rows, columns)
    names = ["weight", "weight_scale"]
    if has_zeros := "weight_zero_point" in packed.parts:
        zeros = packed.parts["weight_zero_point"]
        if zeros.size != math.prod(grid):
            raise MisfitError(f"weight_zero_point has the shape {zeros.shape}, and weight_scale {scale.shape}")
        names.append("weight_zero_point")

    def made(given: np.ndarray, scales: np.ndarray, *more: np.ndarray) -> np.ndarray:
        own = _power_of_two(scales) if scales.dtype == np.uint8 else scales
        wide = [_spread(each.reshape(grid), (rows, columns), block) for each in (own.astype(dtype), *more)]
        return _scaled(given.astype(np.float32), wide[0], wide[1] if has_zeros else None)

    return packed.made((rows, columns), dtype, names, made)


def _grid(packed: Packed, scale: Deferred, rows: int, columns: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows and columns of a block, and how many blocks there are down and across."""
    if scale.size == 1:
        return (rows, columns), (1, 1)
    if scale.shape in ((rows,), (rows, 1)):
        return (1, columns), (rows, 1)
    if scale.ndim == 2:
        down, across = scale.shape
        for block in (*_blocks(packed.options), (1, max(1, columns // across))):
            if (-(-rows // block[0]), -(-columns // block[1])) == (down, across):
                return block, (down, across)
    raise MisfitError(f"weight_scale has the shape {scale.shape}, which fits no blocks of ({rows}, {columns})")


def _blocks(options: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Sizes of blocks, as any group of layers says them."""
    groups = options.get("config_groups")
    found = []
    for group in groups.values() if isinstance(groups, Mapping) else ():
        own = group.get("weights") if isinstance(group, Mapping) else None
        block = own.get("block_structure") if isinstance(own, Mapping) else None
        if isinstance(block, list) and len(block) == 2 and all(type(size) is int and size > 0 for size in block):
            found.append((block[0], block[1]))
    return found


def fp8(packed: Packed) -> Deferred | None:
    """A matrix, or several of them, in FP8 and the scales of its blocks; None: it is not packed.

    Returns:
        ``(..., out, in)``, in the dtype of the model, made when it is read.

    Raises:
        MisfitError: Its parts do not belong together.
    """
    entry = packed.parts.get("")
    if entry is None or entry.dtype.name not in _FP8:
        return None
    part = next((part for part in ("_scale_inv", "_scale") if part in packed.parts), "_scale_inv")
    scale = packed.expect(part, ("uint8", "float8_e8m0fnu", *packed.FLOATS))
    if entry.ndim < 2:
        raise MisfitError(f"has the shape {entry.shape}, expected a matrix")
    *before, rows, columns = entry.shape
    grid = (
        scale.shape
        if scale.ndim == entry.ndim
        else (*before, *((1, 1) if scale.size == 1 else scale.shape), 1)[: entry.ndim]
    )
    if scale.size != math.prod(grid) or list(grid[:-2]) != before:
        raise MisfitError(f"its scales have the shape {scale.shape}, and it has {entry.shape}")
    block = _block_of(packed.options, (rows, columns), grid[-2:])

    def made(given: np.ndarray, scales: np.ndarray) -> np.ndarray:
        own = _power_of_two(scales) if scales.dtype == np.uint8 else scales.astype(np.float32)
        return np.asarray(given.astype(np.float32) * _spread(own.reshape(grid), entry.shape, block))

    return packed.made(entry.shape, packed.dtype, ["", part], made)


def _block_of(options: Mapping[str, Any], shape: tuple[int, int], grid: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of a block: as the options say, where that fits the scales, or as these divide the matrix."""
    said = options.get("weight_block_size")
    if (
        isinstance(said, list) and len(said) == 2 and all(type(size) is int and size > 0 for size in said)
        and tuple(-(-size // block) for size, block in zip(shape, said, strict=True)) == tuple(grid)
    ):  # fmt: skip
        return said[0], said[1]
    if any(size % count for size, count in zip(shape, grid, strict=True)):
        raise MisfitError(f"its scales have the shape {tuple(grid)}, which fits no blocks of {shape}")
    return shape[0] // grid[0], shape[1] // grid[1]


def mxfp4(packed: Packed) -> Deferred | None:
    """Experts of gpt-oss: blocks of 32 numbers of four bits ``(experts, out, blocks, 16)``; None: it is not packed.

    Returns:
        The weights ``(experts, in, out)``.

    Raises:
        MisfitError: Its parts do not belong together.
    """
    if "_blocks" not in packed.parts:
        return None
    entry = packed.expect("_blocks", "uint8", (None, None, None, None))
    experts, outputs, blocks, half = entry.shape
    packed.expect("_scales", "uint8", (experts, outputs, blocks))

    def made(given: np.ndarray, scales: np.ndarray) -> np.ndarray:
        found = _two_of_a_byte(given) * _power_of_two(scales)[..., None]
        return np.asarray(found.reshape(experts, outputs, -1).transpose(0, 2, 1))

    return packed.made((experts, 2 * half * blocks, outputs), packed.dtype, ["_blocks", "_scales"], made)


def _two_of_a_byte(packed: np.ndarray) -> np.ndarray:
    """Values of MXFP4 or NVFP4 in float32, twice as many in the last axis; the first of a byte is the lower one."""
    return _E2M1[np.stack([packed & 15, packed >> 4], axis=-1).reshape(*packed.shape[:-1], -1)]


def _power_of_two(exponents: np.ndarray) -> np.ndarray:
    """Scales of MX formats, E8M0: bytes as powers of two; float32."""
    return np.ldexp(np.float32(1), exponents.astype(np.int32) - 127).astype(np.float32)


def _spread(scale: np.ndarray, shape: tuple[int, ...], block: tuple[int, int]) -> np.ndarray:
    """Scales of blocks for each element of a matrix, whose last blocks may be cut.

    Args:
        scale: One for each block, in rows and columns.
        shape: Of the matrix; axes before the last two are the same in both.
        block: Rows and columns of a block.
    """
    down, across = (min(own, size) for own, size in zip(block, shape[-2:], strict=True))
    wide = np.repeat(np.repeat(scale, down, axis=-2), across, axis=-1)
    return wide[..., : shape[-2], : shape[-1]]


def _scaled(numbers: np.ndarray, scale: np.ndarray, zeros: np.ndarray | None = None) -> np.ndarray:
    """``(numbers - zeros) * scale``, each step rounded to the dtype of the scale, as compressed-tensors does it."""
    dtype = scale.dtype
    found = numbers.astype(dtype)
    if zeros is not None:
        found = (found.astype(np.float32) - zeros.astype(dtype).astype(np.float32)).astype(dtype)
    return np.asarray((found.astype(np.float32) * scale.astype(np.float32)).astype(dtype))
