"""Modules as they were: whatever runs of a forward change in them, and around them, is put back."""

from __future__ import annotations

import contextlib
import functools
import gc
import operator
import random
import sys
import types
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, Final

import numpy as np
import torch
from torch.utils._python_dispatch import _disable_current_modes

from modelarchive.exchange.torch.writes import Writes, is_plain

_Restore = Callable[[], None]

#: How many objects are looked at, the nearest first: what a module holds may hold a whole program.
_MOST_OBJECTS: Final = 1_000_000
#: Arrays of NumPy up to so many bytes are copied.
_MOST_ARRAY_BYTES: Final = 1 << 20
_ATOMS: Final = frozenset({int, float, complex, bool, str, bytes, type(None), type(...), torch.dtype, torch.device})
_CONTAINERS: Final[tuple[Any, ...]] = (OrderedDict, dict, list, set, deque)
#: What code may name that holds something from call to call.
_NAMED: Final = (dict, list, set, types.FunctionType, functools._lru_cache_wrapper, random.Random, np.random.Generator,
                 torch.Generator)  # fmt: skip
#: Classes of the standard library that are plain holders of what people put there.
_HOLDERS: Final = ("types.SimpleNamespace", "argparse.Namespace")


@contextlib.contextmanager
def kept(module: torch.nn.Module, *, seed: int | None = None) -> Iterator[Writes]:
    """Put a module back as it was when the block ends, however it ends.

    Attributes of each module, of its class and of the objects that it holds; what is inside of dicts, lists and sets
    among them; closures and default arguments; which memory a tensor has, its values, gradient and `requires_grad`;
    the states of random numbers. Not seen is what is written by code that PyTorch does not know (through
    ``tensor.numpy()``), and what lies in other modules of Python.

    Args:
        module: The network.
        seed: What all random numbers begin with meanwhile; None: what they are at.

    Yields:
        What tells which tensors' values were changed so far.
    """
    found = _FOUND.get()
    with contextlib.ExitStack() as stack:
        if found is None or found.module is not module or found.is_taken:
            found = _Snapshot(module)
            stack.enter_context(found.put_back())
            stack.enter_context(found.writes)
        else:
            stack.enter_context(found.put_back())
        if seed is not None:
            found.sow(seed)
        yield found.writes


@contextlib.contextmanager
def kept_but_for_values(module: torch.nn.Module) -> Iterator[Writes]:
    """As :func:`kept`, but of tensors' values only those are put back that were written where this is entered."""
    found = _Snapshot(module)
    with found.put_back():
        yield found.writes


@contextlib.contextmanager
def kept_often(module: torch.nn.Module) -> Iterator[None]:
    """Each :func:`kept` of a module in the block puts back how it is now: what it is made of is found once for all.

    Args:
        module: The network, which only what runs in :func:`kept` changes meanwhile.
    """
    found = _Snapshot(module)
    token = _FOUND.set(found)
    try:
        with found.writes:
            yield
    finally:
        _FOUND.reset(token)
        found.writes.undo()


def _all_done(restores: list[_Restore]) -> Exception | None:
    """Put everything back, though one raises: the first that was raised."""
    first: Exception | None = None
    for restore in restores:
        try:
            restore()
        except Exception as error:
            first = first or error
    return first


def python_state(module: torch.nn.Module) -> list[_Restore]:
    """What puts back what :func:`kept` does, but for the values of tensors."""
    with _disable_current_modes():  # while a module is exported, they would give aliases without memory
        return _Snapshot(module).restores


def _sow(generator: np.random.Generator, seed: int) -> None:
    generator.bit_generator.state = type(generator.bit_generator)(seed).state


