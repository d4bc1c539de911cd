"""How spectrograms are lifted: frames of a signal times the table of the waves, of known lengths."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from modelarchive.exchange.budget import spend
from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.keras.formulas import Term
from modelarchive.exchange.keras.lifting_context import Context
from modelarchive.exchange.keras.lifting_fourier import waves
from modelarchive.exchange.keras.lifting_ordering import known_size
from modelarchive.exchange.keras.row import Lifting
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.strict import short

#: The longest frame.
_LONGEST: Final = 2048
_MOST_BINS: Final = 1024
#: The mel scale as HTK and Keras have it.
_MEL_BREAK, _MEL_FACTOR = 700.0, 1127.0


def _mel(context: Context) -> Ref:
    """MelSpectrogram: how strong bands of frequencies are, in decibels where that is asked for."""
    config = context.config
    size, stride = config.integer("fft_length", 2048), config.integer("sequence_stride", 512)
    length = config.value("sequence_length", None) or size
    if not (2 <= size <= _LONGEST and stride > 0 and type(length) is int and 0 < length <= size):
        raise Refusal(f"frames of {short(length)} of {size:,} in steps of {stride:,} are not supported")
    real, imaginary = _frequencies(context, size, length, stride, _window(config.value("window", "hann"), length))
    strength = (real * real + imaginary * imaginary).op("sqrt") ** config.number("mag_exp", 2.0)
    bands = context.constant(_bands(config, size // 2 + 1), context.dtype(strength.ref).name)
    found = strength.op("matmul", Term(context, bands))
    least, reference = config.number("min_power", 1e-10), abs(config.number("ref_power", 1.0))
    range_of = config.number("top_db", 80.0)
    if config.flag("power_to_db", default=True):
        if least <= 0:
            raise Refusal(f"min_power = {least} is not supported, only powers above 0")
        found = found.op("maximum", least).op("log") * (10 / np.log(10)) - 10 * np.log10(max(reference, least))
        # Of all that is in the batch, as Keras does.
        loudest = found.op("max", axis=None, keepdims=False)
        found = found.op("maximum", loudest - range_of)
    rank = context.rank(found.ref)
    return context.op("transpose", found.ref, axes=[*range(rank - 2), rank - 1, rank - 2])


def _window(name: Any, length: int) -> np.ndarray:
    """How much each element of a frame counts."""
    turns = 2 * np.pi * np.arange(length) / length
    if name is None:
        return np.ones(length)
    if name not in ("hann", "hamming"):
        raise Refusal(f"window = {short(name)} is not supported, only hann and hamming")
    return 0.5 - 0.5 * np.cos(turns) if name == "hann" else 0.54 - 0.46 * np.cos(turns)


def _frequencies(context: Context, size: int, length: int, stride: int, window: np.ndarray) -> tuple[Term, Term]:
    """Real and imaginary parts (..., frames, frequencies) of frames around each place."""
    x = context.as_float(context.x)
    if context.dtype(x).name not in ("float32", "float64"):
        raise Refusal(f"of {context.dtype(x)} is not supported, only of float32 and float64")
    samples, around = known_size(context, x, -1), size // 2
    if samples <= around:
        raise Refusal(f"{samples:,} samples are too few for frames of {size:,}")
    pairs = [*[[0, 0]] * (context.rank(x) - 1), [around, around]]
    x = context.op("pad", x, padding=pairs, mode="reflect", value=0.0)
    count = 1 + (samples + 2 * around - size) // stride
    spend("frames of a signal", elements=count * size)
    places = np.arange(count)[:, None] * stride + np.arange(size)
    frames = context.op("take", x, context.constant(places, "int64"), axis=context.rank(x) - 1)
    before = (size - length) // 2
    wide = np.pad(window, (before, size - length - before))[:, None]
    dtype = context.dtype(x).name
    real, imaginary = (
        Term(context, frames).op("matmul", Term(context, context.constant(wide * table[:, : size // 2 + 1], dtype)))
        for table in waves(size, most=_LONGEST)
    )
    return real, -imaginary


def _bands(config: Any, frequencies: int) -> np.ndarray:
    """Triangles (frequencies, bands) on the mel scale, each with 1 at its middle."""
    rate, count = config.number("sampling_rate", 16000), config.integer("num_mel_bins", 128)
    low, high = config.number("min_freq", 20.0), config.value("max_freq", None) or int(rate / 2)
    if not (rate > 0 and 0 < count <= _MOST_BINS and isinstance(high, int | float) and 0 <= low < high):
        raise Refusal(f"{count} bands from {low} to {short(high)} Hz are not supported")
    mel = _on_mel_scale(np.linspace(0, rate / 2, frequencies)[1:])[:, None]
    edges = np.linspace(_on_mel_scale(low), _on_mel_scale(high), count + 2)
    below, middle, above = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (mel - below) / (middle - below), (above - mel) / (above - middle)
    return np.pad(np.maximum(0, np.minimum(rising, falling)), [(1, 0), (0, 0)])  # none for what is constant


def _on_mel_scale(frequency: Any) -> Any:
    return _MEL_FACTOR * np.log(1 + frequency / _MEL_BREAK)


#: Layers that make spectrograms.
SPECTROGRAMS: Final[tuple[Lifting, ...]] = (
    Lifting(
        "MelSpectrogram",
        "pad, take, matmul",
        _mel,
        f"of known lengths, frames of at most {_LONGEST:,}",
        masks="drop",
    ),
)
