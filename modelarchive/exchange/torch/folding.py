"""What a program computes from constants alone is computed once, by PyTorch; what changes nothing is passed over."""

from __future__ import annotations

import math
import operator
from typing import Any, Final

import torch

from modelarchive.exchange.budget import spend
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.torch.capturing import Program
from modelarchive.exchange.torch.frames import is_array
from modelarchive.exchange.torch.lifting import word
from modelarchive.exchange.torch.lifting_elementwise import ROWS as ELEMENTWISE
from modelarchive.exchange.torch.lines_of_code import line_of_call
from modelarchive.exchange.torch.steps import SCAN

#: Operators that give what they are given.
TRANSPARENT: Final = frozenset(
    {"clone", "alias", "detach", "lift_fresh", "lift_fresh_copy", "contiguous", "to", "_to_copy",
     "resolve_conj", "resolve_neg", "positive", "type_as"}
)  # fmt: skip
#: Calls that depend on where elements lie, which is no longer so where calls were passed over.
_SAFE: Final = {
    torch.ops.aten.view.default: torch.ops.aten.reshape.default,
    torch.ops.aten._unsafe_view.default: torch.ops.aten.reshape.default,
}
_SEEDED: Final = torch.Tag.nondeterministic_seeded


def folded(program: Program, nodes: list[torch.fx.Node]) -> dict[torch.fx.Node, Any]:
    """The values of the calls that depend on no input and no parameter, and of the constants themselves.

    Args:
        program: The program.
        nodes: The calls that are needed, in order.

    Raises:
        Refusal: A constant is random.
    """
    values: dict[torch.fx.Node, Any] = dict(program.constants)
    for node in nodes:
        if not is_array(node) or not all(_is_known(each, values) for each in node.all_input_nodes):
            continue
        if not isinstance(node.target, torch._ops.OpOverload) and node.target is not operator.getitem:
            continue
        if node.target is SCAN:
            continue
        if isinstance(node.target, torch._ops.OpOverload) and _is_random(node):
            what = "gives random numbers, and an architecture has none: draw them outside and pass them in"
            raise Refusal(f"{word(node)} {what}{line_of_call(node)}")
        _spend(node)
        args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), lambda each: _valued(each, values))
        if isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable:
            args = (args[0].clone(), *args[1:])
        values[node] = _SAFE.get(node.target, node.target)(*args, **kwargs)
    return values


def _spend(node: torch.fx.Node) -> None:
    """Count what is computed, where it is for a file."""
    value = node.meta.get("val")
    for each in value if isinstance(value, tuple | list) else [value]:
        if isinstance(each, torch.Tensor):
            spend(f"a constant of shape {tuple(each.shape)}", elements=math.prod(map(int, each.shape)))


def _is_random(node: torch.fx.Node) -> bool:
    """Whether a call draws numbers: dropout does not, in evaluation."""
    if word(node) in ("dropout", "alpha_dropout", "feature_dropout") and len(node.args) == 3:
        return bool(node.args[1] and node.args[2])
    return _SEEDED in node.target.tags


def _is_known(node: torch.fx.Node, values: dict[torch.fx.Node, Any]) -> bool:
    return node in values or (not is_array(node) and isinstance(node.meta.get("val"), int | float | bool))


def _valued(node: torch.fx.Node, values: dict[torch.fx.Node, Any]) -> Any:
    return values[node] if node in values else node.meta["val"]


def _is_place(user: torch.fx.Node, number: torch.fx.Node) -> bool:
    """Whether a number is the place of what is picked from an axis."""
    return word(user) == "select" and user.args[2] is number


def passed_over(program: Program) -> None:
    """Take out of a program the calls that give what they are given; a number of an array is an array without axes."""
    for node in list(program.graph.nodes):
        if word(node) in ("item", "_local_scalar_dense"):
            takes = lambda user, node=node: word(user) in ELEMENTWISE or _is_place(user, node)  # noqa: E731
            node.replace_all_uses_with(node.args[0], delete_user_cb=takes)
        if node.op != "call_function" or word(node) not in TRANSPARENT or not node.args:
            continue
        first = node.args[0]
        one, other = first.meta.get("val"), node.meta.get("val")
        if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor) and one.dtype == other.dtype:
            node.replace_all_uses_with(first)
            program.outputs = [first if each is node else each for each in program.outputs]
