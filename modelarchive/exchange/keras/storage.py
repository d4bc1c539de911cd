"""Where a file keeps a layer's variables: paths of Keras 3, names of the older HDF5 format."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from modelarchive.exchange.keras.model import Layer, Model
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.deferred import Deferred

#: Attributes of layers whose own names differ, by which the older format calls them.
_NAMES: Final = {
    "query_dense": "query",
    "key_dense": "key",
    "value_dense": "value",
    "output_dense": "attention_output",
}
#: What Keras 2.12 to 2.14 called the layers of a model.
DEPENDENCIES: Final = "_layer_checkpoint_dependencies"
#: Classes whose name in Python is not the one in configs.
CLASSES: Final = {"GroupQueryAttention": "GroupedQueryAttention", "Model": "Functional"}


class Storage(Protocol):
    """The variables of one file."""

    arrays: Mapping[str, Deferred]
    used: set[str]
    #: Whether kernels of convolutions are mirrored along their windows, as Theano has them.
    is_mirrored: bool

    def assign(self, model: Model, prefix: str) -> None:
        """Give every layer of a model its place."""

    def below(self, layer: Layer, child: Layer, attribute: str) -> None:
        """Give a layer inside of a layer its place."""

    def find(self, layer: Layer, variables: Sequence[str]) -> list[str]:
        """The keys of a layer's variables, which are named as the table of weights does.

        Raises:
            Refusal: One is missing.
        """

    def factors(self, layer: Layer, variable: str) -> Factors | None:
        """The LoRA beside a variable; None: there is none, or what is found has its product added already."""


@dataclass(frozen=True)
class Factors:
    """A LoRA, whose product stands beside a variable.

    Attributes:
        first: The key of the factor (..., rank).
        second: The key of the factor (rank, out).
        rank: How many there are between them.
        alpha: What their product is multiplied by, times the rank.
    """

    first: str
    second: str
    rank: int
    alpha: float


class Paths:
    """Keras 3: ``layers/dense_1/vars/0``, by the classes of the layers and their order.

    Args:
        arrays: Path -> array.
    """

    def __init__(self, arrays: Mapping[str, Deferred]) -> None:
        self.arrays = arrays
        self.used: set[str] = set()
        self.is_mirrored = False
        self._shared: dict[int, str] = {}
        self._first: dict[tuple[str, str], str] = {}
        self._members = Members(arrays)

    def assign(self, model: Model, prefix: str) -> None:
        """Give every layer of a model its place."""
        layers = [layer for layer in model.layers if not layer.is_operation]
        if model.is_sequential and layers and layers[0].is_input:
            layers = layers[1:]
        for layer, place in zip(layers, self._members.places([layer.kind for layer in layers], prefix), strict=True):
            layer.place = self._same(layer, place)
            if layer.inner is not None:
                self.assign(layer.inner, f"{layer.place}/")

    def _same(self, layer: Layer, place: str) -> str:
        """The place of a layer that came before: what is shared is stored once, where it was first."""
        if layer.shared is not None:
            # The first of them does not say that it will be shared; its name and class show it.
            place = self._shared.setdefault(layer.shared, self._first.get((layer.name, layer.kind), place))
        self._first.setdefault((layer.name, layer.kind), place)
        return place

    def below(self, layer: Layer, child: Layer, attribute: str) -> None:
        """Give a layer inside of a layer its place."""
        child.place = f"{layer.place}/{attribute}"
        if child.inner is not None:
            self.assign(child.inner, f"{child.place}/")

    def find(self, layer: Layer, variables: Sequence[str]) -> list[str]:
        """The keys of a layer's variables."""
        counts: dict[str, int] = {}
        found = []
        for variable in variables:
            attribute = variable.rpartition("/")[0]
            number = counts[attribute] = counts.get(attribute, -1) + 1
            places = [attribute, f"_{attribute}"] if attribute else [""]
            keys = ["/".join(filter(None, [layer.place, place, "vars", str(number)])) for place in places]
            key = next((each for each in keys if each in self.arrays), keys[0])
            if key not in self.arrays:
                raise Refusal(f"its weight {variable!r} is not in the file, at {key!r}")
            self.used.add(key)
            found.append(key)
        return found

    def factors(self, layer: Layer, variable: str) -> None:
        """Keras 3 adds their product when it saves: what it called its variables is all that there is."""
        if layer.config.value("lora_rank", None) is None:
            return
        own = f"{layer.place}/vars/"
        if any(path.startswith(own) and path not in self.used for path in self.arrays):
            raise Refusal("keeps the factors of its LoRA in variables that are not known here")


