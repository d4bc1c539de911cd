"""A block that is run once for each step along axes of its inputs, and hands arrays on from step to step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from modelarchive.nn import check
from modelarchive.nn.block import Block

#: An array has no more axes.
_MOST_AXES = 64


class Scan(Block):
    """Runs its body for each step along an axis, one after the other: a recurrence whose cell is a network.

    ``body(*states, *elements, *others)`` returns the states of the next step, and what the step puts out. It is called
    with what the states were after the step before, with the element of each sequence at this step (the sequence
    without that axis), and with the other inputs, which are the same at all steps.

    ::

        class Cell(nn.Block):
            def __init__(self):
                super().__init__()
                self.dense = nn.Dense(8)

            def forward(self, state, x):
                state = ops.tanh(self.dense(ops.concatenate([state, x], axis=1)))
                return state, state

        net = nn.Scan(Cell(), states=1, axes=[1], output_axes=[1])
        last, outputs = net(np.zeros((2, 8), "float32"), np.ones((2, 10, 4), "float32"))

    Args:
        body: What is run at each step.
        states: How many of the first inputs are states; as many of the body's first outputs are those that follow.
        axes: For each sequence, the inputs after the states, its axis of steps; one or more, and all of one size there.
        output_axes: For each further output of the body, the axis along which those of all steps stand in the result.

    Inputs are the states, the sequences, and others. The results are the states after the last step, and the outputs of
    all steps; one alone is a bare array, several are a tuple. Without steps the states are the results as they are, and
    the outputs have an axis of size 0.

    Raises:
        ValueError: There is no sequence, or an axis is no number from 0 to 63.
    """

    def __init__(self, body: Block, states: int, axes: Sequence[int], output_axes: Sequence[int]) -> None:
        super().__init__()
        self.states = check.size("states", states, least=0)
        self.axes = tuple(check.size("axes", each, least=0) for each in axes)
        self.output_axes = tuple(check.size("output_axes", each, least=0) for each in output_axes)
        if not self.axes:
            raise ValueError("Scan: expected one sequence or more, found none in axes")
        if not self.states and not self.output_axes:
            raise ValueError("Scan: expected a state or an output, found neither")
        if max((*self.axes, *self.output_axes)) >= _MOST_AXES:
            raise ValueError(f"Scan: expected axes below {_MOST_AXES}, found {max((*self.axes, *self.output_axes))}")
        self.body = body

    def forward(self, *inputs: Any) -> Any:
        """Run the body step by step."""
        states, sequences, others = self.parted(inputs)
        count = self.steps([each.shape for each in sequences])
        at_front = [np.moveaxis(each, axis, 0) for each, axis in zip(sequences, self.axes, strict=True)]
        collected: list[Any] = [None] * len(self.output_axes)
        # Without a step it runs once all the same, where there are outputs: that tells what they would be.
        for step in range(max(count, min(len(collected), 1))):
            elements = [each[step] if count else np.zeros(each.shape[1:], each.dtype) for each in at_front]
            found = self.body(*states, *elements, *others)
            following, outputs = self.results(found if isinstance(found, tuple) else (found,))
            self.refuse_others(states, following, lambda each: (np.shape(each), np.asarray(each).dtype))
            if not step:
                collected = [np.empty((count, *np.shape(each)), np.asarray(each).dtype) for each in outputs]
            if count:
                states = following
                for whole, each in zip(collected, outputs, strict=True):
                    whole[step] = each
        stacked = (
            np.ascontiguousarray(np.moveaxis(each, 0, self.output_axis(at, each.ndim)))
            for at, each in enumerate(collected)
        )
        row = (*states, *stacked)
        return row[0] if len(row) == 1 else row

    # ------------------------------------------------------------------ what a call and a result consist of

    def parted(self, inputs: Sequence[Any]) -> tuple[list[Any], list[Any], list[Any]]:
        """A call's inputs as states, sequences and others.

        Raises:
            ValueError: There are too few.
        """
        first, last = self.states, self.states + len(self.axes)
        if len(inputs) < last:
            raise ValueError(
                f"Scan: expected {self.states} states and {len(self.axes)} sequences, found {len(inputs)} inputs"
            )
        return list(inputs[:first]), list(inputs[first:last]), list(inputs[last:])

    def steps(self, shapes: Sequence[Sequence[int]]) -> int:
        """The number of steps that sequences of these shapes have.

        Raises:
            ValueError: They have different ones, or no such axis.
        """
        for shape, axis in zip(shapes, self.axes, strict=True):
            if axis >= len(shape):
                raise ValueError(f"Scan: expected a sequence with an axis {axis}, found shape {tuple(shape)}")
        sizes = [shape[axis] for shape, axis in zip(shapes, self.axes, strict=True)]
        if len(set(sizes)) > 1:
            raise ValueError(f"Scan: expected sequences of one number of steps, found {sizes}")
        return sizes[0]

    def results(self, found: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """What the body returned as states and outputs.

        Raises:
            ValueError: There are more or fewer.
        """
        if len(found) != self.states + len(self.output_axes):
            wanted = f"{self.states} states and {len(self.output_axes)} outputs"
            raise ValueError(f"Scan: expected {wanted} of its body, found {len(found)} arrays")
        return list(found[: self.states]), list(found[self.states :])

    def refuse_others(self, states: Sequence[Any], following: Sequence[Any], like: Callable[[Any], Any]) -> None:
        """Refuse states that a step does not leave as they are, in shape and dtype.

        Args:
            states: What a step is given.
            following: What it returns.
            like: Shape and dtype of one.

        Raises:
            ValueError: One is of another shape or dtype.
        """
        for at, (one, other) in enumerate(zip(states, following, strict=True)):
            if like(one) != like(other):
                (shape, dtype), (found, found_dtype) = like(one), like(other)
                raise ValueError(
                    f"Scan: expected state {at} to stay {dtype} {shape} from step to step, found {found_dtype} {found}"
                )

    def output_axis(self, at: int, rank: int) -> int:
        """The axis of steps of a result with so many axes.

        Raises:
            ValueError: It has no such axis.
        """
        axis = self.output_axes[at]
        if axis >= rank:
            raise ValueError(f"Scan: expected output {at} to have {axis} axes or more, found {rank - 1}")
        return axis
