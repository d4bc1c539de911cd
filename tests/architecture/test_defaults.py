"""Inputs that may be left out: declared with a number, which fills them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

import modelarchive as ma
from modelarchive import nn, ops
from modelarchive.architecture import cut, input_texts, vocabulary

IDS = np.array([[1, 2, 3], [3, 0, 1]])


class Masked(nn.Block):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(4, 2)

    def forward(self, ids: Any, mask: Any, shift: Any) -> Any:
        return self.words(ids) * mask[:, :, None] + shift[:, :, None]


def architecture() -> dict[str, Any]:
    net = Masked()
    net.initialize(seed=0)
    return ma.describe(
        net,
        (
            {"shape": [None, None], "dtype": "int64"},
            {"shape": [None, None], "dtype": "int64", "default": 1},
            {"shape": [None, None], "dtype": "float32", "default": 0.5},
        ),
    )


def built() -> nn.Block:
    net = ma.build(architecture())
    net.initialize(seed=0)
    return net


def test_what_is_left_out_is_filled() -> None:
    net = built()
    mask, shift = np.ones_like(IDS), np.full(IDS.shape, 0.5, "f4")
    expected = net(IDS, mask, shift)
    for inputs, named in (
        ([IDS], {}),
        ([IDS, mask], {}),
        ([IDS, None, shift], {}),
        ([IDS, None], {"shift": shift}),
        ([IDS], {"shift": shift}),
        ([IDS], {"mask": mask, "shift": None}),
        ([], {"ids": IDS}),
    ):
        found = net(*inputs, **named)
        assert found.tobytes() == expected.tobytes()
        assert found.dtype == expected.dtype
    assert not np.array_equal(net(IDS, mask * 0), expected)


@pytest.mark.parametrize(
    ("inputs", "named", "said"),
    [
        ([], {}, "the input 'ids' is missing"),
        ([], {"mask": IDS}, "the input 'ids' is missing"),
        ([IDS] * 4, {}, r"expected 3 inputs \(ids, mask, shift\), found 4"),
        ([IDS], {"ids": IDS}, "'ids' is given twice"),
        ([IDS], {"other": IDS}, "there is no input 'other'"),
    ],
)
def test_wrong_calls(inputs: list[Any], named: dict[str, Any], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        built()(*inputs, **named)


def test_the_archive_keeps_them_and_a_rebuilt_one_too(tmp_path: Path) -> None:
    net = built()
    ma.save_model(tmp_path / "one.h5", net)
    again = ma.load_model(tmp_path / "one.h5")
    ma.save_model(tmp_path / "two.h5", again)
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()
    with ma.open(tmp_path / "two.h5") as archive:
        archive.verify()
        assert [each.get("default") for each in archive.architecture["inputs"]] == [None, 1, 0.5]
        assert input_texts(archive.architecture)[2] == "shift: float32 batch x length, 0.5 where it is left out"
        assert archive.build()(IDS).tobytes() == net(IDS).tobytes()


def test_in_pytorch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    net = built()
    ma.save_model(tmp_path / "x.h5", net)
    module = ma.load_model(tmp_path / "x.h5", backend="torch")
    ids = torch.from_numpy(IDS)
    for found in (module(ids), module(ids, None), module(ids, shift=torch.full(ids.shape, 0.5)), module(ids=ids)):
        np.testing.assert_allclose(found.detach().numpy(), net(IDS), rtol=1e-6)
    with pytest.raises(TypeError, match="expected"):
        module(mask=ids)


def test_inside_of_another_network() -> None:
    class Outer(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.inner = built()

        def forward(self, ids: Any) -> Any:
            return ops.add(self.inner(ids), self.inner(ids, shift=ids * 1.0))

    outer = Outer()
    expected = outer(IDS)
    again = ma.build(ma.describe(outer), {n: p.data() for n, p in outer.collect_params().items()})
    np.testing.assert_allclose(again(IDS), expected, rtol=1e-6)


def test_a_cut_network_keeps_those_that_it_needs() -> None:
    whole = architecture()
    until = cut(whole, until=_node(whole, "multiply"))
    assert [(each["name"], each.get("default")) for each in until.inputs] == [("ids", None), ("mask", 1)]
    only = cut(whole, until=_node(whole, "slice"))
    assert [(each["name"], "default" in each) for each in only.inputs] == [("mask", False)]


def _node(architecture: dict[str, Any], op: str) -> str:
    return next(node["name"] for node in architecture["model"]["nodes"] if node.get("op") == op)


@pytest.mark.parametrize(
    ("position", "change", "said"),
    [
        (0, {"default": 1}, "found one of the first input"),
        (1, {"default": 1.5}, "expected a whole number"),
        (1, {"default": 2**63}, "expected a whole number"),
        (1, {"default": "1"}, "is not of type 'number'"),
        (1, {"shape": [None, 3]}, "expected the shape of 'ids'"),
        (2, {"default": None}, "is not of type 'number'"),
    ],
)
def test_invalid_defaults(position: int, change: dict[str, Any], said: str) -> None:
    wrong = copy.deepcopy(architecture())
    wrong["inputs"][position] |= change
    with pytest.raises(ma.SpecError, match=said) as caught:
        ma.validate(wrong)
    assert any(pointer.startswith(f"/inputs/{position}") for pointer, _, _ in caught.value.problems)


def test_one_that_must_be_given_behind_one_that_need_not() -> None:
    wrong = copy.deepcopy(architecture())
    del wrong["inputs"][2]["default"]
    with pytest.raises(ma.SpecError, match="as 'mask' before it has one"):
        ma.validate(wrong)


def test_only_a_graph_fills_its_inputs() -> None:
    gru = nn.GRU(2, input_size=2)
    gru.initialize()
    inputs = [{"name": "x", "shape": [1, 2, 2]}, {"name": "h", "shape": [1, 2, 2], "default": 0}]
    with pytest.raises(ma.SpecError, match="expected a Graph as the model, found a GRU"):
        ma.describe(gru, tuple(inputs))


def test_the_older_schema_has_none() -> None:
    """A program that knows version 1 only refuses the architecture, and does not compute something else."""
    schemas = vocabulary.all_schemas()
    item = schemas["architecture-1"]["$defs"]["input"]
    with pytest.raises(jsonschema.ValidationError, match="'default' was unexpected"):
        jsonschema.validate(architecture()["inputs"][1], item)
    jsonschema.validate(architecture()["inputs"][1], schemas["architecture-2"]["$defs"]["input"])
    one, two = (copy.deepcopy(schemas[f"architecture-{number}"]) for number in (1, 2))
    del two["$defs"]["input"]["properties"]["default"]
    one.pop("$id")
    two.pop("$id")
    assert one == two
