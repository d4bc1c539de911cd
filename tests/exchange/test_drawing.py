"""A Graph under construction: whatever is added to it, it is an architecture that is checked and built."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelarchive.architecture import check
from modelarchive.errors import ConversionError, UnsafeFileError
from modelarchive.exchange import budget
from modelarchive.exchange.bundle import Bundle, fitted
from modelarchive.exchange.drawing import MAX_PROBLEMS, GraphBuilder, Ref, Report, described
from modelarchive.exchange.refusal import Refusal
from modelarchive.names import problem_with_name
from modelarchive.nn.trials import first_trial
from modelarchive.store.deferred import Deferred

DENSE = {"units": 4, "use_bias": False, "in_units": 4}
PATHS = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4)


def array(number: float = 1.0, shape: tuple[int, ...] = (4, 4)) -> Deferred:
    values = np.full(shape, number, np.float32)
    return Deferred(values.shape, values.dtype, lambda: values)


def started() -> tuple[GraphBuilder, Ref]:
    builder = GraphBuilder()
    return builder, builder.input("x", first_trial([{"shape": [None, 4], "dtype": "float32"}]).values[0])


def whole(builder: GraphBuilder, *outputs: Ref) -> dict:
    inputs = [{"name": name, "shape": [None, 4], "dtype": "float32"} for name in builder.inputs]
    return {"vocabulary": 1, "inputs": inputs, "model": builder.graph(outputs)}


def built(builder: GraphBuilder, *outputs: Ref):
    checked = check(whole(builder, *outputs))
    return Bundle(fitted(checked, builder.arrays), checked.architecture).build()


@given(st.lists(st.text(max_size=6), min_size=1, max_size=20))
def test_names_are_free_and_of_the_grammar_whatever_is_preferred(preferred: list[str]) -> None:
    builder = GraphBuilder(reserved=["node", "x"])
    found = [builder.free(each) for each in preferred]
    assert len(set(found)) == len(found)
    assert not {"node", "x"} & set(found)
    assert not any(problem_with_name(name) or "." in name for name in found)


@pytest.mark.slow
@given(st.lists(PATHS, min_size=1, max_size=12))
def test_dotted_names_stand_in_graphs_inside_and_nothing_has_a_name_twice(paths: list[list[str]]) -> None:
    builder, x = started()
    names = []
    for number, path in enumerate(paths):
        arrays = {"weight": (f"stored{number}", array(number))}
        x = builder.layer("dense", described("Dense", DENSE), [x], arrays, path=path)
        names.append(next(name for name, each in builder.arrays.items() if each is arrays["weight"][1]))
    net = built(builder, x)
    parameters = net.collect_params()
    assert sorted(parameters) == sorted(names)
    assert [parameters[name].data()[0, 0] for name in names] == list(range(len(paths)))
    free = [name for name, path in zip(names, paths, strict=True) if name == ".".join([*path, "weight"])]
    assert names[0] in free  # the first has the name that it was to have
    assert net(np.ones((2, 4), np.float32)).shape == (2, 4)


def test_a_layer_with_the_same_arrays_is_called_again_and_one_with_others_is_not() -> None:
    builder, x = started()
    one, other = array(), array()
    for each in (one, one, other):
        x = builder.layer("dense", described("Dense", DENSE), [x], {"weight": ("", each)})
    x = builder.layer("tanh", described("Activation", {"activation": "tanh"}), [x], {})
    x = builder.layer("tanh", described("Activation", {"activation": "tanh"}), [x], {})
    assert [next(iter(set(node) & {"block", "call"})) for node in builder.nodes] == ["block", "call", *["block"] * 3]
    assert len(built(builder, x).collect_params()) == 2


def test_an_array_of_two_layers_is_shared() -> None:
    builder, x = started()
    x = builder.layer("one", described("Dense", DENSE), [x], {"weight": ("w", array(2))})
    x = builder.layer("two", described("Dense", DENSE | {"activation": "relu"}), [x], {"weight": ("w", array(2))})
    assert builder.nodes[1]["block"]["shares"] == {"weight": "one.weight"}
    parameters = built(builder, x).collect_params()
    assert parameters["one.weight"] is parameters["two.weight"]


def test_a_parameter_of_its_own_is_a_result_and_may_be_frozen() -> None:
    builder, x = started()
    name = builder.free("bias")
    bias = array(3, (4,))
    builder.declare(name, bias, is_trained=False)
    builder.keep("", {name: ("", bias)})
    sum_ = builder.op("sum", "add", [x, builder.parameter("bias_value", name, bias)], {})
    net = built(builder, sum_)
    assert net(np.zeros((1, 4), np.float32)).tolist() == [[3.0] * 4]
    assert not net.collect_params()[name].trainable


def test_results_are_known_one_by_one() -> None:
    builder, x = started()
    halves = builder.op("halves", "split", [x], {"sizes": 2, "axis": 1})
    assert builder.results_of(halves) == [Ref("halves", 0), Ref("halves", 1)]
    assert builder.results_of(x) == [x]
    assert [builder.known(each, "split").declared for each in builder.results_of(halves)] == [[None, 2]] * 2
    for unknown in (halves, Ref("halves", 2), Ref("nowhere")):
        with pytest.raises(Refusal, match=r"Reshape depends on the shape .* pass inputs="):
            builder.known(unknown, "Reshape")
    with pytest.raises(ValueError, match="second matrix"):
        builder.op("no", "matmul", [x, x], {})
    assert len(builder.nodes) == 1


def test_arrays_of_other_shapes_are_refused_all_at_once() -> None:
    builder, x = started()
    for name in ("one", "two"):
        x = builder.layer(name, described("Dense", DENSE), [x], {"weight": (name, array(shape=(4, 5)))})
    with pytest.raises(ConversionError) as caught:
        fitted(check(whole(builder, x)), builder.arrays)
    assert [where for where, _ in caught.value.unsupported] == ["one.weight", "two.weight"]
    assert caught.value.unsupported[0][1] == "expected shape (4, 4), found (4, 5)"


@pytest.mark.slow
def test_nodes_draw_on_the_budget() -> None:
    builder, x = started()

    def endless() -> None:
        with budget.reading("model", 0):
            for _ in range(budget.STEPS):
                builder.op("abs", "abs", [x], {})

    with pytest.raises(UnsafeFileError, match="more steps"):
        endless()
    assert len(builder.nodes) <= budget.STEPS // 2


def test_a_report_ends_where_nobody_reads_on() -> None:
    report = Report()
    for _ in range(2):
        report.note("here", "is left out")
    assert len(report.notes) == 1
    for number in range(MAX_PROBLEMS - 1):
        report.refuse(f"node {number}", "x" * 10_000)
    with pytest.raises(ConversionError) as caught:
        report.refuse("one more", "x")
    assert len(caught.value.unsupported) == MAX_PROBLEMS + 1
    assert all(len(what) < 1000 for _, what in caught.value.unsupported)
