"""MXNet's symbol JSON as plain data: nodes, attributes, heads; of 1.x, 2.x and what came before."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

from modelarchive.errors import FormatError, ModelArchiveError
from modelarchive.exchange.budget import reading, spend
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.strict import document, short

#: Result of a node: (position of the node, which of its results).
Entry: TypeAlias = tuple[int, int]

MAX_BYTES: Final = 64 << 20
_MAX_NODES: Final = 100_000
#: Results: as many as a network may have.
_MAX_HEADS: Final = 4096
#: Characters of a node's name.
MAX_NAME: Final = 1024
#: The operator of a node that computes nothing: an input or a parameter.
VARIABLE: Final = "null"


@dataclass
class Attributes:
    """The attributes of a node, which are texts; what is read is remembered.

    Attributes:
        texts: Name -> text.
        used: Names that were asked for.
    """

    texts: dict[str, str]
    used: set[str] = field(default_factory=set)

    def text(self, name: str, default: str | None = None) -> str:
        """An attribute as it stands.

        Raises:
            Refusal: It is missing, and there is no default.
        """
        self.used.add(name)
        found = self.texts.get(name, default)
        if found is None:
            raise Refusal(f"the attribute {name!r} is missing")
        return found

    def flag(self, name: str, *, default: bool) -> bool:
        """True, False, 1 or 0."""
        text = self.text(name, str(default)).strip().lower()
        if text not in ("true", "false", "1", "0"):
            raise self._wrong(name, "true or false")
        return text in ("true", "1")

    def integer(self, name: str, default: int | None = None) -> int:
        """A whole number."""
        text = self.text(name, None if default is None else str(default))
        if not re.fullmatch(r"\s*[+-]?\d{1,18}[lL]?\s*", text):
            raise self._wrong(name, "an integer")
        return int(text.strip().rstrip("lL"))

    def number(self, name: str, default: float | None = None) -> float:
        """A finite number."""
        found = self.real(name, default)
        if found - found != 0:
            raise self._wrong(name, "a finite number")
        return found

    def real(self, name: str, default: float | None = None) -> float:
        """A number, an infinity or NaN."""
        try:
            return float(self.text(name, None if default is None else repr(default)))
        except ValueError:
            raise self._wrong(name, "a number") from None

    def optional(self, name: str) -> int | None:
        """A whole number, or None."""
        return None if self.text(name, "None").strip() == "None" else self.integer(name)

    def items(self, name: str, default: str | None = None) -> tuple[int | None, ...]:
        """Whole numbers or None in parentheses or brackets, or a single one."""
        text = self.text(name, default).strip()
        inner = text[1:-1] if text[:1] in ("(", "[") and text[-1:] in (")", "]") else text
        words = [word.strip() for word in inner.split(",")]
        if words[-1] == "":
            words.pop()  # of (3,) and of ()
        if len(words) > 64 or not all(re.fullmatch(r"None|[+-]?\d{1,18}[lL]?", word) for word in words):
            raise self._wrong(name, "a list of integers")
        return tuple(None if word == "None" else int(word.rstrip("lL")) for word in words)

    def sizes(self, name: str, default: str | None = None) -> tuple[int, ...]:
        """The same without None in it; None itself, as MXNet 2 spells what is not given, is the default."""
        is_given = self.text(name, default).strip() != "None"
        found = self.items(name, default) if is_given or default is None else ()
        if any(each is None for each in found):
            raise self._wrong(name, "a list of integers")
        return tuple(each for each in found if each is not None)

    def reals(self, name: str, default: str | None = None) -> tuple[float, ...]:
        """Finite numbers in parentheses or brackets, or a single one."""
        words = [word for each in self.text(name, default).strip("()[] ").split(",") if (word := each.strip())]
        try:
            found = tuple(map(float, words))
        except ValueError:
            raise self._wrong(name, "a list of numbers") from None
        if len(found) > 64 or any(each - each != 0 for each in found):
            raise self._wrong(name, "a list of finite numbers")
        return found

    def pairs(self, name: str) -> list[list[int]]:
        """Pairs of whole numbers, in parentheses or brackets."""
        inner = re.sub(r"[()\[\]\s]", "", self.text(name)).strip(",").split(",")
        if len(inner) % 2 or len(inner) > 64 or not all(re.fullmatch(r"[+-]?\d{1,18}", word) for word in inner):
            raise self._wrong(name, "a list of pairs")
        numbers = list(map(int, inner))
        return [list(pair) for pair in zip(numbers[::2], numbers[1::2], strict=True)]

    def off(self, name: str) -> None:
        """Refuse a flag that is set; absent is fine."""
        if self.text(name, "False") != "None" and self.flag(name, default=False):
            raise Refusal(f"{name} = {short(self.text(name))} is not supported")

    def axes(self, name: str = "axis") -> list[int] | None:
        """Axes of a reduction; None (or an empty list) is all."""
        found = [each for each in self.items(name, "()") if each is not None]
        return found or None

    def aside(self, *names: str) -> None:
        """Say of attributes that they matter in training, or not at all."""
        self.used.update(names)

    def expect(self, name: str, *accepted: str) -> None:
        """Refuse every value but those that mean nothing special; absent is fine."""
        if (text := self.text(name, accepted[0])) not in accepted:
            raise Refusal(f"{name} = {short(text)} is not supported, only {' and '.join(map(repr, accepted))}")

    def unread(self) -> dict[str, str]:
        """What nobody asked for."""
        return {name: text for name, text in self.texts.items() if name not in self.used and not _is_aside(name)}

    def _wrong(self, name: str, expected: str) -> Refusal:
        return Refusal(f"{name} = {self.texts.get(name, '')[:80]!r} is not {expected}")


#: Attributes that change speed, memory or training, or repeat what the inputs say.
_ASIDE: Final = frozenset(
    (
        *("workspace", "cudnn_tune", "cudnn_off", "cudnn_algo_verbose"),
        *("num_args", "sparse_grad", "ctx", "name", "lr_mult", "wd_mult"),
    )
)


def _is_aside(name: str) -> bool:
    return name in _ASIDE or name.startswith("__")


@dataclass(frozen=True)
class SymbolNode:
    """One node.

    Attributes:
        op: The operator; "null" for a variable.
        name: Its name, not always unique.
        attributes: Its attributes.
        inputs: What it takes, from nodes before it.
    """

    op: str
    name: str
    attributes: Attributes
    inputs: tuple[Entry, ...]


@dataclass(frozen=True)
class SymbolGraph:
    """A symbol.

    Attributes:
        nodes: In an order in which they can be computed.
        heads: What it returns.
        version: The MXNet that wrote it, "1.9.1"; "" if it does not say.
        is_numpy: Whether shapes are NumPy's in it: () is a number, and 0 a size.
        left: What is in the file and is not read, in words.
    """

    nodes: list[SymbolNode]
    heads: list[Entry]
    version: str
    left: list[str]
    is_numpy: bool = False

    def needed(self) -> list[int]:
        """Positions of the nodes that the heads depend on, in order."""
        wanted = {position for position, _ in self.heads}
        for position in range(len(self.nodes) - 1, -1, -1):
            if position in wanted:
                wanted |= {source for source, _ in self.nodes[position].inputs}
        return sorted(wanted)


def read_symbol(path: str | os.PathLike[str]) -> SymbolGraph:
    """Read and check a symbol file.

    Raises:
        OSError: The file cannot be read.
        FormatError: It is no symbol, or damaged.
    """
    with Path(path).open("rb") as file:
        text = file.read(MAX_BYTES + 1)
    with reading(path, len(text)):
        if len(text) > MAX_BYTES:
            raise FormatError(f"is larger than {MAX_BYTES >> 20} MiB, too much for a symbol")
        try:
            return _graph(document(text, what="the symbol", strict=True))
        except ModelArchiveError:
            raise
        except ValueError as error:
            raise FormatError(f"is no symbol of MXNet: {error}") from error


def _graph(data: Any) -> SymbolGraph:
    nodes = data.get("nodes") if isinstance(data, dict) else None
    if not isinstance(nodes, list) or not 0 < len(nodes) <= _MAX_NODES:
        raise ValueError(f"expected 1 to {_MAX_NODES:,} nodes")
    read = [_node(each, position) for position, each in enumerate(nodes)]
    heads = [_entry(each, len(read), "heads") for each in _list(data.get("heads"), "heads")]
    if not 0 < len(heads) <= _MAX_HEADS:
        raise ValueError(f"it has {len(heads):,} heads, expected 1 to {_MAX_HEADS:,}")
    about = data.get("attrs")
    return SymbolGraph(read, heads, _version(about), _left(data, nodes), is_numpy=_is_numpy(about))


#: What a symbol and its nodes hold; what is not read of it follows from the rest, or is reported.
_GRAPH: Final = frozenset(("nodes", "arg_nodes", "node_row_ptr", "heads", "attrs"))
_ATTRS: Final = frozenset(("mxnet_version", "is_np_shape", "is_np_array"))
_NODE: Final = frozenset(("op", "name", "inputs", "attrs", "attr", "param", "backward_source_id", "subgraphs"))


def _left(data: dict[str, Any], nodes: list[Any]) -> list[str]:
    """Keys that nobody knows."""
    unknown = dict.fromkeys(key for node in nodes for key in node if key not in _NODE)
    attrs = data.get("attrs")
    about = [key for key in attrs if key not in _ATTRS] if isinstance(attrs, dict) else []
    found = [short(key) for key in data if key not in _GRAPH] + [f"{short(key)} of attrs" for key in about]
    return found + [f"{short(key)} of nodes" for key in unknown]


def _node(data: Any, position: int) -> SymbolNode:
    where = f"nodes[{position}]"
    spend("its symbol", steps=1)
    if not isinstance(data, dict) or not isinstance(data.get("op"), str) or not isinstance(data.get("name"), str):
        raise ValueError(f"{where} has no op and name")
    if len(data["name"]) > MAX_NAME or len(data["op"]) > MAX_NAME:
        raise ValueError(f"{where} has a name, or an op, of more than {MAX_NAME:,} characters")
    if data.get("subgraphs"):
        raise ValueError(f"{where} ({data['op']!r}) holds graphs of its own: loops and branches are not supported")
    texts: dict[str, str] = {}
    # Before 1.0 an operator's attributes were called param, and later attr.
    for key in ("attr", "param", "attrs"):
        found = data.get(key) or {}
        if not isinstance(found, dict) or not all(isinstance(each, str) for each in found.values()):
            raise ValueError(f"{where}: {key} is no mapping of texts")
        texts |= found
    inputs = [_entry(each, position, where) for each in _list(data.get("inputs", []), where)]
    return SymbolNode(data["op"], data["name"], Attributes(texts), tuple(inputs))


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{where}: expected a list, found {type(value).__name__}")
    return value


def _entry(value: Any, limit: int, where: str) -> Entry:
    """A reference [node, result] or [node, result, version] to a node before `limit`."""
    if not isinstance(value, list) or not 2 <= len(value) <= 3 or any(type(each) is not int for each in value):
        raise ValueError(f"{where}: {short(value)} is no reference to a node's result")
    if not 0 <= value[0] < limit or not 0 <= value[1] < _MAX_NODES:
        raise ValueError(f"{where}: there is no earlier node {value[0]}")
    return value[0], value[1]


def _is_numpy(attrs: Any) -> bool:
    try:
        _, flag = attrs["is_np_shape"]
    except (TypeError, KeyError, ValueError):
        return False
    return flag in (True, 1)


def _version(attrs: Any) -> str:
    try:
        _, number = attrs["mxnet_version"]
    except (TypeError, KeyError, ValueError):
        return ""
    if type(number) is not int or not 0 < number < 10**9:
        return ""
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"
