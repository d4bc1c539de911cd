"""Operations of ``keras.ops`` that are read as formulas: class -> a function of a tensor ``(batch, 5, 6)``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

_rng = np.random.default_rng(0)


def _numbers(*shape: int) -> np.ndarray:
    return _rng.normal(size=shape).astype("float32")


def _within(x: Any) -> Any:
    return ops.tanh(x) * 0.9


def _square(x: Any) -> Any:
    return ops.matmul(x, ops.transpose(x, (0, 2, 1)))


def _heads(x: Any) -> Any:
    return ops.reshape(x, (-1, 5, 2, 3))


def _some_nan(x: Any) -> Any:
    return ops.log(x + 0.5)  # of what is less, NaN


_MEMBERS: dict[str, Callable[[Any], Any]] = {
    "ArraySplit": lambda x: ops.array_split(x, 4, axis=2),
    "CDist": lambda x: ops.cdist(x, ops.flip(x, 1) * 0.5),
    "Conj": ops.conj,
    "Conjugate": ops.conjugate,
    "Dsplit": lambda x: ops.dsplit(x, [2, 3]),
    "Dstack": lambda x: ops.dstack([x, x]),
    "Hsplit": lambda x: ops.hsplit(x, [1, 3]),
    "IsIn": lambda x: ops.isin(ops.round(x), np.array([-1.0, 1.0, 2.0], "float32")),
    "IsIn not": lambda x: ops.isin(ops.round(x), np.array([-1.0, 1.0, 2.0], "float32"), invert=True),
    "Isreal": ops.isreal,
    "Ldexp": lambda x: ops.ldexp(x, ops.cast(ops.round(x), "int32")),
    "LeftShift": lambda x: ops.left_shift(ops.cast(x * 9.0, "int32"), ops.cast(x * x, "int32")),
    "Nanargmax": lambda x: ops.nanargmax(_some_nan(x), axis=1),
    "Nanargmin": lambda x: ops.nanargmin(_some_nan(x), axis=2),
    "Nancumprod": lambda x: ops.nancumprod(_some_nan(x), axis=2),
    "Nanprod": lambda x: ops.nanprod(_some_nan(x), axis=1),
    "Nanstd": lambda x: ops.nanstd(_some_nan(x), axis=(1, 2)),
    "Nancumsum": lambda x: ops.nancumsum(_some_nan(x), axis=1),
    "Real": ops.real,
    "RightShift": lambda x: ops.right_shift(ops.cast(x * 9.0, "int32"), ops.cast(x * x, "int32")),
    "SearchSorted": lambda x: ops.searchsorted(np.array([-1.0, 0.0, 0.5], "float32"), x),
    "SearchSorted right": lambda x: ops.searchsorted(np.array([-1.0, 0.0, 1.0], "float32"), ops.round(x), side="right"),
    "Sparsemax": ops.sparsemax,
    "Trapezoid": lambda x: ops.trapezoid(x, dx=0.5, axis=1),
    "Vander": lambda x: ops.vander(x[0, 1], 4),
    "Vander increasing": lambda x: ops.vander(x[1, 2], increasing=True),
    "Vsplit": lambda x: ops.vsplit(ops.transpose(x, (1, 0, 2)), 5)[2],
}


_ELEMENTS: dict[str, Callable[[Any], Any]] = {
    "Arccos": lambda x: ops.arccos(_within(x)),
    "Arccosh": lambda x: ops.arccosh(x * x * 1e3 + 1.0),
    "Arcsin": lambda x: ops.arcsin(_within(x)),
    "Arcsinh": lambda x: ops.arcsinh(x * 1e3),
    "Arctan2": lambda x: ops.arctan2(x, ops.flip(x, 1)),
    "Arctanh": lambda x: ops.arctanh(_within(x)),
    "BitwiseInvert": lambda x: ops.bitwise_invert(ops.cast(x * 9.0, "int32")),
    "BitwiseNot": lambda x: ops.bitwise_not(ops.cast(x * 9.0, "int32")),
    "Cbrt": ops.cbrt,
    "Ceil": lambda x: ops.ceil(x * 3.0),
    "Cosh": ops.cosh,
    "Deg2rad": ops.deg2rad,
    "DivideNoNan": lambda x: ops.divide_no_nan(x, ops.round(x)),
    "Erfc": ops.erfc,
    "Erfinv": lambda x: ops.erfinv(_within(x)),
    "Exp2": ops.exp2,
    "Expm1": lambda x: ops.expm1(x * 1e-3),
    "Fabs": ops.fabs,
    "Fmax": lambda x: ops.fmax(_some_nan(x), x),
    "Fmin": lambda x: ops.fmin(x, _some_nan(x)),
    "Fmod": lambda x: ops.fmod(x * 5.0, x * x + 1.0),
    "HardShrink": ops.hard_shrink,
    "Heaviside": lambda x: ops.heaviside(ops.round(x), x),
    "Hypot": lambda x: ops.hypot(x, x + 1.0),
    "Isclose": lambda x: ops.isclose(x, ops.round(x), rtol=0.2),
    "Isfinite": lambda x: ops.isfinite(_some_nan(x)),
    "Isinf": lambda x: ops.isinf(x / ops.round(x)),
    "Isnan": lambda x: ops.isnan(_some_nan(x)),
    "Isneginf": lambda x: ops.isneginf(x / ops.round(x)),
    "Isposinf": lambda x: ops.isposinf(x / ops.round(x)),
    "Log10": lambda x: ops.log10(x * x + 1.0),
    "Log1p": lambda x: ops.log1p(x * x * 1e-3),
    "Log2": lambda x: ops.log2(x * x + 1.0),
    "Logaddexp": lambda x: ops.logaddexp(x, x * 2.0),
    "Logaddexp2": lambda x: ops.logaddexp2(x, x * 2.0),
    "LogicalXor": lambda x: ops.logical_xor(x > 0, x > 1),
    "NanToNum": lambda x: ops.nan_to_num(_some_nan(x), nan=2.0),
    "Rad2deg": ops.rad2deg,
    "SaturateCast": lambda x: ops.saturate_cast(x * 300.0, "uint8"),
    "Select": lambda x: ops.select([x > 1, x > 0], [x, x * 2.0], 0.5),
    "Sign": lambda x: ops.sign(ops.round(x)),
    "Signbit": ops.signbit,
    "Sinc": lambda x: ops.sinc(ops.round(x * 2.0) / 2.0),
    "Sinh": lambda x: ops.sinh(x * 1e-2),
    "SoftShrink": ops.soft_shrink,
    "SparsePlus": ops.sparse_plus,
    "SparseSigmoid": ops.sparse_sigmoid,
    "Squareplus": lambda x: ops.squareplus(x, b=2),
    "Tan": ops.tan,
    "TanhShrink": ops.tanh_shrink,
    "Threshold": lambda x: ops.threshold(x, 0.2, 0.5),
    "Trunc": lambda x: ops.trunc(x * 3.0),
}
_ORDER: dict[str, Callable[[Any], Any]] = {
    "Argmin": lambda x: ops.argmin(x, -1),
    "Argsort": lambda x: ops.argsort(x, 1),
    "Average": lambda x: ops.average(x, axis=-1, weights=np.arange(1.0, 7.0, dtype="float32")),
    "CountNonzero": lambda x: ops.count_nonzero(ops.round(ops.max(x, 1)), axis=-1),
    "Cumprod": lambda x: ops.cumprod(x, 1),
    "Digitize": lambda x: ops.digitize(x, np.array([-1.0, 0.0, 1.0], "float32")),
    "InTopK": lambda x: ops.in_top_k(ops.argmax(ops.sum(x, 1), -1), ops.max(x, 1), 2),
    "Median": lambda x: ops.median(x, -1),
    "Moments": lambda x: ops.moments(x, (1,)),
    "MultiHot": lambda x: ops.multi_hot(ops.argmax(x, -1), 6),
    "Nanmax": lambda x: ops.nanmax(_some_nan(x), -1),
    "Nanmean": lambda x: ops.nanmean(_some_nan(x), (1, 2)),
    "Nanmin": lambda x: ops.nanmin(_some_nan(x), -1, keepdims=True),
    "Nansum": lambda x: ops.nansum(_some_nan(x), -1),
    "Nanvar": lambda x: ops.nanvar(_some_nan(x), (1, 2)),
    "Norm": lambda x: ops.norm(x, ord=3, axis=-1),
    "OneHot": lambda x: ops.one_hot(ops.argmax(x, -1), 6, axis=1),
    "Percentile": lambda x: ops.percentile(x, 30.0, axis=-1, method="midpoint"),
    "Prod": lambda x: ops.prod(x, (1, 2)),
    "Ptp": lambda x: ops.ptp(x, -1),
    "Quantile": lambda x: ops.quantile(x, 0.3, axis=(1, 2), keepdims=True),
    "Sort": lambda x: ops.sort(x, 1),
    "TopK": lambda x: ops.top_k(x, 3),
}
_PLACES: dict[str, Callable[[Any], Any]] = {
    "Append": lambda x: ops.append(x, x, 1),
    "Cross": lambda x: ops.cross(x[..., :3], x[..., 3:]),
    "Diagonal": lambda x: ops.diagonal(x, 1, 1, 2),
    "Diff": lambda x: ops.diff(x, n=2, axis=1),
    "ExtractSequences": lambda x: ops.extract_sequences(x, 3, 2),
    "Fliplr": ops.fliplr,
    "Flipud": lambda x: ops.flipud(x[0]),
    "FullLike": lambda x: ops.full_like(x, 2.0),
    "Hstack": lambda x: ops.hstack([x, x]),
    "Inner": lambda x: ops.inner(x, x[0]),
    "Kron": lambda x: ops.kron(x[0], x[1, :2]),
    "Meshgrid": lambda x: ops.meshgrid(x[0, 0], x[1, :, 0]),
    "Outer": lambda x: ops.outer(x[0, 0], x[0, 1]),
    "Ravel": ops.ravel,
    "Roll": lambda x: ops.roll(x, 2, 1),
    "Rot90": lambda x: ops.rot90(x, k=3, axes=(1, 2)),
    "Slice": lambda x: ops.slice(x, (0, 1, 2), (2, 2, 3)),
    "SliceUpdate": lambda x: ops.slice_update(x, (0, 1, 2), x[:, 2:, :2]),
    "Trace": lambda x: ops.trace(_square(x), axis1=1, axis2=2),
    "Tril": lambda x: ops.tril(x, -1),
    "Triu": lambda x: ops.triu(x, 1),
    "Vdot": lambda x: ops.vdot(x[0, 0], x[0, 1]),
    "Vstack": lambda x: ops.vstack([x, x]),
}
_LAYERS: dict[str, Callable[[Any], Any]] = {
    "AveragePool": lambda x: ops.average_pool(x, 2, padding="same"),
    "BatchNorm": lambda x: ops.batch_normalization(x, _numbers(5), np.abs(_numbers(5)), 1, scale=_numbers(5)),
    "Conv": lambda x: ops.conv(x, _numbers(3, 6, 4), padding="same", strides=2),
    "DepthwiseConv": lambda x: ops.depthwise_conv(x, _numbers(3, 6, 2)),
    "DotProductAttention": lambda x: ops.dot_product_attention(
        _heads(x), _heads(x)[:, :, :1], _heads(x)[:, :, 1:], is_causal=True
    ),
    "LayerNorm": lambda x: ops.layer_normalization(x, _numbers(6), _numbers(6), axis=-1),
    "MaxPool": lambda x: ops.max_pool(x, 2),
    "Normalize": lambda x: ops.normalize(x, -1, order=3),
    "RMSNorm": lambda x: ops.rms_normalization(x, _numbers(6)),
    "SeparableConv": lambda x: ops.separable_conv(x, _numbers(3, 6, 2), _numbers(1, 12, 4)),
}  # fmt: skip

_FOURIER: dict[str, Callable[[Any], Any]] = {
    "FFT": lambda x: ops.fft((x, x * x)),
    "FFT2": lambda x: ops.fft2((x, -x)),
    "IFFT2": lambda x: ops.ifft2((x, x * x)),
    "RFFT": ops.rfft,
    "RFFT shorter": lambda x: ops.rfft(x, 5),
    "RFFT longer": lambda x: ops.rfft(x, 9),
    "IRFFT": lambda x: ops.irfft((x, x * x)),
    "IRFFT odd": lambda x: ops.irfft((x, x * x), 7),
}


def _positive(x: Any) -> Any:
    return _square(x) + np.eye(5, dtype="float32")


def _rows(x: Any) -> Any:
    return ops.cast(ops.round(x[:, 0, 0] * 3), "int32")  # some of them of no segment


_BROUGHT: dict[str, Callable[[Any], Any]] = {
    "BinaryCrossentropy": lambda x: ops.binary_crossentropy(ops.sigmoid(x), ops.sigmoid(2 * x)),
    "BinaryCrossentropy of logits": lambda x: ops.binary_crossentropy(ops.sigmoid(x), 30 * x, from_logits=True),
    "CategoricalCrossentropy": lambda x: ops.categorical_crossentropy(ops.softmax(x), ops.softmax(2 * x)),
    "CategoricalCrossentropy of logits": lambda x: ops.categorical_crossentropy(ops.softmax(x), x, from_logits=True),
    "Scatter": lambda x: ops.scatter(ops.abs(_rows(x))[:, None] % 2, x[:, 0], (2, 6)),
    "ScatterUpdate": lambda x: ops.scatter_update(x, [[1, 2], [0, 4]], _numbers(2, 6)),
    "ScatterUpdate sums": lambda x: ops.scatter_update(x, [[1], [1]], _numbers(2, 5, 6), reduction="add"),
    **{f"Segment{name}": lambda x, name=name: getattr(ops, f"segment_{name.lower()}")(x, _rows(x), num_segments=3)
       for name in ("Sum", "Prod", "Max", "Min")},
    "STFT": lambda x: ops.stft(ops.reshape(x, (-1, 30)), 8, 5, 16),
    "STFT from the start": lambda x: ops.stft(ops.reshape(x, (-1, 30)), 8, 3, 8, window="hamming", center=False),
}  # fmt: skip
_MATRICES: dict[str, Callable[[Any], Any]] = {
    "Cholesky": lambda x: ops.cholesky(_positive(x)),
    "Cholesky upper": lambda x: ops.cholesky(_positive(x), upper=True),
    "CholeskyInverse": lambda x: ops.cholesky_inverse(ops.cholesky(_positive(x))),
    "CholeskyInverse upper": lambda x: ops.cholesky_inverse(ops.cholesky(_positive(x), upper=True), upper=True),
    "Det": lambda x: ops.det(x[..., :5]),
    "Det of what has no inverse": lambda x: ops.det(x[..., :5] * 0),
    "Inv": lambda x: ops.inv(_positive(x)),
    "Logdet": lambda x: ops.logdet(_positive(x)),
    "Slogdet": lambda x: ops.slogdet(x[..., :5]),
    "Solve": lambda x: ops.solve(_positive(x), x),
    "SolveTriangular": lambda x: ops.solve_triangular(_positive(x), x, lower=True),
    "SolveTriangular upper": lambda x: ops.solve_triangular(_positive(x), x),
}

FORMULAS: dict[str, Callable[[Any], Any]] = {
    **_ELEMENTS, **_ORDER, **_PLACES, **_MEMBERS, **_LAYERS, **_FOURIER, **_BROUGHT, **_MATRICES,
}  # fmt: skip
#: Operations on images ``(batch, 8, 8, 8)``.
IMAGES: dict[str, Callable[[Any], Any]] = {
    "AdaptiveAveragePool": lambda x: ops.adaptive_average_pool(x, (3, 2)),
    "CropImages": lambda x: ops.image.crop_images(x, 1, 2, target_height=5, target_width=4),
    "DepthToSpace": lambda x: ops.nn.depth_to_space(x, 2),
    "ExtractPatches": lambda x: ops.image.extract_patches(x, 3, strides=2),
    "PadImages": lambda x: ops.image.pad_images(x, 1, 2, target_height=12, target_width=11),
    "RGBToGrayscale": lambda x: ops.image.rgb_to_grayscale(x[..., :3]),
    "RGBToHSV": lambda x: ops.image.rgb_to_hsv(ops.abs(x[..., 2:5])),
    "RGBToHSV gray": lambda x: ops.image.rgb_to_hsv(ops.repeat(x[..., :1], 3, axis=-1)),
    "HSVToRGB": lambda x: ops.image.hsv_to_rgb(x[..., :3]),
    "SpaceToDepth": lambda x: ops.nn.space_to_depth(x, 2),
    "Resize nearest": lambda x: ops.image.resize(x, (16, 24), interpolation="nearest"),
}
