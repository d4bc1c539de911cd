"""ATen operators of single elements that are put together of several ops: inverse functions, strides."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from modelarchive import ops
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.torch.lifting_context import Context
from modelarchive.exchange.torch.lifting_elementwise import composed, log1p
from modelarchive.exchange.torch.lifting_shapes import picked, reshaped
from modelarchive.exchange.torch.packing import as_long_as_the_longest, cells_at_the_end
from modelarchive.exchange.torch.recorded import cast
from modelarchive.nn.dim import Dim
from modelarchive.ops.activation import ACTIVATIONS


def _expm1(x: Any) -> Any:
    # As precise for small numbers as for large ones.
    return ops.multiply(ACTIVATIONS["tanh"](ops.multiply(x, 0.5)), ops.add(ops.exp(x), 1))


def _sinh(x: Any) -> Any:
    return ops.multiply(_expm1(x), ops.add(ops.multiply(ops.exp(ops.negative(x)), 0.5), 0.5))


def _signed(size: Any, x: Any) -> Any:
    return ops.where(ops.less(x, 0), ops.negative(size), size)


def _asinh(x: Any) -> Any:
    size = ops.abs(x)
    square = ops.multiply(size, size)
    root = ops.sqrt(ops.add(square, 1))
    near = log1p(ops.add(size, ops.divide(square, ops.add(root, 1))))
    far = ops.add(ops.log(size), math.log(2))
    return _signed(ops.where(ops.greater(size, 1e4), far, near), x)


def _acosh(x: Any) -> Any:
    less_one = ops.subtract(x, 1)
    near = log1p(ops.add(less_one, ops.sqrt(ops.multiply(less_one, ops.add(x, 1)))))
    found = ops.where(ops.greater(x, 1e4), ops.add(ops.log(x), math.log(2)), near)
    return ops.where(ops.less(x, 1), np.full((), np.nan, x.dtype), found)


def _atanh(x: Any) -> Any:
    size = ops.abs(x)
    return _signed(ops.multiply(log1p(ops.divide(ops.multiply(size, 2), ops.subtract(1, size))), 0.5), x)


def _hypot(context: Context, x: Any, other: Any) -> Any:
    return hypotenuse(*context.operands(x, other))


def hypotenuse(one: Any, two: Any) -> Any:
    """The root of the sum of two squares, of which neither is computed."""
    one, two = ops.abs(one), ops.abs(two)
    large, small = ops.maximum(one, two), ops.minimum(one, two)
    share = ops.divide(small, ops.where(ops.greater(large, 0), large, np.ones((), large.dtype)))
    found = ops.multiply(large, ops.sqrt(ops.add(ops.multiply(share, share), 1)))
    # Whatever the other one is, as IEEE 754 has it.
    is_infinite = np.logical_or(ops.equal(one, np.inf), ops.equal(two, np.inf))
    return ops.where(is_infinite, np.full((), np.inf, large.dtype), found)


def _erfinv(x: Any) -> Any:
    """An approximation, made exact by two steps of Newton's."""
    size = ops.abs(x)
    tail = log1p(ops.negative(ops.multiply(size, size)))
    middle = ops.add(ops.multiply(tail, 0.5), 2 / (math.pi * 0.147))
    found = ops.sqrt(
        ops.subtract(ops.sqrt(ops.subtract(ops.multiply(middle, middle), ops.multiply(tail, 1 / 0.147))), middle)
    )
    for _ in range(2):
        slope = ops.multiply(ops.exp(ops.negative(ops.multiply(found, found))), 2 / math.sqrt(math.pi))
        found = ops.subtract(found, ops.divide(ops.subtract(ops.erf(found), size), slope))
    found = ops.where(ops.equal(size, 1), np.asarray(np.inf, x.dtype), found)
    return _signed(found, x)


def _rrelu(
    context: Context, x: Any, *, lower: float = 1 / 8, upper: float = 1 / 3, training: Any = False, **ignored: Any
) -> Any:
    if training:
        raise Refusal("rrelu that draws its slopes in evaluation too (training=True)")
    return context.layer("Activation", x, activation="leaky_relu", alpha=(lower + upper) / 2)


def _copysign(context: Context, x: Any, other: Any) -> Any:
    one, two = context.operands(x, other)
    # Of 0 the sign is that of what it divides.
    negative = ops.where(ops.equal(two, 0), ops.less(ops.divide(1.0, two), 0), ops.less(two, 0))
    size = ops.abs(one)
    return ops.where(negative, ops.negative(size), size)


