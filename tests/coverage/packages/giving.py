"""What networks of packages are given: numbers, words, truths, and names for what is no tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch

#: Package -> network -> what makes it, and what it is given.
Networks: TypeAlias = Mapping[str, Mapping[str, Callable[[], Sequence[Any]]]]


def floats(*shape: int) -> torch.Tensor:
    """Random numbers, the same ones each time."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)))


def ids(*shape: int, to: int = 16) -> torch.Tensor:
    """Whole numbers from 0 on, the same ones each time."""
    return torch.randint(0, to, shape, generator=torch.Generator().manual_seed(len(shape)))


def truths(*shape: int) -> torch.Tensor:
    """True everywhere but at the end of the last row."""
    found = torch.ones(*shape, dtype=torch.bool)
    found[-1, ..., -1] = False
    return found


class Called(torch.nn.Module):
    """A network that takes its arguments by name, some of which are no tensors.

    Args:
        network: The network.
        names: What the tensors are called.
        method: The method that is called.
        more: The other arguments.
    """

    def __init__(self, network: torch.nn.Module, names: str = "", method: str = "forward", **more: Any) -> None:
        super().__init__()
        self.network = network
        self.names, self.method, self.more = names.split(), method, more

    def forward(self, *given: torch.Tensor) -> Any:
        """Call it."""
        named = dict(zip(self.names, given, strict=False))
        run = self.network if self.method == "forward" else getattr(self.network, self.method)
        return run(*given[len(named) :], **named, **self.more)
