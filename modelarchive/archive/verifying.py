"""Prove a file whole: digests, schemas, and that the index and HDF5 show the same model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from modelarchive.archive.parameters import no_block
from modelarchive.errors import FormatError, IntegrityError, ModelArchiveError
from modelarchive.remote import RemoteFile
from modelarchive.store.contents import Contents, block_group
from modelarchive.store.digest import digest
from modelarchive.store.joining import joined_members
from modelarchive.store.reader import Reader
from modelarchive.store.sharded import ShardedReader

if TYPE_CHECKING:
    from modelarchive.architecture import Checked

Progress = Callable[[int], None]
_AGAIN: Final = "take the file from where it came from again"
_REINDEX: Final = "`modelarchive reindex {}` writes a new index if you trust the change"
_LEFT_OPEN: Final = "left by a program that was ended while it had the file open for writing"


@dataclass(frozen=True)
class Report:
    """What was checked, and found whole.

    Attributes:
        file: The file.
        arrays: Arrays whose digests agree.
        texts: Texts whose digests agree.
        nbytes: Bytes hashed.
        has_architecture: Whether there was an architecture, valid, whose parameters are all there.
        foreign: HDF5 paths of datasets that a viewer shows and an archive does not know.
        block: The block that was looked at alone; "" is the whole file.
    """

    file: str
    arrays: int
    texts: int
    nbytes: int
    has_architecture: bool
    foreign: tuple[str, ...] = ()
    block: str = ""

    def __str__(self) -> str:
        """One line."""
        model = "architecture valid, " if self.has_architecture else ""
        where = f"{self.file}, block {self.block}" if self.block else self.file
        return f"{where}: whole ({model}{self.arrays:,} arrays, {self.texts:,} texts, {self.nbytes:,} bytes)"


def verify(reader: Reader, architecture: Callable[[], Checked] | None, progress: Progress | None = None) -> Report:
    """Check an open archive; see :meth:`modelarchive.archive.Archive.verify`."""
    from modelarchive.store.proof import is_as_written

    contents = reader.contents
    damaged = reader.damaged(progress)
    kinds = contents.kinds
    foreign: list[str] = []
    problem: ModelArchiveError | None = None
    if contents.is_stale:
        damaged["(index)"] = stale_index(reader)
    elif architecture is not None and not damaged:
        try:
            kinds = _kinds(reader, architecture())
        except ModelArchiveError as error:
            problem = error  # which may come of an index that tells another story than HDF5, and that is said first
    is_told = bool(damaged or problem) and isinstance(reader.source.path, RemoteFile)  # HDF5 cannot be asked there
    if not is_told and (contents.is_stale or damaged or problem or not is_as_written(reader.source, contents, kinds)):
        foreign, differences = _compared(reader, kinds)
        damaged |= differences
    if damaged:
        hint = _REINDEX.format(reader.source.path.name) if list(damaged) == ["(index)"] else _AGAIN
        raise IntegrityError(damaged, file=reader.source.path, hint=hint)
    if problem:
        raise problem
    _check_tokens(reader)
    return Report(
        file=str(reader.source.path),
        arrays=len(contents.arrays),
        texts=len(contents.texts),
        nbytes=sum(entry.nbytes for entry in contents.arrays.values())
        + sum(text.nbytes for text in contents.texts.values()),
        has_architecture=architecture is not None,
        foreign=tuple(foreign),
    )


def verify_shards(
    reader: ShardedReader, architecture: Callable[[], Checked] | None, progress: Progress | None = None
) -> Report:
    """Check every shard of an open folder, its index, and the files beside them.

    That the shards are those of the index, hold what it says and cover each array is known once they are open.
    """
    damaged = reader.damaged_beside()
    reports = []
    for name in reader.index.shards:
        try:
            reports.append(verify(reader.shard(name), None, progress))
        except IntegrityError as error:
            damaged |= {f"{name}: {part}": said for part, said in error.damaged.items()}
        except FormatError as error:
            damaged[name] = ("as the index names it", error.message)
    if damaged:
        raise IntegrityError(damaged, file=reader.source.path, hint=_AGAIN)
    for which in ("members", "training"):
        _check_structure(reader, which)
    merged = cast("Reader", reader)
    if architecture is not None:
        _kinds(merged, architecture())
    _check_tokens(merged)
    return Report(
        file=str(reader.source.path),
        arrays=len(reader.contents.arrays),
        texts=len(reader.contents.texts),
        nbytes=sum(report.nbytes for report in reports),
        has_architecture=architecture is not None,
        foreign=tuple(f"{report.file}: {path}" for report in reports for path in report.foreign),
    )


def _check_structure(reader: ShardedReader, which: str) -> None:
    """That the structure which the index tells is the one that the shards hold together."""
    found = joined_members([getattr(shard.contents, which) for shard in reader.shards.values()])
    if found != getattr(reader.contents, which):
        raise IntegrityError({which: ("as in the index", "another structure in the shards")}, file=reader.source.path)


def verify_block(
    reader: Reader,
    block: str,
    architecture: Callable[[], Checked] | None,
    progress: Progress | None = None,
) -> Report:
    """Check one block of an open archive, reading no other arrays; see :meth:`modelarchive.archive.Archive.verify`."""
    contents = reader.contents
    if contents.is_stale:
        raise IntegrityError({"(index)": stale_index(reader)},
                             file=reader.source.path, hint=_REINDEX.format(reader.source.path.name))  # fmt: skip
    texts = ["/architecture/data"] if architecture is not None else []
    wanted = {name: contents.aliases.get(name, name) for name in contents.order if name.startswith(f"{block}.")}
    found = reader.damaged(progress, only={*wanted.values(), *texts})
    damaged = {name: found[canonical] for name, canonical in wanted.items() if canonical in found}
    damaged |= {path: found[path] for path in texts if path in found}
    if damaged:
        raise IntegrityError(damaged, file=reader.source.path, hint=_AGAIN)
    if architecture is not None:
        _check_block(reader, block, architecture(), wanted)
    elif not wanted:
        raise no_block(block, contents.order, reader.source.path)
    entries = [contents.arrays[name] for name in dict.fromkeys(wanted.values())]
    return Report(
        file=str(reader.source.path),
        arrays=len(entries),
        texts=len(texts),
        nbytes=sum(entry.nbytes for entry in entries) + sum(contents.texts[path].nbytes for path in texts),
        has_architecture=architecture is not None,
        block=block,
    )


def stale_index(reader: Reader) -> tuple[str, str]:
    """What was expected of an index that does not hold any more, and what was found."""
    from modelarchive.store.hdf5.superblock import is_left_open

    return "as written with the data", _LEFT_OPEN if is_left_open(reader.source) else "changed since by another tool"


def _check_block(reader: Reader, block: str, architecture: Checked, found: Iterable[str]) -> None:
    """That the architecture is valid, and the block's parameters are those that it has in it."""
    from modelarchive.architecture import part

    expected = {f"{block}.{name}": shape for name, shape in part(architecture, block).shapes.items()}
    shapes = {name: reader.contents.entry(name).shape for name in found}
    _compare_shapes(reader, expected, shapes)


