"""A checkpoint as a value: what is taken of a run's objects at a step."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final

import numpy as np

from modelarchive import names, tensors
from modelarchive.archive.saving import write_model
from modelarchive.archive.structure import take_apart
from modelarchive.archive.training import Training, training_of
from modelarchive.checkpoints import randomness, states
from modelarchive.checkpoints.describing import Description
from modelarchive.checkpoints.networks import network_of
from modelarchive.errors import UnsupportedDataError
from modelarchive.store.contents import Piece
from modelarchive.store.deferred import Deferred

#: What a checkpoint says of itself, and what random functions go on from.
RECORD: Final = "checkpoint"
RANDOM: Final = "random"
MODEL: Final = "model"
#: Of the network, what is no parameter of its architecture: counts of batches, say.
BEYOND: Final = "beyond"
RESERVED: Final = (RECORD, RANDOM, MODEL, "metrics", "step")

Arrays = dict[str, np.ndarray | Deferred]
Describe = Callable[[Any, Mapping[str, Any]], Description | None]


@dataclass(frozen=True)
class Snapshot:
    """What a checkpoint holds.

    Attributes:
        step: The step.
        parameters: Name of each parameter -> array; shared ones are one object.
        kinds: Path of a block -> its kind.
        training: All else.
        metrics: Name -> number.
        data: All else as it was taken.
        texts: HDF5 path -> encoded text of an architecture.
        pieces: Name of an array that is a part of a distributed tensor -> which part.
        order: The names of all parameters of the network.
        shared: Of several processes, what they hold together: name -> dtype and shape of the whole.
        doubtful: Of several processes, parts that another one may have, too: name -> where it begins.
        digests: Name of an array -> its digest, as far as they are known: whoever finds one puts it there.
    """

    step: int
    parameters: Arrays
    kinds: dict[str, str]
    training: Training
    metrics: dict[str, float] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    texts: dict[str, Any] = field(default_factory=dict)
    pieces: dict[str, Piece] = field(default_factory=dict)
    order: tuple[str, ...] = ()
    shared: dict[str, tuple[str, tuple[int, ...]]] = field(default_factory=dict)
    doubtful: dict[str, tuple[int, ...]] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)

    @cached_property
    def arrays(self) -> Arrays:
        """Every array once, by its first name."""
        found: Arrays = {}
        seen: set[int] = set()
        for name, array in self.parameters.items():
            if id(array) not in seen:
                seen.add(id(array))
                found[name] = array
        found |= self.training.arrays
        return found

    def on(self, copies: Mapping[str, np.ndarray], digests: dict[str, str] | None = None) -> Snapshot:
        """The same on copies of its arrays, of which some may be known."""
        made = {id(array): copies[name] for name, array in self.arrays.items()}
        parameters: Arrays = {name: made[id(array)] for name, array in self.parameters.items()}
        arrays: Arrays = {name: copies[name] for name in self.training.arrays}
        training = self.training._replace(arrays=arrays)
        return replace(self, parameters=parameters, training=training, digests={} if digests is None else digests)

    def write(self, path: Any, *, durable: bool = True) -> None:
        """Write it as one archive."""
        write_model(path, self.parameters, kinds=self.kinds, texts=self.texts, training=self.training, durable=durable)


def take(
    step: int,
    model: Any,
    parts: Mapping[str, Any],
    metrics: Mapping[str, Any],
    *,
    random: bool = True,
    called: states.Names | None = None,
    settled: Mapping[Hashable, np.ndarray] | None = None,
    describe: Describe = lambda model, values: None,
) -> Snapshot:
    """Take what a run's objects hold at a step, on their own memory.

    Args:
        step: The step.
        model: The network, or None.
        parts: Name -> optimizer, object with a ``state_dict``, or structure of such and of plain values.
        metrics: Name -> number.
        random: Take random states, too.
        called: What parameters are called, where `model` and `parts` do not tell.
        settled: Where an array lies -> the array, of those that need not be asked for again.
        describe: Gives the description of the network, with which the checkpoint is a whole model.

    Raises:
        UnsupportedDataError: Something cannot be stored; lists all of it with its place.
    """
    reserved = [(name, "is a name that checkpoints use themselves") for name in parts if name in RESERVED]
    if reserved:
        raise UnsupportedDataError(reserved, hint="nothing was written")
    called = states.parameter_names(model, parts) if called is None else called
    numbers = _numbers(metrics)
    data: dict[str, Any] = {RECORD: {"step": step, "metrics": numbers}}
    if random:
        data[RANDOM] = randomness.random_states()
    parameters: Arrays = {}
    kinds: dict[str, str] = {}
    texts: dict[str, Any] = {}
    if model is not None:
        network = network_of(model)
        values, kinds, beside = network.values(), network.kinds(), network.beside()
        if (description := describe(model, values)) is not None:
            kinds, texts = description.kinds, description.texts
            beyond = {name: value for name, value in values.items() if name not in description.names}
            values = {name: value for name, value in values.items() if name not in beyond} | description.constants
            beside |= {BEYOND: beyond} if beyond else {}
            data[RECORD] |= listed("constants", description.constants)
        if settled:
            values = {name: settled.get(tensors.place_of(value), value) for name, value in values.items()}
        members = take_apart(values, where="model")
        stored = {names.decode_key(path): path for path in members.kinds if path}
        parameters = {str(name): members.arrays[members.aliases.get(path, path)] for name, path in stored.items()}
        if beside:
            data[MODEL] = beside
    data |= {name: states.taken(value, called) for name, value in parts.items()}
    data[RECORD] |= _kinds_of_arrays({name: data[name] for name in (*parts, MODEL) if name in data})
    return Snapshot(step, parameters, kinds, training_of(data), numbers, data, texts)


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    problems = []
    found = {}
    if not isinstance(metrics, Mapping):
        raise TypeError(f"metrics is {type(metrics).__name__}, expected a dict of names and numbers")
    for name, value in metrics.items():
        try:
            found[name] = float(value)
        except (TypeError, ValueError, RuntimeError):
            problems.append((f"metrics[{name!r}]", f"is {type(value).__name__}, expected a number"))
    if problems:
        raise UnsupportedDataError(problems, hint="nothing was written")
    return found


def _kinds_of_arrays(data: Mapping[str, Any]) -> dict[str, Any]:
    """Whether arrays come back as tensors, and the places of those that are NumPy's all the same."""
    several = list(_arrays(data, ""))
    if not any(is_tensor for _, is_tensor in several):
        return {}
    own = [path for path, is_tensor in several if not is_tensor]
    return {"tensors": "torch", **listed("numpy", own)}


def listed(name: str, several: Iterable[str]) -> dict[str, Any]:
    """A list of names as a record has it; none where it would be empty."""
    found = list(several)
    return {name: np.array(found, np.dtypes.StringDType())} if found else {}


def _arrays(data: Any, path: str) -> Iterator[tuple[str, bool]]:
    """(path, whether it is a tensor of PyTorch's) of every array."""
    if isinstance(data, Mapping | list | tuple):
        for key, value in data.items() if isinstance(data, Mapping) else enumerate(data):
            if not isinstance(key, str | int):
                continue  # which is refused, with all else that cannot be stored
            link = names.encode_key(key) if isinstance(data, Mapping) else str(key)
            yield from _arrays(value, f"{path}/{link}" if path else link)
    elif isinstance(data, np.ndarray | np.generic):
        if not isinstance(data, np.str_) and np.asarray(data).dtype.kind not in "SUT":
            yield path, False
    elif data is not None and not isinstance(data, str | int | float | complex) and hasattr(data, "__array__"):
        yield path, tensors.is_torch(data)
