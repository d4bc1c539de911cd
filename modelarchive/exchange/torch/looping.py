"""Loops over a size that has no number yet, while a module is exported: a few steps of each are run, and marked.

``for t in range(x.shape[1])`` fixes a size for PyTorch. Here it runs its first steps, whatever the size is; every call
in them says in which step of which loop it was made, and what is put together of the results of all steps
(``torch.stack(outputs, 1)``) has the size of the loop. :mod:`modelarchive.exchange.torch.rolling` makes one call of it.
"""

from __future__ import annotations

import contextlib
import re
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import torch
import torch.fx
from torch.fx.experimental import proxy_tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from modelarchive.exchange.torch.functions_of_sizes import BUILTINS
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

#: Methods that look at a tensor, and compute nothing.
_LOOKING: Final = frozenset({torch.Tensor.shape.__get__, torch.Tensor.size, torch.Tensor.dim, torch.Tensor.ndim.__get__,
                             torch.Tensor.dtype.__get__, torch.Tensor.device.__get__})  # fmt: skip

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
        lines: Where each of them stands, in words.
        passed: The numbers of those that go through what another one gave, without a word: they end with what fits.
        builtins: Name of a type of Python's -> what stands for it.
    """

    def __init__(self) -> None:
        self.is_on = False
        self.builtins: Mapping[str, Any] = {
            "range": _StandIn("range", (), {"call": self.over, "types": range | _Range}),
            "enumerate": _StandIn("enumerate", (), {"call": staticmethod(_enumerated), "types": enumerate}),
            "reversed": _StandIn("reversed", (), {"call": self._backwards, "types": reversed}),
            "len": self._length,
        }
        self.found: dict[int, Any] = {}
        self.lines: dict[int, str] = {}
        self.passed: set[int] = set()
        #: The loops whose results such a one goes through -> whether from the first one on.
        self.ways: dict[int, bool] = {}
        #: What several steps of such a one are given.
        self._lasting: dict[int, Any] = {}
        self.made: Callable[[Any], tuple[int, int] | None] = lambda tensor: None
        #: The number and the step of each loop that runs.
        self.active: list[list[int]] = []

    def begin(self) -> None:
        """Forget the loops of another run."""
        self.found, self.lines, self.passed, self.active, self._lasting = {}, {}, set(), [], {}

    def over(self, *bounds: Any) -> Any:
        """What ``range`` gives, which takes sizes that have no number."""
        if not self.is_on or not any(isinstance(each, torch.SymInt) for each in bounds):
            return range(*bounds)
        start, stop, step = (0, bounds[0], 1) if len(bounds) == 1 else (*bounds, 1)[:3]
        return _Range(self, start, (stop - start) * step, step) if step in (1, -1) else range(*bounds)

    def through(self, count: Any, item: Callable[[int], Any]) -> Iterator[Any]:
        """The first items of a loop of `count` steps."""
        self.leave()
        here = self._enter(count)
        try:
            for step in range(STEPS):
                here[1] = step
                yield item(step)
        finally:
            self.active[:] = [each for each in self.active if each is not here]

    def _enter(self, count: Any) -> list[int]:
        """The number and the first step of another loop, which runs now."""
        number = len(self.found) + 1
        self.found[number], self.lines[number] = count, line_here()
        self.active.append([number, 0])
        return self.active[-1]

    def leave(self) -> None:
        """End a loop that goes through what another one gave."""
        self.active[:] = [each for each in self.active if each[0] not in self.passed]

    def given(self, tensors: Iterable[Any]) -> None:
        """See whether a call takes what the steps of a loop gave one after the other, as ``for y in outputs`` does.

        What a call takes of a first step, or of a last one, may be the beginning of that; where nothing follows it is
        taken back.
        """
        here = self.active[0] if self.active else None
        if here is not None and here[0] not in self.passed:
            return
        found = [(each, place) for each in tensors if (place := self.made(each))]
        has_begun = here is None or (here[1] == STEPS - 1 and any(place == (here[0], 0) for _, place in found))
        found = [pair for pair in found if here is None or has_begun or pair[1][0] != here[0]]
        if here is not None and not has_begun:
            alike = [(each, *place) for each, place in found if _same(self.found[place[0]], self.found[here[0]])]
            fits = [(each, loop, way, step) for each, loop, at in alike for way, step in self._ways(loop, at)
                    if step in (here[1], here[1] + 1)]  # fmt: skip
            fitting = {id(each) for each, *_ in fits}
            if here[1] < STEPS - 1:
                self._lasting.update((id(each), each) for each, _ in found if id(each) not in fitting)
            # What earlier steps were given too is the next element only where nothing else is.
            fits = [each for each in fits if id(each[0]) not in self._lasting] or fits
            if fits:
                here[1] = max(step for *_, step in fits)
                self.ways.update((loop, way) for _, loop, way, _ in reversed(fits))
                return
        begins = [place for each, place in found if place[1] in (0, STEPS - 1) and id(each) not in self._lasting]
        if begins and (here is None or here[1] in (0, STEPS - 1)):
            self.leave()
            here = self._enter(self.found[begins[0][0]])
            self.passed.add(here[0])
            self.ways = {loop: at == 0 for loop, at in sorted(begins, reverse=True)}

    def _ways(self, loop: int, at: int) -> Iterator[tuple[bool, int]]:
        """How far what a step of a loop gave is, gone through from the first one on or from the last."""
        for is_forth in (True, False) if loop not in self.ways else (self.ways[loop],):
            yield is_forth, at if is_forth else STEPS - 1 - at

    def _steps_in(self, items: Any) -> tuple[int, int] | None:
        """Where a list has what all steps of a loop gave, and which loop; None: nowhere."""
        steps = [self.made(each) for each in items] if type(items) in (list, tuple) and self.found else []
        for at in range(len(steps) - STEPS + 1):
            number = (steps[at] or (0, 0))[0]
            if number and steps[at : at + STEPS] == [(number, step) for step in range(STEPS)]:
                return at, number
        return None

    def _backwards(self, items: Any) -> Any:
        """What ``reversed`` gives, which takes lists of what a loop gave."""
        place = self._steps_in(items)
        if place is None or len(items) > STEPS:
            return reversed(items)
        return self.through(self.found[place[1]], lambda at: items[STEPS - 1 - at])

    def _length(self, items: Any) -> Any:
        """What ``len`` gives, which takes lists of what a loop gave."""
        place = self._steps_in(items)
        of_length: Any = BUILTINS["len"]
        return of_length(items) if place is None else len(items) - STEPS + self.found[place[1]]

    def is_long(self, count: Any) -> bool:
        """Whether a loop has no number of steps, and on the example as many as are run."""
        return isinstance(count, torch.SymInt) and count.node.hint is not None and count.node.hint >= STEPS

    def methods(self) -> Iterator[tuple[type, str, Callable[..., Any]]]:
        """What marks the calls of an export: (class, method, what is called in its place, and given it)."""

        def create_node(tracer: Any, create: Callable[..., torch.fx.Node], *given: Any, **named: Any) -> torch.fx.Node:
            node = create(tracer, *given, **named)
            if self.active and node.op == "call_function":
                node.meta["stack_trace"] = unmarked(node.meta.get("stack_trace"), self.active)
            return node

        if self.is_on:
            yield proxy_tensor._ModuleStackTracer, "create_node", create_node

    def collecting(self) -> contextlib.AbstractContextManager[Any]:
        """While a forward runs: what is put together of the results of all steps has the size of the loop."""
        return _Collecting(self) if self.is_on else contextlib.nullcontext()


def _same(one: Any, other: Any) -> bool:
    """Whether two sizes are one."""
    return one is other or bool(one.node.expr == other.node.expr)


def marks_of(node: torch.fx.Node) -> tuple[tuple[int, int], ...]:
    """The number and the step of each loop that a call was made in, the outermost first."""
    return tuple((int(loop), int(step)) for step, loop in _MARK.findall(node.meta.get("stack_trace") or ""))


def unmarked(trace: str | None, marks: Iterable[Sequence[int]] = ()) -> str:
    """A node's trace without those marks, but for some."""
    return _MARK.sub("", trace or "") + "".join(f"\n  in step {step} of loop {number}" for number, step in marks)


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
        loops.made = self._step

    def __exit__(self, *raised: Any) -> None:
        """A loop through what another one gave does not go on behind the forward."""
        self._loops.leave()
        super().__exit__(*raised)

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
        if self._loops.found and func not in _LOOKING:
            self._loops.given(each for each in pytree.tree_leaves(row) if isinstance(each, torch.Tensor))
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
            if first is None or first[0] in [each for each, _ in self._loops.active if each not in self._loops.passed]:
                continue
            ascending = [(first[0], step) for step in range(STEPS)]
            if some not in (ascending, ascending[::-1]):
                continue
            self._loops.leave()
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
