"""Prefixes that wrappers leave in names: ``module.`` of DataParallel, ``_orig_mod.`` of torch.compile, and the like.

Such a prefix may be a real name as well: a network has a part that is called ``module``. So the names are compared
as wholes: what brings most names of the source to the target is taken off all of them alike.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
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
#: Wrappers around wrappers that are looked through, one by one.
_MOST_WRAPPERS: Final = 4


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
        sources: Those of the source that no rule renames.
    """

    def __init__(self, targets: Collection[str], sources: Collection[str]) -> None:
        self._targets = set(targets)
        self._notes: list[str] = []
        self._taken: dict[str, int] = {}
        self._given: dict[str, int] = {}
        #: Name in the source -> in the target, of the names that go there alike.
        self._alike = self._compared(list(sources))
        self._bare = _inverse({name: next(iter(_wrapped_bare(name)), name) for name in targets})

    def target_of(self, name: str) -> str:
        """The target's name for a source's; the name itself where nothing fits better."""
        return self._counted(name, *self._alike.get(name, (name, name)))

    def target_of_renamed(self, name: str) -> str:
        """The target's name for what a rule made of a source's, which may lack a wrapper's prefix or have one."""
        if name in self._targets:
            return name
        ways = ((self._bare.get(bare), bare) for bare in (*_wrapped_bare(name), name))
        return self._counted(name, *next(((own, bare) for own, bare in ways if own is not None), (name, name)))

    def notes(self) -> list[str]:
        """What was taken off or put on, in words."""
        taken = [f"{prefix!r} was taken off {count} names of the source" for prefix, count in self._taken.items()]
        given = [f"{prefix!r} was put before {count} names" for prefix, count in self._given.items()]
        return self._notes + taken + given

    def _compared(self, sources: list[str]) -> dict[str, tuple[str, str]]:
        """Source name -> (target name, the name that both become), where most names of both become one."""
        if self._targets.issuperset(sources) or self._targets.issubset(sources):
            return {}
        best: list[tuple[str, dict[str, tuple[str, str]]]] = []
        most = 0
        theirs = [(owner, _inverse(view)) for owner, view in _views(list(self._targets))]
        for owner, view in _views(sources):
            ours = {bare: name for name, bare in reversed(view.items())}
            # A name that stands so in the source comes before one that becomes it.
            ours |= {name: name for name in view if view[name] == name}
            for other, known in theirs:
                pairs = {ours[bare]: (known[bare], bare) for bare in ours.keys() & known.keys()}
                if len(pairs) > most:
                    best, most = [], len(pairs)
                if pairs and len(pairs) == most:
                    best.append((f"{owner}{other}", pairs))
        # Equally many by nothing or by a wrapper: the lightest change. By one of two owners: no telling which is meant.
        owners = dict.fromkeys(owner for owner, _ in best)
        if not best or "" in owners or len(owners) == 1:
            return next((pairs for owner, pairs in best if not owner or len(owners) == 1), {})
        self._notes.append(f"{' and '.join(map(repr, owners))} fit equally well: rename= says which is meant")
        return {}

    def _counted(self, name: str, found: str, bare: str) -> str:
        self._count(self._taken, name, bare)
        self._count(self._given, found, bare)
        return found

    @staticmethod
    def _count(counts: dict[str, int], long: str, bare: str) -> None:
        if long == bare:
            return
        rest = set(bare.split("."))
        prefix = ".".join(part for part in long.split(".") if part not in rest) + "."
        if long.endswith(f".{bare}"):
            prefix = long.removesuffix(bare)
        counts[prefix] = counts.get(prefix, 0) + 1


def _views(names: list[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """(owner's prefix taken off, name -> bare name) of each way to see names without wrappers, the lightest first."""
    bare = [next(iter(_wrapped_bare(name)), name) for name in names]
    wrapped = [names]
    if bare != names:
        for most in range(1, _MOST_WRAPPERS + 1):
            wrapped.append([_without_leading(name, most) for name in names])
            if wrapped[-1] == wrapped[-2]:
                break
        wrapped += [_without_only_children(names), bare]
    seen: list[list[str]] = []
    for view in wrapped:
        for owner in ("", *_OWNERS):
            prefix = f"{owner}." if owner else ""
            found = [name.removeprefix(prefix) or name for name in view] if owner else view
            if found not in seen and (not owner or found != view):
                seen.append(found)
                yield prefix, dict(zip(names, found, strict=True))


def _without_leading(name: str, most: int) -> str:
    parts = name.split(".")
    while most and len(parts) > 1 and parts[0] in _WRAPPERS:
        parts, most = parts[1:], most - 1
    return ".".join(parts)


def _without_only_children(names: list[str]) -> list[str]:
    """Names without the wrappers that have nothing beside them, as a wrapper has not: those are none by name only."""
    children: dict[str, set[str]] = {}
    for name in names:
        path = ""
        for part in name.split("."):
            children.setdefault(path, set()).add(part)
            path = f"{path}{part}."
    found = []
    for name in names:
        path, bare = "", []
        parts = name.split(".")
        for part in parts:
            if part not in _WRAPPERS or len(children[path]) > 1 or part == parts[-1]:
                bare.append(part)
            path = f"{path}{part}."
        found.append(".".join(bare))
    return found


def _wrapped_bare(name: str) -> Iterator[str]:
    """The name without every part that is called as wrappers call the network, if that is another one."""
    bare = ".".join(part for part in name.split(".") if part not in _WRAPPERS)
    if bare not in ("", name):
        yield bare


def _inverse(view: Mapping[str, str]) -> dict[str, str]:
    """Bare name -> the name that becomes it; one that is so already comes first, one of several is left out."""
    found: dict[str, str] = {}
    torn = set()
    for name, bare in view.items():
        if bare == name or bare not in found:
            found[bare] = name
        elif found[bare] != bare:
            torn.add(bare)
    return {bare: name for bare, name in found.items() if bare == name or bare not in torn}
