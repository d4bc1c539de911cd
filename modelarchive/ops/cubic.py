"""Keys' kernel of cubic convolution (IEEE ASSP 29, 1981), by which images are resized and sampled."""

from __future__ import annotations

from typing import Any, Final

#: Its free parameter as PyTorch has it, and ONNX where nothing is said.
PARAMETER: Final = -0.75


def near(x: Any, a: float = PARAMETER) -> Any:
    """The share of a neighbour at a distance of at most 1, an array of floats or what is recorded of one."""
    return ((a + 2) * x - (a + 3)) * x * x + 1


def far(x: Any, a: float = PARAMETER) -> Any:
    """The same from 1 to 2; beyond it is 0."""
    return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
