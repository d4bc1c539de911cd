"""Recurrences while a module is exported: one call each, of sequences of any length."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import torch
import torch.fx

_NAMES: Final = ("lstm", "gru", "rnn_tanh", "rnn_relu")


@contextlib.contextmanager
def whole_recurrences() -> Iterator[None]:
    """Recurrences give the shapes of their results, where PyTorch would go through all steps, and fix their number."""
    several = [getattr(torch.ops.aten, name).input for name in _NAMES]
    kept = [dict(each.py_kernels) for each in several]
    try:
        for each in several:
            each.py_kernels.update(dict.fromkeys(each.py_kernels, _results))
            each._dispatch_cache.clear()
        yield
    finally:
        for each, before in zip(several, kept, strict=True):
            each.py_kernels.update(before)
            each._dispatch_cache.clear()


def _results(
    x: torch.Tensor,
    states: torch.Tensor | Sequence[torch.Tensor],
    parameters: Any,
    has_biases: Any,
    layers: Any,
    dropout: Any,
    trains: Any,
    is_bidirectional: Any,
    batch_first: Any,
) -> tuple[torch.Tensor, ...]:
    """The outputs of all steps, and the last states, without values."""
    several = [states] if isinstance(states, torch.Tensor) else list(states)
    features = several[0].shape[2] * (2 if is_bidirectional else 1)
    return x.new_empty((*x.shape[:2], features)), *(torch.empty_like(each) for each in several)


_LIBRARY: Final = torch.library.Library("modelarchive", "FRAGMENT")


def _stand_ins() -> dict[Any, Any]:
    found = {}
    for name in _NAMES:
        operator = getattr(torch.ops.aten, name).input
        _LIBRARY.define(f"{name}({str(operator._schema).partition('(')[2]}")
        _LIBRARY.impl(name, _results, "CompositeExplicitAutograd")
        torch.library.register_fake(f"modelarchive::{name}", _results, lib=_LIBRARY)
        found[operator] = getattr(torch.ops.modelarchive, name).default
    return found


#: Recurrence -> an operator of the same arguments that PyTorch does not take apart, whatever it is told.
STAND_INS: Final[Mapping[Any, Any]] = _stand_ins()


def put(targets: Mapping[Any, Any], module: torch.nn.Module) -> None:
    """Put operators in the place of others, in a program and its regions."""
    for each in module.modules():
        for node in each.graph.nodes if isinstance(each, torch.fx.GraphModule) else ():
            if node.op == "call_function":
                node.target = targets.get(node.target, node.target)
