"""Blocks as the page draws them: what each is, what is in it, and its steps with the shapes between them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from modelarchive.architecture import Checked, check
from modelarchive.architecture.vocabulary import children_of
from modelarchive.archive.saving import blocks_of
from modelarchive.names import joined
from modelarchive.nn.block import Block
from modelarchive.nn.evaluate import Abstract
from modelarchive.nn.trials import Trial

#: Fields of a block in an architecture that say what is in it.
_PARTS = frozenset(
    ("kind", "body", "children", "inputs", "nodes", "outputs", "structure", "parameters", "shares", "name")
)


def blocks(architecture: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every block, the model first, each before those in it; they refer to each other by their place here.

    Raises:
        SpecError: The architecture is invalid.
    """
    checked = check(architecture)
    networks = dict(checked.block.named_blocks())
    found = list(blocks_of(architecture))
    places = {path: at for at, (path, _) in enumerate(found)}
    alike = _Alike()
    records = []
    for path, block in found:
        record: dict[str, Any] = {"path": path, "kind": block["kind"], "alike": alike.of(block)}
        if fields := {key: value for key, value in block.items() if key not in _PARTS}:
            record["fields"] = fields
        children = [places[joined(path, each["name"])] for each in children_of(block) if "block" in each]
        if children:
            record["children"] = children
        network = networks.get(path)
        if network is not None:
            record["output"] = ", ".join(_shapes(checked.returned.get(id(network)), checked.trial))
        records.append(record)
        if checked.returned and id(network) not in checked.returned:
            continue  # never called: what is in it is called from elsewhere
        steps = _Steps(path, places, checked, network)
        if block["kind"] == "Graph":
            record |= steps.of_graph(block)
        elif children:
            record |= steps.of_sequence(children, architecture if not path else None)
    return records


def _shapes(value: Any, trial: Trial) -> Iterator[str]:
    """The shapes of what a step gives, in words; free axes are those of the inputs, by name."""
    if isinstance(value, Abstract):
        yield " x ".join(trial.words(value)) or "()"
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _shapes(each, trial)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _shapes(each, trial)


class _Alike:
    """Numbers for blocks, the same where they are built alike: a stack of such blocks is drawn as one."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._known: dict[int, int] = {}

    def of(self, block: Mapping[str, Any]) -> int:
        """The number of a block."""
        known = self._known.get(id(block))
        if known is not None:
            return known
        # Of its children only the numbers: nested ones are not spelt out again and again.
        content = {
            key: [self._child(each) for each in value]
            if key in ("children", "nodes")
            else self.of(value)
            if key == "body"
            else value
            for key, value in block.items()
        }
        number = self._numbers.setdefault(json.dumps(content, sort_keys=True), len(self._numbers))
        return self._known.setdefault(id(block), number)

    def _child(self, each: Mapping[str, Any]) -> dict[str, Any]:
        return {key: self.of(value) if key == "block" else value for key, value in each.items()}


class _Steps:
    """The steps of one block as nodes and edges."""

    def __init__(self, path: str, places: Mapping[str, int], checked: Checked, network: Block | None) -> None:
        self.path, self.places, self.checked, self.network = path, places, checked, network
        self.nodes: list[dict[str, Any]] = []
        self.edges: list[list[Any]] = []
        self.direct: set[str] = set()

    def of_sequence(self, children: Sequence[int], architecture: Mapping[str, Any] | None) -> dict[str, Any]:
        """Children that are called one after another."""
        names = [each["name"] for each in architecture["inputs"]] if architecture else []
        self.nodes = [{"label": name, "role": "input"} for name in names] or [{"label": "input", "role": "input"}]
        sources = [[at, label] for at, label in enumerate(self._given(len(self.nodes)))]
        paths = list(self.places)
        networks = dict(self.network.named_blocks()) if self.network is not None else {}
        for place in children:
            name = paths[place].rpartition(".")[2]
            self.nodes.append({"label": name, "role": "block", "block": place})
            at = len(self.nodes) - 1
            self.edges += [[source, at, label] for source, label in sources]
            returned = self.checked.returned.get(id(networks.get(name)))
            sources = [[at, ", ".join(_shapes(returned, self.checked.trial))]]
        self.nodes.append({"label": "output", "role": "output"})
        self.edges += [[source, len(self.nodes) - 1, label] for source, label in sources]
        return {"nodes": self.nodes, "edges": self.edges}

    def of_graph(self, block: Mapping[str, Any]) -> dict[str, Any]:
        """Steps that name what they work on."""
        # A block that stands elsewhere is drawn where it is called first.
        self.direct = {step["name"] for step in block["nodes"] if "block" in step and "inputs" in step}
        at: dict[str, int] = {}
        shapes: dict[str, str] = {}
        for name, label in zip(block["inputs"], self._given(len(block["inputs"])), strict=True):
            at[name] = self._node(label=name, role="input")
            shapes[name] = label
        called = set[str]()
        for step in block["nodes"]:
            name = step["name"]
            if "block" in step and "inputs" not in step:
                continue  # declared, and called by others
            at[name] = self._node(**self._step(step, is_again=step.get("call") in called))
            called.add(step.get("call", ""))
            shapes[name] = ", ".join(_shapes(self.checked.results.get((id(self.network), name)), self.checked.trial))
            for ref in step.get("inputs", ()):
                self._edge(ref, at[name], at, shapes)
        for number, ref in enumerate(block["outputs"]):
            several = len(block["outputs"]) > 1
            self._edge(ref, self._node(label=f"output {number}" if several else "output", role="output"), at, shapes)
        return {"nodes": self.nodes, "edges": self.edges}

    def _given(self, count: int) -> list[str]:
        """The shapes of so many inputs, in words; "" where a block is given fewer, or is never called."""
        given = self.checked.seen.get(id(self.network), ())
        labels = [", ".join(_shapes(value, self.checked.trial)) for value in given[:count]]
        return labels + [""] * (count - len(labels))

    def _node(self, **record: Any) -> int:
        self.nodes.append(record)
        return len(self.nodes) - 1

    def _edge(self, ref: Any, to: int, at: Mapping[str, int], shapes: Mapping[str, str]) -> None:
        name = ref if isinstance(ref, str) else ref[0]
        self.edges.append([at[name], to, shapes.get(name, "")])

    def _step(self, step: Mapping[str, Any], *, is_again: bool) -> dict[str, Any]:
        if "block" in step:
            return {"label": step["name"], "role": "block", "block": self.places[joined(self.path, step["name"])]}
        if "call" in step:
            role = "call" if is_again or step["call"] in self.direct else "block"
            return {"label": step["call"], "role": role, "block": self.places[joined(self.path, step["call"])]}
        if "parameter" in step:
            return {"label": step["parameter"], "role": "parameter"}
        return {"label": step["op"], "role": "op"} | ({"fields": step["arguments"]} if step.get("arguments") else {})
