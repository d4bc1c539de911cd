"""einsum, with a pattern that is checked before anything is computed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from modelarchive.ops.precision import common_dtype, rounded, widened
from modelarchive.ops.registry import Array, op
from modelarchive.ops.shapes import Shape

_PATTERN: Final = re.compile("[A-Za-z]*(,[A-Za-z]*)*->[A-Za-z]*")
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#: Letters of one pattern, and arrays: what NumPy can take.
MAX_LETTERS: Final = 32
MAX_ARRAYS: Final = 16


def _terms(pattern: str, count: int) -> tuple[list[str], str]:
    """The letters of each array and of the result.

    Raises:
        ValueError: The pattern is not in its normal form, or for another number of arrays.
    """
    if not isinstance(pattern, str) or len(pattern) > 1000 or not _PATTERN.fullmatch(pattern):
        raise ValueError(f"pattern: expected letters, commas and an arrow, as in 'ij,jk->ik', found {pattern!r:.100}")
    left, _, result = pattern.partition("->")
    terms = left.split(",")
    if len(terms) != count or count > MAX_ARRAYS:
        raise ValueError(f"pattern: expected {count} arrays (at most {MAX_ARRAYS}), found {len(terms)} in {pattern!r}")
    if len(set(left) - {","}) > MAX_LETTERS:
        raise ValueError(f"pattern: expected at most {MAX_LETTERS} letters, found more")
    if len(set(result)) != len(result) or not set(result) <= set(left):
        raise ValueError(f"pattern: expected each letter of the result once, and in an array, found {pattern!r}")
    return terms, result


def _contracted(*given: Shape, pattern: str) -> Shape:
    terms, result = _terms(pattern, len(given))
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, given, strict=True):
        if len(term) != len(shape):
            raise ValueError(f"pattern: expected {len(shape)} letters for shape {tuple(shape)}, found {term!r}")
        for letter, size in zip(term, shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                raise ValueError(f"expected size {sizes[letter]} at letter {letter!r}, found {size} in {tuple(shape)}")
    return tuple(sizes[letter] for letter in result)


@op(infer=_contracted, dtype=common_dtype, sequence=True)
def einsum(arrays: Sequence[ArrayLike], /, pattern: str) -> Array:
    """Products summed over letters: ``einsum([q, k], "bqd,bkd->bqk")`` (``numpy.einsum``).

    Args:
        arrays: Any numeric dtypes, promoted as in NumPy.
        pattern: One letter for each axis of each array, then what is kept. Axes of one letter have one size;
            letters that the result lacks are summed over.

    Returns:
        A new array. Pairs of arrays are contracted by matrix products where the pattern allows.

    Raises:
        ValueError: The pattern does not fit the shapes.
    """
    _contracted(*(np.shape(array) for array in arrays), pattern=pattern)
    dtype = common_dtype(*arrays)
    operands = widened(dtype, *arrays)
    result = np.einsum(pattern, *operands, optimize=len(operands) > 1)
    if any(np.may_share_memory(result, each) for each in operands):
        result = result.copy()  # the diagonal, or the axes in another order
    return rounded(result, dtype)


def normal_pattern(pattern: Any, ranks: Sequence[int]) -> str:
    """A pattern of ``numpy.einsum`` in its normal form: no spaces, no ellipsis, the result written out.

    Args:
        pattern: What ``numpy.einsum`` takes as its first argument.
        ranks: How many axes each array has.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(pattern, str):
        raise ValueError(f"expected a pattern such as 'ij,jk->ik', found {type(pattern).__name__}")
    left, arrow, result = pattern.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise ValueError(f"expected a pattern of {len(ranks)} arrays, found {pattern!r}")
    widths = [rank - len(term.replace("...", "")) for term, rank in zip(terms, ranks, strict=True) if "..." in term]
    dots = max(widths, default=0)
    free = [letter for letter in reversed(_LETTERS) if letter not in pattern]
    if min(widths, default=0) < 0 or dots > len(free):
        raise ValueError(f"expected arrays of more dimensions for the pattern {pattern!r}")
    named = "".join(reversed(free[:dots]))
    written = [
        term.replace("...", named[dots - rank + len(term.replace("...", "")) :] if "..." in term else "")
        for term, rank in zip(terms, ranks, strict=True)
    ]
    if arrow and dots and "..." not in result:
        raise ValueError(f"expected the result of {pattern!r} to have an ellipsis too")
    if arrow:
        result = result.replace("...", named)
    else:
        once = sorted(letter for letter in set(left) - {",", "."} if left.count(letter) == 1)
        result = named + "".join(once)
    return f"{','.join(written)}->{result}"
