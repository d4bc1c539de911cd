"""The parts that one weight is packed in, and the weight that is made of them when it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from modelarchive.store.deferred import Deferred


class MisfitError(Exception):
    """Parts do not belong together; says how."""


@dataclass(frozen=True)
class Packed:
    """One layer of a folder.

    Attributes:
        parts: Name of each part -> array.
        options: What config.json says of how weights are quantised.
        dtype: The dtype of the model.
        name: The layer's, as `parts` are of it.
        metadata: Of the files.
        FLOATS: Dtypes that scales have.
    """

    FLOATS: ClassVar = ("float16", "bfloat16", "float32")

    parts: Mapping[str, Deferred]
    options: Mapping[str, Any]
    dtype: np.dtype
    name: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def expect(self, name: str, dtypes: str | Sequence[str], shape: tuple[int | None, ...] | None = None) -> Deferred:
        """A part of a dtype and of a shape, in which None is any size; of any shape where none is given.

        Raises:
            MisfitError: It is not there, or another, or has no elements.
        """
        entry = self.parts.get(name)
        if entry is None:
            raise MisfitError(f"has no {name}")
        allowed = (dtypes,) if isinstance(dtypes, str) else tuple(dtypes)
        if entry.dtype.name not in allowed:
            raise MisfitError(f"{name} is {entry.dtype.name}, expected {' or '.join(allowed)}")
        if not entry.size:
            raise MisfitError(f"{name} has the shape {entry.shape}, which is of no elements")
        if shape is None or (
            len(entry.shape) == len(shape)
            and all(size in (None, own) for own, size in zip(entry.shape, shape, strict=True))
        ):
            return entry
        sizes = ", ".join("any" if size is None else str(size) for size in shape)
        expected = f"({sizes})" if any(size is not None for size in shape) else f"{len(shape)} axes"
        raise MisfitError(f"{name} has the shape {entry.shape}, expected {expected}")

    def small(self, name: str, most: int) -> np.ndarray:
        """A part of few elements, read at once.

        Raises:
            MisfitError: It has more.
        """
        entry = self.parts[name]
        if entry.size > most:
            raise MisfitError(f"{name} has {entry.size:,} elements, expected at most {most:,}")
        return entry.read()

    def made(
        self, shape: tuple[int, ...], dtype: np.dtype, names: Sequence[str], function: Callable[..., np.ndarray]
    ) -> Deferred:
        """A weight that a function makes of some parts when it is asked for."""
        entries = [self.parts[name] for name in names]
        origin = entries[0].origin

        def read() -> np.ndarray:
            # Scales that are no numbers, or too large for the dtype, give what they give in the libraries.
            with np.errstate(all="ignore"):
                found = function(*((each.view or each.read)() for each in entries))
                return np.ascontiguousarray(found.astype(dtype, copy=False)).reshape(shape)

        return Deferred(shape, dtype, read, origin=origin)
