"""Ops that pick, compare, pad, reduce and contract: NumPy's and PyTorch's values, and the rules of their shapes."""

import math
import time

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, mutually_broadcastable_shapes

from modelarchive import ops
from modelarchive.ops.contraction import normal_pattern
from modelarchive.ops.registry import OPS
from tests.ops.test_shapes import agrees

QUICK = settings(max_examples=60, deadline=None, derandomize=True)
FULL = array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=5)
EMPTY = array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4)
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def normal(shape, dtype=np.float32):
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


def same(found, expected):
    np.testing.assert_array_equal(found, expected, strict=True)


@QUICK
@given(mutually_broadcastable_shapes(num_shapes=3, max_dims=4, min_side=0))
def test_comparisons_and_where(shapes):
    one, two, three = (np.round(normal(shape)) for shape in shapes.input_shapes)
    for name in ("equal", "greater", "less"):
        same(agrees(name, [one, two]), np.asarray(getattr(np, name)(one, two)))
    same(agrees("where", [one > two, two, three]), np.where(one > two, two, three))
    assert agrees("where", [one, two, three.astype(BFLOAT16)]).dtype == np.float32


def test_comparisons_of_nan_and_of_narrow_floats():
    x = np.array([np.nan, 1, 2], np.float32)
    assert ops.equal(x, x).tolist() == [False, True, True]
    assert ops.greater(x, 1).tolist() == [False, False, True]
    assert ops.less(x, np.nan).tolist() == [False] * 3
    for dtype in (np.float16, BFLOAT16):
        tenths = np.full(3, 0.1).astype(dtype)
        assert ops.equal(tenths, 0.1).all()  # a Python number is weak: rounded first
        assert ops.where(tenths > 1, tenths, 0.5).dtype == dtype
    assert ops.equal(np.uint8(3), 300) == np.False_


@QUICK
@given(EMPTY, st.data())
def test_split(shape, data):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = normal(shape)
    sizes = data.draw(st.lists(st.integers(0, shape[axis]), min_size=1, max_size=4))
    cut = [*np.diff([0, *sorted(min(size, shape[axis]) for size in sizes)]).tolist()]
    for literal in ([*cut, -1], [*cut, shape[axis] - sum(cut)]):
        parts = OPS["split"](x, sizes=literal, axis=axis)
        for found, expected in zip(parts, np.split(x, np.cumsum(cut), axis), strict=True):
            same(found, expected)
        assert OPS["split"].infer(shape, sizes=literal, axis=axis) == tuple(part.shape for part in parts)
    assert len(OPS["split"](x, sizes=1, axis=axis)) == 1


@QUICK
@given(FULL, st.data())
def test_take_and_gather(torch, shape, data):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = normal(shape)
    size = shape[axis]
    rng = np.random.default_rng(1)
    indices = rng.integers(-size, size, data.draw(array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)))
    same(agrees("take", [x, indices], axis=axis), np.take(x, indices, axis))
    among = list(shape)
    among[axis] = data.draw(st.integers(0, 4))
    indices = rng.integers(0, size, among)
    found = agrees("gather", [x, indices], axis=axis)
    same(found, torch.gather(torch.tensor(x), axis, torch.tensor(indices)).numpy())


@QUICK
@given(FULL, st.data())
def test_pad_is_numpy_s(shape, data):
    mode = data.draw(st.sampled_from(["constant", "reflect", "edge", "wrap"]))
    kept = data.draw(st.integers(0, len(shape)))
    limit = {"constant": 4, "edge": 4}
    padding = [
        [data.draw(st.integers(0, limit.get(mode, size - (mode == "reflect")))) for _ in range(2)]
        for size in shape[kept:]
    ]
    x = normal(shape)
    found = agrees("pad", [x], padding=padding, mode=mode, value=0)
    same(found, np.pad(x, [(0, 0)] * kept + padding, mode))


