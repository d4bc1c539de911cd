"""From the objects that a walk through an HDF5 file found to the contents of an archive."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from modelarchive import names
from modelarchive.errors import FormatError
from modelarchive.store.contents import CONTAINERS, LITERALS, TRAINING, Chunks, Contents, Entry, Text, is_position

#: Where an archive keeps texts, besides those among saved arrays.
_TEXTS: Final = ("/architecture/", "/metadata/", "/tokens/")

Position = Callable[[str], tuple[Any, ...]]


class Dataset(NamedTuple):
    """A dataset at one of its paths."""

    path: str
    #: Hard links to one dataset have the same address.
    address: int
    #: None: of a dtype that archives do not hold.
    content: Entry | Text | None
    #: Where it lies if it is compressed as archives are.
    chunks: Chunks | None = None


class Group(NamedTuple):
    """A group and its attributes."""

    path: str
    container: str
    kind: str


def assemble(objects: Iterable[Dataset | Group], generator: str, order: dict[str, int]) -> Contents:
    """Describe an archive by its HDF5 objects.

    Args:
        objects: What was found, in whatever order.
        generator: The program that wrote the file.
        order: Name -> position, as an index knew it: HDF5 keeps no order.

    Raises:
        FormatError: Among the arrays is something that archives do not hold.
    """
    found = list(objects)
    groups = {group.path: group.container for group in found if isinstance(group, Group)}
    section = "parameters" if "/parameters" in groups else "arrays"
    contents = Contents(section=section, generator=generator, user_block=0, arrays={})
    contents.kinds = {g.path: g.kind for g in found if isinstance(g, Group) and g.kind}
    prefix = f"/{section}/"
    # Beside parameters the training structure is a part of the archive too.
    structures = ("/arrays",) if section == "arrays" else ("/training",) if "/training" in groups else ()
    inside = (prefix, *(f"{root}/" for root in structures))

    def position(path: str) -> tuple[Any, ...]:
        """By the old index where it knew the name, then as people count."""
        return (order.get(contents.name(path), len(order)), names.natural_key(path))

    canonical: dict[int, str] = {}
    datasets = sorted((d for d in found if isinstance(d, Dataset)), key=lambda d: position(d.path))
    for path, address, content, chunks in datasets:
        if isinstance(content, Text) and path.startswith((*_TEXTS, "/arrays/", *structures)):
            contents.texts[path] = content
        elif isinstance(content, Entry) and path.startswith(inside):
            name = contents.name(path)
            is_training = section == "parameters" and name.startswith(TRAINING)
            if section == "parameters" and not is_training and (problem := names.problem_with_name(name)):
                raise FormatError(f"is no parameter: {problem}", path=path)
            if not is_training:
                contents.order.append(name)
            if address in canonical:
                contents.aliases[name] = canonical[address]
            else:
                canonical[address] = name
                contents.arrays[name] = content
                if chunks is not None:
                    contents.chunks[name] = chunks
        elif path.startswith(inside):
            raise FormatError(f"{path} has a dtype that archives do not hold there", path=path)
        else:
            contents.foreign.append(path)
    if section == "arrays":
        contents.members = _members("/arrays", groups, contents, position)
    elif structures:
        contents.training = _members("/training", groups, contents, position)
    return contents


def _members(root: str, groups: dict[str, str], contents: Contents, position: Position) -> dict[str, str]:
    """The members of a saved structure, parents first, siblings in order."""
    inside = f"{root}/"
    kinds = {
        path: kind if kind in CONTAINERS else "dict"
        for path, kind in groups.items()
        if path == root or path.startswith(inside)
    }
    arrays = [contents.hdf5_path(name) for name in (*contents.arrays, *contents.aliases)]
    kinds |= {path: "array" for path in arrays if path.startswith(inside)}
    for path, text in contents.texts.items():
        if path.startswith(inside):
            kinds[path] = "literal" if text.dtype in LITERALS else "array"
    kinds.setdefault(root, "dict")
    children = _children(kinds, root)
    _keep_foreign_names(kinds, children, root)
    members = {}
    pending = [root]
    while pending:
        path = pending.pop()
        members[path.removeprefix(root).removeprefix("/")] = kinds[path]
        # A list's order is that of its numbers, whatever an index said.
        by = names.natural_key if kinds[path] in ("list", "tuple") else position
        pending += sorted(children.get(path, ()), key=by, reverse=True)
    return members


def _children(kinds: dict[str, str], root: str) -> dict[str, list[str]]:
    """Path of each container -> paths of what is in it."""
    children: dict[str, list[str]] = {path: [] for path, kind in kinds.items() if kind in CONTAINERS}
    for path in kinds:
        if path != root:
            children[path.rpartition("/")[0]].append(path)
    return children


def _keep_foreign_names(kinds: dict[str, str], children: dict[str, list[str]], root: str) -> None:
    """Where a tool added or renamed members so that they have no place in a list, it becomes a dict."""
    for owner, paths in children.items():
        is_single = owner == root and len(paths) == 1
        in_order = all(is_position(path.rpartition("/")[2]) for path in paths)
        if not (is_single if kinds[owner] == "single" else in_order):
            kinds[owner] = "dict"
