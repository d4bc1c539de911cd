"""Why torch.export cannot follow a module: what PyTorch says, which may be pages, in a sentence."""

from __future__ import annotations

import re
from typing import Any, Final, NoReturn

import torch.fx

from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.torch.branching import is_of_values
from modelarchive.exchange.torch.lines_of_code import line_of, modules_inside

_DIFFERENTIATES: Final = (
    "its forward computes gradients (torch.autograd.grad, torch.func.grad), which torch.export cannot follow: write "
    "the derivative out, or leave it to what calls the network"
)

_LOOPS: Final = (
    "a loop of it runs as often as values say (torch.while_loop): let it run so many times (for ... in range(...)), or "
    "leave that part to what calls the network"
)

#: What PyTorch stumbles over where derivatives are taken by transforms of functions.
_OF_TRANSFORMS: Final = "'Tensor' object has no attribute 'constant'"


class OfValues(Refusal):
    """What a forward does depends on the values of an array, or on gradients: other sizes do not help.

    Args:
        message: Why.
        cause: The error that ended it.

    Attributes:
        inside: ``id(module)`` of the modules whose forward had not ended then.
    """

    def __init__(self, message: str, cause: BaseException | None = None) -> None:
        super().__init__(message)
        self.inside = frozenset[int]() if cause is None else modules_inside(cause)


def refuse_gradients(*given: Any, **more: Any) -> NoReturn:
    """Stands for what computes gradients, while a module is exported.

    Raises:
        OfValues: Always.
    """
    raise OfValues(_DIFFERENTIATES)


def refuse_loops(graph: torch.fx.Graph) -> None:
    """Refuse a program that has a loop which values end.

    Raises:
        OfValues: It has.
    """
    if any(getattr(node.target, "__name__", "") == "while_loop" for node in graph.nodes):
        raise OfValues(_LOOPS)


def reason_of(error: Exception) -> str:
    """Why a module cannot be followed."""
    return str(error) if isinstance(error, Refusal) else _reason(error)


def reason_of_values(error: Exception, first: Exception | None) -> OfValues:
    """Why a module cannot be followed that asks for values.

    Args:
        error: What ended the last try.
        first: What asked for values before, if anything did; what the forward stumbled over when it got none is no
            reason.
    """
    is_told = isinstance(error, Refusal) or first is None or is_of_values(error)
    return OfValues(reason_of(error if is_told or first is None else first), error if is_of_values(error) else first)


def _reason(error: Exception) -> str:
    """The first lines of what PyTorch says, which may be pages; what it says most is said in our words."""
    if is_of_values(error):
        where = line_of(error)
        return (
            f"what it does depends on the values of an array{where}: compute with masks there (torch.where, sums of "
            f"truths), or leave that part to what calls the network"
        )
    if isinstance(error, AttributeError) and _OF_TRANSFORMS in str(error):
        return _DIFFERENTIATES
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    plain = plain.partition("While executing")[0]  # what follows are names of PyTorch's own
    lines = [line.strip() for line in plain.strip().splitlines() if line.strip()]
    text = " ".join(lines[:2])
    return f"torch.export cannot follow it{line_of(error)}: {type(error).__name__}{': ' if text else ''}{text[:400]}"
