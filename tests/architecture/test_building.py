"""build and part: a network without its class, and parts of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from modelarchive import nn
from modelarchive.architecture import build, describe, parameter_shapes, part, validate
from modelarchive.errors import ParameterError, SpecError
from tests.architecture.architectures import X, dense, graph, network, row, whole


def arrays_of(net: nn.Block) -> dict[str, np.ndarray]:
    return {name: each.data() for name, each in net.collect_params().items()}


class Lazy(Mapping[str, Any]):
    """A mapping that counts what is read, as an archive's parameters do."""

    def __init__(self, arrays: dict[str, Any]) -> None:
        self.arrays, self.read = arrays, list[str]()

    def __getitem__(self, name: str) -> Any:
        self.read.append(name)
        return self.arrays[name]

    def __contains__(self, name: object) -> bool:
        return name in self.arrays

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)


def test_arrays_are_kept_as_they_are() -> None:
    net = network()
    arrays = arrays_of(net)
    for array in arrays.values():
        array.flags.writeable = False
    clone = build(describe(net, X), arrays)
    for name, parameter in clone.collect_params().items():
        assert parameter.data() is arrays[name]


def test_a_shared_parameter_is_read_once_under_any_of_its_names() -> None:
    net = network()
    architecture = describe(net, X)
    lazy = Lazy(arrays_of(net))
    build(architecture, lazy)
    assert len(lazy.read) == len(set(lazy.read)) == len(lazy.arrays) - 1
    for missing in ("tied.weight", "mix.weight"):
        fewer = {name: array for name, array in lazy.arrays.items() if name != missing}
        assert build(architecture, fewer).tied.weight.is_initialized


def test_all_misfits_come_at_once() -> None:
    net = network()
    arrays = arrays_of(net)
    arrays["stem.shortcut.bais"] = arrays.pop("stem.shortcut.bias")
    arrays["mix.bias"] = np.zeros(7, np.float32)
    with pytest.raises(ParameterError, match=r"stem.shortcut.bais \(near: stem.shortcut.bias\)") as caught:
        build(describe(net, X), arrays)
    assert caught.value.missing == ["stem.shortcut.bias"]
    assert caught.value.unexpected == ["stem.shortcut.bais"]
    assert caught.value.mismatched == {"mix.bias": ("shape (6,)", "shape (7,)")}


def test_stored_dtypes_win() -> None:
    arrays = {"weight": np.zeros((3, 4), np.float16), "bias": np.zeros(3, np.float64)}
    net = build(whole(dense()), arrays)
    assert (net.weight.dtype, net.bias.dtype) == (np.float16, np.float64)


def test_without_arrays_parameters_wait_for_initialize() -> None:
    net = build(whole(row(dense(in_units=0))))
    assert net[0].weight.shape == (3, 4)
    net.initialize(seed=0)
    assert net(np.ones((2, 4), np.float32)).shape == (2, 3)


def test_shapes_unknown_to_the_architecture_come_from_the_arrays() -> None:
    architecture = {"vocabulary": 1, "inputs": [], "model": dense(in_units=0)}
    assert parameter_shapes(architecture) == {"weight": (3, 0), "bias": (3,)}
    net = build(architecture, {"weight": np.zeros((3, 9), np.float32), "bias": np.zeros(3, np.float32)})
    assert net.in_units == 9


def test_parameter_shapes_have_every_name() -> None:
    net = network()
    shapes = parameter_shapes(describe(net, X))
    assert shapes == {name: each.shape for name, each in net.collect_params().items()}
    assert shapes["tied.weight"] == shapes["mix.weight"] == (6, 6)


def test_a_part_is_an_architecture_of_its_own() -> None:
    net = network()
    whole_one = describe(net, X)
    piece = part(whole_one, "again").architecture
    validate(piece)
    assert piece["inputs"] == [{"name": "x", "shape": [None, 4, 4, 4], "dtype": "float32"}]
    arrays = {name: each.data() for name, each in net.again.collect_params().items()}
    x = np.random.default_rng(1).standard_normal((2, 4, 4, 4)).astype(np.float32)
    np.testing.assert_array_equal(build(piece, arrays)(x), net.again(x))
    assert part(whole_one, "").architecture == whole_one


def test_a_slice_of_a_row() -> None:
    whole_one = describe(network(), X)
    piece = part(whole_one, "tail", slice(1, 3)).architecture
    validate(piece)
    assert [child["name"] for child in piece["model"]["children"]] == ["1", "2"]
    assert piece["inputs"][0]["shape"] == [None, 64]
    assert list(parameter_shapes(piece)) == ["2.weight", "2.bias"]
    assert part(whole_one, "tail", slice(0)).architecture["model"]["children"] == []


def test_what_a_part_shares_with_the_outside_is_its_own() -> None:
    whole_one = describe(network(), X)
    assert "shares" not in part(whole_one, "tied").architecture["model"]
    inner = row(dense(4), row({**dense(4), "shares": "0"}, {**dense(4), "shares": "0"}))
    piece = part(whole(inner), "1").architecture
    first, second = (child["block"] for child in piece["model"]["children"])
    assert "shares" not in first
    assert second["shares"] == "0"


def test_a_part_that_is_never_called_has_no_inputs() -> None:
    whole_one = describe(network(), X)
    assert part(whole_one, "spare").architecture["inputs"] == []
    validate(part(whole_one, "spare"))


@pytest.mark.parametrize(
    ("path", "children", "message"),
    [
        ("tial", None, "did you mean 'tail'"),
        ("tail.7", None, "there is no block 'tail.7'"),
        ("mix", slice(1), "only a Sequential has a slice"),
    ],
)
def test_parts_that_are_not_there(path: str, children: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        part(describe(network(), X), path, children)


def test_children_under_names_that_python_needs() -> None:
    nodes = [{"name": "_children", "block": dense(4), "inputs": ["x"]}]
    nodes += [{"name": "forward", "block": dense(4), "inputs": ["_children"]}]
    net = build(whole(graph(*nodes, outputs=("forward",))))
    net.initialize(seed=0)
    assert net(np.ones((2, 4), np.float32)).shape == (2, 4)
    assert list(net.collect_params("_children.*")) == ["_children.weight", "_children.bias"]
