"""A symbol of MXNet under construction: its nodes, and the arrays that they take."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from modelarchive.exchange.drawing import Report
from modelarchive.exchange.walking import owners_of
from modelarchive.names import Taken
from modelarchive.nn import Block
from modelarchive.nn.parameter import Parameter
from modelarchive.store.deferred import Deferred

#: Result of a node of the symbol: [position, which result, 0].
Entry: TypeAlias = list[int]


class Emitter:
    """Collects the nodes and arrays of a symbol, with names that come once.

    Args:
        arrays: Structural name -> array.
        names: Structural name -> name in MXNet.
    """

    def __init__(self, arrays: Mapping[str, Deferred], names: Mapping[str, str]) -> None:
        self.nodes: list[dict[str, Any]] = []
        #: Name in MXNet -> array, of what the symbol uses.
        self.arrays: dict[str, Deferred] = {}
        #: Those that are no arguments but auxiliary states.
        self.auxiliary: set[str] = set()
        #: ``id`` of the stored arrays that the symbol uses.
        self.used: set[int] = set()
        self._stored = arrays
        self._names = names
        self._owners: dict[int, str] = {}
        self._variables: dict[str, Entry] = {}
        self._taken = Taken(names.values())

    def own(self, block: Block, report: Report) -> None:
        """Find the stored array of each parameter; report what is missing."""
        self._owners, missing = owners_of(block, self._stored)
        for name, what in missing:
            report.refuse(name, what)

    def free(self, preferred: str) -> str:
        """A name that nothing has yet."""
        return self._taken.free(preferred)

    def variable(self, name: str) -> Entry:
        """A node that computes nothing; the same one each time."""
        if name not in self._variables:
            self.nodes.append({"op": "null", "name": name, "inputs": []})
            self._variables[name] = [len(self.nodes) - 1, 0, 0]
        return self._variables[name]

    def operator(self, op: str, path: str, inputs: Sequence[Entry], attributes: Mapping[str, Any]) -> Entry:
        """A node that computes; its first result."""
        node: dict[str, Any] = {"op": op, "name": self.free(path or op.lower())}
        if attributes:
            node["attrs"] = {key: _text(value) for key, value in attributes.items()}
        self.nodes.append(node | {"inputs": [list(each) for each in inputs]})
        return [len(self.nodes) - 1, 0, 0]

    def parameter(self, parameter: Parameter, *, aux: bool = False) -> Entry:
        """The variable of a stored parameter; the same one each time."""
        stored = self._owners[id(parameter)]
        name = self._names[stored]
        if name not in self._variables:
            self.arrays[name] = array = self._stored[stored]
            self.used.add(id(array))
            if aux:
                self.auxiliary.add(name)
        return self.variable(name)

    def grouped(self, parameters: Sequence[Parameter], groups: int) -> list[Entry] | None:
        """The variables of parameters of channels, as those of groups; None where channels of a group differ."""
        found: dict[str, np.ndarray] = {}
        for parameter in parameters:
            stored = self._owners[id(parameter)]
            values = self._stored[stored].read().reshape(groups, -1)
            if self._names[stored] in self._variables or not (values == values[:, :1]).all():
                return None
            found[stored] = values[:, 0].copy()
        for stored, values in found.items():
            self.used.add(id(self._stored[stored]))
            self.arrays[self._names[stored]] = Deferred.of(values)
        return [self.variable(self._names[stored]) for stored in found]

    def made(self, preferred: str, values: np.ndarray) -> Entry:
        """The variable of an array that the archive does not have."""
        name = self.free(preferred)
        self.arrays[name] = Deferred.of(values)
        return self.variable(name)

    def text(self, heads: Sequence[Entry]) -> str:
        """The symbol as JSON."""
        variables = [at for at, node in enumerate(self.nodes) if node["op"] == "null"]
        symbol = {
            "nodes": self.nodes,
            "arg_nodes": variables,
            "heads": [list(each) for each in heads],
            "attrs": {"mxnet_version": ["int", 10901]},
        }
        return json.dumps(symbol, indent=2)


def _text(value: Any) -> str:
    """An attribute as MXNet writes it."""
    if isinstance(value, list | tuple):
        inner = ", ".join(str(each) for each in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    return repr(value) if isinstance(value, float) else str(value)
