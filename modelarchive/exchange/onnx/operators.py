"""The table of ONNX's operators: what each one means in the vocabulary. One row an operator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from modelarchive.exchange import budget
from modelarchive.exchange.onnx.choosing import CHOOSING
from modelarchive.exchange.onnx.elementwise import ELEMENTWISE
from modelarchive.exchange.onnx.layers import LAYERS
from modelarchive.exchange.onnx.moving import MOVING
from modelarchive.exchange.onnx.recurrent import RECURRENT
from modelarchive.exchange.onnx.step import Step
from modelarchive.exchange.onnx.tensors import NoCounterpart
from modelarchive.exchange.onnx.values import NAMES_A_STEP, Constant
from modelarchive.exchange.onnx.windows import WINDOWS
from modelarchive.exchange.refusal import Refusal

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
    read: Callable[[Step], Any]
    losses: str = ""


def _branch(step: Step) -> Any:
    """If, where the file tells which branch is taken."""
    taken = step.node.graph("then_branch" if bool(step.number(0)) else "else_branch")
    step.node.used.update(("then_branch", "else_branch"))
    # The branch sees what is around it.
    budget.spend(f"If {step.name!r}", steps=len(step.scope) // NAMES_A_STEP)
    scope = dict(step.scope)
    for name, message in taken.stored.items():
        try:
            scope[name] = Constant(step.importer.model.tensors.array(message), name)
        except NoCounterpart as error:
            raise Refusal(f"the stored array {name!r} {error}") from error
    return step.importer.inside(taken.nodes, [each.name for each in taken.outputs], scope)


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
