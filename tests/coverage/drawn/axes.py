"""Operations along axes, and those that move elements: sums, orders, parts, shapes."""

from __future__ import annotations

from random import Random
from typing import Any, Final

import torch
from torch.nn import functional as F  # noqa: N812

from tests.coverage.drawn.steps import Function, Step, along, always, has_axes, is_float, is_number, one_of


def _anything(x: torch.Tensor) -> bool:
    return True


def _has_few_axes(x: torch.Tensor) -> bool:
    return 1 < x.ndim < 4


_REDUCING: Final[dict[str, Step]] = {
    "sum": along(lambda x, d, keep: x.sum(d, keepdim=keep), _anything),
    "mean": along(lambda x, d, keep: x.mean(d, keepdim=keep), is_float),
    "amax": along(lambda x, d, keep: x.amax(d, keepdim=keep)),
    "amin": along(lambda x, d, keep: x.amin(d, keepdim=keep)),
    "max": along(lambda x, d, keep: x.max(d, keepdim=keep).values),
    "argmax": along(lambda x, d, keep: x.argmax(d, keepdim=keep)),
    "argmin": along(lambda x, d, keep: x.argmin(d, keepdim=keep)),
    "var": along(lambda x, d, keep: x.var(d, keepdim=keep), is_float),
    "std": along(lambda x, d, keep: x.std(d, keepdim=keep, correction=0), is_float),
    "norm": along(lambda x, d, keep: x.norm(dim=d, keepdim=keep), is_float),
    "norm of order 1": along(lambda x, d, keep: x.norm(p=1, dim=d, keepdim=keep), is_float),
    "largest norm": along(lambda x, d, keep: torch.linalg.vector_norm(x, float("inf"), d, keep), is_float),
    "logsumexp": along(lambda x, d, keep: x.logsumexp(d, keepdim=keep), is_float),
    "prod": along(lambda x, d, keep: x.prod(d, keepdim=keep)),
    "any": along(lambda x, d, keep: (x > 0).any(d, keepdim=keep)),
    "all": along(lambda x, d, keep: x.bool().all(d, keepdim=keep), _anything),
    "median": along(lambda x, d, keep: x.median(d, keepdim=keep).values, is_float),
    "count_nonzero": along(lambda x, d, keep: torch.count_nonzero(x, d), _anything),
    "select": along(lambda x, d, last: x.select(d, -1 if last else 0), _anything),
    "unbind": along(lambda x, d, last: x.unbind(d)[-1], _anything),
    "topk": along(lambda x, d, largest: x.topk(1, d, largest=largest).values, is_float),
}
_KEEPING: Final[dict[str, Step]] = {
    "cumsum": along(lambda x, d, flag: x.cumsum(d)),
    "cumprod": along(lambda x, d, flag: x.cumprod(d), is_float),
    "cummax": along(lambda x, d, values: x.cummax(d)[0 if values else 1], is_float),
    "cummin": along(lambda x, d, values: x.cummin(d)[0 if values else 1], is_float),
    "logcumsumexp": along(lambda x, d, flag: x.logcumsumexp(d), is_float),
    "softmax": along(lambda x, d, flag: x.softmax(d), is_float),
    "log_softmax": along(lambda x, d, flag: x.log_softmax(d), is_float),
    "normalize": along(lambda x, d, flag: F.normalize(x, dim=d), is_float),
    "flip": along(lambda x, d, flag: x.flip(d), _anything),
    "roll": along(lambda x, d, back: x.roll(-2 if back else 1, d), _anything),
    "sort": along(lambda x, d, descending: x.sort(d, descending=descending).values, is_float),
    "argsort": along(lambda x, d, descending: x.argsort(dim=d, descending=descending, stable=True), is_float),
    "diff": along(lambda x, d, flag: torch.diff(x, dim=d), is_float),
    "gather": along(lambda x, d, flag: x.gather(d, (x * 0).long()), is_float),
    "scatter": along(lambda x, d, flag: torch.zeros_like(x).scatter(d, (x * 0).long(), x * 0 + 1), is_float),
    "scatter_add": along(lambda x, d, flag: torch.zeros_like(x).scatter_add(d, (x * 0).long(), x), is_float),
    "take_along_dim": along(lambda x, d, flag: torch.take_along_dim(x, x.argsort(dim=d, stable=True), d), is_float),
    "times the size": along(lambda x, d, flag: x * x.shape[d]),
    "by the root of the size": along(lambda x, d, flag: x / x.shape[d] ** 0.5, is_float),
    "by the batch": along(lambda x, d, flag: x / x.shape[0]),
    "plus arange": along(lambda x, d, flag: x.movedim(d, -1) + torch.arange(x.shape[d])),
    "the first two": along(lambda x, d, flag: x.movedim(d, -1) * (torch.arange(x.shape[d]) < 2)),
    "linspace": along(lambda x, d, flag: x.movedim(d, -1) * torch.linspace(0, 1, x.shape[d]), is_float),
    "to a multiple": along(lambda x, d, flag: _to_multiple(x.movedim(d, -1), 4 if flag else 5)),
    "half of it": along(lambda x, d, first: _half(x, d, first=first), _anything),
    "spectrum": along(lambda x, d, flag: _spectrum(x, d, whole=flag), lambda x: x.dtype == torch.float32),
    "and back": along(
        lambda x, d, f: torch.fft.irfft(torch.fft.rfft(x, dim=d), x.shape[d], d),
        lambda x: is_float(x) and x.dtype == torch.float32,
    ),
}
_RESIZING: Final[dict[str, Step]] = {
    "stack": Step(_has_few_axes, along(lambda x, d, flag: torch.stack((x, x), d)).draw),
    "unsqueeze": Step(_has_few_axes, along(lambda x, d, flag: x.unsqueeze(d)).draw),
    "cat": along(lambda x, d, flag: torch.cat((x, x.flip(d)), d), _anything),
    "repeat_interleave": along(lambda x, d, flag: x.repeat_interleave(2, d), _anything),
    "chunk": along(lambda x, d, flag: x.chunk(2, d)[0], _anything),
    "narrow": along(lambda x, d, flag: x.narrow(d, 0, 1), _anything),
    "index_select": along(lambda x, d, flag: x.index_select(d, torch.tensor([0, 0])), _anything),
    "glu": along(lambda x, d, flag: F.glu(torch.cat((x, x), d), d), is_float),
    "flatten": always(lambda x: x.flatten(1), has_axes(2, 3, 4, of=_anything)),
    "transposed and flat": always(lambda x: x.transpose(-1, -2).reshape(x.shape[0], -1), has_axes(3, 4, of=_anything)),
    "through rows": always(lambda x: x.reshape(-1, x.shape[-1]).reshape(x.shape[0], -1), has_axes(2, 3, of=_anything)),
    "expand": always(lambda x: x.unsqueeze(1).expand(-1, 3, *x.shape[1:]).flatten(1, 2), has_axes(2, 3, of=_anything)),
    "repeat": always(lambda x: x.repeat(1, 2, *([1] * (x.ndim - 2))), has_axes(2, 3, 4, of=_anything)),
    "split": always(lambda x: torch.cat(list(reversed(x.split(2, 1))), 1), has_axes(2, 3, 4, of=_anything)),
    "windows": always(lambda x: x.unfold(-1, 2, 1).sum(-1), has_axes(2, 3, 4)),
    "tril": along(lambda x, d, below: torch.tril(x, -1 if below else 1) if x.ndim > 2 else x),
}
_PARTS: Final[dict[str, Function]] = {
    "[:, 1:]": lambda x: x[:, 1:], "[:, :-1]": lambda x: x[:, :-1], "[:, ::2]": lambda x: x[:, ::2],
    "[..., 0]": lambda x: x[..., 0], "[..., -1:]": lambda x: x[..., -1:], "[:, [0, -1]]": lambda x: x[:, [0, -1]],
    "[:, tensor]": lambda x: x[:, torch.tensor([0])], "[..., :1]": lambda x: x[..., :1],
    "[:, -2:]": lambda x: x[:, -2:],
}  # fmt: skip


