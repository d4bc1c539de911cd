"""Write an archive as a folder of shards, which may be another library's folder at the same time."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Container, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from modelarchive.formats.signs import shards_of_archive
from modelarchive.store import writer
from modelarchive.store.contents import CONTAINERS, TRAINING, Contents, block_group, members_of
from modelarchive.store.deferred import Deferred
from modelarchive.store.digest import digest
from modelarchive.store.layout import Layout
from modelarchive.store.replace import expect_on_disk, replacing
from modelarchive.store.shards import ShardMap, map_record, replacing_folder, write_index
from modelarchive.store.threads import THREADS

Arrays = Mapping[str, np.ndarray | Deferred]
#: Bytes of a shard unless another number is given, as Hugging Face has it.
SHARD_BYTES: Final = 5_000_000_000
#: The file of a folder that holds all that is no array of its own.
_TEXTS: Final = "model.h5"
_UNITS: Final = {"": 1, "B": 1} | {
    f"{prefix}{unit}": base**power
    for power, prefix in enumerate("KMGT", 1)
    for unit, base in (("B", 1000), ("iB", 1024))
}


@dataclass(frozen=True)
class Counterpart:
    """What makes a folder of shards another library's folder, too.

    Attributes:
        stored: Name of an array -> what it is called in the shards, where that is another name.
        files: Name of a file beside the shards -> what is in it.
    """

    stored: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


def shard_bytes(size: int | str) -> int:
    """The bytes that "5GB", "500MB", "2GiB" or a number mean.

    Raises:
        ValueError: It is no such size, or less than one byte.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?i?B?)", str(size).strip()) if type(size) in (int, str) else None
    unit = None if found is None else _UNITS.get(found[2])
    nbytes = (
        0 if found is None or unit is None else int(float(found[1]) * unit if "." in found[1] else int(found[1]) * unit)
    )
    if nbytes < 1:
        raise ValueError(f'max_shard_size is {size!r}, expected bytes such as 5_000_000_000, "5GB" or "512MiB"')
    return nbytes


def is_for_shards(path: str | os.PathLike[str], max_shard_size: int | str | None) -> bool:
    """Whether a model is to be written in shards: a size was given, a name that ends in a slash, or such a folder.

    Raises:
        ValueError: A size was given, and the name of a file.
        RemoteError: It is a URL.
    """
    expect_on_disk(path)
    text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
    if max_shard_size is None:
        return text.endswith((os.sep, "/")) or shards_of_archive(Path(text))
    shard_bytes(max_shard_size)
    if text.endswith((".h5", ".hdf5", ".safetensors")) and not Path(text).is_dir():
        raise ValueError(f"{text!r} would be a file, and shards lie in a folder")
    return True


def write_folder(
    path: str | os.PathLike[str],
    layout: Layout,
    *,
    max_shard_size: int | str | None = None,
    counterpart: Counterpart | None = None,
    durable: bool = True,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write an archive as a folder of shards: all of it, or the old folder stays.

    Args:
        path: The folder; an old one is replaced as a whole, if it holds nothing but an archive's shards.
        layout: What to write; it has no stream.
        max_shard_size: Begin a new shard where one would have more bytes of arrays; None: 5 GB. An array that has
            more is a shard of its own.
        counterpart: What makes it another library's folder, too.
        durable: As in :func:`modelarchive.save`.
        progress: As in :func:`modelarchive.save`.

    Raises:
        OSError: Something else is at `path`, or it cannot be written.
    """
    seen = counterpart or Counterpart()
    limit = SHARD_BYTES if max_shard_size is None else shard_bytes(max_shard_size)
    groups = _groups(layout, limit)
    files = shard_names(len(groups))
    with replacing_folder(path, durable=durable) as folder:

        def write(job: tuple[str, Layout]) -> Contents:
            return writer.write(folder / job[0], job[1], durable=durable, progress=progress)

        shares = [_share(layout, group, seen.stored) for group in groups]
        # Each file is written by several threads; another file fills the time in which one is put on the disk.
        with ThreadPoolExecutor(min(THREADS, 2)) as pool:
            jobs = [*zip(files, shares, strict=True), (_TEXTS, _without_arrays(layout))]
            written = dict(zip([*files, _TEXTS], pool.map(write, jobs), strict=True))
        for name, content in seen.files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            with replacing(folder / name, durable=durable, size=len(content)) as temporary:
                temporary.write_bytes(content)
        known = ShardMap(
            _TEXTS, {}, layout.aliases, layout.members, layout.training,
            {name: other for name, other in seen.stored.items() if name != other and name in layout.arrays},
        )  # fmt: skip
        beside = {name: digest(content) for name, content in seen.files.items()}
        more = map_record(known) | ({"files": beside} if beside else {})
        write_index(folder, written, layout.order, durable=durable, more=more)


def shard_names(count: int) -> list[str]:
    """The names of so many shards, as Hugging Face has them."""
    if count == 1:
        return ["model.safetensors"]
    return [f"model-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]


def _groups(layout: Layout, limit: int) -> list[set[str]]:
    """The names of the arrays of each shard, in the model's order: what lies side by side is read together."""
    # Who wants the network alone need not open what training goes on from.
    beside = {name for name in layout.arrays if layout.training is not None and name.startswith(TRAINING)}
    groups: list[set[str]] = []
    for half in (layout.arrays.keys() - beside, beside):
        room = 0
        for name, array in layout.arrays.items():
            if name not in half:
                continue
            if array.nbytes > room or not room:
                groups.append(set())
                room = limit
            groups[-1].add(name)
            room = max(0, room - array.nbytes)
    return groups or [set()]


def _share(layout: Layout, own: Container[str], stored: Mapping[str, str]) -> Layout:
    """What one shard holds of a layout: some arrays, under all their names, and no texts."""

    def name_of(name: str) -> str:
        return stored.get(name, name)

    arrays = {name_of(name): array for name, array in layout.arrays.items() if name in own}
    aliases = {alias: name_of(name) for alias, name in layout.aliases.items() if name in own}
    names = arrays.keys() | aliases.keys()
    inside = {name.removeprefix(TRAINING) for name in names if name.startswith(TRAINING)}
    groups = {block_group(name[:at]) for name in names for at, sign in enumerate(name) if sign == "."}
    order = [name if name in layout.aliases else name_of(name) for name in layout.order]
    return Layout(
        section=layout.section,
        generator=layout.generator,
        arrays=arrays,
        aliases=aliases,
        members=None if layout.members is None else members_of(layout.members, names),
        training=members_of(layout.training, inside) if layout.training is not None and inside else None,
        order=[name for name in order if name in names],
        kinds={group: kind for group, kind in layout.kinds.items() if group in groups},
        compressed=frozenset(map(name_of, layout.compressed)) & arrays.keys(),
    )


def _without_arrays(layout: Layout) -> Layout:
    """What is left of a layout beside its arrays."""
    members = None if layout.members is None else _leaves(layout.members, layout.texts, "/arrays/")
    training = None if layout.training is None else _leaves(layout.training, layout.texts, f"/{TRAINING}")
    return Layout(
        section=layout.section,
        generator=layout.generator,
        arrays={},
        texts=layout.texts,
        members=members,
        training=training,
    )


def _leaves(members: Mapping[str, str], texts: Container[str], root: str) -> dict[str, str]:
    """The members of a structure that are texts or containers."""
    return {path: kind for path, kind in members.items() if kind in CONTAINERS or root + path in texts}
