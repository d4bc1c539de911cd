"""How PyTorch is while it exports: without warnings and logs, and with the code that shows what is computed."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Final

import torch
import torch.backends.opt_einsum  # no part of torch by itself
from torch.fx.experimental.symbolic_shapes import DimConstraints

from modelarchive.exchange.torch.packing import padded_sequences
from modelarchive.exchange.torch.recurrences import whole_recurrences
from modelarchive.exchange.torch.slow_attention import slow_attention
from modelarchive.exchange.torch.substitutes import Substitutes

#: What tells of all that is tried.
_LOGS: Final = ("torch.export", "torch._export", "torch.fx", "torch._subclasses.fake_tensor",
                "torch.fx.experimental.symbolic_shapes")  # fmt: skip


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without PyTorch's warnings about modules, and without kernels that hide what attention does."""
    checked, ordered = torch.distributions.Distribution._validate_args, torch.backends.opt_einsum.enabled
    logs = list(map(logging.getLogger, _LOGS))
    levels = [each.level for each in logs]
    try:
        for each in logs:
            each.setLevel(logging.CRITICAL)
        # Checks of arguments branch on values, and the best order of products fixes the sizes that it is chosen by.
        torch.distributions.Distribution._validate_args = torch.backends.opt_einsum.enabled = False
        # What PyTorch cannot export it prints, call by call.
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stderr(io.StringIO()),
            slow_attention(),
            whole_recurrences(),
            padded_sequences(),
            Substitutes(),
            _unsolved_conditions(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.distributions.Distribution._validate_args, torch.backends.opt_einsum.enabled = checked, ordered
        for each, level in zip(logs, levels, strict=True):
            each.setLevel(level)


@contextlib.contextmanager
def _unsolved_conditions() -> Iterator[None]:
    """Conditions on sizes that SymPy cannot solve stay conditions; PyTorch solves them to tell of them.

    A pyramid of features that are halved, doubled and joined again holds for multiples of a number, say.
    """
    solve = DimConstraints.solve

    def solved(self: DimConstraints) -> None:
        with contextlib.suppress(NotImplementedError):
            solve(self)

    DimConstraints.solve = solved
    try:
        yield
    finally:
        DimConstraints.solve = solve
