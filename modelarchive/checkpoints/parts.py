"""What of a run's objects all processes have together (networks, optimizers, DTensors), and what is each one's own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from modelarchive import names, tensors
from modelarchive.checkpoints import states
from modelarchive.checkpoints.networks import framework_of
from modelarchive.errors import FormatError


class Part(NamedTuple):
    """An object in a structure.

    Attributes:
        path: Its place, as an archive has it.
        value: The object: a network, an optimizer, what has a ``state_dict``, a plain value.
        state: What it says of itself.
    """

    path: str
    value: Any
    state: Any


def parts_of(value: Any, state: Any, path: str) -> Iterator[Part]:
    """The objects of a structure.

    Args:
        value: The structure.
        state: What :func:`modelarchive.checkpoints.states.taken` took of it.
        path: Its place.
    """
    is_one = framework_of(value) is not None or states.is_stateful(value)
    if not is_one and isinstance(value, Mapping):
        for key, each in value.items():
            yield from parts_of(each, state[key], f"{path}/{names.encode_key(key)}")
    elif not is_one and type(value) in (list, tuple):
        for at, each in enumerate(value):
            yield from parts_of(each, state[at], f"{path}/{at}")
    else:
        yield Part(path, value, state)


def distributed(state: Any, path: str) -> Iterator[tuple[str, Any]]:
    """(path, tensor) of every distributed tensor in a state."""
    if isinstance(state, Mapping):
        for key, value in state.items():
            yield from distributed(value, f"{path}/{names.encode_key(key)}")
    elif isinstance(state, list | tuple):
        for at, value in enumerate(state):
            yield from distributed(value, f"{path}/{at}")
    elif tensors.is_distributed(state):
        yield path, state


def localised(state: Any) -> Any:
    """The same state with this process's parts in place of distributed tensors."""
    if isinstance(state, Mapping):
        return {key: localised(value) for key, value in state.items()}
    if type(state) in (list, tuple):
        return type(state)(localised(each) for each in state)
    return tensors.own_part(state)


class Shared:
    """What all processes have together.

    Args:
        paths: Where it stands; what is inside of it, too.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self.paths = {*paths}
        self._above = {path[:at] for path in self.paths for at, sign in enumerate(path) if sign == "/"}

    @classmethod
    def of(cls, values: Mapping[str, Any], taken: Mapping[str, Any]) -> Shared:
        """Of the parts of a run: networks and optimizers, and distributed tensors wherever they are.

        Args:
            values: Name -> structure.
            taken: The same, what was taken of it.
        """
        found: list[str] = []
        for name, value in values.items():
            for path, each, state in parts_of(value, taken[name], names.encode_key(name)):
                found += [path] if framework_of(each) is not None else [at for at, _ in distributed(state, path)]
        return cls(found)

    def of_all(self, state: Any, path: str) -> Any:
        """A state with nothing but what all processes have together: None in place of the rest."""
        return state if path in self.paths else self._inside(state, path, self.of_all, None)

    def of_one(self, state: Any, path: str) -> Any:
        """A state with nothing but what is this process's own: None in place of the rest."""
        return None if path in self.paths else self._inside(state, path, self.of_one, state)

    def _inside(self, state: Any, path: str, part: Any, otherwise: Any) -> Any:
        if path not in self._above:
            return otherwise
        if isinstance(state, Mapping):
            return {key: part(value, f"{path}/{names.encode_key(key)}") for key, value in state.items()}
        return type(state)(part(value, f"{path}/{at}") for at, value in enumerate(state))

    def joined(self, own: Any, first: Any, path: str) -> Any:
        """A state of both: what is a process's own, and what all have together, as the first one wrote it.

        Raises:
            FormatError: The two do not have one form.
        """
        if path in self.paths:
            return first
        if path not in self._above:
            return own
        if isinstance(own, Mapping) and isinstance(first, Mapping):
            places = {key: f"{path}/{names.encode_key(key)}" for key in own}
            if all(key in first for key, at in places.items() if at in self.paths or at in self._above):
                return {key: self.joined(value, first.get(key), places[key]) for key, value in own.items()}
        elif type(own) is type(first) and isinstance(own, list | tuple) and len(own) == len(first):
            several = (self.joined(*both, f"{path}/{at}") for at, both in enumerate(zip(own, first, strict=True)))
            return type(own)(several)
        raise FormatError(f"{path} is of one form in the first process, and of another in this one")
