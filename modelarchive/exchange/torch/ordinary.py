"""Ordinary Python in a forward, while a module is exported: ``len``, ``math.sqrt``, and errors that it catches."""

from __future__ import annotations

import contextlib
import functools
import math
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any, Final

import torch
import torch.fx
from torch.fx.experimental import proxy_tensor

#: Packages whose code stays as it is: PyTorch's compiler keeps tables of what functions are.
_LEFT_ALONE: Final = frozenset({"torch", "modelarchive"})


@contextlib.contextmanager
def ordinary_python(network: torch.nn.Module) -> Iterator[None]:
    """What asks a size for its number gets the size, and a call that ends in an error ends as a call.

    ``len(x)`` and ``math.sqrt(x.shape[0])`` fix a size for PyTorch, since Python wants numbers of them: the code of the
    packages that the network is made of calls others by these names. PyTorch's tracer takes a module whose forward
    raised for one that still runs. And of a network in which one module stands at two places it gives stand-ins for all
    modules, of other classes, whose slices (``self.layers[:-1]``) are called what is no place in the network. Nor can
    it exchange a module's tensors, which ``self.layer.to(x.device)`` asks for, where there is nothing to change.
    """
    replaced: list[tuple[dict[str, Any], str, Any]] = []
    methods = [(owner, name, getattr(owner, name)) for owner, name, _ in _METHODS]
    try:
        for (owner, name, method), (_, _, other_method) in zip(methods, _METHODS, strict=True):
            setattr(owner, name, functools.partialmethod(other_method, method))
        for names in _code_of(network):
            if "len" not in names:
                names["len"] = _length
                replaced.append((names, "len", None))
            for name, value in list(names.items()):
                other = _MATH if value is math else _root if value is math.sqrt else None
                if other is not None:
                    names[name] = other
                    replaced.append((names, name, value))
        yield
    finally:
        for owner, name, method in methods:
            setattr(owner, name, method)
        for names, name, value in replaced:
            if value is None:
                names.pop(name, None)
            else:
                names[name] = value


def _call_module(tracer: Any, call: Callable[..., Any], *given: Any) -> Any:
    before = list(tracer.module_stack)
    try:
        return call(tracer, *given)
    except BaseException:
        for key in tracer.module_stack.keys() - before:
            del tracer.module_stack[key]
        raise


def _begin(tracer: Any, begin: Callable[..., None], *given: Any) -> None:
    begin(tracer, *given)
    tracer.enable_attr_proxy = False


def _apply(module: Any, apply: Callable[..., Any], function: Callable[..., torch.Tensor], recurse: bool = True) -> Any:
    with torch.no_grad():
        pairs = [(each, function(each)) for each in (*module.parameters(recurse), *module.buffers(recurse))]
    changes = any(one.dtype != other.dtype or one.device != other.device for one, other in pairs)
    return apply(module, function, recurse) if changes else module


#: (class, method, what is called in its place, and given it).
_METHODS: Final = (
    (torch.fx.Tracer, "call_module", _call_module),
    (proxy_tensor._ModuleStackTracer, "__init__", _begin),
    (torch.nn.Module, "_apply", _apply),
)


def _code_of(network: torch.nn.Module) -> list[dict[str, Any]]:
    """The names of all modules of Python in the packages that classes of a network are of."""
    packages = {type(each).__module__.partition(".")[0] for each in network.modules()} - _LEFT_ALONE
    found = [(name, vars(each)) for name, each in list(sys.modules.items()) if isinstance(each, types.ModuleType)]
    return [names for name, names in found if name.partition(".")[0] in packages]


def _length(value: Any, /) -> Any:
    size = value.shape[0] if isinstance(value, torch.Tensor) and value.ndim else None
    return size if isinstance(size, torch.SymInt) else len(value)


def _root(value: Any, /) -> Any:
    return torch.sym_sqrt(value) if isinstance(value, torch.SymInt | torch.SymFloat) else math.sqrt(value)


_MATH: Final = types.ModuleType("math")
vars(_MATH).update({**vars(math), "sqrt": _root})

__all__ = ["ordinary_python"]
