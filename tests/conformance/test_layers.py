"""Every kind's forward against PyTorch in float64, over generated configurations."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelarchive.nn.kinds import KINDS
from tests.cases.case import error, expected, set_values, several, values
from tests.cases.kinds import KIND_CASES
from tests.sampling import some

LIMITS = {"float32": 1e-5, "float64": 1e-12}
SOME = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
FEWER = settings(SOME, max_examples=20)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KIND_CASES)
@SOME
@given(data=st.data())
def test_forward_is_pytorch_s(kind, torch, data):
    case = data.draw(KIND_CASES[kind])
    for dtype, limit in LIMITS.items():
        inputs, arrays = values(case, dtype)
        set_values(case.layer, arrays)
        before = [each.copy() for each in inputs]
        result = case.layer(*inputs)
        for each, copy in zip(inputs, before, strict=True):
            np.testing.assert_array_equal(each, copy)
        shapes = case.layer.infer(*(each.shape for each in inputs))
        assert isinstance(result, tuple) == bool(shapes and isinstance(shapes[0], tuple))
        wanted = expected(torch, case, inputs, arrays)
        again = several(case.layer(*inputs))
        shapes = shapes if isinstance(result, tuple) else (shapes,)
        for found, want, shape, repeated in zip(several(result), wanted, shapes, again, strict=True):
            assert found.shape == want.shape == shape
            assert found.dtype == dtype
            assert error(found, want) <= limit
            np.testing.assert_array_equal(repeated, found)
        assert case.layer.result_dtype(*(each.dtype for each in inputs)) == dtype


@pytest.mark.parametrize("kind", some(KIND_CASES))
@FEWER
@given(data=st.data(), dtype=st.sampled_from(["float16", ml_dtypes.bfloat16]))
def test_narrow_floats_are_the_float32_result_rounded_once(kind, data, dtype):
    case = data.draw(KIND_CASES[kind])
    inputs, arrays = values(case, dtype)
    set_values(case.layer, arrays)
    found = several(case.layer(*inputs))
    assert case.layer.result_dtype(*(each.dtype for each in inputs)) == dtype
    set_values(case.layer, {name: array.astype(np.float32) for name, array in arrays.items()})
    wide = case.layer(*(each.astype(np.float32) if each.dtype == dtype else each for each in inputs))
    for narrow, each in zip(found, several(wide), strict=True):
        assert narrow.dtype == dtype
        np.testing.assert_array_equal(narrow, each.astype(dtype))


@pytest.mark.parametrize("kind", some(KIND_CASES))
@FEWER
@given(data=st.data())
def test_a_layer_is_its_fields(kind, data):
    layer = data.draw(KIND_CASES[kind]).layer
    config = layer.config()
    assert set(config) == set(layer.fields)
    again = KINDS[kind](**config)
    assert again.config() == config
    assert {name: each.shape for name, each in again.collect_params().items()} == {
        name: each.shape for name, each in layer.collect_params().items()
    }
