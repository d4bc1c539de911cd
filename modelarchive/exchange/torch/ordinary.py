"""Ordinary Python in a forward, while a module is exported: ``len``, ``math.sqrt``, and errors that it catches."""

from __future__ import annotations

import contextlib
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
    modules, of other classes, whose slices (``self.layers[:-1]``) are called what is no place in the network.
    """
    call = torch.fx.Tracer.call_module
    tracer_of_modules: Any = proxy_tensor._ModuleStackTracer
    begin = tracer_of_modules.__init__
    replaced: list[tuple[dict[str, Any], str, Any]] = []

    def call_of(tracer: Any, module: torch.nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        before = list(tracer.module_stack)
        try:
            return call(tracer, module, forward, args, kwargs)
        except BaseException:
            for key in tracer.module_stack.keys() - before:
                del tracer.module_stack[key]
            raise

    def begin_with_modules(tracer: Any, *given: Any, **more: Any) -> None:
        begin(tracer, *given, **more)
        tracer.enable_attr_proxy = False

    try:
        torch.fx.Tracer.call_module = call_of
        tracer_of_modules.__init__ = begin_with_modules
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
        torch.fx.Tracer.call_module = call
        tracer_of_modules.__init__ = begin
        for names, name, value in replaced:
            if value is None:
                names.pop(name, None)
            else:
                names[name] = value


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