class _Snapshot:
    """What a module is made of, found breadth first.

    Attributes:
        module: The module.
        restores: What puts each part back; a part that is as it was is not touched.
        writes: What sees where the values of its tensors are written.
        is_taken: Whether the module is to be put back so at the end of a block.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        self.module = module
        self.is_taken = False
        self.restores: list[_Restore] = []
        self._sows: list[Callable[[int], object]] = []
        self._tensors: list[torch.Tensor] = []
        self._seen: dict[int, Any] = {}
        self._next: deque[Any] = deque([module])
        with _without_collection():
            self._find()
        self.writes = Writes(self._tensors)

    def _find(self) -> None:
        while self._next and len(self._seen) < _MOST_OBJECTS:
            value = self._next.popleft()
            if id(value) not in self._seen:
                self._seen[id(value)] = value
                self._keep(value)

    @contextlib.contextmanager
    def put_back(self) -> Iterator[None]:
        """Put the module, and all states of random numbers, back when the block ends."""
        restores = [*_random(), *self.restores]
        self.is_taken = True
        try:
            yield
        finally:
            self.is_taken = False
            problem = _all_done(restores)
            self.writes.undo()
            if problem is not None:
                raise problem

    def sow(self, seed: int) -> None:
        """Let all random numbers begin with a seed."""
        for each in (random.seed, np.random.seed, torch.random.default_generator.manual_seed, *self._sows):
            each(seed)

    def _keep(self, value: Any) -> None:
        if isinstance(value, torch.Tensor):
            self._tensor(value)
        elif isinstance(value, dict | list | set | deque):
            self._container(value)
        elif isinstance(value, tuple | frozenset):
            self._next.extend(value)
        elif isinstance(value, types.FunctionType):
            self._function(value)
        elif isinstance(value, types.MethodType):
            self._next.extend((value.__func__, value.__self__))
        elif isinstance(value, functools.partial):
            self._next.extend((value.func, value.args, value.keywords))
        elif isinstance(value, torch.Generator):
            self._sows.append(value.manual_seed)
            self.restores.append(functools.partial(value.set_state, value.get_state()))
        elif isinstance(value, random.Random):
            self._sows.append(value.seed)
            self.restores.append(functools.partial(value.setstate, value.getstate()))
        elif isinstance(value, np.random.Generator):
            self._sows.append(functools.partial(_sow, value))
            self.restores.append(functools.partial(setattr, value.bit_generator, "state", value.bit_generator.state))
        elif isinstance(value, functools._lru_cache_wrapper):
            self._cache(value)
        elif isinstance(value, np.ndarray):
            if value.nbytes <= _MOST_ARRAY_BYTES and value.flags.writeable:
                self.restores.append(functools.partial(value.__setitem__, ..., value.copy()))
        elif not isinstance(value, type | types.ModuleType) and _is_followed(value):
            self._object(value)

    def _tensor(self, tensor: torch.Tensor) -> None:
        if not is_plain(tensor):
            return
        self._tensors.append(tensor)
        alias, trains, is_leaf = tensor.detach(), tensor.requires_grad, tensor.is_leaf
        gradient = tensor.grad if is_leaf else None
        self._next.append(gradient)

        def restore() -> None:
            if _memory(tensor) != _memory(alias):
                tensor.data = alias
            if is_leaf and not tensor.is_leaf:
                tensor.detach_()  # it was written into where gradients are recorded
            if is_leaf and tensor.requires_grad != trains:
                tensor.requires_grad_(trains)
            if is_leaf and tensor.grad is not gradient:
                tensor.grad = gradient

        self.restores.append(restore)

    def _container(self, value: Any) -> None:
        kind = type(value)
        if kind not in _CONTAINERS:  # a subclass, whose own methods may do more
            kind = next(each for each in _CONTAINERS if isinstance(value, each))
        saved = _contents(value)
        self._next.extend(each for each in saved if type(each) not in _ATOMS)

        def restore() -> None:
            now = _contents(value)
            if len(now) == len(saved) and all(map(operator.is_, now, saved)):
                return
            kind.clear(value)
            if isinstance(value, dict):
                half = len(saved) // 2
                for key, item in zip(saved[:half], saved[half:], strict=True):
                    kind.__setitem__(value, key, item)
            else:
                (kind.update if isinstance(value, set) else kind.extend)(value, saved)

        self.restores.append(restore)

    def _function(self, function: types.FunctionType) -> None:
        if not _is_theirs(function):
            return
        self._next.extend((function.__dict__, function.__defaults__, function.__kwdefaults__))
        for cell in function.__closure__ or ():
            with contextlib.suppress(ValueError):  # an empty cell
                content = cell.cell_contents
                self._next.append(content)
                self.restores.append(functools.partial(setattr, cell, "cell_contents", content))
        # Caches beside the class: dicts and lists of the module of Python, which the code and what it calls name.
        found = (function.__globals__.get(name) for name in function.__code__.co_names)
        self._next.extend(each for each in found if isinstance(each, _NAMED))

    def _cache(self, cached: Any) -> None:
        """Forget what a function was asked meanwhile, and all that it knew with it."""
        self._next.append(cached.__wrapped__)
        misses = cached.cache_info().misses

        def restore() -> None:
            if cached.cache_info().misses != misses:
                cached.cache_clear()

        self.restores.append(restore)

    def _class(self, found: type) -> None:
        saved = {name: each for name, each in vars(found).items() if not _is_special(name)}
        self._next.extend(vars(found).values())

        def restore() -> None:
            now = {name: each for name, each in vars(found).items() if not _is_special(name)}
            for name in now.keys() - saved.keys():
                type.__delattr__(found, name)
            for name, each in saved.items():
                if name not in now or now[name] is not each:
                    type.__setattr__(found, name, each)

        self.restores.append(restore)

    def _object(self, value: Any) -> None:
        self._next.append(getattr(value, "__dict__", None))
        for each in filter(_is_theirs, type(value).__mro__):
            if id(each) not in self._seen:
                self._seen[id(each)] = each
                self._class(each)
            for slot in vars(each).values():
                if isinstance(slot, types.MemberDescriptorType):
                    self._slot(slot, value)

    def _slot(self, slot: types.MemberDescriptorType, value: Any) -> None:
        try:
            content = slot.__get__(value)
        except AttributeError:
            self.restores.append(lambda: slot.__delete__(value) if hasattr(value, slot.__name__) else None)
            return
        self._next.append(content)

        def restore() -> None:
            with contextlib.suppress(AttributeError):  # what nobody may write: a member of a class in C
                slot.__set__(value, content)

        self.restores.append(restore)


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Nothing that is made is garbage: Python would look for some again and again, through all that there is."""
    is_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if is_on:
            gc.enable()


