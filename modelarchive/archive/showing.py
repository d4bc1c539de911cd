"""What is in an archive, as text and for a notebook."""

from __future__ import annotations

from collections.abc import Iterable

from modelarchive import markup
from modelarchive.store.reader import Reader
from modelarchive.tables import Table, aligned


def summary(reader: Reader, names: Iterable[str], parameter_count: int) -> str:
    """Names, shapes, dtypes and sizes, to print."""
    rows = [
        (name, str(entry.shape), entry.dtype, f"{entry.nbytes:,}")
        for name in names
        for entry in [reader.contents.entry(name)]
    ]
    lines = aligned([("name", "shape", "dtype", "bytes"), *rows], right=[3])
    return Table("\n".join([*lines, f"{parameter_count:,} parameters, {reader.source.size:,} bytes"]))


def as_html(reader: Reader, names: Iterable[str]) -> str:
    """Its arrays as a tree."""
    contents = reader.contents
    entries = {name: contents.entry(name) for name in names}
    found = {name: f"{entry.dtype} {entry.shape}" for name, entry in entries.items()}
    sign = "/" if contents.members is not None else "."
    about = {"": f"{len(found)} arrays, {reader.source.size:,} bytes"}
    return markup.tree(reader.source.path.name, about | found, sign=sign)
