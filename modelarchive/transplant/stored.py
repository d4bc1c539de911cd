"""Parameters of a file that receives: known by shape and dtype, read when they are asked for."""

from __future__ import annotations

import numpy as np

from modelarchive.nn import Parameter
from modelarchive.nn.target import TargetParameter
from modelarchive.store.deferred import Deferred


class Stored(Parameter):
    """A parameter whose values stay in the file until they are asked for."""

    __slots__ = ("stored",)

    def __init__(self, stored: Deferred) -> None:
        super().__init__(stored.shape, stored.dtype)
        self.stored = stored

    @property
    def is_initialized(self) -> bool:
        """It has values, in the file."""
        return True

    def value(self) -> np.ndarray:
        """The values, a view where the file can be mapped."""
        return self.stored.read() if self.stored.view is None else self.stored.view()


def shape_of(parameter: TargetParameter) -> tuple[int, ...]:
    """The shape of an initialised parameter's values, which are not read for it; axes may be of length 0."""
    if isinstance(parameter, Stored):
        return parameter.stored.shape
    # A Parameter's own shape has None for a length of 0.
    return parameter.value().shape if isinstance(parameter, Parameter) else tuple(parameter.shape or ())  # type: ignore[arg-type]
