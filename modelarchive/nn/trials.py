"""The sizes that stand for free axes while shapes are followed: tried on a network, two at once, until they fit.

Axes that need not be of one size get sizes of their own, so that none is taken for another by accident. Networks need
sizes that suit them: multiples of 32 on the way through a pyramid, long ones for a long window, short ones where few
positions are learned. So several scales are tried, one after the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import combinations, count
from typing import Any, Final, TypeAlias

from modelarchive.nn.axes import Axis, Inputs, axis_names, by_role, free_axes, groups_of, roles_of
from modelarchive.nn.evaluate import Abstract
from modelarchive.nn.parameter import as_dtype

#: The two sizes that stand for a free axis.
Pair: TypeAlias = tuple[int, int]
Groups: TypeAlias = Sequence[set[Axis]]


@dataclass(frozen=True)
class Scale:
    """How large the sizes are.

    Attributes:
        first: Sizes of axes that stand first somewhere (the batch) are odd multiples of it.
        other: Those of the others are multiples of it.
        beyond: What is added to these.
        turned: So many of the last bits of the second are those of the first turned over, before that: where halves
            are rounded down one after another, each is at one of both, and none is always or never.
    """

    first: int
    other: int
    beyond: int = 0
    turned: int = 0


#: The usual one first: sizes that images and sentences have, within the positions that language models learn.
SCALES: Final = (
    Scale(4, 32),
    Scale(4, 128),
    Scale(32, 512),
    Scale(1, 4),
    Scale(4, 8192),
    Scale(4096, 8192),
    Scale(4, 3360),  # windows of 7, parts of 3 and 5
    Scale(4, 32, 1),
)
#: Others that few numbers divide, where a remainder is nothing at the usual sizes: odd ones, and some of both sorts.
UNEVEN: Final = (
    Scale(4, 34, 1),
    Scale(4, 38, 1),
    *(Scale(4, other) for other in (31, 37, 43, 53, 61, 89, 127)),
    *(Scale(4, 37, beyond, turned=6) for beyond in (0, 1, -1)),  # down, up, and windows of three
)
#: Sizes at which a program is followed where the usual ones fix what need not be: uneven ones; those of which each half
#: leaves one over, rounded down; and rounded up.
FURTHER: Final = (UNEVEN[:3], (Scale(4, 32, -1),), (Scale(4, 32, 1),))
#: Free axes of which it is asked one by one whether they must be of one size with others.
_COMPARED: Final = 12


@dataclass(frozen=True)
class Trial:
    """Sizes for the free axes of some inputs.

    Attributes:
        inputs: As an architecture declares them; the shape of one may be None, not known.
        groups: The axes that have one size.
        sizes: Each free axis -> its two sizes.
    """

    inputs: Inputs
    groups: Groups
    sizes: Mapping[Axis, Pair]

    @cached_property
    def values(self) -> list[Any]:
        """What is known of each input, an Abstract; None where its shape is not known."""
        return [
            None if each["shape"] is None else self._value(number, each["shape"], each["dtype"])
            for number, each in enumerate(self.inputs)
        ]

    def _value(self, number: int, shape: Sequence[Any], dtype: Any) -> Abstract:
        pairs = [(size, size) if isinstance(size, int) else self.sizes[number, axis] for axis, size in enumerate(shape)]
        return Abstract((tuple([one for one, _ in pairs]), tuple([two for _, two in pairs])), as_dtype(dtype))

    def words(self, value: Abstract) -> list[str]:
        """Each axis of what was followed: a number, or a free axis in terms of one of the inputs', "·" where in none.

        Returns:
            ``["batch", "64", "height / 2", "length + 1"]``: what holds at both sizes, rounding left out.
        """
        called = axis_names(self.inputs, self.groups)
        known = {pair: (called[number][axis], axis) for (number, axis), pair in self.sizes.items()}
        both = zip(*value.shapes, strict=True)
        return [str(one) if one == two else _in_terms((one, two), known) for one, two in both]

    def renamed(self) -> list[dict[str, Any]]:
        """The declarations, with the name that one of several axes that are one has for all of them."""
        names = free_axes(self.inputs)
        found = [dict(each) for each in self.inputs]
        for group in self.groups:
            own = next((names[at] for at in sorted(group) if names[at] is not None), None)
            for number, axis in group if own is not None else ():
                found[number]["shape"] = [*found[number]["shape"]]
                found[number]["shape"][axis] = own
        return found

    def named(self) -> list[dict[str, Any]]:
        """The declarations, with names for axes that had none and are one with others."""
        needed = [{at for at in group if "default" not in self.inputs[at[0]]} for group in self.groups]
        # What an input that may be left out has, the first has by being declared of its shape.
        several = {at for group, own in zip(self.groups, needed, strict=True) if len(own) > 1 for at in group}
        words = axis_names(self.inputs, self.groups)
        return [
            dict(each) if each["shape"] is None else each | {"shape": [
                words[number][axis] if size is None and (number, axis) in several else size
                for axis, size in enumerate(each["shape"])
            ]}
            for number, each in enumerate(map(dict, self.inputs))
        ]  # fmt: skip


def _in_terms(sizes: Pair, known: Mapping[Pair, tuple[str, int]]) -> str:
    """What sizes are of those of one free axis: the same, a multiple, a part, or so many more or fewer."""
    for pair, (name, _) in known.items():
        times = Fraction(sizes[0], pair[0])
        if times == Fraction(sizes[1], pair[1]) and 1 in (times.numerator, times.denominator):
            return name if times == 1 else f"{times} {name}" if times > 1 else f"{name} / {times.denominator}"
    # Parts and multiples may be moved, too. Batches are not, and where two axes could be meant none is.
    grown = {pair: Fraction(sizes[1] - sizes[0], pair[1] - pair[0]) for pair, (_, axis) in known.items() if axis}
    moved = [pair for pair, by in grown.items() if by > 0 and 1 in (by.numerator, by.denominator)]
    if len(moved) == 1 and grown[moved[0]] == 1:
        further = sizes[0] - moved[0][0]
        return f"{known[moved[0]][0]} {'+' if further > 0 else '-'} {abs(further)}"
    return "·"


def first_trial(inputs: Inputs) -> Trial:
    """The sizes that are tried first: each axis that is not declared to be another's has its own."""
    return _trial(inputs, groups_of(inputs), SCALES[0])


