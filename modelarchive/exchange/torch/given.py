"""What a module is read on: declared or given as an example, and the examples that a module is exported with."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch

from modelarchive.architecture.declarations import declaration
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.torch.arguments import IN_A_ROW, Arguments
from modelarchive.exchange.torch.inputs import declared as declared_of
from modelarchive.exchange.torch.tensors import NAMES, TORCH, tensor_of
from modelarchive.nn.axes import Axis, free_axes
from modelarchive.nn.trials import SCALES, Scale, Trial, last_resort

#: The batch while a module is exported: 1 is taken for a fixed size.
_BATCH: Final = 2
#: Another one, which nothing divides, and few networks have anything of.
_OTHER_BATCH: Final = 7
#: Elements of an input that is made up.
_MOST: Final = 2**28


@dataclass
class Given:
    """What a module is read on.

    Attributes:
        declared: Shape and dtype of each input.
        example: The tensors that were given; None: only declared.
        is_fixed: Whether no axis of the example is taken for one of any size.
        arguments: How it is called with them.
        scales: How large the free axes are that it is exported at.
    """

    declared: list[dict[str, Any]]
    example: list[torch.Tensor] | None
    is_fixed: bool = False
    arguments: Arguments = IN_A_ROW
    scales: Sequence[Scale] = SCALES

    def tensors(self) -> list[torch.Tensor]:
        """The example; where there is none, random tensors that are declared so."""
        values = last_resort(self.declared).values
        return self.example or random(self.declared, [value.shapes[0] for value in values])

    @property
    def free(self) -> list[list[int]]:
        """The free axes of each input."""
        free = free_axes(self.declared)
        return [[axis for at, axis in free if at == number] for number in range(len(self.declared))]


@dataclass(frozen=True)
class Example:
    """Tensors that a module is exported with.

    Attributes:
        tensors: The tensors.
        free: The axes that may have any size.
        batch: Those of them that may if they are one with the first axis of the first input.
        is_made_up: Whether they are not the user's own.
    """

    tensors: list[torch.Tensor]
    free: frozenset[Axis]
    batch: frozenset[Axis] = frozenset()
    is_made_up: bool = False

    @property
    def axes(self) -> list[list[int]]:
        """The axes of each input that PyTorch is asked about."""
        asked = self.free | self.batch
        return [[axis for axis in range(each.ndim) if (at, axis) in asked] for at, each in enumerate(self.tensors)]


def given(inputs: Any, arguments: Arguments = IN_A_ROW) -> Given:
    """Inputs as the user gives them: tensors, arrays, declarations; and how a module is called with them."""
    several = list(inputs) if isinstance(inputs, tuple) else inputs if _is_list(inputs) else [inputs]
    declared, example = [], []
    for each in several:
        if isinstance(each, Mapping):
            declared.append({"dtype": "float32", **declaration(each)})
            continue
        tensor = each.detach() if isinstance(each, torch.Tensor) else tensor_of(np.asarray(each))
        if tensor.dtype not in NAMES:
            raise Refusal(f"an input of dtype {tensor.dtype}")
        declared.append(declared_of(tensor))
        example.append(tensor)
    return Given(declared, example if len(example) == len(declared) else None, arguments=arguments)


def _is_list(inputs: Any) -> bool:
    return isinstance(inputs, list) and any(hasattr(each, "shape") or isinstance(each, Mapping) for each in inputs)


def examples(tensors: Sequence[torch.Tensor]) -> Iterator[Example]:
    """The examples that a module is exported with in place of the user's: with a batch of more than 1.

    The first axis of each input may have any size, or, after that, of those alone whose first axis is as long as the
    batch. A state has the batch second: an axis that is as long as the batch is one with it if the module says so.
    And a batch may be as long as something that it is not, so another one is tried.
    """
    free = frozenset((at, 0) for at, each in enumerate(tensors) if each.ndim)
    if not all(each.ndim and each.shape[0] == 1 for each in tensors):
        size = tensors[0].shape[0] if tensors[0].ndim else None
        first = {at for at, each in enumerate(tensors) if each.ndim and each.shape[0] == size}
        second = {at for at, each in enumerate(tensors) if at and size != 1 and each.ndim > 1 and each.shape[1] == size}
        batch = frozenset((at, 1) for at in second)
        for may in dict.fromkeys((free, frozenset((at, 0) for at in first))):
            yield Example(list(tensors), may, batch)
            if size:
                longer = list(tensors)
                for at in first | second:
                    longer[at] = _repeated(tensors[at], _OTHER_BATCH + (size == _OTHER_BATCH), int(at not in first))
                yield Example(longer, may, frozenset((at, 1) for at in second - first), is_made_up=True)
        return
    for batch_size in (_BATCH, _OTHER_BATCH):
        yield Example([_repeated(each, batch_size, 0) for each in tensors], free, is_made_up=True)
        second = {at for at, each in enumerate(tensors) if at and each.ndim > 2 and each.shape[1] == 1}
        if second:
            repeated = [_repeated(each, batch_size, int(at in second)) for at, each in enumerate(tensors)]
            yield Example(repeated, free, frozenset((at, 1) for at in second), is_made_up=True)


def _repeated(tensor: torch.Tensor, size: int, axis: int) -> torch.Tensor:
    """A tensor of another size at an axis: its own parts, again and again."""
    return tensor.index_select(axis, torch.arange(size, device=tensor.device) % tensor.shape[axis])


def made_up(trial: Trial) -> Example:
    """Tensors of the shapes that a trial has, of whatever values."""
    tensors = []
    for each, value in zip(trial.inputs, trial.values, strict=True):
        shape = () if value is None else value.shapes[0]
        if math.prod(shape) > _MOST:
            raise Refusal(f"an example of shape {shape} is too large to be tried")
        tensors.append(torch.empty(shape, dtype=TORCH[each["dtype"]]))
    return Example(tensors, frozenset(free_axes(trial.inputs)))


def random(
    declared: Sequence[Mapping[str, Any]],
    shapes: Sequence[Sequence[int]],
    example: Sequence[torch.Tensor] | None = None,
) -> list[torch.Tensor]:
    """Tensors of random numbers, the same ones each time, and others for each input; of whole numbers 0 and 1.

    A row of whole numbers is in order: where it says at which places pieces begin, another one means nothing. Bytes
    are those of an example, where there is one: of pixels that are nearly black all results are nearly the same.
    """
    generator = torch.Generator().manual_seed(0)
    likes = [None] * len(declared) if example is None else example
    rows = zip(declared, shapes, likes, strict=True)
    return [_random(TORCH[each["dtype"]], shape, generator, like) for each, shape, like in rows]


def _random(
    dtype: torch.dtype, shape: Sequence[int], generator: torch.Generator, like: torch.Tensor | None
) -> torch.Tensor:
    if dtype == torch.uint8 and like is not None and like.numel():
        return like.reshape(-1).cpu()[torch.randint(like.numel(), tuple(shape), generator=generator)]
    if dtype.is_floating_point or dtype.is_complex:
        return torch.randn(tuple(shape), generator=generator).to(dtype)
    whole = torch.randint(0, 2, tuple(shape), generator=generator)
    return (whole.sort().values if whole.ndim == 1 else whole).to(dtype)
