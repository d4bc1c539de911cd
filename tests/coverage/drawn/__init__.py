"""Networks drawn at random: a few operations one after the other and beside, of fixed sizes, free lengths, free sides.

A seed is a network, the same one each time.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any, Final

import torch
from torch import nn

from tests.coverage.drawn.axes import AXES
from tests.coverage.drawn.elementwise import ELEMENTWISE, PAIRS
from tests.coverage.drawn.layers import LAYERS
from tests.coverage.drawn.steps import Function, Step
from tests.coverage.judging import Network

#: Which axes are free -> the shapes of what a network is tried on while it is drawn, the first one the example.
SHAPES: Final[dict[str, tuple[tuple[int, ...], ...]]] = {
    "batch": ((3, 4, 6), (5, 4, 6)),
    "length": ((3, 6, 4), (5, 9, 4), (2, 11, 4)),
    "sides": ((3, 4, 6, 8), (5, 4, 9, 7), (2, 4, 12, 11)),
}
#: What the axes are called where the network is declared.
NAMES: Final = {
    "batch": ("batch", 4, 6), "length": ("batch", "length", 4), "sides": ("batch", 4, "height", "width")
}  # fmt: skip
#: Layers are drawn more often than each of the many elementwise operations.
_STEPS: Final[dict[str, Step]] = {**ELEMENTWISE, **AXES, **LAYERS}
_NAMES: Final = [*ELEMENTWISE, *AXES, *AXES, *LAYERS, *LAYERS, *LAYERS, *LAYERS]
#: Elements of a value, and how often a step is drawn, at most.
_MOST, _TRIES = 4000, 200
#: How many networks of each the recorded set has.
_NUMBER: Final = 40


class Drawn(nn.Module):
    """A network of steps.

    Args:
        steps: (what is done, numbers of the values that it takes), of which 0 is the input.
        outputs: Numbers of the values that are returned.
        words: What it does.
    """

    def __init__(self, steps: list[tuple[Function, tuple[int, ...]]], outputs: list[int], words: str) -> None:
        super().__init__()
        self.steps, self.outputs, self.words = steps, outputs, words
        for number, (function, _) in enumerate(steps):
            if isinstance(function, nn.Module):
                self.add_module(f"step_{number}", function)

    def forward(self, x: torch.Tensor) -> Any:
        """One array, or several."""
        values = [x]
        for function, taken in self.steps:
            values.append(function(*(values[at] for at in taken)))
        found = tuple(values[at] for at in self.outputs)
        return found if len(found) > 1 else found[0]


def draw(kind: str, seed: int) -> Drawn:
    """The network of a seed.

    Args:
        kind: Which axes are free, a key of :data:`SHAPES`.
        seed: A number.
    """
    drawing = Random(seed)
    torch.manual_seed(seed)
    rows: list[list[torch.Tensor]] = [[torch.randn(shape)] for shape in SHAPES[kind]]
    steps: list[tuple[Function, tuple[int, ...]]] = []
    words: list[str] = []
    wanted = drawing.randint(3, 8)
    for _ in range(_TRIES):
        if len(steps) == wanted:
            break
        name, function, taken = _step(drawing, rows[0])
        with torch.no_grad():
            try:
                found = [function(*(row[at] for at in taken)) for row in rows]
            except (RuntimeError, ValueError, IndexError, TypeError, AssertionError):  # not for such a tensor
                continue
        if not _is_usable(found, rows):
            continue
        for row, value in zip(rows, found, strict=True):
            row.append(value)
        steps.append((function, taken))
        words.append(f"{name}{list(taken)}")
    used = {at for _, taken in steps for at in taken}
    outputs = [at for at in range(1, len(rows[0])) if at not in used][-3:]
    return Drawn(steps, outputs, " > ".join(words)).eval()


def _step(drawing: Random, values: list[torch.Tensor]) -> tuple[str, Function, tuple[int, ...]]:
    """What might be done next: mostly with the last value, at times with another one, or with two."""
    if len(values) > 1 and drawing.random() < 0.2:
        name = drawing.choice(list(PAIRS))
        return name, PAIRS[name], (drawing.randrange(len(values)), drawing.randrange(len(values)))
    at = len(values) - 1 if drawing.random() < 0.75 else drawing.randrange(len(values))
    while True:
        name = drawing.choice(_NAMES)
        if _STEPS[name].takes(values[at]):
            break
    try:
        function, what = _STEPS[name].draw(drawing, values[at])
    except (RuntimeError, ValueError):  # no such layer for such a tensor
        return name, _refused, (at,)
    if isinstance(function, nn.Module):
        function.eval()
    return f"{name} {what}".strip(), function, (at,)


def _refused(x: torch.Tensor) -> Any:
    raise ValueError("there is no such layer")


def _is_usable(found: list[Any], rows: list[list[torch.Tensor]]) -> bool:
    """Whether results are arrays with the batch first, real, not empty, small and finite where it is asked for."""
    if not all(isinstance(each, torch.Tensor) and each.ndim for each in found):
        return False
    return all(
        each.ndim == found[0].ndim < 5
        and each.shape[0] == len(row[0])
        and 0 < each.numel() <= _MOST
        and not each.is_complex()
        and (not each.is_floating_point() or bool(each.isfinite().all()))
        for each, row in zip(found, rows, strict=True)
    )


def _made(kind: str, seed: int) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    module = draw(kind, seed)
    return module, (torch.randn(SHAPES[kind][0], generator=torch.Generator().manual_seed(seed)),)


def drawn(first: int = 0, number: int = _NUMBER) -> Iterator[Network]:
    """Networks of a row of seeds, of each kind.

    Args:
        first: The first seed.
        number: How many seeds.
    """
    for kind in SHAPES:
        for seed in range(first, first + number):
            yield Network("random", f"{kind} {seed}", lambda kind=kind, seed=seed: _made(kind, seed))