def _to_multiple(x: torch.Tensor, of: int) -> Any:
    """Zeros until the last axis is a multiple, sums of its parts, and as long as before again."""
    size = x.shape[-1]
    parts = F.pad(x, (0, (-size) % of)).reshape(*x.shape[:-1], -1, of)
    return (parts + parts.sum(-1, keepdim=True)).flatten(-2)[..., :size]


def _half(x: torch.Tensor, dim: int, *, first: bool) -> Any:
    middle = x.shape[dim] // 2
    return x.narrow(dim, 0, middle) if first else x.narrow(dim, middle, x.shape[dim] - middle)


def _spectrum(x: torch.Tensor, dim: int, *, whole: bool) -> Any:
    return torch.fft.fft(x, dim=dim).real if whole else torch.fft.rfft(x, dim=dim).abs()


def _permute(drawing: Random, x: torch.Tensor) -> tuple[Function, Any]:
    order = list(range(1, x.ndim))
    drawing.shuffle(order)
    return (lambda x: x.permute(0, *order)), order


def _first_is_second(x: torch.Tensor) -> Any:
    found = x.clone()
    found[:, 0] = found[:, 1]
    return found


def _first_to_others(x: torch.Tensor) -> Any:
    found = x.clone()
    found[:, 1:] += found[:, :1]
    return found