def _trial(inputs: Inputs, groups: Groups, scale: Scale) -> Trial:
    sizes = {at: pair for group, pair in pairs_of(groups, scale) for at in group}
    return Trial(inputs, groups, sizes)


def pairs_of(groups: Groups, scale: Scale) -> Iterator[tuple[set[Axis], Pair]]:
    """Each group of axes that are one, in their order, and the two sizes of a scale that stand for them."""
    firsts, others = _multiples(3, is_odd=True), _multiples(2)
    for group in sorted(groups, key=min):
        if min(group)[1] == 0:
            one, two = (scale.first * each for each in next(firsts))
        else:
            one, two = (scale.other * each for each in next(others))
            last = (1 << scale.turned) - 1
            two = two & ~last | ~one & last if last else two
            one, two = one + scale.beyond, two + scale.beyond
        yield group, (one, two)


def _multiples(start: int, *, is_odd: bool = False) -> Iterator[Pair]:
    """Pairs of numbers, no number twice, of which no two have a sum, difference, product or quotient of one size.

    So no axis is another one moved or scaled, and what two axes are joined or folded to is no number.
    """
    step = 2 if is_odd else 1
    found: list[Pair] = []
    for number in count():
        upwards = ((start, start + step * gap) for gap in count(1))
        both = upwards if number % 2 == 0 else ((end, begin) for begin, end in upwards)
        pair = next(each for each in both if all(_are_apart(each, other) for other in found[-_COMPARED:]))
        found.append(pair)
        yield pair
        start = max(pair) + step


