"""The order of a graph's nodes: each reference is to an input or an earlier node."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from modelarchive.architecture.schema import did_you_mean
from modelarchive.nn.evaluate import UNKNOWN
from modelarchive.nn.graph import Node, Ref

Tell = Callable[[str, str, str], None]


def tell_order(
    inputs: Sequence[str],
    nodes: Sequence[Node],
    outputs: Sequence[Ref],
    pointer: str,
    tell: Tell,
) -> set[str]:
    """Tell the references that lead nowhere, forward, or in a circle.

    Args:
        inputs: Names of the graph's inputs.
        nodes: Its nodes.
        outputs: Its outputs.
        pointer: Where the graph stands.
        tell: Takes (pointer, rule, message).

    Returns:
        The names that cannot be used where they are referred to.
    """
    defined = {UNKNOWN: -1} | dict.fromkeys(inputs, -1) | {node.name: at for at, node in enumerate(nodes)}
    forward = [
        (at, slot, name)
        for at, node in enumerate(nodes)
        for slot, (name, _) in enumerate(node.inputs or ())
        if defined.get(name, len(nodes)) >= at
    ]
    declared_only = {node.name for node in nodes if node.inputs is None}
    circular = _circular(nodes, defined) if any(name in defined for _, _, name in forward) else set()
    bad = set()
    for at, node in enumerate(nodes):
        for slot, (name, _) in enumerate(node.inputs or ()):
            if name in declared_only:
                forward.append((at, slot, name))
    for at, slot, name in sorted(set(forward)):
        where = f"{pointer}/nodes/{at}/inputs/{slot}"
        if name in declared_only:
            tell(where, "reference", f"{name!r} is only declared, it has no result")
        elif name not in defined:
            tell(where, "reference", _nowhere(name, defined))
        elif at in circular and defined[name] in circular:
            tell(where, "cycle", f"{name!r} needs {nodes[at].name!r} itself: a cycle")
        else:
            tell(where, "order", f"{name!r} is defined later; nodes stand in the order of their execution")
        bad.add(name)
    for slot, (name, _) in enumerate(outputs):
        if name not in defined:
            tell(f"{pointer}/outputs/{slot}", "reference", _nowhere(name, defined))
        elif name in declared_only:
            tell(f"{pointer}/outputs/{slot}", "reference", f"{name!r} is only declared, it has no result")
        else:
            continue
        bad.add(name)
    return bad


def _nowhere(name: str, defined: dict[str, int]) -> str:
    return f"there is no node or input {name!r}{did_you_mean(name, list(defined))}"


def _circular(nodes: Sequence[Node], defined: dict[str, int]) -> set[int]:
    """The nodes on cycles (and on ways between cycles): what is left when loose ends are taken off."""
    needs = [{defined[name] for name, _ in node.inputs or () if defined.get(name, -1) >= 0} for node in nodes]
    left = set(range(len(nodes)))
    for edges in (needs, _reversed(needs)):
        open_edges = [len(targets & left) for targets in edges]
        back = _reversed(edges)
        loose = [at for at in left if not open_edges[at]]
        while loose:
            at = loose.pop()
            left.discard(at)
            for source in back[at]:
                open_edges[source] -= 1
                if not open_edges[source] and source in left:
                    loose.append(source)
    return left


def _reversed(edges: Sequence[set[int]]) -> list[set[int]]:
    back: defaultdict[int, set[int]] = defaultdict(set)
    for source, targets in enumerate(edges):
        for target in targets:
            back[target].add(source)
    return [back[at] for at in range(len(edges))]