def test_pad_values():
    x = np.zeros((1, 2), np.float32)
    assert ops.pad(x, [(1, 0)], value="-Infinity").tolist() == [[-math.inf, 0, 0]]
    assert np.isnan(ops.pad(x, [(1, 0)], value="NaN")[0, 0])
    assert ops.pad(x.astype(BFLOAT16), [(0, 1)], value=1.5)[0, 2] == 1.5
    assert ops.pad(x.astype(bool), [(0, 1)], value=1).tolist() == [[False, False, True]]
    for dtype, value in (("uint8", -1), ("uint8", 0.5), ("int8", 128), ("int8", "Infinity"), ("bool", 2)):
        with pytest.raises(ValueError, match="value: expected a number of dtype"):
            ops.pad(x.astype(dtype), [(0, 1)], value=value)
    with pytest.raises(ValueError, match="value: expected a number, found 'inf'"):
        ops.pad(x, [(0, 1)], value="inf")


@QUICK
@given(mutually_broadcastable_shapes(num_shapes=2, max_dims=4, min_side=0))
def test_broadcast_to(shapes):
    x, like = (normal(shape) for shape in shapes.input_shapes)
    wanted = shapes.result_shape
    expected = np.broadcast_to(x, wanted)
    same(agrees("broadcast_to", [x, x], shape=list(wanted)), expected)
    literal = [None if place < like.ndim and like.shape[place] == size else size for place, size in enumerate(wanted)]
    same(agrees("broadcast_to", [x, like], shape=literal), expected)
    same(agrees("shape_of", [x]), np.array(x.shape, np.int64))


@QUICK
@given(FULL, st.data())
def test_reductions(torch, shape, data):
    x = normal(shape)
    axis = data.draw(st.none() | st.integers(-len(shape), len(shape) - 1))
    keepdims = data.draw(st.booleans())
    ddof = data.draw(st.integers(0, 1))
    same(agrees("argmax", [x], axis=axis, keepdims=keepdims), np.argmax(x, axis, keepdims=keepdims))
    if (x.size if axis is None else shape[axis]) > ddof:
        found = agrees("var", [x], axis=axis, keepdims=keepdims, ddof=ddof)
        same(found, np.var(x, axis, ddof=ddof, keepdims=keepdims))
        expected = torch.var(torch.tensor(x).double(), axis, correction=ddof, keepdim=keepdims and axis is not None)
        np.testing.assert_allclose(found.ravel(), expected.numpy().ravel(), rtol=1e-5)
    along = data.draw(st.integers(-len(shape), len(shape) - 1))
    same(agrees("cumsum", [x], axis=along), np.cumsum(x, along))


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "int64", "uint8", "bool", BFLOAT16])
def test_dtypes(dtype):
    x = (normal((3, 4)) > 0).astype(dtype)
    for name, arguments in (
        ("rsqrt", {}),
        ("erf", {}),
        ("sin", {}),
        ("cos", {}),
        ("var", {"axis": 0}),
        ("argmax", {"axis": 0}),
        ("cumsum", {"axis": 0}),
        ("clip", {"low": 0, "high": 1}),
        ("clip", {"low": None, "high": 0.5}),
        ("pad", {"padding": [[1, 1]], "mode": "edge", "value": 0}),
        ("shape_of", {}),
    ):
        with np.errstate(divide="ignore"):
            agrees(name, [x], **arguments)
    for name in ("equal", "greater", "less"):
        agrees(name, [x, x])
    agrees("where", [x, x, x])
    agrees("einsum", [x, x], pattern="ij,kj->ik")


@pytest.mark.parametrize("dtype", [np.float16, BFLOAT16])
def test_narrow_floats_are_rounded_once(dtype):
    x = normal((30, 40), dtype)
    wide = x.astype(np.float32)
    for name, arguments in (
        ("cumsum", {"axis": 1}),
        ("var", {"axis": 1}),
        ("erf", {}),
        ("clip", {"low": -1, "high": 1}),
    ):
        same(OPS[name](x, **arguments), OPS[name](wide, **arguments).astype(dtype))
    same(ops.rsqrt(x * x), ops.rsqrt((x * x).astype(np.float32)).astype(dtype))
    same(ops.einsum([x, x], "ij,kj->ik"), ops.einsum([wide, wide], "ij,kj->ik").astype(dtype))


