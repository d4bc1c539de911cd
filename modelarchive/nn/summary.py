"""The table that ``Block.summary`` returns: what a forward pass went through."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from modelarchive.nn.calling import run
from modelarchive.nn.nesting import leaves
from modelarchive.nn.parameter import Parameter, shape_text
from modelarchive.nn.recording import RECORDER
from modelarchive.nn.signature import Called
from modelarchive.tables import Table, aligned


class Summarised(Called, Protocol):
    """A block, as far as its summary needs it."""

    @property
    def parameters(self) -> dict[str, Parameter]:
        """Its own parameters by attribute."""

    def collect_params(self) -> dict[str, Parameter]:
        """Those of all blocks below it too, by structural name."""

    def __call__(self, *inputs: Any) -> Any:
        """Run it."""


@dataclass
class _Observer:
    """Runs every call in NumPy and notes the blocks' output shapes."""

    shapes: dict[int, list[Any]] = field(default_factory=dict)

    def call(self, block: Called, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        result = run(block, inputs, named)
        self.shapes.setdefault(id(block), []).append([np.shape(output) for output in leaves(result)])
        return result

    def parameter(self, parameter: Parameter) -> Any:
        return parameter.value()

    def refused(self, error: Exception) -> None:
        """Nothing is refused here."""

    def changes(self, owner: Any, what: str) -> None:
        """A summary forbids nothing."""


def table(block: Summarised, *inputs: Any) -> Table:
    """Run `block` on `inputs` and tell each block's class, output shape and parameter count.

    Args:
        block: The network.
        *inputs: Arrays; none: nothing runs, and the output shapes stay empty.
    """
    observer = _Observer()
    if inputs:
        token = RECORDER.set(observer)
        try:
            block(*inputs)
        finally:
            RECORDER.reset(token)
    rows = [("Block", "Class", "Output shape", "Parameters")]
    rows += [_row(path, each, observer) for path, each in block.named_blocks()]
    head, *texts = aligned(rows, right=[3])
    line = "-" * max(map(len, (head, *texts)))
    return Table("\n".join([line, head, line, *texts, line, *_totals(block), line]))


def _row(path: str, block: Summarised, observer: _Observer) -> tuple[str, str, str, str]:
    calls = observer.shapes.get(id(block), [])
    shown = ", ".join(map(shape_text, calls[-1])) if calls else ""
    if len(calls) > 1:
        shown += f" x{len(calls)}"
    own = block.parameters.values()
    count = f"{sum(map(_count, own)):,}" if all(each.is_known for each in own) else "?"
    indent = "  " * (path.count(".") + 1 if path else 0)
    return indent + (path.rsplit(".", 1)[-1] or "(model)"), type(block).__name__, shown, count


def _totals(block: Summarised) -> list[str]:
    named = block.collect_params()
    unique = {id(parameter): parameter for parameter in named.values()}.values()
    trainable = sum(_count(parameter) for parameter in unique if parameter.trainable)
    total = sum(map(_count, unique))
    lines = [f"Parameters: {total:,}, of which trainable {trainable:,}, not trainable {total - trainable:,}"]
    if len(unique) < len(named):
        lines.append(f"Shared: {len(named):,} names for {len(unique):,} parameters")
    unknown = sum(not parameter.is_known for parameter in unique)
    if unknown:
        lines.append(f"Not counted: {unknown:,} whose shape is not known yet")
    return lines


def _count(parameter: Parameter) -> int:
    return math.prod(parameter.known_shape) if parameter.is_known else 0
