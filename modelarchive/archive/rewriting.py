"""Write an archive's content anew, as it is or in part: what extracting, repacking and surgery end with."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

from modelarchive import dtypes
from modelarchive.archive.choices import DEFLATE, KEEP, Choice, choose, compressed
from modelarchive.archive.converting import redeclare_config
from modelarchive.archive.documents import architecture_texts
from modelarchive.archive.folders import Counterpart
from modelarchive.archive.opening import Archive
from modelarchive.archive.saving import generator, kinds_of, write, write_model
from modelarchive.archive.training import Training
from modelarchive.store.contents import TRAINING
from modelarchive.store.deferred import Deferred
from modelarchive.store.shards import read_beside
from modelarchive.store.text import padded

if TYPE_CHECKING:
    from modelarchive.store.sharded import ShardedReader

#: The file of a folder that tells another library what the model is.
_CONFIG: Final = "config.json"


def write_archive(
    out: str | os.PathLike[str],
    archive: Archive,
    *,
    block: str = "",
    arrays: Mapping[str, np.ndarray | Deferred] | None = None,
    architecture: Mapping[str, Any] | None = None,
    training: bool = False,
    compression: Choice = KEEP,
    max_shard_size: int | str | None = None,
    durable: bool = True,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write an open archive's content to another file, in the normal form of the format.

    Args:
        out: The new file; it may be the archive's own path.
        archive: The source of arrays and texts.
        block: Only the parameters and tokens below this block, their names relative to it.
        arrays: What to write instead of the archive's parameters, names already relative.
        architecture: What to write instead of the archive's architecture text, as JSON; only with parameters.
        training: Write the archive's training structure too.
        compression: As in :func:`modelarchive.save`, and "keep": compressed where it is in the archive.
        max_shard_size: As in :func:`modelarchive.save`. A folder that another library loads too stays one, if its
            parameters keep their names.
        durable: As in :func:`modelarchive.save`.
        progress: As in :func:`modelarchive.save`.
    """
    if archive.section == "arrays":
        _write_arrays(
            out,
            archive,
            arrays or {},
            compression=compression,
            max_shard_size=max_shard_size,
            durable=durable,
            progress=progress,
        )
        return
    prefix = f"{block}." if block else ""
    if arrays is None:
        arrays = {**archive.deferred({name.removeprefix(prefix): name for name in archive.select(prefix + "*")})}
    counterpart = None if block else _counterpart(archive, arrays)
    texts = _texts(archive, prefix, arrays)
    if architecture is not None:
        texts |= architecture_texts(architecture)
        kinds = kinds_of(architecture)
    else:
        kinds = _kinds(archive, block)
    write_model(
        out,
        arrays,
        kinds=kinds,
        texts=texts,
        training=_training(archive) if training else None,
        compression=_resolved(archive, compression, {name: prefix + name for name in arrays}),
        max_shard_size=max_shard_size,
        counterpart=counterpart,
        durable=durable,
        progress=progress,
    )


def _resolved(archive: Archive, compression: Choice, stored: Mapping[str, str]) -> Choice:
    """The choice for each name, without "keep".

    Args:
        archive: Where to look up what is kept.
        compression: What was chosen.
        stored: Name -> name in the archive.
    """
    aliases, is_compressed = archive.reader.contents.aliases, archive.reader.is_compressed
    own = {name: aliases.get(there, there) for name, there in stored.items()}
    if compression is None or (compression == KEEP and not any(map(is_compressed, own.values()))):
        return None
    chosen = choose(compression, stored, [DEFLATE, KEEP], what="compression")

    def kept(name: str) -> str | None:
        return DEFLATE if is_compressed(own[name]) else None

    return {name: kept(name) if each == KEEP else each for name, each in chosen.items()}


def _counterpart(archive: Archive, arrays: Mapping[str, np.ndarray | Deferred]) -> Counterpart | None:
    """What makes a folder another library's, if the archive is one and its parameters keep their names."""
    index = cast("ShardedReader", archive.reader).index if archive.path.is_dir() else None
    if index is None or index.map is None or arrays.keys() != archive.parameters.keys():
        return None
    beside = {name: read_beside(archive.path, name) for name in index.files}
    files = {name: each for name, each in beside.items() if each is not None}
    entry = archive.reader.contents.entry
    if _CONFIG in files and any(array.dtype != dtypes.DENSE[entry(name).dtype] for name, array in arrays.items()):
        files[_CONFIG] = redeclare_config(files[_CONFIG], arrays.values())
    return Counterpart(index.map.stored, files)


def _training(archive: Archive) -> Training | None:
    """The training structure as it lies in an archive, its arrays to be read when it is their turn."""
    contents = archive.reader.contents
    if contents.training is None:
        return None
    stored = [name for name in (*contents.arrays, *contents.aliases) if name.startswith(TRAINING)]
    aliases = {name: contents.aliases[name] for name in stored if contents.aliases.get(name, "").startswith(TRAINING)}
    return Training(
        contents.training,
        {name: archive.reader.deferred(name) for name in stored if name not in aliases},
        aliases,
        {
            path: padded(text.dtype, text.shape, archive.reader.text_bytes(path))
            for path, text in contents.texts.items()
            if path.startswith(f"/{TRAINING}")
        },
    )


def _texts(archive: Archive, prefix: str, arrays: Container[str]) -> dict[str, Any]:
    """The texts of the model as they are, but for tokens of parameters that are left out."""
    texts = {}
    tokens = "/tokens/" + prefix.replace(".", "/")
    for path, text in archive.reader.contents.texts.items():
        if path.startswith(f"/{TRAINING}"):
            continue
        new = path
        if path.startswith("/tokens/"):
            name = path.removeprefix(tokens)
            if not path.startswith(tokens) or name.replace("/", ".") not in arrays:
                continue
            new = f"/tokens/{name}"
        texts[new] = padded(text.dtype, text.shape, archive.reader.text_bytes(path))
    return texts


def _kinds(archive: Archive, block: str) -> dict[str, str]:
    """Block path, relative -> kind: from the architecture, or else from the HDF5 groups."""
    if archive.has_architecture and not block:
        return kinds_of(archive.checked.architecture)
    root = "/parameters" + "".join(f"/{part}" for part in block.split(".") if part)
    if archive.path.is_dir():
        kinds = cast("ShardedReader", archive.reader).kinds()
        found = {path: kind for path, kind in kinds.items() if f"{path}/".startswith(f"{root}/")}
    else:
        from modelarchive.store.guarded import boundary

        found = boundary.read_kinds(archive.reader.source, root)
    return {path.removeprefix(root).removeprefix("/").replace("/", "."): kind for path, kind in found.items()}


def _write_arrays(
    out: str | os.PathLike[str],
    archive: Archive,
    arrays: Mapping[str, np.ndarray | Deferred],
    *,
    compression: Choice,
    max_shard_size: int | str | None,
    durable: bool,
    progress: Callable[[int], None] | None,
) -> None:
    from modelarchive.store.layout import Layout

    contents = archive.reader.contents
    layout = Layout(
        section="arrays",
        generator=generator(),
        arrays={
            name: arrays.get(name, archive.reader.deferred(name))
            for name in contents.order
            if name in archive.parameters
        },
        texts={
            path: padded(text.dtype, text.shape, archive.reader.text_bytes(path))
            for path, text in contents.texts.items()
        },
        members=contents.members or {},
        order=contents.order,
        compressed=compressed(
            _resolved(archive, compression, {name: name for name in contents.arrays}), contents.arrays
        ),
    )
    write(out, layout, max_shard_size=max_shard_size, durable=durable, progress=progress)
