"""From Keras' layers to an architecture: walks the calls of a model, and asks the tables what each layer means."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from modelarchive.errors import ConversionError
from modelarchive.exchange.bundle import Note
from modelarchive.exchange.keras.model import Call, Layer, Model, Parser, Tensor, mapped
from modelarchive.exchange.keras.scope import HELD, LOST, At, Block, Known, Made, Scope
from modelarchive.exchange.keras.storage import Storage
from modelarchive.exchange.refusal import Refusal, refusing
from modelarchive.store.deferred import Deferred

#: Calls that are followed, for each one in the file, and in any case: models that call models would never end.
MAX_TIMES: Final = 4
MAX_CALLS: Final = 2_000

Convert = Callable[["Importer", "Scope", Layer, Call], list[At]]


class Importer:
    """Makes the architecture of one model.

    Attributes:
        storage: Where the arrays are.
        parser: Reads configs inside of configs.
        version: Keras' version, as the file gives it.
        convert: Adds one call of a layer to a graph, and gives its results.
        problems: What has no counterpart.
        notes: What is changed or lost.
        arrays: Key -> array, of all parameters.
    """

    def __init__(self, storage: Storage, parser: Parser, version: str, convert: Convert) -> None:
        self.storage = storage
        self.parser = parser
        self._convert = convert
        self.version = version
        self.problems: list[tuple[str, str]] = []
        self._notes: dict[Note, None] = {}
        #: Block of a layer's parameters -> the step behind it that is the layer's result, where it is another.
        self.results: dict[str, str] = {}
        self.arrays: dict[str, Deferred] = {}
        self._calls = 0
        self._models: dict[Any, Made] = {}

    @property
    def is_keras2(self) -> bool:
        """Whether the file is older than Keras 3."""
        return self.version.startswith(("1", "2"))

    def note(self, where: str, what: str) -> None:
        """Tell what is changed or lost, once."""
        self._notes[Note(where, what)] = None

    @property
    def notes(self) -> list[Note]:
        """What is changed or lost."""
        return list(self._notes)

    def model(self, model: Model, given: Sequence[Known], *, is_trainable: bool = True) -> Made:
        """A model as a block; one that is called again on the like is not walked again.

        Args:
            model: The model; where it is a Functional, its inputs in order are what is given.
            given: What is known of its inputs.
            is_trainable: Whether what is around it lets training change it.
        """
        # Models may call models that call models.
        key = (id(model), tuple(given), is_trainable)
        if key not in self._models:
            self._models[key] = self._made(model, given, is_trainable=is_trainable)
        return self._models[key]

    def _made(self, model: Model, given: Sequence[Known], *, is_trainable: bool) -> Made:
        scope = Scope(self, is_trainable and model.is_trainable, [layer.name for layer in model.layers])
        run = self._row if model.is_sequential else self._functional
        outputs = run(scope, model, given)
        known = [scope.known(each) for each in outputs]
        if model.is_sequential and (row := scope.row(outputs)) is not None:
            return Made(row, known, scope.size)
        return Made(scope.graph(outputs), known, scope.size)

    def _row(self, scope: Scope, model: Model, given: Sequence[Known]) -> list[At]:
        layers = model.layers
        name = "x"
        if is_layer := bool(layers) and layers[0].is_input:
            name, layers = layers[0].name, layers[1:]
        if len(given) != 1:
            raise Refusal(f"{model.name!r} is called on {len(given)} inputs, expected 1")
        row = [scope.input(name, given[0], is_layer=is_layer)]
        for layer in layers:
            row = self.call(scope, layer, Call([row[0] if len(row) == 1 else row], {}))
        return row

    def _functional(self, scope: Scope, model: Model, given: Sequence[Known]) -> list[At]:
        inputs = leaves(model.inputs)
        if len(inputs) != len(given):
            raise Refusal(f"{model.name!r} is called on {len(given)} inputs, expected {len(inputs)}")
        results: dict[tuple[str, int], list[At]] = {}
        for tensor, known in zip(inputs, given, strict=True):
            results[tensor.layer, tensor.call] = [scope.input(tensor.layer, known, is_layer=True)]
        layers = {layer.name: layer for layer in model.layers}
        counts = {name: max(len(layer.calls), 1) for name, layer in layers.items()}
        for name, number in _ordered(model, set(results), self.problems):
            call = layers[name].calls[number]
            found = Call([self._found(each, results, counts) for each in call.args],
                         {key: self._found(each, results, counts) for key, each in call.kwargs.items()})  # fmt: skip
            results[name, number] = self.call(scope, layers[name], found)
        return [self._found(each, results, counts) for each in leaves(model.outputs)]

    def _found(self, argument: Any, results: Mapping[tuple[str, int], list[At]], known: Mapping[str, int]) -> Any:
        """An argument with its tensors found; `known` says how many calls each layer has."""
        told = {where for where, _ in self.parser.problems}

        def find(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            several = results.get((value.layer, value.call), [LOST])
            if not 0 <= value.call < known.get(value.layer, 0) and value.layer[:80] not in told:
                self.problems.append((value.layer, f"its call {value.call} is used, and is not in the file"))
            if several == [LOST]:
                return LOST
            if not 0 <= value.index < len(several):
                self.problems.append((value.layer, f"has {len(several)} results, but result {value.index} is used"))
                return LOST
            return several[value.index]

        return mapped(argument, find)

    def call(self, scope: Scope, layer: Layer, call: Call) -> list[At]:
        """The results of one call of a layer; [LOST] with a problem where it has no counterpart."""
        self._calls += 1
        if self._calls > MAX_CALLS + MAX_TIMES * self.parser.calls:
            raise ConversionError([(layer.name, "models inside of models are called too often")])
        try:
            with scope.naming(layer.name), refusing(layer.kind):
                return scope.settled(layer.name, self._convert(self, scope, layer, call))
        except Refusal as refusal:
            self.problems.append((layer.name, str(refusal)))
        return [LOST]

    def finished(self, root: Block) -> dict[str, Deferred]:
        """Settle which parameters are shared; every parameter's name -> its array."""
        owners: dict[str, str] = {}
        found: dict[str, Deferred] = {}
        pending = [("", root)]
        while pending:
            path, block = pending.pop()
            shares = {}
            for own, key in block.pop(HELD, {}).items():
                name = f"{path}{own}"
                if owners.setdefault(key, name) != name:
                    shares[own] = owners[key]
                found[name] = self.arrays[key]
            if shares:
                block["shares"] = shares
            pending += [(f"{path}{name}.", child) for name, child in reversed(children(block))]
        return found


