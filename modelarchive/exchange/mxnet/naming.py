"""Names of parameters in Gluon's files and in archives, in both directions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

#: Gluon's word -> the vocabulary's, for the parameters of normalising layers.
_NORMALISING: Final = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_var": "running_var",
}
_BACK: Final = {"weight": "gamma", "bias": "beta"}
#: A fused recurrent layer, in the layer's own names and in those of the cells that it stands for.
_RECURRENT: Final = re.compile(
    r"(?:(?P<side>[lr])(?P<layer>\d+)_"
    r"|_unfused\.(?P<of_cell>\d+)\.(?:(?P<cell_side>[lr])_cell\.)?)(?P<to>i2h|h2h)_(?P<what>weight|bias)$"
)
_OWN_RECURRENT: Final = re.compile(r"(?P<what>weight|bias)_(?P<to>ih|hh)_l(?P<layer>\d+)(?P<back>_reverse)?$")


def from_gluon(names: Iterable[str]) -> dict[str, str]:
    """Name in a file of Gluon -> name in an archive.

    ``gamma`` and ``beta`` become ``weight`` and ``bias`` where a block has both; ``l0_i2h_weight`` (or
    ``_unfused.0.l_cell.i2h_weight``) becomes ``weight_ih_l0``. No two names become the same.
    """
    stored = list(names)
    there = set(stored)
    found: dict[str, str] = {}
    for name in stored:
        block, dot, last = name.rpartition(".")
        new = name
        if last in _NORMALISING and {f"{block}{dot}gamma", f"{block}{dot}beta"} <= there:
            new = f"{block}{dot}{_NORMALISING[last]}"
        elif match := _RECURRENT.search(name):
            start = match.start()
            if start == 0 or name[start - 1] == ".":
                side = match["side"] or match["cell_side"] or "l"
                to = match["to"].replace("2h", "h")
                layer = match["layer"] or match["of_cell"]
                new = f"{name[:start]}{match['what']}_{to}_l{layer}{'_reverse' if side == 'r' else ''}"
        found[name] = new
    taken = Counter(found.values())
    return {name: new if taken[new] == 1 and (new == name or new not in there) else name for name, new in found.items()}


def to_gluon(names: Iterable[str], kinds: Mapping[str, str]) -> dict[str, str]:
    """Name in an archive -> name that ``load_parameters`` of a Gluon network of the same structure expects.

    Args:
        names: The parameters' names.
        kinds: Path of a block -> its kind; empty if that is not known: a block with running statistics is
            taken for a normalising one then.
    """
    stored = list(names)
    there = set(stored)
    found = {}
    for name in stored:
        block, dot, last = name.rpartition(".")
        kind = kinds.get(block, "")
        normalising = kind.endswith("Norm") or (not kind and f"{block}{dot}running_mean" in there)
        if last in _BACK and normalising:
            found[name] = f"{block}{dot}{_BACK[last]}"
        elif kind == "PReLU":
            found[name] = f"{block}{dot}alpha"
        elif match := _OWN_RECURRENT.fullmatch(last):
            cell = ""
            if f"{block}{dot}{last.removesuffix('_reverse')}_reverse" in there:
                cell = "r_cell." if match["back"] else "l_cell."
            to = f"{match['to'][0]}2h"
            found[name] = f"{block}{dot}_unfused.{match['layer']}.{cell}{to}_{match['what']}"
        else:
            found[name] = name
    return found
