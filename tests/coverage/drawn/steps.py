"""What a network drawn at random is made of: one operation on what there is so far, drawn with its arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, TypeAlias

import torch

#: What an operation does with a tensor; a module has parameters.
Function: TypeAlias = Callable[..., Any]


@dataclass(frozen=True)
class Step:
    """An operation.

    Attributes:
        takes: Whether it is for a tensor such as this one.
        draw: (what draws, the tensor) -> the function or module, and what was drawn, for the name.
    """

    takes: Callable[[torch.Tensor], bool]
    draw: Callable[[Random, torch.Tensor], tuple[Function, Any]]


def is_float(x: torch.Tensor) -> bool:
    """Whether it is of floating-point numbers."""
    return x.is_floating_point()


def is_single(x: torch.Tensor) -> bool:
    """Whether it is of what parameters have."""
    return x.dtype == torch.float32


def is_whole(x: torch.Tensor) -> bool:
    """Whether it is of integers."""
    return not x.is_floating_point() and x.dtype != torch.bool


def is_number(x: torch.Tensor) -> bool:
    """Whether it is of numbers: no truths."""
    return x.dtype != torch.bool


def has_axes(*numbers: int, of: Callable[[torch.Tensor], bool] = is_number) -> Callable[[torch.Tensor], bool]:
    """What is for tensors with one of some numbers of axes, and of a kind."""
    return lambda x: x.ndim in numbers and of(x)


def always(function: Function, takes: Callable[[torch.Tensor], bool] = is_float) -> Step:
    """An operation without arguments."""
    return Step(takes, lambda drawing, x: (function, ""))


def along(function: Callable[[torch.Tensor, int, bool], Any], of: Callable[[torch.Tensor], bool] = is_number) -> Step:
    """An operation along an axis that is not the first, which is drawn, and yes or no."""

    def draw(drawing: Random, x: torch.Tensor) -> tuple[Function, Any]:
        dim = drawing.randrange(1, x.ndim) - drawing.choice((0, x.ndim))
        flag = drawing.random() < 0.5
        return (lambda x: function(x, dim, flag)), (dim, flag)

    return Step(has_axes(2, 3, 4, of=of), draw)


def one_of(functions: Sequence[Function], takes: Callable[[torch.Tensor], bool]) -> Step:
    """One of several operations."""

    def draw(drawing: Random, x: torch.Tensor) -> tuple[Function, Any]:
        number = drawing.randrange(len(functions))
        return functions[number], number

    return Step(takes, draw)


def divisors(number: int) -> list[int]:
    """What divides a number."""
    return [each for each in range(1, number + 1) if number % each == 0]
