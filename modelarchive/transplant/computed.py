"""Parameters that PyTorch computes from others, as weight and spectral norms do, and what those are called."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Final

from modelarchive.transplant.prefixes import without

#: The parts of a parameter: of ``torch.nn.utils.parametrize``, and of the hooks that were before it.
_NEW: Final = re.compile(r"(?P<before>(?:.+\.)?)parametrizations\.(?P<name>[^.]+)\.(?P<part>.+)")
_OLD: Final = re.compile(r"(?P<before>(?:.+\.)?)(?P<name>[^.]+)_(?P<part>g|v|orig)")
#: What weight norm calls its parts, as ``load_state_dict`` takes the one for the other.
_SPELT: Final = {"g": "original0", "v": "original1", "original0": "g", "original1": "v"}
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


def computed(lost: Iterable[str], known: Iterable[str]) -> str:
    """Which of the lost names is computed from several on the other side, and what makes it plain; "" if none is.

    Args:
        lost: Names in the source that have no place.
        known: The target's names.
    """
    wholes = {_whole(name): name for name in known}
    for name in lost:
        if name in wholes:
            return f"{name!r} is computed in the target, from {wholes[name]!r} and others: {_PLAIN}"
        if (whole := _whole(name)) != name and whole in wholes:
            return f"{whole!r} was computed in the source, from {name!r} and others: {_PLAIN}"
    return ""


def _whole(name: str) -> str:
    """The parameter that is computed from this one and others; itself where none is."""
    found = _NEW.fullmatch(name) or _OLD.fullmatch(name)
    return name if found is None else found["before"] + found["name"]
