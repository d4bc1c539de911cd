"""An architecture is checked once, where it enters, and the checked one is passed on."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import nn
from modelarchive.architecture import build, building, check, checking, describe, parameter_shapes, validate
from modelarchive.exchange import onnx
from modelarchive.exchange.bundle import bundle_of, save_bundle
from modelarchive.zoo import resnet18

X = np.ones((2, 4), np.float32)


class Two(nn.Block):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Dense(4, activation="relu"), nn.Dense(4))
        self.second = nn.Dense(3)

    def forward(self, x: Any) -> Any:
        return self.second(self.first(x) + x)


@pytest.fixture
def network() -> nn.Block:
    net = Two()
    net.initialize()
    net(X)
    return net


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is read of architectures, which is done once for each check."""
    made: list[Any] = []
    reader: Callable[[], Any] = checking.Reader

    def counted() -> Any:
        made.append(reader())
        return made[-1]

    monkeypatch.setattr(checking, "Reader", counted)
    return made


def test_what_is_checked_is_not_checked_again(network: nn.Block, checks: list[Any]) -> None:
    checked = check(describe(network))
    del checks[:]
    assert check(checked) is checked
    validate(checked)
    build(checked)
    building.part(checked, "first")
    assert parameter_shapes(checked)["first.0.weight"] == (4, 4)
    assert not checks


def test_networks_built_from_one_check_share_nothing(network: nn.Block) -> None:
    checked = check(describe(network))
    arrays = {name: each.data() for name, each in network.collect_params().items()}
    one, two = build(checked, arrays), build(checked, {name: each * 2 for name, each in arrays.items()})
    np.testing.assert_array_equal(one(X), network(X))
    assert not np.array_equal(two(X), one(X))
    assert not set(map(id, one.collect_params().values())) & set(map(id, two.collect_params().values()))
    one.second.units = 7
    one.first.adopt("more", nn.Dense(2))
    assert (build(checked).second.units, list(build(checked).first.children)) == (3, ["0", "1"])
    assert checked.architecture == describe(network)


def test_shared_parameters_stay_shared_in_each_copy() -> None:
    net = nn.Sequential(nn.Dense(4), nn.Dense(4))
    net.initialize()
    net(X)
    net[1].weight = net[0].weight
    checked = check(describe(net, X))
    for built in (build(checked), build(checked)):
        assert built[0].weight is built[1].weight


@pytest.mark.parametrize("path", ["", "first", "first.1", "second"])
def test_a_part_is_what_its_own_architecture_says(network: nn.Block, path: str) -> None:
    part = building.part(describe(network), path)
    again = check(copy.deepcopy(part.architecture))
    assert (part.shapes, part.inputs) == (again.shapes, again.inputs)
    arrays = {name: np.full(shape, 0.5, np.float32) for name, shape in part.shapes.items()}
    np.testing.assert_array_equal(build(part, arrays)(X), build(part.architecture, arrays)(X))


def test_an_archive_is_checked_once_for_all_its_parts(tmp_path: Path, network: nn.Block, checks: list[Any]) -> None:
    ma.save_model(tmp_path / "a.h5", network)
    assert len(checks) == 1
    with ma.open(tmp_path / "a.h5") as archive:
        del checks[:]
        for path in ("first", "second", "first.0"):
            archive.build(path)
        archive.verify()
        archive.verify(block="first")
        assert len(checks) == 1
        # The user's own copy of the architecture is not what is built from.
        archive.architecture["model"]["kind"] = "Nonsense"
        archive.build("second")
        archive.build()


@pytest.mark.slow
def test_a_model_of_another_system_is_checked_once_on_its_way(tmp_path: Path, checks: list[Any]) -> None:
    net = resnet18()
    net.initialize()
    onnx.write(bundle_of(net, inputs=np.zeros((1, 3, 64, 64), np.float32)), tmp_path / "net.onnx")
    del checks[:]
    ma.convert(tmp_path / "net.onnx", tmp_path / "net.h5")
    assert len(checks) == 1


def test_a_bundle_that_was_changed_is_checked_again(tmp_path: Path, network: nn.Block, checks: list[Any]) -> None:
    bundle = bundle_of(network)
    assert bundle.checked() is bundle.checked()
    assert len(checks) == 1
    assert bundle.architecture is not None
    bundle.architecture["model"]["nodes"][0]["block"]["kind"] = "Nonsense"
    with pytest.raises(ma.SpecError, match="Nonsense"):
        save_bundle(tmp_path / "a.h5", bundle)
    assert not list(tmp_path.iterdir())