def _large_to_nothing(x: torch.Tensor) -> Any:
    found = x.clone()
    found[found > 1] = 0
    return found


def _each_second(x: torch.Tensor) -> Any:
    found = torch.zeros_like(x)
    found[:, ::2] = x[:, ::2]
    return found


def _pad(drawing: Random, x: torch.Tensor) -> tuple[Function, Any]:
    mode = drawing.choice(("constant", "value", "reflect", "replicate", "circular"))
    if mode == "value":
        return (lambda x: F.pad(x, (1, 2), value=1)), mode
    if mode == "constant" or not is_float(x) or x.ndim not in (3, 4):
        return (lambda x: F.pad(x, (2, -1))), "constant"
    width = (1, 0) if x.ndim == 3 else (1, 0, 0, 1)
    return (lambda x: F.pad(x, width, mode=mode)), mode


_MATRICES: Final[tuple[Function, ...]] = (
    lambda x: x @ x.transpose(1, 2), lambda x: torch.bmm(x.transpose(1, 2), x),
    lambda x: torch.einsum("bij,bkj->bik", x, x), lambda x: torch.einsum("bij,bij->bi", x, x),
    lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True), lambda x: torch.cdist(x, x.flip(1)),
)  # fmt: skip
_VECTORS: Final[tuple[Function, ...]] = (
    lambda x: x[:, :, None] * x[:, None], lambda x: torch.einsum("bi,bj->bij", x, x),
    lambda x: F.cosine_similarity(x, x.flip(1))[:, None],
)  # fmt: skip
#: Name -> the operation.
AXES: Final[dict[str, Step]] = {
    **_REDUCING, **_KEEPING, **_RESIZING,
    **{name: always(each, has_axes(2, 3, 4, of=_anything)) for name, each in _PARTS.items()},
    "[:, None]": always(lambda x: x[:, None], has_axes(2, 3, of=_anything)),
    "permute": Step(has_axes(2, 3, 4, of=_anything), _permute),
    "parts that are written": one_of(
        (_first_is_second, _first_to_others, _large_to_nothing, _each_second), has_axes(2, 3, 4)
    ),
    "pad": Step(has_axes(2, 3, 4, of=is_number), _pad),
    "matrices": one_of(_MATRICES, has_axes(3, of=is_float)),
    "vectors": one_of(_VECTORS, has_axes(2, of=is_float)),
}  # fmt: skip
