"""Running PyTorch's code on stand-ins, so that each forward becomes a recording of the vocabulary's steps."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import torch

from modelarchive import nn, ops
from modelarchive.errors import ModelArchiveError, SpecError
from modelarchive.exchange.torch.calls import VIEWS
from modelarchive.exchange.torch.functionals import FUNCTIONALS
from modelarchive.exchange.torch.proxy import (
    CannotError,
    Proxy,
    StopReadingError,
    Unknown,
    as_array,
    is_symbol,
    mapped,
    proxies,
    unknowns,
)
from modelarchive.exchange.torch.shaping import has_free, transpose

_LOCK: Final = threading.RLock()
_OWNERS: Final = (torch, torch.nn.functional, torch.Tensor, torch.special, torch.linalg)
#: PyTorch's function -> its name in the table.
NAMES: Final[dict[Any, str]] = {
    function: name
    for owner in _OWNERS
    for name in FUNCTIONALS
    if (function := getattr(owner, name, None)) is not None and callable(function)
} | {
    torch.linalg.norm: "vector_norm",  # that of a matrix is another
    torch.Tensor.__and__: "logical_and",
    torch.Tensor.__or__: "logical_or",
    torch.Tensor.__invert__: "logical_not",
    torch.Tensor.__neg__: "neg",
}
#: Functions whose arguments PyTorch checks before it asks a stand-in: sizes that are not fixed are no ints to it.
_SHADOWED: Final = ("reshape", "broadcast_to", "permute", "unflatten", "tile", "zeros", "ones", "full")
_ATTRIBUTES: Final[dict[str, Callable[[Any], Any]]] = {
    "ndim": lambda x: x.ndim,
    "T": lambda x: ops.transpose(x),
    "mT": lambda x: transpose(x, -2, -1),
    "data": lambda x: x,
}
_PLAIN: Final[dict[str, Any]] = {
    "device": torch.device("cpu"),
    "requires_grad": False,
    "is_cuda": False,
    "is_nested": False,
    "is_sparse": False,
    "is_quantized": False,
    "layout": torch.strided,
    "grad_fn": None,
    "names": (),
}


class Tracing:
    """Resolves what a forward does with stand-ins, and keeps what cannot be expressed.

    Attributes:
        problems: (path of the module, what it does) of all that has no place in the vocabulary.
        blocks: ``id(module)`` -> its block.
        parameters: ``id(tensor)`` -> the parameter.
    """

    def __init__(self) -> None:
        self.problems: list[tuple[str, str]] = []
        self.blocks: dict[int, nn.Block] = {}
        self.parameters: dict[int, nn.Parameter] = {}
        self.paths: dict[int, str] = {}
        self._here: list[torch.nn.Module] = []
        self._returned: dict[int, Any] = {}

    def tell(self, what: str, module: torch.nn.Module | None = None) -> None:
        """Note a problem of a module, or of the one whose forward runs; each once."""
        owner = module if module is not None else self._here[-1] if self._here else None
        problem = (self.paths.get(id(owner)) or "(model)", what)
        if problem not in self.problems:
            self.problems.append(problem)

    # ------------------------------------------------------------------ functions

    def call(self, function: Any, args: Any, kwargs: Mapping[str, Any]) -> Any:
        """A function of PyTorch is called with stand-ins."""
        raw = getattr(function, "__name__", str(function))
        name = NAMES.get(function)
        if function is torch.Tensor.where:
            args = (args[1], args[0], *args[2:])  # the method's own tensor is the second argument of the function
        if name is None and raw.endswith("_") and not raw.endswith("__"):
            return self.named(raw[:-1], args, kwargs, in_place=True)
        return self.named(name or raw, args, kwargs)

    def attribute(self, proxy: Proxy, name: str) -> Any:
        """A method or attribute of a tensor."""
        if name in _PLAIN:
            return _PLAIN[name]
        if name in _ATTRIBUTES:
            return self._wrapped(_ATTRIBUTES[name](proxy.symbol), proxy.storage)
        if not hasattr(torch.Tensor, name):
            raise AttributeError(f"a tensor has no attribute {name!r}")
        in_place = name.endswith("_") and name != "requires_grad_" and not name.endswith("__")
        word = name[:-1] if in_place else name
        if word == "where":
            return lambda condition, other: self.named("where", (condition, proxy, other), {})
        return lambda *args, **kwargs: self.named(word, (proxy, *args), kwargs, in_place=in_place)

    def named(self, name: str, args: Any, kwargs: Mapping[str, Any], *, in_place: bool = False) -> Any:
        """A call by its name in the table; Unknown where that has no such row."""
        if not self.knows(name) or self._is_unknown(args, kwargs):
            return Unknown(self)
        kwargs = dict(kwargs)
        in_place = bool(kwargs.pop("inplace", False)) or in_place
        first = next(iter(proxies(args)), None)
        try:
            unwrapped = mapped(tuple(args), self.unwrapped)
            result = FUNCTIONALS[name](*unwrapped, **mapped(kwargs, self.unwrapped))
        except (CannotError, SpecError) as error:
            self._tell_error(error)
            return Unknown(self)
        except (TypeError, ValueError, IndexError, KeyError) as error:
            self.tell(f"{name}: {error}")
            return Unknown(self)
        if in_place and args and type(args[0]) is Proxy:
            return args[0].change(result)
        return self._wrapped(result, first.storage if first is not None and name in VIEWS else None)

    def knows(self, name: str) -> bool:
        """Whether a function or method is in the table; told if not."""
        if name not in FUNCTIONALS:
            self.tell(f"the function or method {name!r} is not in the vocabulary")
        return name in FUNCTIONALS

    def _is_unknown(self, *values: Any) -> bool:
        """Whether something among `values` could not be expressed; all but attention's weights is told already."""
        found = unknowns(*values)
        if any(isinstance(each, _Weights) for each in found):
            self.tell(_NO_WEIGHTS)
        return bool(found)

    def _tell_error(self, error: Exception, module: torch.nn.Module | None = None) -> None:
        if isinstance(error, SpecError):
            for _, _, message in error.problems:
                self.tell(message, module)
        else:
            self.tell(str(error), module)

    def unwrapped(self, value: Any) -> Any:
        """What the vocabulary's functions take: symbols, parameters' values, constant arrays, literals."""
        if type(value) is Proxy:
            return value.symbol
        if isinstance(value, torch.Tensor) and id(value) in self.parameters:
            return self.parameters[id(value)].data()
        return as_array(value)

    def _wrapped(self, result: Any, storage: Any = None) -> Any:
        return mapped(result, lambda each: Proxy(each, self, storage) if is_symbol(each) else each)

    # ------------------------------------------------------------------ modules

    def forward(self, module: torch.nn.Module, inputs: Any, named: Mapping[str, Any]) -> Any:
        """Run a module's own forward on symbols: what its block does while it is recorded."""
        arguments = mapped(tuple(inputs), lambda each: Proxy(each, self) if is_symbol(each) else each)
        keywords = mapped(dict(named), lambda each: Proxy(each, self) if is_symbol(each) else each)
        result = self.run(module, arguments, keywords)
        if self._is_unknown(result):
            raise StopReadingError
        if any(each.storage.version for each in proxies(arguments, keywords)):
            self.tell("it changes its input in place", module)
        arrays: list[Any] = []
        # What is no array, and dicts that are more than dicts, are for the caller only.
        self._returned[id(module)] = mapped(result, lambda each: _numbered(each, arrays))
        plain = _plain(result)
        if not arrays:
            self.tell("it returns no tensor", module)
            raise StopReadingError
        if len(arrays) < len(_flat(plain)):
            plain = arrays[0] if len(arrays) == 1 else tuple(arrays)
        return mapped(plain, self.unwrapped)

    def beside_arrays(self, module: torch.nn.Module) -> list[str]:
        """What a module returned that is no array, in words."""
        found = [each for each in _flat(self._returned.get(id(module), ())) if not isinstance(each, _Number)]
        return [repr(each) if isinstance(each, int | float | None) else f"a {type(each).__name__}" for each in found]

    def run(self, module: torch.nn.Module, arguments: Any, keywords: Mapping[str, Any]) -> Any:
        """Run a module's own forward on stand-ins."""
        self._here.append(module)
        try:
            return type(module).forward(module, *arguments, **keywords)
        except StopReadingError:
            return Unknown(self)
        except (CannotError, SpecError) as error:
            self._tell_error(error)
            return Unknown(self)
        except Exception as error:
            self.tell(f"its forward does not run without values: {type(error).__name__}: {error}")
            return Unknown(self)
        finally:
            self._here.pop()

    def module(self, module: torch.nn.Module, args: Any, kwargs: Mapping[str, Any]) -> Any:
        """A module is called while another's forward is read."""
        block = self.blocks[id(module)]
        if self._is_unknown(args, kwargs):
            if isinstance(block, Traced):
                self.run(module, args, kwargs)
            return Unknown(self)
        first = next(iter(proxies(args)), None)
        try:
            adapter = ADAPTERS.get(type(module))
            inputs, named = mapped(tuple(args), self.unwrapped), mapped(dict(kwargs), self.unwrapped)
            result = adapter(module, block, *inputs, **named) if adapter else block(*inputs, **named)
        except StopReadingError:
            return Unknown(self)
        except (CannotError, SpecError) as error:
            self._tell_error(error)
            return Unknown(self)
        except (TypeError, ValueError, ModelArchiveError) as error:
            self.tell(str(error), module)
            return Unknown(self)
        if isinstance(block, Traced):
            arrays = _flat(_plain(result))
            result = mapped(
                self._returned[id(module)],
                lambda each: self._wrapped(each.of(arrays)) if type(each) is _Number else each,
            )
        if getattr(module, "inplace", False) is True and first is not None:
            return first.change(result)
        keeps = isinstance(module, torch.nn.Identity | torch.nn.Flatten | torch.nn.modules.dropout._DropoutNd)
        return self._wrapped(result, first.storage if first is not None and keeps else None)

    @contextlib.contextmanager
    def patched(self) -> Iterator[None]:
        """Calls of modules, and parameters as their attributes, go through this object."""
        tracing = self
        call, attribute = torch.nn.Module.__call__, torch.nn.Module.__getattr__

        def patched_call(module: Any, *args: Any, **kwargs: Any) -> Any:
            if id(module) in tracing.blocks and tracing._here:
                return tracing.module(module, args, kwargs)
            return call(module, *args, **kwargs)

        def patched_attribute(module: Any, name: str) -> Any:
            value = attribute(module, name)
            if tracing._here and isinstance(value, torch.Tensor):
                known = id(value) in tracing.parameters
                if known or name in module._non_persistent_buffers_set:
                    return tracing._wrapped(tracing.unwrapped(value))
            return value

        def shadow(name: str, original: Any) -> Any:
            def function(*args: Any, **kwargs: Any) -> Any:
                if proxies(args, kwargs) or has_free(args, kwargs):
                    return tracing.named(name, args, kwargs)
                return original(*args, **kwargs)

            return function

        with _LOCK:
            shadowed = {name: getattr(torch, name) for name in _SHADOWED}
            try:
                torch.nn.Module.__call__ = patched_call
                torch.nn.Module.__getattr__ = patched_attribute
                for name, original in shadowed.items():
                    setattr(torch, name, shadow(name, original))
                yield
            finally:
                torch.nn.Module.__call__ = call
                torch.nn.Module.__getattr__ = attribute
                for name, original in shadowed.items():
                    setattr(torch, name, original)


