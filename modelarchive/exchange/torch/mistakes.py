"""What people hand over for a network: what it is, and what to hand over instead."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Final

import torch

from modelarchive.errors import ConversionError
from modelarchive.exchange.torch.wrapping import unwrapped

#: Attributes under which trainers, wrappers and estimators keep the network, the likeliest first.
_INSIDE: Final = ("model", "module", "module_", "network", "net", "lightning_module", "backbone")


def mistaken(model: object) -> tuple[str, str] | None:
    """(what it is, the next step) of an object that is no network; None where nothing is known of it."""
    if isinstance(model, type):
        if not issubclass(model, torch.nn.Module):
            return None
        name = model.__name__
        step = f'save an instance, whose parameters it has: save_model("{name.lower()}.h5", {name}(...), inputs=x)'
        return f"is the class {name}, not a network of it", step
    if _is_tensors(model):
        step = "save() stores a state_dict: save(path, state_dict); save_model needs the module, which has the forward"
        return "is a state_dict, parameters without a network", step
    if isinstance(model, torch.optim.Optimizer):
        return f"is an optimizer ({type(model).__name__})", "give the network that it trains"
    if isinstance(model, torch.jit.ScriptFunction):
        return "is a TorchScript function", "give the module that it was made of"
    if isinstance(model, torch.Tensor):
        return "is a tensor", "save() stores tensors: save(path, tensor)"
    for name in _INSIDE:
        inside = None
        with contextlib.suppress(Exception):  # a property of somebody's may raise anything
            inside = getattr(model, name, None)
        if isinstance(inside, torch.nn.Module):
            return (
                f"is {type(model).__name__}, which holds a network",
                f"give its .{name}: save_model(path, x.{name}, ...)",
            )
    return None


def refuse_without_forward(module: torch.nn.Module) -> None:
    """Refuse a module that only holds others: lists of modules, averages of a network, and the like.

    Raises:
        ConversionError: It has no forward.
    """
    network, _ = unwrapped(module)
    if type(network).forward is not torch.nn.Module.forward or "forward" in vars(network):
        return
    children = [name for name, each in network.named_children() if type(each).forward is not torch.nn.Module.forward]
    hint = "give a module whose forward calls its parts"
    if len(children) == 1 and children[0].isidentifier():
        hint = f"give the network inside of it: save_model(path, x.{children[0]}, ...)"
    raise ConversionError([("(model)", f"{type(network).__name__} has no forward, it only holds modules")], hint=hint)


def _is_tensors(model: object) -> bool:
    """Whether it is a dict of tensors, dicts of such among them."""
    if not isinstance(model, Mapping) or not model:
        return False
    return all(isinstance(each, torch.Tensor) or _is_tensors(each) for each in model.values())
