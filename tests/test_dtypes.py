"""The dtypes of an archive, against NumPy, ml_dtypes and safetensors."""

from __future__ import annotations

import json
import struct

import ml_dtypes
import numpy as np
import pytest
from safetensors import deserialize

from modelarchive import dtypes


@pytest.mark.parametrize("name", dtypes.DENSE)
def test_names_round_trip(name: str) -> None:
    dtype = dtypes.numpy_dtype(name)
    assert dtype.isnative
    assert dtypes.dense_name(dtype) == name == dtype.name
    assert dtypes.is_dense(name)
    if dtype.kind in "iufc":
        assert dtypes.dense_name(dtype.newbyteorder(">")) == name
        assert dtypes.dense_name(dtype.newbyteorder("<")) == name


@pytest.mark.parametrize("name", dtypes.SAFETENSORS)
def test_safetensors_knows_each_code_and_its_size(name: str) -> None:
    code, size = dtypes.SAFETENSORS[name], dtypes.DENSE[name].itemsize
    shape = [2] if name.startswith("complex") else [1]
    header = json.dumps({"x": {"dtype": code, "shape": shape, "data_offsets": [0, size]}}).encode()
    [(_, found)] = deserialize(struct.pack("<Q", len(header)) + header + bytes(size))
    assert found["dtype"] == code
    if not name.startswith("complex"):
        assert dtypes.FROM_SAFETENSORS[code] == name


@pytest.mark.parametrize(
    "dtype",
    [
        object,
        "S3",
        "U3",
        "M8[s]",
        "m8",
        "V4",
        np.longdouble,
        np.clongdouble,
        [("a", "f4")],
        ml_dtypes.float8_e4m3,
        ml_dtypes.float8_e5m2fnuz,
        ml_dtypes.int4,
        ml_dtypes.float8_e8m0fnu,
        np.dtypes.StringDType(),
    ],
)
def test_what_is_not_dense(dtype: object) -> None:
    assert dtypes.dense_name(np.dtype(dtype)) is None


def test_aliases_of_c_types() -> None:
    assert dtypes.dense_name(np.dtype(np.longlong)) == "int64"
    assert dtypes.dense_name(np.dtype(np.intc)) == "int32"
    assert dtypes.dense_name(np.dtype("f4", metadata={"a": 1})) == "float32"


def test_floats() -> None:
    floats = {name for name, dtype in dtypes.DENSE.items() if dtypes.is_float(dtype)}
    assert floats == {"float16", "float32", "float64", "bfloat16", "float8_e4m3fn", "float8_e5m2"}
