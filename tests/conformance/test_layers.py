"""Every kind's forward against PyTorch in float64, over generated configurations."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelarchive.nn.kinds import KINDS
from tests.conformance.cases import CASES, error, set_values, values

LIMITS = {"float32": 1e-5, "float64": 1e-12}
SOME = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
FEWER = settings(SOME, max_examples=20)


def test_every_kind_is_tried():
    assert set(CASES) == set(KINDS)


@pytest.mark.parametrize("kind", CASES)
@SOME
@given(data=st.data())
def test_forward_is_pytorch_s(kind, torch, data):
    case = data.draw(CASES[kind])
    for dtype, limit in LIMITS.items():
        x, arrays = values(case, dtype)
        set_values(case.layer, arrays)
        before = x.copy()
        found = case.layer(x)
        np.testing.assert_array_equal(x, before)
        tensors = {name: torch.tensor(array).double() for name, array in arrays.items()}
        tensor = torch.tensor(x)
        expected = case.reference(torch, tensor if case.rows else tensor.double(), tensors).numpy()
        assert found.shape == expected.shape
        assert found.dtype == dtype
        assert found.shape == case.layer.infer(x.shape)
        assert case.layer.result_dtype(x.dtype) == found.dtype
        assert error(found, expected) <= limit
        np.testing.assert_array_equal(case.layer(x), found)


@pytest.mark.parametrize("kind", CASES)
@FEWER
@given(data=st.data(), dtype=st.sampled_from(["float16", ml_dtypes.bfloat16]))
def test_narrow_floats_are_the_float32_result_rounded_once(kind, data, dtype):
    case = data.draw(CASES[kind])
    x, arrays = values(case, dtype)
    set_values(case.layer, arrays)
    found = case.layer(x)
    assert found.dtype == dtype
    assert case.layer.result_dtype(x.dtype) == found.dtype
    set_values(case.layer, {name: array.astype(np.float32) for name, array in arrays.items()})
    wide = case.layer(x if case.rows else x.astype(np.float32))
    np.testing.assert_array_equal(found, wide.astype(dtype))


@pytest.mark.parametrize("kind", CASES)
@FEWER
@given(data=st.data())
def test_a_layer_is_its_fields(kind, data):
    layer = data.draw(CASES[kind]).layer
    config = layer.config()
    assert set(config) == set(layer.fields)
    again = KINDS[kind](**config)
    assert again.config() == config
    assert {name: each.shape for name, each in again.parameters.items()} == {
        name: each.shape for name, each in layer.parameters.items()
    }