class Traced(nn.Block):
    """A module whose forward is Python code, as a block whose forward runs that code on symbols."""

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Replaced by an attribute with the signature of the module's forward."""
        raise NotImplementedError


class _Number:
    """The place of an array in what a forward returned."""

    def __init__(self, number: int) -> None:
        self.number = number

    def of(self, arrays: list[Any]) -> Any:
        """The array of this number."""
        return arrays[self.number]


def _numbered(value: Any, arrays: list[Any]) -> Any:
    if type(value) is not Proxy and not isinstance(value, torch.Tensor):
        return value
    arrays.append(value)
    return _Number(len(arrays) - 1)


def _flat(value: Any) -> list[Any]:
    """What is inside the containers, in the order in which they were made (not that of sorted keys)."""
    if isinstance(value, Mapping):
        return [leaf for item in value.values() for leaf in _flat(item)]
    return [leaf for item in value for leaf in _flat(item)] if isinstance(value, tuple | list) else [value]


def _plain(value: Any) -> Any:
    """Named tuples, and dicts that are more than dicts, as an architecture knows them."""
    if isinstance(value, tuple):
        return tuple(_plain(item) for item in value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _recurrent(module: Any, block: Any, x: Any, hx: Any = None) -> Any:
    states = () if hx is None else tuple(hx) if isinstance(hx, tuple | list) else (hx,)
    output, *last = block(x, *states)
    return output, tuple(last) if len(last) > 1 else last[0]


def _attention(
    module: Any,
    block: Any,
    query: Any,
    key: Any,
    value: Any,
    key_padding_mask: Any = None,
    need_weights: bool = True,
    attn_mask: Any = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> Any:
    if not module.batch_first:
        same = key is query, value is key
        query = transpose(query, 0, 1)
        key = query if same[0] else transpose(key, 0, 1)
        value = key if same[1] else transpose(value, 0, 1)
    mask = _mask(key_padding_mask, attn_mask, module.num_heads)
    result = block(query, key, value) if mask is None else block(query, key, value, mask)
    if not module.batch_first:
        result = transpose(result, 0, 1)
    return result, _Weights()


class _Weights(Unknown):
    """The weights of attention, which the kind does not return; harmless if nobody uses them."""

    def __init__(self) -> None:
        super().__init__(None)

    def __getattr__(self, name: str) -> Any:
        raise CannotError(_NO_WEIGHTS)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise CannotError(_NO_WEIGHTS)


_NO_WEIGHTS: Final = "the weights of attention are used; the vocabulary's attention does not return them"


def _mask(padding: Any, attention: Any, heads: int) -> Any:
    """PyTorch's two masks as one: bool is True where a query may attend, floats are added."""
    if attention is not None and attention.ndim == 3:
        attention = ops.reshape(attention, shape=[-1, heads, *attention.shape[1:]])
    masks = []
    for each, axes in ((padding, (1, 2)), (attention, None)):
        if each is not None:
            each = ~each if each.dtype == bool else each
            masks.append(ops.expand_dims(each, axis=axes) if axes else each)
    if len(masks) < 2:
        return masks[0] if masks else None
    one, other = masks
    if one.dtype == other.dtype == bool:
        return ops.where(one, other, one)
    if bool in (one.dtype, other.dtype):
        raise CannotError("attention with a bool mask and one of floats")
    return ops.add(one, other)


#: Classes whose call differs from that of their kind.
ADAPTERS: Final[dict[type, Callable[..., Any]]] = {
    torch.nn.RNN: _recurrent,
    torch.nn.LSTM: _recurrent,
    torch.nn.GRU: _recurrent,
    torch.nn.MultiheadAttention: _attention,
}
