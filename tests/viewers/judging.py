"""Whether what a reader found is the value that was saved, another one, or its stored codes."""

from __future__ import annotations

import numpy as np

from tests.viewers.cases import Case


def judged(case: Case, found: list[str] | str) -> str:
    """A word for the table: `right`, `its codes`, `as float16: **wrong**`, `**wrong**`, or `not read`."""
    if isinstance(found, str):
        return "not read"
    if case.value.dtype.kind == "U":
        return "right" if "".join(found).rstrip("\0").split() == str(case.value).split() else "**wrong**"
    numbers = _numbers(found)
    if numbers is None:
        return "not read"
    if _same(numbers, case.value):
        return "right"
    if case.value.dtype.itemsize == 1 and _same(numbers, case.value.view(np.uint8)):
        return "its codes"
    if case.value.dtype.name == "bfloat16" and _same(numbers, case.value.view(np.float16)):
        return "**wrong**: as float16"
    return "**wrong**"


def _numbers(found: list[str]) -> np.ndarray | None:
    try:
        return np.array([float(each) for each in found])
    except ValueError:
        return None


def _same(numbers: np.ndarray, value: np.ndarray) -> bool:
    """Whether text says the same numbers, as closely as their dtype keeps them."""
    if value.dtype.kind == "c":
        value = np.stack([value.real, value.imag], -1)
    expected = value.astype(np.float64).reshape(-1)
    if numbers.shape != expected.shape:
        return False
    closeness = 1e-6 if value.dtype.itemsize < 8 else 1e-15
    with np.errstate(invalid="ignore"):
        return bool(np.allclose(numbers, expected, rtol=closeness, atol=0, equal_nan=True))
