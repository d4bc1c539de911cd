"""Places in a network by name, and what is said where there is none, or none to cut at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from modelarchive import names
from modelarchive.errors import SpecError
from modelarchive.names import joined
from modelarchive.nn.block import Block
from modelarchive.nn.graph import Graph, Node
from modelarchive.nn.sequential import Sequential


def found(graph: Graph, path: str, above: str) -> tuple[Node, str]:
    """The node at `path`, and the rest of the path below the block that it calls.

    Args:
        graph: Where to look.
        path: Name of a node, or dotted path of a block that one calls.
        above: Path of the graph, for what is said.

    Raises:
        SpecError: There is none, or several call that block.
    """
    if path in graph.inputs:
        refuse(joined(above, path), f"{joined(above, path)!r} is an input, no layer", "name what is done to it")
    called = [node for node in graph.nodes if node.inputs is not None]
    parts = path.split(".")
    for end in range(len(parts), 0, -1):
        prefix, rest = ".".join(parts[:end]), ".".join(parts[end:])
        several = [node for node in called if node.name == prefix]
        several = several or [node for node in called if node.verb in ("block", "call") and node.target == prefix]
        if rest:
            several = [node for node in several if node.verb in ("block", "call")]
        if len(several) > 1:
            listed = ", ".join(repr(joined(above, node.name)) for node in several[:8])
            where = joined(above, prefix)
            refuse(where, f"{where!r} is called {len(several)} times", f"name one of the calls: {listed}")
        if several:
            return several[0], rest
    known = [node.name for node in called] + [node.target for node in called if node.verb in ("block", "call")]
    raise _unknown(graph, path, above, known)


def child(block: Sequential, path: str, above: str) -> tuple[str, str, dict[str, Block]]:
    """The child at `path`, the rest of the path below it, and all children.

    Raises:
        SpecError: There is none.
    """
    name, _, rest = path.partition(".")
    row = block.children
    if name not in row:
        raise _unknown(block, path, above, list(row))
    return name, rest, row


def _unknown(block: Block, path: str, above: str, known: Sequence[str]) -> SpecError:
    where = joined(above, path)
    below = [each for each, _ in block.named_blocks() if each]
    near = names.near(path, list(dict.fromkeys(known))[:2000]) or names.near(path, below[:2000])
    hint = f"there are {', '.join(joined(above, each) for each in dict.fromkeys(known[:20])) or 'none'}"
    if near is not None:
        hint = f"did you mean {joined(above, near)!r}?"
    return SpecError([("/model", "path", f"there is no layer {where!r} that is called")], path=where, hint=hint)


def refuse_layer(block: Block, path: str, above: str) -> NoReturn:
    """Refuse to cut inside of what is a word of the vocabulary."""
    kind = getattr(block, "kind", type(block).__name__)
    what = f"{above!r} is" if above else "the model is"
    hint = f"cut at {above!r}" if above else "there is nothing to cut"
    refuse(joined(above, path), f"{what} one layer ({kind}), which is not cut inside, at {path!r}", hint)


def refuse_second_use(nodes: Sequence[Node], node: Node, where: str) -> None:
    """Refuse to cut a block that is needed somewhere else, too."""
    mine = f"{node.target}."
    others = [
        each.name
        for each in nodes
        if each.name != node.name and each.verb != "op"
        if mine.startswith(f"{each.target}.") or each.target.startswith(mine)
    ]
    if others:
        message = f"{where!r} lies in {node.target!r}, which {', '.join(map(repr, others[:8]))} needs too"
        refuse(where, message, f"cut at {node.name!r}")


def refuse(path: str, message: str, hint: str) -> NoReturn:
    """Refuse a cut at `path`, with what to do instead."""
    raise SpecError([("/model", "path", message)], path=path, hint=hint)


def result_of(name: str, metadata: Mapping[str, Any]) -> str:
    """The place where a layer's result stands, by what a reader of another system's file left in the metadata.

    A Keras layer whose parameters are in one of several steps has its name there, and its result behind it:
    ``{"source": {"results": {"lstm": "lstm_last"}}}``. Whoever names the layer means its result.
    """
    source = metadata.get("source")
    results = source.get("results") if isinstance(source, Mapping) else None
    if not isinstance(results, Mapping):
        return name
    path, _, own = name.rpartition(".")
    found = results.get(own)
    return joined(path, found) if isinstance(found, str) else name
