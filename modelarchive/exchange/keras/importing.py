"""From Keras' layers to an architecture: walks the calls of a model, and lifts each by its row."""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from typing import Any, Final

from modelarchive.architecture.vocabulary import children_of
from modelarchive.errors import ConversionError
from modelarchive.exchange.drawing import Description, Ref, Report
from modelarchive.exchange.keras.drawing import HELD, UNSUPPORTED, Known, LayerBuilder, Made
from modelarchive.exchange.keras.model import Call, Layer, Model, Parser, Tensor, mapped
from modelarchive.exchange.keras.storage import Storage
from modelarchive.exchange.keras.taken import LOOKING, Taken, tensors_of
from modelarchive.exchange.refusal import Refusal, refusing
from modelarchive.store.deferred import Deferred

#: Calls that are followed, for each one in the file, and in any case: models that call models would never end.
_MAX_TIMES: Final = 4
_MAX_CALLS: Final = 2_000

_LiftCall = Callable[["Importer", "LayerBuilder", Layer, Call], list[Ref]]


class Importer:
    """Makes the architecture of one model.

    Attributes:
        storage: Where the arrays are.
        parser: Reads configs inside of configs.
        version: Keras' version, as the file gives it.
        lift_call: Adds one call of a layer to a graph, and gives its results.
        report: Where it is reported what is changed, lost or not supported.
        arrays: Key -> array, of all parameters.
        giving_masks: The models inside of which the masks of what they give are taken.
        results: Block of a layer's parameters -> the node behind it that is the layer's result, where it is another.
    """

    def __init__(
        self,
        storage: Storage,
        parser: Parser,
        version: str,
        lift_call: _LiftCall,
        giving_masks: Collection[Hashable] = (),
    ) -> None:
        self.giving_masks = giving_masks
        self.storage = storage
        self.parser = parser
        self._lift_call = lift_call
        self.version = version
        self.report = Report()
        self.results: dict[str, str] = {}
        self.arrays: dict[str, Deferred] = {}
        self._calls = 0
        self._models: dict[Any, Made] = {}

    @property
    def is_keras2(self) -> bool:
        """Whether the file is older than Keras 3."""
        return self.version.startswith(("1", "2"))

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
        builder = LayerBuilder(
            self.report,
            self.arrays,
            self.results,
            is_trainable=is_trainable and model.is_trainable,
            layers=[layer.name for layer in model.layers],
        )
        run = self._row if model.is_sequential else self._functional
        outputs = run(builder, model, given)
        places: list[int] = []
        if id(model) in self.giving_masks:
            masks = [builder.mask(each) for each in outputs]
            places = [place for place, mask in enumerate(masks) if mask is not None]
            outputs = [*outputs, *(builder.made(mask) for mask in masks if mask is not None)]
        known = [builder.known_of(each) for each in outputs]
        if model.is_sequential and (row := builder.row(outputs)) is not None:
            return Made(row, known, builder.size)
        return Made(builder.graph(outputs), known, builder.size, builder.mask_inputs, places)

    def _row(self, builder: LayerBuilder, model: Model, given: Sequence[Known]) -> list[Ref]:
        layers = model.layers
        name = "x"
        if is_layer := bool(layers) and layers[0].is_input:
            name, layers = layers[0].name, layers[1:]
        if len(given) != 1:
            raise Refusal(f"{model.name!r} is called on {len(given)} inputs, expected 1")
        row = [builder.layer_input(name, given[0], is_layer=is_layer)]
        for layer in layers:
            row = self.call(builder, layer, Call([row[0] if len(row) == 1 else row], {}))
        return row

    def _functional(self, builder: LayerBuilder, model: Model, given: Sequence[Known]) -> list[Ref]:
        inputs = leaves(model.inputs)
        if len(inputs) != len(given):
            raise Refusal(f"{model.name!r} is called on {len(given)} inputs, expected {len(inputs)}")
        results: dict[tuple[str, int], list[Ref]] = {}
        for tensor, known in zip(inputs, given, strict=True):
            results[tensor.layer, tensor.call] = [builder.layer_input(tensor.layer, known, is_layer=True)]
        layers = {layer.name: layer for layer in model.layers}
        counts = {name: max(len(layer.calls), 1) for name, layer in layers.items()}
        taken = Taken(model)
        for name, number in _ordered(model, set(results), self.report):
            call = layers[name].calls[number]
            found = Call([self._found(each, results, counts) for each in call.args],
                         {key: self._found(each, results, counts) for key, each in call.kwargs.items()})  # fmt: skip
            with self._without(builder, taken, layers[name], number, results):
                results[name, number] = self.call(builder, layers[name], found)
        return [self._found(each, results, counts) for each in leaves(model.outputs)]

    @contextlib.contextmanager
    def _without(
        self,
        builder: LayerBuilder,
        taken: Taken,
        layer: Layer,
        number: int,
        results: Mapping[tuple[str, int], list[Ref]],
    ) -> Iterator[None]:
        """Without the masks of tensors that are gone where a layer looks for them."""
        hidden: dict[Ref, Any] = {}

        def ref_of(tensor: Tensor) -> Ref:
            several = results.get((tensor.layer, tensor.call), [])
            return several[tensor.index] if 0 <= tensor.index < len(several) else UNSUPPORTED

        for tensor in tensors_of(layer.calls[number]) if layer.kind in LOOKING and not self.is_keras2 else ():
            mask = builder.mask(ref := ref_of(tensor))
            if mask is None or ref in hidden:
                continue
            try:
                if taken.is_gone(layer.name, number, tensor, lambda each: builder.mask(ref_of(each)) is not None):
                    hidden[ref] = mask
                    builder.set_mask(ref, None)
            except Refusal as refusal:
                self.report.refuse(layer.name, str(refusal))
        yield
        for ref, mask in hidden.items():
            builder.set_mask(ref, mask)

    def _found(self, argument: Any, results: Mapping[tuple[str, int], list[Ref]], known: Mapping[str, int]) -> Any:
        """An argument with its tensors found; `known` says how many calls each layer has."""
        reported = {where for where, _ in self.parser.problems}

        def find(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            several = results.get((value.layer, value.call), [UNSUPPORTED])
            if not 0 <= value.call < known.get(value.layer, 0) and value.layer[:80] not in reported:
                self.report.refuse(value.layer, f"its call {value.call} is used, and is not in the file")
            if several == [UNSUPPORTED]:
                return UNSUPPORTED
            if not 0 <= value.index < len(several):
                self.report.refuse(value.layer, f"has {len(several)} results, but result {value.index} is used")
                return UNSUPPORTED
            return several[value.index]

        return mapped(argument, find)

    def call(self, builder: LayerBuilder, layer: Layer, call: Call) -> list[Ref]:
        """The results of one call of a layer; [UNSUPPORTED] where it is reported that it is not."""
        self._calls += 1
        if self._calls > _MAX_CALLS + _MAX_TIMES * self.parser.calls:
            raise ConversionError([(layer.name, "models inside of models are called too often")])
        try:
            with builder.naming(layer.name), refusing(layer.kind):
                return builder.settled(layer.name, self._lift_call(self, builder, layer, call))
        except Refusal as refusal:
            self.report.refuse(layer.name, str(refusal))
        return [UNSUPPORTED]

    def finished(self, root: Description) -> dict[str, Deferred]:
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


def children(block: Description) -> list[tuple[str, Description]]:
    """The blocks inside of a container, by name."""
    return [(each["name"], each["block"]) for each in children_of(block) if "block" in each]


def leaves(value: Any) -> list[Any]:
    """What is inside of lists and dicts, these in the order of their sorted keys."""
    if isinstance(value, dict):
        return [leaf for key in sorted(value) for leaf in leaves(value[key])]
    return [leaf for each in value for leaf in leaves(each)] if isinstance(value, list) else [value]


def _ordered(model: Model, known: set[tuple[str, int]], report: Report) -> list[tuple[str, int]]:
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
        report.refuse(model.name, "its calls go in a circle")
    return order
