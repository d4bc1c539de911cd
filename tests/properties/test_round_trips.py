"""Whatever is saved comes back to the bit, by every way in; and other libraries read the same numbers."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import h5py
import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import deserialize
from safetensors.numpy import load_file

import modelarchive as ma
from modelarchive import dtypes, maintenance
from tests.properties.strategies import arrays, keys, structures
from tests.structures import assert_same, every_dtype, everything, stale_load, verify_both_ways, without_index

quick = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("round-trips") / "x.h5"


@pytest.mark.slow
@quick
@given(data=structures)
def test_every_way_in_gives_the_same(path: Path, data: Any) -> None:
    ma.save(path, data, durable=False)
    assert_same(data, ma.load(path))
    assert_same(data, ma.load(path, verify=True))
    assert_same(data, ma.load(path, mmap=True))
    verify_both_ways(path)
    written = path.read_bytes()
    ma.save(path, data, durable=False)
    assert path.read_bytes() == written, "the same input gave other bytes"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        maintenance.repack(path, durable=False)
    assert path.read_bytes() == written, "repacking a fresh file changed it"
    without_index(path)
    assert_same(data, stale_load(path))
    maintenance.reindex(path, durable=False)
    assert_same(data, ma.load(path, verify=True))
    without_index(path)
    maintenance.repack(path, durable=False)
    assert_same(data, ma.load(path, verify=True))


@pytest.mark.slow
@settings(quick, max_examples=20)
@given(data=structures, size=st.sampled_from([16, 200, 1 << 20]))
def test_compressed_every_way_in_gives_the_same(path: Path, data: Any, size: int) -> None:
    """Every array that can be chunked is compressed, also those that do not shrink."""
    chunked = lambda arrays: {name: {} for name, array in arrays.items() if array.nbytes and array.ndim}  # noqa: E731
    every = mock.patch("modelarchive.store.compressing.tried", chunked)
    with mock.patch("modelarchive.store.chunks.CHUNK", size), every:
        ma.save(path, data, compression="deflate", durable=False)
        written = path.read_bytes()
        maintenance.repack(path, durable=False)
        assert path.read_bytes() == written
    assert_same(data, ma.load(path, verify=True))
    assert_same(data, ma.load(path, mmap=True))
    verify_both_ways(path)
    without_index(path)
    assert_same(data, stale_load(path))
    maintenance.reindex(path, durable=False)
    assert_same(data, ma.load(path, verify=True))
    maintenance.repack(path, compression=None, durable=False)
    with ma.open(path) as archive:
        assert not archive.reader.contents.chunks
    assert_same(data, ma.load(path, verify=True))


@pytest.mark.slow
@quick
@given(data=arrays())
def test_one_array_in_other_readers(path: Path, data: np.ndarray) -> None:
    ma.save(path, data, durable=False)
    plain = np.ascontiguousarray(data).astype(data.dtype.newbyteorder("=") if data.dtype.kind in "iufc" else data.dtype)
    with h5py.File(path) as file:
        found = file["arrays/array"]
        assert found.shape == data.shape
        if data.dtype == ml_dtypes.bfloat16:
            # Both are exact in float32; NaNs may differ in their payload.
            np.testing.assert_array_equal(found.astype("f4")[()], plain.astype("f4").reshape(data.shape))
        elif dtypes.dense_name(data.dtype) in ("float8_e4m3fn", "float8_e5m2"):
            assert found.attrs["dtype"] == dtypes.dense_name(data.dtype).encode()
            assert found[()].tobytes() == plain.tobytes()
        else:
            assert found.dtype == plain.dtype
            assert found[()].tobytes() == plain.tobytes()
    found = dict(deserialize(path.read_bytes()))["array"]
    assert tuple(found["shape"]) == ((*data.shape, 2) if data.dtype.kind == "c" else data.shape)
    assert found["dtype"] == dtypes.SAFETENSORS[dtypes.dense_name(data.dtype)]
    assert bytes(found["data"]) == plain.tobytes()


@pytest.mark.slow
@quick
@given(data=st.dictionaries(keys, arrays(), min_size=1, max_size=5))
def test_writing_into_a_view_changes_no_file(path: Path, data: dict[str, np.ndarray]) -> None:
    ma.save(path, data, durable=False)
    written = path.read_bytes()
    views = ma.load(path, mmap=True)
    for view in views.values():
        assert view.flags.writeable
        before = view.tobytes()
        view.reshape(-1).view(np.uint8)[...] ^= 1
        assert not view.size or view.tobytes() != before
    assert path.read_bytes() == written
    assert_same(data, ma.load(path, verify=True))


def test_everything_at_once(path: Path) -> None:
    data = everything()
    ma.save(path, data)
    assert_same(data, ma.load(path, verify=True))
    assert list(ma.load(path)) == list(data)
    assert_same(data, ma.load(path, mmap=True))
    assert_same(data, stale_load(without_index(path)))


def test_safetensors_reads_every_tensor(path: Path) -> None:
    # Its NumPy reader knows neither bfloat16 nor float8.
    data = {f"layers.0.{name}": array for name, array in every_dtype().items() if array.dtype.isbuiltin == 1}
    ma.save(path, data)
    found = load_file(path)
    hdf5 = found.pop("__hdf5__.0")
    assert hdf5.tobytes().startswith(b"\x89HDF\r\n\x1a\n")
    assert {name: array.tobytes() for name, array in found.items()} == {
        name: array.tobytes() for name, array in data.items()
    }
