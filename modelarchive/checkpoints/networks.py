"""The network of a run, of whatever framework: what is saved of it, and what it is filled with again."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np

from modelarchive import names, tensors
from modelarchive.archive.saving import initialized, kinds_in
from modelarchive.errors import ModelArchiveError, ParameterError, UnsupportedDataError
from modelarchive.nn import Block
from modelarchive.store.contents import Entry

#: What Keras counts layers of one class with.
_COUNT: Final = re.compile(r"_(\d+)(?=\.|$)")


class Network(Protocol):
    """What a run asks of its network."""

    def values(self) -> dict[str, Any]:
        """Name of each parameter -> its array or tensor, in the network's order; shared ones are one memory."""

    def kinds(self) -> dict[str, str]:
        """Path of a block -> its kind, where there are such; "" is the network itself."""

    def beside(self) -> dict[str, Any]:
        """What it keeps beside parameters."""

    def stored(self, order: Sequence[str]) -> dict[str, str]:
        """Its name of a parameter -> the name in a checkpoint of these names, where that is another one."""

    def put(self, arrays: Mapping[str, np.ndarray], beside: Mapping[str, Any]) -> None:
        """Take the values and what was beside them; arrays that its own memory was filled with stay there."""


def network_of(model: Any) -> Network:
    """A network as a run needs it.

    Raises:
        UnsupportedDataError: It is none.
    """
    if isinstance(model, Block):
        return _OfBlock(model)
    if (room := framework_of(model)) is not None and room.is_module(model):
        return _OfKeras(model, room) if hasattr(room, "network_of") else _OfTorch(model, room)
    if isinstance(model, dict):
        return _OfDict(model)
    expected = "expected a Block, a torch.nn.Module, a keras.Model or a dict of arrays"
    raise UnsupportedDataError([("model", f"is {type(model).__name__}, {expected}")])


def framework_of(value: Any) -> Any:
    """The room of the framework whose network or optimizer it is; None: of none that is imported."""
    for name in ("keras", "torch"):  # a Keras model is a module of PyTorch's too, on that backend
        if name in sys.modules and hasattr(sys.modules[name], "__version__"):
            room = importlib.import_module(f"modelarchive.exchange.{name}.training")
            if room.is_module(value) or room.is_optimizer(value):
                return room
    return None


def check(entries: Mapping[str, Entry], values: Mapping[str, Any], *, file: Any) -> None:
    """Refuse parameters that a network does not take, all of them at once, before anything is changed.

    Args:
        entries: What a checkpoint has, by name.
        values: What the network has.
        file: The checkpoint.

    Raises:
        ParameterError: With every missing, unexpected and mismatched name.
        UnsupportedDataError: Some have no values to be filled; lists all of them.
    """
    mismatched: dict[str, tuple[str, str]] = {}
    without_values: list[tuple[str, str]] = []
    for name, value in values.items():
        if name in entries:
            try:
                found = described(value)
            except UnsupportedDataError as error:  # on the meta device, say
                without_values += [(name, what) for _, what in error.problems]
                continue
            expected = (entries[name].dtype, tuple(entries[name].shape))
            if found != expected:
                mismatched[name] = (f"{found[0]} {found[1]}", f"{expected[0]} {expected[1]}")
    if without_values:
        raise UnsupportedDataError(without_values, done="filled", file=file)
    missing = [name for name in values if name not in entries]
    unexpected = [name for name in entries if name not in values]
    if missing or unexpected or mismatched:
        raise ParameterError(
            title="the model is not the one that the checkpoint was made of",
            missing=missing,
            unexpected=unexpected,
            mismatched=mismatched,
            remarks=names.remarks_on(missing, list(entries)) | names.remarks_on(unexpected, list(values)),
            file=file,
            hint=f"nothing was changed; ma.transplant({str(file)!r}, model) moves what fits, and optimizers begin anew",
        )


def described(value: Any) -> tuple[str, tuple[int, ...]]:
    """The dtype and shape of an array or tensor."""
    found = value if isinstance(value, np.ndarray) else tensors.foreign(value) or np.asarray(value)
    return found.dtype.name, tuple(found.shape)


class _Unchanged:
    """A network whose parameters have the same names at all times."""

    def stored(self, order: Sequence[str]) -> dict[str, str]:
        return {}


class _OfBlock(_Unchanged):
    def __init__(self, block: Block) -> None:
        self._block = block

    def values(self) -> dict[str, Any]:
        return dict(initialized(self._block))

    def kinds(self) -> dict[str, str]:
        return kinds_in(self._block)

    def beside(self) -> dict[str, Any]:
        return {}

    def put(self, arrays: Mapping[str, np.ndarray], beside: Mapping[str, Any]) -> None:
        for name, parameter in self._block.collect_params().items():
            parameter.set_data(arrays[name])


