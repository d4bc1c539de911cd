"""Modules whose tensors are not plain memory, or are those of the source, as what a transplant fills."""

from __future__ import annotations

from typing import Any

import pytest

import modelarchive as ma

torch = pytest.importorskip("torch")


@pytest.fixture
def donor() -> Any:
    return torch.nn.Linear(2, 3)


def test_memory_is_given_on_the_cpu_where_the_default_device_is_meta(donor: Any) -> None:
    with torch.device("meta"):
        target = torch.nn.Linear(2, 3)
        ma.transplant(donor, target)
    assert torch.equal(target.weight, donor.weight)


def test_tensors_of_inference_mode_receive(donor: Any) -> None:
    with torch.inference_mode():
        target = torch.nn.Linear(2, 3)
    ma.transplant(donor, target)
    assert torch.equal(target.weight, donor.weight)


def test_an_expanded_buffer_is_told_before_anything_changes() -> None:
    target = torch.nn.Linear(2, 2)
    target.register_buffer("scale", torch.zeros(1).expand(3))
    before = target.weight.detach().clone()
    source = {"weight": torch.ones(2, 2), "scale": torch.arange(3.0)}
    with pytest.raises(ma.ParameterError, match=r"scale: .*an expanded tensor.*register tensor\.clone\(\)"):
        ma.transplant(source, target)
    assert torch.equal(target.weight, before)
    target.scale = target.scale.clone()
    ma.transplant(source, target)
    assert target.scale.tolist() == [0, 1, 2]


def test_a_lazy_module_has_its_dtype_from_the_start() -> None:
    source = {"weight": torch.full((3, 5), 1 / 3, dtype=torch.float64), "bias": torch.zeros(3, dtype=torch.float64)}
    target = torch.nn.LazyLinear(3)
    with pytest.raises(ma.ParameterError, match=r"weight: expected dtype float32, found dtype float64") as told:
        ma.transplant(source, target)
    assert "cast_dtype=True" in str(told.value.hint)
    ma.transplant(source, target, cast_dtype=True)
    assert torch.equal(target.weight, source["weight"].float())
    lossy = {name: each * 1j for name, each in source.items()}
    with pytest.raises(ma.ParameterError, match="complex128, which would lose") as told:
        ma.transplant(lossy, torch.nn.LazyLinear(3))
    assert "cast_dtype" not in str(told.value.hint)


@pytest.mark.parametrize("options", [{}, {"mismatch": "overlap"}, {"cast_dtype": True}])
def test_two_parts_of_one_network_change_places(options: dict[str, Any]) -> None:
    net = torch.nn.ModuleDict({"a": torch.nn.Linear(3, 3), "b": torch.nn.Linear(3, 3)})
    before = {name: each.clone() for name, each in net.state_dict().items()}
    ma.transplant(net, net, rename={"a.*": "b.*", "b.*": "a.*"}, **options)
    for name, each in net.state_dict().items():
        assert torch.equal(each, before[("b" if name[0] == "a" else "a") + name[1:]])


def test_what_a_state_dict_holds_beside_tensors_is_left_out_and_told() -> None:
    class Counting(torch.nn.Linear):
        def get_extra_state(self) -> dict[str, int]:
            return {"steps": 7}

        def set_extra_state(self, state: dict[str, int]) -> None:
            raise AssertionError("no code is given what a file says")

    source, target = Counting(2, 2), Counting(2, 2)
    report = ma.transplant(source.state_dict(), target)
    assert torch.equal(source.weight, target.weight)
    assert "'_extra_state' is left out" in report.notes[0]
