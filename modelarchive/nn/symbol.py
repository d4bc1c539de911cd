"""Symbolic arrays: they look like NumPy's to a ``forward``, and record what is done with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NoReturn, Protocol

import numpy as np

from modelarchive import ops
from modelarchive.nn import spelling
from modelarchive.nn.dim import Dim, free_sizes, from_pair, literal_shape, no_dims
from modelarchive.nn.evaluate import Abstract
from modelarchive.nn.graph import Ref
from modelarchive.nn.refusal import refuse
from modelarchive.ops.registry import KIND_FUNCTIONS
from modelarchive.ops.shapes import literal_index

_PURE: Final = "write it with the functions of modelarchive.ops, operators, and methods that return new arrays"


_VALUES: Final = "an architecture cannot depend on values; compute with arrays, or decide in the constructor"


def _no_value(what: str, advice: str = _VALUES) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> NoReturn:
        refuse("value", f"{what} needs the values of an array", advice)

    return method


def _branch(what: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> NoReturn:
        refuse(
            "branch",
            f"{what} would decide on the values of an array",
            "an architecture has no branches; decide by options in the constructor, or use arithmetic",
        )

    return method


def _in_place(sign: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any) -> NoReturn:
        refuse(
            "assignment",
            f"x {sign}= y changes an array in place",
            f"write x = x {sign} y, which makes a new array",
        )

    return method


def _binary(name: str, *, swapped: bool = False) -> Callable[[Any, Any], Any]:
    function = getattr(ops, name)

    def method(self: Any, other: Any) -> Any:
        return function(other, self) if swapped else function(self, other)

    return method


def _comparison(function: Any) -> Callable[[Any, Any], Any]:
    def method(self: Any, other: Any) -> Any:
        if other is None or isinstance(other, str):
            return NotImplemented
        return _numpy(function, (self, other), {})

    return method


def _function(function: Any) -> Callable[..., Any]:
    """The method that is a function of NumPy."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return _numpy(function, (self, *args), kwargs)

    method.__doc__ = f"As ``numpy.{function.__name__}``."
    return method


class Recording(Protocol):
    """The recording of one forward, as far as the symbols in it need it."""

    def op(self, name: str, inputs: Sequence[Any], arguments: dict[str, Any]) -> Any:
        """An op of the vocabulary is called."""

    def layer(self, kind: str, inputs: Sequence[Any], config: dict[str, Any]) -> Any:
        """A function that means a layer is called."""

    def size(self, dim: Dim, others: Sequence[Any]) -> Symbol:
        """A size that is not fixed, as an array among the inputs of an op."""


