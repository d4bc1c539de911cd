"""The dtype of what an op gives: NumPy's, as the vocabulary says, also where PyTorch's rules differ."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from modelarchive import ops
from modelarchive.exchange.torch.tensors import numpy_dtype, torch_dtype


def result_dtype(op: str, inputs: Sequence[Any], arguments: Mapping[str, Any]) -> torch.dtype:
    """The dtype of what an op of the vocabulary gives of tensors and Python numbers, and its literal arguments."""
    literals = tuple((name, _hashable(each)) for name, each in arguments.items())
    return _constant_dtype(op, _dtypes(inputs), literals)


def compared_dtype(inputs: Sequence[Any]) -> torch.dtype:
    """The dtype in which tensors and Python numbers are compared: that of their sum, where truths are numbers."""
    return _constant_dtype("add", tuple(torch.uint8 if each is torch.bool else each for each in _dtypes(inputs)), ())


def _dtypes(inputs: Sequence[Any]) -> tuple[Any, ...]:
    """The dtypes of tensors, and numbers: as they are, and of their kind alone where torch.compile has symbols."""
    if torch.compiler.is_compiling():
        return tuple(each.dtype if isinstance(each, torch.Tensor) else _like(each) for each in inputs)
    return tuple(each.dtype if isinstance(each, torch.Tensor) else each for each in inputs)


def _like(number: Any) -> Any:
    kinds: dict[type, Any] = {bool: True, int: 1, float: 1.0}
    return next((one for kind, one in kinds.items() if isinstance(number, kind)), number)


def _hashable(value: Any) -> Any:
    """A literal with tuples in the place of its lists, and of those in them: pairs of padding, say."""
    return tuple(map(_hashable, value)) if isinstance(value, list | tuple) else value


def _constant_dtype(op: str, given: tuple[Any, ...], literals: tuple[tuple[str, Any], ...]) -> torch.dtype:
    return _known_dtype(op, given, literals)


# What torch.compiler.assume_constant_result does, which imports the compiler: it is called, and not followed.
_constant_dtype._dynamo_marked_constant = True  # type: ignore[attr-defined]


@functools.lru_cache(4096)
def _known_dtype(op: str, given: tuple[Any, ...], literals: tuple[tuple[str, Any], ...]) -> torch.dtype:
    dtypes = [numpy_dtype(each) if isinstance(each, torch.dtype) else each for each in given]
    return torch_dtype(ops.OPS[op].dtype(*dtypes, **dict(literals)))
