"""The table of ATen operators: what each one means in the vocabulary. A new operator is a row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch

from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.torch import lifting_bags as bags
from modelarchive.exchange.torch import lifting_bins as bins
from modelarchive.exchange.torch import lifting_complex as of_complex
from modelarchive.exchange.torch import lifting_creating as creating
from modelarchive.exchange.torch import lifting_elementwise as elementwise
from modelarchive.exchange.torch import lifting_experts as experts
from modelarchive.exchange.torch import lifting_gamma as gamma
from modelarchive.exchange.torch import lifting_linalg as linalg
from modelarchive.exchange.torch import lifting_matrices as matrices
from modelarchive.exchange.torch import lifting_norms as norms
from modelarchive.exchange.torch import lifting_order as order
from modelarchive.exchange.torch import lifting_padding as padding
from modelarchive.exchange.torch import lifting_picking as picking
from modelarchive.exchange.torch import lifting_places as places
from modelarchive.exchange.torch import lifting_recurrences as recurrences
from modelarchive.exchange.torch import lifting_resizing as resizing
from modelarchive.exchange.torch import lifting_rounding as rounding
from modelarchive.exchange.torch import lifting_scans as scans
from modelarchive.exchange.torch import lifting_shapes as shapes
from modelarchive.exchange.torch import lifting_special as special
from modelarchive.exchange.torch import lifting_sums as sums
from modelarchive.exchange.torch import lifting_windows as windows
from modelarchive.exchange.torch.lifting_complex import Pairs, is_complex, refuse_result
from modelarchive.exchange.torch.lifting_context import Context, uses
from modelarchive.exchange.torch.lifting_layers import FIRST, LAYERS, Lifted

#: Operator -> what it means on arrays of a recording.
ROWS: Final[dict[str, Callable[..., Any]]] = {
    **elementwise.ROWS,
    **creating.ROWS,
    **shapes.ROWS,
    **padding.ROWS,
    **sums.ROWS,
    **picking.ROWS,
    **bags.ROWS,
    **places.ROWS,
    **order.ROWS,
    **experts.ROWS,
    **windows.ROWS,
    **bins.ROWS,
    **resizing.ROWS,
    **norms.ROWS,
    **scans.ROWS,
    **matrices.ROWS,
    **linalg.ROWS,
    **recurrences.ROWS,
    **special.ROWS,
    **gamma.ROWS,
    **rounding.ROWS,
}
#: Arguments that change no values here.
_IGNORED: Final = frozenset(
    {"memory_format", "pin_memory", "layout", "device", "implicit", "cudnn_enable", "cudnn_enabled", "non_blocking",
     "copy", "scale_grad_by_freq", "sparse"}
)  # fmt: skip
#: Checks of what is so, and what has no results.
CHECKS: Final = ("_assert", "sym_constrain", "_check")
#: Operators that are said in the same way for arrays of all sizes.
OF_ANY_SIZE: Final = elementwise.ROWS.keys() | {
    "linear", "matmul", "mm", "bmm", "addmm", "conv1d", "conv2d", "conv3d", "cat", "permute", "transpose", "unsqueeze",
    "softmax", "log_softmax", "layer_norm", "rms_norm", "embedding", "dropout", "scaled_dot_product_attention",
}  # fmt: skip


#: Namespaces of the operators of the table.
_OF_PYTORCH: Final = ("aten", "prims", "prim")


def arguments(node: torch.fx.Node) -> dict[str, Any]:
    """The arguments of a call by the names of the operator's schema, without those that are its defaults."""
    found = {}
    for at, each in enumerate(node.target._schema.arguments):
        value = node.args[at] if at < len(node.args) else node.kwargs.get(each.name, each.default_value)
        if each.name not in _IGNORED and (not each.has_default_value() or value is not each.default_value):
            found[each.name] = value
    return found


def word(node: torch.fx.Node) -> str:
    """The operator without its overload; of one that works in place that which makes a new array."""
    return word_of(node.target) if isinstance(node.target, torch._ops.OpOverload) else ""


def word_of(operator: torch._ops.OpOverload) -> str:
    """The same of the operator itself."""
    schema = operator._schema
    space, _, name = str(schema.name).partition("::")
    if space not in _OF_PYTORCH:
        return str(schema.name)  # somebody else's, which may have a name of PyTorch's
    return name[:-1] if schema.is_mutable and name.endswith("_") and not name.endswith("__") else name


def layer_of(node: torch.fx.Node) -> Lifted | None:
    """A call as that of a layer; None: it is none."""
    lift = LAYERS.get(word(node))
    if lift is None or (word(node) in FIRST and uses(node, 1)) or is_complex(node):
        return None
    return lift(arguments(node))


def is_known(node: torch.fx.Node) -> bool:
    """Whether the table has an operator, as it is called here."""
    if is_complex(node):
        return word(node) in of_complex.ROWS
    if word(node) in ROWS:
        return True
    try:
        call = layer_of(node)
    except Refusal:
        return True  # told when it is its turn
    return call is not None and (bool(call.parts) or word(node) not in ("batch_norm", "prelu"))


def lifted(context: Context, given: dict[str, Any]) -> Any:
    """What a call means, on arrays of the recording.

    Raises:
        Refusal: It is not supported.
    """
    name = word(context.node)
    if is_complex(context.node):
        refuse_result(context.node)
        row = of_complex.ROWS.get(name)
        context = Pairs(context.node, context.sizes)
    else:
        row = ROWS.get(name)
    if row is None:
        raise Refusal(f"the operator {name!r} is not supported")
    if "dtype" in given and name not in ("arange", "cumsum", "softmax", "log_softmax", "view"):
        given.pop("dtype")
    first = next(iter(given), None)
    args = () if first is None else (given.pop(first),)
    return row(context, *args, **given)


__all__ = [
    "CHECKS",
    "FIRST",
    "LAYERS",
    "OF_ANY_SIZE",
    "ROWS",
    "Lifted",
    "arguments",
    "is_known",
    "layer_of",
    "lifted",
    "word",
    "word_of",
]
