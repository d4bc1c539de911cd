"""Strings and literals as fixed-length UTF-8, and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from modelarchive.store.contents import least_itemsize

#: Bytes that the padding of strings to the longest of them may take, whatever the strings take.
MAX_PADDING: Final = 1 << 28


@dataclass(frozen=True)
class EncodedText:
    """Fixed-length strings ready to be stored: `data` is C-ordered, of shape `shape`, NUL-padded."""

    dtype: str
    shape: tuple[int, ...]
    itemsize: int
    data: bytes

    @property
    def is_ascii(self) -> bool:
        """Whether HDF5 shall call it ASCII; it has no name for bytes in no known encoding, ``S<n>``, but that."""
        return self.dtype[0] == "S" or self.data.isascii()


def encode(value: str, *, dtype: str = "text") -> EncodedText:
    """One string as UTF-8.

    Raises:
        UnicodeEncodeError: It holds a lone surrogate.
    """
    data = value.encode() or b"\0"
    return EncodedText(dtype, (), len(data), data)


def encode_array(array: np.ndarray) -> EncodedText:
    """An array of fixed (``U``, ``S``) or variable (``StringDType``) strings as fixed-length UTF-8.

    Raises:
        ValueError: A string cannot be kept exactly: a lone surrogate, a trailing NUL, a missing value; or one
            is so long that padding the others to it would fill the disk.
    """
    if array.dtype.kind == "S":
        itemsize = max(array.dtype.itemsize, 1)
        data = np.ascontiguousarray(array).astype(f"S{itemsize}").tobytes()
        return EncodedText(f"S{array.dtype.itemsize}", array.shape, itemsize, data)
    strings = array.ravel().tolist()
    if not all(isinstance(string, str) for string in strings):
        raise ValueError("it holds a missing value")
    if array.dtype.kind == "T" and any(string.endswith("\0") for string in strings):
        raise ValueError("a string ends in NUL, which fixed-length HDF5 strings cannot keep")
    code = f"U{array.dtype.itemsize // 4}" if array.dtype.kind == "U" else "string"
    encoded = [string.encode() for string in strings]
    nbytes = len(encoded) * max(map(len, encoded), default=0)
    if nbytes > MAX_PADDING and nbytes > 64 * sum(map(len, encoded)):
        raise ValueError(f"padded to its longest string it would take {nbytes:,} bytes; save a list of strings")
    return padded(code, array.shape, encoded)


def padded(dtype: str, shape: tuple[int, ...], strings: Sequence[bytes]) -> EncodedText:
    """Strings that are encoded already, as an archive gave them."""
    itemsize = max(least_itemsize(dtype, len(strings)), *map(len, strings), 1)
    return EncodedText(dtype, shape, itemsize, b"".join(string.ljust(itemsize, b"\0") for string in strings))


def decode(dtype: str, strings: Sequence[bytes], shape: tuple[int, ...]) -> Any:
    """The value that strings without their padding stand for.

    Raises:
        ValueError, LookupError, RecursionError: They are not what the dtype says.
    """
    words = [] if dtype[0] == "S" else [string.decode() for string in strings]
    if dtype == "string":
        return np.array(words, dtype=np.dtypes.StringDType()).reshape(shape)
    if dtype[0] in "US" and dtype[1:].isdigit():
        fixed = strings if dtype[0] == "S" else words
        # NumPy would cut them off without a word.
        if any(len(one) > int(dtype[1:]) for one in fixed):
            raise ValueError("a string is longer than its dtype")
        return np.array(fixed, dtype=dtype).reshape(shape)
    word = words[0] if words else ""
    if dtype == "str":
        value = json.loads(word)
        if not isinstance(value, str):
            raise ValueError(f"{word[:40]!r} is no JSON string")
        return value
    if dtype in ("boolean", "none"):
        return {"true": True, "false": False, "none": None}[word]
    if dtype == "complex":
        real, imaginary = word.split(" ")
        return complex(float(real), float(imaginary))
    convert: dict[str, Callable[[str], Any]] = {"int": int, "float": float, "text": str}
    return convert[dtype](word)
