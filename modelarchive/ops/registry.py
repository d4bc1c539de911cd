"""The closed table of ops, and the decorator that lets a call be run by NumPy or recorded by the tracer."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Shape = tuple[int, ...]

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Op:
    """One row of the table: a pure function of arrays with literal arguments.

    Attributes:
        name: The word of the vocabulary.
        function: The NumPy function, without dispatch.
        infer: ``infer(*shapes, **arguments) -> shape``, on plain ints; ValueError on a misfit.
        dtype: ``dtype(*dtypes, **arguments) -> np.dtype``; a Python number in place of a dtype is weak.
        doc: The docstring of the function.
        arrays: How many arrays the op takes; None if it takes one sequence of them.
        defaults: The literal arguments with their defaults, in order (``inspect.Parameter.empty``: none).
        numpy: The NumPy functions that mean this op.
        kind: For a function that is no op of the vocabulary but the call of a block: the block's kind.
        config: The fields of that block.
    """

    name: str
    function: Callable[..., Any]
    infer: Callable[..., Any]
    dtype: Callable[..., np.dtype[Any]]
    doc: str
    arrays: int | None
    defaults: Mapping[str, Any]
    numpy: tuple[Callable[..., Any], ...] = ()
    kind: str | None = None
    config: Mapping[str, Any] | None = None

    def __call__(self, *inputs: Any, **arguments: Any) -> Any:
        """Run the op in NumPy on `inputs`, also where the function takes them as one sequence."""
        if self.arrays is None:
            return self.function(inputs, **arguments)
        return self.function(*inputs, **arguments)

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Sort a call into its arrays and all its literal arguments, defaults included.

        Raises:
            TypeError: The call does not fit the signature.
        """
        bound = _signature(self.function).bind(*args, **kwargs)
        bound.apply_defaults()
        arguments = dict(bound.arguments)
        values = [arguments.pop(name) for name in list(arguments) if name not in self.defaults]
        return (tuple(values[0]) if self.arrays is None else tuple(values)), arguments


#: The ops of the vocabulary by name.
OPS: Final[dict[str, Op]] = {}
#: Functions that are recorded as a block, by name: ``relu`` is an ``Activation``.
KIND_FUNCTIONS: Final[dict[str, Op]] = {}
#: NumPy function -> op, for the tracer's ``__array_ufunc__`` and ``__array_function__``.
BY_NUMPY: Final[dict[Callable[..., Any], Op]] = {}


def op(
    *,
    infer: Callable[..., Any],
    dtype: Callable[..., np.dtype[Any]] | None = None,
    numpy: Sequence[Callable[..., Any]] = (),
    sequence: bool = False,
    kind: str | None = None,
    config: Mapping[str, Any] | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Register a function as an op, or with `kind` as the call of a block of that kind.

    The positional-only parameters of the function are its arrays (one sequence of them with `sequence`);
    the others are literals. When an array's type has ``__record_op__``, the call becomes
    ``array.__record_op__(name, inputs, arguments)`` with the inputs flat in a tuple and every literal
    argument present; with `kind` it becomes ``array.__record_block__(kind, inputs, config)``.
    Otherwise NumPy runs.
    """

    def register(function: Callable[P, R]) -> Callable[P, R]:
        parameters = _signature(function).parameters.values()
        arrays = sum(parameter.kind is parameter.POSITIONAL_ONLY for parameter in parameters)
        entry = Op(
            name=function.__name__,
            function=function,
            infer=infer,
            dtype=promoted if dtype is None else dtype,
            doc=inspect.getdoc(function) or "",
            arrays=None if sequence else arrays,
            defaults={p.name: p.default for p in parameters if p.kind is not p.POSITIONAL_ONLY},
            numpy=tuple(numpy),
            kind=kind,
            config=None if kind is None else dict(config or {}),
        )
        (OPS if kind is None else KIND_FUNCTIONS)[entry.name] = entry
        BY_NUMPY.update(dict.fromkeys(entry.numpy, entry))

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            candidates: Any = args[0] if sequence and args and isinstance(args[0], list | tuple) else args
            for candidate in candidates if sequence else candidates[:arrays]:
                if hasattr(type(candidate), "__record_op__"):
                    return record(entry, candidate, args, kwargs)  # type: ignore[no-any-return]
            return function(*args, **kwargs)

        return call

    return register


def record(entry: Op, symbol: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Hand a call of `entry` to `symbol`, which records it."""
    inputs, arguments = entry.bind(args, kwargs)
    if entry.kind is not None:
        return symbol.__record_block__(entry.kind, inputs, {**(entry.config or {}), **arguments})
    return symbol.__record_op__(entry.name, inputs, arguments)


@functools.cache
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function, follow_wrapped=False)


def promoted(*dtypes: Any, **arguments: Any) -> np.dtype[Any]:
    """The dtype that NumPy promotes to; Python numbers among `dtypes` are weak."""
    return np.result_type(*dtypes)


def same(first: Any, *others: Any, **arguments: Any) -> np.dtype[Any]:
    """The dtype of the first array."""
    return np.result_type(first)
