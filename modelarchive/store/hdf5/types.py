"""HDF5's datatypes of what archives hold, as messages and attributes carry them."""

from __future__ import annotations

import struct
from functools import cache
from typing import Final

from modelarchive import dtypes

#: The version of datatype messages that HDF5 1.8 writes for all but compound and enumerated types.
_VERSION: Final = 1
#: The class of a datatype.
_FIXED, _FLOAT, _STRING, _COMPOUND, _ENUM = 0, 1, 3, 6, 8
#: Bit of a fixed-point type.
_SIGNED: Final = 8
#: Bit of a floating-point type: the most significant bit of the mantissa is not stored.
_IMPLIED: Final = 0x20
#: Bits of a string type: padded with NUL; in UTF-8.
_NULL_PADDED, _UTF8 = 1, 0x10
#: Bits of the exponent and of the mantissa.
_FLOATS: Final = {"float16": (5, 10), "float32": (8, 23), "float64": (11, 52), "bfloat16": (8, 7)}


@cache
def array_type(dtype: str) -> bytes:
    """The type of an array; float8 is stored as its codes, because HDF5's own conversion misreads some of them."""
    if dtype in _FLOATS:
        return _float(*_FLOATS[dtype])
    if dtype == "bool":
        return _head(_ENUM, 2, 1, version=3) + _fixed(1, signed=True) + b"FALSE\0TRUE\0" + bytes([0, 1])
    if dtype.startswith("complex"):
        size = dtypes.DENSE[dtype].itemsize
        part = array_type(f"float{size * 4}")
        # A member's offset takes as many bytes as the size of the whole needs: one.
        members = b"".join(name + b"\0" + bytes([at]) + part for name, at in ((b"r", 0), (b"i", size // 2)))
        return _head(_COMPOUND, 2, size, version=3) + members
    if dtype.startswith("float8"):
        dtype = "uint8"
    kind = dtypes.DENSE[dtype]
    return _fixed(kind.itemsize, signed=kind.kind == "i")


def string_type(size: int, *, is_utf8: bool = True) -> bytes:
    """The type of strings of so many bytes, padded with NUL.

    Raises:
        OverflowError: HDF5 has no strings of that length.
    """
    return _head(_STRING, _NULL_PADDED | (_UTF8 if is_utf8 else 0), size)


def _head(kind: int, bits: int, size: int, *, version: int = _VERSION) -> bytes:
    return bytes([version << 4 | kind]) + bits.to_bytes(3, "little") + size.to_bytes(4, "little")


def _fixed(size: int, *, signed: bool) -> bytes:
    return _head(_FIXED, _SIGNED if signed else 0, size) + struct.pack("<HH", 0, 8 * size)


def _float(exponent: int, mantissa: int) -> bytes:
    """Sign, exponent and mantissa in this order from the highest bit, the exponent's bias half of its range."""
    precision = 1 + exponent + mantissa
    head = _head(_FLOAT, _IMPLIED | (precision - 1) << 8, precision // 8)
    bias = (1 << exponent - 1) - 1
    return head + struct.pack("<HHBBBBI", 0, precision, mantissa, exponent, 0, mantissa, bias)
