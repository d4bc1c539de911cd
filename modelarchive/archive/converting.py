"""Convert arrays into another floating-point dtype while they are copied, and tell what that costs."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Final, cast

import numpy as np

from modelarchive import dtypes
from modelarchive.archive.saving import blocks_of
from modelarchive.errors import UnsupportedDataError
from modelarchive.store import strict
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


class Converted:
    """Arrays that are converted, and looked at, while they are read: once, when they are written.

    Args:
        arrays: Name -> array; shared ones as one object.
        chosen: Name -> dtype; None, and arrays that are no floating-point numbers: as it is.

    Attributes:
        arrays: Name -> what is to be written, shared ones as one object.
        changed: Name -> (dtype, new dtype) of each array that is converted; a shared one has its first name.
    """

    def __init__(self, arrays: Mapping[str, Deferred], chosen: Mapping[str, str | None]) -> None:
        self.changed: dict[str, tuple[str, str]] = {}
        self._conversions: dict[str, _Conversion] = {}
        made: dict[int, Deferred] = {}
        for name, array in arrays.items():
            after, before = chosen.get(name), str(dtypes.dense_name(array.dtype))
            if id(array) in made:
                continue
            made[id(array)] = array
            if after is not None and after != before and before in FLOATS:
                self.changed[name] = (before, after)
                self._conversions[name] = _Conversion(name, array, dtypes.DENSE[after])
                made[id(array)] = self._conversions[name].converted()
        self.arrays = {name: made[id(array)] for name, array in arrays.items()}

    def done(self) -> list[Conversion]:
        """What became of the arrays, all of which have been read by now."""
        return [each.measured() for each in self._conversions.values()]

    def refusal(self) -> UnsupportedDataError:
        """What lies outside its new dtype's range, in all of the arrays; some may not have been read yet."""
        problems = [(name, problem) for name, each in self._conversions.items() if (problem := each.problem())]
        hint = "nothing was written; bfloat16 has the range of float32, and a pattern leaves arrays out"
        return UnsupportedDataError(problems, hint=hint)


class OutOfRange(Exception):  # noqa: N818 - a signal to whoever writes: Converted.refusal() says what it is
    """A finite value would become infinite."""


def redeclare(architecture: dict[str, Any], conversions: Mapping[str, tuple[str, str]]) -> None:
    """Write the new dtypes into an architecture, where it declares those of parameters not yet loaded.

    Args:
        architecture: It is changed.
        conversions: Name of a parameter -> (dtype, new dtype).
    """
    by_block: dict[str, dict[str, tuple[str, str]]] = {}
    for full, pair in conversions.items():
        path, _, name = full.rpartition(".")
        by_block.setdefault(path, {})[name] = pair
    for path, block in blocks_of(architecture):
        own = by_block.get(path)
        if own is None:
            continue
        if isinstance(block.get("dtype"), str) and {before for before, _ in own.values()} == {block["dtype"]}:
            block["dtype"] = next(after for _, after in own.values())  # type: ignore[index]
        for name, declared in block.get("parameters", {}).items():
            if name in own and declared["dtype"] == own[name][0]:
                declared["dtype"] = own[name][1]


def redeclare_config(raw: bytes, arrays: Iterable[np.ndarray | Deferred]) -> bytes:
    """Another library's configuration that says the dtype of the parameters, as it is for these.

    Args:
        raw: The JSON of its file; what is none, or says no dtype, stays as it is, byte for byte.
        arrays: The parameters; the dtype is the one that most of their bytes have.

    Raises:
        FormatError: It is nested too deeply, or has a number out of bounds.
    """
    sizes: dict[str, int] = {}
    for array in {id(each): each for each in arrays}.values():
        name = str(dtypes.dense_name(array.dtype))
        if name in FLOATS:
            sizes[name] = sizes.get(name, 0) + array.nbytes
    config = strict.document(raw, what="config.json", strict=False)
    if not sizes or not isinstance(config, dict) or not _declare(config, max(sizes, key=lambda name: sizes[name])):
        return raw
    return json.dumps(config, indent=2, ensure_ascii=False).encode() + b"\n"


