"""bfloat16 that is edited through h5py as docs/viewers.md says: every number comes back, on every HDF5."""

from __future__ import annotations

from pathlib import Path

import h5py
import ml_dtypes
import numpy as np
import pytest

import modelarchive as ma
from modelarchive import maintenance

BITS = np.arange(65536, dtype=np.uint16)
EVERY = BITS.view(ml_dtypes.bfloat16)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "x.h5"
    ma.save(path, {"w": np.zeros(65536, ml_dtypes.bfloat16)})
    return path


def test_numbers_that_bfloat16_holds(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["arrays/w"][...] = EVERY.astype(np.float32)
    found = ma.load(path)["w"].view(np.uint16)
    is_nan = (BITS & 0x7FFF) > 0x7F80
    np.testing.assert_array_equal(found[~is_nan], BITS[~is_nan])
    assert ((found & 0x7FFF) > 0x7F80).tolist() == is_nan.tolist()


def test_bits(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        dataset = file["arrays/w"].id
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, BITS, dataset.get_type())
    np.testing.assert_array_equal(ma.load(path)["w"].view(np.uint16), BITS)


def test_the_digest_is_taken_anew(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["arrays/w"][7] = 2.0
    with ma.open(path) as archive, pytest.raises(ma.IntegrityError) as caught:
        archive.verify()
    assert list(caught.value.damaged) == ["w"]
    maintenance.reindex(path)
    with ma.open(path) as archive:
        archive.verify()


def test_numbers_in_between_are_rounded_as_the_document_says(path: Path) -> None:
    """Another rounding of HDF5's would make the document wrong, and be welcome."""
    values = np.array([465, 1.1729e-38], np.float32)
    with h5py.File(path, "r+") as file:
        file["arrays/w"][:2] = values
    found = ma.load(path)["w"][:2].astype(np.float32)
    rounded = values.astype(ml_dtypes.bfloat16).astype(np.float32)
    assert found.tolist() == [466, rounded[1] / 2]
    assert rounded[0] == 464