#: What :func:`kept_often` found.
_FOUND: Final[ContextVar[_Snapshot | None]] = ContextVar("_FOUND", default=None)


def _memory(tensor: torch.Tensor) -> tuple[Any, ...]:
    return tensor.data_ptr(), tensor.dtype, tensor.device, tensor.shape, tensor.stride()


def _contents(value: Any) -> list[Any]:
    """What is in a container; of a dict its keys and then its values."""
    return [*dict.keys(value), *dict.values(value)] if isinstance(value, dict) else list(value)


def _is_special(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _is_theirs(found: Any) -> bool:
    """Whether a class or function is the user's: not Python's, PyTorch's or ours."""
    room = str(found.__module__).partition(".")[0]
    return room not in ("torch", "modelarchive") and room not in sys.stdlib_module_names


def _is_followed(value: Any) -> bool:
    """Whether an object's attributes are looked into: not those of queues, threads, loggers and the like."""
    found = type(value)
    name = f"{found.__module__}.{found.__qualname__}"
    return isinstance(value, torch.nn.Module) or _is_theirs(found) or name in _HOLDERS


def random_state() -> tuple[Any, ...]:
    """Where Python's and NumPy's global random numbers are; PyTorch's are calls in a program."""
    numbers = np.random.get_state(legacy=False)["state"]
    return random.getstate(), numbers["pos"], numbers["key"].tobytes()


def _random() -> Iterator[_Restore]:
    """What puts the global states of random numbers back."""
    yield functools.partial(random.setstate, random.getstate())
    yield functools.partial(np.random.set_state, np.random.get_state())
    yield functools.partial(torch.set_rng_state, torch.get_rng_state())
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        yield functools.partial(torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all())
