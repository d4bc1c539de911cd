"""A part that is read without the rest is what the whole has there, and costs no more than itself."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from modelarchive import nn, zoo
from modelarchive.architecture import build, building, check, describe, structure
from modelarchive.architecture.emitting import Emitter
from modelarchive.architecture.parts import Whole
from modelarchive.errors import ParameterError, SpecError
from modelarchive.nn.calling import declarations_of
from tests.architecture.architectures import X, dense, graph, network, op, row, whole
from tests.cases.networks import narrow

IMAGE = np.zeros((1, 3, 32, 32), np.float32)


def described(make: Callable[[], nn.Block], x: Any) -> dict[str, Any]:
    net = make()
    net.initialize(seed=0)
    net(x)
    return describe(net, x)


def architectures() -> dict[str, dict[str, Any]]:
    tied = [dense(4), row({**dense(4), "shares": "0"}, {**dense(4), "shares": {"weight": "1.0.weight"}})]
    return {
        "nested": describe(network(), X),
        "resnet": described(narrow(zoo.resnet18), IMAGE),
        "densenet": described(lambda: zoo.DenseNet((2, 2), growth=4, channels=8, classes=3), IMAGE),
        "encoder": described(lambda: zoo.TransformerEncoder(2, 8, 2, 16), np.zeros((1, 5, 8), np.float32)),
        "gpt2": described(lambda: zoo.GPT2(11, 8, 2, 2, 16), np.zeros((1, 5), np.int64)),
        "tied": whole(row(*tied, row(dense(4), {**dense(4), "shares": "2.0"}))),
        "named as others are": whole(row(row(dense(4)), row({**dense(4), "shares": "0.0"}), row(dense(4)))),
    }


ARCHITECTURES = architectures()


def structure_of(block: nn.Block) -> dict[str, Any]:
    return Emitter(block, {}).model()


def zeros(shapes: dict[str, tuple[int, ...]], path: str) -> Callable[[Any], dict[str, np.ndarray]]:
    """The arrays of a part, by names that are relative to it."""
    stored = {
        name.removeprefix(f"{path}.") if path else name: np.zeros(shape, np.float32) for name, shape in shapes.items()
    }
    return lambda names: {name: stored[name] for name in names}


@pytest.mark.parametrize(
    "name",
    [pytest.param(each, marks=[pytest.mark.slow] if each in ("densenet", "resnet") else []) for each in ARCHITECTURES],
)
def test_each_block_is_what_the_whole_has_there(name: str) -> None:
    architecture = ARCHITECTURES[name]
    known, checked = Whole(copy.deepcopy(architecture)), check(architecture)
    alone = 0
    for path, block in checked.block.named_blocks():
        slices = [slice(0, 1), slice(1, None), slice(None, None, 2), slice(5, 2)]
        for children in (None, *slices) if isinstance(block, nn.Sequential) else (None,):
            expected = building.part(architecture, path, children)
            found = known.read(path, children)
            if found is not None:
                alone += 1
                assert structure_of(found) == structure_of(expected.block)
            assert not known.is_checked
            built = building.build_part(Whole(architecture), path, children, zeros(checked.shapes, path))
            assert {name: each.shape for name, each in built.collect_params().items()} == expected.shapes
            assert structure_of(built) == structure_of(expected.block)
            assert declarations_of(built) == expected.inputs
    assert alone
    assert known.architecture == architecture


@pytest.mark.parametrize(
    ("name", "path", "is_alone"),
    [
        ("nested", "stem", True),
        ("nested", "stem.body.0", True),
        ("nested", "spare", True),
        ("nested", "tied", False),
        ("nested", "mix", False),
        ("nested", "nothing", False),
        ("gpt2", "h.1", True),
        ("gpt2", "wte", False),
        ("gpt2", "lm_head", False),
        ("tied", "0", False),
        ("tied", "1", False),
        ("tied", "2", True),
        ("tied", "2.0", False),
        ("named as others are", "1", False),
        ("named as others are", "2.0", True),
    ],
)
def test_what_is_shared_with_others_is_read_with_them(name: str, path: str, is_alone: bool) -> None:
    assert (Whole(ARCHITECTURES[name]).read(path) is not None) is is_alone


def test_others_can_share_what_the_part_has() -> None:
    """They may know shapes that it does not say, or freeze what is shared."""
    other = {**dense(4), "shares": "0", "frozen": ["weight"]}
    architecture = whole(row(dense(4), other))
    assert Whole(architecture).read("0") is None
    built = building.build_part(Whole(architecture), "0", None, zeros({"0.weight": (4, 4), "0.bias": (4,)}, "0"))
    assert not built.weight.trainable
    for shares in ({"0.weight": "0.weight"}, "0"):
        above = whole(row(dense(4), {**row(dense(4)), "shares": shares}))
        assert Whole(above).read("0") is None
        assert Whole(above).read("1.0") is None
        assert Whole(above).read("1", slice(0, 1)) is None


def test_a_shape_that_is_not_declared_is_found_by_the_whole() -> None:
    architecture = whole(row(dense(4), dense(3, in_units=0)))
    assert Whole(architecture).read("1") is None
    built = building.build_part(Whole(architecture), "1", None, zeros({"1.weight": (3, 4), "1.bias": (3,)}, "1"))
    assert built.in_units == 4
    with pytest.raises(ParameterError, match=r"expected shape \(3, 4\)"):
        building.build_part(Whole(architecture), "1", None, zeros({"1.weight": (3, 5), "1.bias": (3,)}, "1"))


@pytest.mark.parametrize("blocks", [20, 2000])
def test_the_rest_is_not_read(blocks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    original = structure.Reader.block

    def counted(self: structure.Reader, data: Any, pointer: str, path: str) -> nn.Block:
        read.append(path)
        return original(self, data, pointer, path)

    known = Whole(whole(row(*(row(dense(4), dense(4)) for _ in range(blocks)))), may_share=False)
    monkeypatch.setattr(structure.Reader, "block", counted)
    assert known.read("7") is not None
    assert read == ["7", "7.0", "7.1"]
    assert known.read("", slice(3, 5)) is not None
    assert read[3:] == ["", "3", "3.0", "3.1", "4", "4.0", "4.1"]


def broken(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    architecture = copy.deepcopy(ARCHITECTURES["nested"])
    change(architecture)
    return architecture


def node(architecture: dict[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in architecture["model"]["nodes"] if each["name"] == name)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.update(vocabulary=2), "1 was expected"),
        (lambda a: a.update(inputs=[{"name": "x"}]), "'shape' is a required property"),
        (lambda a: a.update(more=1), "more"),
        (lambda a: node(a, "stem")["block"].update(kind="Nonsense"), "Nonsense"),
        (lambda a: node(a, "stem").update(name="pool"), "there already"),
        (lambda a: node(a, "stem")["block"]["nodes"].append(op("late", "no_op", "x")), "no op"),
        (lambda a: node(a, "stem")["block"]["outputs"].append("nothing"), "no node or input 'nothing'"),
        (
            lambda a: node(a, "stem")["block"]["nodes"].insert(0, {"name": "c", "call": "tail", "inputs": ["x"]}),
            "no block",
        ),
        (lambda a: node(a, "stem")["block"]["nodes"][0]["block"].update(shares={"weight": "bias"}), "no parameter"),
        (lambda a: node(a, "stem")["block"].update(frozen=["gian"]), "no parameter here"),
        (lambda a: node(a, "stem")["block"].update(big=[10**30]), "64 bits"),
        (lambda a: node(a, "stem")["block"]["parameters"]["gain"].update(shape=[2**31 - 1] * 2), "2\\*\\*40"),
    ],
)
def test_what_is_wrong_with_the_part_is_told(change: Callable[[dict[str, Any]], Any], message: str) -> None:
    known = Whole(broken(change))
    assert known.read("stem") is None
    with pytest.raises(SpecError, match=message):
        building.build_part(known, "stem", None, lambda names: {})


@pytest.mark.parametrize(
    "model",
    [None, [], {}, {"kind": "Sequential"}, {"kind": "Sequential", "children": {"0": 1}}, {"kind": ["Graph"]},
     {"kind": "Sequential", "children": [None, {"name": "0"}, {"name": 0, "block": {}}, {"name": "1", "block": 3}]},
     {"kind": "Graph", "nodes": [{"name": "0", "op": "relu"}], "children": [{"name": "0", "block": dense()}]},
     row(dense()) | {"children": [{"name": "0", "block": dense()}] * 2}],
)  # fmt: skip
def test_what_is_no_container_has_no_parts(model: Any) -> None:
    for children in (None, slice(0, 1)):
        for path in ("", "0", "1", "0.0", "0..0", "."):
            for architecture in (whole(model), {**whole(model), "model": [model]}):
                known = Whole(architecture)
                assert known.read(path, children) is None
                with pytest.raises(SpecError):
                    building.build_part(known, path, children, lambda names: {})


def test_what_is_wrong_elsewhere_is_told_where_it_is_asked_for() -> None:
    architecture = broken(lambda a: node(a, "spare")["block"].update(kind="Nonsense"))
    built = building.build_part(Whole(architecture), "stem", None, zeros(check(ARCHITECTURES["nested"]).shapes, "stem"))
    assert built(X).shape == (3, 4, 8, 8)
    with pytest.raises(ValueError, match="expected an input of shape"):  # and nothing of what is not known
        built(X[0])
    with pytest.raises(SpecError, match="Nonsense"):
        describe(built)
    assert describe(built, X)["inputs"][0]["shape"] == [None, 2, 8, 8]


def test_a_part_that_was_copied_knows_its_inputs() -> None:
    net = building.build_part(
        Whole(ARCHITECTURES["nested"]), "again", None, zeros(check(ARCHITECTURES["nested"]).shapes, "again")
    )
    for found in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), net):
        assert describe(found)["inputs"] == [{"name": "x", "shape": [None, 4, 4, 4], "dtype": "float32"}]


def test_a_part_of_a_network_that_is_never_called_is_one_too() -> None:
    held = {"kind": "Graph", "inputs": [], "nodes": [{"name": "a", "block": graph(op("out", "negative", "x"))}],
            "outputs": []}  # fmt: skip
    architecture = {"vocabulary": 1, "inputs": [], "model": held}
    net = building.build_part(Whole(architecture), "a", None, lambda names: {})
    np.testing.assert_array_equal(net(np.ones(2)), -np.ones(2))
    assert declarations_of(net) == []
    assert declarations_of(build(architecture)) == []
