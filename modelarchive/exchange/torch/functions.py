"""The table of ops: each word of the vocabulary as a PyTorch function of tensors."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
import torch.nn.functional as F  # noqa: N812

from modelarchive import ops
from modelarchive.exchange.torch.promoting import compared_dtype, result_dtype
from modelarchive.exchange.torch.tensors import TORCH
from modelarchive.ops.shapes import normal_axes, python_slice

#: Name of an activation -> its function; `alpha` goes by keyword to those that have one.
ACTIVATIONS: Final[dict[str, Callable[..., Any]]] = {
    "celu": F.celu,
    "elu": F.elu,
    "gelu": F.gelu,
    "gelu_tanh": functools.partial(F.gelu, approximate="tanh"),
    "hard_sigmoid": F.hardsigmoid,
    "hard_swish": F.hardswish,
    "hard_tanh": F.hardtanh,
    "leaky_relu": lambda x, alpha=0.01: F.leaky_relu(x, alpha),
    "log_sigmoid": F.logsigmoid,
    "mish": F.mish,
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "relu": F.relu,
    "relu6": F.relu6,
    "selu": F.selu,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "softplus": F.softplus,
    "softsign": F.softsign,
    "tanh": torch.tanh,
}


def activate(name: str | None, x: Any, alpha: float | None = None) -> Any:
    """Apply the activation called `name`; None is the identity."""
    if name is None:
        return x
    return ACTIVATIONS[name](x) if alpha is None else ACTIVATIONS[name](x, alpha=alpha)


def apply(name: str, inputs: Sequence[Any], arguments: Mapping[str, Any]) -> Any:
    """Run an op of the vocabulary on tensors and Python numbers, with its literal arguments.

    The dtype of the result follows NumPy's rules, as the vocabulary says, also where PyTorch's differ
    (an integer divided by an integer gives float64).
    """
    if name in _PROMOTING:
        dtype = result_dtype(name, inputs, arguments)
        inputs = [_as(each, dtype) for each in _tensors(inputs)]
        result = _TABLE[name](*inputs, **arguments)
        return result.to(dtype) if result.dtype != dtype else result
    if name in _COMPARING:
        dtype = compared_dtype(inputs)
        return _TABLE[name](*(_as(each, dtype) for each in _tensors(inputs)))
    return _TABLE[name](*inputs, **arguments)


def _tensors(inputs: Sequence[Any]) -> list[Any]:
    """Python numbers as they are, but for one tensor at least."""
    if any(isinstance(each, torch.Tensor) for each in inputs):
        return list(inputs)
    return [torch.as_tensor(inputs[0]), *inputs[1:]]


def _as(value: Any, dtype: torch.dtype) -> Any:
    if not isinstance(value, torch.Tensor):
        return torch.as_tensor(value, dtype=dtype)
    return value if value.dtype == dtype else value.to(dtype)


def _axes(x: torch.Tensor, axis: Any) -> list[int]:
    return list(normal_axes(axis if axis is None or isinstance(axis, int) else tuple(axis), x.ndim))


def _sum(x: torch.Tensor, axis: Any, keepdims: bool) -> Any:
    axes = _axes(x, axis)
    return x.sum(dim=axes, keepdim=keepdims) if axes else x.clone()


def _mean(x: torch.Tensor, axis: Any, keepdims: bool) -> Any:
    axes = _axes(x, axis)
    return x.mean(dim=axes, keepdim=keepdims) if axes else x.clone()


def _max(x: torch.Tensor, axis: Any, keepdims: bool) -> Any:
    axes = _axes(x, axis)
    return x.amax(dim=axes, keepdim=keepdims) if axes else x.clone()


def _min(x: torch.Tensor, axis: Any, keepdims: bool) -> Any:
    axes = _axes(x, axis)
    return x.amin(dim=axes, keepdim=keepdims) if axes else x.clone()


def _var(x: torch.Tensor, axis: Any, keepdims: bool, ddof: int) -> Any:
    axes = _axes(x, axis)
    return x.var(dim=axes, keepdim=keepdims, correction=ddof) if axes else torch.zeros_like(x)


def _argmax(x: torch.Tensor, axis: int | None, keepdims: bool = False) -> Any:
    return x.to(torch.uint8 if x.dtype == torch.bool else x.dtype).argmax(dim=axis, keepdim=keepdims)


def reshape(x: torch.Tensor, shape: Any) -> Any:
    """As the op: None keeps an axis, one -1 is inferred."""
    sizes = [shape] if isinstance(shape, int) else list(shape)
    kept = [at for at, size in enumerate(sizes) if size is None]
    resolved = [x.shape[at] if size is None else size for at, size in enumerate(sizes)]
    if -1 in resolved and 0 in [x.shape[at] for at in kept if isinstance(x.shape[at], int)]:
        # PyTorch cannot infer an axis beside an empty one; the vocabulary leaves kept axes out of the count.
        total = math.prod(size for at, size in enumerate(x.shape) if at not in kept)
        known = math.prod(size for at, size in enumerate(resolved) if at not in kept and size != -1)
        resolved[resolved.index(-1)] = total // (known or 1)
    return x.reshape(resolved)


def _transpose(x: torch.Tensor, axes: Sequence[int] | None) -> Any:
    return x.permute(tuple(reversed(range(x.ndim))) if axes is None else tuple(axes))


def _squeeze(x: torch.Tensor, axis: Any) -> Any:
    return x.squeeze() if axis is None else x.squeeze(tuple(_axes(x, axis)))


def _expand_dims(x: torch.Tensor, axis: Any) -> Any:
    several = (axis,) if isinstance(axis, int) else tuple(axis)
    for place in sorted(normal_axes(several, x.ndim + len(several))):
        x = x.unsqueeze(place)
    return x


def _slice(x: torch.Tensor, index: Sequence[Any]) -> Any:
    items: list[Any] = []
    flipped = []
    axis = place = 0
    for item in index:
        if item is None or isinstance(item, int):
            items.append(item)
            axis += item is not None
            place += item is None
            continue
        wanted = python_slice(item)
        if wanted.step is not None and wanted.step < 0:
            taken = range(*wanted.indices(x.shape[axis]))
            wanted = slice(taken[-1], taken[0] + 1, -wanted.step) if taken else slice(0, 0)
            flipped.append(place)
        items.append(wanted)
        axis += 1
        place += 1
    result = x[(*items, ...)]
    return result.flip(flipped) if flipped else result


def _split(x: torch.Tensor, sizes: Any, axis: int) -> tuple[Any, ...]:
    total = x.shape[axis]
    if isinstance(sizes, int):
        return tuple(x.split(total // sizes, axis)) if total else (x,) * sizes
    known = sum(size for size in sizes if size != -1)
    return tuple(x.split([total - known if size == -1 else size for size in sizes], axis))


def _take(x: torch.Tensor, indices: torch.Tensor, axis: int) -> Any:
    axis %= x.ndim
    indices = indices.long()
    if indices.device.type == "cpu" and not torch.compiler.is_compiling():
        indices = torch.where(indices < 0, indices + x.shape[axis], indices)
    else:
        indices = indices.remainder(x.shape[axis])
    found = x.index_select(axis, indices.reshape(-1))
    return found.reshape([*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]])


def _gather(x: torch.Tensor, indices: torch.Tensor, axis: int) -> Any:
    axis %= x.ndim
    indices = indices.long()
    indices = torch.where(indices < 0, indices + x.shape[axis], indices)
    common = [max(one, other) for one, other in zip(x.shape, indices.shape, strict=True)]
    rows = x.expand([x.shape[axis] if at == axis else size for at, size in enumerate(common)])
    wanted = indices.expand([indices.shape[axis] if at == axis else size for at, size in enumerate(common)])
    return rows.gather(axis, wanted)


def _where(condition: Any, x: Any, y: Any) -> Any:
    tensors = [each for each in (condition, x, y) if isinstance(each, torch.Tensor)]
    device = tensors[0].device if tensors else None
    dtype = result_dtype("where", (condition, x, y), {})
    condition, x, y = (torch.as_tensor(each, device=device) for each in (condition, x, y))
    return torch.where(condition.bool(), x.to(dtype), y.to(dtype))


_PAD_MODES: Final = {"reflect": "reflect", "edge": "replicate", "wrap": "circular"}


def pad(x: torch.Tensor, padding: Sequence[Sequence[int]], mode: str, value: Any) -> Any:
    """As the op; modes that PyTorch does not have for this number of axes are picked element by element."""
    if mode == "constant":
        flat = [size for pair in reversed(padding) for size in pair]
        return F.pad(x, flat, value=_number(value)) if any(flat) else x.clone()
    for axis, (before, after) in enumerate(padding, start=x.ndim - len(padding)):
        if before or after:
            places = torch.arange(-before, x.shape[axis] + after, device=x.device)
            x = x.index_select(axis, _inside(places, x.shape[axis], mode))
    return x


def _inside(places: torch.Tensor, size: int, mode: str) -> torch.Tensor:
    if mode == "edge":
        return places.clamp(0, size - 1)
    if mode == "wrap":
        return places.remainder(size)
    mirrored = places.abs()
    return torch.where(mirrored > size - 1, 2 * (size - 1) - mirrored, mirrored)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, str) else value  # JSON writes infinities and NaN as words


def _broadcast_to(x: torch.Tensor, like: torch.Tensor, shape: Sequence[int | None]) -> Any:
    return x.expand([like.shape[at] if size is None else size for at, size in enumerate(shape)])


def _shape_of(x: torch.Tensor) -> Any:
    # Sizes that an export leaves free are no numbers yet.
    sizes = [torch.full((), size, dtype=torch.int64, device=x.device) for size in x.shape]
    return torch.stack(sizes) if sizes else torch.zeros(0, dtype=torch.int64, device=x.device)


def _cumsum(x: torch.Tensor, axis: int) -> Any:
    return x.cumsum(axis)


def _power(x: torch.Tensor, y: torch.Tensor) -> Any:
    return torch.pow(x, y)


def _clip(x: torch.Tensor, low: float | None, high: float | None) -> Any:
    return torch.clamp(x, low, high)


def _einsum(*inputs: torch.Tensor, pattern: str) -> Any:
    return torch.einsum(pattern, *inputs)


def _conv(x: torch.Tensor, weight: torch.Tensor, strides: Any, padding: Any, dilation: Any) -> Any:
    if any(one != other for one, other in padding):
        x, padding = pad(x, padding, "constant", 0), [(0, 0)] * len(padding)
    return torch.convolution(
        x,
        weight,
        None,
        list(strides),
        [before for before, _ in padding],
        list(dilation),
        False,
        [0] * len(strides),
        x.shape[1] // weight.shape[1],
    )


def _grid_sample(x: torch.Tensor, grid: torch.Tensor, mode: str, padding_mode: str, align_corners: bool) -> Any:
    word = {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode)
    return F.grid_sample(x, grid, word, padding_mode, align_corners)


def _divide(x: torch.Tensor, y: torch.Tensor) -> Any:
    return torch.true_divide(x, y)


def _negated(x: torch.Tensor) -> Any:
    return torch.neg(x)


def _whole(function: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    """A function that rounds; of integers PyTorch has it for some."""
    return lambda x: function(x) if x.is_floating_point() else x.clone()


def _argsort(x: torch.Tensor, axis: int, descending: bool) -> Any:
    x = x.to(torch.uint8) if x.dtype == torch.bool else x
    return torch.sort(x, dim=axis, descending=descending, stable=True).indices


_SCATTERED: Final = {"add": "sum", "multiply": "prod", "maximum": "amax", "minimum": "amin"}


def _scatter(x: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor, axis: int, reduction: str) -> Any:
    indices = indices.long()
    indices = torch.where(indices < 0, indices + x.shape[axis], indices)
    updates = updates.to(x.dtype).expand(indices.shape)
    if reduction == "none":
        return x.scatter(axis, indices, updates)
    if x.dtype == torch.bool:
        found = x.to(torch.uint8).scatter_reduce(axis, indices, updates.to(torch.uint8), _SCATTERED[reduction])
        return found != 0
    return x.scatter_reduce(axis, indices, updates, _SCATTERED[reduction])


_TABLE: Final[dict[str, Callable[..., Any]]] = {
    "abs": torch.abs,
    "add": torch.add,
    "argmax": _argmax,
    "argsort": _argsort,
    "atan": torch.atan,
    "bitwise_and": torch.bitwise_and,
    "bitwise_or": torch.bitwise_or,
    "bitwise_xor": torch.bitwise_xor,
    "broadcast_to": _broadcast_to,
    "cast": lambda x, dtype: torch.as_tensor(x).to(TORCH[dtype]),
    "clip": _clip,
    "concatenate": lambda *inputs, axis: torch.cat(inputs, axis),
    "conv": _conv,
    "cos": torch.cos,
    "cumsum": _cumsum,
    "divide": _divide,
    "einsum": _einsum,
    "equal": torch.eq,
    "erf": torch.erf,
    "exp": torch.exp,
    "expand_dims": _expand_dims,
    "floor": _whole(torch.floor),
    "floor_divide": torch.floor_divide,
    "gather": _gather,
    "greater": torch.gt,
    "grid_sample": _grid_sample,
    "left_shift": torch.bitwise_left_shift,
    "less": torch.lt,
    "log": torch.log,
    "matmul": torch.matmul,
    "max": _max,
    "maximum": torch.maximum,
    "mean": _mean,
    "min": _min,
    "minimum": torch.minimum,
    "multiply": torch.mul,
    "negative": _negated,
    "pad": pad,
    "power": _power,
    "remainder": torch.remainder,
    "reshape": reshape,
    "right_shift": torch.bitwise_right_shift,
    "round": _whole(torch.round),
    "rsqrt": torch.rsqrt,
    "scatter": _scatter,
    "shape_of": _shape_of,
    "sin": torch.sin,
    "slice": _slice,
    "softmax": lambda x, axis: torch.softmax(x, axis),
    "split": _split,
    "sqrt": torch.sqrt,
    "squeeze": _squeeze,
    "stack": lambda *inputs, axis: torch.stack(inputs, axis),
    "subtract": torch.sub,
    "sum": _sum,
    "take": _take,
    "transpose": _transpose,
    "var": _var,
    "where": _where,
}
#: Those whose operands are brought to the dtype of the result first.
_PROMOTING: Final = frozenset(
    {
        "abs", "add", "atan", "bitwise_and", "bitwise_or", "bitwise_xor", "clip", "concatenate", "conv", "cos",
        "cumsum", "divide", "einsum", "erf", "exp", "floor_divide", "grid_sample", "left_shift", "log", "matmul", "max",
        "maximum", "mean", "min", "minimum", "multiply", "negative", "power", "remainder", "right_shift", "rsqrt",
        "sin", "softmax", "sqrt", "stack", "subtract", "sum", "var",
    }
)  # fmt: skip
_COMPARING: Final = frozenset({"equal", "greater", "less"})


def missing() -> set[str]:
    """Ops of the vocabulary that the table lacks; a test keeps it empty."""
    return set(ops.OPS) - set(_TABLE)
