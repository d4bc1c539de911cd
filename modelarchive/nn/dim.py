"""Sizes that are not fixed: an axis of a symbolic array that depends on the batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from modelarchive.nn.parameter import as_dtype, dtype_name
from modelarchive.nn.refusal import refuse

#: Sizes are numbers of 64 bits: beyond them an architecture has none, and arithmetic with them no bound.
LARGEST: Final = 2**63 - 1


def _refused(what: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any) -> Any:
        refuse(
            "branch",
            f"{what} needs the size of an axis that is not fixed (the batch)",
            "use -1 or x.shape in reshape, and broadcasting; or declare the input with a fixed size",
        )

    return method


class Dim:
    """The size of an axis that is not fixed: the value for each of two tried sizes.

    It takes part in arithmetic with ints and other Dims, equals only itself, and has no value. Arithmetic that leaves
    the integers of 64 bits is refused.
    """

    __slots__ = ("pair",)

    def __init__(self, one: int, two: int) -> None:
        self.pair = (one, two)

    def _with(self, other: Any, combine: Callable[[int, int], int]) -> Any:
        if isinstance(other, bool) or not isinstance(other, Dim | int | np.integer):
            return NotImplemented
        one, two = other.pair if isinstance(other, Dim) else (int(other), int(other))
        found = combine(self.pair[0], one), combine(self.pair[1], two)
        if max(map(abs, found)) > LARGEST:
            refuse("shape", "a size is computed that is larger than 2**63", "declare the input with a fixed size")
        return from_pair(*found)

    def __mul__(self, other: Any) -> Any:
        """The product, in both sizes."""
        return self._with(other, lambda mine, its: mine * its)

    def __add__(self, other: Any) -> Any:
        """The sum, in both sizes."""
        return self._with(other, lambda mine, its: mine + its)

    def __sub__(self, other: Any) -> Any:
        """The difference, in both sizes."""
        return self._with(other, lambda mine, its: mine - its)

    def __rsub__(self, other: Any) -> Any:
        """The difference, in both sizes."""
        return self._with(other, lambda mine, its: its - mine)

    def __floordiv__(self, other: Any) -> Any:
        """The quotient rounded down, in both sizes."""
        return self._with(other, lambda mine, its: mine // its)

    def __rfloordiv__(self, other: Any) -> Any:
        """The quotient rounded down, in both sizes."""
        return self._with(other, lambda mine, its: its // mine)

    __rmul__, __radd__ = __mul__, __add__

    def __eq__(self, other: object) -> bool:
        """Equal to a Dim of the same sizes; compared with anything else it is a branch on the batch."""
        if isinstance(other, Dim):
            return self.pair == other.pair
        return bool(_refused("comparing with a number")(self))

    def __hash__(self) -> int:
        """The same for equal sizes."""
        return hash(self.pair)

    __lt__ = __le__ = __gt__ = __ge__ = _refused("comparing sizes")
    __bool__ = _refused("`if`, `and` or `not`")
    __index__ = _refused("an index, range or new array")
    __int__ = _refused("int()")
    __float__ = __truediv__ = __rtruediv__ = _refused("division or float()")
    __mod__ = __rmod__ = __divmod__ = _refused("%")

    def __repr__(self) -> str:
        """Both tried sizes."""
        return f"Dim{self.pair}"


def from_pair(one: int, two: int) -> Any:
    """A plain int where both tried sizes agree, else a Dim."""
    return one if one == two else Dim(one, two)


def literal_shape(shape: Any, before: tuple[Sequence[int], Sequence[int]]) -> list[int | None]:
    """The shape argument of a reshape as literals: None keeps an axis, -1 is inferred.

    Args:
        shape: What the user gave: ints, Dims, None, -1.
        before: The shape of the array for each of the two tried sizes.
    """
    wanted = list(shape) if isinstance(shape, tuple | list) else [shape]
    both = [_pair(size, before, position) for position, size in enumerate(wanted)]
    if not any(isinstance(size, Dim) for size in wanted):
        return [None if size is None else int(size) for size in wanted]
    resolved = [_inferred([None if pair is None else pair[which] for pair in both], before[which]) for which in (0, 1)]
    sizes = [from_pair(one, two) for one, two in zip(*resolved, strict=True)]
    result: list[int | None] = []
    for position, size in enumerate(sizes):
        if not isinstance(size, Dim):
            result.append(size)
        else:
            kept = position < len(before[0]) and size.pair == (before[0][position], before[1][position])
            result.append(None if kept else -1)
    if result.count(-1) > 1:
        refuse(
            "shape",
            f"reshape to ({', '.join('?' if isinstance(size, Dim) else str(size) for size in wanted)}) "
            "has more than one axis that is not fixed",
            "keep such an axis at its place, or declare the input with fixed sizes",
        )
    if -1 not in result and None in both:
        result[both.index(None)] = -1  # what the user leaves to inference stays so
    return result


def free_sizes(shape: Any, like: Any) -> list[Any]:
    """The shape argument of a broadcast_to: None where a size that is not fixed is that of `like` at that axis."""
    wanted = list(shape) if isinstance(shape, tuple | list) else [shape]
    known = getattr(like, "shape", ())
    return [
        None
        if isinstance(size, Dim) and axis < len(known) and isinstance(known[axis], Dim) and known[axis] == size
        else size
        for axis, size in enumerate(wanted)
    ]


def _pair(size: Any, before: tuple[Sequence[int], Sequence[int]], position: int) -> tuple[int, int] | None:
    if isinstance(size, Dim):
        return size.pair
    if size is None and position < len(before[0]):
        return before[0][position], before[1][position]
    if isinstance(size, bool) or not isinstance(size, int | np.integer):
        raise TypeError(f"expected sizes, found {size!r}")
    return None if size == -1 else (int(size), int(size))


def _inferred(sizes: list[int | None], before: Sequence[int]) -> list[int]:
    known = math.prod(size for size in sizes if size is not None)
    return [math.prod(before) // (known or 1) if size is None else size for size in sizes]


def no_dims(what: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Literal arguments as JSON values.

    Raises:
        SpecError: One depends on the batch, or is no literal.
    """
    return {name: _literal(what, name, value) for name, value in arguments.items()}


def _literal(what: str, name: str, value: Any) -> Any:
    if name == "dtype":
        return dtype_name(as_dtype(value))
    if isinstance(value, tuple | list):
        return [_literal(what, name, item) for item in value]
    if isinstance(value, slice):
        return [_literal(what, name, bound) for bound in (value.start, value.stop, value.step)]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if value is None or value is Ellipsis or isinstance(value, bool | int | float | str):
        return value
    found = "a size that is not fixed" if isinstance(value, Dim) else f"{type(value).__name__}"
    return refuse(
        "argument",
        f"{name} of {what} is {found}",
        "only literal numbers, strings and lists of them can be written into an architecture",
    )
