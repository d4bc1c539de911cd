"""Built modules are called with the sizes that their architecture declares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from modelarchive.nn.calling import DECLARED
from modelarchive.nn.fitting import missized


def hold(module: torch.nn.Module, called: Sequence[str]) -> None:
    """Let a module refuse calls with other sizes than those declared, as long as its parameters are of their shapes.

    What depends on a size is as it was for the declared one. A module that is changed, by another first layer say,
    takes something else.

    Args:
        module: The module, just built, which remembers its inputs.
        called: What its ``forward`` calls each.
    """
    module.register_forward_pre_hook(Hold(list(called), _outline(module)), with_kwargs=True)


class Hold:
    """A hook before ``forward``: it compares sizes, and changes nothing."""

    def __init__(self, called: list[str], outline: list[tuple[str, tuple[int, ...]]]) -> None:
        self._called = called
        self._outline = outline

    def __call__(self, module: torch.nn.Module, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        """Compare the sizes of a call.

        Raises:
            ValueError: An axis has another size than the declared one, or axes of one name are of several.
        """
        if torch.jit.is_tracing():  # sizes are tensors there
            return
        problem = missized(getattr(module, DECLARED), self._called, inputs, named)
        if problem and self._outline == _outline(module):
            raise ValueError(problem)


def _outline(module: torch.nn.Module) -> list[tuple[str, tuple[int, ...]]]:
    """The names and shapes of a module's parameters and buffers."""
    found = [*module.named_parameters(), *module.named_buffers()]
    return [(name, tuple(each.shape)) for name, each in found]
