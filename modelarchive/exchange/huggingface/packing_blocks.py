"""torchao's and quanto's weights: integers or FP8, one a byte or several, with scales of rows, groups or blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from modelarchive.errors import FormatError
from modelarchive.exchange.huggingface.packed import MisfitError, Packed
from modelarchive.store.deferred import Deferred
from modelarchive.store.strict import document_object, short

_BYTES: Final = ("int8", "float8_e4m3fn", "float8_e5m2")
#: Classes of torchao whose elements lie one by one.
_CLASSES: Final = ("Float8Tensor", "Int8Tensor", "IntxUnpackedToInt8Tensor")
#: quanto's names of types that are packed -> bits of a number.
_BITS: Final = {"qint2": 2, "qint4": 4}
#: Sizes of quanto's groups, where a row is longer.
_GROUPS: Final = (32, 64, 96, 128)
#: Longest text about one weight.
_MOST: Final = 1 << 16


def torchao(packed: Packed) -> Deferred | None:
    """The weight of a layer of torchao; None: it is not packed.

    Returns:
        ``(out, in)``, in the dtype of the model, made when it is read.

    Raises:
        MisfitError: Its parts do not belong together, or it is of a class that is not read.
    """
    if "qdata" not in packed.parts:
        return None
    kind = about(packed.metadata, packed.name).get("_type")
    if kind not in _CLASSES:
        raise MisfitError(f"is {short(kind)} in the metadata of the file, expected {', '.join(_CLASSES)}")
    entry = packed.expect("qdata", _BYTES)
    scale = packed.expect("scale", packed.FLOATS)
    block = _block(entry.shape, scale)
    names = ["qdata", "scale"]
    if "zero_point" in packed.parts:
        zeros = packed.expect("zero_point", ("int8", "int32", *packed.FLOATS))
        if zeros.size != scale.size:
            raise MisfitError(f"zero_point has the shape {zeros.shape}, and scale {scale.shape}")
        names.append("zero_point")
    grid = tuple(size // each for size, each in zip(entry.shape, block, strict=True))
    # FP8 is multiplied in float32, integers in the dtype of the model.
    inner = np.dtype(np.float32) if entry.dtype.name != "int8" else packed.dtype

    def made(given: np.ndarray, scales: np.ndarray, *zeros: np.ndarray) -> np.ndarray:
        found = given.astype(np.float32)
        if zeros:
            less = _spread(zeros[0].reshape(grid), block).astype(inner).astype(np.float32)
            found = (found - less).astype(inner).astype(np.float32)
        return np.asarray(found * _spread(scales.reshape(grid), block).astype(np.float32))

    return packed.made(entry.shape, packed.dtype, names, made)


def about(metadata: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What torchao says of one weight in the metadata of the file; {}: nothing.

    Args:
        metadata: Of the file.
        name: Of the layer and the weight: ``layers.0.q_proj._weight``.
    """
    layer, _, own = name.rpartition("._")
    said = metadata.get(f"{layer}.{own}")
    if not isinstance(said, str) or len(said) > _MOST:
        return {}
    try:
        return document_object(said, what=name, strict=False)
    except FormatError:
        return {}


def quanto(packed: Packed) -> Deferred | None:
    """The weight of a layer of quanto; None: it is not packed.

    Returns:
        ``(out, in)``, in the dtype of its scales, made when it is read.

    Raises:
        MisfitError: Its parts do not belong together.
    """
    if "weight._data" in packed.parts:
        entry = packed.expect("weight._data", _BYTES)
        scale = packed.expect("weight._scale", packed.FLOATS)
        if scale.size != 1 and (not entry.ndim or scale.shape != (entry.shape[0], *[1] * (entry.ndim - 1))):
            raise MisfitError(f"weight._scale has the shape {scale.shape}, and the weight {entry.shape}")
        return packed.made(entry.shape, scale.dtype, ["weight._data", "weight._scale"], _multiplied)
    if "weight._data._data" not in packed.parts:
        return None
    own = packed.options.get(packed.name)
    bits = _BITS.get(str(own.get("weights"))) if isinstance(own, Mapping) else None
    if bits is None:
        raise MisfitError(f"is packed, and quanto_qmap.json says of it {short(own)}")
    scale = packed.expect("weight._scale", packed.FLOATS, (None, 1))
    rows = scale.shape[0]
    data = packed.expect("weight._data._data", "uint8", (-(-rows * bits // 8), None))
    shift = packed.expect("weight._shift", ("int8", "uint8", *packed.FLOATS), (rows, 1))
    shape = _rows_of(packed, rows, data.shape[1])
    is_scaled = shift.dtype.name in packed.FLOATS

    def made(given: np.ndarray, scales: np.ndarray, shifts: np.ndarray) -> np.ndarray:
        parts = [(given >> place) & (2**bits - 1) for place in range(0, 8, bits)]
        numbers = np.concatenate(parts)[:rows].astype(np.float32)
        if not is_scaled:
            return _multiplied(numbers - shifts.astype(np.float32), scales)
        found = _multiplied(numbers, scales).astype(np.float32) - shifts.astype(np.float32)
        return np.asarray(found.astype(scales.dtype))

    return packed.made(shape, scale.dtype, ["weight._data._data", "weight._scale", "weight._shift"], made)


def _rows_of(packed: Packed, groups: int, size: int) -> tuple[int, int]:
    """The shape of a weight whose groups are known, which quanto's files do not say where a row may be several."""
    bias = packed.parts.get("bias")
    outputs = groups if size not in _GROUPS else bias.shape[0] if bias is not None and bias.ndim == 1 else 0
    if not outputs or groups % outputs:
        what = "is in groups, and the files do not say how many a row has, nor does a bias say how many rows there are"
        raise MisfitError(what)
    return outputs, groups // outputs * size


def _multiplied(numbers: np.ndarray, scales: np.ndarray) -> np.ndarray:
    return np.asarray((numbers.astype(np.float32) * scales.astype(np.float32)).astype(scales.dtype))


def _block(shape: tuple[int, ...], scale: Deferred) -> tuple[int, ...]:
    """The sizes of what one scale is for."""
    if scale.size == 1:
        return shape
    grid = scale.shape if scale.ndim == len(shape) else (*scale.shape, *[1] * (len(shape) - scale.ndim))
    if len(grid) != len(shape) or any(not each or size % each for size, each in zip(shape, grid, strict=True)):
        raise MisfitError(f"scale has the shape {scale.shape}, which does not divide {shape}")
    return tuple(size // each for size, each in zip(shape, grid, strict=True))


def _spread(array: np.ndarray, block: tuple[int, ...]) -> np.ndarray:
    """One for each block as one for each element."""
    for axis, size in enumerate(block):
        array = np.repeat(array, size, axis=axis)
    return array
