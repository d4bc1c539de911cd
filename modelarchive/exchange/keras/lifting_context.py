"""One call of a layer on its way into the graph: what the functions of the tables work on."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np

from modelarchive.exchange.budget import spend
from modelarchive.exchange.drawing import Description, Ref, described
from modelarchive.exchange.keras.config import DTYPES, Config, numbers
from modelarchive.exchange.keras.drawing import HELD, UNSUPPORTED, LayerBuilder
from modelarchive.exchange.keras.importing import Importer, leaves
from modelarchive.exchange.keras.model import Call, Layer, Literal, mapped
from modelarchive.exchange.keras.quantized import SPREAD, Quantized, Spread
from modelarchive.exchange.keras.storage import member_names
from modelarchive.exchange.keras.turned import MIRRORED, mirrored, turned
from modelarchive.exchange.keras.weights import Fields, Weight, present
from modelarchive.exchange.refusal import Refusal
from modelarchive.nn.kinds import KINDS
from modelarchive.nn.parameter import dtype_name
from modelarchive.nn.scope import json_numbers
from modelarchive.store.deferred import Deferred
from modelarchive.store.strict import short

#: Dtypes that a layer may compute in.
FLOATS: Final = ("float16", "bfloat16", "float32", "float64")

#: Layers that are called with ``training=True`` where nobody says otherwise.
_TRAINING_IS_DEFAULT: Final = re.compile(r"Random\w+|Resizing|CenterCrop|AutoContrast|Pipeline")
#: What to do with a LoRA that stands beside whole numbers: their product with it is not that of one kernel.
_UNMERGED: Final = "which is not supported; a .keras file has them merged: model.save('model.keras')"

#: Makes what a layer becomes: a reference, or one for each of its results.
Lift: TypeAlias = Callable[["Context"], Ref | list[Ref]]


@dataclass
class Context:
    """One call of a layer.

    Attributes:
        importer: What it is a part of.
        builder: The graph that it goes into.
        layer: The layer.
        call: What it is called on; tensors are references.
        weights: The layer's variables.
        computed: The dtype that the layer computes in.
        quantized: How its kernel is quantised; None: it is not.
        spread: How the scales of a quantised kernel stand beside it.
        kernel: The shape of a quantised kernel.
    """

    importer: Importer
    builder: LayerBuilder
    layer: Layer
    call: Call
    weights: tuple[Weight, ...] = ()
    computed: str = "float32"
    quantized: Quantized | None = None
    spread: Spread = SPREAD
    kernel: Sequence[int] | None = None
    _used: set[str | int] = field(default_factory=set)

    @property
    def config(self) -> Config:
        """The layer's settings."""
        return self.layer.config

    @property
    def is_keras2(self) -> bool:
        """Whether the file is older than Keras 3."""
        return self.importer.is_keras2

    @property
    def xs(self) -> list[Ref]:
        """The tensors of the first argument."""
        self._used.add(0)
        if not self.call.args:
            raise Refusal("is called on nothing")
        found = [each for each in leaves(self.call.args[0]) if each is not None]
        if not found or not all(isinstance(each, Ref) for each in found):
            raise Refusal(f"is called on {short(self.call.args[0])}, expected tensors")
        return found

    @property
    def x(self) -> Ref:
        """The only tensor of the first argument."""
        found = self.xs
        if len(found) != 1:
            raise Refusal(f"is called on {len(found)} tensors, expected 1")
        return found[0]

    def argument(self, name: str, place: int, default: Any = None) -> Any:
        """An argument of the call, by its name or its place."""
        self._used |= {name, place}
        if name in self.call.kwargs:
            return self.call.kwargs[name]
        return self.call.args[place] if place < len(self.call.args) else default

    def tensor(self, name: str, place: int) -> Ref | None:
        """An argument that is a tensor, or None."""
        found = self.argument(name, place)
        if found is not None and not isinstance(found, Ref):
            raise Refusal(f"{name} = {short(found)}, expected a tensor")
        return found

    def unread(self) -> list[str]:
        """Arguments that nobody asked for, and that are not None."""
        named = [name for name, value in self.call.kwargs.items() if name not in self._used and value is not None]
        placed = [
            f"argument {place}"
            for place, value in enumerate(self.call.args)
            if place not in self._used and value is not None
        ]
        # Inference is all that an architecture says; True would be training's way for ever, but for layers whose
        # default it is: Keras writes it down, and `predict` does not heed it.
        harmless = (False, True) if _TRAINING_IS_DEFAULT.fullmatch(self.layer.kind) else (False,)
        return [name for name in named + placed if not (name == "training" and self.call.kwargs[name] in harmless)]

    def dims(self, ref: Ref) -> list[int | None]:
        """The shape of a tensor, None where it is free."""
        return self.builder.known(ref, self.layer.kind).declared

    def rank(self, ref: Ref) -> int:
        """How many axes a tensor has."""
        return len(self.dims(ref))

    def axis(self, ref: Ref, axis: int) -> int:
        """An axis counted from the front."""
        rank = self.rank(ref)
        if not -rank <= axis < rank:
            raise Refusal(f"axis {axis} of a tensor of {rank} axes")
        return axis % rank

    def dtype(self, ref: Ref) -> np.dtype:
        """The dtype of a tensor."""
        return self.builder.known(ref, self.layer.kind).array_dtype

    def as_float(self, ref: Ref) -> Ref:
        """A tensor of floats: whole numbers are cast, as Keras does."""
        return self._cast(ref) if self.dtype(ref).kind in "iub" else ref

    def compute_in(self, dtype: str) -> None:
        """Say what the layer computes in: the floats that it is called on are of this dtype from now on."""
        self.computed = dtype

        def cast(value: Any) -> Any:
            known = self.builder.value(value) if isinstance(value, Ref) else None
            # A number of weak dtype takes on that of the others by itself.
            found = known.dtype if known is not None else None
            is_other = isinstance(found, np.dtype) and found.name in FLOATS and found.name != dtype
            return self._cast(value) if is_other else value

        self.call = Call(mapped(self.call.args, cast), mapped(self.call.kwargs, cast))

    def _cast(self, ref: Ref) -> Ref:
        return self.op("cast", ref, dtype=self.computed, role="cast")

    def named(self, role: str) -> str:
        """The preferred name of a node: the layer's, and what it is for in it."""
        return f"{self.layer.name}_{role}" if role else self.layer.name

    def op(self, name: str, *refs: Ref, role: str = "", **arguments: Any) -> Ref:
        """Add an op of the vocabulary with one result."""
        return self.ops(name, *refs, role=role, **arguments)[0]

    def ops(self, name: str, *refs: Ref, role: str = "", **arguments: Any) -> list[Ref]:
        """Add an op of the vocabulary with several results."""
        return self.builder.results_of(self.builder.op(self.named(role), name, refs, arguments))

    def constant(self, value: Any, dtype: str | None = None) -> Ref:
        """A number (of a weak dtype), or a small array; a large one is a parameter."""
        array = np.asarray(value)
        if array.size > 64:
            spend("a constant", elements=array.size)
            return self._stored(array.astype(dtype or "float32"))
        if array.ndim and dtype is None:
            dtype = "float32"
        return self.op("constant", role="constant", value=json_numbers(array.tolist()), dtype=dtype)

    def _stored(self, array: np.ndarray) -> Ref:
        key = f"{self.layer.place or self.layer.name}#constant{len(self.importer.arrays)}"
        self.importer.arrays[key] = Deferred.of(array)
        return self.builder.variable(self.named("constant"), key, is_trained=False)

    def tensor_of(self, value: Any) -> Ref:
        """An argument as a tensor: numbers and arrays become constants."""
        if isinstance(value, Ref):
            return value
        if isinstance(value, Literal):
            if value.dtype not in DTYPES:
                raise Refusal(f"an array is of the dtype {short(value.dtype)}, which is not supported")
            return self.constant(numbers(value.value, value.dtype), value.dtype)
        if isinstance(value, bool | int | float):
            return self.constant(value)
        if isinstance(value, list) and not any(isinstance(each, Ref) for each in leaves(value)):
            array = numbers(value)
            return self.constant(array, "int32" if array.dtype.kind == "i" else "float32")
        raise Refusal(f"an argument is {short(value)}, expected a tensor or numbers")

    def plain(self, kind: str, *refs: Ref, role: str = "", **fields: Any) -> Ref:
        """Add a layer without parameters."""
        return self._added(role, described(kind, fields), refs)[0]

    def block(
        self,
        kind: str,
        fields: dict[str, Any],
        *refs: Ref,
        sizes: Callable[[Mapping[str, Deferred]], Fields] = lambda arrays: {},
        weights: Sequence[Weight] | None = None,
        layer: Layer | None = None,
        held: dict[str, str] | None = None,
        role: str = "",
    ) -> list[Ref]:
        """Add a layer with parameters.

        Args:
            kind: Its kind.
            fields: Its fields, as far as they are in the config.
            refs: What it is called on.
            sizes: Further fields, from the parameters by their own names.
            weights: The variables that they come from; None: those of the layer's row.
            layer: The layer that has them; None: this one.
            held: Own name -> key of the parameters, where they are known already.
            role: What it is for in the layer; "": it is the layer.
        """
        layer = layer or self.layer
        if held is None:
            held = self.held(fields, self.weights if weights is None else weights, layer)
        arrays = {own: self.importer.arrays[key] for own, key in held.items()}
        if arrays:
            fields = {**fields, "dtype": dtype_name(next(iter(arrays.values())).dtype)}
        block = described(kind, {**fields, **sizes(arrays)})
        _check_shapes(block, arrays)
        # Running statistics are never trained.
        frozen = [] if self.is_trainable(layer) else [own for own in held if not own.startswith("running_")]
        block |= ({"frozen": frozen} if frozen else {}) | ({HELD: held} if held else {})
        return self._added(role, block, refs)

    def _added(self, role: str, block: Description, refs: Sequence[Ref]) -> list[Ref]:
        value = self.builder.layer_value(block, refs)
        return self.builder.results_of(self.builder.block(self.named(role), block, refs, value))

    def is_trainable(self, layer: Layer | None = None) -> bool:
        """Whether training changes the layer's parameters."""
        own = self.config.flag("trainable", default=True)
        inner = layer is None or layer.config.flag("trainable", default=True)
        return self.builder.is_trainable and own and inner

    def held(self, fields: Fields, weights: Sequence[Weight], layer: Layer) -> dict[str, str]:
        """Own name -> key of the parameters that a layer's variables become."""
        wanted = present(weights, fields)
        keys = self.importer.storage.find(layer, [each.theirs for each in wanted])
        found: dict[str, str] = {}
        # What a LoRA adds is asked for when all of the layer's own are known.
        more = self.extra(fields)
        for weight, path in zip(wanted, keys, strict=True):
            stored = self._merged(weight.theirs, self.importer.storage.arrays[path], layer)
            if self.quantized is None and stored.dtype.kind in "iu" and weight.theirs.endswith("kernel"):
                what = f"its {weight.theirs} is {stored.dtype.name}, quantised, and nothing says how"
                raise Refusal(f"{what}: Keras (3.15.1) loads no such file either")
            if self.importer.storage.is_mirrored and layer.kind in MIRRORED and weight.theirs.endswith("kernel"):
                stored = mirrored(stored)
            if self.quantized is not None and weight.theirs in ("kernel", "embeddings"):
                stored = self._floats(self.quantized, stored, more)
            elif self.quantized is not None and weight.theirs == "bias":
                stored = self.quantized.bias(stored)
            for index, own in enumerate(weight.ours):
                key = f"{path}#{own}"
                if key not in self.importer.arrays:
                    self.importer.arrays[key] = turned(stored, weight, dict(fields), index)
                found[own] = key
        return found

    def extra(self, fields: Fields) -> list[Deferred]:
        """The further variables of a quantised layer."""
        if self.quantized is None:
            return []
        more = self.quantized.variables(self.layer.kind)
        own = [each.theirs for each in present(self.weights, fields)]
        storage = self.importer.storage
        history = [each for each in more if each.endswith("amax_history")]
        keys = storage.find(self.layer, [*own, *more])[len(own) :]
        if history:
            # What training goes on with is not missed.
            for path in storage.arrays:
                if path.startswith(f"{self.layer.place}/vars/"):
                    storage.used.add(path)
        return [storage.arrays[key] for key in keys]

    def _floats(self, how: Quantized, stored: Deferred, more: list[Deferred]) -> Deferred:
        if self.kernel is None:
            raise Refusal(f"a quantised {self.layer.kind} is not supported")
        spend("a quantised kernel", elements=math.prod(self.kernel))
        return how.floats(stored, more, self.kernel, self.spread)

    def _merged(self, variable: str, stored: Deferred, layer: Layer) -> Deferred:
        """A variable with the product of its LoRA's factors added, as Keras computes."""
        attribute, _, name = variable.rpartition("/")
        if name not in ("kernel", "embeddings"):
            return stored
        where, storage = f"{attribute} kernel".strip() if attribute else name, self.importer.storage
        rank, _ = layer.config.value("lora_rank", None), layer.config.value("lora_alpha", None)
        found = storage.factors(layer, variable)
        if found is None:
            if rank is not None and not attribute:
                self.importer.report.note(layer.name, f"its LoRA of rank {rank} is merged into the {name} already")
            return stored
        if self.quantized is not None:
            raise Refusal(f"has a LoRA beside its {name} of {self.quantized.mode}, {_UNMERGED}")
        first, second = storage.arrays[found.first], storage.arrays[found.second]
        if first.shape != (*stored.shape[:-1], found.rank) or second.shape != (found.rank, *stored.shape[-1:]):
            raise Refusal(f"its LoRA of rank {found.rank} has factors of shapes {first.shape} and {second.shape}")
        if stored.dtype.name not in FLOATS:
            raise Refusal(f"has a LoRA beside its {name} of {stored.dtype.name}, which is not supported")
        self.importer.report.note(
            layer.name, f"its LoRA of rank {found.rank} is merged into the {where}, from which it was apart"
        )

        def read() -> np.ndarray:
            times = np.float32(found.alpha / found.rank)
            product: np.ndarray = times * (first.read().astype(np.float32) @ second.read().astype(np.float32))
            merged: np.ndarray = (stored.read() + product).astype(stored.dtype)
            return merged

        return Deferred(stored.shape, stored.dtype, read)

    def parameter(self, own: str, fields: Fields | None = None, *, is_trained: bool = True) -> Ref:
        """A variable as a result: a parameter of the graph's own.

        Args:
            own: What the layer's row calls it.
            fields: Those that decide which variables there are.
            is_trained: Whether training changes it.
        """
        key = self.held(fields or {}, self.weights, self.layer)[own]
        return self.builder.variable(own, key, is_trained=is_trained and self.is_trainable())

    def child(self, value: Any, attribute: str) -> Layer:
        """A layer inside of this one."""
        layer = self.importer.parser.layer(value, 1)
        self.importer.storage.below(self.layer, layer, attribute)
        return layer

    def children(self, values: Sequence[Any], attribute: str) -> list[Layer]:
        """The layers of a list inside of this one."""
        found = [self.importer.parser.layer(value, 1) for value in values]
        for layer, name in zip(found, member_names([layer.kind for layer in found]), strict=True):
            self.importer.storage.below(self.layer, layer, f"{attribute}/{name}")
        return found

    def note(self, what: str) -> None:
        """Report what is changed or lost."""
        self.importer.report.note(self.layer.name, what)

    @property
    def is_unsupported(self) -> bool:
        """Whether something that it takes is not supported."""
        return any(each == UNSUPPORTED for each in leaves([self.call.args, self.call.kwargs]))


def _check_shapes(block: Description, arrays: Mapping[str, Deferred]) -> None:
    """Whether the variables are as large as the settings say.

    Raises:
        Refusal: One is not.
    """
    fields = {name: each for name, each in block.items() if name != "kind"}
    for own, parameter in KINDS[block["kind"]].from_config(fields).collect_params().items():
        expected = parameter.shape
        found = arrays[own].shape if own in arrays else None
        if found is not None and expected is not None and not _fits(expected, found):
            raise Refusal(f"its settings ask for a {own} of shape {tuple(expected)}, the file has {found}")


def _fits(expected: Sequence[int | None], found: Sequence[int]) -> bool:
    return len(expected) == len(found) and all(one in (0, None, two) for one, two in zip(expected, found, strict=True))
