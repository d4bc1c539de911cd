"""Parameters that PyTorch computes from others, as weight and spectral norms do, and what those are called."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from modelarchive.transplant.prefixes import without

#: The parts of a parameter: of ``torch.nn.utils.parametrize``, and of the hooks that were before it.
_NEW: Final = re.compile(r"(?P<before>(?:.+\.)?)parametrizations\.(?P<name>[^.]+)\.(?P<part>.+)")
_OLD: Final = re.compile(r"(?P<before>(?:.+\.)?)(?P<name>[^.]+)_(?P<part>g|v|orig)")
#: What weight norm calls its parts, as ``load_state_dict`` takes the one for the other.
_SPELT: Final = {"g": "original0", "v": "original1", "original0": "g", "original1": "v"}
#: Part of the older spelling -> another that stands beside it: of weight norm, of spectral norm and of pruning.
_BESIDE: Final = {"g": ("v",), "v": ("g",), "orig": ("u", "mask")}
_PLAIN: Final = (
    "torch.nn.utils.parametrize.remove_parametrizations (remove_weight_norm, remove_spectral_norm of the older ones) "
    "makes it one parameter"
)


def respelt(name: str, known: Collection[str]) -> str:
    """The name that a part of a weight norm has among those that are known, where they have it in the other spelling.

    Args:
        name: ``"conv.weight_g"``, or ``"conv.parametrizations.weight.original0"``.
        known: The target's names.
    """
    if name in known or (found := _NEW.fullmatch(name) or _OLD.fullmatch(name)) is None:
        return name
    before, whole, part = found.groups()
    spelt = _SPELT.get(part, "")
    other = f"{before}{whole}_{spelt}" if found.re is _NEW else f"{before}parametrizations.{whole}.{spelt}"
    return next((each for each in (other, *without(other)) if each in known), name)


def computed(lost: Collection[str], known: Collection[str]) -> str:
    """Which of the lost names is computed from several on the other side, and what makes it plain; "" if none is.

    Args:
        lost: Names in the source that have no place.
        known: The target's names.
    """
    theirs = _wholes(known)
    for name in lost:
        if name in theirs:
            return f"{name!r} is computed in the target, from {theirs[name]!r} and others: {_PLAIN}"
    for whole, name in _wholes(lost).items():
        if whole in known:
            return f"{whole!r} was computed in the source, from {name!r} and others: {_PLAIN}"
    return ""


def _wholes(names: Collection[str]) -> dict[str, str]:
    """Parameter -> a part that it is computed from."""
    several = set(names)
    found = {}
    for name in names:
        if (new := _NEW.fullmatch(name)) is not None:
            found[new["before"] + new["name"]] = name
        elif (old := _OLD.fullmatch(name)) is not None:
            whole = old["before"] + old["name"]
            if any(f"{whole}_{other}" in several for other in _BESIDE[old["part"]]):
                found[whole] = name
    return found
