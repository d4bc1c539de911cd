"""Write an archive's content anew, as it is or in part: what extracting, repacking and surgery end with."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from modelarchive.archive.opening import Archive
from modelarchive.archive.saving import generator, json_texts, kinds_of, root_attributes, write_model
from modelarchive.store.text import padded


def write_archive(
    out: str | os.PathLike[str],
    archive: Archive,
    *,
    block: str = "",
    arrays: Mapping[str, np.ndarray] | None = None,
    architecture: Mapping[str, Any] | None = None,
    durable: bool = True,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write an open archive's content to another file, in the normal form of the format.

    Args:
        out: The new file; it may be the archive's own path.
        archive: The source of arrays and texts.
        block: Only the parameters and tokens below this block, their names relative to it.
        arrays: What to write instead of the archive's parameters, names already relative.
        architecture: What to write instead of the archive's architecture text; only with parameters.
        durable: As in :func:`modelarchive.save`.
        progress: As in :func:`modelarchive.save`.
    """
    if archive.section == "arrays":
        _write_arrays(out, archive, durable=durable, progress=progress)
        return
    prefix = f"{block}." if block else ""
    if arrays is None:
        arrays = archive.views({name.removeprefix(prefix): name for name in archive.select(prefix + "*")})
    texts = _texts(archive, prefix)
    if architecture is not None:
        texts |= json_texts(architecture=architecture)
        kinds = kinds_of(architecture)
    else:
        kinds = _kinds(archive, block)
    write_model(out, arrays, kinds=kinds, texts=texts, durable=durable, progress=progress)


def _texts(archive: Archive, prefix: str) -> dict[str, Any]:
    """The texts as they are, but for tokens of other blocks."""
    texts = {}
    tokens = "/tokens/" + prefix.replace(".", "/")
    for path, text in archive.reader.contents.texts.items():
        new = path
        if path.startswith("/tokens/"):
            if not path.startswith(tokens):
                continue
            new = "/tokens/" + path.removeprefix(tokens)
        texts[new] = padded(text.dtype, text.shape, archive.reader.text_bytes(path))
    return texts


def _kinds(archive: Archive, block: str) -> dict[str, str]:
    """Block path, relative -> kind: from the architecture, or else from the HDF5 groups."""
    if archive.has_architecture and not block:
        from modelarchive import spec

        spec.validate(archive.architecture)
        return kinds_of(archive.architecture)
    from modelarchive.store import guard

    root = "/parameters" + "".join(f"/{part}" for part in block.split(".") if part)
    found = guard.read_contents(archive.path, identity=archive.reader.source.identity).kinds
    return {
        path.removeprefix(root).removeprefix("/").replace("/", "."): kind
        for path, kind in found.items()
        if path == root or path.startswith(root + "/")
    }


def _write_arrays(
    out: str | os.PathLike[str], archive: Archive, *, durable: bool, progress: Callable[[int], None] | None
) -> None:
    from modelarchive.store import writer

    contents = archive.reader.contents
    members = contents.members or {}
    attributes: dict[str, dict[str, str | int]] = {"/": root_attributes()}
    for path, kind in members.items():
        if kind not in ("array", "literal"):
            attributes[f"/arrays/{path}".rstrip("/")] = {"container": kind}
    layout = writer.Layout(
        section="arrays",
        generator=generator(),
        arrays={name: archive.parameters[name] for name in contents.order if name in archive.parameters},
        texts={
            path: padded(text.dtype, text.shape, archive.reader.text_bytes(path))
            for path, text in contents.texts.items()
        },
        members=members,
        order=contents.order,
        attributes=attributes,
    )
    writer.write(out, layout, durable=durable, progress=progress)
