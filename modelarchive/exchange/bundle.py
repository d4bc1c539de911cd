"""What every exchange reads into and writes from: parameters, architecture, metadata, and what was lost."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from modelarchive import dtypes, markup, names, tensors
from modelarchive.archive import Archive
from modelarchive.archive.choices import Choice
from modelarchive.archive.documents import architecture_texts, json_texts, token_texts
from modelarchive.archive.saving import initialized, kinds_of, write_dict, write_model
from modelarchive.archive.training import training_of
from modelarchive.errors import ConversionError, FormatError, ParameterError, SpecError, UnsupportedDataError
from modelarchive.store.deferred import Deferred, expect

if TYPE_CHECKING:
    from modelarchive.architecture import Checked
    from modelarchive.archive.folders import Counterpart
    from modelarchive.nn import Block

Progress = Callable[[int], None]
#: Characters of a note that are shown: a stranger chooses names.
_LONGEST: Final = 1000
#: Names that are listed where there are many, and characters of each.
_FEW: Final = 8
_FEW_LONG: Final = 100


@dataclass(frozen=True)
class Note:
    """One thing that was changed or lost on the way.

    Attributes:
        where: The parameter, block, operator or key concerned.
        what: What happened to it, in words.
    """

    where: str
    what: str

    def __str__(self) -> str:
        """One line, of names that are not too long for it."""
        return f"{self.where[:_LONGEST]}: {self.what[:_LONGEST]}"


def few(names: Iterable[str]) -> str:
    """The first of several names, as notes and messages list them, and how many more there are."""
    several = list(names)
    listed = ", ".join(name[:_FEW_LONG] for name in several[:_FEW])
    return listed + (f" and {len(several) - _FEW:,} more" if len(several) > _FEW else "")


class Parameters(Mapping[str, np.ndarray]):
    """Names mapped to arrays of a foreign file, each read when it is asked for.

    Args:
        entries: Name -> where it comes from; a shared array has the same entry under each of its names.
    """

    def __init__(self, entries: Mapping[str, Deferred]) -> None:
        self.entries = dict(entries)

    def __getitem__(self, name: str) -> np.ndarray:
        """The array: a view of the mapped file where the format allows, else read from the file."""
        entry = self.entries[name]
        return entry.read() if entry.view is None else entry.view()

    def __contains__(self, name: object) -> bool:
        """Whether there is such an array."""
        return name in self.entries

    def __iter__(self) -> Iterator[str]:
        """The names, in the file's order."""
        return iter(self.entries)

    def __len__(self) -> int:
        """How many names."""
        return len(self.entries)

    def __repr__(self) -> str:
        """Names, dtypes and shapes."""
        lines = [f"  {name}: {entry.dtype} {entry.shape}" for name, entry in self.entries.items()]
        return "\n".join(["{", *lines, "}"])


@dataclass
class Bundle:
    """A model, or the parameters of one, between two formats.

    Attributes:
        parameters: Dotted name -> array, in the model's order, lazy where the format allows. Shared parameters
            are the same array object (or the same :class:`Deferred`) under each of their names.
        architecture: As :func:`modelarchive.describe` gives it; None if there is none.
        reason: Why there is no architecture.
        metadata: What JSON can say.
        tokens: Parameter name -> the word that each of its rows belongs to.
        notes: What was changed or lost while reading.
        known: What `architecture` was checked as, by whoever made the bundle of it; see :meth:`checked`.
    """

    parameters: Mapping[str, np.ndarray]
    architecture: dict[str, Any] | None = None
    reason: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    tokens: Mapping[str, Sequence[str]] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    known: Checked | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Keep what the architecture is now."""
        if self.known is not None:
            self.known.content  # noqa: B018 - which is kept when it is asked for first

    def _repr_html_(self) -> str:
        """Its arrays as a tree, and what was changed or lost, for a notebook."""
        found = {name: f"{each.dtype} {each.shape}" for name, each in deferred(self.parameters).items()}
        shown = markup.tree("Bundle", {"": f"{len(found)} arrays"} | found)
        notes = [(note.where, note.what) for note in self.notes]
        return shown + markup.table(("where", "what"), notes) if notes else shown

    def state(self) -> Bundle:
        """The same without constants of the network's forwards, for formats that hold no more than parameters."""
        from modelarchive.architecture.constants import constants_of

        constants = constants_of(self.architecture or {}) & self.parameters.keys()
        if not constants:
            return self
        kept = [name for name in self.parameters if name not in constants]
        if isinstance(self.parameters, Parameters):
            entries = self.parameters.entries
            return replace(self, parameters=Parameters({name: entries[name] for name in kept}))
        return replace(self, parameters={name: self.parameters[name] for name in kept})

    def checked(self) -> Checked:
        """The architecture, checked once for as long as it stays as it was then.

        Raises:
            SpecError: There is no architecture, or an invalid one.
        """
        from modelarchive.architecture import check

        if self.architecture is None:
            raise SpecError([("", "architecture", self.reason or "there is none, only parameters")])
        if self.known is None or not self.known.is_of(self.architecture):
            self.known = check(self.architecture)
            self.__post_init__()
        return self.known

    def build(self) -> Block:
        """The network, its parameters as the bundle's arrays.

        Raises:
            SpecError: There is no architecture, or an invalid one.
            ParameterError: Parameters are missing or of other shapes.
        """
        from modelarchive.architecture import building

        arrays: dict[int, np.ndarray] = {}
        found = {}
        expect(deferred(self.parameters).values())
        for name, entry in deferred(self.parameters).items():
            if id(entry) not in arrays:
                arrays[id(entry)] = self.parameters[name]
            found[name] = arrays[id(entry)]
        return building.build(self.checked(), found)


