"""Numbers that are the largest of an array (``int(lengths.max())``), taken for what they are on the example.

A forward that makes a mask of as many places as the longest of some lengths runs only where that is how long its other
input is. That it does nothing else where the number is another is compared.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch.overrides import TorchFunctionMode

from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.torch.arguments import Arguments
from modelarchive.exchange.torch.known_tensors import KnownTensors
from modelarchive.nn.axes import Axis

_LARGEST: Final = frozenset({torch.max, torch.Tensor.max, torch.amax, torch.Tensor.amax})
#: What gives the same number again.
_SAME: Final = frozenset(
    {torch.Tensor.long, torch.Tensor.int, torch.Tensor.to, torch.Tensor.cpu, torch.Tensor.detach,
     torch.Tensor.squeeze, torch.Tensor.view, torch.Tensor.reshape}
)  # fmt: skip
_ASKED: Final = frozenset({torch.Tensor.item, torch.Tensor.__int__, torch.Tensor.__index__})
#: What asks for a number by itself.
_COUNTING: Final = frozenset({torch.arange})


class _Largest(TorchFunctionMode):
    """Sees where the largest number of an array is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self._known = KnownTensors()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        """Run a function of PyTorch."""
        if func in _ASKED and args[0] in self._known:
            return self.number(args[0])
        if func in _COUNTING:
            args = [self.number(each) if each in self._known else each for each in args]
        found = func(*args, **(kwargs or {}))
        if (func in _LARGEST and _is_whole(found)) or (func in _SAME and args[0] in self._known):
            self._known.add(found)
        return found

    def number(self, tensor: torch.Tensor) -> int:
        """The number that is asked for."""
        raise NotImplementedError


class _Observed(_Largest):
    def __init__(self) -> None:
        super().__init__()
        self.numbers: list[int] = []

    def number(self, tensor: torch.Tensor) -> int:
        self.numbers.append(int(tensor))
        return self.numbers[-1]


class _Answered(_Largest):
    def __init__(self, numbers: Sequence[int]) -> None:
        super().__init__()
        self._numbers = iter(numbers)

    def number(self, tensor: torch.Tensor) -> int:
        found = next(self._numbers, None)
        if found is None:
            raise Refusal("it asks for the largest number of an array more often than on the example")
        return found


def _is_whole(found: Any) -> bool:
    return isinstance(found, torch.Tensor) and not found.ndim and not found.is_floating_point()


@dataclass(frozen=True)
class Answering(Arguments):
    """A call in which the largest numbers of arrays are known.

    Attributes:
        numbers: Those that are asked for, in order.
    """

    numbers: tuple[int, ...] = ()

    def call(self, function: Any, row: Sequence[Any]) -> Any:
        """Call a module."""
        with _Answered(self.numbers):
            return super().call(function, row)


def asked(network: torch.nn.Module, given: Sequence[torch.Tensor], arguments: Arguments) -> tuple[int, ...]:
    """The largest numbers of arrays that a module asks for, in order, until it ends, in whatever way."""
    observed = _Observed()
    # An error is anything that somebody's forward raises.
    with observed, torch.no_grad(), contextlib.suppress(Exception):
        arguments.call(network, [each.clone() for each in given])
    return tuple(observed.numbers)


def answering(arguments: Arguments, numbers: tuple[int, ...]) -> Answering:
    """The call of a module in which the largest numbers of arrays are known."""
    return Answering(arguments.args, arguments.named, arguments.names, arguments.literals, numbers)


def repeated(example: Sequence[torch.Tensor], free: Sequence[Axis], size: int) -> list[torch.Tensor]:
    """An example of another batch, made of its own rows, the longest among them."""
    rows = [torch.arange(size) % max(len(each), 1) if each.ndim else None for each in example]
    return [
        each if row is None or (at, 0) not in free else each.index_select(0, row)
        for at, (each, row) in enumerate(zip(example, rows, strict=True))
    ]


def other_lengths(example: Sequence[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """An example with each input of whole numbers, and all of them, of another largest number."""
    whole = [at for at, each in enumerate(example) if each.numel() and each.dtype in (torch.int64, torch.int32)]
    for chosen in dict.fromkeys([*((each,) for each in whole), tuple(whole)]) if whole else ():
        for share in (1, 0.5, 0):
            yield [_lowered(each, share) if at in chosen else each for at, each in enumerate(example)]
        yield [each + 1 if at in chosen else each for at, each in enumerate(example)]


def _lowered(tensor: torch.Tensor, share: float) -> torch.Tensor:
    """A tensor without the numbers above a part of the largest."""
    return tensor.clamp(max=max(int((int(tensor.max()) - 1) * share), min(1, int(tensor.max()))))
