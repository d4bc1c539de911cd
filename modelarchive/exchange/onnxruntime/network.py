"""A network that ONNX Runtime computes, called as one in NumPy is."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime

from modelarchive import dtypes, tensors
from modelarchive.exchange.bundle import Note
from modelarchive.exchange.onnx.assembling import Assembled
from modelarchive.exchange.onnxruntime.sessions import (
    Settings,
    is_foreign,
    is_runtimes,
    not_started,
    session_of,
    value_of,
    words,
)
from modelarchive.nn.axes import described, named_axes, unequal
from modelarchive.nn.fitting import misfit, missized
from modelarchive.nn.graph import completed
from modelarchive.nn.nesting import nested


class RuntimeNetwork:
    """A network in a session of ONNX Runtime.

    Args:
        model: What the session computes.
        settings: What it is made with.
        parameters: The arrays that it was made of.

    Attributes:
        inputs: What it takes, as an architecture declares it: name, shape, dtype, and the default of what may be
            left out. An axis that is free is None or a name.
        parameters: Dotted name -> array, as the archive has them.
        session: The ``onnxruntime.InferenceSession``.
        notes: What was changed or lost.
    """

    def __init__(self, model: Assembled, settings: Settings, parameters: Mapping[str, np.ndarray]) -> None:
        self.inputs: list[dict[str, Any]] = [dict(each) for each in model.inputs]
        self.parameters = parameters
        self.notes: list[Note] = list(model.notes)
        self.session: onnxruntime.InferenceSession = session_of(model, settings)
        self.notes += not_started(self.session, settings)
        self._called = tuple(model.called)
        self._declared = [dtypes.DENSE[each["dtype"]] for each in self.inputs]
        #: Of each input the number of axes, and the fixed ones with their sizes.
        self._shapes = [
            (len(shape), [(axis, size) for axis, size in enumerate(shape) if isinstance(size, int)])
            for shape in (each["shape"] for each in self.inputs)
        ]
        self._defaults = {
            name: (each["default"], dtype)
            for name, each, dtype in zip(self._called, self.inputs, self._declared, strict=True)
            if "default" in each
        }
        self._outputs = [(name, np.dtype(dtype)) for name, dtype in model.outputs]
        self._structure = model.structure
        self._is_named = bool(named_axes(self.inputs))
        # What no output depends on is no input of the session.
        taken = {each.name for each in self.session.get_inputs()}
        self._taken = [(at, each["name"]) for at, each in enumerate(self.inputs) if each["name"] in taken]
        self._is_foreign = any(map(is_foreign, (*self._declared, *(dtype for _, dtype in self._outputs))))

    def __repr__(self) -> str:
        """What it takes, and where it runs."""
        pairs = zip(self._called, described(self.inputs), strict=True)
        where = ", ".join(self.session.get_providers())
        return f"RuntimeNetwork({', '.join(f'{name}: {text}' for name, text in pairs)}; {where})"

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """Run it.

        Args:
            *inputs: Arrays, or tensors of other libraries on the CPU, in the order of `inputs`.
            **named: Further ones by name. What has a default may be left out.

        Returns:
            What the network in NumPy returns: an array, or several in the same containers.

        Raises:
            ValueError: They are not what the network takes.
        """
        row = self._row(inputs, named)
        given = {name: row[at] for at, name in self._taken}
        try:
            found = self._run_values(given) if self._is_foreign else self.session.run(None, given)
        except Exception as error:
            if not is_runtimes(error):
                raise
            shapes = ", ".join(f"{name} {each.shape}" for name, each in zip(self._called, row, strict=True))
            raise ValueError(f"ONNX Runtime cannot run the network on {shapes}: {words(error)}") from error
        return nested(self._structure, [np.asarray(each) for each in found])

    def _row(self, inputs: Sequence[Any], named: Mapping[str, Any]) -> list[np.ndarray]:
        """The arguments in order, in the dtypes that are declared."""
        inputs, named = [_array(each) for each in inputs], {name: _array(each) for name, each in named.items()}
        if self._defaults:
            inputs, named = completed(self._called, self._defaults, inputs, named, _filled)
        if named or not self._fits(inputs):
            inputs, named = self._given(inputs, named)
            if problem := missized(self.inputs, self._called, inputs, named) or misfit(
                self.inputs, self._called, inputs, named
            ):
                raise ValueError(problem)
            inputs = [*inputs, *(named[name] for name in self._called[len(inputs) :])]
            pairs = zip(self._called, inputs, self._declared, strict=True)
            inputs = [_cast(name, each, dtype) for name, each, dtype in pairs]
        return list(inputs)

    def _given(self, inputs: Sequence[Any], named: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """A call's arguments without those that are None."""
        at = next((at for at, each in enumerate(inputs) if each is None), len(inputs))
        rest = dict(zip(self._called[at:], inputs[at:], strict=False)) | dict(named)
        return list(inputs[:at]), {name: each for name, each in rest.items() if each is not None}

    def _fits(self, inputs: Sequence[Any]) -> bool:
        """Whether these are all of the inputs, in the shapes and dtypes that are declared; quick, and says no more."""
        if len(inputs) != len(self.inputs):
            return False
        for each, dtype, (rank, fixed) in zip(inputs, self._declared, self._shapes, strict=True):
            if each is None or each.dtype != dtype or each.ndim != rank:
                return False
            for axis, size in fixed:
                if each.shape[axis] != size:
                    return False
        return not self._is_named or not any(unequal(self.inputs, self._called, [each.shape for each in inputs]))

    def _run_values(self, given: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """As ``session.run``, with dtypes that NumPy has not itself."""
        values = {name: value_of(each) for name, each in given.items()}
        found = self.session.run_with_ort_values(None, values)
        return [
            _memory(each, dtype) if is_foreign(dtype) else each.numpy()
            for each, (_, dtype) in zip(found, self._outputs, strict=True)
        ]


def _array(value: Any) -> Any:
    """Anything as an array; None, which leaves an input out, as it is."""
    if value is None:
        return value
    if type(value) is not np.ndarray:
        value = tensors.asarray(value) if hasattr(type(value), "__dlpack__") else np.asarray(value)
    return value if value.dtype.isnative else value.astype(value.dtype.newbyteorder("="))


def _filled(like: np.ndarray, number: float, dtype: np.dtype[Any]) -> np.ndarray:
    return np.full(np.shape(like), number, dtype)


def _cast(name: str, array: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """An array in the dtype that an input has there, where that loses nothing."""
    if array.dtype == dtype:
        return array
    if not np.can_cast(array.dtype, dtype, "safe"):
        what = f"input {name}: expected {dtype}, found {array.dtype}, and ONNX Runtime takes no other"
        raise ValueError(f"{what}: pass it as .astype({str(dtype)!r})")
    return array.astype(dtype)


def _memory(value: onnxruntime.OrtValue, dtype: np.dtype[Any]) -> np.ndarray:
    """A copy of what a value holds, of a dtype that it gives in no other way."""
    shape = value.shape()
    size = int(np.prod(shape)) * dtype.itemsize
    content = ctypes.string_at(value.data_ptr(), size) if size else b""
    return np.frombuffer(bytearray(content), dtype).reshape(shape)
