"""The attributes of an archive's groups: what tells an archive, its blocks and containers, and hints for viewers."""

from __future__ import annotations

from typing import Final

from modelarchive.store.contents import CONTAINERS, Contents, Entry
from modelarchive.store.index import FORMAT_VERSION

#: The groups that hold one JSON text each; viewers lay it out where `NX_class` says so.
_NOTES: Final = ("/architecture", "/metadata")

Attributes = dict[str, dict[str, str | int]]


def group_attributes(contents: Contents) -> Attributes:
    """HDF5 path of each group that has attributes -> these; "/" is the root."""
    root: dict[str, str | int] = {
        "format": "modelarchive",
        "format_version": FORMAT_VERSION,
        "generator": contents.generator,
    }
    if "/architecture/data" in contents.texts:
        root |= {"default": "architecture", "vocabulary_version": 1}
    found: Attributes = {"/": root, f"/{contents.section}": {}}
    for group, kind in contents.kinds.items():
        found[group] = {"kind": kind}
        weight = contents.arrays.get(contents.name(f"{group}/weight"))
        if weight is not None and is_drawable(weight):
            found[group] |= {"NX_class": "NXdata", "signal": "weight"}
    for root_path, members in contents.structures.items():
        for path, kind in members.items():
            if kind in CONTAINERS:
                found[f"{root_path}/{path}".rstrip("/")] = {"container": kind}
    return found | {group: {"NX_class": "NXnote"} for group in _NOTES if f"{group}/data" in contents.texts}


def is_image(entry: Entry) -> bool:
    """Whether viewers shall draw the array itself as an image; kernels are drawn by their group, a slice at a time."""
    return len(entry.shape) == 2 and is_drawable(entry)


def is_drawable(entry: Entry) -> bool:
    """Whether viewers can draw a slice of the array: not of float8, which is stored as its codes."""
    longer = [length for length in entry.shape if length > 1]
    return len(longer) > 1 and 0 not in entry.shape and not entry.dtype.startswith(("complex", "bool", "float8"))
