"""What changes a module's weights or outputs beside its forward: told by name, with the way out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.nn.utils import parametrize, prune

from modelarchive.names import joined


def found(module: torch.nn.Module, path: str) -> Iterator[tuple[str, str]]:
    """(where, what) of a module's hooks and parametrisations, each with what takes it away."""
    owner = f"model.get_submodule({path!r})" if path else "model"
    for name, several in parametrised(module).items():
        how = ", ".join(_word(each) for each in several)
        remove = f"torch.nn.utils.parametrize.remove_parametrizations({owner}, {name!r})"
        yield joined(path, name), f"is computed by a parametrisation ({how}); {remove} makes it plain"
    for hook in (*module._forward_pre_hooks.values(), *module._forward_hooks.values()):
        yield path or "(model)", _told(hook, owner)
    replaced = vars(module).get("forward")
    # The same forward, compiled, is no other one.
    if replaced is not None and _compiled(replaced) is not type(module).forward:
        yield path or "(model)", "its forward was replaced on the object; put what it does into the forward of a class"


def parametrised(module: torch.nn.Module) -> dict[str, Any]:
    """Parameter -> parametrisations, of those that PyTorch's own functions made; others have a forward to be read."""
    if not parametrize.is_parametrized(module):
        return {}
    return {
        name: several
        for name, several in module.parametrizations.items()
        if any(type(each).__module__.startswith("torch.") for each in several)
    }


def _compiled(function: Any) -> Any:
    """The function that torch.compile made another of; None: it did not."""
    inner = getattr(function, "_torchdynamo_orig_callable", None)
    return getattr(inner, "__func__", inner)


def _told(hook: Any, owner: str) -> str:
    name = getattr(hook, "name", None) or getattr(hook, "_tensor_name", None)
    kind = type(hook).__name__
    if isinstance(hook, prune.BasePruningMethod):
        return f"{name!r} is pruned by a hook ({kind}); torch.nn.utils.prune.remove({owner}, {name!r}) makes it plain"
    if type(hook).__module__ == "torch.nn.utils.weight_norm":
        return (
            f"{name!r} is computed by weight_norm; torch.nn.utils.remove_weight_norm({owner}, {name!r}) makes it plain"
        )
    if type(hook).__module__ == "torch.nn.utils.spectral_norm":
        remove = f"torch.nn.utils.remove_spectral_norm({owner}, {name!r})"
        return f"{name!r} is computed by spectral_norm; {remove} makes it plain"
    return f"a forward hook ({_word(hook)}), which is code that no architecture holds; take it off with its handle"


def _word(value: Any) -> str:
    name: str = getattr(value, "__qualname__", None) or type(value).__qualname__
    return name.rpartition("<locals>.")[2].lstrip("_")
