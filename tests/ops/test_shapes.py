"""Every shape and dtype rule, held against what the op itself returns."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, mutually_broadcastable_shapes

from modelarchive.ops.registry import OPS
from modelarchive.ops.shapes import literal_index

QUICK = settings(max_examples=60, deadline=None, derandomize=True)
SHAPES = array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
FULL = array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4)


def agrees(name, arrays, /, **arguments):
    entry = OPS[name]
    found = entry(*arrays, **arguments)
    assert tuple(entry.infer(*(np.shape(array) for array in arrays), **arguments)) == np.shape(found)
    assert entry.dtype(*(array.dtype for array in arrays), **arguments) == found.dtype
    return found


def ones(shape, dtype="float32"):
    return np.ones(shape, dtype)


@QUICK
@given(mutually_broadcastable_shapes(num_shapes=2, max_dims=4, min_side=0))
@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "divide", "power", "maximum", "minimum"])
def test_binary(name, shapes):
    assert agrees(name, [ones(shape) for shape in shapes.input_shapes]).shape == shapes.result_shape


@QUICK
@given(SHAPES)
@pytest.mark.parametrize("name", ["negative", "abs", "exp", "log", "sqrt", "sin", "cos"])
def test_unary(name, shape):
    agrees(name, [ones(shape)])


@QUICK
@given(FULL, st.data())
@pytest.mark.parametrize("name", ["sum", "mean", "max", "min"])
def test_reductions(name, shape, data):
    axes = st.lists(st.integers(0, len(shape) - 1), unique=True, min_size=1)
    axis = data.draw(st.none() | st.integers(-len(shape), len(shape) - 1) | axes)
    agrees(name, [ones(shape)], axis=axis, keepdims=data.draw(st.booleans()))


@QUICK
@given(st.data())
def test_matmul(data):
    rows, inner, columns = (data.draw(st.integers(0, 4)) for _ in range(3))
    stacks = data.draw(mutually_broadcastable_shapes(num_shapes=2, max_dims=2)).input_shapes
    first = (inner,) if data.draw(st.booleans()) else (*stacks[0], rows, inner)
    second = (inner,) if data.draw(st.booleans()) else (*stacks[1], inner, columns)
    agrees("matmul", [ones(first), ones(second)])


@QUICK
@given(FULL, st.data())
def test_joins(shape, data):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    sizes = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))
    arrays = []
    for size in sizes:
        each = list(shape)
        each[axis] = size
        arrays.append(ones(each))
    agrees("concatenate", arrays, axis=axis)
    kinds = st.sampled_from(["float32", "float64", "int16", ">f4", "bool", "complex64"])
    given = [np.arange(each.size).reshape(each.shape).astype(data.draw(kinds)) for each in arrays]
    expected = np.concatenate(given, axis=axis)
    for worth in (0, 1 << 20):  # by threads and by NumPy
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("modelarchive.ops.shaping.WORTH", worth)
            found = agrees("concatenate", given, axis=axis)
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
    agrees("stack", [ones(shape)] * len(sizes), axis=data.draw(st.integers(-len(shape) - 1, len(shape))))


@QUICK
@given(FULL, st.data())
def test_reshape_and_reorder(shape, data):
    size = int(np.prod(shape))
    agrees("reshape", [ones(shape)], shape=[-1])
    agrees("reshape", [ones(shape)], shape=[None, -1])
    agrees("reshape", [ones(shape)], shape=[1, size])
    agrees("transpose", [ones(shape)], axes=None)
    agrees("transpose", [ones(shape)], axes=data.draw(st.permutations(range(len(shape)))))
    place = data.draw(st.integers(-len(shape) - 1, len(shape)))
    wider = agrees("expand_dims", [ones(shape)], axis=place)
    agrees("squeeze", [wider], axis=place)
    agrees("squeeze", [wider], axis=None)
    agrees("softmax", [ones(shape)], axis=data.draw(st.integers(-len(shape), len(shape) - 1)))


BOUND = st.none() | st.integers(-6, 6)
STEP = st.none() | st.integers(-3, -1) | st.integers(1, 3)


@pytest.mark.slow
@QUICK
@given(FULL, st.data())
def test_slice_is_basic_indexing(shape, data):
    x = np.arange(np.prod(shape)).reshape(shape)
    items = [data.draw(st.integers(-size, size - 1) | st.builds(slice, BOUND, BOUND, STEP)) for size in shape]
    # An Ellipsis takes the place of some of them, a new axis comes anywhere.
    first, last = sorted(data.draw(st.lists(st.integers(0, len(shape)), min_size=2, max_size=2)))
    if data.draw(st.booleans()):
        items[first:last] = [Ellipsis]
    if data.draw(st.booleans()):
        items.insert(data.draw(st.integers(0, len(items))), None)
    index = literal_index(tuple(items), x.ndim)
    np.testing.assert_array_equal(agrees("slice", [x], index=index), x[tuple(items)])


@pytest.mark.parametrize("dtype", ["float64", "float16", "int8", "int64", "uint8", "bool", ml_dtypes.bfloat16])
@pytest.mark.parametrize("name", ["add", "divide", "exp", "sum", "mean", "max", "softmax", "matmul", "concatenate"])
def test_dtype_rules(name, dtype):
    x = np.ones((2, 2), dtype)
    agrees(name, [x, x] if name in ("add", "divide", "matmul", "concatenate") else [x])


@pytest.mark.parametrize(
    ("name", "shapes", "arguments", "words"),
    [
        ("add", [(2, 3), (4,)], {}, r"broadcast together, found \(2, 3\) and \(4,\)"),
        ("matmul", [(2, 3), (4, 5)], {}, "expected 3 rows in the second matrix, found 4"),
        ("matmul", [(), (4, 5)], {}, "at least 1 dimension"),
        ("concatenate", [(2, 3), (2, 4)], {"axis": 0}, r"equal but for axis 0, found \(2, 3\) and \(2, 4\)"),
        ("concatenate", [], {}, "at least one array"),
        ("stack", [(2,), (3,)], {}, r"equal shapes, found \(2,\) and \(3,\)"),
        ("reshape", [(2, 3)], {"shape": [4, 2]}, "of 6 elements, found .* of 8"),
        ("reshape", [(2, 3)], {"shape": [4, -1]}, "divide 6 elements"),
        ("reshape", [(2, 3)], {"shape": [-1, -1]}, "at most one -1"),
        ("reshape", [(2, 3)], {"shape": [6, 1, None]}, "axis 2 to keep"),
        ("transpose", [(2, 3)], {"axes": [0]}, "order of 2 axes"),
        ("transpose", [(2, 3)], {"axes": [0, 0]}, "every axis once"),
        ("squeeze", [(2, 3)], {"axis": 0}, "size 1 at axis 0"),
        ("expand_dims", [(2, 3)], {"axis": 4}, "axis 4"),
        ("sum", [(2, 3)], {"axis": 2}, "2 dimensions, found axis 2"),
        ("max", [(2, 0)], {"axis": 1}, "at least one element"),
        ("slice", [(2, 3)], {"index": [2]}, "size 2, found 2"),
        ("slice", [(2,)], {"index": [0, 0]}, "at most 1 indices, found 2"),
        ("slice", [(2,)], {"index": [[0, 1, 0]]}, "step other than 0"),
        ("slice", [(2,)], {"index": [[0, 1]]}, r"\[start, stop, step\]"),
        ("softmax", [()], {"axis": 0}, "axis 0"),
    ],
)
def test_a_misfit_is_refused_by_rule_and_by_numpy_alike(name, shapes, arguments, words):
    with pytest.raises(ValueError, match=words):
        OPS[name].infer(*shapes, **arguments)
    with pytest.raises((ValueError, IndexError)):
        OPS[name](*(ones(shape) for shape in shapes), **arguments)


@pytest.mark.parametrize("index", [True, 1.5, "a", [0, 1], (Ellipsis, Ellipsis), np.array([0]) > 0])
def test_an_index_that_is_not_basic_is_refused(index):
    with pytest.raises(ValueError, match="expected"):
        literal_index(index, 2)
