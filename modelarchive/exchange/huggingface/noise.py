"""Numbers that a network of transformers draws at random, unless it is given them: which pieces it masks, say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch.overrides import TorchFunctionMode

from modelarchive.exchange.huggingface.arguments import Argument

#: The argument of forward that takes them.
NOISE: Final = "noise"
_DRAWS: Final = frozenset({torch.rand, torch.randn, torch.rand_like, torch.randn_like})


def noise_of(module: Any, names: Sequence[str], given: Mapping[str, Any]) -> list[Argument]:
    """The argument for what a network draws once in each run, of a shape that it has; none where it draws nothing.

    Args:
        module: The network.
        names: The arguments of its forward.
        given: What it runs on, the batch first.
    """
    if NOISE not in names or NOISE in given:
        return []
    with torch.no_grad(), _Draws() as draws:
        module(**given)
    batch = next(iter(given.values())).shape[0]
    if len(draws.shapes) != 1 or draws.shapes[0][:1] != (batch,):
        return []
    return [Argument(NOISE, (None, *draws.shapes[0][1:]))]


class _Draws(TorchFunctionMode):  # type: ignore[misc]
    """Sees, while a network runs, what it draws.

    Attributes:
        shapes: The shape of each array, in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        """Run a function of PyTorch."""
        found = func(*args, **(kwargs or {}))
        if func in _DRAWS:
            self.shapes.append(tuple(found.shape))
        return found