def test_clip_is_numpy_s():
    x = np.array([-np.inf, -1, 0, 2, np.nan], np.float32)
    for low, high in ((0, 1), (None, 1), (-0.5, None), (3, 1)):
        same(ops.clip(x, low, high), np.clip(x, low, high))
    same(ops.clip(np.int8([5]), None, 3), np.int8([3]))
    assert ops.clip(np.float32(3), 0, 1).shape == ()
    tenths = ops.clip(np.ones(2, BFLOAT16), None, 0.1)
    assert tenths.dtype == BFLOAT16
    for arguments, words in (
        ({"low": None, "high": None}, "expected a number as low or high"),
        ({"low": -1, "high": None}, "expected bounds of dtype uint8"),
    ):
        with pytest.raises(ValueError, match=words):
            ops.clip(np.ones(2, np.uint8), **arguments)


PATTERNS = ("ij,jk->ik", "bij,bkj->bik", "bhqd,bhkd->bhqk", "i,j->ij", "ij->ji", "ii->i", "ij->", "i,i,i->i", ",i->i")


@pytest.mark.parametrize("pattern", [*PATTERNS, "abc,cd,de->eab", "ij,ij->"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_einsum(torch, pattern, dtype):
    sizes = {letter: 2 + place for place, letter in enumerate(sorted(set(pattern) - set(",->")))}
    arrays = [normal([sizes[letter] for letter in term], dtype) for term in pattern.split("->")[0].split(",")]
    found = agrees("einsum", arrays, pattern=pattern)
    expected = torch.einsum(pattern, *(torch.tensor(array, dtype=torch.float64) for array in arrays)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5 if dtype == np.float32 else 1e-12, atol=1e-6)
    assert not any(np.shares_memory(found, array) for array in arrays)
    empty = [np.zeros([0] * array.ndim, dtype) for array in arrays]
    agrees("einsum", empty, pattern=pattern)


@pytest.mark.parametrize(
    ("pattern", "ranks", "expected"),
    [
        ("ij, jk", (2, 2), "ij,jk->ik"),
        ("ba", (2,), "ba->ab"),
        ("ii", (2,), "ii->"),
        ("i...,i...->...", (3, 2), "iYZ,iZ->YZ"),
        ("...ij,...jk", (4, 4), "YZij,YZjk->YZik"),
        ("...", (2,), "YZ->YZ"),
    ],
)
def test_patterns_have_a_normal_form(pattern, ranks, expected):
    assert normal_pattern(pattern, ranks) == expected
    arrays = [np.ones([3] * rank, np.float32) for rank in ranks]
    same(ops.einsum(arrays, normal_pattern(pattern, ranks)), np.asarray(np.einsum(pattern, *arrays)))


HOSTILE = [
    ("einsum", [(2, 3)], {"pattern": "ij"}, "pattern: expected letters"),
    ("einsum", [(2, 3)], {"pattern": "ij->k"}, "each letter of the result"),
    ("einsum", [(2, 3)], {"pattern": "ij->ii"}, "each letter of the result"),
    ("einsum", [(2, 3)], {"pattern": "...->..."}, "pattern: expected letters"),
    ("einsum", [(2, 3)], {"pattern": "i,j->ij"}, "pattern: expected 1 arrays"),
    ("einsum", [(2, 3)], {"pattern": "ijk->ik"}, "expected 2 letters"),
    ("einsum", [(2, 3), (2, 3)], {"pattern": "ij,jk->ik"}, "expected size 3 at letter 'j', found 2"),
    ("einsum", [()] * 17, {"pattern": "," * 16 + "->"}, "at most 16"),
    ("einsum", [(1,) * 33], {"pattern": "abcdefghijklmnopqrstuvwxyzABCDEFG->"}, "at most 32 letters"),
    ("einsum", [(2, 2)], {"pattern": "ii->i\n"}, "pattern: expected letters"),
    ("einsum", [(2,)], {"pattern": "i" * 2000 + "->"}, "pattern: expected letters"),
    ("split", [(6,)], {"sizes": 4}, "divides 6, found 4"),
    ("split", [(600,)], {"sizes": 300}, "1 to 128 equal parts"),
    ("split", [(6,)], {"sizes": 0}, "1 to 128 equal parts"),
    ("split", [(6,)], {"sizes": []}, "at most one -1"),
    ("split", [(6,)], {"sizes": [-1, -1]}, "at most one -1"),
    ("split", [(6,)], {"sizes": [8, -2]}, "at most one -1"),
    ("split", [(6,)], {"sizes": [2, 3]}, r"sum to 6, found \[2, 3\]"),
    ("split", [(6,)], {"sizes": [7, -1]}, r"sum to 6, found \[7, -1\]"),
    ("split", [(6,)], {"sizes": 2, "axis": 1}, "found axis 1"),
    ("pad", [(2, 3)], {"padding": [[1, 1]] * 3}, "at most 2 pairs, found 3"),
    ("pad", [(2, 3)], {"padding": [[-1, 0]]}, "not negative"),
    ("pad", [(2, 3)], {"padding": [[3, 0]], "mode": "reflect"}, "at most 2 in mode 'reflect'"),
    ("pad", [(2, 0)], {"padding": [[1, 0]], "mode": "edge"}, "at most 0 in mode 'edge'"),
    ("pad", [(2, 3)], {"padding": [[0, 4]], "mode": "wrap"}, "at most 3 in mode 'wrap'"),
    ("pad", [(2, 3)], {"padding": [[0, 4]], "mode": "mean"}, "mode: expected one of constant"),
    ("broadcast_to", [(2, 3), (2, 3)], {"shape": [3]}, "expected a shape that"),
    ("broadcast_to", [(2, 3), (2, 3)], {"shape": [2, 2]}, "broadcast"),
    ("broadcast_to", [(2, 3), (2, 3)], {"shape": [2, 3, None]}, "expected an axis 2"),
    ("broadcast_to", [(1,), (1,)], {"shape": [-1]}, "expected sizes"),
    ("gather", [(2, 3), (2,)], {"axis": 0}, "indices of 2 dimensions"),
    ("gather", [(2, 3), (3, 3)], {"axis": 1}, "broadcast"),
    ("take", [(), (2,)], {"axis": 0}, "axis 0"),
    ("argmax", [(0, 3)], {"axis": 0}, "at least one element"),
    ("var", [(1, 3)], {"axis": 0, "ddof": 1}, "more than 1 elements"),
    ("var", [(1, 3)], {"axis": 1, "ddof": 2}, "0 or 1, found 2"),
    ("cumsum", [()], {"axis": 0}, "axis 0"),
]


@pytest.mark.parametrize(("name", "shapes", "arguments", "words"), HOSTILE)
def test_hostile_literals_are_refused_by_rule_and_by_function(name, shapes, arguments, words):
    with pytest.raises(ValueError, match=words):
        OPS[name].infer(*shapes, **arguments)
    arrays = [np.zeros(shape, np.int64 if name in ("gather", "take") else np.float32) for shape in shapes]
    with pytest.raises(ValueError, match=r"expected|operands"):
        OPS[name](*arrays, **arguments)


def test_rules_allocate_nothing():
    huge = 2**31 - 1
    start = time.process_time()
    assert OPS["broadcast_to"].infer((1,), (1,), shape=[huge, huge]) == (huge, huge)
    assert OPS["pad"].infer((1,), padding=[[huge, huge]]) == (2 * huge + 1,)
    assert OPS["einsum"].infer((huge,), (huge,), pattern="i,j->ij") == (huge, huge)
    assert OPS["split"].infer((huge,), sizes=[huge - 1, 1])[0] == (huge - 1,)
    assert time.process_time() - start < 1


def test_indices_are_integers_inside_their_axis():
    x = np.ones((2, 3), np.float32)
    for name in ("take", "gather"):
        with pytest.raises(ValueError, match="expected integer indices, found float32"):
            OPS[name](x, x, axis=0)
        with pytest.raises(ValueError, match="expected integer indices, found float32"):
            OPS[name].dtype(x.dtype, x.dtype, axis=0)
        with pytest.raises(IndexError):
            OPS[name](x, np.full((1, 3), 2), axis=0)
