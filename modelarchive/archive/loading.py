"""Open archives; load arrays, parameters into a block, and whole models."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from modelarchive import names
from modelarchive.archive.opening import Archive
from modelarchive.archive.verifying import Report
from modelarchive.errors import ParameterError
from modelarchive.store.contents import Entry

if TYPE_CHECKING:
    from modelarchive.nn import Block, Parameter


def open_archive(
    path: str | os.PathLike[str],
    *,
    storage_options: Mapping[str, Any] | None = None,
    cache: str | Mapping[str, Any] | None = None,
) -> Archive:
    """Open an archive: ``with modelarchive.open("mlp.h5") as archive: ...``.

    Args:
        path: As :class:`Archive` takes it, as all that follow: a file, a folder of shards, or a URL.
        storage_options: Likewise.
        cache: Likewise.
    """
    return Archive(path, storage_options=storage_options, cache=cache)


def load(path: str | os.PathLike[str], *, mmap: bool = False, verify: bool = False) -> Any:
    """Load what :func:`save` stored: the same structure, dtypes, shapes and bits.

    Args:
        path: An archive. One with a network gives the dict of its parameters.
        mmap: Return views of the mapped file, copy-on-write, instead of reading it.
        verify: Compare each array with its digest while reading.

    Raises:
        OSError: The file cannot be read.
        FormatError: It is no archive, or damaged.
        UnsafeFileError: It breaks a safety rule.
        IntegrityError: With `verify`, bytes differ from their digest; names all of them.
    """
    with Archive(path) as archive:
        return archive.data(mmap=mmap, verify=verify)


def verify(path: str | os.PathLike[str], *, block: str = "", progress: Callable[[int], None] | None = None) -> Report:
    """Check an archive before it is used, by us or by another program: every digest, as fast as the disk gives it.

    Args:
        path: The archive: a file, or a folder of shards.
        block: Path of a block to check alone, see :meth:`Archive.verify`.
        progress: Called with the number of bytes checked since the last call.

    Returns:
        What was checked, and found whole.

    Raises:
        IntegrityError: Something is damaged; names all of it.
        FormatError: It is no archive, or a shard is missing or another one; names it.
        SpecError: The architecture is invalid, or has no such block.
        OSError: The file cannot be read.
    """
    with Archive(path) as archive:
        return archive.verify(progress, block=block)


def load_model(
    path: str | os.PathLike[str],
    *,
    block: str = "",
    until: str | None = None,
    after: str | None = None,
    verify: bool = False,
) -> Block:
    """Rebuild a network, or one block of it, from its architecture; no class of the original is needed.

    Args:
        path: An archive that :func:`save_model` wrote.
        block: Path of the block to rebuild; "" is the whole model. Only that block's bytes are read.
        until: The layer in it to end with, see :meth:`Archive.build`.
        after: The layer in it to begin after.
        verify: Check the file first, of a block no more than its own arrays; see :meth:`Archive.verify`.

    Returns:
        The network, its parameters views of the mapped file, copy-on-write.

    Raises:
        OSError: The file cannot be read.
        FormatError: It is no archive, holds no architecture, or is damaged.
        SpecError: The architecture is invalid, or has no such block.
        ParameterError: Parameters are missing or of other shapes than it declares.
    """
    with Archive(path) as archive:
        if verify and not archive.is_remote:
            archive.verify(block=block)
        return archive.build(block, until=until, after=after)


def load_parameters(
    block: Block,
    path: str | os.PathLike[str],
    *,
    allow_missing: bool = False,
    ignore_extra: bool = False,
    cast_dtype: bool = False,
    dtype_source: str = "current",
    mmap: bool = False,
) -> None:
    """Load parameters into a block by their structural names; all of them, or none if something is wrong.

    Args:
        block: The block; it need not be initialised, shapes come from the file.
        path: An archive of parameters, a whole model, or a flat dict of arrays.
        allow_missing: Leave alone the parameters that the file lacks.
        ignore_extra: Skip what the file has and the block lacks.
        cast_dtype: Convert instead of refusing a different dtype.
        dtype_source: Whose dtype wins then: "current" (the block's) or "saved" (the file's).
        mmap: Use views of the mapped file, copy-on-write, instead of reading it.

    Raises:
        ParameterError: With every missing, unexpected and mismatched name.
        OSError: The file cannot be read.
        FormatError: It is no archive, or damaged.
    """
    if dtype_source not in ("current", "saved"):
        raise ValueError(f"dtype_source is {dtype_source!r}, expected 'current' or 'saved'")
    with Archive(path) as archive:
        parameters = block.collect_params()
        own = (name for name in archive.parameters if name not in archive.constants)
        entries = {name: archive.reader.contents.entry(name) for name in own}
        wanted = [name for name in parameters if name in entries]
        missing = [] if allow_missing else [name for name in parameters if name not in entries]
        unexpected = [] if ignore_extra else [name for name in entries if name not in parameters]
        mismatched = {
            name: misfit
            for name in wanted
            if (misfit := _misfit(parameters[name], entries[name], check_dtype=not cast_dtype))
        }
        mismatched |= _torn(wanted, parameters, archive)
        if missing or unexpected or mismatched:
            raise ParameterError(
                ending=", nothing was loaded",
                missing=missing,
                unexpected=unexpected,
                mismatched=mismatched,
                remarks=names.remarks_on(missing, list(entries)) | names.remarks_on(unexpected, list(parameters)),
                file=archive.path,
                hint=ways_out(missing, unexpected, mismatched),
            )
        unique = list({id(parameters[name]): name for name in reversed(wanted)}.values())
        is_mapped = mmap and not archive.is_remote
        arrays = {name: archive.parameters[name] for name in unique} if is_mapped else archive.reader.load(unique)
    for name in unique:
        parameter, array = parameters[name], arrays[name]
        if array.dtype != parameter.dtype and dtype_source == "current":
            array = array.astype(parameter.dtype)
        if array.dtype != parameter.dtype:
            parameter.cast(array.dtype)
        parameter.set_data(array)


def _misfit(parameter: Parameter, entry: Entry, *, check_dtype: bool) -> tuple[str, str] | None:
    dtype = np.dtype(parameter.dtype)
    if not parameter.fits(entry.shape):
        from modelarchive.nn.parameter import shape_text  # who has a parameter has imported it

        return f"shape {shape_text(parameter.shape)}", f"shape {shape_text(entry.shape)}"
    if check_dtype and dtype.name != entry.dtype:
        return f"dtype {dtype.name}", f"dtype {entry.dtype}"
    return None


def _torn(wanted: list[str], parameters: dict[str, Parameter], archive: Archive) -> dict[str, tuple[str, str]]:
    """Names of one shared parameter for which the file holds different values."""
    first: dict[int, str] = {}
    torn = {}
    aliases = archive.reader.contents.aliases
    for name in wanted:
        other = first.setdefault(id(parameters[name]), name)
        if aliases.get(other, other) == aliases.get(name, name):
            continue
        ours, theirs = archive.parameters[other], archive.parameters[name]
        if ours.dtype != theirs.dtype or ours.shape != theirs.shape or ours.tobytes() != theirs.tobytes():
            torn[name] = (f"the values of {other!r}, which it is shared with", "other values")
    return torn


def ways_out(
    missing: Sequence[str], unexpected: Sequence[str], mismatched: Mapping[str, tuple[str, str]]
) -> str | None:
    """The arguments of :func:`load_parameters` that allow such misfits, as a hint; None: none does."""
    ways = []
    if missing:
        ways.append("allow_missing=True keeps what the source lacks")
    if unexpected:
        ways.append("ignore_extra=True skips what the network lacks")
    if any(expected.startswith("dtype") for expected, _ in mismatched.values()):
        ways.append("cast_dtype=True converts dtypes")
    return "; ".join(ways) or None