class Symbol:
    """An array of a forward pass that is being recorded; made by the tracer only.

    It has NumPy's operators, basic indexing and the methods that the vocabulary knows. ``shape`` is a tuple
    of ints, with a :class:`modelarchive.nn.dim.Dim` where a size is not fixed (the batch).
    """

    __slots__ = ("abstract", "ref", "scope")

    def __init__(self, scope: Recording, ref: Ref, abstract: Abstract) -> None:
        self.scope = scope
        self.ref = ref
        self.abstract = abstract

    # ------------------------------------------------------------------ what is known

    @property
    def shape(self) -> tuple[Any, ...]:
        """The shape: ints, and a Dim where a size is not fixed."""
        return tuple(from_pair(one, two) for one, two in zip(*self.abstract.shapes, strict=True))

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.abstract.shapes[0])

    @property
    def size(self) -> Any:
        """The number of elements; a Dim if it is not fixed."""
        size: Any = 1
        for axis in self.shape:
            size = size * axis
        return size

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype."""
        return self.abstract.array_dtype

    def __len__(self) -> int:
        """The size of the first axis, where it is fixed."""
        if not self.shape:
            raise TypeError("len() of an array without axes")
        return self.shape[0].__index__()  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[Any]:
        """The parts along the first axis, where its size is fixed."""
        return iter([self[index] for index in range(len(self))])

    # ------------------------------------------------------------------ recording

    def __record_op__(self, name: str, inputs: Sequence[Any], arguments: dict[str, Any]) -> Any:
        """A function of the vocabulary is called with this among its inputs."""
        if name == "reshape":
            arguments = {**arguments, "shape": literal_shape(arguments["shape"], inputs[0].abstract.shapes)}
        if name == "broadcast_to":
            arguments = {**arguments, "shape": free_sizes(arguments["shape"], inputs[1])}
        inputs = [self.scope.size(each, inputs) if isinstance(each, Dim) else each for each in inputs]
        return self.scope.op(name, inputs, no_dims(name, arguments))

    def __record_block__(self, kind: str, inputs: Sequence[Any], config: dict[str, Any]) -> Any:
        """A function that is a layer of the vocabulary is called."""
        return self.scope.layer(kind, inputs, config)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """NumPy's elementwise functions."""
        given = {name: value for name, value in kwargs.items() if value is not None}
        if method != "__call__" or given:
            what = f"np.{ufunc.__name__}" + (f".{method}" if method != "__call__" else f" with {sorted(given)}")
            refuse("function", f"{what} cannot be recorded", _PURE)
        return _numpy(ufunc, inputs, {})

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """NumPy's other functions."""
        return _numpy(func, args, kwargs)

    # ------------------------------------------------------------------ methods of arrays

    def reshape(self, *shape: Any) -> Any:
        """In another shape; -1 is inferred, and an axis of the shape may be a size taken from ``x.shape``."""
        only = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape
        return ops.reshape(self, shape=only)

    def transpose(self, *axes: Any) -> Any:
        """With the axes in another order, reversed by default."""
        only = axes[0] if len(axes) == 1 and (axes[0] is None or isinstance(axes[0], tuple | list)) else axes
        return ops.transpose(self, axes=only or None)

    @property
    def T(self) -> Any:  # noqa: N802
        """With the axes reversed."""
        return self.transpose()

    def swapaxes(self, axis1: int, axis2: int) -> Any:
        """With two axes exchanged."""
        order = list(range(self.ndim))
        order[axis1], order[axis2] = order[axis2], order[axis1]
        return self.transpose(order)

    def flatten(self) -> Any:
        """As one axis (NumPy's flatten; :func:`modelarchive.ops.flatten` keeps the batch)."""
        return self.reshape(-1)

    ravel = flatten

    def copy(self) -> Any:
        """The same values: symbols never change."""
        return self

    def astype(self, dtype: Any, *, copy: bool = True) -> Any:
        """Converted to another dtype."""
        return ops.cast(self, dtype=dtype)

    def squeeze(self, axis: Any = None) -> Any:
        """Without axes of size 1."""
        return ops.squeeze(self, axis=axis)

    def sum(self, axis: Any = None, *, keepdims: bool = False) -> Any:
        """Sum over axes."""
        return ops.sum(self, axis=axis, keepdims=keepdims)

    def mean(self, axis: Any = None, *, keepdims: bool = False) -> Any:
        """Mean over axes."""
        return ops.mean(self, axis=axis, keepdims=keepdims)

    def max(self, axis: Any = None, *, keepdims: bool = False) -> Any:
        """Largest over axes."""
        return ops.max(self, axis=axis, keepdims=keepdims)

    def min(self, axis: Any = None, *, keepdims: bool = False) -> Any:
        """Smallest over axes."""
        return ops.min(self, axis=axis, keepdims=keepdims)

    def var(self, axis: Any = None, *, ddof: int = 0, keepdims: bool = False) -> Any:
        """Variance over axes."""
        return ops.var(self, axis=axis, keepdims=keepdims, ddof=ddof)

    def argmax(self, axis: Any = None, *, keepdims: bool = False) -> Any:
        """Place of the largest along an axis."""
        return ops.argmax(self, axis=axis, keepdims=keepdims)

    std, cumsum, clip, take, repeat, dot = map(_function, (np.std, np.cumsum, np.clip, np.take, np.repeat, np.dot))

    def __getitem__(self, index: Any) -> Any:
        """Basic indexing: ints, slices, None and Ellipsis; or one array of integers among slices."""
        if _is_array(index) or (isinstance(index, tuple) and any(map(_is_array, index))):
            return _picked(self, index if isinstance(index, tuple) else (index,))
        no_dims("an index", {"index": index})
        try:
            literal = literal_index(index, self.ndim)
        except ValueError as error:
            refuse("index", f"{error}", "index with literal ints and slices; other indexing is not recorded")
        return ops.slice(self, index=literal)

    __add__, __radd__ = _binary("add"), _binary("add", swapped=True)
    __sub__, __rsub__ = _binary("subtract"), _binary("subtract", swapped=True)
    __mul__, __rmul__ = _binary("multiply"), _binary("multiply", swapped=True)
    __truediv__, __rtruediv__ = _binary("divide"), _binary("divide", swapped=True)
    __pow__, __rpow__ = _binary("power"), _binary("power", swapped=True)
    __matmul__, __rmatmul__ = _binary("matmul"), _binary("matmul", swapped=True)

    __eq__, __ne__ = _comparison(np.equal), _comparison(np.not_equal)
    __lt__, __le__ = _comparison(np.less), _comparison(np.less_equal)
    __gt__, __ge__ = _comparison(np.greater), _comparison(np.greater_equal)
    __and__ = __rand__ = _comparison(np.logical_and)
    __or__ = __ror__ = _comparison(np.logical_or)
    __xor__ = __rxor__ = _comparison(np.logical_xor)
    __hash__ = object.__hash__

    def __invert__(self) -> Any:
        """The opposite of a mask."""
        return _numpy(np.logical_not, (self,), {})

    def __neg__(self) -> Any:
        """The negative."""
        return ops.negative(self)

    def __pos__(self) -> Any:
        """The array itself."""
        return self

    def __abs__(self) -> Any:
        """The absolute values."""
        return ops.abs(self)

    # ------------------------------------------------------------------ what cannot be recorded

    __bool__ = _branch("`if`, `while`, `and` or `not` on an array")
    __contains__ = _branch("`in`")
    __float__, __int__, __complex__ = _no_value("float(x)"), _no_value("int(x)"), _no_value("complex(x)")
    __index__ = _no_value("an index or range")
    __array__ = _no_value("np.asarray(x)", f"{_VALUES}; an array is indexed by ops.take(array, x)")
    item, tolist, tobytes, any, all = (_no_value(f"x.{name}()") for name in ("item", "tolist", "tobytes", "any", "all"))
    __iadd__, __isub__, __imul__ = _in_place("+"), _in_place("-"), _in_place("*")
    __itruediv__, __ipow__, __imatmul__ = _in_place("/"), _in_place("**"), _in_place("@")

    def __setitem__(self, index: Any, value: Any) -> None:
        """Refused: symbols never change."""
        refuse("assignment", "x[...] = y changes an array in place", "build a new array with ops.concatenate")

    def __getattr__(self, name: str) -> Any:
        """Refuse what NumPy's arrays have and symbols have not."""
        if name.startswith("_") or not hasattr(np.ndarray, name):
            raise AttributeError(f"a symbolic array has no attribute {name!r}")
        refuse("function", f"x.{name} cannot be recorded", _PURE)

    def __repr__(self) -> str:
        """Name, shape and dtype."""
        return f"Symbol({self.ref[0]!r}, shape={self.shape}, dtype={self.dtype})"


