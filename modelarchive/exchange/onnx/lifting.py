"""The table of ONNX's operators: what each is lifted to, how, and what is lost; a new one is a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from modelarchive.exchange import budget
from modelarchive.exchange.onnx.lifting_context import Context
from modelarchive.exchange.onnx.lifting_elementwise import ELEMENTWISE
from modelarchive.exchange.onnx.lifting_layers import LAYERS
from modelarchive.exchange.onnx.lifting_recurrent import RECURRENT
from modelarchive.exchange.onnx.lifting_selection import SELECTION
from modelarchive.exchange.onnx.lifting_shapes import SHAPES
from modelarchive.exchange.onnx.lifting_windows import WINDOWS
from modelarchive.exchange.onnx.values import NAMES_A_STEP
from modelarchive.exchange.rows import Lifting

#: The opsets whose operators are known.
OPSETS: Final = range(13, 29)


def _branch(context: Context) -> Any:
    """If, where it is known while reading which branch is taken."""
    taken = context.node.graph("then_branch" if bool(context.number(0)) else "else_branch")
    context.node.used.update(("then_branch", "else_branch"))
    # The branch sees what is around it.
    budget.spend(f"If {context.name!r}", steps=len(context.scope) // NAMES_A_STEP)
    return context.branch(taken, context.scope)


#: Name of an operator -> its row.
LIFTINGS: Final[Mapping[str, Lifting]] = {
    row.theirs: row
    for row in (
        *ELEMENTWISE,
        *SHAPES,
        *SELECTION,
        *WINDOWS,
        *LAYERS,
        *RECURRENT,
        Lifting("If", "(one of its branches)", _branch, "a condition that is known while reading"),
    )
}