def _declare(config: dict[str, Any], dtype: str) -> bool:
    """Say a dtype in a configuration and those within it; whether another one stood somewhere."""
    stale = [key for key in ("dtype", "torch_dtype") if isinstance(config.get(key), str) and config[key] != dtype]
    config |= dict.fromkeys(stale, dtype)
    inner = [each for key, each in config.items() if key.endswith("_config") and isinstance(each, dict)]
    return bool(stale) | any(list(map(_declare, inner, repeat(dtype))))


def _greatest(dtype: np.dtype) -> float:
    import ml_dtypes

    return float(ml_dtypes.finfo(dtype).max)  # type: ignore[no-untyped-call]


class _Conversion:
    """The conversion of one array."""

    def __init__(self, name: str, array: Deferred, dtype: np.dtype) -> None:
        self._name, self._array, self._dtype = name, array, dtype
        self._loss: _Loss | None = None

    def converted(self) -> Deferred:
        """The array as it shall be; to read all of it, piece by piece, tells what that costs.

        Its pieces raise :class:`OutOfRange` behind the last one.
        """
        read, rows = self._array.read, self._array.rows
        return Deferred(
            self._array.shape,
            self._dtype,
            lambda: self._cast(read()),
            None,
            self._pieces,
            None if rows is None else lambda start, stop: self._cast(rows(start, stop)),
        )

    def measured(self) -> Conversion:
        """What the conversion did; the array is read now if it was not before."""
        loss = self._known()
        was, becomes = str(dtypes.dense_name(self._array.dtype)), str(dtypes.dense_name(self._dtype))
        return Conversion(self._name, was, becomes, loss.largest, loss.relative, loss.zeroed)

    def problem(self) -> str | None:
        """Which value is beyond the new dtype, in words."""
        beyond = self._known().beyond
        if beyond is None:
            return None
        return f"{beyond:.6g} is beyond {dtypes.dense_name(self._dtype)}, which ends at {_greatest(self._dtype):.6g}"

    def _known(self) -> _Loss:
        if self._loss is None:
            with contextlib.suppress(OutOfRange):
                for _ in self._pieces():
                    pass
        return cast("_Loss", self._loss)

    def _pieces(self) -> Iterator[memoryview]:
        loss = _Loss()
        for values in _values(self._array):
            # Setting what NumPy does with floats takes as long as the rest of a small array.
            with np.errstate(all="ignore"):
                found = values.astype(self._dtype)
                loss.add(values, found)
            yield found.view(np.uint8).data
        self._loss = loss
        if loss.beyond is not None:
            raise OutOfRange

    def _cast(self, values: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return values.astype(self._dtype)


@dataclass
class _Loss:
    """What numbers lose that become others; `beyond`: the largest that the others end before."""

    largest: float = 0.0
    relative: float = 0.0
    zeroed: int = 0
    beyond: float | None = None

    def add(self, values: np.ndarray, found: np.ndarray) -> None:
        """Compare numbers with what they became, where NumPy says nothing of floats."""
        wide: Any = np.float64 if 8 in (values.dtype.itemsize, found.dtype.itemsize) else np.float32
        before, after = values.astype(wide), found.astype(wide)
        error, size = np.abs(before - after), np.abs(before)
        # A number that is not finite comes through all of these.
        largest = float(error.max(initial=0))
        if not math.isfinite(largest + float(size.max(initial=0))):
            is_finite = np.isfinite(before)
            lost = is_finite & ~np.isfinite(after)
            if lost.any():
                self.beyond = max(self.beyond or 0.0, float(size[lost].max()))
            error[~is_finite | lost] = 0
            largest = float(error.max(initial=0))
        self.largest = max(self.largest, largest)
        # Nothing over nothing is no number, and left out.
        relative = np.fmax.reduce(np.divide(error, size, out=size), initial=0)
        self.relative = max(self.relative, float(relative))
        self.zeroed += int(np.count_nonzero(before)) - int(np.count_nonzero(after))


def _values(array: Deferred) -> Iterator[np.ndarray]:
    """An array's numbers, flat, some after others."""
    little = dtypes.LITTLE[str(dtypes.dense_name(array.dtype))]
    for piece in pieces_of(array):
        yield np.frombuffer(piece, little)
