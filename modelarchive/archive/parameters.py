"""The parameters of an archive as a mapping of views, and what is said of a name that it does not have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from modelarchive import names
from modelarchive.errors import ParameterError
from modelarchive.store.reader import Reader


class Parameters(Mapping[str, np.ndarray]):
    """Names of an archive mapped to views of its arrays, each made when it is asked for.

    Args:
        reader: The open file.
        wanted: The names to offer; a dict maps offered names to stored ones. None: all.
    """

    def __init__(self, reader: Reader, wanted: list[str] | dict[str, str] | None = None) -> None:
        self._reader = reader
        contents = reader.contents
        arrays, aliases = contents.arrays, contents.aliases
        if not isinstance(wanted, dict):
            several = contents.order if wanted is None else wanted
            wanted = dict(zip(several, several, strict=True))
        self._stored = {name: other for name, other in wanted.items() if other in arrays or other in aliases}

    @property
    def stored(self) -> list[str]:
        """What the offered names are stored as."""
        return list(self._stored.values())

    def __getitem__(self, name: str) -> np.ndarray:
        """The array, a copy-on-write view of the mapped file."""
        if not isinstance(name, str) or name not in self._stored:
            raise unknown(name, list(self._stored), self._reader.source.path)
        return self._reader.view(self._stored[name])

    def __contains__(self, name: object) -> bool:
        """Whether there is such an array."""
        return name in self._stored

    def __iter__(self) -> Iterator[str]:
        """The names, in the model's order."""
        return iter(self._stored)

    def __len__(self) -> int:
        """How many names."""
        return len(self._stored)

    def __repr__(self) -> str:
        """Names and shapes."""
        entry = self._reader.contents.entry
        lines = [f"  {name}: {entry(other).dtype} {entry(other).shape}" for name, other in self._stored.items()]
        return "\n".join(["{", *lines, "}"])


def unknown(name: object, known: list[str], file: object) -> ParameterError:
    """That an archive has no such parameter, and which one may have been meant.

    Args:
        name: What was asked for.
        known: The names that there are.
        file: The archive.
    """
    if not isinstance(name, str):
        ways = "names are texts; rows() gives some rows of one array, build() a block or some children of a Sequential"
        return ParameterError(f"no parameter {name!r}", missing=[repr(name)], file=file, hint=ways)
    path = name.removeprefix("/").removeprefix("parameters/").replace("/", ".")
    near = path if path in known else names.near(name, known)
    hint = f"did you mean {near!r}?" if near else None
    if names.select(known, name):
        hint = f'select("{name}") gives those whose names match'
    if any(each.startswith(f"{name}.") for each in known):
        hint = f'it is a block: build("{name}") gives it, select("{name}.*") its parameters'
    return ParameterError(f"no parameter {name!r}", missing=[name], file=file, hint=hint)


def no_block(path: str, known: Iterable[str], file: object) -> ParameterError:
    """That an archive without an architecture has no parameters below a block, and which may have been meant.

    Args:
        path: The block.
        known: The names of the archive's arrays.
        file: The archive.
    """
    blocks = sorted({name.rpartition(".")[0] for name in known} - {""})
    near = names.near(path, blocks)
    return ParameterError(
        f"no parameters below a block {path!r}",
        missing=[path],
        file=file,
        hint=f"did you mean {near!r}?" if near else f"the blocks are {', '.join(blocks[:8]) or 'none'}",
    )
