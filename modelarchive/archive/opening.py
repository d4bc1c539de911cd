"""An archive as an object: its architecture, metadata and parameters, read when they are asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

import numpy as np

from modelarchive import names
from modelarchive.archive import showing, texts
from modelarchive.archive.parameters import Parameters, unknown
from modelarchive.archive.texts import ARCHITECTURE
from modelarchive.archive.training import assembled, load_training
from modelarchive.archive.verifying import Progress, Report, verify, verify_block, verify_shards
from modelarchive.errors import IntegrityError
from modelarchive.remote import RemoteFile, located
from modelarchive.store.contents import TRAINING
from modelarchive.store.deferred import Deferred
from modelarchive.store.readers import reader_of
from modelarchive.store.sharded import ShardedReader

if TYPE_CHECKING:
    from modelarchive.architecture import Checked
    from modelarchive.architecture.parts import Whole
    from modelarchive.nn import Block

Stored = TypeVar("Stored", np.ndarray, Deferred)


class Archive(Mapping[str, np.ndarray]):
    """An open archive. Use it in a ``with`` statement, or :meth:`close` it.

    It is a mapping: array name -> lazy view, as :attr:`parameters`; ``archive["fc.weight"]``, ``len(archive)``,
    ``"fc.weight" in archive``, ``archive.items()``. Compared, it equals itself only.

    Arrays taken from it are views of the mapped file, copy-on-write: no bytes are read until they are used,
    writing into them changes memory only, and they outlive the archive. Compressed ones are read into memory.

    Args:
        path: The file, or a folder of shards that is one archive; or the URL of one, a folder's with a slash at its
            end. Of a file elsewhere what is used is read, and compared with its digest, see docs/remote.md.
        storage_options: Options for fsspec's file system, where `path` is a URL: credentials say.
        cache: The cache of fsspec's that keeps what was read, by its name ("blockcache", "filecache",
            "simplecache") or as a dict of its options with `protocol`; None: nothing is kept.

    Raises:
        OSError: The file cannot be opened.
        FormatError: It is no archive, or damaged.
        UnsafeFileError: It breaks a safety rule.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        storage_options: Mapping[str, Any] | None = None,
        cache: str | Mapping[str, Any] | None = None,
    ) -> None:
        self.reader = reader_of(located(path, storage_options, cache))
        self.path: Path = self.reader.source.path  # a RemoteFile, which stands where paths do

    def __enter__(self) -> Self:
        """The archive itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file; arrays taken from it stay valid."""
        self.reader.source.close()

    def __getitem__(self, name: str) -> np.ndarray:
        """One array, as :attr:`parameters` gives it.

        Raises:
            ParameterError: There is no such array.
        """
        return self.parameters[name]

    def __contains__(self, name: object) -> bool:
        """Whether there is such an array."""
        return name in self.parameters

    def __iter__(self) -> Iterator[str]:
        """The names of the arrays, in the model's order."""
        return iter(self.parameters)

    def __len__(self) -> int:
        """How many names of arrays there are; a shared parameter counts under each of its names."""
        return len(self.parameters)

    def __bool__(self) -> bool:
        """An archive is true, with arrays or without."""
        return True

    # An archive is a file, not what is in it: two of them are not compared array by array.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    @cached_property
    def parameters(self) -> Mapping[str, np.ndarray]:
        """Array name -> lazy view, in the model's order; shared parameters under all of their names."""
        return Parameters(self.reader)

    @property
    def section(self) -> str:
        """``"parameters"`` of a network, or ``"arrays"`` that :func:`modelarchive.save` stored."""
        return self.reader.contents.section

    @property
    def is_remote(self) -> bool:
        """Whether it lies elsewhere, so that nothing is mapped and all that is read is compared with its digest."""
        return isinstance(self.path, RemoteFile)

    @property
    def is_stale(self) -> bool:
        """Whether an HDF5 tool changed the file, so that it is read through HDF5."""
        return self.reader.contents.is_stale

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.reader.source.size

    @property
    def parameter_count(self) -> int:
        """Numbers in all arrays, without those of training; shared ones count once."""
        arrays = self.reader.contents.arrays
        own = self.section == "arrays"
        return sum(int(np.prod(entry.shape)) for name, entry in arrays.items() if own or not name.startswith(TRAINING))

    @property
    def has_architecture(self) -> bool:
        """Whether the archive holds a whole model."""
        return ARCHITECTURE in self.reader.contents.texts

    @cached_property
    def architecture(self) -> dict[str, Any]:
        """The architecture as the file has it; :meth:`build` and :meth:`verify` validate it.

        Raises:
            FormatError: There is none, or it is not JSON.
        """
        texts.expect_architecture(self.reader)
        return texts.document(self.reader, ARCHITECTURE)

    @cached_property
    def constants(self) -> frozenset[str]:
        """Names of the arrays that are constants of the network's forwards, and no parameters of it."""
        text = texts.text(self.reader, ARCHITECTURE) if self.has_architecture else ""
        if '"persistent"' not in text and "\\" not in text:  # keys may be written in escapes
            return frozenset()
        from modelarchive.architecture.constants import constants_of

        return constants_of(self.architecture)

    @property
    def checked(self) -> Checked:
        """The architecture, validated; once, however many parts are built of it.

        Raises:
            FormatError: There is none, or it is not JSON.
            SpecError: It is invalid.
        """
        return self._whole.checked

    @cached_property
    def _whole(self) -> Whole:
        from modelarchive.architecture.parts import Whole

        texts.expect_architecture(self.reader)
        texts.expect_arrays(self.reader)
        text = texts.text(self.reader, ARCHITECTURE)
        # Keys may be written in escapes.
        return Whole(texts.parsed(self.reader, ARCHITECTURE, text), may_share='"shares"' in text or "\\" in text)

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """The user's metadata; empty if there is none."""
        return texts.document(self.reader, "/metadata/data") if "/metadata/data" in self.reader.contents.texts else {}

    @cached_property
    def tokens(self) -> Mapping[str, list[str]]:
        """Parameter name -> the word that each of its rows belongs to."""
        return texts.tokens(self.reader)

    @cached_property
    def training(self) -> Any:
        """The training structure as it was saved, optimizer state and plain values; None if there is none.

        Its arrays are views of the mapped file, as those of :attr:`parameters`.
        """
        return load_training(self.reader)

    def rows(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Some rows of one array: of a compressed one, too, only the bytes that hold them are read.

        Args:
            name: The array; it has at least one axis.
            start: The first row, counted along the first axis; negative ones count from the end, as in a slice.
            stop: The row to end before; None: the last one, too.

        Returns:
            An array of shape ``(rows, *rest)``, in memory of its own.

        Raises:
            ParameterError: There is no such array.
            ValueError: It has no axes.
            FormatError: A chunk of it does not hold what it should.
        """
        if name not in self.parameters:
            return self.parameters[name]
        shape = self.reader.contents.entry(name).shape
        if not shape:
            raise ValueError(f"{name} is one number and has no rows")
        first, last, _ = slice(start, stop).indices(shape[0])
        return self.reader.rows(name, first, max(first, last))

    def select(self, patterns: Any) -> Mapping[str, np.ndarray]:
        """The parameters whose names match a pattern, or one of several (``"features.*"``)."""
        return Parameters(self.reader, names.select(self.parameters, patterns))

    def load(self, patterns: Any = None, *, verify: bool = False) -> dict[str, np.ndarray]:
        """The parameters whose names match, as :meth:`select` chooses, in memory of their own.

        Args:
            patterns: A pattern, or several; None: all.
            verify: Compare each array with its digest while reading.

        Raises:
            ParameterError: Nothing matches.
            IntegrityError: With `verify`, bytes differ from their digest; names all of them.
        """
        # To ask the index first spares naming thousands of others for the sake of one.
        is_name = isinstance(patterns, str) and (patterns in self.reader.contents.arrays or patterns in self.parameters)
        wanted = [patterns] if is_name else names.select(self.parameters, patterns)
        if not wanted and patterns is not None:
            raise unknown(str(patterns), list(self.parameters), self.path)
        return self.reader.load(wanted, verify=verify)

    def views(self, stored: Mapping[str, str]) -> dict[str, np.ndarray]:
        """New name -> view of the array stored under another; shared arrays come as one object.

        Raises:
            ParameterError: A stored name is not there.
        """
        self.reader.expect(stored.values())
        return self._shared(stored, self.parameters.__getitem__)

    def deferred(self, stored: Mapping[str, str]) -> dict[str, Deferred]:
        """New name -> the array stored under another, to be read later; shared arrays come as one object.

        Raises:
            ParameterError: A stored name is not there.
        """
        return self._shared(stored, self.reader.deferred)

    def held(self, stored: Mapping[str, str]) -> dict[str, Deferred]:
        """As :meth:`deferred`, on views that are taken now, and outlive the archive."""
        views, known = self.views(stored), self.deferred(stored)
        made = {id(views[name]): Deferred.of(views[name], each.extent) for name, each in known.items()}
        return {name: made[id(view)] for name, view in views.items()}

    def _shared(self, stored: Mapping[str, str], get: Callable[[str], Stored]) -> dict[str, Stored]:
        aliases = self.reader.contents.aliases
        found: dict[str, Stored] = {}
        for other in stored.values():
            canonical = aliases.get(other, other)
            if canonical not in self.parameters:
                raise unknown(canonical, list(self.parameters), self.path)
            if canonical not in found:
                found[canonical] = get(canonical)
        return {name: found[aliases.get(other, other)] for name, other in stored.items()}

    def data(
        self,
        *,
        mmap: bool = False,
        verify: bool = False,
        load: Callable[[Iterable[str]], Mapping[str, Any]] | None = None,
    ) -> Any:
        """Everything, as :func:`modelarchive.load` returns it; `load` gives the named arrays where it is given."""
        texts.expect_arrays(self.reader)
        contents = self.reader.contents
        wanted = [
            name
            for name in contents.order
            if (name in contents.arrays or name in contents.aliases) and name not in self.constants
        ]
        if verify and self.is_stale:
            # HDF5 says what is there now, and nothing says that it is what was written.
            self.verify()
        arrays: dict[str, Any]
        if load is not None:
            arrays = dict(load(wanted))
        elif mmap and not self.is_remote:
            arrays = self.reader.views(wanted)
            if verify and (damaged := self.reader.damaged()):
                raise IntegrityError(damaged, file=self.path)
        else:
            arrays = self.reader.load(wanted, verify=verify)
        members = contents.members
        return arrays if members is None else assembled(self.reader, members, arrays)

    def build(
        self,
        block: str = "",
        children: slice | None = None,
        *,
        until: str | None = None,
        after: str | None = None,
    ) -> Block:
        """Build the model, or a part of it, from the architecture; no class of the original is needed.

        What is built is checked first, and of a single block no other one, where that can be: see docs/security.md.

        Args:
            block: Path of the block ("features"); "" is the model itself.
            children: Which children of a Sequential, by position.
            until: Where in it to end: the name of a layer, as `show --tree` and the architecture have it, or the
                dotted path of one inside of another. Its output is the network's, whose inputs are those that it
                depends on.
            after: After what in it to begin, named in the same way: that layer's output is the network's input.

        Returns:
            The network with its parameters as views of the mapped file: only bytes that are used are read.

        Raises:
            SpecError: The architecture is invalid, has no such block or layer, or what comes after `after` needs
                more than its output.
            ParameterError: Parameters are missing or of other shapes than it declares.
        """
        from modelarchive.architecture import building
        from modelarchive.architecture.places import result_of

        if block == "" and (children, until, after) == (None, None, None):
            # Nobody else has what is checked for this: it becomes the network.
            whole = self._whole
            self.reader.expect(self.parameters)
            return building.build(whole.checked if whole.is_checked else whole.architecture, self.parameters)
        if until is None and after is None:
            return building.build_part(self._whole, block, children, lambda names: self._below(block, names))
        until, after = (name and result_of(name, self.metadata) for name in (until, after))
        part = building.part(self.checked, block, children, until=until, after=after)
        return building.build(part, self._below(block, part.shapes))

    def verify(self, progress: Progress | None = None, *, block: str = "") -> Report:
        """Check every digest, the architecture against its schemas, and the index against HDF5.

        Args:
            progress: Called with the number of bytes checked since the last call.
            block: Path of a block to check alone: the digests of its arrays and of the architecture, and the
                index. No other array is read, and what is damaged elsewhere does not matter.

        Raises:
            IntegrityError: Something is damaged; names all of it.
            SpecError: The architecture is invalid, or has no such block.
            ParameterError: There is no architecture, and no array below `block`.
        """
        # Read only when the digests agree: a damaged text shall be named, not fail to parse.
        checked = (lambda: self.checked) if self.has_architecture else None
        if block:
            return verify_block(self.reader, block, checked, progress)
        if isinstance(reader := cast("object", self.reader), ShardedReader):
            return verify_shards(reader, checked, progress)
        return verify(self.reader, checked, progress)

    def summary(self) -> str:
        """What is in it, as text to print: names, shapes, dtypes, sizes."""
        return showing.summary(self.reader, self.parameters, self.parameter_count)

    def _repr_html_(self) -> str:
        """Its arrays as a tree, for a notebook."""
        return showing.as_html(self.reader, self.parameters)

    def __repr__(self) -> str:
        """Path and size."""
        return f"<Archive {str(self.path)!r}: {len(self.parameters)} arrays, {self.size:,} bytes>"

    def _below(self, block: str, relative: Iterable[str]) -> Parameters:
        """The parameters of some names relative to a block."""
        found = Parameters(self.reader, {name: names.joined(block, name) for name in relative})
        self.reader.expect(found.stored)
        return found
