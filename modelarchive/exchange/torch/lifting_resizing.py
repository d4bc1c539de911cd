"""ATen operators that resize images, each axis by a matrix that PyTorch itself makes: all modes, for fixed sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch

from modelarchive import ops
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.torch.lifting_context import Context, cast
from modelarchive.exchange.torch.lifting_windows import along
from modelarchive.nn.dim import Dim

#: How many elements the axes have meanwhile that are not resized.
_OTHER: Final = 3
#: How arguments are called that hold one factor, axis by axis from the last.
_SCALES: Final = ("scales_w", "scales_h", "scales_d")


def _resize(context: Context, x: Any, **given: Any) -> Any:
    rank = x.ndim - 2
    for axis, wanted in enumerate(context.shape[2:]):
        size = x.shape[axis + 2]
        if isinstance(size, Dim) or isinstance(wanted, Dim):
            raise Refusal(
                f"{context.name} of an image whose size is not fixed: declare the input with a fixed height and width"
            )
        matrix = _matrix(context, axis, size, wanted, rank)
        if np.array_equal(matrix, np.eye(size)):
            continue
        if ((matrix == 0) | (matrix == 1)).all() and (matrix.sum(0) == 1).all():
            x = ops.take(x, matrix.argmax(0), axis=axis + 2)
        else:
            x = along(x, cast(matrix, x.dtype), axis + 2)
    return x


def _matrix(context: Context, axis: int, size: int, wanted: int, rank: int) -> np.ndarray:
    """What each element of the result has of each element along one axis, ``(size, wanted)``."""
    # The other axes stay as they are; of one element PyTorch 2.13 smooths the wrong ones.
    spatial, sizes = [_OTHER] * rank, [_OTHER] * rank
    spatial[axis], sizes[axis] = size, wanted
    places = [0 if at != axis else slice(None) for at in range(rank)]
    target: Any = context.node.target
    arguments = dict(zip((each.name for each in target._schema.arguments), context.node.args, strict=False))
    arguments |= context.node.kwargs
    first = next(iter(arguments))
    rows = [size if at == axis else 1 for at in range(rank)]
    eye = torch.eye(size, dtype=torch.float64).reshape(size, 1, *rows)
    arguments[first] = eye.expand(size, 1, *spatial).contiguous()
    if arguments.get("output_size") is not None:
        arguments["output_size"] = sizes
    if arguments.get("scale_factors") is not None:
        factors: Any = arguments["scale_factors"]
        arguments["scale_factors"] = [factors[at] if at == axis else 1.0 for at in range(rank)]
    for at, name in enumerate(("scales",) if rank == 1 else _SCALES[:rank]):
        if name in arguments and rank - 1 - at != axis:
            arguments[name] = None
    with torch.no_grad():
        found = target(**arguments)
    return np.asarray(found[(slice(None), 0, *places)].numpy())


#: Operator -> what it means.
ROWS: Final[dict[str, Callable[..., Any]]] = dict.fromkeys(
    (
        *(f"{name}{rank}d" for name in ("upsample_nearest", "_upsample_nearest_exact") for rank in (1, 2, 3)),
        *("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d", "upsample_bicubic2d"),
        *("_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa", "_upsample_lanczos2d_aa"),
    ),
    _resize,
)
