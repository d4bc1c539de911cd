"""Convert arrays into another floating-point dtype while they are copied, and tell what that costs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from modelarchive import dtypes
from modelarchive.archive.saving import blocks_of
from modelarchive.errors import UnsupportedDataError
from modelarchive.store.deferred import Deferred
from modelarchive.store.fill import pieces_of

#: What is converted, and into what: numbers as training made them. Codes of 8 bits and whole numbers stay.
FLOATS: Final = ("float64", "float32", "float16", "bfloat16")


@dataclass(frozen=True)
class Conversion:
    """What a conversion did to one array.

    Attributes:
        name: The array.
        before: Its dtype.
        after: Its new dtype.
        largest_error: The largest absolute difference of a finite value.
        relative_error: The largest difference of a value, as a part of that value; those that became zero count
            as 1.
        zeroed: How many values became zero that were not.
    """

    name: str
    before: str
    after: str
    largest_error: float
    relative_error: float
    zeroed: int

    def __str__(self) -> str:
        """One line."""
        lost = f", {self.zeroed:,} values became zero" if self.zeroed else ""
        return f"{self.name}: {self.before} -> {self.after}, largest error {self.largest_error:.3g}{lost}"


def convert(
    arrays: Mapping[str, Deferred], chosen: Mapping[str, str | None], progress: Callable[[int], None] | None = None
) -> tuple[dict[str, Deferred], list[Conversion]]:
    """Arrays that come converted when they are read.

    All of them are read once before, to know the errors.

    Args:
        arrays: Name -> array; shared ones as one object.
        chosen: Name -> dtype; None, and arrays that are no floating-point numbers: as it is.
        progress: Called with the number of bytes looked at since the last call.

    Returns:
        The arrays, shared ones as one object, and what was done to each.

    Raises:
        UnsupportedDataError: Finite values lie outside the new dtype's range; lists all such arrays.
    """
    made: dict[int, Deferred] = {}
    done: list[Conversion] = []
    problems: list[tuple[str, str]] = []
    for name, array in arrays.items():
        after = chosen.get(name)
        before = dtypes.dense_name(array.dtype)
        if id(array) in made:
            continue
        made[id(array)] = array
        if after is None or after == before or before not in FLOATS:
            continue
        dtype = dtypes.DENSE[after]
        found, largest = _measured(name, array, dtype, progress)
        if largest is not None:
            problems.append((name, f"{largest:.6g} is beyond {after}, which ends at {_greatest(dtype):.6g}"))
        done.append(found)
        made[id(array)] = _converted(array, dtype)
    if problems:
        raise UnsupportedDataError(
            problems, hint="nothing was written; bfloat16 has the range of float32, and a pattern leaves arrays out"
        )
    return {name: made[id(array)] for name, array in arrays.items()}, done


def redeclared(architecture: Mapping[str, Any], conversions: list[Conversion]) -> dict[str, Any]:
    """The architecture with the new dtypes where it declares those of parameters not yet loaded."""
    changed: dict[str, Any] = copy.deepcopy(dict(architecture))
    after = {each.name: each for each in conversions}
    for path, block in blocks_of(changed):
        prefix = f"{path}." if path else ""
        own = [each for name, each in after.items() if name.rpartition(".")[0] == path]
        if isinstance(block.get("dtype"), str) and own and {each.before for each in own} == {block["dtype"]}:
            block["dtype"] = own[0].after  # type: ignore[index]
        for name, declared in block.get("parameters", {}).items():
            if prefix + name in after and declared["dtype"] == after[prefix + name].before:
                declared["dtype"] = after[prefix + name].after
    return changed


def _greatest(dtype: np.dtype) -> float:
    import ml_dtypes

    return float(ml_dtypes.finfo(dtype).max)  # type: ignore[no-untyped-call]


def _measured(
    name: str, array: Deferred, dtype: np.dtype, progress: Callable[[int], None] | None
) -> tuple[Conversion, float | None]:
    """What the conversion does, and the largest value that is beyond the new dtype."""
    wide: Any = np.float64 if array.dtype.itemsize == 8 or dtype.itemsize == 8 else np.float32
    largest = relative = 0.0
    zeroed = 0
    beyond: float | None = None
    for values in _values(array):
        with np.errstate(all="ignore"):
            before, after = values.astype(wide), values.astype(dtype).astype(wide)
            error, size = np.abs(before - after), np.abs(before)
            # A number that is not finite comes through all of these.
            if not np.isfinite(error.max(initial=0) + size.max(initial=0)):
                is_finite = np.isfinite(before)
                lost = is_finite & ~np.isfinite(after)
                if lost.any():
                    beyond = max(beyond or 0.0, float(size[lost].max()))
                error[~is_finite | lost] = 0
            largest = max(largest, float(error.max(initial=0)))
            # Nothing over nothing is no number, and left out.
            relative = max(relative, float(np.fmax.reduce(np.divide(error, size, out=size), initial=0)))
        zeroed += int(np.count_nonzero(before)) - int(np.count_nonzero(after))
        if progress is not None:
            progress(values.nbytes)
    was, becomes = str(dtypes.dense_name(array.dtype)), str(dtypes.dense_name(dtype))
    return Conversion(name, was, becomes, largest, relative, zeroed), beyond


def _converted(array: Deferred, dtype: np.dtype) -> Deferred:
    def cast(values: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return values.astype(dtype)

    def pieces() -> Iterator[memoryview]:
        for values in _values(array):
            yield cast(values).view(np.uint8).data

    rows = array.rows
    return Deferred(
        array.shape,
        dtype,
        lambda: cast(array.read()),
        None,
        pieces,
        None if rows is None else lambda start, stop: cast(rows(start, stop)),
    )


def _values(array: Deferred) -> Iterator[np.ndarray]:
    """An array's numbers, flat, some after others."""
    little = dtypes.LITTLE[str(dtypes.dense_name(array.dtype))]
    for piece in pieces_of(array):
        yield np.frombuffer(piece, little)