Source: TypeAlias = "Bundle | Archive | Block | Mapping[str, np.ndarray] | str | os.PathLike[str]"


def bundle_of(source: Source, *, inputs: Any = None) -> Bundle:
    """Anything that holds a model as a :class:`Bundle`.

    Args:
        source: A bundle, an open archive, the path of an archive, a network, or a mapping of arrays.
        inputs: For a network: what to record its ``forward`` on, unless it remembers that.

    Returns:
        The bundle; of an archive it is lazy, and good for as long as the archive is open.

    Raises:
        TypeError: It is none of these.
        SpecError: A network cannot be described.
        FormatError: The archive holds nested data, no parameters.
    """
    if isinstance(source, Bundle):
        return source
    if isinstance(source, Archive):
        return _of_archive(source)
    from modelarchive.nn import Block

    if isinstance(source, Block):
        from modelarchive.architecture import describing

        described = describing.described(source, inputs)  # first: it learns shapes, and keeps large constants
        return Bundle(initialized(source), described.architecture, known=described)
    if isinstance(source, Mapping):
        return Bundle(tensors.arrays_of(source), reason="only arrays were given")
    if isinstance(source, str | os.PathLike):
        if (archive := Archive(source)).is_remote:
            return _of_archive(archive)  # nothing is open there that would have to be closed
        with archive:  # views outlive it; what is read later would not
            return replace(_of_archive(archive), parameters=Parameters(archive.held(_stored_names(archive))))
    raise TypeError(f"source is {type(source).__name__}, expected a Bundle, an Archive, a Block, a mapping or a path")


def deferred(parameters: Mapping[str, np.ndarray]) -> dict[str, Deferred]:
    """Every array with its dtype and shape, to be read one at a time; shared ones come as one object."""
    if isinstance(parameters, Parameters):
        return parameters.entries
    made: dict[int, Deferred] = {}
    found = {}
    for name, array in parameters.items():
        if id(array) not in made:
            # The function keeps the array, and with it the id.
            made[id(array)] = Deferred.of(array)
        found[name] = made[id(array)]
    return found


def fitted(checked: Checked, arrays: Mapping[str, Deferred]) -> Parameters:
    """The parameters of an architecture, in its order.

    Args:
        checked: The architecture.
        arrays: Dotted name -> array; more may be there.

    Raises:
        ConversionError: Arrays have other shapes than the architecture says; lists all of them.
    """
    wrong = [
        (name, f"expected shape {shape}, found {arrays[name].shape}")
        for name, shape in checked.shapes.items()
        if len(shape) != len(arrays[name].shape)
        or any(one not in (0, two) for one, two in zip(shape, arrays[name].shape, strict=True))
    ]
    if wrong:
        raise ConversionError(wrong)
    return Parameters({name: arrays[name] for name in checked.shapes})


