"""Reads the house out of its source: rooms and floors, what each module imports and names, and circles."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

#: The room that is as large as a house, and is drawn as its rooms too.
EXCHANGE = "exchange"


@dataclass(frozen=True)
class Module:
    """One file of the package.

    Attributes:
        name: Its dotted name, "modelarchive.store.reader".
        lines: How many lines it has.
        ideas: What it names at its top: classes, functions, constants and types, whoever may use them.
        imports: Modules of the package that it imports anywhere: at its top, in a function, for types only.
        purpose: The first line of its docstring.
    """

    name: str
    lines: int
    ideas: frozenset[str]
    imports: frozenset[str]
    purpose: str


@dataclass(frozen=True)
class Room:
    """What stands under one name at the top of the package, or of the large room.

    Attributes:
        name: "store", or "exchange.onnx".
        modules: Its files.
    """

    name: str
    modules: tuple[Module, ...]

    @property
    def lines(self) -> int:
        """Lines of all its files."""
        return sum(module.lines for module in self.modules)

    @property
    def ideas(self) -> frozenset[str]:
        """Different names: a word that two of its files use in the same way is one idea."""
        return frozenset().union(*(module.ideas for module in self.modules))

    @property
    def purpose(self) -> str:
        """What its first file says of it."""
        return min(self.modules, key=lambda module: module.name).purpose


class House:
    """The package as its source has it.

    Args:
        root: The repository, or a folder that is laid out like it.
    """

    def __init__(self, root: Path) -> None:
        project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
        settings: dict[str, Any] = project["tool"]["importlinter"]
        self.package: str = settings["root_package"]
        self.contracts = {each["id"]: each for each in settings["contracts"]}
        files = {_dotted(path, root): path for path in sorted((root / self.package).rglob("*.py"))}
        self.modules = {name: _module(name, path, files) for name, path in files.items()}

    @cached_property
    def rooms(self) -> dict[str, Room]:
        """The rooms of the house by name, in the order of their floors, from the top."""
        return self._rooms("floors", self.package)

    @cached_property
    def exchange(self) -> dict[str, Room]:
        """The rooms of the large room, likewise."""
        return self._rooms(EXCHANGE, f"{self.package}.{EXCHANGE}")

    def floors(self, contract: str = "floors") -> list[list[str]]:
        """Names of rooms, floor by floor from the top, as the import contract has them."""
        return [[name.strip() for name in layer.split("|")] for layer in self.contracts[contract]["layers"]]

    @property
    def doors(self) -> frozenset[tuple[str, str]]:
        """Imports upwards that the contract allows, each with its reason there."""
        pairs = (line.split(" -> ") for line in self.contracts["floors"].get("ignore_imports", ()))
        return frozenset((importer, imported) for importer, imported in pairs)

    @cached_property
    def ideas(self) -> frozenset[str]:
        """The different names of all rooms together."""
        return frozenset().union(*(room.ideas for room in self.rooms.values()))

    @staticmethod
    def public(ideas: Iterable[str]) -> frozenset[str]:
        """Those that other files may use."""
        return frozenset(name for name in ideas if not name.startswith("_"))

    def wing_of(self, room: str) -> str:
        """Of which wing a room is, by the contract between the two: "file wing", "model wing", or "" of neither."""
        apart = self.contracts["wings"]
        file, model = ({each.split(".")[1] for each in apart[key]} for key in ("source_modules", "forbidden_modules"))
        if room in file:
            return "file wing"
        (floor,) = (each for each in self.floors() if room in each)
        beside = bool(file.intersection(floor)) and bool(model & self.arrows(self.rooms)[room])
        return "model wing" if room in model or beside else ""

    def arrows(self, rooms: Mapping[str, Room]) -> dict[str, set[str]]:
        """Room -> the other rooms that its files import from, doors upwards left out."""
        owner = {module.name: name for name, room in rooms.items() for module in room.modules}
        return {
            name: {
                owner[imported]
                for module in room.modules
                for imported in module.imports
                if owner.get(imported, name) != name and (module.name, imported) not in self.doors
            }
            for name, room in rooms.items()
        }

    @cached_property
    def circles(self) -> list[list[str]]:
        """Modules that reach each other by imports, each such set as a circle; imports for types only count."""
        arrows = {
            name: {each for each in module.imports if (name, each) not in self.doors}
            for name, module in self.modules.items()
        }
        return [shortest_circle(arrows, members) for members in knots(arrows)]

    def _rooms(self, contract: str, container: str) -> dict[str, Room]:
        found = {}
        for floor in self.floors(contract):
            for name in floor:
                dotted = f"{container}.{name}"
                inside = [
                    module for key, module in self.modules.items() if key == dotted or key.startswith(f"{dotted}.")
                ]
                found[name] = Room(name, tuple(inside))
        return found


def knots(arrows: Mapping[str, Iterable[str]]) -> list[set[str]]:
    """The sets of more than one node in which every node reaches every other, after Tarjan.

    Args:
        arrows: Node -> the nodes that it points to.
    """
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[set[str]] = []

    def visit(node: str) -> None:
        index[node] = lowest[node] = len(index)
        stack.append(node)
        for other in sorted(arrows.get(node, ())):
            if other not in index:
                visit(other)
                lowest[node] = min(lowest[node], lowest[other])
            elif other in stack:
                lowest[node] = min(lowest[node], index[other])
        if lowest[node] == index[node]:
            at = stack.index(node)
            knot, stack[at:] = set(stack[at:]), []
            if len(knot) > 1 or node in arrows.get(node, ()):
                found.append(knot)

    for node in sorted(arrows):
        if node not in index:
            visit(node)
    return found


def shortest_circle(arrows: Mapping[str, Iterable[str]], members: set[str]) -> list[str]:
    """A shortest circle through the first of such a set: its nodes, the first again at the end."""
    start = min(members)
    paths = {start: [start]}
    for node in (queue := [start]):
        for other in sorted(members.intersection(arrows.get(node, ()))):
            if other == start:
                return [*paths[node], start]
            if other not in paths:
                paths[other] = [*paths[node], other]
                queue.append(other)
    raise ValueError(f"{start} is in no circle")


def without_detours(arrows: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The arrows without those that follow from others, so that a picture of them can be read."""

    def reached(node: str) -> set[str]:
        found: set[str] = set()
        rest = list(arrows.get(node, ()))
        while rest:
            if (other := rest.pop()) not in found:
                found.add(other)
                rest.extend(arrows.get(other, ()))
        return found

    beyond = {node: reached(node) for node in arrows}
    return {
        node: {other for other in targets if not any(other in beyond[each] for each in targets - {other})}
        for node, targets in arrows.items()
    }


