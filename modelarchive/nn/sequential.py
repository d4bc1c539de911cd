"""Blocks in a row: the output of each is the input of the next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self, overload

from modelarchive.nn.block import Block
from modelarchive.nn.fusing import run_as_one, together
from modelarchive.nn.recording import RECORDER


class Sequential(Block):
    """Runs its children one after another.

    Children are named ``"0"``, ``"1"``, ... in order, or by keyword in :meth:`add`. A slice is a Sequential
    of the same blocks under the same names, so layers of one network go into another::

        nn.Sequential(*trained[:2], nn.Dense(2))

    Args:
        *blocks: The children.
    """

    def __init__(self, *blocks: Block) -> None:
        super().__init__()
        self.add(*blocks)

    def add(self, *blocks: Block, **named: Block) -> Self:
        """Append blocks: positional ones take the next free number as name, the others their keyword."""
        for block in blocks:
            if not isinstance(block, Block):
                raise TypeError(f"Sequential takes blocks, found {type(block).__name__}")
            number = len(self._children)
            while str(number) in self._children:
                number += 1
            self.adopt(str(number), block)
        for name, block in named.items():
            if name in self._children:
                raise ValueError(f"Sequential has a child {name!r} already")
            self._register(name, block)
            self.adopt(name, block)
        return self

    def forward(self, *inputs: Any) -> Any:
        """Feed the inputs to the first child, its output to the second, and so on.

        A tuple goes on as several inputs; without children, the inputs are the outputs.
        """
        values = inputs
        children = list(self._children.values())
        recorded = RECORDER.get() is not None
        place = 0
        while place < len(children):
            count = 1 if recorded or len(values) != 1 else together(children[place : place + 3])
            some = children[place : place + count]
            result = run_as_one(some, values[0]) if count > 1 else some[0](*values)
            place += count
            values = result if isinstance(result, tuple) else (result,)
        return values[0] if len(values) == 1 else values

    def __len__(self) -> int:
        """How many children."""
        return len(self._children)

    def __bool__(self) -> bool:
        """A block is true, with children or without."""
        return True

    def __iter__(self) -> Iterator[Block]:
        """The children in order."""
        return iter(list(self._children.values()))

    @overload
    def __getitem__(self, index: int) -> Block: ...
    @overload
    def __getitem__(self, index: slice) -> Sequential: ...
    def __getitem__(self, index: int | slice) -> Block | Sequential:
        """A child by position, or a Sequential of the same blocks under their own names."""
        if isinstance(index, slice):
            part = Sequential()
            for name, child in list(self._children.items())[index]:
                part.adopt(name, child)
            return part
        return list(self._children.values())[index]
