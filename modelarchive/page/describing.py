"""What the page shows of a file, as JSON: facts, blocks with their graphs, arrays with their statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from modelarchive import errors
from modelarchive.models.content import Content
from modelarchive.page import graphs, thumbnails
from modelarchive.remote import RemoteFile
from modelarchive.signing import signature_path
from modelarchive.statistics import Statistics
from modelarchive.store.reader import Reader
from modelarchive.store.sharded import ShardedReader

#: The version of what is described here; `schemas/page/page-1.json` says what it is.
VERSION: Final = 1
#: Arrays that are drawn small, if there are no more: the page stays light.
_MOST_THUMBNAILS: Final = 1500
#: Characters of a text of the metadata.
_LONGEST: Final = 2000


def described(
    content: Content,
    progress: Callable[[int], None] | None = None,
    *,
    known: Mapping[str, Statistics | None] | None = None,
) -> dict[str, Any]:
    """Everything that the page shows; arrays are read once, in pieces.

    Args:
        content: An open file.
        progress: Called with the bytes of each array that was looked at.
        known: What its arrays are like, where they have been looked at; they are not again.
    """
    blocks, problem = _blocks(content)
    is_proved = known is None and content.archive is not None and not isinstance(content.path, RemoteFile)
    halves = None if progress is None or not is_proved else _halved(progress)
    damaged = _damaged(content, halves) if is_proved else {}
    return {
        "version": VERSION,
        "title": content.path.name,
        "format": content.format,
        "what": "model archive" if content.archive else content.what,
        "bytes": content.size,
        "count": content.count,
        "facts": list(_facts(content, damaged)),
        "metadata": _metadata(content.metadata),
        "inputs": _inputs(content) if blocks else [],
        "reason": problem or content.reason,
        "notes": [[where, what] for where, what in [*content.refused, *content.notes]],
        "damaged": [[where, what] for where, what in damaged.items()],
        "blocks": blocks,
        "arrays": list(_arrays(content, halves or progress, known)),
    }


def _halved(progress: Callable[[int], None]) -> Callable[[int], None]:
    """Half of the bytes, where all are read twice."""
    return lambda nbytes: progress(nbytes // 2)


def _damaged(content: Content, progress: Callable[[int], None] | None) -> dict[str, str]:
    """What `modelarchive verify` finds wrong with an archive: where, and what."""
    assert content.archive is not None
    try:
        content.archive.verify(progress)
    except errors.IntegrityError as error:
        said: dict[str, list[str]] = {}
        for where, (expected, found) in error.damaged.items():
            array, shard = _array_of(content.archive.reader, where)
            said.setdefault(array, []).append(f"{shard}expected {errors.claim(expected)}, found {errors.claim(found)}")
        return {array: "; ".join(several) for array, several in said.items()}
    except errors.SpecError:
        return {}  # which is why there are no blocks, and is said there
    except errors.ModelArchiveError as error:
        return {"": error.message}
    return {}


def _array_of(reader: Reader | ShardedReader, where: str) -> tuple[str, str]:
    """The array that a damaged part is, and in which shard; a part that is no array stays as it is named."""
    shard, _, stored = where.partition(": ")
    if isinstance(reader, ShardedReader) and shard in reader.index.shards:
        name = stored if reader.index.map is None else reader.index.map.names.get(stored, stored)
        if name in reader.contents.arrays:
            return name, f"in {shard}: "
    return where, ""


def _facts(content: Content, damaged: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    archive = content.archive
    if archive is None:
        yield "checked", "it has no digests: nothing tells whether it is as it was written"
    else:
        yield "written by", archive.reader.contents.generator or "unknown"
        if archive.is_stale:
            yield "checked", "an HDF5 program changed it: modelarchive reindex"
        elif damaged:
            yield "checked", f"not whole: {errors.counted(len(damaged), 'damaged part')}"
        elif isinstance(content.path, RemoteFile):
            yield "checked", "the digest of each array, as it was read"
        else:
            yield "checked", "every digest, and that HDF5 shows what the index says"
            if (signature := signature_path(content.path)).is_file():
                yield "signature", f"{signature.name}: `modelarchive verify --key` tells whose it is"
    for name, words in content.tokens.items():
        yield "tokens", f"{name}: {errors.counted(len(words), 'word')}"


def _metadata(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    import json

    texts = {key: value if isinstance(value, str) else json.dumps(value, default=str) for key, value in found.items()}
    return [(str(key), text[:_LONGEST] + ("…" if len(text) > _LONGEST else "")) for key, text in texts.items()]


def _inputs(content: Content) -> list[str]:
    from modelarchive.architecture import input_texts

    return input_texts(content.architecture or {})


def _blocks(content: Content) -> tuple[list[dict[str, Any]], str]:
    if content.architecture is None:
        return [], ""
    try:
        return graphs.blocks(content.architecture), ""
    except errors.SpecError as error:
        return [], f"its architecture is invalid ({errors.counted(len(error.problems), 'problem')})"


def _arrays(
    content: Content, progress: Callable[[int], None] | None, known: Mapping[str, Statistics | None] | None
) -> Iterator[dict[str, Any]]:
    found = dict(known or {})
    for name, each in content.statistics() if known is None else ():
        found[name] = each
        if progress is not None and content.leaves[name].shares is None:
            progress(content.leaves[name].nbytes)
    few = len(content.arrays) <= _MOST_THUMBNAILS
    for name, leaf in content.leaves.items():
        record: dict[str, Any] = {"name": name, "dtype": leaf.dtype, "shape": list(leaf.shape), "bytes": leaf.nbytes}
        if leaf.compressed is not None:
            record["compressed"] = leaf.compressed
        if leaf.digest is not None:
            record["digest"] = leaf.digest
        if leaf.shares is not None:
            record["shares"] = leaf.shares
        if leaf.value is not None:
            record["value"] = leaf.value[:_LONGEST]
        statistics = found.get(name)
        if statistics is not None:
            record["statistics"] = _numbers(statistics)
            if few and leaf.shares is None and (drawn := thumbnails.drawn(content, name)) is not None:
                record["thumbnail"] = drawn
        yield record


def _numbers(found: Statistics) -> dict[str, Any]:
    """Short numbers: a page has thousands of them, and shows four digits."""
    record: dict[str, Any] = {"zeros": found.zeros, "nans": found.nans, "infinities": found.infinities}
    for key in ("least", "greatest", "mean", "deviation"):
        value = getattr(found, key)
        if value is not None:
            record[key] = f"{value:.5g}"
    if found.histogram is not None:
        record["histogram"] = thumbnails.heights(found.histogram.counts)
        record["sample"] = found.histogram.is_sample
    return record
