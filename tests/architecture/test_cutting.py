"""A network is cut at any of its places: what leads to it, and what comes after, compute what the whole computes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import nn
from modelarchive.architecture import build, cutting, parameter_shapes
from modelarchive.exchange.bundle import Bundle
from modelarchive.models.reading import read_as
from modelarchive.nn import nesting

FOREIGN = Path(__file__).parents[1] / "data" / "foreign"


class Branching(nn.Block):
    """A shared layer, a layer inside of another, a skip, a parameter as a value, several outputs, a tied weight."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Dense(4, in_units=4), nn.Dense(4, in_units=4))
        self.twice = nn.Dense(4, activation="relu", in_units=4)
        self.memory = nn.LSTM(4, layout="NTC", return_state=True)
        self.head = nn.Dense(4, flatten=False, in_units=4)
        self.head.weight = self.twice.weight

    def forward(self, x: Any, z: Any) -> Any:
        y = self.features[0](x)
        y = self.twice(self.twice(y)) + z
        y = self.features[1](y) * self.features[0].bias.data()
        steps, h, c = self.memory(y.reshape(-1, 1, 4))
        return {"all": self.head(steps), "last": [h, c]}


class Inner(nn.Block):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Dense(6)
        self.second = nn.Dense(5)
        self.unused = nn.Dense(2, in_units=2)

    def forward(self, x: Any) -> Any:
        return self.second(self.first(x)) + 1


class Outer(nn.Block):
    """Graphs and Sequentials inside of each other."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Dense(4), Inner(), nn.Dense(3))
        self.inner = Inner()
        self.head = nn.Dense(2)

    def forward(self, x: Any) -> Any:
        return self.head(self.inner(self.stem(x)))


def described(net: nn.Block, *inputs: Any) -> Bundle:
    net.initialize(seed=0)
    net(*(each if isinstance(each, np.ndarray) else np.ones(each["shape"], "f4") for each in inputs))
    return Bundle({n: p.data() for n, p in net.collect_params().items()}, ma.describe(net, tuple(inputs)))


def branching() -> tuple[Bundle, list[np.ndarray]]:
    x, z = np.random.default_rng(0).standard_normal((2, 4), dtype="f4"), np.linspace(0, 1, 4, dtype="f4")
    return described(Branching(), x, {"shape": [4]}), [x, z]


def foreign(name: str, form: str) -> tuple[Bundle, list[np.ndarray]]:
    bundle = read_as(form, FOREIGN / name)
    rng = np.random.default_rng(0)
    assert bundle.architecture is not None
    declared = bundle.architecture["inputs"]
    inputs = [rng.random([size if isinstance(size, int) else 2 for size in each["shape"]]) * 2 for each in declared]
    return bundle, [array.astype(each["dtype"]) for array, each in zip(inputs, declared, strict=True)]


NETWORKS = {
    "branching": branching,
    "MXNet, a residual network": lambda: foreign("mxnet/resnet-symbol.json", "mxnet"),
    "MXNet, an LSTM": lambda: foreign("mxnet/spam-symbol.json", "mxnet"),
    "ONNX": lambda: foreign("onnx/torch-image.onnx", "onnx"),
    "Hugging Face, a Sequential": lambda: foreign("huggingface/gpt2", "huggingface"),
    "Hugging Face": lambda: foreign("huggingface/bert", "huggingface"),
}


def run(architecture: dict[str, Any], bundle: Bundle, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The outputs of a network whose parameters, and no others, come from the bundle."""
    wanted = {name: bundle.parameters[name] for name in parameter_shapes(architecture)}
    return nesting.leaves(build(architecture, wanted)(*inputs))


