"""The table of ONNX's operators: what each one means in the vocabulary. One row an operator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from modelarchive.exchange import budget
from modelarchive.exchange.onnx.lifting_context import Context
from modelarchive.exchange.onnx.lifting_elementwise import ELEMENTWISE
from modelarchive.exchange.onnx.lifting_layers import LAYERS
from modelarchive.exchange.onnx.lifting_recurrent import RECURRENT
from modelarchive.exchange.onnx.lifting_selection import CHOOSING
from modelarchive.exchange.onnx.lifting_shapes import MOVING
from modelarchive.exchange.onnx.lifting_windows import WINDOWS
from modelarchive.exchange.onnx.values import NAMES_A_STEP

#: The opsets whose operators are known.
OPSETS: Final = range(13, 29)


@dataclass(frozen=True)
class Operator:
    """One row: an operator of ONNX.

    Attributes:
        name: As a node's ``op_type`` has it.
        ours: Kinds and ops of the vocabulary that it becomes.
        read: Makes its counterpart from one node.
        losses: What is not kept, one short sentence.
    """

    name: str
    ours: str
    read: Callable[[Context], Any]
    losses: str = ""


def _branch(context: Context) -> Any:
    """If, where the file tells which branch is taken."""
    taken = context.node.graph("then_branch" if bool(context.number(0)) else "else_branch")
    context.node.used.update(("then_branch", "else_branch"))
    # The branch sees what is around it.
    budget.spend(f"If {context.name!r}", steps=len(context.scope) // NAMES_A_STEP)
    return context.branch(taken, context.scope)


#: Every operator that is understood, by name.
OPERATORS: Final[dict[str, Operator]] = {
    row[0]: Operator(*row)
    for row in (
        *ELEMENTWISE,
        *MOVING,
        *CHOOSING,
        *WINDOWS,
        *LAYERS,
        *RECURRENT,
        ("If", "(one of its branches)", _branch, "a condition that the file tells"),
    )
}
