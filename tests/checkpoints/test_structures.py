"""Structures of plain values and objects: filled where they stand, and nothing that is others'."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.errors import ParameterError


def saved(folder: Path, **parts: Any) -> ma.Checkpoints:
    run = ma.Checkpoints(folder, random=False)
    with run:
        run.save(1, **parts)
    return run


def test_what_stands_in_a_structure_is_filled_where_it_stands(tmp_path: Path) -> None:
    inner, history, buffer = {"x": 1}, [1, 2], np.arange(3.0)
    state = {"inner": inner, "history": history, "deep": [{"buffer": buffer}], "other": np.zeros(2)}
    run = saved(tmp_path, state=state)
    inner["x"], state["new"], state["other"] = 7, 0, np.zeros(5)
    history.append(3)
    buffer += 1
    run.restore(state=state)
    assert list(state) == ["inner", "history", "deep", "other"]
    assert state["inner"] is inner
    assert inner == {"x": 1}
    assert state["history"] is history
    assert history == [1, 2]
    assert state["deep"][0]["buffer"] is buffer
    assert buffer.tolist() == [0, 1, 2]
    assert state["other"].tolist() == [0, 0]


def test_gradients_are_given_back_in_the_middle_of_their_sum(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    net = torch.nn.Linear(3, 2)
    net(torch.ones(1, 3)).sum().backward()
    expected = net.weight.grad.clone()

    def gradients() -> dict[str, Any]:
        return {name: each.grad for name, each in net.named_parameters()}

    run = saved(tmp_path, model=net, gradients=gradients())
    net.zero_grad(set_to_none=False)
    run.restore(model=net, gradients=gradients())
    assert torch.equal(net.weight.grad, expected)


def test_what_is_others_is_not_filled(tmp_path: Path) -> None:
    """The average began as the network's own tensors, as PyTorch's state_dict gives them."""
    torch = pytest.importorskip("torch")
    net = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    net(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    weight, momentum = net.weight.detach().clone(), optimizer.state[net.weight]["momentum_buffer"].clone()
    average = {name: each * 2 for name, each in net.state_dict().items()}
    optimizers = [optimizer, torch.optim.SGD(net.parameters(), 0.1)]
    run = saved(tmp_path, model=net, optimizers=optimizers, average=average, kept=[momentum + 1])

    data = np.arange(10.0)
    average, kept = net.state_dict(), [optimizer.state[net.weight]["momentum_buffer"]]
    optimizers = [optimizer, torch.optim.SGD(net.parameters(), 0.1)]
    run.restore(model=net, optimizers=optimizers, average=average, kept=kept)
    assert torch.equal(net.weight, weight)
    assert torch.equal(average["weight"], weight * 2)
    assert torch.equal(optimizer.state[net.weight]["momentum_buffer"], momentum)
    assert torch.equal(kept[0], momentum + 1)

    # A part of an array is that array's, of two on one memory only the first is filled, and rows may be one list.
    run = saved(tmp_path / "more", part={"at": np.ones(3)}, two={"a": np.ones(2), "b": np.zeros(2)}, rows=[[1], [2]])
    part, shared = {"at": data[:3]}, np.full(2, 7.0)
    two, rows = {"a": shared, "b": shared[:]}, [[0]] * 2
    run.restore(part=part, two=two, rows=rows)
    assert data.tolist() == [*range(10)]
    assert part["at"].tolist() == [1, 1, 1]
    assert (two["a"].tolist(), two["b"].tolist()) == ([1, 1], [0, 0])
    assert rows == [[1], [2]]


@pytest.mark.parametrize("kind", [dict, list])
def test_objects_and_plain_values_side_by_side(tmp_path: Path, kind: type) -> None:
    torch = pytest.importorskip("torch")
    net = torch.nn.Linear(3, 2)

    def trainer(epoch: int) -> Any:
        optimizer = torch.optim.SGD(net.parameters(), 0.1 * epoch)
        values = {"optimizer": optimizer, "epoch": epoch, "notes": {"at": [epoch]}}
        return values if kind is dict else [*values.values()]

    run = saved(tmp_path, model=net, trainer=trainer(3))
    given = trainer(1)
    run.restore(model=net, trainer=given)
    optimizer, epoch, notes = given.values() if kind is dict else given
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.3)
    assert (epoch, notes) == (3, {"at": [3]})


def test_what_cannot_be_filled_is_refused_before_anything_is_changed(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    net = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    run = saved(tmp_path, model=net, epoch=3, pair=(optimizer, 3), several={"optimizer": optimizer, "epoch": 3})
    other = torch.nn.Linear(3, 2)
    before = other.weight.detach().clone()
    optimizer = torch.optim.SGD(other.parameters(), 0.2)
    with pytest.raises(ParameterError, match=r"epoch is int, which cannot be filled\n.*run.restored\['epoch'\]"):
        run.restore(model=other, epoch=0)
    with pytest.raises(ParameterError, match=r"pair\[1\] is int, which cannot be filled\n.*run.restored\['pair'\]"):
        run.restore(model=other, pair=(optimizer, 0))
    with pytest.raises(ParameterError, match="several has other entries") as caught:
        run.restore(model=other, several={"optimizer": optimizer, "lr": 1})
    assert (caught.value.missing, caught.value.unexpected) == (["lr"], ["epoch"])
    assert torch.equal(other.weight, before)
    assert optimizer.param_groups[0]["lr"] == 0.2
    assert run.restore(model=other, pair=(optimizer, 3)) == 1
    assert optimizer.param_groups[0]["lr"] == 0.1


def test_random_states_once_more_behind_what_draws_when_it_begins(tmp_path: Path) -> None:
    """As an iterator of PyTorch's loaders does."""
    rng = np.random

    class Loader:
        def state_dict(self) -> dict[str, int]:
            return {"at": 3}

        def load_state_dict(self, state: dict[str, int]) -> None:
            assert state == {"at": 3}

        def __iter__(self) -> Any:
            return iter([rng.random()])

    loader = Loader()
    with ma.Checkpoints(tmp_path) as run:
        run.save(1, data=loader, model={"w": np.zeros(3)})
        expected = rng.random()
        step = run.restore(data=loader)
        iter(loader)
        assert run.restore(step=step) == 1
        assert rng.random() == expected


def test_an_optimizer_for_what_its_state_dict_gave(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    net = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    run = saved(tmp_path, model=net, optimizer=optimizer.state_dict())
    with pytest.raises(ParameterError, match="what its state_dict\\(\\) gave") as caught:
        run.restore(model=net, optimizer=optimizer)
    assert "load_state_dict" in str(caught.value)
    state: dict[str, Any] = {}
    run.restore(model=net, optimizer=state)
    optimizer.load_state_dict(state)
