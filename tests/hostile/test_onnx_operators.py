"""Every operator of ONNX that is read, with attributes, operands and shapes that no exporter writes."""

from __future__ import annotations

import random

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange import onnx
from modelarchive.exchange.onnx.folds import FOLDS
from modelarchive.exchange.onnx.lifting import LIFTINGS
from tests.exchange.onnx.wire import field, graph, model, node, tensor, value
from tests.sampling import some

#: Models of each operator: a search at random takes as long as one likes, and most of it is slow.
TRIED, MORE = range(10), range(10, 15)
INTEGERS = (0, 1, -1, 2, 3, 5, 64, 65, 128, 4097, 2**24 + 1, 2**31, 2**62, 2**63 - 1, -2, -(2**31), -(2**63))
FLOATS = (0.0, -1.0, 0.5, 3e38, 1e-45, float("inf"), float("-inf"), float("nan"))
TEXTS = ("", "SAME_UPPER", "VALID", "reflect", "linear", "reverse", "bidirectional", "CRD", "ij,jk->ik", "...", "tanh")
ATTRIBUTES = [
    "activations",
    "align_corners",
    "allowzero",
    "alpha",
    "antialias",
    "approximate",
    "auto_pad",
    "axes",
    "axis",
    "batch_dims",
    "beta",
    "bias",
    "blocksize",
    "ceil_mode",
    "center_point_box",
    "clip",
    "coordinate_transformation_mode",
    "count_include_pad",
    "cubic_coeff_a",
    "detect_negative",
    "detect_positive",
    "dilations",
    "direction",
    "dtype",
    "end",
    "epsilon",
    "equation",
    "exclusive",
    "fmod",
    "gamma",
    "group",
    "hidden_size",
    "input_forget",
    "k",
    "keepdims",
    "kernel_shape",
    "lambd",
    "layout",
    "linear_before_reset",
    "mode",
    "momentum",
    "nearest_mode",
    "noop_with_empty_axes",
    "num_groups",
    "num_outputs",
    "output_padding",
    "output_shape",
    "p",
    "pads",
    "perm",
    "reduction",
    "reverse",
    "scales",
    "select_last_index",
    "size",
    "sizes",
    "start",
    "stash_type",
    "storage_order",
    "strides",
    "to",
    "training_mode",
    "transA",
    "transB",
    "upper",
    "value",
    "value_float",
    "value_floats",
    "value_int",
    "value_ints",
]
#: What words of Python's own objects look like.
INTERNAL = ("NoneType", "has no attribute", "object is not", "unsupported operand", "modelarchive.")


def stored(rng):
    """An array of any kind, its numbers at the edges."""
    shape = [rng.choice((0, 1, 1, 2, 3, 4)) for _ in range(rng.choice((0, 0, 1, 1, 1, 2, 3, 4)))]
    code, dtype = rng.choice(((1, "<f4"), (7, "<i8"), (7, "<i8"), (6, "<i4"), (9, "?"), (11, "<f8"), (14, "<c8")))
    count = int(np.prod(shape, dtype=int))
    numbers = rng.choices(FLOATS if dtype in ("<f4", "<f8") else INTEGERS if dtype == "<i8" else (0, 1, 2, 3), k=count)
    with np.errstate(over="ignore"):
        return shape, np.array(numbers, dtype).tobytes(), code


def _integers(rng):
    several = rng.choices(INTEGERS, k=rng.choice((0, 1, 2, 2, 4, 4, 6, 70)))
    return b"".join(field(8, number) for number in several) + field(20, 7)


#: What an attribute may hold; integers twice as often.
CONTENTS = (
    *(lambda rng: field(3, rng.choice(INTEGERS)) + field(20, 2),) * 2,
    *(_integers,) * 2,
    lambda rng: field(2, rng.choice(FLOATS)) + field(20, 1),
    lambda rng: field(4, rng.choice(TEXTS)) + field(20, 3),
    lambda rng: field(5, tensor("", *stored(rng)[:2])) + field(20, 4),
    lambda rng: field(4, b"\xff\xfe") + field(20, rng.randrange(15)),
    lambda rng: field(20, rng.choice((4, 5))),
)


