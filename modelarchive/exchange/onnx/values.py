"""What a name of an ONNX graph stands for while it is read: a result, a constant, sizes, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from modelarchive.exchange import budget
from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.onnx.model import Node
from modelarchive.exchange.onnx.protobuf import Message
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.deferred import Deferred

#: Names that are looked at in the time that one operator takes.
NAMES_A_STEP: Final = 32
#: Characters up to which it is kept how a stored array is changed.
_MAX_CHANGES: Final = 1000


@dataclass(frozen=True, eq=False)
class Constant:
    """A value that is known while the file is read.

    Attributes:
        array: The array.
        stored: The initialiser that it is, or is made of by moving its elements; "" if it is another.
        changed: How it was made of it; "" if it is the initialiser itself.
        original: The initialiser, where its axes have another order here, and that order.
        part: Where it is computed from an initialiser: adds the operators that compute it, and gives their result.
    """

    array: Deferred
    stored: str = ""
    changed: str = ""
    original: tuple[Deferred, tuple[int, ...]] | None = None
    part: Callable[[], Ref] | None = None

    @property
    def key(self) -> str:
        """What identifies it; "" where nothing does."""
        return f"{self.stored} {self.changed}".rstrip() if self.stored else ""

    def numpy(self) -> np.ndarray:
        """The values."""
        return self.array.read() if self.array.view is None else self.array.view()

    def transposed(self, axes: Sequence[int]) -> Constant:
        """With its axes in another order; twice the other order is the initialiser itself."""
        base, before = self.original or (self.array, tuple(range(self.array.ndim)))
        order = tuple(before[axis] for axis in axes)
        if order == tuple(range(len(order))):
            return Constant(base, self.stored, self.changed if self.original is None else "")
        shape = tuple(base.shape[axis] for axis in order)
        array = base.changed(lambda x: x.transpose(order), shape)
        if self.changed and self.original is None:
            return Constant(array, self.stored, self.then(f"transposed {order}"))
        return Constant(array, self.stored, f"transposed {order}", (base, order))

    def reshaped(self, shape: tuple[int, ...]) -> Constant:
        """With its elements in another shape."""
        if shape == self.array.shape:
            return self
        array = self.array.changed(lambda x: x.reshape(shape), shape)
        return Constant(array, self.stored, self.then(f"as {shape}"))

    def then(self, what: str) -> str:
        """How it was changed, with one more change.

        Raises:
            Refusal: There are more than a model needs: each is done when the array is read, inside the one before.
        """
        if len(self.changed) > _MAX_CHANGES:
            raise Refusal(f"the stored array {self.stored!r} is changed too often, which is not supported")
        return f"{self.changed} {what}".lstrip()


@dataclass(frozen=True, eq=False)
class Sizes:
    """Integers of which some are sizes that are not fixed.

    Attributes:
        array: Ints and Dims, as an array of objects.
        dtype: The word for the dtype that the file has them in.
    """

    array: np.ndarray
    dtype: str = "int64"


@dataclass(frozen=True, eq=False)
class Several:
    """A sequence.

    Attributes:
        parts: What is in it.
        rows: What stands before that: the elements of an array along its first axis; None: nothing.
        grows: Whether before that stands, too, what the rounds of a loop have added to it so far.
    """

    parts: tuple[Operand, ...]
    rows: Ref | None = None
    grows: bool = False


@dataclass(frozen=True)
class Unsupported:
    """The result of what is not supported, which is reported already."""


#: What the name of a value stands for; None: an input that is left out.
Operand: TypeAlias = Ref | Constant | Sizes | Several | Unsupported | None
Scope: TypeAlias = dict[str, Operand]


def needed(nodes: Sequence[Node], outputs: Sequence[str], uses: dict[str, int]) -> list[Node]:
    """The nodes that the outputs depend on, in their order; counts how often each value is used."""
    wanted = set(outputs)
    for name in outputs:
        uses[name] = uses.get(name, 0) + 1
    found = []
    looked_at = 0
    for node in reversed(nodes):
        looked_at += 2 + len(node.outputs)
        if not wanted.isdisjoint(filter(None, node.outputs)):
            found.append(node)
            for name in (*node.inputs, *captured(node.attributes)):
                looked_at += 1
                if name:
                    wanted.add(name)
                    uses[name] = uses.get(name, 0) + 1
    budget.spend("the graph", steps=looked_at // NAMES_A_STEP)
    return found[::-1]


def captured(attributes: Mapping[str, Message]) -> Iterator[str]:
    """Names that the graphs inside of a node take from around it, and of what these give."""
    for attribute in attributes.values():
        for graph in [attribute["g"]] if "g" in attribute else attribute.get("graphs", []):
            nodes = graph.get("node", ())
            made = {name for node in nodes for name in node.get("output", ())}
            yield from (each.get("name", "") for each in graph.get("output", ()))
            for node in nodes:
                within = captured({each.get("name", ""): each for each in node.get("attribute", ())})
                yield from (name for name in (*node.get("input", ()), *within) if name not in made)
