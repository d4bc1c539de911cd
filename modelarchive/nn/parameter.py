"""A parameter: a named array of a network whose shape may be learned later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from modelarchive import dtypes, tensors
from modelarchive.errors import DeferredShapeError, ParameterError
from modelarchive.nn import init as initializers
from modelarchive.nn.recording import RECORDER

Array: TypeAlias = NDArray[Any]
#: A shape; None stands for an axis that is not known yet.
PartialShape: TypeAlias = tuple[int | None, ...]


def as_dtype(dtype: Any) -> np.dtype[Any]:
    """A NumPy dtype from a name of :mod:`modelarchive.dtypes` ("bfloat16" too) or anything NumPy or PyTorch has."""
    name = dtype if isinstance(dtype, str) else tensors.dtype_name(dtype)
    if name is not None and dtypes.is_dense(name):
        return dtypes.numpy_dtype(name)
    found: np.dtype[Any] = np.dtype(dtype)
    return found


def dtype_name(dtype: np.dtype[Any]) -> str:
    """The name that an architecture writes for `dtype`."""
    return dtypes.dense_name(dtype) or str(dtype)


class Parameter:
    """An array that belongs to a block: it is initialised, trained, saved and loaded.

    Args:
        shape: The shape; 0 or None for an axis that is learned later, None for a shape that is.
        dtype: The dtype of values not yet loaded, as a name ("float32", "bfloat16") or NumPy dtype.
        init: The initializer of this parameter (a name, a number or a callable); None: what
            :meth:`Block.initialize` is given.
        trainable: False for what training does not change, such as running statistics.
        persistent: False for a constant of a forward, which is stored with the network and is no parameter of it:
            :meth:`Block.collect_params` leaves it out.
    """

    __slots__ = ("_data", "_dtype", "_pending", "_shape", "born_trainable", "init", "name", "persistent", "trainable")

    def __init__(
        self,
        shape: Sequence[int | None] | None = None,
        dtype: Any = "float32",
        init: Any = None,
        *,
        trainable: bool = True,
        persistent: bool = True,
    ) -> None:
        self._shape = None if shape is None else tuple([axis or None for axis in shape])
        self._dtype = as_dtype(dtype)
        self._data: Array | None = None
        self._pending: tuple[Any, np.random.Generator] | None = None
        self.init = init
        self.trainable = trainable
        #: What ``trainable`` was at the start, so that unfreezing leaves running statistics alone.
        self.born_trainable = trainable
        self.persistent = persistent
        #: The attribute under which a block first registered it, for messages; "" before that.
        self.name = ""

    def without_values(self) -> Parameter:
        """Another parameter like this one; its values are still to come."""
        found = object.__new__(Parameter)
        found._shape, found._dtype = self._shape, self._dtype
        found._data = found._pending = None
        found.init, found.name = self.init, self.name
        found.trainable, found.born_trainable = self.trainable, self.born_trainable
        found.persistent = self.persistent
        return found

    @property
    def shape(self) -> PartialShape | None:
        """The shape; None for an axis that is not known yet, None for an unknown number of axes."""
        return self._shape

    @shape.setter
    def shape(self, shape: Sequence[int | None]) -> None:
        self._shape = self._refined(shape)
        if self._pending is not None:
            self._fill()

    def _refined(self, shape: Sequence[int | None]) -> PartialShape:
        found = tuple(axis or None for axis in shape)
        if self._data is not None and tuple(shape) == self._data.shape:
            return self._data.shape
        if not self.fits(found):
            raise ValueError(
                f"parameter {self.name!r}: expected shape {shape_text(self._shape)}, found {shape_text(found)}"
            )
        known = self._shape or found
        return tuple(old if old is not None else new for old, new in zip(known, found, strict=True))

    def fits(self, shape: Sequence[int | None]) -> bool:
        """Whether `shape` agrees with every axis that is known."""
        if self._shape is None:
            return True
        return len(shape) == len(self._shape) and all(
            old is None or new is None or old == new for old, new in zip(self._shape, shape, strict=True)
        )

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the values."""
        return self._dtype

    @property
    def is_known(self) -> bool:
        """Whether every axis of the shape is known."""
        return self._shape is not None and None not in self._shape

    @property
    def is_initialized(self) -> bool:
        """Whether it holds values."""
        return self._data is not None

    @property
    def known_shape(self) -> tuple[int, ...]:
        """The shape in plain ints.

        Raises:
            DeferredShapeError: An axis is not known yet.
        """
        if self._shape is None or None in self._shape:
            raise self._deferred(f"its shape {shape_text(self._shape)} is not known yet")
        return self._shape  # type: ignore[return-value]

    def data(self) -> Array:
        """The values: the array itself, not a copy.

        Raises:
            DeferredShapeError: It is not initialised, or its shape is not known yet.
        """
        recorder = RECORDER.get()
        if recorder is not None:
            return recorder.parameter(self)  # type: ignore[no-any-return]
        return self.value()

    def value(self) -> Array:
        """What :meth:`data` returns, also while a forward pass is recorded."""
        if self._data is None:
            raise self._deferred(
                "it has not been initialised" if self._pending is None else "its shape is not known yet"
            )
        return self._data

    def set_data(self, array: Any) -> None:
        """Take `array` as the values: kept as it is and never cast; copied only if it is not in C order.

        Archives hold C order, and BLAS takes other paths for other strides: the last bits of what a network
        computes would differ before and after saving.

        An initialised parameter keeps its dtype; one that is not takes the array's.

        Raises:
            ParameterError: Shape or dtype does not fit.
        """
        found = tensors.asarray(array)
        misfit = self.misfit(found)
        if misfit is not None:
            expected, got = misfit
            raise ParameterError(
                f"parameter {self.name!r}: expected {expected}, found {got}",
                mismatched={self.name: misfit},
                hint="reshape or cast the array first; set_data never does",
            )
        self._tell("set_data")
        self.hold(found)

    def hold(self, found: Array) -> None:
        """Take an array that fits, as :meth:`misfit` says, as the values."""
        # ascontiguousarray alone would give a scalar an axis.
        self._data = found if found.flags.c_contiguous else np.ascontiguousarray(found)
        self._dtype, self._shape, self._pending = found.dtype, found.shape, None

    def misfit(self, array: Array, *, dtype: bool = True) -> tuple[str, str] | None:
        """What hinders :meth:`set_data` from taking `array`: (expected, found) in words, or None.

        Args:
            array: Anything with a shape and a dtype.
            dtype: False to compare shapes only.
        """
        wrong_shape = not self.fits(array.shape) and (self._data is None or self._data.shape != array.shape)
        if wrong_shape or (self._shape is not None and len(self._shape) != array.ndim):
            return f"shape {shape_text(self._shape)}", f"shape {shape_text(array.shape)}"
        if dtype and self._data is not None and array.dtype != self._dtype:
            return f"dtype {dtype_name(self._dtype)}", f"dtype {dtype_name(array.dtype)}"
        if array.dtype.kind in "OSUMm":
            return "an array of numbers", f"dtype {array.dtype}"
        return None

    def initialize(
        self, init: Any = None, rng: np.random.Generator | None = None, *, force_reinit: bool = False
    ) -> None:
        """Fill with initial values, now or as soon as the shape is known.

        Args:
            init: The initializer where the parameter has none of its own; None: the default.
            rng: The source of random numbers.
            force_reinit: Replace values that are there already.
        """
        if self._data is not None and not force_reinit:
            return
        self._tell("initialize")
        initializer = initializers.get(self.init if self.init is not None else init)
        self._pending = (initializer, rng if rng is not None else np.random.default_rng())
        self._fill()

    def _fill(self) -> None:
        if self._pending is None or not self.is_known:
            return
        initializer, rng = self._pending
        shape = self.known_shape
        values = np.asarray(initializer(shape, self._dtype, rng))
        if values.shape != shape:
            raise ValueError(f"initializer of {self.name!r}: expected {shape}, found {values.shape}")
        self._data, self._pending = values.astype(self._dtype, copy=False), None

    def as_it_is(self) -> tuple[Any, ...]:
        """What it knows and holds, for :meth:`put_back`."""
        random = None if self._pending is None else self._pending[1].bit_generator.state
        return self._shape, self._data, self._pending, random

    def put_back(self, before: tuple[Any, ...]) -> None:
        """Forget what was learned since; what is waiting to be filled gets the numbers that it would have got."""
        self._shape, self._data, self._pending, random = before
        if self._pending is not None:
            self._pending[1].bit_generator.state = random

    def cast(self, dtype: Any) -> None:
        """Convert the values, or those still to come, to `dtype`."""
        self._tell("cast")
        self._dtype = as_dtype(dtype)
        if self._data is not None:
            self._data = self._data.astype(self._dtype, copy=False)

    def _tell(self, what: str) -> None:
        recorder = RECORDER.get()
        if recorder is not None:
            recorder.changes(self, what)

    def _deferred(self, why: str) -> DeferredShapeError:
        return DeferredShapeError(
            f"parameter {self.name!r} has no values: {why}",
            names=[self.name],
            hint="call initialize() and run the network once, or load parameters",
        )

    def __repr__(self) -> str:
        """Name, shape, dtype, and whether it is frozen."""
        frozen = "" if self.trainable else ", trainable=False"
        return f"Parameter({self.name!r}, shape={shape_text(self._shape)}, dtype={dtype_name(self._dtype)}{frozen})"


def shape_text(shape: Sequence[int | None] | None) -> str:
    """A shape as people read it: ``(256, ?)``; ``?`` if nothing is known."""
    if shape is None:
        return "?"
    axes = ["?" if axis is None else str(axis) for axis in shape]
    return f"({axes[0]},)" if len(axes) == 1 else f"({', '.join(axes)})"


def unify(name: str, present: Parameter, shared: Parameter) -> None:
    """Let `shared` take the place of `present`: they must agree, and each learns from the other.

    Raises:
        ValueError: Their shapes do not agree.
    """
    if present.shape is not None:
        try:
            shared.shape = present.shape
        except ValueError as error:
            raise ValueError(f"parameter {name!r} cannot be shared: {error}") from None
