"""One case of a kind: a layer, its inputs, and the same computation in PyTorch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelarchive import nn


@dataclass
class Case:
    """`reference` is called as ``reference(torch, *inputs, parameters)``; it computes in the dtype of its inputs."""

    layer: nn.Layer
    shape: tuple[int, ...]
    reference: Callable[..., Any]
    rows: int = 0  # where the input is indices: how many there are
    more: tuple[Any, ...] = ()  # further inputs: a shape, or an array (a mask)

    def __repr__(self):
        more = [each if isinstance(each, tuple) else f"{each.dtype}{each.shape}" for each in self.more]
        return f"{self.layer} on {' and '.join(map(str, [self.shape, *more]))}"


def values(case: Case, dtype: Any) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
    """The inputs of a case and values for its layer's parameters, float32 numbers in `dtype`."""
    rng = np.random.default_rng(0)

    def floats(shape):
        return (2 * rng.standard_normal(shape, np.float32)).astype(dtype)

    inputs = [rng.integers(0, case.rows, case.shape) if case.rows else floats(case.shape)]
    for each in case.more:
        inputs.append(
            floats(each) if isinstance(each, tuple) else each.astype(each.dtype if each.dtype == bool else dtype)
        )
    case.layer.infer(*(each.shape for each in inputs))
    arrays = {}
    for name, parameter in case.layer.collect_params().items():
        array = rng.standard_normal(parameter.shape, np.float32)
        if name == "running_var":
            array = np.abs(array) + np.float32(0.1)
        elif name.startswith("weight_hh"):
            array /= 4  # so that recurrences of relu stay finite
        arrays[name] = array.astype(dtype)
    return inputs, arrays


def set_values(layer: nn.Layer, arrays: dict[str, np.ndarray]) -> None:
    """Put arrays into the layer's parameters, whatever dtype those have."""
    parameters = layer.collect_params()
    for name, array in arrays.items():
        parameters[name].cast(array.dtype)
        parameters[name].set_data(array)


def several(result: Any) -> tuple[Any, ...]:
    """The outputs of a layer or a reference as a tuple."""
    return result if isinstance(result, tuple) else (result,)


def expected(torch: Any, case: Case, inputs: list[np.ndarray], arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    """What the reference says, in float64."""
    tensors = [torch.tensor(each) for each in inputs]
    tensors = [each.double() if each.is_floating_point() else each for each in tensors]
    parameters = {name: torch.tensor(array).double() for name, array in arrays.items()}
    return [each.detach().numpy() for each in several(case.reference(torch, *tensors, parameters))]


def error(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference, relative to the largest element of the reference (at least 1e-3)."""
    if not expected.size:
        return 0.0
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-3))


def fixed(inputs: Any) -> tuple[dict[str, Any], ...]:
    """Declarations of inputs with all sizes fixed."""
    return tuple({"shape": list(each.shape), "dtype": each.dtype.name} for each in inputs)
