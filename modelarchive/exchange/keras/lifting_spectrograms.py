"""How spectrograms are lifted: frames of a signal times the table of the waves, of known lengths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np

from modelarchive.exchange.budget import spend
from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.keras.formulas import Term
from modelarchive.exchange.keras.lifting_context import Context
from modelarchive.exchange.keras.lifting_fourier import waves
from modelarchive.exchange.keras.lifting_math import arctan2
from modelarchive.exchange.keras.lifting_ops import one
from modelarchive.exchange.keras.lifting_ordering import known_size
from modelarchive.exchange.keras.lifting_padding import padding
from modelarchive.exchange.keras.row import Lifting, operation
from modelarchive.exchange.keras.weights import same
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.strict import short

#: The longest frame.
_LONGEST: Final = 2048
_MOST_BINS: Final = 1024
_MOST_CHANNELS: Final = 64
#: What Keras keeps away from 0, ``keras.config.epsilon()``.
_EPSILON: Final = 1e-7
#: The mel scale as HTK and Keras have it.
_MEL_BREAK, _MEL_FACTOR = 700.0, 1127.0


def _mel(context: Context) -> Ref:
    """MelSpectrogram: how strong bands of frequencies are, in decibels where that is asked for."""
    config = context.config
    size = config.integer("fft_length", 2048)
    real, imaginary = _frequencies(context, context.x, size, 512)
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


def _frequencies(context: Context, x: Ref, size: int, usual: int | None = None) -> tuple[Term, Term]:
    """Real and imaginary parts (..., frames, frequencies) of frames around each place, or from each place on."""
    config = context.config
    stride = config.integer("sequence_stride", usual) if usual else config.integer("sequence_stride")
    length = config.value("sequence_length", None) or size
    if not (2 <= size <= _LONGEST and stride > 0 and type(length) is int and 0 < length <= size):
        raise Refusal(f"frames of {short(length)} of {size:,} in steps of {stride:,} are not supported")
    window = _window(config.value("window", "hann"), length)
    x = context.as_float(x)
    if context.dtype(x).name not in ("float32", "float64"):
        raise Refusal(f"of {context.dtype(x)} is not supported, only of float32 and float64")
    samples, around = known_size(context, x, -1), size // 2 if config.flag("center", default=True) else 0
    if samples <= around or samples + 2 * around < size:
        raise Refusal(f"{samples:,} samples are too few for frames of {size:,}")
    if around:
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
    if not (rate > 0 and 0 < count <= _MOST_BINS and isinstance(high, int | float) and 0 <= low < high < 1e9):
        raise Refusal(f"{count} bands from {low} to {short(high)} Hz are not supported")
    mel = _on_mel_scale(np.linspace(0, rate / 2, frequencies)[1:])[:, None]
    edges = np.linspace(_on_mel_scale(low), _on_mel_scale(high), count + 2)
    below, middle, above = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (mel - below) / (middle - below), (above - mel) / (above - middle)
    return np.pad(np.maximum(0, np.minimum(rising, falling)), [(1, 0), (0, 0)])  # none for what is constant


def _on_mel_scale(frequency: Any) -> Any:
    return _MEL_FACTOR * np.log(1 + frequency / _MEL_BREAK)


def _transformed(context: Context) -> list[Ref]:
    """STFT: real and imaginary parts."""
    return [each.ref for each in _frequencies(context, one(context), context.config.integer("fft_length"))]


def _has(part: str) -> Callable[[Any], bool]:
    return lambda fields: fields["mode"] != part


def _of_kernels(context: Context) -> Ref:
    """STFTSpectrogram: each channel times kernels, which are parameters."""
    config = context.config
    mode, is_last = config.text("mode", "log"), config.text("data_format", "channels_last") == "channels_last"
    for name in ("frame_length", "fft_length", "window", "periodic", "scaling"):
        config.value(name, None)  # the kernels are made of them
    x = context.as_float(context.x)
    channels = known_size(context, x, -1 if is_last else 1)
    if not 1 <= channels <= _MOST_CHANNELS:
        raise Refusal(f"{channels:,} channels are not supported, at most {_MOST_CHANNELS}")
    held = context.held({"mode": mode}, context.weights, context.layer)
    kernels = {own: Term(context, context.builder.variable(own, key, is_trained=context.is_trainable()))
               for own, key in held.items()}  # fmt: skip
    kernels = {own: each.op("transpose", axes=[2, 1, 0]) for own, each in kernels.items()}
    length = context.dims(next(iter(kernels.values())).ref)[-1] or 0
    step = config.value("frame_step", None) or length // 2
    if type(step) is not int or step < 1:
        raise Refusal(f"frame_step = {short(step)} is no step")
    pairs = padding(context, x, "NTC" if is_last else "NCT", [length], [step])
    x = context.op("transpose", x, axes=[0, 2, 1]) if is_last else x
    found = []
    for at in range(channels):
        own = context.op("slice", x, index=[[None, None, None], [at, at + 1, None]])
        parts = {
            name: Term(context, own).op("conv", kernel, strides=[step], padding=pairs, dilation=[1])
            for name, kernel in kernels.items()
        }
        found.append(_strength(mode, parts.get("real_kernel"), parts.get("imag_kernel")))
    expanded = config.flag("expand_dims", default=False)
    # (batch, frequencies, frames) of each channel.
    if expanded:
        whole = context.op("stack", *(each.ref for each in found), axis=1)
        return context.op("transpose", whole, axes=[0, 3, 2, 1] if is_last else [0, 1, 3, 2])
    whole = context.op("concatenate", *(each.ref for each in found), axis=1) if channels > 1 else found[0].ref
    return context.op("transpose", whole, axes=[0, 2, 1]) if is_last else whole


def _strength(mode: str, real: Any, imaginary: Any) -> Term:
    """What is asked for of the parts of a spectrum, (batch, frequencies, frames)."""
    if mode in ("real", "imag"):
        found: Term = real if mode == "real" else imaginary
        return found
    context = real.context
    if mode == "stft":
        return Term(context, context.op("concatenate", real.ref, imaginary.ref, axis=1))
    if mode == "angle":
        return arctan2(imaginary, real)
    power: Term = real * real + imaginary * imaginary
    if mode == "psd":
        inner = context.op("slice", power.ref, index=[[None, None, None], [1, -1, None]])
        pairs = [[0, 0], [1, 1], [0, 0]]
        return power + Term(context, context.op("pad", inner, padding=pairs, mode="constant", value=0.0))
    found = power.op("maximum", _EPSILON).op("sqrt")
    if mode not in ("log", "magnitude"):
        raise Refusal(f"mode = {short(mode)} is not supported")
    return found if mode == "magnitude" else found.op("maximum", _EPSILON).op("log")


#: Operations on signals.
SIGNALS: Final[tuple[Lifting, ...]] = (
    operation("STFT", "pad, take, matmul", _transformed, f"of known lengths, frames of at most {_LONGEST:,}"),
)

#: Layers that make spectrograms.
SPECTROGRAMS: Final[tuple[Lifting, ...]] = (
    Lifting(
        "MelSpectrogram",
        "pad, take, matmul",
        _mel,
        f"of known lengths, frames of at most {_LONGEST:,}",
        masks="drop",
    ),
    Lifting(
        "STFTSpectrogram",
        "conv, log",
        _of_kernels,
        f"of at most {_MOST_CHANNELS} channels",
        weights=tuple(
            replace(same(f"{name}_kernel", f"{name}_kernel"), present=_has(other))
            for name, other in (("real", "imag"), ("imag", "real"))
        ),
        masks="drop",
    ),
)
