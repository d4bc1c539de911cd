"""A dict of arrays or tensors, a ``state_dict``, as a target: its arrays are filled in place."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

from modelarchive import tensors
from modelarchive.errors import UnsupportedDataError
from modelarchive.nn.target import ForeignParameter


class DictParameter(ForeignParameter):
    """An array of a dict.

    Args:
        owner: The dict.
        name: The array's name.
        shape: Its shape.
        dtype: NumPy's dtype of its values.
    """

    def __init__(self, owner: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        super().__init__(shape, dtype, is_optional=name.rpartition(".")[2] == "num_batches_tracked")
        self._owner = owner
        self._name = name

    def value(self) -> np.ndarray:
        """The values."""
        return tensors.asarray(self._owner[self._name])

    def set_data(self, array: Any) -> None:
        """Copy the values into the array that the dict holds, wherever that lies."""
        tensors.fill(self._owner[self._name], array)


def parameters_of_dict(target: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays of a dict as parameters; what is no array takes nothing."""
    found: dict[str, Any] = {}
    shared: dict[Hashable, Any] = {}
    for name, value in target.items():
        try:
            array = value if isinstance(value, np.ndarray) else tensors.foreign(value)
        except UnsupportedDataError as error:
            found[name] = ForeignParameter((), np.dtype("float32"), problem=error.problems[0][1])
            continue
        if array is None:
            continue
        if not tensors.is_fillable(value):
            found[name] = ForeignParameter(
                array.shape, array.dtype, problem=f"a {type(value).__name__} that cannot be changed"
            )
            continue
        key = id(value) if isinstance(array, np.ndarray) or array.memory is None else array.memory
        found[name] = shared.setdefault(key, DictParameter(target, name, array.shape, array.dtype))
    return found
