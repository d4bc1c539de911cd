"""What objects give and take again: their classes, arrays in place, what does not fit, said before any change."""

from __future__ import annotations

import collections
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.errors import ParameterError, UnsupportedDataError
from tests.checkpoints.test_run import network, values


class Counted:
    """A state in classes of its own."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {
            "counter": collections.Counter("aab"),
            "ordered": collections.OrderedDict(a=1),
            "default": collections.defaultdict(list, x=[1]),
            "number": np.float32(0.1),
            "list": [1, (2, None)],
        }

    def state_dict(self) -> dict[str, Any]:
        return self.state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.state = state


def test_classes_come_back_as_the_object_has_them(tmp_path: Path) -> None:
    one, two = Counted(), Counted()
    one.state["counter"]["z"] = 5
    with ma.Checkpoints(tmp_path) as run:
        run.save(1, data=one, several=[one, {"x": one}])
    ma.Checkpoints(tmp_path).restore(data=two, several=[two, {"x": two}])
    assert two.state == one.state
    assert [type(each) for each in two.state.values()] == [type(each) for each in one.state.values()]


def test_objects_that_refuse_are_named(tmp_path: Path) -> None:
    class Refusing(Counted):
        def load_state_dict(self, state: dict[str, Any]) -> None:
            raise KeyError("position")

    with ma.Checkpoints(tmp_path) as run:
        run.save(1, data=Refusing(), lone=(1, 2))
    with pytest.raises(ParameterError, match=r"data: Refusing does not take what was saved of it: 'position'"):
        ma.Checkpoints(tmp_path).restore(data=Refusing())
    with pytest.raises(ParameterError, match=r"run.restored\['lone'\]"):
        ma.Checkpoints(tmp_path).restore(lone=(0, 0))


def test_a_dict_of_arrays_is_a_model(tmp_path: Path) -> None:
    data = {"encoder": {"weight": np.ones((2, 3)), "bias": np.zeros(3)}, "head.weight": np.arange(3)}
    with ma.Checkpoints(tmp_path) as run:
        run.save(1, model=data)
    assert list(ma.load(run.path(1))) == ["encoder.weight", "encoder.bias", "head.weight"]
    other = {"encoder": {"weight": np.zeros((2, 3)), "bias": np.ones(3)}, "head.weight": np.zeros(3, int)}
    weight = other["encoder"]["weight"]
    ma.Checkpoints(tmp_path).restore(model=other)
    assert np.array_equal(weight, np.ones((2, 3)))
    assert np.array_equal(other["head.weight"], np.arange(3))


def test_tensors_and_arrays_are_filled(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    with ma.Checkpoints(tmp_path) as run:
        run.save(1, queue=torch.arange(3.0), pointer=np.arange(2), half=torch.ones(2, dtype=torch.bfloat16))
    queue, pointer, half = torch.zeros(3), np.zeros(2, int), torch.zeros(2, dtype=torch.bfloat16)
    ma.Checkpoints(tmp_path).restore(queue=queue, pointer=pointer, half=half)
    assert queue.tolist() == [0, 1, 2]
    assert pointer.tolist() == [0, 1]
    assert half.tolist() == [1, 1]
    with pytest.raises(ParameterError, match="queue is a Tensor, the checkpoint has a "):
        ma.Checkpoints(tmp_path).restore(queue=torch.zeros(4))


def test_what_a_network_beside_the_model_does_not_take(tmp_path: Path) -> None:
    """It is said before anything is changed, the model too."""
    torch = pytest.importorskip("torch")
    with ma.Checkpoints(tmp_path) as run:
        run.save(1, model=network(1), critic=torch.nn.Linear(3, 2))
    net = network(2)
    before = {name: value.copy() for name, value in values(net).items()}
    for wrong, what in [
        (torch.nn.Linear(4, 2), r"mismatched  weight: expected shape \(2, 4\), found shape \(2, 3\)"),
        (torch.nn.Sequential(torch.nn.Linear(3, 2)), "missing"),
        (torch.nn.Linear(3, 2, bias=False), "unexpected  bias"),
    ]:
        with pytest.raises(ParameterError, match=what) as error:
            ma.Checkpoints(tmp_path).restore(model=net, critic=wrong)
        assert "critic: the network is not the one that was saved" in str(error.value)
        assert all(np.array_equal(before[name], value) for name, value in values(net).items())


def test_tensors_without_values_are_named(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    with ma.Checkpoints(tmp_path) as run:
        run.save(1, model=torch.nn.Linear(2, 3))
    with torch.device("meta"):
        net = torch.nn.Linear(2, 3)
    with pytest.raises(UnsupportedDataError, match="2 values cannot be filled") as error:
        ma.Checkpoints(tmp_path).restore(model=net)
    assert [name for name, _ in error.value.problems] == ["weight", "bias"]
    assert "to_empty(device='cpu')" in str(error.value)
    assert ma.Checkpoints(tmp_path).restore(model=net.to_empty(device="cpu")) == 1


def test_what_code_of_a_modules_own_adds_to_its_state(tmp_path: Path) -> None:
    """Such a module keeps tensors where nobody else looks; quantised ones have nothing but those."""
    torch = pytest.importorskip("torch")

    class Own(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, value: float) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(2, 2)
            self.kept = torch.full((3,), value)

        def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
            super()._save_to_state_dict(destination, prefix, keep_vars)
            destination[f"{prefix}kept"] = self.kept

        def _load_from_state_dict(self, state: Any, prefix: str, *more: Any) -> None:
            self.kept = state.pop(f"{prefix}kept").clone()
            super()._load_from_state_dict(state, prefix, *more)

    class Hooked(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, value: float, *, takes: bool = True) -> None:
            super().__init__()
            self.inner = Own(value)
            self.number = torch.tensor(value)
            self._register_state_dict_hook(lambda net, state, prefix, _: state.update({f"{prefix}number": net.number}))
            if takes:
                self._register_load_state_dict_pre_hook(self._take)

        def _take(self, state: Any, prefix: str, *_: Any) -> None:
            self.number = state.pop(f"{prefix}number").clone()

    def same(one: Any, other: Any) -> bool:
        ours, theirs = one.state_dict(), other.state_dict()
        return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)

    net = torch.nn.Sequential(Hooked(1.0), torch.nn.Linear(2, 2))
    with ma.Checkpoints(tmp_path / "run") as run:
        run.save(1, model=net)
        other = torch.compile(torch.nn.Sequential(Hooked(2.0), torch.nn.Linear(2, 2)), backend="eager")
        assert not same(net, other._orig_mod)
        run.restore(model=other)
        assert same(net, other._orig_mod)
        with pytest.raises(ParameterError, match=r"does not take back .*0\.number"):
            run.restore(model=torch.nn.Sequential(Hooked(2.0, takes=False), torch.nn.Linear(2, 2)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch is about to give these up
        quantised = torch.ao.nn.quantized.Linear(2, 2)
    with ma.Checkpoints(tmp_path / "quantised") as run, pytest.raises(UnsupportedDataError, match="_packed_params"):
        run.save(1, model=quantised)
