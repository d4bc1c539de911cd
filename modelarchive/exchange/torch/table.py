"""What the tables say together, for people: layers that are read and written, functions, ops."""

from __future__ import annotations

from modelarchive import nn, ops
from modelarchive.exchange.rows import Support
from modelarchive.exchange.torch import lifting
from modelarchive.exchange.torch.building import MODULES
from modelarchive.exchange.torch.leaves import ROWS

_OWN = "a module of this package; read from operators"


def support() -> list[Support]:
    """Rows of layers in their table's order, kinds that have no class in torch.nn, functions, ops."""
    found = []
    for row in ROWS:
        ours = [name for name in row.ours.split(", ") if name in nn.KINDS]
        theirs = ", ".join(dict.fromkeys(each.__name__ for each in row.classes))
        written = all(name in MODULES for name in ours)
        found.append(Support(theirs, ", ".join(ours), read=True, written=written, losses=row.losses))
    rest = [kind for kind in MODULES if not any(kind in row.ours.split(", ") for row in found)]
    found += [Support("", kind, read=False, written=True, losses=_OWN) for kind in rest]
    operators = ", ".join(sorted({*lifting.ROWS, *lifting.LAYERS}))
    found.append(Support(operators, "", read=True, written=False, losses="ATen operators"))
    every = ", ".join(sorted(ops.OPS))
    found.append(Support("", every, read=False, written=True, losses="functions in the forward of a Graph"))
    return found
