"""How the numbers of a tensor are stored in GGUF: as they are, or in blocks of a few bits each with scales."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Final, cast

import ml_dtypes
import numpy as np

from modelarchive.errors import ConversionError, MissingDependencyError


@dataclass(frozen=True)
class Encoding:
    """One way of storing numbers.

    Attributes:
        code: Its number in files.
        name: What ggml calls it.
        block: How many elements make a block; rows are whole blocks.
        nbytes: Bytes of a block.
        dtype: Of numbers that are stored as they are; None: they are quantised.
    """

    code: int
    name: str
    block: int
    nbytes: int
    dtype: np.dtype | None = None


def _plain(code: int, name: str, kind: type) -> Encoding:
    dtype = np.dtype(kind)
    return Encoding(code, name, 1, dtype.itemsize, dtype)


#: Number in files -> encoding: ``enum ggml_type`` and ``GGML_QUANT_SIZES`` of ggml; numbers that are left out were
#: withdrawn.
#: The largest scale of a block of numbers.
_LARGEST_SCALE: Final = 65504.0

ENCODINGS: Final[Mapping[int, Encoding]] = {
    each.code: each
    for each in (
        _plain(0, "F32", np.float32),
        _plain(1, "F16", np.float16),
        Encoding(2, "Q4_0", 32, 18),
        Encoding(3, "Q4_1", 32, 20),
        Encoding(6, "Q5_0", 32, 22),
        Encoding(7, "Q5_1", 32, 24),
        Encoding(8, "Q8_0", 32, 34),
        Encoding(10, "Q2_K", 256, 84),
        Encoding(11, "Q3_K", 256, 110),
        Encoding(12, "Q4_K", 256, 144),
        Encoding(13, "Q5_K", 256, 176),
        Encoding(14, "Q6_K", 256, 210),
        Encoding(15, "Q8_K", 256, 292),
        Encoding(16, "IQ2_XXS", 256, 66),
        Encoding(17, "IQ2_XS", 256, 74),
        Encoding(18, "IQ3_XXS", 256, 98),
        Encoding(19, "IQ1_S", 256, 50),
        Encoding(20, "IQ4_NL", 32, 18),
        Encoding(21, "IQ3_S", 256, 110),
        Encoding(22, "IQ2_S", 256, 82),
        Encoding(23, "IQ4_XS", 256, 136),
        _plain(24, "I8", np.int8),
        _plain(25, "I16", np.int16),
        _plain(26, "I32", np.int32),
        _plain(27, "I64", np.int64),
        _plain(28, "F64", np.float64),
        Encoding(29, "IQ1_M", 256, 56),
        _plain(30, "BF16", ml_dtypes.bfloat16),
        Encoding(34, "TQ1_0", 256, 54),
        Encoding(35, "TQ2_0", 256, 66),
        Encoding(39, "MXFP4", 32, 17),
        Encoding(40, "NVFP4", 64, 36),
    )
}
#: Name in small letters -> encoding.
BY_NAME: Final[Mapping[str, Encoding]] = {each.name.lower(): each for each in ENCODINGS.values()}
#: What tensors can be written as: floats, and what the package `gguf` quantises.
WRITTEN: Final = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "tq1_0", "tq2_0", "mxfp4")
#: What NumPy calls floats -> what ggml does.
ALIASES: Final = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
#: Encodings that ggml itself has in memory only, and the package does not read: ``block_q8_K`` is a float32 scale,
#: 256 int8, and sums of 16 of them each.
_Q8_K: Final = np.dtype([("scale", "<f4"), ("numbers", "i1", 256), ("sums", "<i2", 16)])


def package() -> ModuleType:
    """The package `gguf`, which quantises and dequantises.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        import gguf
    except ImportError as error:
        raise MissingDependencyError(f"quantised tensors need the package gguf: {error}", extra="gguf") from error
    return cast(ModuleType, gguf)


def dequantised(blocks: np.ndarray, encoding: Encoding, shape: tuple[int, ...]) -> np.ndarray:
    """The numbers of a quantised tensor.

    Args:
        blocks: Its bytes, uint8 ``(bytes)``.
        encoding: How they are stored.
        shape: Of the tensor; its last axis is whole blocks.

    Returns:
        float32 of that shape.

    Raises:
        MissingDependencyError: The package `gguf` is not installed.
    """
    if not blocks.size:
        return np.zeros(shape, np.float32)
    # A stranger's scales may be infinite, or no numbers.
    with np.errstate(all="ignore"):
        if encoding.name == "Q8_K":
            found = blocks.view(_Q8_K)
            return (found["scale"][:, None] * found["numbers"].astype(np.float32)).reshape(shape)
        rows = blocks.reshape(-1, shape[-1] // encoding.block * encoding.nbytes)
        kind = package().GGMLQuantizationType(encoding.code)
        numbers: np.ndarray = package().quants.dequantize(rows, kind)
    return numbers.reshape(shape)


def quantised(array: np.ndarray, encoding: Encoding, name: str) -> np.ndarray:
    """The bytes of an array, as GGUF stores it.

    Args:
        array: Floats; its last axis is whole blocks.
        encoding: How to store them, one of :data:`WRITTEN`.
        name: What the array is called in an error.

    Returns:
        uint8 ``(bytes)`` of a quantised array; else the array in the dtype of the encoding.

    Raises:
        ConversionError: A number would become infinite.
        MissingDependencyError: It is to be quantised, and the package `gguf` is not installed.
    """
    if encoding.dtype is not None:
        return narrowed(array, encoding.dtype, name)
    with np.errstate(all="ignore"):
        kind = package().GGMLQuantizationType(encoding.code)
        rows = array.astype(np.float32, copy=False).reshape(-1, array.shape[-1])
        found: np.ndarray = package().quants.quantize(np.ascontiguousarray(rows), kind)
        # Scales are half precision, or infinite by one number of a block: then all of it would be.
        if not np.all(np.abs(array) <= _LARGEST_SCALE):
            _expect_finite(array, dequantised(found.reshape(-1), encoding, array.shape), name, encoding.name)
    return found.reshape(-1)


def narrowed(array: np.ndarray, dtype: np.dtype, name: str) -> np.ndarray:
    """An array in another dtype of floats.

    Args:
        array: Floats.
        dtype: The dtype.
        name: What the array is called in an error.

    Raises:
        ConversionError: A number would become infinite.
    """
    with np.errstate(all="ignore"):
        found = array.astype(dtype, copy=False)
    _expect_finite(array, found, name, str(dtype))
    return found


def _expect_finite(array: np.ndarray, found: np.ndarray, name: str, what: str) -> None:
    if found is array or np.isfinite(found).all():
        return
    beyond = np.isfinite(array) & ~np.isfinite(found)
    if beyond.any():
        problem = f"{float(array[beyond].flat[0]):.6g} would be infinite as {what}"
        raise ConversionError([(name, problem)], hint="nothing was written; bfloat16 and float32 go further")