def attribute(rng, name):
    return field(1, name) + rng.choice(CONTENTS)(rng)


def anything(rng, op):
    """A model of one such operator."""
    sizes = (1, 2, 3, 4, 8, "n", "m", 0, 2**31 - 1)
    inputs = [
        value(f"x{at}", [rng.choice(sizes) for _ in range(rng.choice((0, 1, 2, 3, 4, 4)))], rng.choice((1, 1, 1, 7, 9)))
        for at in range(2)
    ]
    names = ("x0", "x0", "x1", "w0", "w1", "w2", "w3", "s", "")
    taken = [rng.choice(names) for _ in range(rng.choice((0, 1, 2, 2, 3, 3, 4, 5)))]
    # One that nobody takes among them.
    arrays = {name: stored(rng) for name in ["unused", *dict.fromkeys(taken)] if name[:1] in ("u", "w")}
    weights = [tensor(name, shape, raw, code=code) for name, (shape, raw, code) in arrays.items()]
    given = [attribute(rng, name) for name in rng.sample(ATTRIBUTES, rng.choice((0, 1, 2, 4)))]
    nodes = [node("Shape", ["x0"], ["s"]), node(op, taken, ["y", "z"][: rng.choice((1, 1, 2))], *given)]
    return model(graph(nodes, weights, inputs, [value("y", [])]), opset=rng.choice((13, 18, 21, 28)))


@pytest.mark.parametrize("tried", [TRIED, pytest.param(MORE, marks=pytest.mark.slow)], ids=str)
@pytest.mark.parametrize("op", some(sorted({*LIFTINGS, *FOLDS})))
def test_an_operator_is_read_or_refused(op, tried, tmp_path):
    refused = []
    for number in tried:
        (tmp_path / "m.onnx").write_bytes(anything(random.Random(f"{op} {number}"), op))
        try:
            onnx.read(tmp_path / "m.onnx").build()
        except ma.ModelArchiveError as error:
            refused.append(str(error))
    assert len(refused) > len(tried) / 6
    assert max(map(len, refused)) < 5000
    assert not [each for each in refused if any(words in each for words in INTERNAL)]


OPERANDS = ([], *(["", *["c", "", "x0", "c", "c"][:count]] for count in range(5)), ["c"], ["c", ""], ["c", "", "x0"])


@pytest.mark.parametrize("op", some(sorted({*LIFTINGS, *FOLDS} - {"Constant"})))
def test_what_has_to_be_there_is_asked_for(op, tmp_path):
    inputs, arrays = [value("x0", [2, 3])], [tensor("c", [1], np.array([1], "<i8").tobytes(), code=7)]
    refused = []
    for taken in OPERANDS:
        (tmp_path / "m.onnx").write_bytes(model(graph([node(op, taken, ["y"])], arrays, inputs, [value("y", [])])))
        try:
            onnx.read(tmp_path / "m.onnx")
        except ma.ConversionError as error:
            refused.append(str(error))
    assert refused
    assert not [each for each in refused if any(words in each for words in INTERNAL)]


def test_a_cast_of_what_has_no_such_number_is_silent(tmp_path):
    """Here as where it is computed while reading: the tests make errors of warnings."""
    arrays = [tensor("w", [3], np.array([np.nan, np.inf, -1e30], "<f4").tobytes())]
    nodes = [node("Cast", ["w"], ["i"], field(1, "to") + field(3, 7) + field(20, 2)), node("Add", ["x", "i"], ["y"])]
    (tmp_path / "m.onnx").write_bytes(model(graph(nodes, arrays, [value("x", [3], 7)], [value("y", [])])))
    assert onnx.read(tmp_path / "m.onnx").build()(np.zeros(3, np.int64)).dtype == np.int64
