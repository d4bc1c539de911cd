"""What a transplant asks of a parameter that receives: a Block's, a torch.nn.Module's, a Keras model's, a file's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np


class TargetParameter(Protocol):
    """A parameter that can take values; one that has several names is the same object under each of them.

    Attributes:
        trainable: Whether training changes it; set to False to freeze it.
    """

    trainable: bool

    @property
    def shape(self) -> Sequence[int | None] | None:
        """Its shape; None for an axis, or for all of it, that is not known yet."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of its values."""

    @property
    def is_initialized(self) -> bool:
        """Whether it has values, so that its shape and dtype are settled."""

    def fits(self, shape: Sequence[int | None]) -> bool:
        """Whether `shape` agrees with every axis that is known."""

    def value(self) -> np.ndarray:
        """Its values."""

    def set_data(self, array: Any) -> None:
        """Take values of a shape that fits, and of its dtype where it has one."""


class ForeignParameter:
    """A parameter of another framework's network, or of a dict: it copies what it is given.

    Args:
        shape: Its shape; None: it is not known yet.
        dtype: NumPy's dtype of its values.
        trainable: Whether training changes it.
        problem: Why it can take nothing, if so.
        is_optional: Whether a source may lack it without being incomplete.

    Attributes:
        companions: Parameters without which it must not be filled, as those of one layer that is not initialised.
    """

    def __init__(
        self,
        shape: tuple[int, ...] | None,
        dtype: np.dtype[Any],
        *,
        trainable: bool = True,
        problem: str = "",
        is_optional: bool = False,
    ) -> None:
        self.shape: tuple[int, ...] | None = shape
        self.dtype = dtype
        self.trainable = trainable
        self.problem = problem
        self.is_optional = is_optional
        self.companions: Sequence[ForeignParameter] = ()

    @property
    def is_initialized(self) -> bool:
        """Whether its shape is settled."""
        return self.shape is not None

    def fits(self, shape: Sequence[int | None]) -> bool:
        """Whether it is of this shape, or of none yet."""
        return self.shape is None or tuple(shape) == self.shape

    def value(self) -> np.ndarray:
        """Its values."""
        raise NotImplementedError

    def set_data(self, array: Any) -> None:
        """Copy the values."""
        raise NotImplementedError
