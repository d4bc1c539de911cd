"""Which classes a config may name that Keras itself is to build: Keras' own by their tables, KerasHub's by its own."""

from __future__ import annotations

import importlib.util
import math
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

from modelarchive.errors import ConversionError
from modelarchive.exchange.keras.lifting import LAYERS, OPERATIONS
from modelarchive.exchange.keras.model import MAX_DEPTH
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.strict import short

#: The package that is known here, and what its classes were registered under before it was called so.
HUB: Final = "keras_hub"
_PACKAGES: Final = (HUB, "keras_nlp")
#: Where KerasHub keeps what networks are made of; tokenizers and preprocessors, which read files, are among them.
_PLACES: Final = re.compile(r"keras_hub\.src\.(models|layers\.modeling)\.[\w.]+")
_OF_FILES: Final = "PreprocessingLayer"
#: Values of Keras' JSON that are no objects of a class.
_VALUES: Final = ("__keras_tensor__", "__tuple__", "__slice__", "__ellipsis__", "__numpy__", "__tensor__")
#: Modules of Keras whose public classes hold numbers and words, and run nothing.
_PLAIN: Final = ("constraints", "dtype_policies", "initializers", "regularizers")
_MODELS: Final = ("Functional", "Sequential", "Model", "InputLayer")
_KERAS: Final = re.compile(r"keras(\.\w+)*")
#: Numbers that say no size.
_NO_SIZES: Final = re.compile(r"wavelength|theta|epsilon|eps$|seed|token|_id$|offset|momentum")
#: What is built one after the other, and what tables are made of that no file holds, by a part of their names.
_COUNTS: Final = re.compile("layer|depth|block|stage|repeat")
_WINDOWS: Final = re.compile("window")
_FEW: Final = 64
_SMALL: Final = 128
_LARGE: Final = 1 << 20


def is_of_hub(config: object) -> bool:
    """Whether a model's JSON names a class of KerasHub, at any depth."""
    return any(_named(each) is not None for each in _objects(config))


def hub_class(config: Mapping[str, Any]) -> str:
    """The first class of KerasHub that a model's JSON names."""
    return next((name for each in _objects(config) if (name := _named(each)) is not None), "")


def is_installed() -> bool:
    """Whether Keras, KerasHub and PyTorch are there."""
    return all(importlib.util.find_spec(name) for name in ("keras", HUB, "torch"))


def permitted(config: Mapping[str, Any], arrays: Mapping[str, Any]) -> dict[str, Any]:
    """A model's JSON as Keras may be given it: every class is one that is known, and nothing is larger than its file.

    Nothing is imported for a word of the file: the classes of KerasHub are those that it has registered itself once
    it is imported, and where a class is found is said anew.

    Args:
        config: The JSON.
        arrays: What the file holds; each array has a shape.

    Raises:
        ConversionError: It names what is not known, or sizes that the file does not bear out; lists all of it.
    """
    problems: list[tuple[str, str]] = []
    found = _Permission(arrays, problems).object(config, 0)
    if problems:
        raise ConversionError(list(dict.fromkeys(problems)))
    return found  # type: ignore[no-any-return]


