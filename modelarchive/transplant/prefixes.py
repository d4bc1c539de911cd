"""Prefixes that wrappers leave in names: ``module.`` of DataParallel, ``_orig_mod.`` of torch.compile, and the like."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

#: Attributes under which wrappers keep the network; they stand anywhere in a name. Those of the classes that
#: `exchange.torch.wrapping` looks through are among them: a file has the names, and no class to ask.
_WRAPPERS: Final = (
    "module",  # DataParallel, DistributedDataParallel, AveragedModel
    "_orig_mod",  # torch.compile
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
    "_forward_module",  # Lightning's Fabric
)
#: Attributes under which training code keeps the network: they count at the beginning only.
_OWNERS: Final = ("model", "net", "network")


def without(name: str) -> Iterable[str]:
    """The name without what wrappers put into it, the lightest change first."""
    parts = name.split(".")
    bare = [part for part in parts if part not in _WRAPPERS]
    if bare != parts and bare:
        yield ".".join(bare)
    if len(bare) > 1 and bare[0] in _OWNERS:
        yield ".".join(bare[1:])


class Prefixes:
    """Brings names of a source to those of a target, where only prefixes of wrappers set them apart.

    Args:
        targets: The target's names.
    """

    def __init__(self, targets: Collection[str]) -> None:
        self._targets = set(targets)
        self._bare: dict[str, str] = {}
        for name in targets:
            for bare in without(name):
                if bare not in self._targets:
                    self._bare.setdefault(bare, name)
        self._taken: dict[str, int] = {}
        self._given: dict[str, int] = {}

    def target_of(self, name: str) -> str:
        """The target's name for a source's; the name itself where nothing fits better."""
        if name in self._targets:
            return name
        for bare in (name, *without(name)):
            found = bare if bare in self._targets else self._bare.get(bare)
            if found is not None:
                self._count(self._taken, name, bare)
                self._count(self._given, found, bare)
                return found
        return name

    def notes(self) -> list[str]:
        """What was taken off or put on, in words."""
        taken = [f"{prefix!r} was taken off {count} names of the source" for prefix, count in self._taken.items()]
        return taken + [f"{prefix!r} was put before {count} names" for prefix, count in self._given.items()]

    @staticmethod
    def _count(counts: dict[str, int], long: str, bare: str) -> None:
        if long == bare:
            return
        rest = set(bare.split("."))
        prefix = ".".join(part for part in long.split(".") if part not in rest) + "."
        if long.endswith(f".{bare}"):
            prefix = long.removesuffix(bare)
        counts[prefix] = counts.get(prefix, 0) + 1