def shared_names(parameters: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Each further name of a shared array -> its first name."""
    first: dict[int, str] = {}
    entries = deferred(parameters)
    return {name: first[id(entry)] for name, entry in entries.items() if first.setdefault(id(entry), name) != name}


def save_bundle(
    path: str | os.PathLike[str],
    bundle: Bundle,
    *,
    training: object = None,
    compression: Choice = None,
    max_shard_size: int | str | None = None,
    counterpart: Counterpart | None = None,
    durable: bool = True,
    progress: Progress | None = None,
) -> list[Note]:
    """Write a bundle as an archive: a whole model if it has an architecture, else its parameters.

    Args:
        path: The archive; an old file is replaced as a whole, or left as it was.
        bundle: What to write. Names that are no parameter names are kept as they are, in a dict of arrays.
        training: As in :func:`modelarchive.save_model`.
        compression: As in :func:`modelarchive.save`.
        max_shard_size: As in :func:`modelarchive.save`.
        counterpart: What makes a folder of shards another library's.
        durable: As in :func:`modelarchive.save`.
        progress: As in :func:`modelarchive.save`.

    Returns:
        What was changed or lost; not what reading the bundle has noted already.

    Raises:
        ConversionError: Arrays are of dtypes that an archive does not hold; lists all of them.
        ParameterError: The parameters are not those of the architecture.
        SpecError: The architecture is invalid.
        UnsupportedDataError: Metadata or tokens cannot be stored.
    """
    entries = deferred(bundle.parameters)
    problems = [
        (name, f"an archive holds no {entry.dtype}")
        for name, entry in entries.items()
        if dtypes.dense_name(entry.dtype) is None
    ]
    if problems:
        raise ConversionError(problems, hint="nothing was written")
    how: Any = {"compression": compression, "max_shard_size": max_shard_size, "durable": durable, "progress": progress}
    texts = json_texts(metadata=bundle.metadata or None)
    kinds: dict[str, str] = {}
    if bundle.architecture is not None:
        checked = bundle.checked()
        texts = architecture_texts(checked.architecture) | texts
        expected = checked.shapes
        _compare(expected, entries)
        entries = {name: entries[name] for name in expected}
        kinds = kinds_of(bundle.architecture)
    elif (reason := _no_parameters(entries)) is not None:
        if training is not None:
            problem = ("training", f"lies beside parameters only: {reason}")
            raise UnsupportedDataError([problem], hint="nothing was written")
        return _save_as_dict(path, bundle, entries, reason, how)
    texts |= token_texts(bundle.tokens, {name: entry.shape[:1] for name, entry in entries.items()})
    write_model(
        path,
        entries,
        kinds=kinds,
        texts=texts,
        training=None if training is None else training_of(training),
        counterpart=counterpart,
        **how,
    )
    return []


def _of_archive(archive: Archive) -> Bundle:
    has_training = archive.reader.contents.training is not None
    if piece := next(iter(archive.reader.contents.pieces), None):
        raise FormatError(
            f"is one shard of a model: its arrays, as {piece!r}, are pieces of larger ones",
            file=archive.path,
            hint="give the folder that it lies in, which joins them",
        )
    return Bundle(
        Parameters(archive.deferred(_stored_names(archive))),
        archive.architecture if archive.has_architecture else None,
        "" if archive.has_architecture else "the archive holds parameters only",
        dict(archive.metadata),
        archive.tokens,
        [Note("(training)", "left out: what training goes on from is in the archive only")] if has_training else [],
    )


def _stored_names(archive: Archive) -> dict[str, str]:
    """Name -> name in the archive: keys of a dict are percent-encoded there."""
    members = archive.reader.contents.members
    if members is None:
        return {name: name for name in archive.parameters}
    unsupported = [
        (str(names.decode_key(path)) or "(the value)", f"is a {kind}, expected a flat dict of arrays")
        for path, kind in members.items()
        if (path == "" and kind != "dict") or (path != "" and (kind != "array" or path not in archive.parameters))
    ]
    if unsupported:
        raise ConversionError(unsupported, file=archive.path, hint="other formats hold names and arrays only")
    keys = {path: names.decode_key(path) for path in archive.parameters}
    numbers = [(str(key), "is a number, expected a name") for key in keys.values() if isinstance(key, int)]
    if numbers:
        raise ConversionError(numbers, file=archive.path, hint="other formats hold arrays under names, which are text")
    return {str(key): path for path, key in keys.items()}


def _compare(expected: Mapping[str, tuple[int, ...]], entries: Mapping[str, Deferred]) -> None:
    missing = [name for name in expected if name not in entries]
    unexpected = [name for name in entries if name not in expected]
    mismatched = {
        name: (f"shape {shape}", f"shape {entries[name].shape}")
        for name, shape in expected.items()
        if name in entries and tuple(shape) != tuple(entries[name].shape)
    }
    if missing or unexpected or mismatched:
        raise ParameterError(
            ending=" the architecture, nothing was written",
            missing=missing,
            unexpected=unexpected,
            mismatched=mismatched,
        )


def _no_parameters(entries: Mapping[str, Deferred]) -> str | None:
    """Why the names are no names of parameters, or None."""
    if problem := next((problem for name in entries if (problem := names.problem_with_name(name))), None):
        return problem
    for name in entries:
        block = name.rpartition(".")[0]
        while block:
            if block in entries:
                return f"{block!r} would be a parameter and a block"
            block = block.rpartition(".")[0]
    return None


def _save_as_dict(
    path: str | os.PathLike[str], bundle: Bundle, entries: Mapping[str, Deferred], reason: str, how: Mapping[str, Any]
) -> list[Note]:
    notes = [Note("(names)", f"kept as the keys of a dict, not as parameters: {reason}")]
    if bundle.tokens:
        notes.append(Note(", ".join(bundle.tokens), "their words are left out: a dict of arrays holds none"))
    texts = json_texts(metadata=bundle.metadata or None)
    write_dict(path, entries, texts=texts, **how)
    return notes