class _Permission:
    """Goes through the JSON of one file."""

    def __init__(self, arrays: Mapping[str, Any], problems: list[tuple[str, str]]) -> None:
        self.problems = problems
        stored = sum(math.prod(each.shape) for each in arrays.values())
        self._counts = max(_FEW, len(arrays))
        self._windows = max(_SMALL, math.isqrt(stored))
        self._sizes = max([_LARGE, *(size for each in arrays.values() for size in each.shape)])

    def object(self, value: Any, depth: int) -> Any:
        """A value of the JSON."""
        if depth > 4 * MAX_DEPTH:
            raise ConversionError([("config.json", "is nested too deeply")])
        if isinstance(value, list):
            return [self.object(each, depth + 1) for each in value]
        if not isinstance(value, dict):
            return value
        if "class_name" not in value:
            return {name: self.object(each, depth + 1) for name, each in value.items()}
        try:
            named = self._named(value)
        except Refusal as refusal:
            self.problems.append((short(value.get("name") or value["class_name"])[:80], str(refusal)))
            return None
        # How it was compiled, and what turns texts into numbers, is not for the network.
        inside = {name: each for name, each in value.items() if name not in ("compile_config", *named)}
        config = inside.get("config")
        if isinstance(config, dict):
            self._refuse_sizes(config)
            if "preprocessor" in config:
                inside["config"] = config | {"preprocessor": None}
        return {name: self.object(each, depth + 1) for name, each in inside.items()} | named

    def _named(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """What is said of its class, of one that may be built.

        Raises:
            Refusal: It may not.
        """
        kind, module = value["class_name"], value.get("module")
        if not isinstance(kind, str):
            raise Refusal(f"the class of a layer is {short(kind)}")
        if kind in _VALUES:
            return {}
        if (name := _named(value)) is not None:
            found = _registered(name)
            return {"class_name": found.__name__, "module": found.__module__, "registered_name": f"{HUB}>{name}"}
        is_own = isinstance(module, str) and _KERAS.fullmatch(module) is not None
        if value.get("registered_name") not in (None, kind) and not (module == "builtins" and kind == "function"):
            is_own = False
        if kind == "function" and module == "builtins" and _is_activation(value.get("config")):
            return {}
        if is_own and (kind in _MODELS or kind in LAYERS or (kind in OPERATIONS and f"{module}.".count(".ops."))):
            return {}
        if is_own and _is_plain(kind):
            return {}
        raise Refusal(f"{short(value.get('registered_name') or kind)} is a class of its author's own, "
                      "which only its code can say")  # fmt: skip

    def _refuse_sizes(self, config: Mapping[str, Any]) -> None:
        """Refuse what would be built for longer, or be larger, than the file bears out."""
        for name, value in config.items():
            if _NO_SIZES.search(name):
                continue
            most = self._counts if _COUNTS.search(name) else self._windows if _WINDOWS.search(name) else self._sizes
            if any(each > most for each in _numbers(value)):
                self.problems.append((name[:80], f"is {short(value)}, more than the file holds arrays for"))


def _objects(config: object) -> Iterator[Mapping[str, Any]]:
    pending = [config]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            if "class_name" in value:
                yield value
            pending += reversed(value.values())
        elif isinstance(value, list):
            pending += reversed(value)


def _named(value: Mapping[str, Any]) -> str | None:
    """The name of a class of KerasHub; None: it is of somebody else."""
    registered, module = value.get("registered_name"), value.get("module")
    package, _, name = registered.partition(">") if isinstance(registered, str) else ("", "", "")
    if package in _PACKAGES and name.isidentifier():
        return name
    kind = value.get("class_name")
    is_there = isinstance(module, str) and module.partition(".")[0] in _PACKAGES
    return kind if is_there and isinstance(kind, str) and kind.isidentifier() else None


def _registered(name: str) -> Any:
    """The class that KerasHub has under a name.

    Raises:
        Refusal: It has none, or none that networks are made of.
    """
    import keras
    import keras_hub

    kind = keras.saving.get_registered_object(f"{HUB}>{name}") or _unregistered(name)
    if not isinstance(kind, type) or not issubclass(kind, keras.layers.Layer):
        raise Refusal(f"KerasHub {keras_hub.__version__} has no layer {name!r}")
    is_for_files = any(each.__name__ == _OF_FILES for each in kind.__mro__)
    if is_for_files or _PLACES.fullmatch(kind.__module__) is None:
        raise Refusal(f"{name} of KerasHub is no part of a network")
    return kind


def _unregistered(name: str) -> Any:
    """A class of a module that KerasHub itself has imported, of those that it does not register."""
    found = (vars(module).get(name) for place, module in list(sys.modules.items()) if _PLACES.fullmatch(place))
    return next((each for each in found if isinstance(each, type)), None)


def _is_activation(name: object) -> bool:
    import keras

    return isinstance(name, str) and name.isidentifier() and callable(getattr(keras.activations, name, None))


def _is_plain(kind: str) -> bool:
    import keras

    return any(isinstance(getattr(getattr(keras, place), kind, None), type) for place in _PLAIN)


def _numbers(value: Any) -> Iterator[int]:
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, list):
            yield from _numbers(each)
        elif type(each) is int:
            yield each
