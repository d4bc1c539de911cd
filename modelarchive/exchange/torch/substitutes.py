"""Functions of PyTorch that fix sizes, or ask for values, while a module is exported: said by others that do not."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from modelarchive.exchange.torch.arrays_of_numpy import ARRAYS
from modelarchive.exchange.torch.fake_quantising import DECIDING, on_steps, on_steps_of_each
from modelarchive.exchange.torch.reasons import refuse_gradients


def _take_along_dim(x: torch.Tensor, indices: torch.Tensor, dim: int | None = None) -> torch.Tensor:
    if dim is None:
        return x.reshape(-1).gather(0, indices.reshape(-1))
    if x.ndim != indices.ndim:
        return NotImplemented
    dim %= x.ndim
    return x.expand(_shared(x, indices, dim)).gather(dim, indices.expand(_shared(indices, x, dim)))


def _shared(one: torch.Tensor, other: torch.Tensor, dim: int) -> list[int]:
    """The shape in which one array meets another, but for one axis."""
    sizes = enumerate(zip(one.shape, other.shape, strict=True))
    return [mine if axis == dim or not isinstance(mine, int) or mine != 1 else its for axis, (mine, its) in sizes]


def _kron(x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    rank = max(x.ndim, other.ndim)
    one, two = (each.reshape(*[1] * (rank - each.ndim), *each.shape) for each in (x, other))
    product = one.reshape([size for each in one.shape for size in (each, 1)]) * two.reshape(
        [size for each in two.shape for size in (1, each)]
    )
    return product.reshape([mine * its for mine, its in zip(one.shape, two.shape, strict=True)])


def _cov(x: torch.Tensor, *, correction: int = 1, fweights: Any = None, aweights: Any = None) -> torch.Tensor:
    if fweights is not None or aweights is not None or x.ndim != 2 or not x.is_floating_point():
        return NotImplemented
    centred = x - x.mean(1, keepdim=True)
    return centred @ centred.T / (x.shape[1] - correction)


def _corrcoef(x: torch.Tensor) -> torch.Tensor:
    if x.ndim != 2 or not x.is_floating_point():
        return NotImplemented
    found = _cov(x)
    deviation = found.diagonal().sqrt()
    return (found / deviation[:, None] / deviation).clip(-1, 1)


def _linspace(
    start: Any, end: Any, steps: Any, *, dtype: Any = None, device: Any = None, out: Any = None, **ignored: Any
) -> torch.Tensor:
    if not isinstance(steps, torch.SymInt) or out is not None:
        return NotImplemented
    dtype = dtype or torch.get_default_dtype()
    if not dtype.is_floating_point:
        return NotImplemented
    places = torch.arange(steps, dtype=dtype, device=device)
    last = places[-1:]
    step = (end - start) / last.clamp(min=1)
    # From both ends, as PyTorch counts.
    return torch.where(places < (last + 1) / 2, start + step * places, end - step * (last - places))


def _affine_grid(theta: torch.Tensor, size: Any, align_corners: bool | None = None) -> torch.Tensor:
    # PyTorch's own fixes the sizes that it is given.
    if not any(isinstance(each, torch.SymInt) for each in size[2:]):
        return NotImplemented
    rows = []
    for axis, each in enumerate(size[2:]):
        places = 2 * torch.arange(each, dtype=theta.dtype, device=theta.device) + 1 - each
        row = places / (torch.full_like(places[:1], 0).add(each - 1).clamp(min=1) if align_corners else each)
        rows.append(row.reshape([1] * axis + [-1] + [1] * (len(size) - 3 - axis)))
    rows = [each.expand(size[2:]) for each in reversed(rows)]
    grid = torch.stack([*rows, torch.ones_like(rows[0])], -1)
    return (grid.reshape(1, -1, grid.shape[-1]) @ theta.transpose(1, 2)).reshape(-1, *size[2:], len(rows))


def _adaptive_avg_pool1d(x: torch.Tensor, output_size: Any) -> torch.Tensor:
    size = output_size[0] if isinstance(output_size, list | tuple) else output_size
    if not isinstance(size, torch.SymInt):  # which the operator of one axis takes for a number
        return NotImplemented
    return functional.adaptive_avg_pool2d(x.unsqueeze(-2), (1, size)).squeeze(-2)


def _interpolate(input: torch.Tensor, size: Any = None, scale_factor: Any = None, *given: Any, **named: Any) -> Any:
    if input.ndim != 3 or named.get("mode") != "area" or given:
        return NotImplemented
    size, scale_factor = (each[0] if isinstance(each, list | tuple) else each for each in (size, scale_factor))
    size = None if size is None else (1, size)
    scale_factor = None if scale_factor is None else (1.0, scale_factor)
    return functional.interpolate(input.unsqueeze(-2), size, scale_factor, **named).squeeze(-2)


def _whole_axes(x: torch.Tensor, kernel: Sequence[Any], padding: Sequence[Any]) -> list[int]:
    """The axes that a pool takes as a whole, by their size, which would fix it; none where it takes others so."""
    found = [at - len(kernel) for at, size in enumerate(kernel) if isinstance(size, torch.SymInt)]
    return found if all(str(kernel[at]) == str(x.shape[at]) and padding[at] == 0 for at in found) else []


def _pool(axes: int, pool: Callable[..., Any], whole: Callable[..., torch.Tensor]) -> Callable[..., Any]:
    def pooled(
        input: torch.Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, *given: Any, **named: Any
    ) -> Any:
        by_place = (*given[:1], named.get("dilation", 1)) if whole is torch.amax else ()
        others = (*given[2:], named.get("return_indices"), named.get("divisor_override"))
        if any(others) or any(_each(one, axes) != [1] * axes for one in by_place):
            return NotImplemented
        kernel, padded = _each(kernel_size, axes), _each(padding, axes)
        taken = _whole_axes(input, kernel, padded) if len(kernel) == len(padded) == axes else []
        if not taken:
            return NotImplemented
        x = whole(input, taken, keepdim=True)
        if len(taken) == axes:
            return x
        steps = _each(stride or kernel_size, axes)
        kernel, steps = ([1 if at - axes in taken else one for at, one in enumerate(each)] for each in (kernel, steps))
        return pool(x, kernel, steps, padded, *given, **named)

    return pooled


def _each(value: Any, axes: int) -> list[Any]:
    several = [*value] if isinstance(value, list | tuple) else [value]
    return several * axes if len(several) == 1 else several


def _max_pool1d(input: torch.Tensor, *given: Any, return_indices: bool = False, **named: Any) -> torch.Tensor:
    # Without the places it is exported with the example's length.
    whole = _POOLS["max_pool1d"](input, *given, return_indices=return_indices, **named)
    if whole is not NotImplemented or return_indices or type(input.shape[-1]) is int:
        return whole
    return functional.max_pool1d_with_indices(input, *given, **named)[0]


def _shortened(rows: torch.Tensor, max_norm: float, norm_type: float) -> torch.Tensor:
    """Rows that are no longer than `max_norm`: PyTorch shortens those of the table itself, when they are looked up."""
    length = torch.linalg.vector_norm(rows, norm_type, dim=-1, keepdim=True)
    return torch.where(length > max_norm, rows * (max_norm / (length + 1e-7)), rows)


def _embedding(
    indices: torch.Tensor,
    weight: torch.Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    *ignored: Any,
    **more: Any,
) -> torch.Tensor:
    if max_norm is None:
        return NotImplemented
    return _shortened(functional.embedding(indices, weight), max_norm, norm_type)


def _embedding_bag(
    indices: torch.Tensor,
    weight: torch.Tensor,
    offsets: torch.Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    *rest: Any,
    **more: Any,
) -> torch.Tensor:
    if max_norm is None:
        return NotImplemented
    short = _shortened(weight, max_norm, norm_type)
    return functional.embedding_bag(indices, short, offsets, None, 2.0, *rest, **more)


def _masked(index: Any) -> Any:
    """An index in which masks of bytes, which PyTorch takes where it runs and not where it exports, are truths."""
    each = index if isinstance(index, tuple) else (index,)
    found = tuple(one.bool() if isinstance(one, torch.Tensor) and one.dtype is torch.uint8 else one for one in each)
    return index if all(map(operator.is_, found, each)) else found


def _getitem(x: torch.Tensor, index: Any) -> Any:
    found = _masked(index)
    return NotImplemented if found is index else x[found]


def _setitem(x: torch.Tensor, index: Any, value: Any) -> Any:
    found = _masked(index)
    return NotImplemented if found is index else x.__setitem__(found, value)


def _where(condition: torch.Tensor, *given: Any, **named: Any) -> Any:
    return torch.where(condition.bool(), *given, **named) if condition.dtype is torch.uint8 else NotImplemented


_POOLS: Final = {
    f"{name}_pool{axes}d": _pool(axes, getattr(functional, f"{name}_pool{axes}d"), whole)
    for name, whole in {"avg": torch.mean, "max": torch.amax}.items()
    for axes in (1, 2, 3)
}
_BY_NAME: Final[dict[str, Callable[..., Any]]] = {
    "take_along_dim": _take_along_dim, "kron": _kron, "cov": _cov, "corrcoef": _corrcoef,
}  # fmt: skip
#: Function -> the same by others; NotImplemented: not of such arguments.
_SUBSTITUTES: Final[dict[Any, Callable[..., Any]]] = (
    {getattr(where, name): substitute for name, substitute in _BY_NAME.items() for where in (torch, torch.Tensor)}
    | {getattr(where, name): _POOLS[name] for name in _POOLS for where in (functional, torch) if hasattr(where, name)}
    | {torch.linspace: _linspace, torch.max_pool1d: _max_pool1d, functional.max_pool1d: _max_pool1d}
    | {functional.affine_grid: _affine_grid, functional.interpolate: _interpolate}
    | dict.fromkeys((torch.adaptive_avg_pool1d, functional.adaptive_avg_pool1d), _adaptive_avg_pool1d)
    | DECIDING
    | ARRAYS
    | {
        torch.fake_quantize_per_tensor_affine: on_steps,
        torch.fake_quantize_per_channel_affine: on_steps_of_each,
    }
    | {functional.embedding: _embedding, functional.embedding_bag: _embedding_bag}
    | {torch.Tensor.__getitem__: _getitem, torch.Tensor.__setitem__: _setitem, torch.where: _where}
    | dict.fromkeys((torch.autograd.grad, torch.autograd.backward, torch.Tensor.backward), refuse_gradients)
)


class Substitutes(TorchFunctionMode):
    """Says functions by others, and a parameter that is given other data (``.data = weight``) by what it was given."""

    def __init__(self) -> None:
        super().__init__()
        #: ``id`` -> the tensor, and its data.
        self._assigned: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        """Run a function of PyTorch, or its substitute."""
        kwargs = kwargs or {}
        if func == torch.Tensor.data.__set__:
            self._assigned[id(args[0])] = args[0], self._data(args[1])
            return None
        if self._assigned:
            args, kwargs = pytree.tree_map_only(torch.Tensor, self._data, (args, dict(kwargs)))
        substitute = _SUBSTITUTES.get(func)
        if substitute is not None:
            found = substitute(*args, **kwargs)
            if found is not NotImplemented:
                return found
        return func(*args, **kwargs)

    def _data(self, tensor: torch.Tensor) -> torch.Tensor:
        return self._assigned.get(id(tensor), (None, tensor))[1]