def of(architecture: dict[str, Any], whole: Bundle, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The inputs that a part still asks for."""
    assert whole.architecture is not None
    every = [each["name"] for each in whole.architecture["inputs"]]
    return [inputs[every.index(each["name"])] for each in architecture["inputs"]]


def places(architecture: dict[str, Any]) -> list[str]:
    model = architecture["model"]
    if model["kind"] == "Sequential":
        return [child["name"] for child in model["children"]]
    return [node["name"] for node in model["nodes"] if "inputs" in node or "parameter" in node]


def with_outputs(architecture: dict[str, Any], place: str, count: int, *, is_tuple: bool) -> dict[str, Any]:
    """The whole network, with all that is in it, and a node's values as its outputs."""
    changed = copy.deepcopy(architecture)
    if changed["model"]["kind"] == "Sequential":
        names = places(architecture)
        changed["model"]["children"] = changed["model"]["children"][: names.index(place) + 1]
        return changed
    changed["model"].pop("structure", None)
    changed["model"]["outputs"] = [[place, at] for at in range(count)] if is_tuple else [place]
    return changed


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_place_of_a_network(name: str) -> None:
    whole, inputs = NETWORKS[name]()
    assert whole.architecture is not None
    expected = run(whole.architecture, whole, inputs)
    tails = 0
    for place in places(whole.architecture):
        head = cutting.cut(whole.architecture, until=place).architecture
        ma.validate(head)
        found = run(head, whole, of(head, whole, inputs))
        try:
            reference = with_outputs(whole.architecture, place, len(found), is_tuple=len(found) > 1)
            result = nesting.leaves(build(reference, _fitting(reference, whole))(*inputs))
        except ma.SpecError:  # the reference is too simple for what is tied
            result = found
        assert [array.tobytes() for array in result] == [array.tobytes() for array in found], place
        assert set(parameter_shapes(head)) <= set(whole.parameters)
        try:
            tail = cutting.cut(whole.architecture, after=place).architecture
        except ma.SpecError as refused:
            _follow(refused, whole, inputs, expected)
            continue
        tails += 1
        assert [(each["shape"], each["dtype"]) for each in tail["inputs"]] != [(None, None)]
        again = run(tail, whole, found)
        assert [array.tobytes() for array in again] == [array.tobytes() for array in expected], place
        assert set(places(head)) & set(places(tail)) <= {"twice_1"} | _constants(whole.architecture)
    assert tails


def _fitting(architecture: dict[str, Any], whole: Bundle) -> dict[str, np.ndarray]:
    return {name: whole.parameters[name] for name in parameter_shapes(architecture)}


def _constants(architecture: dict[str, Any]) -> set[str]:
    """Nodes that depend on no input: both sides of a cut may need them."""
    depend = set(architecture["model"].get("inputs", ()))
    free = set()
    for node in architecture["model"].get("nodes", ()):
        refs = {ref if isinstance(ref, str) else ref[0] for ref in node.get("inputs", ())}
        (depend if refs & depend else free).add(node["name"])
    return free


def _follow(refused: ma.SpecError, whole: Bundle, inputs: Sequence[np.ndarray], expected: list[np.ndarray]) -> None:
    """What the hint says works."""
    hint = refused.hint or ""
    if "passes through" in hint:
        place = hint.split("'")[1]
        head, tail = (cutting.cut(whole.architecture or {}, **{way: place}).architecture for way in ("until", "after"))
        found = run(tail, whole, run(head, whole, of(head, whole, inputs)))
        assert [array.tobytes() for array in found] == [array.tobytes() for array in expected]
    else:
        assert hint in ("cut until it instead", "cut after an earlier one")


def test_what_is_needed_and_no_more() -> None:
    whole, _ = branching()
    head = cutting.cut(whole.architecture or {}, until="twice").architecture
    assert [each["name"] for each in head["inputs"]] == ["x"], "z comes later"
    assert set(parameter_shapes(head)) == {"features.0.weight", "features.0.bias", "twice.weight", "twice.bias"}
    tail = cutting.cut(whole.architecture or {}, after="add").architecture
    assert [(each["name"], each["shape"], each["dtype"]) for each in tail["inputs"]] == [("add", [None, 4], "float32")]
    names = set(parameter_shapes(tail))
    assert {name for name in names if not name.startswith("memory")} == {
        "features.0.bias",
        "features.1.weight",
        "features.1.bias",
        "head.weight",
        "head.bias",
    } | {"features.0.weight"}, "a layer is whole, and the weight that twice shared is the head's own"


def test_both_ends() -> None:
    whole, inputs = branching()
    middle = cutting.cut(whole.architecture or {}, after="add", until="features_1").architecture
    head = cutting.cut(whole.architecture or {}, until="add").architecture
    found = run(middle, whole, run(head, whole, inputs))
    expected = run(cutting.cut(whole.architecture or {}, until="features_1").architecture, whole, inputs)
    assert found[0].tobytes() == expected[0].tobytes()
    with pytest.raises(ma.SpecError, match="no layer 'features_1'"):
        cutting.cut(whole.architecture or {}, after="features_1", until="add")


def test_a_layer_with_several_outputs() -> None:
    whole, inputs = branching()
    head = cutting.cut(whole.architecture or {}, until="memory").architecture
    assert len(run(head, whole, inputs)) == 3
    tail = cutting.cut(whole.architecture or {}, after="memory").architecture
    assert [each["name"] for each in tail["inputs"]] == ["memory_0", "memory_1", "memory_2"]
    network = build(tail, _fitting(tail, whole))
    assert set(network(*run(head, whole, inputs))) == {"all", "last"}, "outputs keep their structure"


@pytest.mark.parametrize(
    ("place", "parameters"),
    [
        ("stem.0", {"stem.0"}),
        ("stem.1", {"stem.0", "stem.1.first", "stem.1.second", "stem.1.unused"}),
        ("stem.1.first", {"stem.0", "stem.1.first"}),
        ("stem.1.add", {"stem.0", "stem.1.first", "stem.1.second"}),
        ("inner.first", {"stem.0", "stem.1.first", "stem.1.second", "stem.1.unused", "stem.2", "inner.first"}),
    ],
)
def test_a_place_inside_of_another_block(place: str, parameters: set[str]) -> None:
    x = np.random.default_rng(0).standard_normal((2, 4), dtype="f4")
    net = Outer()
    whole = described(net, x)
    values: dict[str, np.ndarray] = {"stem.0": net.stem[0](x)}
    values["stem.1.first"] = net.stem[1].first(values["stem.0"])
    values["stem.1"] = values["stem.1.add"] = net.stem[1](values["stem.0"])
    values["inner.first"] = net.inner.first(net.stem(x))
    head = cutting.cut(whole.architecture or {}, until=place).architecture
    assert run(head, whole, [x])[0].tobytes() == values[place].tobytes()
    assert {name.rpartition(".")[0] for name in parameter_shapes(head)} == parameters
    tail = cutting.cut(whole.architecture or {}, after=place).architecture
    assert run(tail, whole, [values[place]])[0].tobytes() == net(x).tobytes()
    assert tail["inputs"][0]["shape"] == [None, values[place].shape[1]]
    before = {name.rpartition(".")[0] for name in parameter_shapes(tail)} & parameters
    assert before <= {"stem.1.unused"}


def test_a_mask_that_is_needed_on_both_sides_is_named() -> None:
    whole, _ = foreign("huggingface/bert", "huggingface")
    with pytest.raises(ma.SpecError, match=r"after 'bert\.encoder\.layer\.0' also needs 'bert\.encoder\.bias'"):
        cutting.cut(whole.architecture or {}, after="bert.encoder.layer.0")
    head = cutting.cut(whole.architecture or {}, until="bert.embeddings").architecture
    assert [each["name"] for each in head["inputs"]] == ["input_ids", "token_type_ids"]


@pytest.mark.parametrize(
    ("place", "said", "hint"),
    [
        ("steam", "no layer 'steam'", "did you mean 'stem'?"),
        ("stem.1.frist", "no layer 'stem.1.frist'", "did you mean 'stem.1.first'?"),
        ("stem.7", "no layer 'stem.7'", "there are stem.0, stem.1, stem.2"),
        ("x", "'x' is an input", "name what is done to it"),
        ("head.weight", "'head' is one layer (Dense)", "cut at 'head'"),
        ("stem.1.unused", "no layer 'stem.1.unused' that is called", ""),
        ("", "no layer ''", ""),
    ],
)
@pytest.mark.parametrize("way", ["until", "after"])
def test_places_that_are_not_there(place: str, said: str, hint: str, way: str) -> None:
    whole = described(Outer(), np.ones((2, 4), "f4"))
    if place == "head.weight" and way == "after":
        said, hint = "", ""
    with pytest.raises(ma.SpecError) as caught:
        cutting.cut(whole.architecture or {}, **{way: place})
    assert said in str(caught.value)
    assert hint in (caught.value.hint or "")


def test_the_last_layer_has_nothing_after_it() -> None:
    whole = described(Outer(), np.ones((2, 4), "f4"))
    with pytest.raises(ma.SpecError, match="'head' is the last"):
        cutting.cut(whole.architecture or {}, after="head")
    row = described(nn.Sequential(nn.Dense(2), nn.Dense(2)), np.ones((2, 4), "f4"))
    with pytest.raises(ma.SpecError, match="'1' is the last"):
        cutting.cut(row.architecture or {}, after="1")


def test_one_layer_is_not_cut() -> None:
    single = described(nn.Dense(2), np.ones((2, 4), "f4"))
    with pytest.raises(ma.SpecError, match=r"the model is one layer \(Dense\)"):
        cutting.cut(single.architecture or {}, until="weight")


class Shared(nn.Block):
    """One block with an inside, called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Inner()
        self.back = nn.Dense(5)
        self.out = nn.Dense(5)

    def forward(self, x: Any) -> Any:
        return self.out(self.inner(self.back(self.inner(x))))


def test_a_block_that_is_called_twice() -> None:
    x = np.random.default_rng(0).standard_normal((2, 5), dtype="f4")
    net = Shared()
    whole = described(net, x)
    first = cutting.cut(whole.architecture or {}, until="inner.first").architecture
    assert run(first, whole, [x])[0].tobytes() == net.inner.first(x).tobytes()
    second = next(name for name in places(whole.architecture or {}) if name.startswith("inner_"))
    with pytest.raises(ma.SpecError, match="needs too") as caught:
        cutting.cut(whole.architecture or {}, until=f"{second}.first")
    assert caught.value.hint == f"cut at {second!r}"
    found = run(cutting.cut(whole.architecture or {}, until=second).architecture, whole, [x])
    assert found[0].tobytes() == net.inner(net.back(net.inner(x))).tobytes()
    with pytest.raises(ma.SpecError, match="needs too"):
        cutting.cut(whole.architecture or {}, after="inner.first")
    after = cutting.cut(whole.architecture or {}, after="inner").architecture
    assert run(after, whole, [net.inner(x)])[0].tobytes() == net(x).tobytes()


def test_where_shapes_are_not_known() -> None:
    whole, inputs = branching()
    architecture = {**(whole.architecture or {}), "inputs": []}
    for place in ("features_0", "add", "memory"):
        head = cutting.cut(architecture, until=place).architecture
        assert head["inputs"] == []
        expected = run(
            cutting.cut(whole.architecture or {}, until=place).architecture,
            whole,
            inputs[:1] if "_0" in place else inputs,
        )
        found = run(head, whole, inputs[:1] if "_0" in place else inputs)
        assert [array.tobytes() for array in found] == [array.tobytes() for array in expected]
    assert cutting.cut(architecture, after="add").architecture["inputs"] == []


def test_what_is_frozen_stays_so() -> None:
    net = Outer()
    net.initialize(seed=0)
    x = np.ones((2, 4), "f4")
    net(x)
    net.freeze("stem.1.*")
    architecture = ma.describe(net, x)
    for cut in ({"until": "stem.1.first"}, {"after": "stem.0"}):
        part = build(cutting.cut(architecture, **cut))
        trained = {name: parameter.trainable for name, parameter in part.collect_params().items()}
        assert {name for name, each in trained.items() if not each} == {n for n in trained if n.startswith("stem.1.")}
        assert len(trained) > len(trained.keys() & {n for n in trained if n.startswith("stem.1.")})
