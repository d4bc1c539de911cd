"""Ordinary Python in a forward, while a module is exported: ``len``, ``math.log``, and errors that it catches."""

from __future__ import annotations

import contextlib
import functools
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import torch
import torch.fx
from torch._export import verifier
from torch.fx.experimental import proxy_tensor

from modelarchive.exchange.torch.functions_of_sizes import BUILTINS, FUNCTIONS, MODULES, TYPES
from modelarchive.exchange.torch.looping import Loops

#: Packages whose code stays as it is: PyTorch's compiler keeps tables of what functions are.
_LEFT_ALONE: Final = frozenset({"torch", "modelarchive"})


class Numbers:
    """Whether ``int`` and ``float`` of a size are numbers of it, and whether anybody asked for one.

    Attributes:
        are_sizes: They are sizes again, as everywhere else where a size is calculated.
        asked: The code of a network called them with a size, which is fixed by that.
    """

    def __init__(self) -> None:
        self.are_sizes = self.asked = False


@contextlib.contextmanager
def ordinary_python(network: torch.nn.Module, numbers: Numbers, loops: Loops) -> Iterator[None]:
    """What asks a size for its number gets the size, and a call that ends in an error ends as a call.

    ``len(x)`` and ``math.log(x.shape[0])`` fix a size for PyTorch, since Python wants numbers of them: the code of the
    packages that the network is made of calls others by these names. PyTorch's tracer takes a module whose forward
    raised for one that still runs. And of a network in which one module stands at two places it gives stand-ins for all
    modules, of other classes, whose slices (``self.layers[:-1]``) are called what is no place in the network. Nor can
    it exchange a module's tensors, which ``self.layer.to(x.device)`` asks for, where there is nothing to change. What
    it exports may call fewer functions of sizes than it traces. And functions that remember what they gave
    (``functools.lru_cache``) look sizes up that have no number.
    """
    replaced: list[tuple[dict[str, Any], str, Any]] = []
    code = _code_of(network)
    changed = [*_METHODS, *_asking(code, numbers), *loops.methods()]
    methods = [(owner, name, getattr(owner, name)) for owner, name, _ in changed]
    remembering = list(_remembering(network))
    builtins = {**BUILTINS, **loops.builtins, **(TYPES if numbers.are_sizes else {})}
    try:
        for (owner, name, method), (_, _, other_method) in zip(methods, changed, strict=True):
            setattr(owner, name, functools.partialmethod(other_method, method))
        for owner, name, method in remembering:
            setattr(owner, name, method.__wrapped__)
        for names in code:
            for name, other_builtin in builtins.items():
                if name not in names:
                    names[name] = other_builtin
                    replaced.append((names, name, None))
            for name, value in list(names.items()):
                other = _other(value)
                if other is not None:
                    names[name] = other
                    replaced.append((names, name, value))
        yield
    finally:
        for owner, name, method in (*methods, *remembering):
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


def _types_of_calls(program: Any, types_of_calls: Callable[..., Any]) -> Any:
    return (*types_of_calls(program), types.FunctionType)  # as torch._sym_log2


#: (class, method, what is called in its place, and given it).
_METHODS: Final = (
    (torch.fx.Tracer, "call_module", _call_module),
    (proxy_tensor._ModuleStackTracer, "__init__", _begin),
    (torch.nn.Module, "_apply", _apply),
    (verifier.Verifier, "allowed_op_types", _types_of_calls),
)


def _asking(code: Sequence[dict[str, Any]], numbers: Numbers) -> Iterator[tuple[Any, str, Callable[..., Any]]]:
    """What notes that somebody's code has called ``int`` or ``float`` with a size."""
    known = {id(names) for names in code}

    def asked(size: Any, number: Callable[..., Any]) -> Any:
        frame = sys._getframe(1)
        numbers.asked |= id(frame.f_globals) in known and not TYPES.keys().isdisjoint(frame.f_code.co_names)
        return number(size)

    yield from ((torch.SymInt, name, asked) for name in ("__int__", "__index__"))
    yield from ((torch.SymFloat, name, asked) for name in ("__int__", "__float__"))


def _code_of(network: torch.nn.Module) -> list[dict[str, Any]]:
    """The names of all modules of Python in the packages that classes of a network are of."""
    packages = {type(each).__module__.partition(".")[0] for each in network.modules()} - _LEFT_ALONE
    found = [(name, vars(each)) for name, each in list(sys.modules.items()) if isinstance(each, types.ModuleType)]
    return [names for name, names in found if name.partition(".")[0] in packages]


def _remembering(network: torch.nn.Module) -> Iterator[tuple[type, str, Any]]:
    """Methods of a network's classes that remember what they gave."""
    for kind in {base for each in network.modules() for base in type(each).__mro__}:
        if kind.__module__.partition(".")[0] not in _LEFT_ALONE:
            yield from ((kind, name, each) for name, each in list(vars(kind).items()) if isinstance(each, _REMEMBERING))


_REMEMBERING: Final = type(functools.lru_cache(len))


def _other(value: Any) -> Any:
    """What stands for a module or a function in somebody's code; None: itself."""
    if isinstance(value, types.ModuleType):
        return MODULES.get(value)
    if isinstance(value, _REMEMBERING):
        return value.__wrapped__
    return FUNCTIONS.get(value) if isinstance(value, types.BuiltinFunctionType | np.ufunc) else None
