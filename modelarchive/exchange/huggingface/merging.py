"""What an adapter adds to a parameter, computed as PEFT's ``merge_and_unload`` does, when the parameter is read."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from modelarchive.store.deferred import Deferred


@dataclass(frozen=True)
class LowRank:
    """Two matrices whose product is added to a weight (Hu et al. 2021, arXiv:2106.09685).

    Attributes:
        down: ``lora_A``: ``(rank, in)``, of convolutions ``(rank, in, *kernel)``; of embeddings ``(rank, rows)``.
        up: ``lora_B``: ``(out, rank)``, of convolutions with ones behind; of embeddings ``(width, rank)``.
        scale: What the product is multiplied by.
        magnitude: Lengths of the rows of the sum, or of its columns (DoRA, Liu et al. 2024, arXiv:2402.09353); None:
            as they come.
        of_embedding: Whether the product is turned, as of an embedding.
    """

    down: Deferred
    up: Deferred
    scale: float
    magnitude: Deferred | None = None
    of_embedding: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the product, as the layer's own weight lies."""
        if self.of_embedding:
            return self.down.shape[1], self.up.shape[0]
        return self.up.shape[0], *self.down.shape[1:]

    def problem(self, rank: int) -> str:
        """What keeps the two from being multiplied; "": nothing."""
        down, up = self.down.shape, self.up.shape
        if len(down) < 2 or len(up) != len(down) or (self.of_embedding and len(down) != 2):
            return f"its matrices have the shapes {down} and {up}"
        if down[0] != rank or up[1] != rank or math.prod(up[2:]) != 1:
            return f"its matrices have the shapes {down} and {up}, and the rank is {rank}"
        if self.magnitude is not None and self.magnitude.size != self._lengths:
            return f"its magnitudes have the shape {self.magnitude.shape}, expected {self._lengths} of them"
        return ""

    @property
    def _lengths(self) -> int:
        return self.up.shape[0]

    def merged(self, entry: Deferred, *, is_turned: bool) -> Deferred:
        """A weight with the product added, of the weight's own dtype.

        Args:
            entry: The weight.
            is_turned: Whether it lies the other way: ``(in, out)``.
        """
        return _computed(entry, lambda weight: self._sum(weight, is_turned=is_turned))

    def _sum(self, weight: np.ndarray, *, is_turned: bool) -> np.ndarray:
        dtype = _wide(weight.dtype)
        product = self._product(dtype)
        product = product.T if is_turned else product
        found = weight.astype(dtype) + product
        if self.magnitude is None:
            return np.asarray(found)
        # Of an embedding the lengths are those of its columns, of other layers those of what makes one output.
        axes = (0,) if self.of_embedding or is_turned else tuple(range(1, found.ndim))
        lengths = np.sqrt((found * found).sum(axis=axes, keepdims=True))
        return np.asarray(found * (self.magnitude.read().astype(dtype).reshape(lengths.shape) / lengths))

    def _product(self, dtype: np.dtype) -> np.ndarray:
        down, up = self.down.read().astype(dtype), self.up.read().astype(dtype)
        product = (up.reshape(up.shape[:2]) @ down.reshape(down.shape[0], -1)) * dtype.type(self.scale)
        return np.asarray(product.T if self.of_embedding else product.reshape(self.shape))


def added(entry: Deferred, other: Deferred, scale: float) -> Deferred:
    """An array with another, scaled, added to it, of its own dtype."""

    def function(array: np.ndarray) -> np.ndarray:
        dtype = _wide(array.dtype)
        return np.asarray(array.astype(dtype) + other.read().astype(dtype) * dtype.type(scale))

    return _computed(entry, function)


def with_rows(entry: Deferred, rows: list[int], other: Deferred) -> Deferred:
    """An array of which some rows are another's."""

    def function(array: np.ndarray) -> np.ndarray:
        found = array.copy()
        found[rows] = other.read().astype(array.dtype)
        return found

    return entry.changed(function)


def _computed(entry: Deferred, function: Callable[[np.ndarray], np.ndarray]) -> Deferred:
    found = entry.changed(lambda array: np.ascontiguousarray(function(array).astype(array.dtype)))
    return replace(found, view=None)


def _wide(dtype: np.dtype) -> np.dtype:
    """What is computed in: PEFT keeps narrow adapters in float32."""
    return np.dtype(np.float64) if dtype == np.float64 else np.dtype(np.float32)
