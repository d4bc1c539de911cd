"""Initializers: their distributions, their scale, their seeds."""

import math

import ml_dtypes
import numpy as np
import pytest

from modelarchive import nn
from modelarchive.nn import init

FLOAT32 = np.dtype(np.float32)


def drawn(initializer, shape=(200, 300), dtype=FLOAT32, seed=0):
    return initializer(shape, np.dtype(dtype), np.random.default_rng(seed))


def test_constants():
    assert not drawn(init.Zero()).any()
    assert (drawn(init.One()) == 1).all()
    assert (drawn(init.Constant(2.5)) == 2.5).all()
    values = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(drawn(init.Constant(values), (2, 3)), values)
    with pytest.raises(ValueError, match="broadcast"):
        drawn(init.Constant(values), (3, 3))


def test_uniform_is_gluon_s_default():
    values = drawn(init.get(None))
    assert np.abs(values).max() <= 0.07
    assert values.std() == pytest.approx(0.07 / math.sqrt(3), rel=0.02)
    assert values.mean() == pytest.approx(0, abs=1e-3)


def test_normal():
    values = drawn(init.Normal(0.5))
    assert values.std() == pytest.approx(0.5, rel=0.02)
    assert values.mean() == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize(("factor_type", "factor"), [("avg", (40 + 80) * 9 / 2), ("in", 40 * 9), ("out", 80 * 9)])
def test_xavier_scales_by_inputs_and_outputs(factor_type, factor):
    shape = (80, 40, 3, 3)
    scale = math.sqrt(3 / factor)
    uniform = drawn(init.Xavier(factor_type=factor_type), shape)
    assert 0.99 * scale < np.abs(uniform).max() <= scale
    gaussian = drawn(init.Xavier("gaussian", factor_type), shape)
    assert gaussian.std() == pytest.approx(scale, rel=0.02)
    he = drawn(init.MSRAPrelu(factor_type, slope=0), shape)
    assert he.std() == pytest.approx(math.sqrt(2 / factor), rel=0.02)


@pytest.mark.parametrize("initializer", [init.Uniform(), init.Normal(), init.Xavier()], ids=repr)
def test_a_seed_decides_and_every_precision_rounds_the_same_numbers(initializer):
    first = drawn(initializer, seed=1)
    np.testing.assert_array_equal(first, drawn(initializer, seed=1), strict=True)
    assert (first != drawn(initializer, seed=2)).any()
    np.testing.assert_array_equal(drawn(initializer, dtype="float16", seed=1), first.astype("float16"), strict=True)
    narrow = drawn(initializer, dtype=ml_dtypes.bfloat16, seed=1)
    np.testing.assert_array_equal(narrow, first.astype(ml_dtypes.bfloat16), strict=True)


def test_initializers_are_found_by_name_number_and_callable():
    assert init.get("zeros") == init.Zero()
    assert init.get("Xavier") == init.Xavier()
    assert init.get(init.Normal(2)) == init.Normal(2)
    assert (drawn(init.get(3)) == 3).all()
    own = lambda shape, dtype, rng: np.full(shape, 7, dtype)  # noqa: E731
    assert init.get(own) is own
    with pytest.raises(ValueError, match="found 'orthogona'"):
        init.get("orthogona")
    with pytest.raises(TypeError, match="expected an initializer"):
        init.get(init.Normal)
    with pytest.raises(ValueError, match="at least 2 dimensions"):
        drawn(init.Xavier(), (3,))
    with pytest.raises(ValueError, match="factor_type"):
        init.Xavier(factor_type="mean")


def test_layers_begin_as_gluon_s_do():
    norm = nn.BatchNorm(in_channels=3)
    norm.initialize(init.Normal(1), seed=0)
    values = {name: parameter.data().tolist() for name, parameter in norm.parameters.items()}
    assert values == {"weight": [1] * 3, "bias": [0] * 3, "running_mean": [0] * 3, "running_var": [1] * 3}
    dense = nn.Dense(4, in_units=300, weight_initializer=init.Constant(2))
    dense.initialize("normal", seed=0)
    assert not dense.bias.data().any()
    assert (dense.weight.data() == 2).all()