@cache
def read(root: Path) -> House:
    """The house at a root, which is read once."""
    return House(root)


def _dotted(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _module(name: str, path: Path, files: Mapping[str, Path]) -> Module:
    text = path.read_text("utf-8")
    tree = ast.parse(text)
    here = name if path.stem == "__init__" else name.rpartition(".")[0]
    imports = {found for node in _statements(tree) for found in _imported(node, here, files)}
    purpose = (ast.get_docstring(tree) or "").partition("\n")[0]
    return Module(name, len(text.splitlines()), frozenset(_ideas(tree.body)), frozenset(imports - {name}), purpose)


def _statements(node: ast.AST) -> Iterable[ast.AST]:
    """What stands in it, at any depth, but for expressions: they import nothing, and are most of a tree."""
    for name in ("body", "orelse", "finalbody", "handlers", "cases"):
        several = getattr(node, name, None)
        if isinstance(several, list):  # that of a lambda is an expression
            for each in several:
                yield each
                yield from _statements(each)


def _imported(node: ast.AST, here: str, files: Mapping[str, Path]) -> Iterable[str]:
    """Modules of the package that a statement imports; ``from room import file`` is that file."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in files)
    elif isinstance(node, ast.ImportFrom):
        above = here.split(".")[: len(here.split(".")) - node.level + 1] if node.level else []
        source = ".".join([*above, *filter(None, [node.module])])
        for alias in node.names:
            found = f"{source}.{alias.name}" if f"{source}.{alias.name}" in files else source
            if found in files:
                yield found


def _ideas(body: Iterable[ast.stmt]) -> Iterable[str]:
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = (each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name))
            yield from (name for name in names if name != "__all__")
        elif isinstance(node, ast.If | ast.Try):
            yield from _ideas(node.body)
