"""What the calls of one step of a loop are, at all steps, and the call that stands for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import sympy  # type: ignore[import-untyped, unused-ignore]
import torch
import torch.fx
from torch.fx import Node

_LIBRARY: Final = torch.library.Library("modelarchive", "FRAGMENT")
_LIBRARY.define(
    "scan(Tensor[] states, Tensor[] sequences, Tensor[] others, int[] axes, int[] output_axes, str body) -> Tensor[]"
)
#: Runs the graph that stands in the call's metadata at each step.
SCAN: Final = torch.ops.modelarchive.scan.default


@dataclass(frozen=True)
class Body:
    """What one step does.

    Attributes:
        graph: Its calls.
        inputs: States, elements of sequences, and what is the same at all steps.
        outputs: States of the next step, and what the step puts out.
    """

    graph: torch.fx.Graph
    inputs: list[Node]
    outputs: list[Node]


class Step:
    """What arguments and calls of a step are that differ from step to step."""

    @dataclass(frozen=True)
    class Inside:
        """The result of another call of the same step."""

        at: int

    @dataclass(frozen=True)
    class Carried:
        """The result of a call of an earlier step; at the first steps other arrays, as many as it is steps ago."""

        at: int
        firsts: tuple[Node, ...]

    @dataclass(frozen=True)
    class Counted:
        """A number that goes up or down by so many from step to step."""

        first: Any
        by: int

    @dataclass(frozen=True)
    class Element:
        """An element of an array, whose place goes up or down by so many; `keeps`: its axis stays."""

        source: Node
        dim: int
        first: Any
        by: int
        keeps: bool = False

    @dataclass(frozen=True)
    class Window:
        """So many elements side by side, whose place goes up or down by so many."""

        source: Node
        dim: int
        first: Any
        by: int
        size: int

        def elements(self) -> list[Step.Element]:
            """They, one by one."""
            return [Step.Element(self.source, self.dim, self.first + at, self.by) for at in range(self.size)]

    @dataclass(frozen=True)
    class Written:
        """An array that each step writes one element of, and that nothing reads meanwhile."""

        first: Node
        element: Any
        dim: int
        place: Any
        by: int
        keeps: bool = False


@dataclass
class Row:
    """What one call is, at all steps.

    Attributes:
        nodes: It at each step but the last.
        last: It at the last step; None: nothing needed it there.
        args: Its arguments, which differ from step to step as `Carried` and the others say.
        kwargs: Those by name.
        form: What it is, where it is no call like any other.
    """

    nodes: list[Node]
    last: Node | None = None
    args: Any = None
    kwargs: Any = None
    form: Any = None

    @property
    def value(self) -> Any:
        """What it gives, as of any step but the first."""
        return self.nodes[-1].meta["val"]

    def steps(self) -> list[Node]:
        """It at all steps that have it."""
        return self.nodes if self.last is None else [*self.nodes, self.last]


def expression_of(value: Any) -> Any:
    """A size, or the place of one, as an expression of sizes; None: it is none."""
    if isinstance(value, Node):
        value = value.meta.get("val")
    if isinstance(value, torch.SymInt):
        return value.node.expr
    return sympy.Integer(value) if type(value) is int else None


def alike(one: Any, other: Any) -> bool:
    """Whether two arrays are of one shape and dtype."""
    first, second = one.meta.get("val"), other.meta.get("val")
    if not isinstance(first, torch.Tensor) or not isinstance(second, torch.Tensor) or first.ndim != second.ndim:
        return False
    sizes = zip(map(expression_of, first.shape), map(expression_of, second.shape), strict=True)
    return first.dtype == second.dtype and all(each == another for each, another in sizes)