def _are_apart(one: Pair, other: Pair) -> bool:
    (a, b), (c, d) = one, other
    return a + c != b + d and a - c != b - d and a * c != b * d and a * d != b * c


def fixed_at(inputs: Inputs, group: set[Axis], size: int) -> list[dict[str, Any]]:
    """The declarations, with the axes of a group of one fixed size."""
    return [
        dict(each) if each["shape"] is None else each | {"shape": [
            size if (number, axis) in group else own for axis, own in enumerate(each["shape"])
        ]}
        for number, each in enumerate(map(dict, inputs))
    ]  # fmt: skip


def usual_trials(inputs: Inputs) -> list[Trial]:
    """The usual sizes, with axes that may be one as one in all the ways that :func:`merged` has."""
    return [_trial(inputs, groups, SCALES[0]) for groups in merged(inputs)]


def groupings(inputs: Inputs) -> list[Groups]:
    """Which axes may be one, the most that are their own first.

    Axes without a name are their own, but may be one where the network needs it, as in architectures that are older
    than names: those of one role, then all that stand first and all others, then all.
    """
    return _merged(inputs, {at for at, name in free_axes(inputs).items() if name is None})


def merged(inputs: Inputs) -> list[Groups]:
    """Likewise for inputs of other systems, whose files have several names for axes that are one."""
    found = groupings(inputs)
    return found + [each for each in _merged(inputs, set(free_axes(inputs))) if each not in found]


def _merged(inputs: Inputs, may: set[Axis]) -> list[Groups]:
    declared = groups_of(inputs)
    roles = roles_of(inputs)
    found: list[Groups] = [declared]
    for role in (roles, {at: str(at[1] == 0) for at in roles}, dict.fromkeys(roles, "")):
        several = united(declared, by_role({at: each for at, each in role.items() if at in may}))
        if several not in found:
            found.append(several)
    return found


def united(groups: Groups, more: Groups) -> Groups:
    """Groups of which those are one that have axes of one of `more`."""
    found: list[set[Axis]] = []
    for group in [*more, *groups]:
        overlapping = [each for each in found if each & group]
        found = [each for each in found if not each & group] + [group.union(*overlapping)]
    return found


#: Follows shapes through a network for a trial; what does not fit, nothing where all fits.
Attempt: TypeAlias = Callable[[Trial], Iterable[str]]


class NoFit(Exception):  # noqa: N818 - not an error of its own: it leads to one
    """No sizes of the free axes fit.

    Attributes:
        by_size: Whether what does not fit differs with the sizes: others, that were not tried, might.
    """

    def __init__(self, *, by_size: bool) -> None:
        super().__init__()
        self.by_size = by_size


def fitting(
    inputs: Inputs, attempt: Attempt, several: Sequence[Groups] | None = None, scales: Sequence[Scale] = SCALES
) -> Trial:
    """The first sizes that fit a network.

    Args:
        inputs: What it takes.
        attempt: Tells what does not fit. Where it says the same at other sizes, no others are tried.
        several: Which axes may be one; None: as :func:`groupings` says.
        scales: How large the sizes are.

    Raises:
        NoFit: None does.
    """
    several = groupings(inputs) if several is None else several
    before: list[set[str]] = []
    for scale in scales:
        now = []
        for groups in several:
            trial = _trial(inputs, groups, scale)
            problems = {_without_sizes(problem, trial) for problem in attempt(trial)}
            if not problems:
                return trial
            now.append(problems)
        if not free_axes(inputs) or (before and all(map(_told_again, before, now))):
            raise NoFit(by_size=False)
        before = now
    raise NoFit(by_size=True)


def _told_again(before: set[str], now: set[str]) -> bool:
    """Whether a problem is there at other sizes too; an axis of which nothing is left looks alike at all too small."""
    return any(not _NOTHING.search(problem) for problem in before & now)


_NOTHING: Final = re.compile(r"\bfound 0\b")


