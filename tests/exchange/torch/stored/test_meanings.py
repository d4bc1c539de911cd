"""What classes and functions that a pickle names mean, against what PyTorch makes of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from tests.exchange.torch.stored.files import saved

torch = pytest.importorskip("torch")


class Reduced:
    def __init__(self, *made: Any) -> None:
        self.made = made

    def __reduce_ex__(self, _: Any) -> Any:
        return self.made


def test_parameters_of_pytorch_before_0_4() -> None:
    bundle = saved({"w": Reduced(torch.nn.Parameter, (torch.arange(3.0),), (True, False, {}))})
    assert bundle.parameters["w"].tolist() == [0, 1, 2]
    assert bundle.notes == []


def test_tensors_of_devices_that_pytorch_saves_as_arrays() -> None:
    make = torch._utils._rebuild_device_tensor_from_numpy
    values = np.array([1.5, -np.inf, 3e38, 1e-40], "f4")
    given = {
        "half": Reduced(make, (torch.from_numpy(values).bfloat16().float().numpy(), torch.bfloat16, "cpu", False)),
        "whole": Reduced(make, (np.arange(3), torch.int64, "cpu", False)),
    }
    found = saved(given).parameters
    for name, tensor in torch.load("x.pt", weights_only=False).items():
        assert found[name].tobytes() == tensor.view(torch.uint8).numpy().tobytes()
        assert f"torch.{found[name].dtype.name}" == str(tensor.dtype)
    with pytest.raises(ma.ConversionError, match=r"of dtype torch.float16 whose values are stored as float32; save"):
        saved({"w": Reduced(make, (values, torch.float16, "cpu", False))})
