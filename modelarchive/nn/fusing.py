"""Layers that run as one: what follows a layer is done to its result while that is in the cache, and in place.

A convolution, the batch normalisation behind it and an activation are one pass over memory instead of four. Nothing
else is different: the same shapes are checked and learned, every layer remembers what it was given, and where
something does not fit, the layers run one by one, and the one that fails says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from modelarchive.nn.activation import Activation, PReLU, Softmax
from modelarchive.nn.block import Block
from modelarchive.nn.calling import remember
from modelarchive.nn.convolution import Conv1D, Conv2D, Conv3D
from modelarchive.nn.dense import Dense
from modelarchive.nn.normalisation import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from modelarchive.nn.pooling import AvgPool1D, AvgPool2D, MaxPool1D, MaxPool2D
from modelarchive.nn.transposed import Conv1DTranspose, Conv2DTranspose, Conv3DTranspose
from modelarchive.ops.activation import into
from modelarchive.ops.epilogue import NOTHING
from modelarchive.ops.precision import wide

_CONVOLUTIONS: Final = frozenset({Conv1D, Conv2D, Conv3D, Conv1DTranspose, Conv2DTranspose, Conv3DTranspose})
#: Layers that take an epilogue; exactly these classes, for a subclass may compute something else.
_HEADS: Final = _CONVOLUTIONS | {Dense, BatchNorm}
#: What a caller may have put over a layer's own.
_REPLACED: Final = ("forward", "execute")
#: Layers whose result is an array of their own.
_MAKERS: Final = _HEADS | {
    Activation,
    AvgPool1D,
    AvgPool2D,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    MaxPool1D,
    MaxPool2D,
    PReLU,
    RMSNorm,
    Softmax,
}
#: Ops that can write over one of their inputs.
_OVER: Final[dict[str, Any]] = {"add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": np.divide}
#: Ops whose result is an array of their own.
MAKER_OPS: Final = frozenset({*_OVER, "concat", "matmul", "maximum", "minimum"})


def together(blocks: Sequence[Block]) -> int:
    """How many of the blocks, one behind another, run as one; 1: there is nothing to fuse at the first."""
    head = blocks[0]
    if type(head) not in _HEADS or len(blocks) == 1 or _is_replaced(head) or getattr(head, "activation", None):
        return 1
    count = 1
    if type(head) in _CONVOLUTIONS and type(blocks[1]) is BatchNorm and not _is_replaced(blocks[1]):
        count = 2
    last = (Activation, PReLU) if type(head) in _CONVOLUTIONS else (Activation,)
    if count < len(blocks) and type(blocks[count]) in last and not _is_replaced(blocks[count]):
        count += 1
    return count


def run_as_one(blocks: Sequence[Any], x: Any) -> Any:
    """The result of layers that :func:`together` counted, one after another."""
    if type(x) is np.ndarray:
        result = _fused(blocks[0], blocks[1:], x)
        if result is not None:
            return result
    for block in blocks:
        x = block(x)
    return x


def _fused(head: Any, rest: Sequence[Any], x: Any) -> Any:
    """The same in one pass; None where that would not be the same, or fails."""
    try:
        shape, dtype = head.infer(x.shape), head.result_dtype(x.dtype)
        # Narrower floats are rounded between the layers.
        if wide(dtype) != dtype:
            return None
        epilogue = NOTHING
        for layer in rest:
            layer.infer(shape)
            if layer.result_dtype(dtype) != dtype:
                return None
            epilogue = layer.joined(epilogue, dtype)
            # Those that have channels; of one number each, a PReLU has none.
            has_axis = type(layer) is BatchNorm or (type(layer) is PReLU and layer.in_channels != 1)
            if has_axis and layer.axis % len(shape) != head.channel_axis(len(shape)):
                return None
        result = head.finished(x, epilogue)
    except (ValueError, TypeError, IndexError, ArithmeticError, LookupError):
        return None
    remember(head, x.shape, x.dtype)
    for layer in rest:
        remember(layer, shape, dtype)
    return result


def makes_new(block: Block) -> bool:
    """Whether the result of a layer is an array that nobody else holds."""
    return type(block) in _MAKERS and not _is_replaced(block)


def over(op: str, inputs: Sequence[Any], spare: int) -> Any:
    """The result of an op, written over one of its inputs that nobody needs any more; None where it does not fit."""
    function, target = _OVER.get(op), inputs[spare]
    if function is None or not _is_own(target):
        return None
    for other in inputs:
        if type(other) in (int, float):
            continue
        if type(other) is not np.ndarray or other.dtype != target.dtype:
            return None
        if other.shape != target.shape and np.broadcast_shapes(other.shape, target.shape) != target.shape:
            return None
    result: Any = function(*inputs, out=target)
    return result


def activated(block: Block, x: Any) -> Any:
    """The result of an activation, written over an input that nobody needs any more; None where it does not fit."""
    if type(block) is not Activation or _is_replaced(block) or not _is_own(x):
        return None
    into(block.activation, x, x, block.alpha)
    remember(block, x.shape, x.dtype)
    return x


def _is_own(x: Any) -> bool:
    return type(x) is np.ndarray and x.dtype in (np.float32, np.float64) and x.ndim > 0 and x.flags.writeable


def _is_replaced(block: Block) -> bool:
    return any(name in block.__dict__ for name in _REPLACED)
