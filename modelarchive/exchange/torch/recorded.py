"""What is recorded while a network is lifted: its arrays, casts of them, and the sizes that they have."""

from __future__ import annotations

from typing import Any

import numpy as np

from modelarchive import ops
from modelarchive.nn.dim import Dim
from modelarchive.nn.parameter import as_dtype, dtype_name
from modelarchive.nn.recording import RECORDER
from modelarchive.nn.symbol import Symbol


def is_array(value: Any) -> bool:
    """Whether it is an array: of the recording, or a constant."""
    return isinstance(value, Symbol | np.ndarray | np.generic)


def cast(x: Any, dtype: Any) -> Any:
    """An array in another dtype; numbers and sizes stay."""
    if not is_array(x):
        return x
    wanted = as_dtype(dtype)
    return x if x.dtype == wanted else ops.cast(x, dtype=dtype_name(wanted))


def scope() -> Any:
    """The recording that runs now."""
    return RECORDER.get()._scopes[-1]  # type: ignore[union-attr]


def known_sizes() -> list[tuple[int, int]]:
    """The sizes that are not fixed and that arrays have."""
    pairs = (pair for each in scope()._symbols for pair in zip(*each.abstract.shapes, strict=True))
    return list(dict.fromkeys(pair for pair in pairs if pair[0] != pair[1] and all(pair)))


def has_array(size: Dim) -> bool:
    """Whether an array of the recording has an axis of this size."""
    return size.pair in known_sizes()


def in_terms(size: Dim) -> tuple[Dim, int, int] | None:
    """A size that an array has, of which another one is a part, or that has so many more: (it, parts, more)."""
    one, two = size.pair
    known = known_sizes()
    for first, second in known:
        if first % one == second % two == 0 and first // one == second // two:
            return Dim(first, second), first // one, 0
    return next(((Dim(first, second), 1, first - one) for first, second in known if first - one == second - two), None)
