"""The inputs of an architecture in words: axes that must be of one size have one name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any, Final

from modelarchive.architecture.checking import Checked, check
from modelarchive.nn.axes import Axis, axis_names, by_role, roles_of
from modelarchive.nn.block import Block
from modelarchive.nn.evaluate import Abstract, Evaluator, Value, declared

#: Free axes that are compared with each other; more are taken for one size where they have one role.
_COMPARED: Final = 12
#: Layers and ops whose shapes are followed for that, all together; a larger network is taken by its roles.
_STEPS: Final = 100_000


def input_texts(architecture: Mapping[str, Any] | Checked) -> list[str]:
    """Each input as people read it: ``"input_ids: int64 batch x length"``.

    Free axes have one name where they must be of one size, and others where they need not be.

    Raises:
        SpecError: The architecture is invalid.
    """
    whole = check(architecture)
    texts = []
    for each, axes in zip(whole.inputs, axis_names(whole.inputs, _by_size(whole.inputs, whole.block)), strict=True):
        optional = f", {each['default']} where it is left out" if "default" in each else ""
        texts.append(f"{each['name']}: {each['dtype']} {' x '.join(axes) or '()'}{optional}")
    return texts


class _SpentError(Exception):
    """The network is too large to be followed that often."""


class _Counting(Evaluator):
    """Follows shapes until all steps are spent."""

    def __init__(self) -> None:
        self._left = _STEPS

    def block(self, block: Block, values: Sequence[Value]) -> Value:
        """One block."""
        self._spend()
        return super().block(block, values)

    def op(self, name: str, values: Sequence[Value], arguments: dict[str, Any]) -> Value:
        """One op."""
        self._spend()
        return super().op(name, values, arguments)

    def _spend(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise _SpentError


def _by_size(inputs: Sequence[Mapping[str, Any]], block: Block) -> list[set[Axis]]:
    """The axes that must be of one size, found by giving some of them others."""
    roles = roles_of(inputs)
    evaluator = _Counting()

    def fits(others: set[Axis]) -> bool:
        values = []
        for number, each in enumerate(inputs):
            value = declared(each["shape"], each["dtype"])
            one, two = (list(shape) for shape in value.shapes)
            for axis in [axis for other, axis in others if other == number]:
                one[axis], two[axis] = two[axis], one[axis]
            values.append(Abstract((tuple(one), tuple(two)), value.dtype))
        try:
            evaluator.block(block, values)
        except ValueError:
            return False
        return True

    try:
        return _groups(roles, fits)
    except _SpentError:
        return by_role(roles)


def _groups(roles: Mapping[Axis, str], fits: Callable[[set[Axis]], bool]) -> list[set[Axis]]:
    groups = []
    for batch in (True, False):
        several = [axis for axis in roles if (axis[1] == 0) == batch]
        if len(several) == 1 or len(several) > _COMPARED or not fits(set()):
            groups += by_role({axis: roles[axis] for axis in several})
            continue
        free = [axis for axis in several if fits({axis})]
        groups += [{axis} for axis in free]
        bound = [axis for axis in several if axis not in free]
        if len(bound) > 3:
            for one, other in combinations(list(bound), 2):
                if one in bound and other in bound and fits({one, other}):
                    groups.append({one, other})
                    bound = [axis for axis in bound if axis not in (one, other)]
        groups += [set(bound)] if bound else []
    return groups
