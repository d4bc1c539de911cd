"""Put a checkpoint back into the objects of a run: into the memory that is there, every digest compared."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from modelarchive import names, tensors
from modelarchive.archive import Archive
from modelarchive.archive.structure import put_together, take_apart
from modelarchive.checkpoints import folder as folders
from modelarchive.checkpoints import randomness, states, together
from modelarchive.checkpoints.networks import check, framework_of, network_of
from modelarchive.checkpoints.parts import Shared, localised
from modelarchive.checkpoints.record import check_outline, record_of
from modelarchive.checkpoints.snapshot import BEYOND, MODEL, RANDOM, RECORD
from modelarchive.errors import FormatError, IntegrityError, ParameterError, UnsafeFileError, UnsupportedDataError
from modelarchive.store.contents import TRAINING
from modelarchive.store.deferred import Deferred
from modelarchive.store.opening import StaleIndexWarning
from modelarchive.store.reader import Reader


def put_if_whole(
    path: Path,
    model: Any,
    parts: Mapping[str, Any],
    *,
    note: Callable[[Archive], object],
    random: bool = True,
    group: Any = None,
) -> tuple[str | None, dict[str, Any]]:
    """Put a checkpoint that may be damaged into the objects of a run.

    Args:
        path: The checkpoint.
        model: The network, or None.
        parts: Name -> object, as :func:`put` takes it.
        note: Is given the open checkpoint first, and refuses one that it should not be.
        random: Set random states, too.
        group: The processes of the run, which agree on what is damaged.

    Returns:
        What is damaged in it, "" if it is gone, None if it is whole; and what was saved beside the model.

    Raises:
        ParameterError: It is whole, and an object does not take what it has.
    """
    problem: str | None = None
    failed: Exception | None = None
    restored: dict[str, Any] = {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", StaleIndexWarning)
            folders.expect_index(path)
            archive = Archive(path)
        with archive:
            note(archive)
            restored = put(archive.reader, model, parts, random=random, group=group)
    except (FormatError, IntegrityError, UnsafeFileError, StaleIndexWarning, FileNotFoundError) as error:
        problem = str(error) if os.path.lexists(path) else ""
    except Exception as error:
        problem, failed = (f"{path}: {error}", None) if folders.is_damage(error) else (None, error)
    if group is not None:
        several = group.gathered((problem, together.sent(failed)))
        problem = min((words for words, _ in several if words is not None), default=None)
        failed = failed or next((error for _, error in several if error is not None), None)
    if failed is not None:
        raise failed
    return problem, restored


def put(
    reader: Reader, model: Any, parts: Mapping[str, Any], *, random: bool = True, group: Any = None
) -> dict[str, Any]:
    """Put a checkpoint into the objects of a run.

    Arrays are read into the memory that is there. Where something does not fit nothing is changed; where bytes turn
    out to be damaged they have been read into that memory by then.

    Args:
        reader: The open checkpoint.
        model: The network, or None.
        parts: Name -> optimizer, object with ``load_state_dict``, or structure, as it was saved.
        random: Set random states, too.
        group: The processes of the run: each puts its own parts of distributed tensors, and what is its own.

    Returns:
        Name -> what was saved under it, arrays as tensors where they were such.

    Raises:
        ParameterError: An object does not take what the checkpoint has; lists everything.
        IntegrityError: The checkpoint is damaged; names all of it.
        FormatError: It is none, or its structure is damaged.
    """
    contents = reader.contents
    # Before a word of it is believed.
    if damaged := reader.damaged(only={*contents.texts}):
        raise IntegrityError(damaged, file=reader.source.path)
    record_of(reader)
    texts = {path: reader.text(f"/{path}") for path in _leaves(contents.training or {}) if f"/{path}" in contents.texts}
    network = None if model is None else network_of(model)
    places = _places(reader)
    stored = {} if network is None else network.stored(list(places))
    called = {key: stored.get(name, name) for key, name in states.parameter_names(model, parts).items()}
    likes: dict[str, Any] = {}
    if group is not None:
        likes = together.likes_of(reader, model, parts, called, lambda value: states.taken(value, called))
        reader = cast("Reader", together.LocalReader(reader, likes, group.rank))
        contents = reader.contents
    outline = _structure(reader, texts, {name: reader.deferred(name) for name in _arrays(reader)})
    check_outline(outline, reader)
    were_tensors = _tensors(outline, _arrays(reader))
    outline = _own(outline, parts, group)
    values = {} if network is None else {stored.get(name, name): value for name, value in network.values().items()}
    if network is not None:  # before optimizers, which have other parameters where the network has
        check({name: contents.entry(place) for name, place in places.items()}, values, file=reader.source.path)
    _compare(reader, parts, outline, called)
    targets = _targets_of_parts(reader, parts, called)
    targets |= _targets(reader, {places[name]: value for name, value in values.items()})
    parameters = [place for place in places.values() if network is not None and not place.startswith(TRAINING)]
    wanted = [*parameters, *_arrays(reader)]
    arrays = reader.load(wanted, verify=True, into=targets)
    data = _structure(
        reader,
        texts,
        {name: tensors.as_torch(arrays[name]) if name in were_tensors else arrays[name] for name in _arrays(reader)}
        | {
            name: together.sharing().shared(tensors.as_torch(arrays[name]), like)
            for name, like in likes.items()
            if name.startswith(TRAINING)
        },
    )
    data = _own(data, parts, group)
    if network is not None:
        ours = {theirs: name for name, theirs in stored.items()}
        network.put({ours.get(name, name): arrays[place] for name, place in places.items()}, data.get(MODEL, {}))
    others = [states.taken(value, called) for value in states.leaves(parts) if framework_of(value) is not None]
    memory = states.Memory({} if network is None else network.values(), others)
    for name, value in parts.items():
        states.put(name, value, called, data[name], memory)
    if random and RANDOM in data and (problem := randomness.problem_of_putting(data[RANDOM])):
        raise FormatError(f"holds no random states that are taken: {problem}", file=reader.source.path)
    return data


def _own(data: dict[str, Any], parts: Mapping[str, Any], group: Any) -> dict[str, Any]:
    """The structure with what is a process's own in place of the first one's, where there is such."""
    mine = data.get(together.RANKS, {}).get(str(group.rank), {}) if group is not None and group.rank else {}
    if group is not None and group.rank and RANDOM not in mine:
        data = {name: value for name, value in data.items() if name != RANDOM}  # another process's are none of its
    shared = Shared(map(str, mine.get(RECORD, {}).get("shared", ())))
    own = {name: value for name, value in mine.items() if name in parts or name == RANDOM}
    return {
        **data,
        **{name: shared.joined(value, data.get(name), names.encode_key(name)) for name, value in own.items()},
    }


def _tensors(outline: Mapping[str, Any], arrays: Iterable[str]) -> set[str]:
    """Those of the arrays that were tensors of PyTorch's when they were saved, as each process has told of its own."""
    found = set()
    ranks = outline.get(together.RANKS, {})
    own = {rank: {*map(str, each.get(RECORD, {}).get("numpy", ()))} for rank, each in {"": outline, **ranks}.items()}
    for name in arrays:
        path, rank, part = name.removeprefix(TRAINING), "", outline
        if path.startswith(f"{together.RANKS}/"):
            _, rank, path = path.split("/", 2)
            part = ranks[rank]
        is_torch = part.get(RECORD, {}).get("tensors") == "torch"
        if is_torch and path not in own[rank] and path.partition("/")[0] not in (RANDOM, RECORD):
            found.add(name)
    return found


