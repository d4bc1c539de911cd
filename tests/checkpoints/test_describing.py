"""Checkpoints with an architecture: whole models, restored as the others are."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import nn
from modelarchive.checkpoints import describing
from tests.checkpoints.training import Loader, digits

IMAGES = digits()[0][:4]


def test_a_block(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Dense(3, in_units=4), nn.Dropout(0.5), nn.Dense(2, in_units=3))
    net.initialize(seed=1)
    x = np.ones((2, 4), "f4")
    with ma.Checkpoints(tmp_path / "run", inputs=x) as run:
        run.save(1, model=net)
    with ma.Checkpoints(tmp_path / "called") as called:
        net(x)
        called.save(1, model=net)
    for each in (run, called):
        np.testing.assert_array_equal(ma.load_model(each.path(1))(x), net(x))
    other = nn.Sequential(nn.Dense(3, in_units=4), nn.Dropout(0.5), nn.Dense(2, in_units=3))
    other.initialize(seed=2)
    assert run.restore(model=other) == 1
    np.testing.assert_array_equal(other(x), net(x))


def made() -> Any:
    torch = pytest.importorskip("torch")
    from modelarchive.cli.demo_torch import network

    class Scaled(torch.nn.Module):  # type: ignore[misc, name-defined]
        """The demo's LeNet, with a table of its forward, one that no state has, and a layer that nobody calls."""

        def __init__(self) -> None:
            super().__init__()
            self.net = network(torch)
            self.register_buffer("table", torch.linspace(0.5, 2, 10), persistent=False)
            self.idle = torch.nn.Linear(2, 2)

        def forward(self, images: Any) -> Any:
            return self.net(images) * self.table + torch.cos(torch.arange(10.0))

    torch.manual_seed(0)
    net = Scaled().train()
    return net, torch.optim.AdamW(net.parameters(), lr=0.01)


def trained(folder: Path, steps: int, **options: Any) -> tuple[Any, ma.Checkpoints]:
    torch = pytest.importorskip("torch")
    net, optimizer = made()
    loader = Loader()
    with ma.Checkpoints(folder, **options) as run:
        step = run.restore(model=net, optimizer=optimizer, data=loader) or 0
        while step < steps:
            images, labels = map(torch.from_numpy, loader.next())
            noise = torch.rand(images.shape)  # which describing must leave alone
            torch.nn.functional.cross_entropy(net(images + noise / 10), labels).backward()
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            run.save(step, model=net, optimizer=optimizer, data=loader)
    return net, run


