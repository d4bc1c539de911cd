"""ATen operators of complex numbers, in ops on real ones: real and imaginary parts stand on a last axis of two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import torch

from modelarchive import ops
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.torch.lifting_context import Context
from modelarchive.exchange.torch.lifting_fourier import ROWS as FOURIER
from modelarchive.exchange.torch.lifting_padding import ROWS as PADDING
from modelarchive.exchange.torch.lifting_picking import ROWS as PICKING
from modelarchive.exchange.torch.lifting_rounding import angle
from modelarchive.exchange.torch.lifting_shapes import ROWS as SHAPES
from modelarchive.exchange.torch.lifting_shapes import picked, stretched
from modelarchive.exchange.torch.lifting_special import hypotenuse
from modelarchive.exchange.torch.lifting_sums import ROWS as SUMS
from modelarchive.exchange.torch.recorded import cast, is_array
from modelarchive.exchange.torch.tensors import numpy_dtype
from modelarchive.ops.contraction import normal_pattern

#: Arguments that name axes.
_AXES: Final = frozenset({"dim", "dims", "dim0", "dim1", "axis0", "axis1", "source", "destination", "start_dim"})


def _values(node: torch.fx.Node) -> list[Any]:
    value = node.meta.get("val")
    return list(value) if isinstance(value, tuple | list) else [value]


def _is_complex(node: Any) -> bool:
    return isinstance(node, torch.fx.Node) and any(
        isinstance(each, torch.Tensor) and each.is_complex() for each in _values(node)
    )


def is_complex(node: torch.fx.Node) -> bool:
    """Whether a call takes or gives complex numbers."""
    return _is_complex(node) or any(map(_is_complex, node.all_input_nodes))


def refuse_result(node: torch.fx.Node) -> None:
    """Refuse complex numbers as what a network gives.

    Raises:
        Refusal: There are some.
    """
    if _is_complex(node) and any(user.op == "output" for user in node.users):
        raise Refusal("complex numbers as a result: return torch.view_as_real of it")


class Pairs(Context):
    """A call whose complex results are pairs of real numbers."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the real and imaginary parts."""
        (first, *_) = _values(self.node)
        return numpy_dtype(first.dtype.to_real() if first.is_complex() else first.dtype)

    @property
    def shape(self) -> list[Any]:
        """The shape, with the pair."""
        (first, *_) = _values(self.node)
        return [*super().shape, 2] if first.is_complex() else super().shape


def _pair(real: Any, imaginary: Any) -> Any:
    return ops.stack([real, imaginary], axis=-1)


def _real(context: Context, x: Any) -> Any:
    return picked(x, -1, 0)


def _imaginary(context: Context, x: Any) -> Any:
    return picked(x, -1, 1)


def _parts(context: Pairs, at: int, value: Any) -> tuple[Any, Any]:
    """The parts of an operand, None for imaginary ones of real numbers."""
    given = context.node.args[at]
    if isinstance(value, complex):
        return value.real, value.imag
    if _is_complex(given):
        return picked(value, -1, 0), picked(value, -1, 1)
    return (cast(value, context.dtype) if is_array(value) else value), None


def _joined(context: Pairs, real: Any, imaginary: Any) -> Any:
    shape = context.shape[:-1]
    found = [
        stretched(cast(each, context.dtype) if is_array(each) else np.asarray(each, context.dtype), shape)
        for each in (real, imaginary)
    ]
    return _pair(*found)