class Names:
    """The older format: ``dense_1/dense_1/kernel:0`` below the group of the outermost layer.

    Args:
        arrays: Path -> array.
        groups: Path of a group -> attributes; those of the outermost layers list their weights, as Keras reads them.
        is_mirrored: Whether kernels of convolutions are as Theano has them.
    """

    def __init__(
        self,
        arrays: Mapping[str, Deferred],
        groups: Mapping[str, Mapping[str, Sequence[str]]] | None = None,
        *,
        is_mirrored: bool = False,
    ) -> None:
        self.arrays = arrays
        self.is_mirrored = is_mirrored
        self.used: set[str] = set()
        self._listed = {
            layer: [path for name in attributes["weight_names"] if (path := plain_path(f"{layer}/{name}")) in arrays]
            for layer, attributes in (groups or {}).items()
            if "weight_names" in attributes
        }
        self._below: dict[str, list[str]] = {}
        for path in arrays:
            self._below.setdefault(path.partition("/")[0], []).append(path)

    def assign(self, model: Model, prefix: str) -> None:
        """Give every layer of a model its place."""
        for layer in model.layers:
            layer.place = f"{prefix}\0{layer.name}" if prefix else layer.name
            if layer.inner is not None:
                self.assign(layer.inner, layer.place)

    def below(self, layer: Layer, child: Layer, attribute: str) -> None:
        """Give a layer inside of a layer its place."""
        child.place = f"{layer.place}\0{child.name}"
        if child.inner is not None:
            self.assign(child.inner, child.place)

    def find(self, layer: Layer, variables: Sequence[str]) -> list[str]:
        """The keys of a layer's variables."""
        top, *inner = layer.place.split("\0")
        group = self._group(top)
        found = []
        for variable in variables:
            fitting = self._fitting(group, layer, variable, len(variables))
            if len(fitting) != 1 and not inner and top in self._listed and len(group) == len(variables):
                found = list(group)  # by their order, as Keras itself does
                break
            if len(fitting) != 1:
                how = "is not in the file" if not fitting else f"may be any of {fitting[:4]}"
                raise Refusal(f"its weight {variable!r} {how}")
            found += fitting
        self.used.update(found)
        return found

    def factors(self, layer: Layer, variable: str) -> Factors | None:
        """The LoRA beside a variable; of those of layers inside of a layer no setting tells how much they count."""
        if "/" in variable or layer.config.value("lora_rank", None) is None:
            return None
        rank, alpha = layer.config.integer("lora_rank"), layer.config.optional("lora_alpha")
        first, second = self.find(layer, [f"lora_{variable}_a", f"lora_{variable}_b"])
        return Factors(first, second, rank, rank if alpha is None else alpha)

    def _group(self, top: str) -> list[str]:
        """The paths of a layer's weights."""
        if top in self._listed:
            return self._listed[top]
        # A name may have a slash, and so be groups inside of each other.
        return [path for path in self._below.get(top.partition("/")[0], ()) if path.startswith(f"{top}/")]

    def _fitting(self, group: Sequence[str], layer: Layer, variable: str, count: int) -> list[str]:
        """The paths that may be a layer's variable."""
        top, *inner = layer.place.split("\0")
        attribute, _, name = variable.rpartition("/")
        # Keras 2 called the kernel of a DepthwiseConv2D so.
        wished = (name, f"depthwise_{name}")
        calls = [[path for path in group if without_number(path).endswith(f"/{each}")] for each in wished]
        fitting = calls[0] or calls[1]
        if not fitting and count == 1:  # which may have no name of its own
            fitting = [path for path in group if f"/{layer.name}/" in f"/{path}"]
        part = _NAMES.get(attribute, attribute)
        for wanted in [part, *reversed(inner)]:
            if wanted and len(fitting) > 1:
                fitting = [path for path in fitting if f"/{wanted}/" in f"/{path}"] or fitting
        whole = "/".join(filter(None, [*inner[-1:], part, name]))
        if len(fitting) > 1:
            fitting = [path for path in fitting if without_number(path).endswith(f"/{whole}")] or fitting
        if len(fitting) > 1:
            fitting = [path for path in fitting if without_number(path) == f"{top}/{whole}"] or fitting
        return fitting


class Members:
    """Where the layers of models are among paths of Keras 3.

    Args:
        paths: Those of all arrays.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        paths = list(paths)
        is_old = any(path.startswith(f"{DEPENDENCIES}/") for path in paths)
        self.inside = DEPENDENCIES if is_old else "layers"
        parts = [path.split("/") for path in paths] if is_old else []
        self._holding = {"/".join(each[:end]) for each in parts for end in range(1, len(each))}

    def places(self, kinds: Sequence[str], prefix: str) -> list[str]:
        """The places of a model's layers, by their classes in order."""
        if not self._holding:
            return [f"{prefix}{self.inside}/{name}" for name in member_names(kinds)]
        stems = [snake_case(CLASSES.get(kind, kind)) for kind in kinds]
        many = {stem: stems.count(stem) for stem in dict.fromkeys(stems)}
        # 2.12 and 2.13 listed what has weights twice, and kept it the first time: they count further than there are.
        beyond = (f"{stem}_{number}" for stem, count in many.items() for number in range(count, 2 * count))
        step = 2 if any(f"{prefix}{self.inside}/{name}" in self._holding for name in beyond) else 1
        counts = dict.fromkeys(stems, 0)
        found = []
        for stem in stems:
            number = counts[stem]
            found.append(f"{prefix}{self.inside}/{stem}" + (f"_{number}" if number else ""))
            counts[stem] += step if found[-1] in self._holding else 1
        return found


def member_names(kinds: Sequence[str]) -> list[str]:
    """What Keras calls the layers of a list in its files: by their classes, with numbers from the second on."""
    counts: dict[str, int] = {}
    found = []
    for kind in kinds:
        stem = snake_case(CLASSES.get(kind, kind))
        number = counts[stem] = counts.get(stem, -1) + 1
        found.append(f"{stem}_{number}" if number else stem)
    return found


def plain_path(path: str) -> str:
    """A path without empty parts, as HDF5 takes it."""
    return re.sub("/+", "/", path).strip("/")


def without_number(path: str) -> str:
    """A path without the number that TensorFlow puts behind a name: ``dense/kernel:0``."""
    return re.sub(r":\d+$", "", path)


def snake_case(name: str) -> str:
    """A class's name as Keras' paths have it: Conv2DTranspose, conv2d_transpose."""
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
