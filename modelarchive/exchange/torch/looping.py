"""Loops over a size that has no number yet, while a module is exported: a few steps of each are run, and marked.

``for t in range(x.shape[1])`` fixes a size for PyTorch. Here it runs its first steps, whatever the size is; every call
in them says in which step of which loop it was made, and what is put together of the results of all steps
(``torch.stack(outputs, 1)``) has the size of the loop. :mod:`modelarchive.exchange.torch.rolling` makes one call of it.
"""

from __future__ import annotations

import contextlib
import re
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import torch
import torch.fx
from torch.fx.experimental import proxy_tensor
from torch.overrides import TorchFunctionMode

from modelarchive.exchange.torch.lines_of_code import line_here
from modelarchive.exchange.torch.reasons import OfValues

#: Steps of a loop that are run. The first may be another one than those after it, of which three show what changes, and
#: what the last one hands on is used by none.
STEPS: Final = 5
#: What a node's trace ends with, for each loop that it is in, the outermost first.
_MARK: Final = re.compile(r"\n  in step (\d+) of loop (\d+)")

_STACKING: Final = frozenset({torch.stack})
_JOINING: Final = frozenset({torch.cat, torch.concat, torch.concatenate})
_TAKING_APART: Final = frozenset({torch.unbind, torch.Tensor.unbind})
_SPLITTING: Final = frozenset({torch.split, torch.Tensor.split})
#: Arguments of these, with an axis among them.
_OF_SPLIT: Final = 3

_LIBRARY: Final = torch.library.Library("modelarchive", "FRAGMENT")


def _collected(steps: Sequence[torch.Tensor], dim: int, count: Any, is_reversed: bool) -> torch.Tensor:
    """What results of all steps are on a new axis, without values."""
    shape = list(steps[0].shape)
    shape.insert(dim, count)
    return steps[0].new_empty(shape)


_LIBRARY.define("collect(Tensor[] steps, int dim, SymInt count, bool is_reversed) -> Tensor")
_LIBRARY.impl("collect", _collected, "CompositeExplicitAutograd")
torch.library.register_fake("modelarchive::collect", _collected, lib=_LIBRARY)
#: Puts together what the steps gave, on a new axis.
COLLECT: Final = torch.ops.modelarchive.collect.default


class _StandIn(type):
    """A type of Python's, but for what a call gives."""

    call: Callable[..., Any]
    types: Any

    def __call__(cls, *given: Any, **named: Any) -> Any:
        return cls.call(*given, **named)

    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, cls.types)


class Loops:
    """The loops of a forward.

    Attributes:
        is_on: Whether they run a few steps, in the place of as many as the size is on the example.
        found: Number of a loop -> how many steps it has.
        builtins: Name of a type of Python's -> what stands for it.
    """

    def __init__(self) -> None:
        self.is_on = False
        self.builtins: Mapping[str, Any] = {
            "range": _StandIn("range", (), {"call": self.over, "types": range | _Range}),
            "enumerate": _StandIn("enumerate", (), {"call": staticmethod(_enumerated), "types": enumerate}),
        }
        self.found: dict[int, Any] = {}
        #: The number and the step of each loop that runs.
        self.active: list[list[int]] = []

    def begin(self) -> None:
        """Forget the loops of another run."""
        self.found, self.active = {}, []

    def over(self, *bounds: Any) -> Any:
        """What ``range`` gives, which takes sizes that have no number."""
        if not self.is_on or not any(isinstance(each, torch.SymInt) for each in bounds):
            return range(*bounds)
        start, stop, step = (0, bounds[0], 1) if len(bounds) == 1 else (*bounds, 1)[:3]
        return _Range(self, start, (stop - start) * step, step) if step in (1, -1) else range(*bounds)

    def through(self, count: Any, item: Callable[[int], Any]) -> Iterator[Any]:
        """The first items of a loop of `count` steps."""
        number = len(self.found) + 1
        self.found[number] = count
        here = [number, 0]
        self.active.append(here)
        try:
            for step in range(STEPS):
                here[1] = step
                yield item(step)
        finally:
            self.active[:] = [each for each in self.active if each is not here]

    def is_long(self, count: Any) -> bool:
        """Whether a loop has no number of steps, and on the example as many as are run."""
        return isinstance(count, torch.SymInt) and count.node.hint is not None and count.node.hint >= STEPS

    def methods(self) -> Iterator[tuple[type, str, Callable[..., Any]]]:
        """What marks the calls of an export: (class, method, what is called in its place, and given it)."""

        def create_node(tracer: Any, create: Callable[..., torch.fx.Node], *given: Any, **named: Any) -> torch.fx.Node:
            node = create(tracer, *given, **named)
            if self.active and node.op == "call_function":
                marks = "".join(f"\n  in step {step} of loop {number}" for number, step in self.active)
                node.meta["stack_trace"] = f"{node.meta.get('stack_trace') or ''}{marks}"
            return node

        if self.is_on:
            yield proxy_tensor._ModuleStackTracer, "create_node", create_node

    def collecting(self) -> contextlib.AbstractContextManager[Any]:
        """While a forward runs: what is put together of the results of all steps has the size of the loop."""
        return _Collecting(self) if self.is_on else contextlib.nullcontext()


def marks_of(node: torch.fx.Node) -> tuple[tuple[int, int], ...]:
    """The number and the step of each loop that a call was made in, the outermost first."""
    return tuple((int(loop), int(step)) for step, loop in _MARK.findall(node.meta.get("stack_trace") or ""))


def unmarked(trace: str | None) -> str:
    """A node's trace without those marks."""
    return _MARK.sub("", trace or "")