def _sum(sign: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def row(context: Pairs, x: Any, other: Any, *, alpha: Any = 1) -> Any:
        (a, b), (c, d) = _parts(context, 0, x), _parts(context, 1, other)
        c, d = (each if alpha == 1 or each is None else ops.multiply(each, alpha) for each in (c, d))
        zero = np.zeros((), context.dtype)
        b, d = (zero if each is None else each for each in (b, d))
        return _joined(context, sign(a, c), sign(b, d))

    return row


def _product(context: Pairs, x: Any, other: Any) -> Any:
    (a, b), (c, d) = _parts(context, 0, x), _parts(context, 1, other)
    if b is None:
        (a, b), (c, d) = (c, d), (a, b)
    if d is None:
        return _joined(context, ops.multiply(a, c), ops.multiply(b, c))
    real = ops.subtract(ops.multiply(a, c), ops.multiply(b, d))
    return _joined(context, real, ops.add(ops.multiply(a, d), ops.multiply(b, c)))


def _quotient(context: Pairs, x: Any, other: Any) -> Any:
    (a, b), (c, d) = _parts(context, 0, x), _parts(context, 1, other)
    b = np.zeros((), context.dtype) if b is None else b
    if d is None:
        return _joined(context, ops.divide(a, c), ops.divide(b, c))
    size = ops.add(ops.multiply(c, c), ops.multiply(d, d))
    real = ops.divide(ops.add(ops.multiply(a, c), ops.multiply(b, d)), size)
    return _joined(context, real, ops.divide(ops.subtract(ops.multiply(b, c), ops.multiply(a, d)), size))


def _power(context: Pairs, x: Any, exponent: Any) -> Any:
    if exponent != 2:
        raise Refusal(f"a power of complex numbers by {exponent!r}")
    a, b = _parts(context, 0, x)
    twice = ops.multiply(ops.multiply(a, b), 2)
    return _pair(ops.subtract(ops.multiply(a, a), ops.multiply(b, b)), twice)


def _modulus(context: Pairs, x: Any) -> Any:
    return hypotenuse(*_parts(context, 0, x))


def _conjugate(context: Pairs, x: Any) -> Any:
    return ops.multiply(x, np.array([1, -1], x.dtype))


def _polar(context: Pairs, size: Any, angle: Any) -> Any:
    return _joined(context, ops.multiply(size, ops.cos(angle)), ops.multiply(size, ops.sin(angle)))


def _exponential(context: Pairs, x: Any) -> Any:
    return _polar(context, ops.exp(picked(x, -1, 0)), picked(x, -1, 1))


def _matrix_product(context: Pairs, x: Any, other: Any = None, mat2: Any = None, **more: Any) -> Any:
    other = other if other is not None else mat2 if mat2 is not None else next(iter(more.values()))
    (a, b), (c, d) = _parts(context, 0, x), _parts(context, 1, other)
    return _bilinear(ops.matmul, (a, b), (c, d))


def _bilinear(function: Callable[[Any, Any], Any], one: tuple[Any, Any], other: tuple[Any, Any]) -> Any:
    (a, b), (c, d) = one, other
    if b is None:
        return _pair(function(a, c), function(a, d))
    if d is None:
        return _pair(function(a, c), function(b, c))
    real = ops.subtract(function(a, c), function(b, d))
    return _pair(real, ops.add(function(a, d), function(b, c)))


def _einsum(context: Pairs, equation: str, *, tensors: Sequence[Any], path: Any = None) -> Any:
    given: Any = context.node.args[1]
    if len(tensors) != 2:
        raise Refusal(f"einsum of {len(tensors)} arrays with complex numbers")
    both = [
        (picked(each, -1, 0), picked(each, -1, 1)) if _is_complex(node) else (cast(each, context.dtype), None)
        for each, node in zip(tensors, given, strict=True)
    ]
    pattern = normal_pattern(equation, [each[0].ndim for each in both])
    return _bilinear(lambda x, y: ops.einsum([x, y], pattern=pattern), *both)


def _to(context: Pairs, x: Any, **ignored: Any) -> Any:
    given, wanted = _is_complex(context.node.args[0]), _is_complex(context.node)
    if given and not wanted:
        return cast(picked(x, -1, 0), context.dtype)
    x = cast(x, context.dtype)
    return x if given else _pair(x, np.zeros(()) if not is_array(x) else ops.multiply(x, 0))


def _same(context: Pairs, x: Any, **ignored: Any) -> Any:
    return x


def _as_pairs(value: Any, node: Any, dtype: Any) -> Any:
    """Numbers or an array, real or complex, as pairs."""
    if not is_array(value):
        return np.asarray([complex(value).real, complex(value).imag], dtype)
    return cast(value, dtype) if _is_complex(node) else _pair(cast(value, dtype), np.zeros((), dtype))


def _filled(context: Pairs, *ignored: Any, **more: Any) -> Any:
    value = more.get("fill_value", more.get("value", 1 if context.name.startswith(("ones", "new_ones")) else 0))
    return stretched(_as_pairs(value, context.node, context.dtype), context.shape)


def _copy(context: Pairs, x: Any, *, src: Any) -> Any:
    return stretched(_as_pairs(src, context.node.args[1], context.dtype), context.shape)


def _where(context: Pairs, condition: Any, self: Any = 1, other: Any = 0) -> Any:
    both = zip((self, other), context.node.args[1:], strict=True)
    one, two = (_as_pairs(value, node, context.dtype) for value, node in both)
    return ops.where(ops.expand_dims(condition, axis=condition.ndim), one, two)


def _masked_fill(context: Pairs, x: Any, *, mask: Any, value: Any) -> Any:
    value = _as_pairs(value, context.node.args[2], context.dtype)
    return ops.where(ops.expand_dims(mask, axis=mask.ndim), value, x)


def _logarithm(context: Pairs, x: Any) -> Any:
    return _pair(ops.log(_modulus(context, x)), _angle(context, x))


def _angle(context: Pairs, x: Any) -> Any:
    return angle(picked(x, -1, 1), picked(x, -1, 0))


def _moved(name: str, row: Callable[..., Any]) -> Callable[..., Any]:
    """A row that moves elements or reduces axes, the pair at its place."""
    more = name in ("unsqueeze", "stack")

    def pairs(context: Pairs, x: Any, **given: Any) -> Any:
        rank = (x[0] if isinstance(x, list | tuple) else x).ndim - 1
        for key in _AXES & given.keys():
            value = given[key]
            given[key] = (
                [each % (rank + more) for each in value]
                if isinstance(value, list | tuple)
                else value % max(rank + more, 1)
            )
        if name == "permute":
            given["dims"] = [*given["dims"], rank]
        if name in ("squeeze", "sum", "mean") and given.get("dim") in (None, []):
            given["dim"] = list(range(rank))
        if name == "repeat":
            given["repeats"] = [*given["repeats"], 1]
        if name in ("pad", "constant_pad_nd"):
            given["pad"] = [0, 0, *given["pad"]]
        if name == "numpy_T":
            return ops.transpose(x, axes=[*reversed(range(rank)), rank])
        if name == "t":
            return ops.transpose(x, axes=[1, 0, 2]) if rank == 2 else x
        return row(context, x, **given)

    return pairs


_MOVED: Final = (
    *("view", "_unsafe_view", "reshape", "flatten", "unflatten", "view_as", "reshape_as", "permute", "transpose", "t"),
    *("swapaxes", "swapdims", "numpy_T", "movedim", "moveaxis", "unsqueeze", "squeeze", "expand"),
    *("expand_as", "broadcast_to"),
    *("repeat", "cat", "concat", "stack", "split", "split_with_sizes", "chunk", "unbind", "select", "slice", "narrow"),
    *("flip", "roll", "pad", "constant_pad_nd", "slice_scatter", "select_scatter", "index"),
)
#: Operator -> what it means on pairs.
ROWS: Final[dict[str, Callable[..., Any]]] = {
    **{name: _moved(name, (SHAPES | PADDING | SUMS | PICKING)[name]) for name in _MOVED},
    **{name: _moved(name, SUMS[name]) for name in ("sum", "mean")},
    "index_select": _moved("index_select", PICKING["index_select"]),
    **dict.fromkeys(
        ("view_as_real", "view_as_complex", "clone", "contiguous", "alias", "detach", "lift_fresh_copy", "resolve_conj",
         "resolve_neg"),
        _same,
    ),
    **dict.fromkeys(("to", "_to_copy", "type_as"), _to),
    **dict.fromkeys(
        ("zeros", "zeros_like", "new_zeros", "empty", "empty_like", "new_empty", "ones", "ones_like", "new_ones",
         "full", "full_like", "new_full", "fill", "scalar_tensor"),
        _filled,
    ),
    "copy": _copy, "where": _where, "masked_fill": _masked_fill, "log": _logarithm, "angle": _angle,
    **dict.fromkeys(("neg", "_neg_view"), lambda context, x: ops.negative(x)),
    "real": _real, "imag": _imaginary, "abs": _modulus, "polar": _polar,
    "complex": lambda context, real, imag: _joined(context, real, imag),
    **dict.fromkeys(("_conj", "conj", "_conj_physical", "conj_physical"), _conjugate),
    "add": _sum(ops.add), "sub": _sum(ops.subtract), "mul": _product, "div": _quotient, "exp": _exponential,
    "square": lambda context, x: _power(context, x, 2), "pow": _power,
    **dict.fromkeys(("matmul", "mm", "bmm", "mv", "dot"), _matrix_product), "einsum": _einsum,
    **FOURIER,
}  # fmt: skip


__all__ = ["ROWS", "Pairs", "is_complex", "refuse_result"]
