"""Whether HDF5 shows what the index says, without asking HDF5: by writing its metadata once more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from modelarchive.store.contents import Contents
from modelarchive.store.hdf5 import Metadata, group_attributes
from modelarchive.store.source import Source


def is_as_written(source: Source, contents: Contents, kinds: Mapping[str, str]) -> bool:
    """Whether the file's HDF5 metadata is, byte for byte, what this package writes for this index.

    Then every HDF5 reader sees the arrays and texts of the index, at their places, and nothing else. A file that
    another program or an older version wrote may show the same and have other bytes: ask HDF5 about those.

    Args:
        source: The file.
        contents: What its index says, checked as :func:`modelarchive.store.index.parse` does.
        kinds: HDF5 path of each block's group -> kind, as the architecture says, or else the index.
    """
    regions = contents.metadata_ranges()
    try:
        metadata = Metadata(contents, group_attributes(replace(contents, kinds=dict(kinds))))
        if len(regions) != 1 or metadata.nbytes > regions[0][1] - regions[0][0]:
            return False
        rendered = metadata.render(contents)
    except (ValueError, OverflowError):
        return False
    begin, end = regions[0]
    return source.read(begin, end - begin) == rendered.ljust(end - begin, b"\0")