def children(block: Block) -> list[tuple[str, Block]]:
    """The blocks inside of a container, by name."""
    if block["kind"] == "Sequential":
        return [(each["name"], each["block"]) for each in block["children"]]
    return [(each["name"], each["block"]) for each in block.get("nodes", ()) if "block" in each]


def leaves(value: Any) -> list[Any]:
    """What is inside of lists and dicts, these in the order of their sorted keys."""
    if isinstance(value, dict):
        return [leaf for key in sorted(value) for leaf in leaves(value[key])]
    return [leaf for each in value for leaf in leaves(each)] if isinstance(value, list) else [value]


def _ordered(model: Model, known: set[tuple[str, int]], problems: list[tuple[str, str]]) -> list[tuple[str, int]]:
    """The calls of a model in an order in which each comes behind what it takes."""
    calls = [
        (layer.name, number, call)
        for layer in model.layers
        if not layer.is_input
        for number, call in enumerate(layer.calls)
    ]
    places = {(name, number): place for place, (name, number, _) in enumerate(calls)}
    waiting: dict[int, int] = {}
    behind: dict[tuple[str, int], list[int]] = {}
    for place, (_, _, call) in enumerate(calls):
        tensors = {
            (each.layer, each.call)
            for each in leaves([call.args, call.kwargs])
            if isinstance(each, Tensor) and (each.layer, each.call) in places
        }
        waiting[place] = len(tensors - known)
        for tensor in tensors - known:
            behind.setdefault(tensor, []).append(place)
    ready = [place for place, count in waiting.items() if not count]
    order = []
    while ready:
        name, number, _ = calls[heapq.heappop(ready)]
        order.append((name, number))
        for place in behind.get((name, number), ()):
            waiting[place] -= 1
            if not waiting[place]:
                heapq.heappush(ready, place)
    if len(order) < len(calls):
        problems.append((model.name, "its calls go in a circle"))
    return order
