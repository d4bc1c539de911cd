"""Shared parameters: resolving the fields "shares" of an architecture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modelarchive.architecture.ordering import Tell
from modelarchive.architecture.schema import did_you_mean, escaped, shortened
from modelarchive.architecture.structure import Sharing
from modelarchive.architecture.unreadable import Unknown
from modelarchive.names import joined
from modelarchive.nn.block import Block
from modelarchive.nn.parameter import Parameter, dtype_name


@dataclass(frozen=True)
class _Alias:
    target: str
    pointer: str


def tie(root: Block, sharings: Sequence[Sharing], tell: Tell, path: str = "") -> None:
    """Make each parameter that a block shares the very parameter it names.

    Args:
        root: The model, or a part; its parameters are replaced.
        sharings: What the blocks say.
        tell: Takes (pointer, rule, message) where that is impossible.
        path: Where `root` stands in the model, if it is a part of it that shares with none outside.
    """
    if not sharings:
        return
    blocks = dict(root.named_blocks(path))
    owners = {joined(path, name): (block, name) for path, block in blocks.items() for name in block.parameters}
    aliases: dict[str, _Alias] = {}
    for sharing in sharings:
        if blocks.get(sharing.path) is not sharing.block:
            continue  # its name is taken twice, which is told already
        for name, alias in _aliases(sharing, blocks, owners, tell).items():
            if name in aliases:
                tell(alias.pointer, "shares", f"{name!r} is shared twice")
            else:
                aliases[name] = alias
    ends = _ends({name: alias.target for name, alias in aliases.items()})
    for name, alias in aliases.items():
        if ends[name] is None:
            tell(alias.pointer, "shares", f"{name!r} shares {alias.target!r}, which leads into a cycle")
        else:
            _replace(owners[name], owners[str(ends[name])], name, alias.pointer, tell)


def _ends(targets: dict[str, str]) -> dict[str, str | None]:
    """For each alias the name at the end of its chain; None where the chain has none."""
    ends: dict[str, str | None] = {}
    for start in targets:
        chain = dict.fromkeys([start])
        at = targets[start]
        while at in targets and at not in ends and at not in chain:
            chain[at] = None
            at = targets[at]
        end = None if at in chain else ends.get(at, at)
        ends |= dict.fromkeys(chain, end)
    return ends


def _aliases(
    sharing: Sharing, blocks: dict[str, Block], owners: dict[str, tuple[Block, str]], tell: Tell
) -> dict[str, _Alias]:
    """Own full name -> alias, for one field "shares"."""
    pointer = f"{sharing.pointer}/shares"
    below = [
        (joined(path, name), joined(sharing.path, joined(path, name)))
        for path, block in sharing.block.named_blocks()
        for name in block.parameters
    ]
    if isinstance(sharing.shares, str):
        if sharing.shares not in blocks:
            tell(pointer, "shares", _nowhere("block", sharing.shares, list(blocks)))
            return {}
        wanted = {name: (joined(sharing.shares, name), pointer) for name, _ in below}
    else:
        wanted = {name: (target, f"{pointer}/{escaped(name)}") for name, target in sharing.shares.items()}
    own = dict(below)
    found: dict[str, _Alias] = {}
    for name, (target, where) in wanted.items():
        if name not in own:
            tell(where, "shares", _nowhere("parameter", name, list(own)))
        elif target not in owners:
            if not _unreadable(target, blocks):
                tell(where, "shares", _nowhere("parameter", target, list(owners)))
        else:
            found[own[name]] = _Alias(target, where)
    return found


def _unreadable(target: str, blocks: dict[str, Block]) -> bool:
    parts = target.split(".")
    return any(isinstance(blocks.get(".".join(parts[:end])), Unknown) for end in range(len(parts)))


def _nowhere(what: str, name: str, known: list[str]) -> str:
    return f"there is no {what} {shortened(name, 200)!r}{did_you_mean(name, known)}"


def _replace(owner: tuple[Block, str], source: tuple[Block, str], name: str, pointer: str, tell: Tell) -> None:
    present: Parameter = owner[0].parameters[owner[1]]
    shared: Parameter = source[0].parameters[source[1]]
    if present.dtype != shared.dtype:
        expected, found = dtype_name(present.dtype), dtype_name(shared.dtype)
        tell(pointer, "shares", f"{name!r} is {expected}, what it shares is {found}")
        return
    try:
        owner[0].adopt(owner[1], shared)
    except ValueError as error:
        tell(pointer, "shares", str(error))
        return
    if not present.trainable:
        shared.trainable = False
