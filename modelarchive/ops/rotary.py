"""Rotary position embedding: pairs of elements are turned by an angle that grows with the position."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from modelarchive.ops.registry import Array

STYLES: Final = ("halves", "interleaved")
#: Type of a scaling -> its numbers.
SCALINGS: Final[dict[str, tuple[str, ...]]] = {
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position"),
}


@dataclass(frozen=True)
class Rotary:
    """How positions turn queries and keys (Su et al. 2021, arXiv:2104.09864).

    Pair i of the first `dim` elements of a head turns by ``position * base ** (-2 i / dim)`` radians.

    Attributes:
        dim: How many elements of a head turn; even. The others stay.
        base: See above.
        style: Which elements are pair i: "halves": i and ``i + dim / 2`` (Llama and GPT-NeoX in
            transformers); "interleaved": ``2 i`` and ``2 i + 1`` (GPT-J, the original paper).
        scaling: None, or how the angles are changed for long texts: ``{"type": "linear", "factor"}`` divides
            them (Chen et al. 2023, arXiv:2306.15595); ``{"type": "llama3", "factor", "low_freq_factor",
            "high_freq_factor", "original_max_position"}`` divides those of long waves only, as Llama 3.1.
    """

    dim: int
    base: float = 10000.0
    style: str = "halves"
    scaling: tuple[tuple[str, Any], ...] | None = None

    @classmethod
    def from_config(cls, config: Mapping[str, Any], head_dim: int) -> Rotary:
        """From JSON; `dim` is `head_dim` if absent, the others have the defaults above.

        Raises:
            ValueError: A key or value is not as expected.
        """
        unknown = set(config) - {"dim", "base", "style", "scaling"}
        if unknown:
            raise ValueError(f"rotary: expected dim, base, style, scaling, found {sorted(map(str, unknown))}")
        dim = config.get("dim", head_dim)
        if isinstance(dim, bool) or not isinstance(dim, int | np.integer) or not 0 < dim <= head_dim or dim % 2:
            raise ValueError(f"rotary: dim: expected an even number up to head_dim {head_dim}, found {dim!r}")
        style = config.get("style", "halves")
        if style not in STYLES:
            raise ValueError(f"rotary: style: expected 'halves' or 'interleaved', found {style!r}")
        base = _positive("base", config.get("base", 10000.0))
        return cls(int(dim), base, style, _scaling(config.get("scaling")))

    @property
    def config(self) -> dict[str, Any]:
        """As JSON."""
        scaling = None if self.scaling is None else dict(self.scaling)
        return {"dim": self.dim, "base": self.base, "style": self.style, "scaling": scaling}

    def angles(self, length: int) -> Array:
        """The angle of each pair at the positions from 0 on: ``(length, dim / 2)`` in float64, in radians."""
        per_position = self.base ** (-np.arange(0, self.dim, 2, dtype=np.float64) / self.dim)
        scaling = dict(self.scaling or ())
        if scaling.get("type") == "linear":
            per_position /= scaling["factor"]
        elif scaling:
            low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
            waves = scaling["original_max_position"] * per_position / (2 * math.pi)
            kept = np.clip((waves - low) / (high - low), 0, 1)
            per_position *= kept + (1 - kept) / scaling["factor"]
        return np.multiply.outer(np.arange(length, dtype=np.float64), per_position)

    def turn(self, *arrays: Array) -> None:
        """Turn arrays ``(batch, length, heads, head_dim)`` in place."""
        angles = self.angles(max((array.shape[1] for array in arrays), default=0))[:, None]
        cosines, sines = np.cos(angles), np.sin(angles)
        half = self.dim // 2
        for array in arrays:
            cos, sin = (each[: array.shape[1]].astype(array.dtype) for each in (cosines, sines))
            turned = array[..., : self.dim]
            if self.style == "halves":
                one, two = turned[..., :half], turned[..., half:]
            else:
                one, two = turned[..., 0::2], turned[..., 1::2]
            new = one * cos
            new -= two * sin
            two *= cos
            two += one * sin
            one[...] = new


def _scaling(config: Any) -> tuple[tuple[str, Any], ...] | None:
    if config is None:
        return None
    kind = config.get("type") if isinstance(config, Mapping) else None
    if not isinstance(kind, str) or kind not in SCALINGS or set(config) != {"type", *SCALINGS[kind]}:
        expected = " or ".join(f"type {each} with {', '.join(names)}" for each, names in SCALINGS.items())
        raise ValueError(f"rotary: scaling: expected None, or {expected}, found {config!r}")
    numbers = {name: _positive(f"scaling: {name}", config[name]) for name in SCALINGS[kind]}
    if kind == "llama3" and not numbers["low_freq_factor"] < numbers["high_freq_factor"]:
        raise ValueError("rotary: scaling: expected a low_freq_factor below the high_freq_factor")
    return (("type", kind), *numbers.items())


def _positive(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 < value < math.inf:
        raise ValueError(f"rotary: {name}: expected a number above 0, found {value!r}")
    return float(value)
