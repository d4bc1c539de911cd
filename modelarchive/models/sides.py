"""The two sides of a transplant: what any file, network or dict gives, and the parameters of one that receives."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from modelarchive import names, tensors
from modelarchive.archive import Archive
from modelarchive.errors import ParameterError
from modelarchive.exchange.bundle import Bundle, deferred
from modelarchive.formats import FORMATS
from modelarchive.models.reading import arrays_of, format_of_file
from modelarchive.models.rooms import expected, room, system_of
from modelarchive.nn.target import TargetParameter
from modelarchive.transplant.dicts import parameters_of_dict
from modelarchive.transplant.options import Source

#: Under this name a state_dict of PyTorch has what a module's get_extra_state() gave, of any kind.
_EXTRA_STATE: Final = "_extra_state"
#: Gives the inputs that a source declares, as its architecture has them.
Inputs: TypeAlias = Callable[[], Sequence[Mapping[str, Any]]]


@contextlib.contextmanager
def opened_source(source: Any, target: Any) -> Iterator[tuple[Source, Inputs]]:
    """What a source gives to a target, and what tells the inputs that the source declares."""
    from modelarchive.nn import Block

    if isinstance(source, str | os.PathLike):
        try:
            with _opened_file(source, target) as found:
                yield found
        except ParameterError as error:
            error.file = error.file or str(source)
            raise
    elif isinstance(source, Archive):
        yield _of_archive(source)
    elif isinstance(source, Bundle):
        yield _of_bundle(source)
    elif isinstance(source, Block):
        yield Source({name: p.value() for name, p in source.collect_params().items() if p.is_initialized}), list
    elif (system := system_of(source)) is not None:
        yield Source(room(system.name).arrays_of(source)), list
    elif isinstance(source, Mapping):
        extra = [name for name in source if isinstance(name, str) and name.rpartition(".")[2] == _EXTRA_STATE]
        notes = [f"{name!r} is left out: it is no array, module.set_extra_state() takes it" for name in extra]
        yield Source(tensors.arrays_of({k: v for k, v in source.items() if k not in extra}), notes=notes), list
    else:
        known = "a path, an archive, a network or a mapping of arrays"
        raise TypeError(f"source is {type(source).__name__}, expected {known}")


@contextlib.contextmanager
def _opened_file(path: str | os.PathLike[str], target: Any) -> Iterator[tuple[Source, Inputs]]:
    name = format_of_file(path)
    if name == "archive":
        with Archive(path) as archive:
            yield _of_archive(archive)
    else:
        bundle = arrays_of(name, path)
        framework = system_of(target)
        if framework is not None and FORMATS[name].fits == framework.name:
            bundle = room(name).fitting(target, path, bundle)
        yield _of_bundle(bundle)


def _of_archive(archive: Archive) -> tuple[Source, Inputs]:
    stored, notes = _network_in(archive)
    inputs = (lambda: list(archive.checked.inputs)) if archive.has_architecture else list
    stored = {name: own for name, own in stored.items() if own not in archive.constants}
    return Source(archive.deferred(stored), archive.tokens, notes), inputs


def _network_in(archive: Archive) -> tuple[dict[str, str], list[str]]:
    """Name -> name in the archive of a network's parameters; of a checkpoint, a dict of dicts, those of the network."""
    members = archive.reader.contents.members or {}
    key = next((each for each in names.CHECKPOINT_KEYS if members.get(each) == "dict"), None)
    if key is None or any("/" not in name for name in archive.parameters):
        return {_key(name): name for name in archive.parameters}, []
    stored = {_key(name.removeprefix(f"{key}/")): name for name in archive.parameters if name.startswith(f"{key}/")}
    others = sorted({name.partition("/")[0] for name in archive.parameters} - {key})
    note = f"its {key!r} is taken" + (f", {', '.join(map(repr, others))} beside it left alone" if others else "")
    return stored, [note]


def _key(path: str) -> str:
    """What an array was called that was saved in a dict; one that lies deeper keeps its path."""
    try:
        return path if "/" in path else str(names.decode_key(path))
    except UnicodeDecodeError:  # no name that an archive of ours has
        return path


def _of_bundle(bundle: Bundle) -> tuple[Source, Inputs]:
    notes = [str(note) for note in bundle.notes if note.where == "(architecture)"]
    inputs = list if bundle.architecture is None else lambda: list(bundle.checked().inputs)
    return Source(deferred(bundle.state().parameters), bundle.tokens, notes), inputs


def _mistaken(target: Any) -> tuple[str, str]:
    """What was given for a target, and what to do with it."""
    if isinstance(target, Archive):
        return "Archive", ": build() gives its network, the command `transplant` writes files"
    if isinstance(target, str | os.PathLike):
        way = ": the source comes first, transplant(source, target); the command `modelarchive transplant` writes files"
        return f"a path ({os.fsdecode(target)!r})", way
    if isinstance(target, type):
        return f"the class {target.__name__}", f": make one first, {target.__name__}(...)"
    return type(target).__name__, ""


def parameters_of(target: Any, inputs: Inputs) -> Mapping[str, TargetParameter]:
    """The target's parameters by name.

    Args:
        target: The network, or a ``state_dict``.
        inputs: Gives what the source says that it takes, to build a Keras model by.
    """
    from modelarchive.nn import Block

    if isinstance(target, Block):
        return target.collect_params()
    found: Mapping[str, TargetParameter]
    if (system := system_of(target, receiving=True)) is not None:
        found = room(system.name).parameters_of(target, inputs)
    elif isinstance(target, Mapping) and not isinstance(target, Archive):  # whose views are copies when written to
        found = parameters_of_dict(target)
    else:
        what, way = _mistaken(target)
        raise TypeError(f"target is {what}, expected {expected('a Block', after='a state_dict')}{way}")
    return found