@pytest.mark.parametrize("options", [{}, {"incremental": True}, {"asynchronous": False}])
def test_a_module(tmp_path: Path, options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    images = torch.from_numpy(IMAGES)
    trained(tmp_path / "run", 2, inputs=images, **options)
    net, run = trained(tmp_path / "run", 4, inputs=images, **options)
    alone, _ = trained(tmp_path / "alone", 4)
    assert net.training
    state = net.state_dict()
    assert all(torch.equal(state[name], value) for name, value in alone.state_dict().items())
    with torch.no_grad():
        expected = net.eval()(images).numpy()
    np.testing.assert_allclose(ma.load_model(run.path(4))(IMAGES), expected, rtol=1e-5, atol=1e-5)
    again = ma.load_model(run.path(4), backend="torch")
    with torch.no_grad():
        np.testing.assert_allclose(again(images).numpy(), expected, rtol=1e-5, atol=1e-5)
    with run.load(4) as archive:
        archive.verify()
        assert set(archive.training["optimizer"]["state"]) < {name for name, _ in net.named_parameters()}
    # What was saved without an architecture goes on with one, and the other way round.
    fresh, optimizer = made()
    assert ma.Checkpoints(tmp_path / "alone").restore(model=fresh, optimizer=optimizer) == 4
    fresh, optimizer = made()
    assert ma.Checkpoints(tmp_path / "run").restore(model=fresh, optimizer=optimizer) == 4
    assert all(torch.equal(state[name], value) for name, value in fresh.state_dict().items())
    assert int(state["net.features.1.num_batches_tracked"]) == 4


def test_a_keras_model(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(0)
    layers = [keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization()]
    model = keras.Sequential([*layers, keras.layers.Flatten(), keras.layers.Dropout(0.2), keras.layers.Dense(10)])
    with ma.Checkpoints(tmp_path) as run:
        run.save(1, model=model)
    images = IMAGES.transpose(0, 2, 3, 1)
    expected = keras.ops.convert_to_numpy(model(images))
    found = ma.load_model(run.path(1), backend="keras")
    np.testing.assert_allclose(keras.ops.convert_to_numpy(found(images)), expected, rtol=1e-5, atol=1e-6)
    for weight in model.weights:
        weight.assign(weight + 1)
    assert run.restore(model=model) == 1
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(model(images)), expected)


def test_what_cannot_be_described_is_told_once_and_saved_alone(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    class Odd(torch.nn.Linear):  # type: ignore[misc, name-defined]
        def forward(self, x: Any) -> Any:
            return super().forward(x) if float(x.sum()) > 0 else x[0].item()

    net = Odd(2, 2)
    with ma.Checkpoints(tmp_path) as run:
        with pytest.warns(UserWarning, match="checkpoints hold parameters without an architecture") as caught:
            run.save(1, model=net, inputs=torch.ones(1, 2))
        assert caught[0].filename == __file__
        run.save(2, model=net)
    assert run.steps() == [1, 2]
    with run.load(2) as archive:
        assert not archive.has_architecture
    torch.nn.init.zeros_(net.weight)
    assert run.restore(model=net) == 2
    assert net.weight.abs().sum() > 0


def test_without_inputs_nothing_is_described(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    with ma.Checkpoints(tmp_path) as run:
        run.save(1, model=torch.nn.Linear(2, 2))
        run.save(2, model={"w": np.zeros(3)})
    for step in (1, 2):
        with run.load(step) as archive:
            assert not archive.has_architecture


def _changing(torch: Any) -> dict[str, tuple[Any, Any]]:
    """Modules that compute by what is no parameter, and how a run changes it."""

    class Own(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, compute: Any, **own: Any) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 3)
            self.norm = torch.nn.BatchNorm1d(3)
            self.compute = compute
            self.register_buffer("count", torch.tensor(1))
            self.register_buffer("table", torch.ones(3), persistent=False)
            for name, value in own.items():
                setattr(self, name, value)

        def forward(self, x: Any) -> Any:
            return self.compute(self, self.norm(self.layer(x)))

    settings = SimpleNamespace(scales=[2.0, {"last": 3.0}])
    return {
        "a number": (Own(lambda net, x: x * net.factor, factor=2.0), lambda net: setattr(net, "factor", 3.0)),
        "a tensor": (Own(lambda net, x: x * net.shift, shift=torch.ones(3)), lambda net: net.shift.add_(1)),
        "a table": (Own(lambda net, x: x * net.table), lambda net: net.table.mul_(3)),
        "what decides": (Own(lambda net, x: x if net.count > 0 else -x), lambda net: net.count.sub_(1)),
        "settings": (
            Own(lambda net, x: x * net.settings.scales[0], settings=settings),
            lambda net: setattr(net.settings, "scales", [5.0]),
        ),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a number", "a tensor", "a table", "what decides", "settings"])
def test_what_is_no_parameter_may_change(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An architecture of the first save would compute with what was there then; nothing else is described twice."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    net, change = _changing(torch)[name]
    described = []
    once = describing._described
    monkeypatch.setattr(describing, "_described", lambda *given: described.append(1) or once(*given))
    optimizer = torch.optim.AdamW(net.parameters())
    x = torch.randn(5, 4)
    with ma.Checkpoints(tmp_path, keep=None, inputs=x) as run:
        for step in range(1, 5):
            net.train()(x).sum().backward()
            optimizer.step()
            if step == 3:
                with torch.no_grad():
                    change(net)
            net.unread = step  # nobody computes with it
            run.save(step, model=net, optimizer=optimizer)
            with torch.no_grad():
                expected = net.eval()(x).numpy()
            np.testing.assert_allclose(
                ma.load_model(run.save(step, model=net).result())(x.numpy()), expected, rtol=1e-5
            )
    assert len(described) == 2
    assert "__getattribute__" not in vars(torch.nn.Module)
