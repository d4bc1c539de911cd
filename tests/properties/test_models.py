"""Every kind of the vocabulary, saved as a model: whole again without its class, the same bits, the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import modelarchive as ma
from tests.cases.case import fixed, set_values, several, values
from tests.cases.kinds import KIND_CASES
from tests.sampling import some


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models") / "x.h5"


@pytest.mark.parametrize("kind", some(KIND_CASES))
@settings(max_examples=5, derandomize=True)
@given(data=st.data(), dtype=st.sampled_from(["float32", "float64", "float16"]))
def test_every_kind(path: Path, kind: str, data: Any, dtype: str) -> None:
    case = data.draw(KIND_CASES[kind])
    inputs, arrays = values(case, dtype)
    set_values(case.layer, arrays)
    ma.save_model(path, case.layer, inputs=fixed(inputs), durable=False)
    written = path.read_bytes()
    with ma.open(path) as archive:
        archive.verify()
        again = archive.build()
    assert {name: each.data().tobytes() for name, each in again.collect_params().items()} == {
        name: each.tobytes() for name, each in arrays.items()
    }
    for expected, found in zip(several(case.layer(*inputs)), several(again(*inputs)), strict=True):
        np.testing.assert_array_equal(found, expected, strict=True)
    ma.save_model(path, again, inputs=fixed(inputs), durable=False)
    assert path.read_bytes() == written