def _either(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """The larger or smaller one, or the one that is a number."""

    def row(context: Context, x: Any, other: Any) -> Any:
        one, two = context.operands(x, other)
        found = function(one, two)
        if context.dtype.kind in "biu":
            return found
        found = ops.where(np.logical_or(ops.equal(two, two), np.not_equal(one, one)), found, one)
        return ops.where(ops.equal(one, one), found, two)

    return row


def _tensor_split(
    context: Context,
    x: Any,
    *,
    sections: Any = None,
    indices: Any = None,
    tensor_indices_or_sections: Any = None,
    dim: int = 0,
) -> Any:
    if tensor_indices_or_sections is not None:
        found = np.asarray(tensor_indices_or_sections)
        sections, indices = (int(found), None) if found.ndim == 0 else (None, found.tolist())
    size = x.shape[dim]
    if isinstance(size, Dim):
        raise Refusal("tensor_split of an axis whose size is not fixed")
    if indices is None:
        long = size % sections
        lengths = [size // sections + (at < long) for at in range(sections)]
        cuts = np.cumsum([0, *lengths]).tolist()
    else:
        cuts = [0, *indices, size]
    return tuple(picked(x, dim, slice(start, end)) for start, end in itertools.pairwise(cuts))


def _as_strided(
    context: Context, x: Any, *, size: Sequence[Any], stride: Sequence[int], storage_offset: Any = 0
) -> Any:
    """Elements by the places where they lie, of an array that lies in one piece."""
    value = context.node.args[0].meta["val"]
    if not value.is_contiguous() or any(not isinstance(each, int) for each in (*stride, storage_offset or 0)):
        raise Refusal("as_strided of an array that does not lie in one piece, or by strides that are not fixed")
    shape, lead = context.shape, 0
    # A first axis that is kept stays where it is.
    if x.ndim and isinstance(shape[0] if shape else 0, Dim):
        inside = math.prod(x.shape[1:]) if not any(isinstance(each, Dim) for each in x.shape[1:]) else 0
        if not isinstance(x.shape[0], Dim) or shape[0] != x.shape[0] or stride[0] != inside or storage_offset:
            raise Refusal("as_strided of an array whose size is not fixed")
        lead = 1
    if any(isinstance(each, Dim) for each in (*shape[lead:], *x.shape[lead:])):
        raise Refusal("as_strided of an array whose size is not fixed")
    places = np.full([1] * (len(shape) - lead), storage_offset or 0, np.int64)
    for axis, (length, step) in enumerate(zip(shape[lead:], stride[lead:], strict=True)):
        row = np.arange(length) * step
        places = places + row.reshape([-1 if at == axis else 1 for at in range(len(shape) - lead)])
    flat = reshaped(x, [*x.shape[:lead], math.prod(x.shape[lead:])])
    return ops.take(flat, places, axis=lead)


def _heaviside(context: Context, x: Any, values: Any) -> Any:
    x, values = context.operands(x, values)
    return ops.where(ops.equal(x, 0), values, cast(ops.greater(x, 0), context.dtype))


def _random(context: Context, *ignored: Any, **more: Any) -> Any:
    raise Refusal(
        f"{context.name} gives random numbers, and an architecture has none: draw them outside and pass them in"
    )


def _of_values(context: Context, *ignored: Any, **more: Any) -> Any:
    raise Refusal(
        f"{context.name} gives an array whose size depends on values, and an architecture says all sizes: compute with "
        f"masks (torch.where, sums of truths), or leave it to what calls the network"
    )


#: Operator -> what it means.
ROWS: Final[dict[str, Callable[..., Any]]] = {
    "expm1": composed(_expm1), "sinh": composed(_sinh), "asinh": composed(_asinh), "acosh": composed(_acosh),
    "atanh": composed(_atanh), "hypot": _hypot, "erfinv": composed(_erfinv), "rrelu": _rrelu,
    "copysign": _copysign, "heaviside": _heaviside,
    "fmax": _either(ops.maximum), "fmin": _either(ops.minimum),
    "modelarchive::cells_at_the_end": cells_at_the_end,
    "modelarchive::as_long_as_the_longest": as_long_as_the_longest,
    "tensor_split": _tensor_split, "as_strided": _as_strided,
    **dict.fromkeys(
        ("rand", "randn", "randint", "rand_like", "randn_like", "randint_like", "bernoulli", "normal", "uniform",
         "multinomial", "randperm", "native_dropout"),
        _random,
    ),
    **dict.fromkeys(
        ("nonzero", "_unique", "_unique2", "unique_dim", "unique_consecutive", "masked_select", "bincount",
         "torchvision::nms"),
        _of_values,
    ),
}  # fmt: skip
