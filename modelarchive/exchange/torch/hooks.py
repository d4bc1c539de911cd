"""What changes a module's weights or outputs beside its forward: hooks, parametrisations, another forward."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.nn.utils import parametrize

from modelarchive.exchange.torch.holding import Hold
from modelarchive.names import joined


def is_changed(module: torch.nn.Module) -> bool:
    """Whether a module does more than its class says."""
    replaced = vars(module).get("forward")
    return bool(
        any(not isinstance(each, Hold) for each in module._forward_pre_hooks.values())
        or module._forward_hooks
        or parametrize.is_parametrized(module)
        # The same forward, compiled, is no other one.
        or (replaced is not None and _compiled(replaced) is not type(module).forward)
    )


def parametrised(module: torch.nn.Module, path: str) -> Iterator[tuple[str, str]]:
    """(where, what) of parameters that PyTorch's own functions compute, with what makes them plain."""
    if not parametrize.is_parametrized(module):
        return
    owner = f"model.get_submodule({path!r})" if path else "model"
    for name, several in module.parametrizations.items():
        if any(type(each).__module__.startswith("torch.") for each in several):
            how = ", ".join(type(each).__qualname__.lstrip("_") for each in several)
            remove = f"torch.nn.utils.parametrize.remove_parametrizations({owner}, {name!r})"
            yield joined(path, name), f"is computed by a parametrisation ({how}); {remove} makes it plain"


def _compiled(function: Any) -> Any:
    """The function that torch.compile made another of; None: it did not."""
    inner = getattr(function, "_torchdynamo_orig_callable", None)
    return getattr(inner, "__func__", inner)
