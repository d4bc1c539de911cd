"""What containers hold: their entries by name, and which of them have arrays in them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeGuard

from modelarchive.exchange.budget import spend
from modelarchive.exchange.torch.stored.numbers import NumpyArray
from modelarchive.exchange.torch.stored.stubs import Named, Stub, kind_of, shown
from modelarchive.exchange.torch.stored.tensors import Dtype, Tensor, Unreadable

#: What an nn.Module keeps its parts in.
_OF_A_MODULE: Final = ("_parameters", "_buffers", "_modules")
_NOT_KEPT: Final = "_non_persistent_buffers_set"
#: Keys that every state of an optimizer has.
_OF_AN_OPTIMIZER: Final = ("state", "param_groups")
#: A network has no more optimizers.
_MANY: Final = 64
#: Names that an error lists.
_FEW: Final = 4


def is_array(value: Any) -> TypeGuard[Tensor | Unreadable | NumpyArray]:
    """Whether it is a tensor, or an array of NumPy of a plain dtype."""
    return isinstance(value, Tensor | Unreadable) or (isinstance(value, NumpyArray) and value.array is not None)


def state_of(stub: Stub) -> Mapping[Any, Any]:
    """The attributes of an object."""
    for state in _states(stub):
        if isinstance(state, dict) and state:
            return state
    # A program of torch.fx is made of them.
    made_of = next(iter(stub.arguments), None)
    return made_of if isinstance(made_of, dict) and all(key in made_of for key in _OF_A_MODULE) else {}


def _states(stub: Stub) -> tuple[Any, ...]:
    """Its state, or two: attributes, and those of slots."""
    return stub.state if isinstance(stub.state, tuple) and len(stub.state) == 2 else (stub.state,)


def is_module(value: Any) -> TypeGuard[Stub]:
    """Whether it is a whole nn.Module, of whatever class."""
    return isinstance(value, Stub) and all(isinstance(state_of(value).get(key), dict) for key in _OF_A_MODULE)


def _is_optimizer(value: Any) -> bool:
    """Whether it is an optimizer, or the state of one: it holds moments, which are no parameters."""
    found = state_of(value) if isinstance(value, Stub) else value
    return isinstance(found, dict) and all(key in found for key in _OF_AN_OPTIMIZER)


def are_optimizers(value: Any) -> bool:
    """Whether it is one, or a list or dict of nothing else."""
    if _is_optimizer(value):
        return True
    if not isinstance(value, dict | list | tuple) or not 0 < len(value) <= _MANY:
        return False
    return all(_is_optimizer(each) for each in (value.values() if isinstance(value, dict) else value))


def is_container(value: Any) -> bool:
    """Whether it holds other values under names or places."""
    return isinstance(value, dict | list | tuple | Stub)


def entries(value: Any) -> Iterable[tuple[Any, Any]]:
    """What a container holds, with keys or places; of a module as ``state_dict`` has it.

    An object is its entries if it is a dict, its items if it is a list, else its attributes, else its arguments;
    :func:`parts_beside` gives the others.
    """
    if isinstance(value, dict):
        return value.items()
    if isinstance(value, list | tuple):
        return enumerate(value)
    if not isinstance(value, Stub):
        return ()
    if is_module(value):
        return _of_module(value)
    first = next(iter(_parts_of(value)), ())
    return first.items() if isinstance(first, dict) else enumerate(first)


def parts_beside(stub: Stub) -> list[Any]:
    """What an object was given beside its entries: of a list its attributes, of another what made it."""
    return _parts_of(stub)[1:]


def _parts_of(stub: Stub) -> list[Any]:
    several = (stub.entries, stub.items, *_states(stub), stub.arguments)
    parts = [part if isinstance(part, dict | list | tuple) else (part,) for part in several if part is not None]
    return [part for part in parts if part]


def _of_module(module: Stub) -> Iterable[tuple[Any, Any]]:
    """Parameters, then persistent buffers, then modules inside: the order of ``state_dict``."""
    state = state_of(module)
    passing = state.get(_NOT_KEPT)
    left = set()
    if isinstance(passing, Stub):
        names = passing.items or next((each for each in passing.arguments if isinstance(each, list)), [])
        _pass_over(len(names) - len(state["_buffers"]))
        left = {name for name in names if isinstance(name, str)}
    for part in _OF_A_MODULE:
        for name, value in state[part].items():
            if value is not None and not (part == "_buffers" and name in left):
                yield name, value
            else:
                _pass_over(1)


def _pass_over(count: int) -> None:
    """Count what is looked at and not taken: several modules may share it."""
    spend("a module", steps=max(count, 0))


def attributes_beside(module: Stub) -> Iterable[tuple[Any, Any]]:
    """What a module has that ``state_dict`` does not: buffers that are not kept, and other attributes."""
    state = state_of(module)
    kept = {id(value) for _, value in _of_module(module)}
    yield from ((name, value) for name, value in state["_buffers"].items() if id(value) not in kept)
    for name, value in state.items():
        # An LSTM lists its parameters.
        is_kept = isinstance(value, list) and len(value) <= len(kept) and all(id(each) in kept for each in value)
        if name not in _OF_A_MODULE and not is_kept:
            yield name, value


def shape_of(value: Any) -> tuple[int, ...] | None:
    """The shape of a tensor or an array; None: it has none, or is no such thing."""
    if isinstance(value, NumpyArray):
        return None if value.array is None else value.array.shape
    return value.shape if isinstance(value, Tensor) else None


def stubs_in(top: Any) -> list[str]:
    """The first names of classes and functions in what a file holds."""
    names: dict[str, None] = {}
    seen = {id(top)}
    pending = deque([top])
    while pending and len(names) < _FEW:
        value = pending.popleft()
        if isinstance(value, Stub | Named):
            names[value.name[:80]] = None
        for inside in _parts(value) if is_container(value) else ():
            if id(inside) not in seen:
                seen.add(id(inside))
                pending.append(inside)
    return list(names)


def with_arrays(top: Any) -> set[int]:
    """The ids of all containers in which arrays are, however deep; each container is looked at once.

    What tensors show of their storages is told to these.
    """
    holders: dict[int, list[int]] = {id(top): []}
    found: list[int] = []
    tensors = {id(top): top} if isinstance(top, Tensor) else {}
    pending = [top]
    while pending:
        value = pending.pop()
        for inside in _parts(value):
            if is_array(inside):
                found.append(id(value))
                if isinstance(inside, Tensor):
                    tensors[id(inside)] = inside
            elif is_container(inside):
                if id(inside) not in holders:
                    holders[id(inside)] = []
                    pending.append(inside)
                holders[id(inside)].append(id(value))
    for tensor in tensors.values():
        tensor.show()
    marked: set[int] = set()
    while found:
        holder = found.pop()
        if holder not in marked:
            marked.add(holder)
            found.extend(holders[holder])
    return marked


def _parts(value: Any) -> Iterable[Any]:
    """What a container refers to; an object to its parts, which others may share, and not to what is in them."""
    if isinstance(value, Stub):
        return (value.arguments, value.state, value.items, value.entries)
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list | tuple) else ()


class Plain:
    """Makes metadata of plain data, as much of it as a file may have.

    Args:
        most: How many values, in all lists and dicts together.

    Attributes:
        told: Where entries of dicts are not as they were, and what became of them.
    """

    def __init__(self, most: int) -> None:
        self._left = most
        self.told: list[tuple[str, str]] = []

    def of(self, value: Any, where: str, depth: int = 0) -> Any:
        """Plain data as JSON has it; namespaces as their attributes, dicts of other classes as dicts.

        Raises:
            ValueError: It is no plain data, or more of it than is taken; the text says why. In a dict only that entry
                is left out.
        """
        if isinstance(value, str):
            return _text(value)
        if isinstance(value, int):
            return value if isinstance(value, bool) or abs(value) < 2**63 else str(value)
        if isinstance(value, float):
            return value if abs(value) < float("inf") else str(value)
        if value is None:
            return None
        if isinstance(value, Dtype):
            return str(value)
        if isinstance(value, Stub):
            value = self._entries(value, where)
        if not isinstance(value, list | tuple | dict):
            raise ValueError(kind_of(value))
        if isinstance(value, list | tuple) and len(value) > _LONGEST:
            raise ValueError(f"{kind_of(value)} of {len(value):,} values")
        if len(value) > self._left or depth > _MAX_DEPTH:
            raise ValueError("more than metadata are,")
        self._left -= len(value)  # also of what is refused then: the work is bounded, not only what comes of it
        return self._dict(value, where, depth) if isinstance(value, dict) else self._list(value, where, depth)

    def _entries(self, stub: Stub, where: str) -> Any:
        """What is plain of an object: all that it is, or nothing."""
        if stub.name in _NAMESPACES:
            return state_of(stub)
        if stub.entries and not parts_beside(stub):
            self.told.append((where, f"was a {stub.name[:80]}: its entries are kept"))
            return stub.entries
        return stub

    def _dict(self, value: dict[Any, Any], where: str, depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key, each in value.items():
            name = _text(str(key))
            inner = _text(f"{where}.{name}")
            try:
                if name in made:
                    raise ValueError("another entry has its name")
                made[name] = self.of(each, inner, depth + 1)
            except ValueError as error:
                self.told.append((inner, f"is left out: {error}"))
        if value and not made:
            raise ValueError(f"{kind_of(value)} of nothing that is plain")
        return made

    def _list(self, value: list[Any] | tuple[Any, ...], where: str, depth: int) -> list[Any]:
        try:
            return [self.of(each, f"{where}.{at}", depth + 1) for at, each in enumerate(value)]
        except ValueError as error:
            raise ValueError(f"{kind_of(value)} with {error} in it") from error


def _text(value: str) -> str:
    spend("metadata", nbytes=len(value))
    return shown(value)


_MAX_DEPTH: Final = 16
#: Longer lists are data, as the state of a generator of random numbers is.
_LONGEST: Final = 512
_NAMESPACES: Final = ("argparse.Namespace", "types.SimpleNamespace")
