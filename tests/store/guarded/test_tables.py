"""Which of HDF5's chunked datasets an index can describe, with the HDF5 libraries that count otherwise, too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest

from modelarchive.store.contents import Chunks, Entry
from modelarchive.store.guarded.tables import chunk_table

ARRAY = np.arange(6000, dtype="<f4").reshape(60, 100) % 7
ENTRY = Entry("float32", ARRAY.shape, None, ARRAY.nbytes, None)
NEW = (2, 0, 0)
USER_BLOCK = 512


def made(path: Path, array: np.ndarray = ARRAY, **options: Any) -> Any:
    file = h5py.File(path, "w", userblock_size=USER_BLOCK)
    return file.create_dataset("a", data=array, **{"chunks": (20, 100), **options})


def table(dataset: Any, entry: Entry = ENTRY, version: tuple[int, ...] = NEW) -> Chunks | None:
    return chunk_table(dataset, entry, user_block=USER_BLOCK, size=1 << 20, version=version)


def stored(dataset: Any) -> list[Any]:
    return [dataset.id.get_chunk_info(number) for number in range(dataset.id.get_num_chunks())]


def test_what_was_written_in_order_is_described(tmp_path: Path) -> None:
    dataset = made(tmp_path / "a.h5", compression="gzip", shuffle=True)
    places = stored(dataset)
    expected = Chunks((20, 100), places[0].byte_offset, tuple(each.size for each in places))
    assert table(dataset.id) == expected


def test_an_older_library_counts_from_the_end_of_the_user_block(tmp_path: Path) -> None:
    """And one older still has no way to ask for all chunks at once."""
    dataset = made(tmp_path / "a.h5", compression="gzip", shuffle=True)
    places = [each._replace(byte_offset=each.byte_offset - USER_BLOCK) for each in stored(dataset)]
    older = SimpleNamespace(
        get_create_plist=dataset.id.get_create_plist,
        get_num_chunks=dataset.id.get_num_chunks,
        get_chunk_info=places.__getitem__,
    )
    assert table(older, version=(1, 14, 3)) == table(dataset.id)
    assert table(older, version=(1, 10, 8)) == table(dataset.id)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "gzip"},
        {"shuffle": True},
        {"compression": "gzip", "shuffle": True, "fletcher32": True},
        {"compression": "lzf", "shuffle": True},
        {"compression": "gzip", "shuffle": True, "chunks": (100, 100), "maxshape": (None, 100)},
    ],
)
def test_what_went_another_way_is_for_hdf5(options: dict[str, Any], tmp_path: Path) -> None:
    assert table(made(tmp_path / "a.h5", **options).id) is None


def _missing(dataset: Any) -> None:
    dataset.resize((80, 100))


def _unfiltered(dataset: Any) -> None:
    dataset.id.write_direct_chunk((20, 0), bytes(8000), filter_mask=3)


def _moved(dataset: Any) -> None:
    dataset[20:40] = np.random.default_rng(0).standard_normal((20, 100))


@pytest.mark.parametrize("change", [_missing, _unfiltered, _moved])
def test_chunks_that_are_not_all_there_in_order_are_for_hdf5(change: Callable[[Any], None], tmp_path: Path) -> None:
    dataset = made(tmp_path / "a.h5", compression="gzip", shuffle=True, maxshape=(None, 100))
    assert table(dataset.id) is not None
    change(dataset)
    dataset.file.flush()
    assert table(dataset.id, Entry("float32", dataset.shape, None, dataset.nbytes, None)) is None