def _places(reader: Reader) -> dict[str, str]:
    """Name of each parameter of the network that was saved -> name of the array that has its value."""
    contents = reader.contents
    listed = f"/{TRAINING}{RECORD}/constants"
    constants = {*map(str, reader.text(listed))} if listed in contents.texts else set()
    prefix = f"{TRAINING}{MODEL}/{BEYOND}/"
    beyond = {
        str(names.decode_key(name.removeprefix(prefix))): name for name in _arrays(reader) if name.startswith(prefix)
    }
    return {name: name for name in contents.order if name not in constants} | beyond


def _leaves(members: Mapping[str, str]) -> list[str]:
    return [TRAINING + path for path, kind in members.items() if kind in ("array", "literal")]


def _arrays(reader: Reader) -> list[str]:
    """The names of the training structure's arrays."""
    contents = reader.contents
    return [name for name in (*contents.arrays, *contents.aliases) if name.startswith(TRAINING)]


def _structure(reader: Reader, texts: Mapping[str, Any], arrays: Mapping[str, Any]) -> dict[str, Any]:
    def leaf(path: str) -> Any:
        name = TRAINING + path
        return arrays[name] if name in arrays else texts[name]

    try:
        return put_together(reader.contents.training or {"": "dict"}, leaf)  # type: ignore[no-any-return]
    except FormatError as error:
        error.file = str(reader.source.path)
        raise


def _compare(reader: Reader, parts: Mapping[str, Any], outline: Mapping[str, Any], called: states.Names) -> None:
    """Refuse objects that the checkpoint has nothing for, or something else."""
    missing = [name for name in parts if name not in outline]
    if missing:
        near = names.remarks_on(missing, list(outline))
        there = ", ".join(name for name in outline if name not in (RECORD, RANDOM, MODEL)) or "nothing else"
        raise ParameterError(
            title="the checkpoint has no such part",
            missing=missing,
            remarks=near,
            file=reader.source.path,
            hint=f"beside the model it has: {there}",
        )
    for name, value in parts.items():
        for problem in states.misfits(name, value, called, outline[name]):
            problem.file = str(reader.source.path)
            problem.hint = problem.hint or f"nothing was changed; what is left out of restore(), as {name}, begins anew"
            raise problem


def _targets(reader: Reader, values: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Canonical name in the checkpoint -> memory of the value that is filled with it."""
    contents = reader.contents
    found: dict[str, np.ndarray] = {}
    for name, value in values.items():
        canonical = contents.aliases.get(name, name)
        entry = contents.arrays.get(canonical)
        memory = None if entry is None or canonical in found else tensors.memory_of(value)
        if entry is not None and memory is not None and _takes(memory, entry.dtype, entry.shape):
            found[canonical] = memory
    return found


def _takes(memory: np.ndarray, dtype: str, shape: tuple[int, ...]) -> bool:
    return memory.dtype.name == dtype and memory.shape == tuple(shape)


def _targets_of_parts(reader: Reader, parts: Mapping[str, Any], called: states.Names) -> dict[str, np.ndarray]:
    """The same of optimizers and networks beside the model: their state is theirs alone."""
    found: dict[str, np.ndarray] = {}
    for name, value in parts.items():
        if framework_of(value) is None:
            continue
        try:
            state = states.taken(value, called)
            members = take_apart(localised(state))
        except UnsupportedDataError:
            continue
        prefix = f"{TRAINING}{names.encode_key(name)}/"
        arrays = {prefix + path: array for path, array in members.arrays.items() if not isinstance(array, Deferred)}
        found |= _targets(reader, arrays)
    return found