def last_resort(inputs: Inputs) -> Trial:
    """The sizes at which it is told what does not fit: axes that may be one are so where both, or none, stand first."""
    unnamed = {at: str(at[1] == 0) for at, name in free_axes(inputs).items() if name is None}
    return _trial(inputs, united(groups_of(inputs), by_role(unnamed)), SCALES[0])


def _without_sizes(problem: str, trial: Trial) -> str:
    """A problem in words in which shapes do not depend on the sizes that were tried.

    A size that stands alone may be what does not fit.
    """
    tried = {str(size) for pair in trial.sizes.values() for size in pair}
    plain = lambda shape: re.sub(r"\d+", lambda size: "?" if size[0] in tried else size[0], shape[0])  # noqa: E731
    return _SHAPE.sub(plain, problem)


_SHAPE: Final = re.compile(r"\(\d+(?:, \d+)*,?\)")


def finest(trial: Trial, fits: Callable[[Trial], bool]) -> Trial:
    """A trial that fits, with axes that need not be of one size told apart, as far as that is found by trying."""
    scale = _scale_of(trial)
    if scale is None:
        return trial
    groups: list[set[Axis]] = []
    declared = groups_of(trial.inputs)
    waiting = sorted(trial.groups, key=min)
    for place, group in enumerate(waiting):
        parts = [each for each in declared if each <= group]
        if len(parts) == 1 or len(group) > _COMPARED:
            groups.append(group)
            continue

        def alone(one: set[Axis], others: set[Axis], beside: Groups = (*groups, *waiting[place + 1 :])) -> bool:
            return fits(_trial(trial.inputs, [*beside, one, *([others] if others else [])], scale))

        free = [part for part in parts if alone(part, group - part)]
        groups += free
        bound = [part for part in parts if part not in free]
        for several in (2, 3):
            for some in combinations(list(bound), several):
                if len(bound) < several + 2 or any(part not in bound for part in some):
                    continue
                one, beside = set().union(*some), [*groups, *waiting[place + 1 :]]
                if alone(one, set().union(*bound) - one, beside):
                    groups.append(one)
                    bound = [part for part in bound if part not in some]
        groups += [set().union(*bound)] if bound else []
    return _trial(trial.inputs, groups, scale)


def _scale_of(trial: Trial) -> Scale | None:
    return next((each for each in SCALES if _trial(trial.inputs, trial.groups, each).sizes == trial.sizes), None)


def advice(inputs: Inputs) -> str | None:
    """The next step where no sizes fit; None where no axis is free."""
    axes = free_axes(inputs)
    if not axes:
        return None
    words = axis_names(inputs)
    firsts, others = ({words[n][a] for n, a in axes if (a == 0) == first} for first in (True, False))
    tried = [
        f"{', '.join(sorted(each))} with {few}"
        for each, few in ((firsts, _few(first=True)), (others, _few(first=False)))
        if each
    ]
    number = next((number for number, axis in axes if axis), next(iter(axes))[0])
    each = inputs[number]
    sides = 224 if len(each["shape"]) == 4 else 128
    fixed = [size if isinstance(size, int) else sides if axis else None for axis, size in enumerate(each["shape"])]
    named = [int(word) if word.isdigit() else word for word in words[number]]
    fix = ", ".join("None" if size is None else str(size) for size in fixed)
    name = ", ".join(str(size) if isinstance(size, int) else f'"{size}"' for size in named)
    return (
        f"free axes were tried at several sizes: {'; '.join(tried)}; where it needs another, fix it: "
        f'inputs={{"name": "{each["name"]}", "shape": [{fix}]}}, and where axes are one, give them one name: '
        f'inputs={{"name": "{each["name"]}", "shape": [{name}]}}'
    )


def _few(*, first: bool) -> str:
    start = 3 if first else 2
    sizes = [start * (each.first if first else each.other) + (0 if first else each.beyond) for each in SCALES]
    return ", ".join(f"{size:,}" for size in dict.fromkeys(sizes))