def _is_array(index: Any) -> bool:
    if isinstance(index, Symbol):
        return True
    return isinstance(index, list | np.ndarray) and np.ndim(index) > 0 and np.asarray(index).dtype.kind in "iub"


def _picked(x: Symbol, items: tuple[Any, ...]) -> Any:
    """One array of integers at one axis, and slices at the others."""
    place = next(at for at, item in enumerate(items) if _is_array(item))
    indices = items[place] if isinstance(items[place], Symbol) else np.asarray(items[place])
    others = [*items[:place], slice(None), *items[place + 1 :]]
    plain = all(item is None or item is Ellipsis or isinstance(item, slice) for item in others)
    if indices.dtype.kind not in "iu" or not plain:
        refuse(
            "index",
            "x[...] picks by a mask, by several arrays, or by arrays and ints at once",
            "write ops.where for masks; for indices ops.take or ops.gather, one axis after the other",
        )
    whole = all(item is Ellipsis or item == slice(None) for item in others)
    rest = x if whole else x[tuple(others)]
    dots = next((at for at, item in enumerate(others) if item is Ellipsis), None)
    axis = place if dots is None or place < dots else place - len(others) + rest.ndim
    return ops.take(rest, indices, axis=axis)


def _numpy(function: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    name = f"np.{getattr(function, '__name__', function)}"
    meant = spelling.meaning(function)
    if meant is None:
        known = ", ".join(sorted({*ops.OPS, *KIND_FUNCTIONS}))
        refuse("function", f"{name} is not in the vocabulary", f"{_PURE}; there are {known}")
    try:
        return meant(*args, **kwargs)
    except TypeError as error:
        refuse("function", f"{name}: {error}", _PURE)
