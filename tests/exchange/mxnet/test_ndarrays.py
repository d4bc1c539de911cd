"""NDArray files: every version, every dtype, and bytes that are meant to do harm."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import modelarchive as ma
from modelarchive.exchange import mxnet
from modelarchive.exchange.mxnet.ndarrays import DTYPES, read_arrays
from tests.exchange.mxnet.files import FOREIGN, V1, V2, V3, csr, dense, file_of, first, legacy, row_sparse, written

FLOATS = np.arange(6, dtype="<f4").tobytes()


def test_what_mxnet_wrote_comes_back_bit_by_bit() -> None:
    bundle = mxnet.read(FOREIGN / "kinds")
    with np.load(FOREIGN / "kinds.npz") as expected:
        assert list(bundle.parameters) == list(expected)
        for name, array in bundle.parameters.items():
            assert array.dtype == expected[name].dtype
            np.testing.assert_array_equal(array, expected[name])
    assert [note.where for note in bundle.notes] == ["row_sparse", "csr"]
    assert bundle.architecture is None
    assert bundle.reason


def test_a_list_has_places_for_names() -> None:
    bundle = mxnet.read(FOREIGN / "x-files")
    assert list(bundle.parameters) == ["0", "1"]
    np.testing.assert_array_equal(bundle.parameters["0"], np.arange(4, dtype="float32"))
    assert "list" in bundle.notes[0].what
    np.testing.assert_array_equal(mxnet.read(FOREIGN / "x-file").parameters["0"], np.arange(4, dtype="float32"))
    assert list(mxnet.read(FOREIGN / "mydict").parameters) == ["x", "y"]


def test_numpy_shapes() -> None:
    parameters = mxnet.read(FOREIGN / "np_shape").parameters
    assert parameters["zero_dim"].shape == ()
    assert parameters["zero_dim"] == 2.5
    assert parameters["zero_size"].shape == (0, 3)


@pytest.mark.parametrize("code", DTYPES)
@pytest.mark.parametrize("make", [legacy, first, dense], ids=["legacy", "V1", "V2"])
def test_every_version_and_dtype(tmp_path: Path, make: object, code: int) -> None:
    expected = np.arange(6).reshape(2, 3).astype(DTYPES[code])
    path = written(tmp_path, file_of([make((2, 3), code, expected.tobytes())], ["x"]))  # type: ignore[operator]
    found = mxnet.read(path).parameters["x"]
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


def test_an_array_is_a_view_that_outlives_everything(tmp_path: Path) -> None:
    path = written(tmp_path, file_of([dense((2, 3), 0, FLOATS)], ["x"]))
    array = mxnet.read(path).parameters["x"]
    assert array.base is not None
    array[0, 0] = 7
    assert mxnet.read(path).parameters["x"][0, 0] == 0


def test_sparse_arrays_are_made_dense(tmp_path: Path) -> None:
    path = written(tmp_path, file_of([row_sparse((4, 2), (2, 2), (3, 0)), csr((2, 3), (0, 1, 3), (2, 0, 1))]))
    rows, matrix = mxnet.read(path).parameters.values()
    np.testing.assert_array_equal(rows, [[3, 4], [0, 0], [0, 0], [1, 2]])
    np.testing.assert_array_equal(matrix, [[0, 0, 1], [2, 3, 0]])


def test_an_array_of_nothing_is_left_out_with_a_note(tmp_path: Path) -> None:
    nothing = struct.pack("<Iii", V2, 0, 0), struct.pack("<Iii", V3, 0, -1), struct.pack("<I", 0)
    bundle = mxnet.read(written(tmp_path, file_of([*nothing, dense((6,), 0, FLOATS)], ["a", "b", "c", "d"])))
    assert list(bundle.parameters) == ["d"]
    assert [note.where for note in bundle.notes] == ["a", "b", "c"]


HUGE = 2**62
HOSTILE = {
    "count": file_of([], count=2**63),
    "count of a million": file_of([dense((6,), 0, FLOATS)], count=999_999),
    "axes": file_of([struct.pack("<Iii", V2, 0, 2**31 - 1)]),
    "axes before V1": file_of([struct.pack("<I", 10**9)]),
    "negative axes": file_of([struct.pack("<Iii", V2, 0, -7)]),
    "size": file_of([dense((HUGE,), 0, b"")]),
    "sizes that overflow": file_of([dense((2**32, 2**32), 0, FLOATS)]),
    "size 0 beside a huge one": file_of([dense((0, HUGE, HUGE), 0, b"")]),
    "negative size": file_of([dense((-1, -6), 0, FLOATS)]),
    "dtype": file_of([dense((6,), 13, FLOATS)]),
    "negative dtype": file_of([dense((6,), -1, FLOATS)]),
    "storage type": file_of([dense((6,), 0, FLOATS, storage=3)]),
    "values": file_of([dense((7,), 0, FLOATS)]),
    "name twice": file_of([dense((6,), 0, FLOATS)] * 2, ["x", "x"]),
    "arg and aux of one name": file_of([dense((6,), 0, FLOATS)] * 2, ["arg:x", "aux:x"]),
    "too few names": file_of([dense((6,), 0, FLOATS)] * 2, ["x"]),
    "length of a name": file_of([dense((6,), 0, FLOATS)])[:-8] + struct.pack("<QQ", 1, 2**63) + b"x",
    "no UTF-8": file_of([dense((6,), 0, FLOATS)])[:-8] + struct.pack("<QQ", 1, 1) + b"\xff",
    "bytes behind": file_of([dense((6,), 0, FLOATS)]) + b"more",
    "row outside": file_of([row_sparse((4, 2), (1, 2), (4,))]),
    "negative row": file_of([row_sparse((4, 2), (1, 2), (-1,))]),
    "rows for values": file_of([row_sparse((4, 2), (2, 2), (1,))]),
    "rows of another width": file_of([row_sparse((4, 2), (1, 3), (1,))]),
    "column outside": file_of([csr((2, 3), (0, 1, 1), (3,))]),
    "rows backwards": file_of([csr((2, 3), (0, 2, 1), (0,))]),
    "rows too few": file_of([csr((2, 3), (0, 1), (0,))]),
    "V1 axes": file_of([struct.pack("<II", V1, 33)]),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_without_memory(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, HOSTILE[name])
    tracemalloc.start()
    with pytest.raises(ma.FormatError):
        mxnet.read(path)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_a_sparse_bomb_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, file_of([row_sparse((2**40, 2), (1, 2), (1,))]))
    with pytest.raises(ma.UnsafeFileError) as caught:
        mxnet.read(path)
    assert caught.value.rule == "sparse bytes"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kinds", "np_shape", "mydict"])
def test_every_truncation_is_refused(tmp_path: Path, name: str) -> None:
    data = (FOREIGN / name).read_bytes()
    for length in range(len(data)):
        with pytest.raises(ma.FormatError):
            mxnet.read(written(tmp_path, data[:length]))


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.data())
def test_changed_bytes_give_arrays_or_a_designed_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray((FOREIGN / "kinds").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(8, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = written(tmp_path_factory.mktemp("changed"), bytes(content))
    try:
        contents = read_arrays(path)
    except (ma.FormatError, ma.UnsafeFileError):
        return
    for array in contents.arrays:
        if array is not None:
            assert array.read().shape == array.shape
