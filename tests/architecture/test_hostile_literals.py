"""Containers of outputs, literals of ops and fields of kinds that lie: refused before anything is allocated."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings

from modelarchive.architecture import build, describe, validate
from tests.architecture.architectures import graph, op, row, whole
from tests.architecture.test_checking import FUZZ, answer, mutated, problems


def outputs(structure: Any, *names: str) -> dict[str, Any]:
    return graph(op("out", "abs", "x"), outputs=names or ("x", "out"), structure=structure)


@pytest.mark.parametrize(
    "structure",
    [0, {"tuple": [0, 1]}, {"list": [{"dict": {"b": 1, "a": 0}}]}, {"dict": {"b": {"tuple": [1]}, "a": {"list": [0]}}}],
)
def test_containers_of_outputs(structure: Any) -> None:
    number = 1 if structure == 0 else 2
    architecture = whole(outputs(structure, *("x", "out")[:number]))
    validate(architecture)
    assert describe(build(architecture))["model"].get("structure", {"tuple": [0, 1]}) in (structure, {"tuple": [0, 1]})


@pytest.mark.parametrize(
    ("model", "pointer", "words"),
    [
        (outputs({"tuple": [1, 0]}), "/structure", "each once and in order"),
        (outputs({"tuple": [0]}), "/structure", "each once and in order"),
        (outputs({"list": [0, 0]}), "/structure", "each once and in order"),
        (outputs({"dict": {"b": 0, "a": 1}}), "/structure", "of its sorted keys"),
        (outputs({"list": [0, 2]}), "/structure", "numbers below 2"),
        (outputs(0), "/structure", "each once"),
        (outputs({"list": [0], "tuple": [1]}), "/structure", "not valid under any"),
        (outputs({"set": [0, 1]}), "/structure", "not valid under any"),
        (outputs(True), "/structure", "not valid under any"),
        (outputs({"dict": {"a" * 129: 0, "b": 1}}), "/structure", "not valid under any"),
        (
            graph(
                {"name": "a", "block": outputs({"list": [0, 1]}), "inputs": ["x"]},
                op("out", "abs", "a"),
            ),
            "/nodes/1",
            "2 outputs",
        ),
        (
            row(outputs({"list": [0, 1]}), {"kind": "Identity"}),
            "/children/1/block",
            "expected arrays as inputs, found a list",
        ),
    ],
)
def test_bad_structures_are_refused(model: Any, pointer: str, words: str) -> None:
    ((where, _, message),) = problems(whole(model))
    assert where == f"/model{pointer}"
    assert words in message


def test_containers_inside_containers_have_a_limit() -> None:
    structure: Any = 0
    for _ in range(17):
        structure = {"list": [structure]}
    assert "more than 16" in problems(whole(outputs(structure, "out")))[0][2]


HUGE = 2**31 - 1


@pytest.mark.parametrize(
    ("node", "rule"),
    [
        (op("out", "einsum", "x", "x", pattern="ab,cd->abcd,"), "pattern"),
        (op("out", "einsum", "x", "x", pattern="ab,ab->a" + "b" * 10**6), "maxLength"),
        (op("out", "einsum", *["x"] * 17, pattern=",".join(["ab"] * 17) + "->"), "shape"),
        (op("out", "einsum", "x", "x", pattern="ab,bc->ac"), "shape"),
        (op("out", "pad", "x", padding=[[0, HUGE], [0, HUGE]], mode="constant", value=0), "shape"),
        (op("out", "pad", "x", padding=[[0, HUGE]], mode="wrap", value=0), "shape"),
        (op("out", "pad", "x", padding=[[0, -1]], mode="wrap", value=0), "minimum"),
        (op("out", "pad", "x", padding=[[0, 1]], mode="constant", value="inf"), "anyOf"),
        (op("out", "split", "x", sizes=HUGE, axis=1), "anyOf"),
        (op("out", "split", "x", sizes=[HUGE, -HUGE], axis=1), "anyOf"),
        (op("out", "split", "x", sizes=[HUGE, -1], axis=1), "shape"),
        (op("out", "split", "x", sizes=[], axis=1), "anyOf"),
        (op("out", "broadcast_to", "x", "x", shape=[HUGE, HUGE, None, 4]), "shape"),
        (op("out", "broadcast_to", "x", "x", shape=[1] * 65), "maxItems"),
        (op("out", "broadcast_to", "x", "x", shape=[HUGE] * 62 + [None, 4]), "shape"),
        (op("out", "reshape", "x", shape=[HUGE, HUGE, -1]), "shape"),
        (op("out", "take", "x", "x", axis=0), "shape"),
        (op("out", "gather", "x", "x", axis=9), "shape"),
        (op("out", "clip", "x", low=None, high=None), "shape"),
        (op("out", "var", "x", axis=0, keepdims=False, ddof=2), "maximum"),
        (op("out", "argmax", "x", axis=[0], keepdims=False), "type"),
        (op("out", "cumsum", "x", axis=None), "type"),
    ],
)
def test_hostile_literals_are_refused_before_anything_is_allocated(node: Any, rule: str) -> None:
    start = time.process_time()
    found = problems(whole(graph(node)))
    assert found[0][1] == rule, found
    assert time.process_time() - start < 2


def kind(name: str, **fields: Any) -> dict[str, Any]:
    return row({"kind": name, **fields})


TRANSPOSE = {
    "channels": 4, "kernel_size": [3, 3], "strides": [2, 2], "padding": [[1, 1], [1, 1]], "output_padding": [1, 1],
    "dilation": [1, 1], "groups": 1, "layout": "NCHW", "activation": None, "use_bias": False, "in_channels": 3,
    "dtype": "float32",
}  # fmt: skip
UPSAMPLE = {"scale": [2, 2], "mode": "linear", "align_corners": False, "layout": "NCHW", "size": None}


@pytest.mark.parametrize(
    ("model", "rule"),
    [
        (kind("Conv2DTranspose", **TRANSPOSE | {"output_padding": [2, 0]}), "value"),
        (kind("Conv2DTranspose", **TRANSPOSE | {"padding": [[9, 9], [9, 9]]}), "shape"),
        (kind("Conv2DTranspose", **TRANSPOSE | {"strides": [HUGE, HUGE]}), "shape"),
        (kind("Conv2DTranspose", **TRANSPOSE | {"kernel_size": [HUGE, HUGE]}), "shape"),
        (kind("Conv2DTranspose", **TRANSPOSE | {"in_channels": 4}), "shape"),
        (kind("Upsample", **UPSAMPLE | {"scale": [HUGE, HUGE]}), "shape"),
        (kind("Upsample", **UPSAMPLE | {"size": [2, 2]}), "value"),
        (kind("Upsample", **UPSAMPLE | {"scale": [2]}), "value"),
        (kind("Upsample", **UPSAMPLE | {"mode": "cubic"}), "enum"),
        (kind("Upsample", **UPSAMPLE | {"mode": "nearest", "align_corners": True}), "value"),
        (kind("AdaptiveAvgPool2D", output_size=[HUGE, HUGE], layout="NCHW"), "shape"),
        (kind("Pad", padding=[[HUGE, HUGE]] * 4, mode="constant", value=0), "shape"),
        (kind("Pad", padding=[[5, 5]], mode="reflect", value=0), "shape"),
        (kind("Reshape", shape=[None, -1, -1]), "value"),
        (kind("Reshape", shape=[None, 7]), "shape"),
        (kind("Permute", axes=[0, 2, 2, 1]), "value"),
        (kind("Permute", axes=[0, 2, 1]), "shape"),
        (kind("Softmax", axis=4), "shape"),
        (kind("Activation", activation="relu", alpha=0.1), "value"),
        (kind("Activation", activation="elu", alpha=1e40), "maximum"),
    ],
)
def test_hostile_fields_are_refused_before_anything_is_allocated(model: Any, rule: str) -> None:
    start = time.process_time()
    found = problems(whole(model, (None, 3, 5, 5)))
    assert found[0][1] == rule, found
    assert time.process_time() - start < 2


def field(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name.lower(), "block": {"kind": name, **fields}, "inputs": ["x"]}


#: Each of the ops and kinds whose literals decide on shapes, on an input (any, 3, 5, 5).
LITERALS = whole(
    graph(
        field("Conv2DTranspose", **TRANSPOSE),
        field("Upsample", **UPSAMPLE),
        field("AdaptiveAvgPool2D", output_size=[2, 3], layout="NHWC"),
        field("Pad", padding=[[1, 2], [0, 1]], mode="reflect", value="NaN"),
        field("Reshape", shape=[None, 3, -1]),
        field("Permute", axes=[0, 2, 3, 1]),
        field("LogSoftmax", axis=-1),
        field("Activation", activation="elu", alpha=0.5),
        op("split", "split", "x", sizes=[2, -1], axis=1),
        op("parts", "split", "x", sizes=5, axis=3),
        op("einsum", "einsum", ["split", 0], "x", pattern="bihw,bjhw->bij"),
        op("padded", "pad", ["parts", 4], padding=[[1, 0]], mode="constant", value=-1.5),
        op("shape", "shape_of", "padded"),
        op("take", "take", "x", "shape", axis=1),
        op("arg", "argmax", "x", axis=1, keepdims=True),
        op("gather", "gather", "x", "arg", axis=1),
        op("wide", "broadcast_to", "gather", "x", shape=[None, 3, 5, 5]),
        op("clip", "clip", "wide", low=-1, high=0.5),
        op("more", "greater", "clip", "x"),
        op("where", "where", "more", "x", "wide"),
        op("var", "var", "where", axis=[2, 3], keepdims=True, ddof=1),
        op("out", "cumsum", "var", axis=1),
        outputs=("out", "einsum", "padded", "take"),
        structure={"dict": {"b": {"tuple": [1, 2]}, "a": 0, "c": {"list": [3]}}},
    ),
    (None, 3, 5, 5),
)


def test_they_validate() -> None:
    validate(LITERALS)
    again = describe(build(LITERALS))
    assert again == LITERALS
    assert list(again["model"]["structure"]["dict"]) == ["b", "a", "c"]


@pytest.mark.slow
@settings(FUZZ)
@given(mutated(LITERALS))
def test_any_change_gives_an_answer(architecture: Any) -> None:
    start = time.process_time()
    answer(architecture)
    assert time.process_time() - start < 2