class _OfTorch(_Unchanged):
    """A module of PyTorch's; its names are those without wrappers.

    Args:
        module: The module.
        room: The framework's part in runs.
    """

    def __init__(self, module: Any, room: Any) -> None:
        self._module = module
        self._room = room

    def values(self) -> dict[str, Any]:
        found: dict[str, Any] = self._room.tensors_of(self._module)
        problems = [(name, problem) for name in found if (problem := names.problem_with_name(name))]
        if problems:
            raise UnsupportedDataError(problems, hint="rename the attributes")
        return found

    def kinds(self) -> dict[str, str]:
        return {}

    def beside(self) -> dict[str, Any]:
        return self._room.beside(self._module)  # type: ignore[no-any-return]

    def put(self, arrays: Mapping[str, np.ndarray], beside: Mapping[str, Any]) -> None:
        for name, tensor in self._room.tensors_of(self._module).items():
            if not is_on(tensor, arrays[name]):
                tensors.fill(tensor, arrays[name])
        self._room.put_beside(self._module, beside)


class _OfKeras(_OfTorch):
    """A model of Keras'; its names and axes are those of the vocabulary."""

    def values(self) -> dict[str, Any]:
        return {name: each.value() for name, each in self._room.network_of(self._module).items()}

    def stored(self, order: Sequence[str]) -> dict[str, str]:
        """Keras counts the layers of a process: `dense` in one is `dense_7` in another that made more of them."""
        ours = list(self._room.network_of(self._module))
        if {*ours} == {*order}:
            return {}
        if [*map(_uncounted, ours)] != [*map(_uncounted, order)]:  # what an architecture lacks lies behind the rest
            ours, order = sorted(ours, key=_counted), sorted(order, key=_counted)
        if [*map(_uncounted, ours)] == [*map(_uncounted, order)]:
            return dict(zip(ours, order, strict=True))
        return {}

    def put(self, arrays: Mapping[str, np.ndarray], beside: Mapping[str, Any]) -> None:
        for name, parameter in self._room.network_of(self._module).items():
            if not is_on(parameter.value(), arrays[name]):
                parameter.set_data(arrays[name])
        self._room.put_beside(self._module, beside)


class _OfDict(_Unchanged):
    """A dict of arrays, nested or not: ``{"encoder": {"weight": array}}`` has the parameter ``encoder.weight``."""

    def __init__(self, data: dict[Any, Any]) -> None:
        self._data = data

    def values(self) -> dict[str, Any]:
        found = {}
        problems = []
        for name, value in _leaves(self._data, ""):
            problem = names.problem_with_name(name)
            if problem is None and not isinstance(value, np.ndarray) and not tensors.is_torch(value):
                try:
                    problem = None if tensors.foreign(value) else f"is {type(value).__name__}, expected an array"
                except ModelArchiveError as error:
                    problem = str(error)
            if name in found:
                problem = "is two arrays: one of nested dicts, one of a key with dots"
            if problem:
                problems.append((name, problem))
            found[name] = value
        blocks = names.blocks_of(found)
        problems += [(name, "is an array, and others lie in it") for name in found if name in blocks]
        if problems:
            raise UnsupportedDataError(problems, hint="give another structure under a name of its own, such as `state`")
        return found

    def kinds(self) -> dict[str, str]:
        return {}

    def beside(self) -> dict[str, Any]:
        return {}

    def put(self, arrays: Mapping[str, np.ndarray], beside: Mapping[str, Any]) -> None:
        _replace(self._data, "", arrays)


def _uncounted(name: str) -> str:
    return _COUNT.sub("", name)


def _counted(name: str) -> tuple[str, list[int]]:
    """A key by which layers of one class stand in the order in which they were made."""
    return _uncounted(name), [int(found[1]) for found in _COUNT.finditer(name)]


def _leaves(data: Mapping[Any, Any], path: str) -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        name = names.joined(path, str(key))
        if isinstance(value, Mapping):
            yield from _leaves(value, name)
        else:
            yield name, value


def _replace(data: dict[Any, Any], path: str, arrays: Mapping[str, np.ndarray]) -> None:
    for key, value in data.items():
        name = names.joined(path, str(key))
        if isinstance(value, dict):
            _replace(value, name, arrays)
        elif not is_on(value, arrays[name]):
            if tensors.is_fillable(value):
                tensors.fill(value, arrays[name])
            else:
                data[key] = arrays[name]


def is_on(value: Any, array: np.ndarray) -> bool:
    """Whether an array is on the memory of a value: then it has been filled already."""
    memory = tensors.memory_of(value)
    return memory is not None and memory.ctypes.data == array.ctypes.data and memory.nbytes == array.nbytes > 0
