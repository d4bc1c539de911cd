"""One block of an architecture, read without the rest of it: what that costs is the block, not the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from modelarchive.architecture import limits, schema
from modelarchive.architecture.checking import Checked, check, parameters_of, tell_sizes
from modelarchive.architecture.sharing import tie
from modelarchive.architecture.structure import Reader, TooManyError
from modelarchive.architecture.vocabulary import children_of
from modelarchive.names import joined
from modelarchive.nn.block import Block


class Whole:
    """An architecture as a file has it, which is checked as a whole when that is needed, and then once.

    Args:
        architecture: JSON, a stranger's perhaps, which stays as it is from now on.
        may_share: False where no block of it can have the field "shares".
    """

    def __init__(self, architecture: Mapping[str, Any], *, may_share: bool = True) -> None:
        self.architecture = architecture
        self._may_share = may_share

    @cached_property
    def checked(self) -> Checked:
        """All of it.

        Raises:
            SpecError: It is invalid.
        """
        return check(self.architecture)

    @property
    def is_checked(self) -> bool:
        """Whether all of it was checked already."""
        return "checked" in self.__dict__

    def read(self, path: str, children: slice | None = None) -> Block | None:
        """One block as it is described, checked for itself: its limits, fields, names, references and sharing.

        Shapes are not followed through it: that begins at the inputs of the whole.

        Args:
            path: Dotted path of the block.
            children: Which children of a Sequential; None: all.

        Returns:
            The block; None where the whole has to be checked to tell what it is or what is wrong: it is invalid, there
            is no such block, it shares parameters with others, or the shape of one is not declared.
        """
        if not schema.compiled("architecture")(self.architecture):
            return None
        data = _found(self.architecture["model"], path)
        if data is None:
            return None
        own = [path]
        if children is not None:
            row = data.get("children")
            known = {each["name"] for each in children_of(data) if type(each.get("name")) is str}
            if data.get("kind") != "Sequential" or type(row) is not list or len(known) < len(row):
                return None
            data = data | {"children": row[children]}
            own = [joined(path, each["name"]) for each in row[children]]
        if self._may_share and any(_crosses(*each, own) for each in self._sharings):
            return None
        block = _read(data, path)
        is_known = block is not None and all(each.is_known for each in parameters_of(block).values())
        return block if is_known else None

    @cached_property
    def _sharings(self) -> list[tuple[str, bool, str]]:
        """Which parameter, or whole block if True, is which other, both by their paths."""
        return list(_sharings(self.architecture["model"]))

    def __reduce__(self) -> tuple[Any, ...]:
        """What was checked is checked again: it goes by the identity of blocks."""
        return Whole, (self.architecture,)

    def __deepcopy__(self, memo: dict[int, Any]) -> Whole:
        """Itself: nothing in it changes."""
        return self


def _read(data: dict[str, Any], path: str) -> Block | None:
    if limits.oversized(data):
        return None
    reader = Reader()
    try:
        block = reader.block(data, "", path)
        tie(block, reader.sharings, reader.tell, path)
        tell_sizes(block, reader)
    except TooManyError:
        return None
    return None if reader.problems else block


def _found(model: Any, path: str) -> dict[str, Any] | None:
    """The block at a path; None: there is none, or several."""
    data = model
    for name in path.split(".") if path else ():
        called_so = [each for each in children_of(data) if each.get("name") == name]
        if len(called_so) != 1 or "block" not in called_so[0]:
            return None
        data = called_so[0]["block"]
    return data if type(data) is dict else None


def _sharings(model: Any) -> Iterator[tuple[str, bool, str]]:
    pending = [("", model)]
    while pending:
        path, data = pending.pop()
        shares = data.get("shares") if type(data) is dict else None
        if type(shares) is str:
            yield path, True, shares
        elif type(shares) is dict:
            yield from ((joined(path, name), False, str(other)) for name, other in shares.items())
        pending += [
            (joined(path, str(each.get("name"))), each["block"]) for each in children_of(data) if "block" in each
        ]


def _crosses(one: str, are_blocks: bool, other: str, own: list[str]) -> bool:
    """Whether a parameter that is shared is of the blocks at the paths `own` under one of its names only."""
    if are_blocks and any(_is_in(path, each) for path in own for each in (one, other) if path != each):
        return True  # all of a container is shared, and they are in it
    return any(_is_in(one, path) for path in own) != any(_is_in(other, path) for path in own)


def _is_in(path: str, block: str) -> bool:
    return not block or path == block or path.startswith(f"{block}.")