def _compared(name: str) -> Callable[..., Any]:
    of_number = getattr(int, name)

    def method(self: Any, other: Any) -> Any:
        # What is done from a step on that is not run would be seen by no comparison of shorter sequences.
        if isinstance(other, int) and not isinstance(other, _Number) and abs(other) >= STEPS:
            raise OfValues(f"a loop of any length decides by the number of its step, by {other}{line_here()}")
        return of_number(self, other)

    return method


def _calculated(name: str) -> Callable[..., Any]:
    of_number = getattr(int, name)

    def method(self: Any, other: Any) -> Any:
        return _numbered(of_number(self, other))

    return method


class _Number(int):
    """The number of a step, which nothing is decided by but whether it is one of the first."""

    __eq__, __ne__ = _compared("__eq__"), _compared("__ne__")
    __lt__, __le__, __gt__, __ge__ = map(_compared, ("__lt__", "__le__", "__gt__", "__ge__"))
    __mod__, __floordiv__ = _compared("__mod__"), _compared("__floordiv__")
    __add__, __radd__, __sub__ = map(_calculated, ("__add__", "__radd__", "__sub__"))
    __mul__, __rmul__ = _calculated("__mul__"), _calculated("__rmul__")
    __hash__ = int.__hash__


def _numbered(number: Any) -> Any:
    return _Number(number) if type(number) is int else number


class _Range:
    """A ``range`` of so many steps."""

    def __init__(self, loops: Loops, start: Any, count: Any, step: int) -> None:
        self._loops, self._start, self._count, self._step = loops, start, count, step

    def __iter__(self) -> Iterator[Any]:
        if not self._loops.is_long(self._count):
            return iter(range(self._start, self._start + self._count * self._step, self._step))
        return self._loops.through(self._count, lambda at: _numbered(self._start + at * self._step))

    def __reversed__(self) -> Iterator[Any]:
        last = self._start + (self._count - 1) * self._step
        return iter(_Range(self._loops, last, self._count, -self._step))

    def __len__(self) -> int:
        return int(self._count)


def _enumerated(items: Any, start: int = 0) -> Iterator[tuple[int, Any]]:
    found = enumerate(items, start)
    return ((_numbered(at), each) for at, each in found) if isinstance(items, _Range | _Rows) else found


class _Rows(Sequence[Any]):
    """The parts of a tensor along an axis of a size that has no number.

    Attributes:
        steps: The size.
    """

    def __init__(self, loops: Loops, x: torch.Tensor, dim: int, *, keeps: bool = False) -> None:
        self._loops, self._x, self._dim, self._keeps = loops, x, dim, keeps
        self.steps = x.shape[dim]

    def __len__(self) -> int:
        return int(self.steps)

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            raise TypeError("some of the parts of an axis that has no size yet")
        return self._x.narrow(self._dim, at, 1) if self._keeps else self._x.select(self._dim, at)

    def __iter__(self) -> Iterator[Any]:
        return self._loops.through(self.steps, self.__getitem__)

    def __reversed__(self) -> Iterator[Any]:
        return self._loops.through(self.steps, lambda at: self[self.steps - 1 - at])


class _Collecting(TorchFunctionMode):
    """Knows in which step tensors were made."""

    def __init__(self, loops: Loops) -> None:
        super().__init__()
        self._loops = loops
        self._made: dict[int, tuple[Any, tuple[int, int]]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        """Run a function of PyTorch."""
        kwargs = kwargs or {}
        row = (*args, *kwargs.values())
        dim = kwargs.get("dim", kwargs.get("axis", args[-1] if len(args) > 1 else 0))
        if func in _STACKING or func in _JOINING:
            whole = self._put_together(row[0], dim, is_new=func in _STACKING)
            if whole is not None:
                return whole
        is_split = func in _SPLITTING and type(row[1]) is int and row[1] == 1
        if func in _TAKING_APART or is_split:
            dim = 0 if is_split and len(row) < _OF_SPLIT else dim
            if self._loops.is_long(row[0].shape[dim]):
                return _Rows(self._loops, row[0], dim % row[0].ndim, keeps=is_split)
        found = func(*args, **kwargs)
        if self._loops.active:
            number, step = self._loops.active[0]
            for each in found if isinstance(found, tuple | list) else [found]:
                if isinstance(each, torch.Tensor):
                    self._made[id(each)] = weakref.ref(each), (number, step)
        return found

    def _step(self, tensor: Any) -> tuple[int, int] | None:
        """The loop and the step that a tensor was made in."""
        known, place = self._made.get(id(tensor), (None, None))
        return place if known is not None and known() is tensor else None

    def _put_together(self, several: Any, dim: int, *, is_new: bool) -> torch.Tensor | None:
        """Tensors on an axis, among them the results of all steps of a loop; None: there are none."""
        if not isinstance(several, tuple | list) or len(several) < STEPS:
            return None
        steps = [self._step(each) for each in several]
        for at in range(len(several) - STEPS + 1):
            some = steps[at : at + STEPS]
            first = some[0] or some[-1]
            if first is None or first[0] in [number for number, _ in self._loops.active]:
                continue
            ascending = [(first[0], step) for step in range(STEPS)]
            if some not in (ascending, ascending[::-1]):
                continue
            rows = list(several[at : at + STEPS])
            dim %= rows[0].ndim + is_new
            is_reversed = some != ascending
            rows = rows[::-1] if is_reversed else rows
            whole = COLLECT(rows, dim, self._loops.found[first[0]], is_reversed)
            parts = [whole if is_new else whole.flatten(dim, dim + 1)]
            before, behind = several[:at], several[at + STEPS :]
            join = torch.stack if is_new else torch.cat
            parts = [*([join(before, dim)] if before else []), *parts, *([join(behind, dim)] if behind else [])]
            return torch.cat(parts, dim) if len(parts) > 1 else parts[0]
        return None
