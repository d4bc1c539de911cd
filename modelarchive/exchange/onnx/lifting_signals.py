"""How ONNX's operators on signals are lifted: transforms as products with tables of waves, and windows as constants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from modelarchive import dtypes
from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.onnx.lifting_context import Context, Lift
from modelarchive.exchange.onnx.lifting_sizes import sizes_of
from modelarchive.exchange.onnx.values import Constant
from modelarchive.exchange.onnx.words import DTYPES
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lifting
from modelarchive.nn.dim import Dim
from modelarchive.store.deferred import Deferred

_WHOLE: Final = [None, None, None]
#: Samples of a window, the most.
_MAX_WINDOW: Final = 1 << 20


def _fourier(context: Context) -> Ref:
    """The discrete Fourier transform along one axis, or from one side of it back to real numbers."""
    node, rank = context.node, context.rank(0)
    axis = node.integer("axis", 1) if context.opset < 20 else context.whole(2) if context.has(2) else -2
    axis, onesided = context.axis(axis), node.flag("onesided", default=False)
    inverse = node.flag("inverse", default=False)
    last, size = context.shape(0)[-1], sizes_of(context)[axis]
    if inverse and not onesided:
        raise Refusal("an inverse DFT to complex numbers is not supported")
    length = context.whole(1) if context.has(1) else 2 * (size - 1) if inverse and not isinstance(size, Dim) else size
    if onesided and not inverse and last == 2:
        raise Refusal("one side of the DFT of complex numbers is not supported")
    if last not in (1, 2) or axis == rank - 1 or isinstance(size, Dim) or isinstance(length, Dim) or length < 1:
        raise Refusal("DFT along an axis that is not fixed, or of other numbers, is not supported: pass inputs=")
    taken = min(size, length // 2 + 1 if inverse else length)
    count = length // 2 + 1 if onesided and not inverse else length
    waves = _waves(context, taken, count, length)
    if inverse:
        # Each number stands for itself and its mirror image, but for those that are their own.
        own = np.isin(np.arange(taken), (0, length / 2))
        waves = [table * np.where(own, 1, 2)[:, None] / length for table in (waves[0], -waves[1])]
    x = context.as_dtype(context.ref(0), "float64")
    if taken < size:
        x = context.op("slice", x, index=[*[_WHOLE] * axis, [None, taken, None]])
    letters = "abcdefghijklmnop"[: rank - 1]
    pattern = f"{letters},{letters[axis]}z->{letters.replace(letters[axis], 'z')}"
    tables = [context.fixed(each) for each in waves]
    parts = [context.op("slice", x, index=[*[_WHOLE] * (rank - 1), place]) for place in range(int(last))]
    products = [[context.op("einsum", part, table, pattern=pattern) for table in tables] for part in parts]
    return _complex(context, products, axis=rank - 1, real=inverse)


def _waves(context: Context, taken: int, count: int, length: int) -> list[np.ndarray]:
    """Cosines and sines, of samples by frequencies; in float64, for small results are differences of large ones."""
    context.make(2 * taken * count)
    angles = 2 * np.pi * (np.outer(np.arange(taken), np.arange(count)) % length) / length
    return [np.cos(angles), np.sin(angles)]


def _complex(context: Context, products: list[list[Ref]], *, axis: int, real: bool = False) -> Ref:
    """(a + ib)(cos - i sin), of the products of a, and perhaps of b, with both; in the dtype of the input."""
    whole, imaginary = products[0][0], context.op("negative", products[0][1])
    if len(products) == 2:
        whole = context.op("add", whole, products[1][1])
        imaginary = context.op("add", imaginary, products[1][0])
    found = [whole] if real else [whole, imaginary]
    return context.as_dtype(context.op("stack", *found, axis=axis), context.dtype(0))


def _short_time(context: Context) -> Ref:
    """The Fourier transform of one frame after another: a convolution with waves, so that any length does."""
    step, onesided = context.whole(1), context.node.flag("onesided", default=True)
    window = context.constant(2) if context.has(2) else None
    if window is not None and not dtypes.is_float(window.dtype):
        raise Refusal(f"STFT with a window of {window.dtype} is not supported")
    length = context.whole(3) if context.has(3) else 0 if window is None else window.size
    shape = context.shape(0)
    last = shape[-1] if len(shape) == 3 else 1
    if step < 1 or not 1 <= length <= _MAX_WINDOW or (window is not None and window.shape != (length,)):
        raise Refusal(f"STFT of frames of {length:,}, each {step:,} after the last, is not supported")
    if len(shape) not in (2, 3) or last not in (1, 2) or (onesided and last == 2):
        raise Refusal(f"STFT of the shape {shape}, or one side of that of complex numbers, is not supported")
    bins = length // 2 + 1 if onesided else length
    tables = _waves(context, length, bins, length)
    tables = tables if window is None else [table * window.astype(np.float64)[:, None] for table in tables]
    weights = [context.fixed(np.ascontiguousarray(table.T[:, None])) for table in tables]
    x = context.as_dtype(context.ref(0), "float64")
    products = []
    for place in range(int(last)):
        part = x if len(shape) == 2 else context.op("slice", x, index=[_WHOLE, _WHOLE, place])
        part = context.op("expand_dims", part, axis=1)
        framed = [
            context.op("conv", part, weight, strides=[step], padding=[[0, 0]], dilation=[1]) for weight in weights
        ]
        products.append([context.op("transpose", each, axes=[0, 2, 1]) for each in framed])
    return _complex(context, products, axis=3)


def _window(function: Callable[[np.ndarray], np.ndarray]) -> Lift:
    """A window of a known size, by a function of the angles, of which 2 pi is a whole turn."""

    def lift(context: Context) -> Constant:
        size, code = context.whole(0), context.node.integer("output_datatype", 1)
        dtype = dtypes.DENSE.get(DTYPES.get(code, ""))
        if dtype is None or dtype.kind not in "f" or not 0 <= size <= _MAX_WINDOW:
            raise Refusal(f"{context.node.op} of {size:,} elements of the type {code} is not supported")
        context.make(size)
        turn = size if context.node.flag("periodic", default=True) else size - 1
        angles = 2 * np.pi * np.arange(size) / max(turn, 1)
        return Constant(Deferred.of(function(angles).astype(dtype)))

    return lift


def _hann(angles: np.ndarray) -> np.ndarray:
    return np.asarray(np.sin(angles / 2) ** 2)


def _hamming(angles: np.ndarray) -> np.ndarray:
    return np.asarray(25 / 46 - 21 / 46 * np.cos(angles))


def _blackman(angles: np.ndarray) -> np.ndarray:
    return np.asarray(0.42 - 0.5 * np.cos(angles) + 0.08 * np.cos(2 * angles))


_KNOWN: Final = "of a known size"
ROWS: Final[list[Lifting]] = [
    Lifting("DFT", "einsum, stack", _fourier, "a known length; the inverse of one side only"),
    Lifting("STFT", "conv, stack", _short_time, "window, frames and steps known"),
    Lifting("HannWindow", "(a constant)", _window(_hann), _KNOWN),
    Lifting("HammingWindow", "(a constant)", _window(_hamming), _KNOWN),
    Lifting("BlackmanWindow", "(a constant)", _window(_blackman), _KNOWN),
]
