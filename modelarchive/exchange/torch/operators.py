"""Which ATen operators may stand in a stranger's program: those of the table, and those that PyTorch says by them."""

from __future__ import annotations

import torch

from modelarchive.exchange.torch.folding import TRANSPARENT
from modelarchive.exchange.torch.lifting import LAYERS, ROWS, word_of


def operator_named(name: str, overload: str) -> torch._ops.OpOverload | None:
    """The ATen operator of a name; None where it is neither in the table nor said by others.

    What reads files, say, or makes tensors of memory, is none of these.

    Args:
        name: Its name, such as "linear".
        overload: Which of them, such as "default".
    """
    found = getattr(getattr(torch.ops.aten, name, None), overload, None)
    if not isinstance(found, torch._ops.OpOverload):
        return None
    known = word_of(found)
    is_known = known in ROWS or known in LAYERS or known in TRANSPARENT
    return found if is_known or found in torch._decomp.decomposition_table or found._can_decompose() else None