def _kinds(reader: Reader, architecture: Checked) -> dict[str, str]:
    """HDF5 path -> kind of the blocks of an architecture that the parameters agree with."""
    from modelarchive.archive.saving import kinds_of

    contents = reader.contents
    found = {name: contents.entry(name).shape for name in contents.order}
    _compare_shapes(reader, architecture.shapes, found)
    return {block_group(path): kind for path, kind in kinds_of(architecture.architecture).items()}


def _compare_shapes(
    reader: Reader, expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]
) -> None:
    if expected == found:
        return
    damaged = {
        name: (f"shape {expected.get(name, 'none')}", f"shape {found.get(name, 'none')}")
        for name in (*expected, *found)
        if expected.get(name) != found.get(name)
    }
    if damaged:
        raise IntegrityError(damaged, file=reader.source.path)


def _compared(reader: Reader, kinds: Mapping[str, str]) -> tuple[list[str], dict[str, tuple[str, str]]]:
    """What HDF5 shows besides the archive, and where it shows another one than the index and the architecture."""
    from modelarchive.store.guarded import boundary

    if reader.contents.is_stale:  # then this is what HDF5 says
        return reader.contents.foreign, {}
    hdf5 = boundary.read_contents(reader.source)
    differences = _differences(reader.contents, hdf5)
    if kinds:
        witness = "architecture" if "/architecture/data" in reader.contents.texts else "index"
        differences |= {
            path: (f"{witness}: {kinds.get(path, 'no block')}", f"HDF5: {kind}")
            for path, kind in hdf5.kinds.items()
            if kinds.get(path) != kind
        }
    return hdf5.foreign, differences


def _check_tokens(reader: Reader) -> None:
    """One word for each row of the parameter that the words belong to."""
    contents = reader.contents
    damaged = {}
    for path, text in contents.texts.items():
        if path.startswith("/tokens/"):
            name = path.removeprefix("/tokens/").replace("/", ".")
            known = name in contents.arrays or name in contents.aliases
            rows = contents.entry(name).shape[:1] if known else "no parameter"
            if rows != text.shape:
                damaged[path] = (f"as {name}: {rows}", f"words: {text.shape}")
    if damaged:
        raise IntegrityError(damaged, file=reader.source.path)


def _differences(index: Contents, hdf5: Contents) -> dict[str, tuple[str, str]]:
    """Where the index and HDF5 disagree: a viewer and a loader would be shown different things."""
    ours, theirs = _claims(index), _claims(hdf5)
    return {
        name: (f"index: {ours.get(name, 'nothing')}", f"HDF5: {theirs.get(name, 'nothing')}")
        for name in (*ours, *theirs)
        if ours.get(name) != theirs.get(name)
    }


def _claims(contents: Contents) -> dict[str, str]:
    claims = {"/": f"{contents.section} written by {contents.generator!r}"}
    known = {*contents.order}
    training = [name for name in (*contents.arrays, *contents.aliases) if name not in known]
    for name in (*contents.order, *training):
        if name in contents.arrays or name in contents.aliases:
            entry = contents.entry(name)
            place = f"at {entry.offset}" if entry.nbytes else "empty"
            if (chunks := contents.chunks.get(contents.aliases.get(name, name))) is not None:
                sizes = digest(repr(chunks.sizes).encode())[:16]
                place = f"in chunks of {chunks.shape} at {chunks.offset}, {chunks.nbytes} bytes as in {sizes}"
            claims[contents.hdf5_path(name)] = f"{entry.dtype} {entry.shape} {place}"
    for path, text in contents.texts.items():
        place = f"at {text.offset}" if text.nbytes else "empty"
        claims[path] = f"{text.dtype} {text.shape} {text.itemsize} bytes each, {place}"
    for root, members in contents.structures.items():
        for path, kind in members.items():
            claims.setdefault(f"{root}/{path}".rstrip("/"), kind)
    return claims
