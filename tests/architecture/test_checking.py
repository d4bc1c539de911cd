"""validate: every problem at once, at its place; nothing but SpecError whatever the JSON."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelarchive.architecture import build, describe, limits, parameter_shapes, validate
from modelarchive.errors import SpecError
from tests.architecture.architectures import X, dense, graph, network, op, row, whole
from tests.work import growth

RELU = {"kind": "Activation", "activation": "relu", "alpha": None}
CONSTANT = op("c", "constant", value=1.0, dtype=None)


def problems(architecture: Any) -> list[tuple[str, str, str]]:
    with pytest.raises(SpecError) as caught:
        validate(architecture)
    return caught.value.problems


def test_valid_ones_pass() -> None:
    validate(whole(dense()))
    validate(whole(row()))
    validate(whole(graph({"name": "out", "block": RELU, "inputs": ["x"]})))
    validate(whole(graph(CONSTANT, op("out", "add", "x", "c"))))
    validate(describe(network(), X))


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({"kind": "Dens"}, [("", "kind", "did you mean 'Dense'?")]),
        ({"kind": 3}, [("", "kind", "found 3")]),
        ({}, [("", "kind", "found nothing")]),
        ([], [("", "type", "[] is not of type 'object'")]),
        (dense(units=0), [("/units", "minimum", "0 is less than the minimum of 1")]),
        (dense(units="3"), [("/units", "type", "'3' is not of type 'integer'")]),
        (dense(units=3.0), [("", "type", "without a decimal point")]),
        (dense(units=True), [("/units", "type", "True is not of type 'integer'")]),
        (dense(activation="rleu"), [("/activation", "enum", "'rleu' is not one of")]),
        (dense(colour=1), [("", "additionalProperties", "'colour' was unexpected")]),
        ({"kind": "Dense", "units": 3}, [("", "required", "is a required property")] * 5),
        (dense(in_units=5), [("", "shape", "expected 5 input features, found 4")]),
        (dense(frozen=["weight", "wieght"]), [("/frozen/1", "parameter", "'wieght' is no parameter here")]),
        (dense(frozen=["bias", "bias"]), [("/frozen/1", "name", "there already")]),
        (row(dense(), dense()), [("/children/1/block", "shape", "expected 4 input features, found 3")]),
        ({**row(), "children": 3}, [("/children", "type", "3 is not of type 'array'")]),
        ({**row(), "children": [3]}, [("/children/0", "type", "3 is not of type 'object'")]),
        (
            {**row(), "children": [{"name": "a", "block": RELU}] * 2},
            [("/children/1/name", "name", "'a' is there already")],
        ),
        ({**row(), "children": [{"name": "a.b", "block": RELU}]}, [("/children/0/name", "pattern", "a.b")]),
        ({**row(), "children": [{"name": "__hdf5__", "block": RELU}]}, [("/children/0/name", "name", "reserved")]),
        ({**row(), "children": [{"name": "a\n", "block": RELU}]}, [("/children/0/name", "name", "letters")]),
        (graph(), [("/outputs/0", "reference", "no node or input 'out'")]),
        (graph(op("out", "add", "x", "y")), [("/nodes/0/inputs/1", "reference", "no node or input 'y'")]),
        (graph(op("out", "subtrac", "x", "x")), [("/nodes/0/op", "op", "did you mean 'subtract'?")]),
        (graph(op("out", "add", "x")), [("/nodes/0/inputs", "minItems", "['x']")]),
        (graph(op("out", "sum", "x", axis=0)), [("/nodes/0/arguments", "required", "keepdims")]),
        (graph(op("out", "sum", "x", axis=5, keepdims=False)), [("/nodes/0", "shape", "found axis 5")]),
        (graph(op("out", "add", "x", "x"), op("out", "abs", "x")), [("/nodes/1/name", "name", "there already")]),
        (graph(op("x", "abs", "x"), outputs=("x",)), [("/nodes/0/name", "name", "there already")]),
        (graph(op("out", "add", "x", "a"), op("a", "abs", "x")), [("/nodes/0/inputs/1", "order", "defined later")]),
        (graph(op("out", "add", "x", "out")), [("/nodes/0/inputs/1", "cycle", "a cycle")]),
        (
            graph(op("a", "abs", "c"), op("b", "abs", "a"), op("c", "abs", "b"), op("out", "abs", "x")),
            [("/nodes/0/inputs/0", "cycle", "'c' needs 'a' itself")],
        ),
        (graph({"name": "out", "call": "net", "inputs": ["x"]}), [("/nodes/0/call", "reference", "no block 'net'")]),
        (graph({"name": "out", "parameter": "w"}), [("/nodes/0/parameter", "reference", "no parameter 'w'")]),
        (graph({"name": "out", "block": RELU}), [("/outputs/0", "reference", "only declared")]),
        (graph({"name": "out", "inputs": ["x"]}), [("/nodes/0", "oneOf", "not valid under any")]),
        (graph({"name": "out", "block": RELU, "op": "abs", "inputs": ["x"]}), [("/nodes/0", "oneOf", "")]),
        (graph(op("out", "abs", ["x", 0])), [("/nodes/0", "shape", "'x' has one output")]),
        (graph(op("out", "constant", value=[1, [2]], dtype="float32")), [("/nodes/0/arguments/value", "value", "")]),
        (graph(op("out", "constant", value=[1], dtype=None)), [("/nodes/0/arguments/value", "value", "a number")]),
        (graph(op("out", "constant", value=300, dtype="int8")), [("/nodes/0/arguments/value", "value", "300")]),
        (
            graph(op("out", "constant", value=[[1] * 64] * 2, dtype="int8")),
            [("/nodes/0/arguments/value", "value", "64 elements")],
        ),
        (graph({"name": "out", "block": {"kind": "Nope"}, "inputs": ["x"]}), [("/nodes/0/block", "kind", "Nope")]),
        (
            graph(op("out", "abs", "x"), parameters={"a": {"shape": [0], "dtype": "float32"}}),
            [("/parameters/a/shape/0", "minimum", "")],
        ),
        (
            graph({"name": "out", "block": RELU, "inputs": ["x"]}, parameters={"out": {"shape": [1], "dtype": "int8"}}),
            [("/parameters/out", "name", "'out' is a block already")],
        ),
        (row(dense(4, shares="7"), dense(4)), [("/children/0/block/shares", "shares", "no block '7'")]),
        (row(dense(4, shares={"weigth": "1.weight"}), dense(4)), [("/children/0/block/shares/weigth", "shares", "")]),
        (row(dense(4, shares={"weight": "1.w"}), dense(4)), [("/children/0/block/shares/weight", "shares", "'1.w'")]),
        (row(dense(4, shares="1"), dense(4, shares="0")), [("/children/0/block/shares", "shares", "cycle")] * 4),
        (row(dense(4), dense(5, shares="0")), [("/children/1/block/shares", "shares", "cannot be shared")] * 2),
        (
            row(dense(4), dense(4, dtype="float64", shares="0")),
            [("/children/1/block/shares", "shares", "is float64, what it shares is float32")] * 2,
        ),
    ],
)
def test_each_problem_has_its_place(model: Any, expected: list[tuple[str, str, str]]) -> None:
    found = problems(whole(model))
    assert len(found) == len(expected), found
    assert found[0][0] == "/model" + expected[0][0]
    assert found[0][1] == expected[0][1]
    assert expected[0][2] in found[0][2]


@pytest.mark.parametrize(
    ("architecture", "pointer", "rule"),
    [
        (None, "", "type"),
        ([], "", "type"),
        ({}, "", "required"),
        ({**whole(dense()), "vocabulary": 2}, "/vocabulary", "const"),
        ({**whole(dense()), "more": 2}, "", "additionalProperties"),
        (
            {**whole(dense()), "inputs": [{"name": "x", "shape": [-1], "dtype": "float32"}]},
            "/inputs/0/shape/0",
            "minimum",
        ),
        ({**whole(dense()), "inputs": [{"name": "x", "shape": [4], "dtype": "float"}]}, "/inputs/0/dtype", "enum"),
        ({**whole(dense()), "inputs": whole(dense())["inputs"] * 2}, "/inputs/1/name", "name"),
        (whole(dense(), ()), "/model", "shape"),
        ({1: 2}, "", "json"),
        (whole({"kind": {1, 2}}), "/model/kind", "json"),
        (whole(dense(units=float("nan"))), "/model/units", "json"),
        (whole(dense(units=10**400)), "/model/units", "json"),
    ],
)
def test_the_frame_is_checked(architecture: Any, pointer: str, rule: str) -> None:
    assert problems(architecture)[0][:2] == (pointer, rule)


def test_all_problems_at_once() -> None:
    model = graph(
        {"name": "a", "block": row({"kind": "Nope"}, dense(units=-1)), "inputs": ["x"]},
        op("b", "softmax", "x", axis=9),
        op("c", "add", "a", "zzz"),
        {"name": "d", "block": dense(in_units=9), "inputs": ["x"]},
        {"name": "out", "block": dense(frozen=["w"]), "inputs": ["x"]},
    )
    found = {(pointer.removeprefix("/model"), rule) for pointer, rule, _ in problems(whole(model))}
    assert found == {
        ("/nodes/0/block/children/0/block", "kind"),
        ("/nodes/0/block/children/1/block/units", "minimum"),
        ("/nodes/1", "shape"),
        ("/nodes/2/inputs/1", "reference"),
        ("/nodes/3", "shape"),
        ("/nodes/4/block/frozen/0", "parameter"),
    }


def test_problems_inside_a_broken_container_are_told_too() -> None:
    broken = {**row({"kind": "Nope"}), "more": 1}
    found = [(pointer, rule) for pointer, rule, _ in problems(whole(row(broken, dense(in_units=7))))]
    assert found == [
        ("/model/children/0/block", "additionalProperties"),
        ("/model/children/0/block/children/0/block", "kind"),
    ]


def test_there_is_an_end_to_problems() -> None:
    found = problems(whole(row(*[{"kind": "Nope"}] * 1000)))
    assert len(found) == limits.MAX_PROBLEMS + 1
    assert found[-1][1] == "limit"


def test_shapes_of_deferred_layers_are_inferred() -> None:
    conv = {
        "kind": "Conv2D", "channels": 4, "kernel_size": [3, 3], "strides": [2, 2], "padding": [[1, 1], [1, 1]],
        "dilation": [1, 1], "groups": 1, "layout": "NCHW", "activation": None, "use_bias": False, "in_channels": 0,
        "dtype": "float32",
    }  # fmt: skip
    architecture = whole(row(conv, dense(2, in_units=0)), (None, 3, 8, 8))
    assert parameter_shapes(architecture) == {"0.weight": (4, 3, 3, 3), "1.weight": (2, 64), "1.bias": (2,)}


def test_free_axes_stay_free_and_fixed_ones_must_fit() -> None:
    pool = {"kind": "GlobalAvgPool2D", "layout": "NCHW"}
    validate(whole(row(pool, dense(2, in_units=3)), (None, 3, None, None)))
    flat = row({"kind": "Flatten"}, dense(2, in_units=0))
    assert problems(whole(flat, (None, 3, None, None)))[0][:2] == ("/model/children/1/block", "shape")


# ------------------------------------------------------------------ limits


def nested(depth: int, inner: dict[str, Any], *, twice: bool = False) -> dict[str, Any]:
    block = inner
    for _ in range(depth):
        again = [{"name": "b", "call": "a", "inputs": ["a"]}] if twice else []
        block = graph({"name": "a", "block": block, "inputs": ["x"]}, *again, outputs=("b" if twice else "a",))
    return block


def cycle() -> list[Any]:
    loop: list[Any] = []
    loop.append(loop)
    return loop


def bomb() -> dict[str, Any]:
    block: dict[str, Any] = {}
    for _ in range(64):
        block = {"a": block, "b": block}
    return block


@pytest.mark.slow
@pytest.mark.parametrize(
    "architecture",
    [
        cycle(),
        bomb(),
        whole(nested(64, RELU)),
        whole(nested(500, RELU)),
        whole(nested(40, RELU, twice=True)),
        whole(dense(2**31 - 1, 2**31 - 1), (None, 2**31 - 1)),
        {"vocabulary": 1, "inputs": [], "model": dense(2**31 - 1, 2**31 - 1)},
        whole(graph(op("out", "abs", "x")), (2**20, 2**20, 2)),
        whole(graph(op("out", "expand_dims", "x", axis=0)), (1,) * 64),
        whole(row({"kind": "x" * (limits.MAX_TEXT + 1)})),
    ],
    ids=["self", "bomb", "deep", "deeper", "doubling", "wide", "declared", "input", "grown", "text"],
)
def test_excess_is_refused_quickly(architecture: Any) -> None:
    start = time.process_time()
    found = problems(architecture)
    assert found[-1][1] in ("limit", "shape")
    assert time.process_time() - start < 10


def test_too_many_blocks_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_NODES", 1000)
    validate(whole(row(*[RELU] * 999)))
    assert problems(whole(row(*[RELU] * 1000)))[0][1] == "limit"


def test_deep_networks_within_the_limit_are_fine() -> None:
    net = build(whole(nested(63, dense(4))))
    net.initialize(seed=0)
    assert net(X[:, 0, 0, :4]).shape == (3, 4)
    assert len(next(iter(net.collect_params())).split(".")) == 64


def chain(length: int) -> dict[str, Any]:
    nodes = [CONSTANT, *(op(f"n{at}", "add", f"n{at - 1}" if at else "x", "c") for at in range(length))]
    return whole(graph(*nodes, outputs=(f"n{length - 1}",)))


def test_the_work_is_linear() -> None:
    def of(length: int) -> Callable[[], object]:
        architecture = chain(length)
        return lambda: validate(architecture)

    assert growth(of, 300) < 2.1


# ------------------------------------------------------------------ any JSON

SEED = json.loads(json.dumps(describe(network(), X)))
SMALL = whole(
    graph(
        CONSTANT,
        op("s", "slice", "x", index=[[None, None, None], [0, 2, None]]),
        op("r", "reshape", "s", shape=[None, -1, 1]),
        op("t", "transpose", "r", axes=[0, 2, 1]),
        op("j", "concatenate", "t", "t", axis=1),
        op("m", "max", "j", axis=[1], keepdims=False),
        {"name": "net", "block": row(dense(4, 2, shares={"bias": "tied.bias"}), RELU), "inputs": ["m"]},
        {"name": "tied", "block": dense(4, 4, frozen=["weight"])},
        {"name": "w", "parameter": "scale"},
        op("p", "multiply", "net", "w"),
        {"name": "again", "call": "tied", "inputs": ["p"]},
        {"name": "one", "call": "net.1", "inputs": ["again"]},
        outputs=("one", "again"),
        parameters={"scale": {"shape": [4], "dtype": "float32"}},
    )
)

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 70)
    | st.sampled_from([2**31 - 1, 2**31, 2**53, 2**64, 2**65, -(2**63), 0.5, 2.0, 1e308, float("nan"), float("inf")])
    | st.sampled_from(
        ["x", "c", "net", "net.1", "tied.weight", "scale", "", "a.b", "\n", "\ud800", "0", "float32", "add"]
    )
    | st.sampled_from(["Dense", "Graph", "Sequential", "BatchNorm", "Conv2D", "relu", "NHWC", "reshape", "constant"])
)


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)


JSON = st.recursive(SCALARS, containers)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


@st.composite
def mutated(draw: Any, seed: Any) -> Any:
    """The architecture with a few parts replaced, removed, renamed, doubled or moved."""
    architecture = copy.deepcopy(seed)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.sampled_from(list(places(architecture))))
        if not at:
            continue
        holder = architecture
        for key in at[:-1]:
            holder = holder[key]
        change = draw(st.sampled_from(["replace", "replace", "remove", "rename", "copy", "double"]))
        if change == "remove":
            del holder[at[-1]]
        elif change == "rename" and isinstance(holder, dict):
            holder[draw(st.sampled_from(["shares", "frozen", "name", "inputs", "op", "z"]))] = holder.pop(at[-1])
        elif change == "copy":
            other = architecture
            for key in draw(st.sampled_from(list(places(architecture)))):
                other = other[key]
            holder[at[-1]] = copy.deepcopy(other)
        elif change == "double" and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[at[-1]]))
        else:
            holder[at[-1]] = draw(JSON)
    return architecture


def answer(architecture: Any) -> None:
    """Validate and build; what is valid also survives building and describing."""
    refused = None
    try:
        validate(architecture)
    except SpecError as error:
        refused = error
    if refused is not None:
        assert refused.problems
        assert all(pointer == "" or pointer.startswith("/") for pointer, _, _ in refused.problems)
        assert all(rule and message for _, rule, message in refused.problems)
        str(refused)
        return
    net = build(architecture)
    names = list(parameter_shapes(architecture))
    assert names == list(net.collect_params())


FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.slow
@FUZZ
@given(mutated(SMALL))
def test_any_change_gives_an_answer(architecture: Any) -> None:
    answer(architecture)


@pytest.mark.slow
@settings(FUZZ, max_examples=100)
@given(mutated(SEED))
def test_any_change_of_a_real_network_gives_an_answer(architecture: Any) -> None:
    answer(architecture)


@pytest.mark.slow
@FUZZ
@given(JSON)
def test_any_json_gives_an_answer(architecture: Any) -> None:
    answer(architecture)
    answer(whole(architecture))
