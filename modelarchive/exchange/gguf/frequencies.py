"""The factors by which a tensor of GGUF divides the frequencies of rotary positions, as Llama 3 stretches them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from modelarchive.exchange.gguf.files import Tensor

#: As Llama 3.1 has them: factors of low and of high frequencies, and the length of texts before.
_USUAL: Final = (1.0, 4.0, 8192)
#: Largest difference of factors that are float32, relative to them.
_NEAR: Final = 2e-6
#: How far the factors may lie apart, where one frequency alone lies between them.
_SPANS: Final = (1.0, 7.0, 0.25, 0.05, 0.01)
#: Frequencies of the largest head.
_MOST: Final = 1 << 16


def factors_of(tensor: Tensor) -> np.ndarray | None:
    """The factors, float32 ``(head_dim / 2)``; None: it holds none."""
    if len(tensor.shape) != 1 or not 0 < tensor.shape[0] <= _MOST:
        return None
    factors = np.asarray(tensor.array().read(), np.float32)
    return factors if bool(np.isfinite(factors).all() and (factors >= 1).all()) else None


def llama3_factors(head_dim: int, base: float, settings: Mapping[str, Any]) -> np.ndarray:
    """The factors that settings of the type ``llama3`` mean, float32 ``(head_dim / 2)`` (Llama 3.1, transformers)."""
    wavelengths = 2 * math.pi * base ** (np.arange(0, head_dim, 2) / head_dim)
    low, high = (settings[f"{which}_freq_factor"] for which in ("low", "high"))
    smooth = (settings["original_max_position_embeddings"] / wavelengths - low) / (high - low)
    found: np.ndarray = 1 / (1 - np.clip(1 - smooth, 0, 1) * (1 - 1 / settings["factor"]))
    return found.astype(np.float32)


def scaling_of(factors: np.ndarray, base: float) -> dict[str, Any] | None:
    """The settings of which factors are made; None: of none that are known.

    Between the shortest waves, which stay as they are, and the longest, which are stretched by the whole factor, the
    part that is left of a frequency grows as a line with the frequency. Two numbers make a line, and three settings
    mean one: where Llama 3.1's own mean the same, they are taken, else those with the factor 1 of low frequencies.
    """
    if (factors == 1).all():
        return {"rope_type": "default"}
    head_dim, factor = 2 * len(factors), float(str(factors.max()))
    for low, high, length in (_USUAL, *_lines(factors, factor, base ** (-np.arange(0, head_dim, 2) / head_dim))):
        found = {
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low,
            "high_freq_factor": float(high),
            "original_max_position_embeddings": length,
        }
        if length > 0 and np.allclose(llama3_factors(head_dim, base, found), factors, rtol=_NEAR, atol=0):
            return found
    return None


def _lines(factors: np.ndarray, factor: float, frequencies: np.ndarray) -> Iterator[tuple[float, float, float]]:
    """Settings that may be meant: factors of low and of high frequencies, and a length of texts."""
    inverse = frequencies / (2 * math.pi)
    left = (1 / factors.astype(np.float64) - 1 / factor) / (1 - 1 / factor)
    between = (left > 1e-6) & (left < 1 - 1e-6)
    low, high, _ = _USUAL
    if between.sum() > 1:
        x, y = inverse[between], left[between]
        away = x - x.mean()
        slope = away @ y / (away @ away)
        at_zero = y.mean() - slope * x.mean()
        if slope > 0 > at_zero:
            span = -1 / at_zero
            yield low, low + _round(span), _round(slope * span)
    elif between.sum() == 1:
        # One point is of many lines; the steeper ones leave its neighbours out.
        for span in (high - low, *_SPANS):
            yield low, low + span, _round((left[between][0] * span + low) / inverse[between][0])
    elif (longest := int((factors == 1).sum())) < len(factors):
        # Any length that lies between the two waves.
        short = 1 / inverse[longest - 1] if longest else 1.0
        length = math.floor(1 / inverse[longest])
        yield low, (low + length / short) / 2, length


def _round(value: float) -> float:
    """A number that is nearly whole as the whole one."""
    return round(value) if abs(value - round(value)) < 1e-4 * abs(value) else float(value)
