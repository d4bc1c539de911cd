"""Convolution and pooling against their definitions, written as loops."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelarchive.ops import columns, threads
from modelarchive.ops.convolution import convolve
from modelarchive.ops.normalisation import batch_norm, embed, group_norm, layer_norm
from modelarchive.ops.pooling import avg_pool, max_pool
from modelarchive.ops.windows import checked_layout, each, output_sizes, pairs

QUICK = settings(max_examples=60, deadline=None, derandomize=True)


@st.composite
def geometries(draw):
    rank = draw(st.integers(1, 3))

    def sizes(least, most):
        return tuple(draw(st.integers(least, most)) for _ in range(rank))

    kernel, dilation = sizes(1, 3), sizes(1, 2)
    padding = tuple((draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in range(rank))
    spatial = tuple(
        draw(st.integers(max(step * (size - 1) + 1 - sum(pad), 1), 7))
        for size, step, pad in zip(kernel, dilation, padding, strict=True)
    )
    return kernel, sizes(1, 3), padding, dilation, spatial


def by_definition(x, weight, strides, padding, dilation, groups):
    """Cross-correlation, one output element at a time, in float64."""
    source = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *padding])
    kernel = weight.shape[2:]
    sizes = output_sizes(x.shape[2:], kernel, strides, padding, dilation)
    result = np.zeros((len(x), len(weight), *sizes))
    inputs, outputs = weight.shape[1], len(weight) // groups
    for channel in range(len(weight)):
        group = channel // outputs
        part = source[:, group * inputs : (group + 1) * inputs]
        for place in itertools.product(*map(range, sizes)):
            window = tuple(
                slice(p * s, p * s + d * (k - 1) + 1, d)
                for p, s, d, k in zip(place, strides, dilation, kernel, strict=True)
            )
            taken = part[(slice(None), slice(None), *window)] * weight[channel]
            result[(slice(None), channel, *place)] = taken.sum(tuple(range(1, taken.ndim)))
    return result


@QUICK
@given(geometries(), st.integers(1, 3), st.integers(1, 2), st.integers(1, 2), st.integers(0, 2), st.booleans())
def test_convolution(geometry, groups, inputs, outputs, batch, last):
    kernel, strides, padding, dilation, spatial = geometry
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, groups * inputs, *spatial)).astype(np.float32)
    weight = rng.standard_normal((groups * outputs, inputs, *kernel)).astype(np.float32)
    bias = rng.standard_normal(groups * outputs).astype(np.float32)
    expected = by_definition(x, weight, strides, padding, dilation, groups) + bias.reshape(-1, *[1] * len(kernel))
    found = convolve(
        np.moveaxis(x, 1, -1) if last else x,
        weight,
        bias,
        strides=strides,
        padding=padding,
        dilation=dilation,
        groups=groups,
        channels_last=last,
    )
    assert found.dtype == np.float32
    found = np.moveaxis(found, -1, 1) if last else found
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@QUICK
@given(geometries(), st.integers(1, 2), st.integers(1, 2), st.data())
def test_what_is_not_finite_stays_in_its_windows(geometry, groups, inputs, data):
    kernel, strides, padding, dilation, spatial = geometry
    rng = np.random.default_rng(1)
    x = rng.standard_normal((1, groups * inputs, *spatial)).astype(np.float32)
    x[tuple(data.draw(st.integers(0, size - 1)) for size in x.shape)] = data.draw(st.sampled_from([np.inf, np.nan]))
    weight = rng.standard_normal((groups * 2, inputs, *kernel)).astype(np.float32)
    geometry = {"strides": strides, "padding": padding, "dilation": dilation, "groups": groups}
    expected = by_definition(x, weight, **geometry)
    found = convolve(x, weight, None, channels_last=False, **geometry)
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(expected))


@pytest.mark.parametrize("block", [1, 100, 2000, 1 << 21])
def test_blocks_of_columns_do_not_change_the_result(block, monkeypatch):
    for module in (columns, threads):
        monkeypatch.setattr(module, "BLOCK", block)
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((3, 4, 9, 8)), rng.standard_normal((6, 2, 3, 3))
    geometry = {"strides": (2, 1), "padding": ((1, 0), (1, 1)), "dilation": (1, 2)}
    found = convolve(x, weight, None, groups=2, channels_last=False, **geometry)
    np.testing.assert_allclose(found, by_definition(x, weight, groups=2, **geometry), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("inputs", [1, 2, 3])
@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("spatial", [(2500,), (44, 45), (14, 14, 14)])
def test_more_positions_than_one_product_of_vectors_takes(inputs, outputs, spatial):
    rank = len(spatial)
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((1, inputs, *spatial)), rng.standard_normal((outputs, inputs, *[3] * rank))
    geometry = {"strides": (1,) * rank, "padding": ((0, 0),) * rank, "dilation": (1,) * rank}
    found = convolve(x, weight, None, groups=1, channels_last=False, **geometry)
    windows = np.lib.stride_tricks.sliding_window_view(x, (3,) * rank, tuple(range(2, 2 + rank)))
    letters = "xyz"[:rank], "ijk"[:rank]
    expected = np.einsum(f"bc{letters[0]}{letters[1]},oc{letters[1]}->bo{letters[0]}", windows, weight)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def pooled(x, reduce, kernel, strides, padding, sizes):
    """Pooling, one window at a time: `reduce` gets the elements inside and the size with padding."""
    result = np.empty((*x.shape[:2], *sizes))
    for place in itertools.product(*map(range, sizes)):
        inside, area = [], 1
        for axis, position in enumerate(place):
            begin = position * strides[axis] - padding[axis][0]
            size = x.shape[2 + axis]
            end = min(begin + kernel[axis], size + padding[axis][1])
            area *= end - begin
            inside.append(slice(max(begin, 0), min(end, size)))
        window = x[(slice(None), slice(None), *inside)].reshape(*x.shape[:2], -1)
        result[(slice(None), slice(None), *place)] = reduce(window, area)
    return result


@QUICK
@given(geometries(), st.booleans(), st.booleans(), st.booleans())
def test_pooling(geometry, ceil_mode, count_include_pad, last):
    kernel, strides, padding, _, spatial = geometry
    padding = tuple(
        (min(before, size - 1), min(after, size - 1)) for (before, after), size in zip(padding, kernel, strict=True)
    )
    # A partial window may be the only one, as in PyTorch.
    less = [step - 1 if ceil_mode else 0 for step in strides]
    spatial = tuple(max(1, size, window - by) for size, window, by in zip(spatial, kernel, less, strict=True))
    x = np.random.default_rng(0).standard_normal((2, 3, *spatial)).astype(np.float32)
    sizes = output_sizes(spatial, kernel, strides, padding, (1,) * len(kernel), ceil_mode=ceil_mode)
    given_x = np.moveaxis(x, 1, -1) if last else x
    options = {"kernel": kernel, "strides": strides, "padding": padding, "ceil_mode": ceil_mode}
    before = x.copy()
    largest = max_pool(given_x, channels_last=last, **options)
    mean = avg_pool(given_x, channels_last=last, count_include_pad=count_include_pad, **options)
    np.testing.assert_array_equal(x, before)
    assert largest.dtype == mean.dtype == np.float32
    if last:
        largest, mean = np.moveaxis(largest, -1, 1), np.moveaxis(mean, -1, 1)
    np.testing.assert_array_equal(largest, pooled(x, lambda w, _: w.max(-1), kernel, strides, padding, sizes))
    divisor = (lambda w, area: w.sum(-1) / area) if count_include_pad else (lambda w, _: w.mean(-1))
    expected = pooled(x.astype(np.float64), divisor, kernel, strides, padding, sizes)
    np.testing.assert_allclose(mean, expected, rtol=1e-5, atol=1e-6)


def test_pooling_of_extremes():
    one = {"kernel": (2,), "strides": (2,), "padding": ((1, 1),), "ceil_mode": False, "channels_last": False}
    worst = np.full((1, 1, 2), -np.inf, np.float32)
    assert (max_pool(worst, **one) == -np.inf).all()
    assert np.isnan(max_pool(np.array([[[np.nan, 1.0]]]), **one)[0, 0, 0])
    lowest = np.full((1, 1, 2), -128, np.int8)
    np.testing.assert_array_equal(max_pool(lowest, **one), lowest, strict=True)
    assert not max_pool(np.zeros((1, 1, 2), bool), **one).any()
    assert avg_pool(np.ones((1, 1, 2), np.uint8), count_include_pad=True, **one).tolist() == [[[0.5, 0.5]]]


def test_pools_of_nothing():
    one = {"kernel": (2,), "strides": (2,), "padding": ((1, 1),), "ceil_mode": False, "channels_last": False}
    assert max_pool(np.ones((2, 3, 0), np.float32), **one).tolist() == [[[-np.inf]] * 3] * 2
    assert max_pool(np.ones((0, 3, 4), np.float32), **one).shape == (0, 3, 3)
    assert avg_pool(np.ones((2, 0, 4), np.float32), count_include_pad=True, **one).shape == (2, 0, 3)


def test_a_pool_of_one_element_returns_no_view():
    x = np.ones((1, 1, 4), np.float32)
    one = {"kernel": (1,), "strides": (2,), "padding": ((0, 0),), "ceil_mode": False, "channels_last": False}
    assert not np.shares_memory(max_pool(x, **one), x)
    assert not np.shares_memory(avg_pool(x, count_include_pad=True, **one), x)


def test_padding_and_sizes_in_all_their_spellings():
    assert pairs(1, 2) == pairs((1, 1), 2) == pairs([[1, 1], [1, 1]], 2) == ((1, 1), (1, 1))
    assert pairs([np.int64(2), (0, 1)], 2) == ((2, 2), (0, 1))
    assert each("strides", np.int64(3), 2, least=1) == (3, 3)
    assert checked_layout("NWC", 1)
    assert not checked_layout("NCDHW", 3)


@pytest.mark.parametrize("bad", [-1, 1.5, "same", (1,), (1, 2, 3), ((1, 2), (1, 2, 3)), None, True])
def test_bad_padding_is_refused(bad):
    with pytest.raises(ValueError, match="padding"):
        pairs(bad, 2)


def test_bad_geometry_is_refused():
    with pytest.raises(ValueError, match="strides: expected one int of at least 1, or 2 of them, found 0"):
        each("strides", 0, 2, least=1)
    with pytest.raises(ValueError, match="expected 'NCHW' or 'NHWC', found 'HWCN'"):
        checked_layout("HWCN", 2)
    with pytest.raises(ValueError, match=r"expected at least 5 elements along spatial axis 0 .* found 4"):
        output_sizes((4,), (3,), (1,), ((0, 0),), (2,))


def test_normalisation_by_its_formula():
    rng = np.random.default_rng(0)
    x, weight, bias, mean = (rng.standard_normal(shape) for shape in [(2, 3, 4), 3, 3, 3])
    var = rng.random(3)
    column = (slice(None), None)
    expected = (x - mean[column]) / np.sqrt(var[column] + 1e-5) * weight[column] + bias[column]
    found = batch_norm(x, weight, bias, mean, var, axis=1, epsilon=1e-5)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    centred = x - x.mean(1, keepdims=True)
    expected = centred / np.sqrt(x.var(1, keepdims=True) + 1e-5) * weight[column] + bias[column]
    np.testing.assert_allclose(layer_norm(x, weight, bias, axis=1, epsilon=1e-5), expected, rtol=1e-12, atol=1e-12)
    plain = layer_norm(x.astype(np.float16), None, None, axis=-1, epsilon=1e-5)
    assert plain.dtype == np.float16


@pytest.mark.parametrize("mean", [0, 0.9, 1.1, 1000])
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_groups_of_long_rows(groups, mean):
    """Near zero, where the variance is the mean square but for the mean's, and far from it."""
    rng = np.random.default_rng(2)
    x = (mean + rng.standard_normal((2, 6, 30_011))).astype(np.float32)
    x[1, -1] = 7
    weight, bias = rng.standard_normal((2, 6)).astype(np.float32)
    rows = x.astype(np.float64).reshape(2, groups, -1)
    rows = (rows - rows.mean(2, keepdims=True)) / np.sqrt(rows.var(2, keepdims=True) + 1e-5)
    expected = rows.reshape(x.shape) * weight[:, None] + bias[:, None]
    found = group_norm(x, weight, bias, groups=groups, axis=1, epsilon=1e-5)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    last = group_norm(np.moveaxis(x, 1, -1), weight, bias, groups=groups, axis=-1, epsilon=1e-5)
    np.testing.assert_allclose(np.moveaxis(last, -1, 1), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_group_that_is_not_finite_spoils_no_other(value):
    rng = np.random.default_rng(3)
    x = rng.standard_normal((2, 4, 500)).astype(np.float32)
    expected = group_norm(x, None, None, groups=2, axis=1, epsilon=1e-5)
    x[0, 3, 7] = value
    with np.errstate(invalid="ignore"):
        found = group_norm(x, None, None, groups=2, axis=1, epsilon=1e-5)
    assert np.isnan(found[0, 2:]).any()
    found[0, 2:] = expected[0, 2:]
    np.testing.assert_array_equal(found, expected)


def test_what_a_group_becomes_does_not_depend_on_those_beside_it():
    rng = np.random.default_rng(4)
    x = rng.standard_normal((3, 4, 7000)).astype(np.float32) + np.float32([[[0]], [[50]], [[0.5]]])
    whole = group_norm(x, None, None, groups=2, axis=1, epsilon=1e-5)
    for one, expected in zip(x, whole, strict=True):
        np.testing.assert_array_equal(group_norm(one[None], None, None, groups=2, axis=1, epsilon=1e-5)[0], expected)


def test_embedding_refuses_what_numpy_would_take():
    weight = np.arange(6.0).reshape(3, 2)
    np.testing.assert_array_equal(embed(np.array([[2, 0]], np.uint8), weight), [[[4, 5], [0, 1]]])
    assert embed(np.empty((0, 4), np.int64), weight).shape == (0, 4, 2)
    with pytest.raises(ValueError, match="from 0 to 2, found -1 to 1"):
        embed(np.array([-1, 1]), weight)
    with pytest.raises(ValueError, match="found 0 to 3"):
        embed(np.array([0, 3]), weight)
    with pytest.raises(TypeError, match="integer indices, found float64"):
        embed(np.array([0.0]), weight)


def test_repeated_calls_give_the_same_bits():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 32, 28, 28)).astype(np.float32)
    weight = rng.standard_normal((48, 32, 3, 3)).astype(np.float32)
    one = {"strides": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": 1, "channels_last": False}
    first = convolve(x, weight, None, **one)
    for _ in range(5):
        np.testing.assert_array_equal(convolve(x.copy(), weight.copy(), None, **one), first)
    assert math.isfinite(first.sum())
