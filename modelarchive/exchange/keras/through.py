"""Models with classes of KerasHub: built by Keras and KerasHub, filled, and read as PyTorch runs them."""

from __future__ import annotations

import contextlib
import copy
import importlib
import math
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np

from modelarchive.architecture.declarations import Inputs, by_name
from modelarchive.errors import ConversionError, ModelArchiveError
from modelarchive.exchange.bundle import Bundle, Note
from modelarchive.exchange.keras import files
from modelarchive.exchange.keras.parameters import asides, left_out
from modelarchive.exchange.keras.permitted import HUB, hub_class, is_installed, permitted
from modelarchive.exchange.keras.writing import keras_module
from modelarchive.exchange.mapped import MappedFile
from modelarchive.store.deferred import Deferred

#: The next step where KerasHub is not there.
INSTALL: Final = (
    "pip install keras-hub torch, and set KERAS_BACKEND=torch: models with KerasHub's own classes are read as it "
    "builds them"
)
#: What a hint says to those who have a module, and not its file.
OF_MODULES: Final = "module.state_dict()"
_BACKEND: Final = "set KERAS_BACKEND=torch before Keras is imported"
#: What Keras calls its list of variables that wait for their values.
_WAITING: Final = "uninitialized_variables"
_UNUSED: Final = "is not used by the model, and is left out"


@dataclass(frozen=True)
class Part:
    """Parameters of a model, or of what is inside of it, as one file has them.

    Attributes:
        arrays: Path in the file -> array.
        owner: Gives what of the built model has the two methods.
        save: The method that writes such a file.
        load: The one that reads it.
    """

    arrays: Mapping[str, Deferred]
    owner: Callable[[Any], Any] = lambda model: model
    save: str = "save_weights"
    load: str = "load_weights"


def read(config: Mapping[str, Any], parts: list[Part], inputs: Inputs | None) -> Bundle:
    """Build the model of a config with Keras and KerasHub, and read it.

    Args:
        config: What ``config.json`` says; classes of others than these two are refused.
        parts: Its parameters.
        inputs: As in :func:`modelarchive.exchange.keras.read`.

    Raises:
        ConversionError: KerasHub or Keras' PyTorch backend is not there, they have no such class, parameters are
            missing or of other shapes, or PyTorch does not export the model.
    """
    keras = _keras(config)
    arrays = {f"{at}/{path}": each for at, part in enumerate(parts) for path, each in part.arrays.items()}
    allowed = permitted(config, arrays)
    with _quietly():
        _refuse_size(keras, allowed, arrays)
        model = _built(keras, allowed)
        notes = _filled(model, parts)
        from modelarchive.exchange import torch

        bundle = torch.read_module(model, _given(model, inputs))
    hub = sys.modules[HUB]
    what = f"is read as KerasHub {hub.__version__} builds its {hub_class(config)}, on Keras' PyTorch backend"
    bundle.notes = [Note("(model)", what), *bundle.notes, *notes]
    return bundle


def reason(config: Mapping[str, Any]) -> str:
    """Why a model has no architecture whose parameters alone were asked for; it is not built to find out."""
    if is_installed():
        return "only the parameters were asked for"
    return f"it is not supported here: {_of_hub(config)}, which is not installed"


def _of_hub(config: Mapping[str, Any]) -> str:
    return f"is a class of KerasHub ({hub_class(config)})"


def _keras(config: Mapping[str, Any]) -> ModuleType:
    """Keras on its PyTorch backend, with KerasHub's classes.

    Raises:
        ConversionError: One of them is not there.
    """
    what = _of_hub(config)
    name = str(config.get("name") or config.get("class_name"))[:80]
    if not is_installed():
        raise ConversionError([(name, f"{what}, which is not installed")], hint=INSTALL)
    if "keras" not in sys.modules:
        os.environ.setdefault("KERAS_BACKEND", "torch")
    keras = keras_module()
    if keras.config.backend() != "torch":
        backend = f"Keras computes with {keras.config.backend()}, and such models are read as PyTorch runs them"
        raise ConversionError([(name, f"{what}: {backend}")], hint=_BACKEND)
    try:
        with _quietly():
            importlib.import_module(HUB)
    except Exception as error:  # whatever a package of other versions raises
        raise ConversionError([(name, f"{what}, which cannot be imported: {_words(error)}")]) from error
    return keras


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without what libraries say of themselves while they build what a file names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _built(keras: ModuleType, config: Mapping[str, Any]) -> Any:
    try:
        model = keras.saving.deserialize_keras_object(copy.deepcopy(dict(config)), safe_mode=True)
        is_model = isinstance(model, keras.Model)
    except ModelArchiveError:
        raise
    except Exception as error:  # whatever its classes raise that are not made of such options
        raise ConversionError([("config.json", f"KerasHub cannot build it: {_words(error)}")]) from error
    if not is_model:
        raise ConversionError([("config.json", f"is a {type(model).__name__}, expected a model")])
    return model


def _words(error: Exception) -> str:
    words = " ".join(str(error).split()).rpartition("Exception encountered: ")[2]
    return words[:300] or type(error).__name__


def _refuse_size(keras: ModuleType, config: Mapping[str, Any], arrays: Mapping[str, Deferred]) -> None:
    """Refuse a model that is larger than its files, before memory is asked for.

    Some classes cannot be built on PyTorch's device without memory, and tasks not in a scope without values: of
    these the network without its head is measured.
    """
    inner = config["config"].get("backbone") if isinstance(config.get("config"), dict) else None
    ways = [(keras.device("meta"), config), (_without_values(keras), inner if isinstance(inner, dict) else config)]
    problem: ConversionError | None = None
    for way, measured in ways:
        try:
            with way:
                wanted = sum(math.prod(each.shape) for each in _built(keras, measured).weights)
            break
        except ConversionError as error:
            problem = problem or error
    else:
        raise problem or ConversionError([("config.json", "cannot be measured")])
    stored = sum(math.prod(each.shape) for each in arrays.values())
    if wanted > stored:
        what = f"means a model of {wanted:,} parameters, and the files hold {stored:,}"
        raise ConversionError([("config.json", what)])


@contextlib.contextmanager
def _without_values(keras: ModuleType) -> Iterator[None]:
    """Make variables without values, which Keras would otherwise give them later."""
    from keras.src.backend.common import global_state

    waiting = list(global_state.get_global_attribute(_WAITING) or [])
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        global_state.set_global_attribute(_WAITING, waiting)


def _filled(model: Any, parts: list[Part]) -> list[Note]:
    """Give a model its parameters; notes of what is left over.

    Raises:
        ConversionError: The files hold not all of them.
    """
    found = 0
    notes = []
    for part in parts:
        places, more = _fill(model, part)
        found += sum(math.prod(each.shape) for each in places)
        notes += more
    wanted = sum(math.prod(each.shape) for each in model.weights)
    if found < wanted:
        what = f"has {wanted:,} parameters, and {found:,} of them are in the files: the others would be random"
        raise ConversionError([(model.name, what)])
    return notes


def _fill(model: Any, part: Part) -> tuple[list[Deferred], list[Note]]:
    """Give a part of a model its parameters: all that it has, and notes of what is left over.

    Keras writes down where it keeps each of them, and gets that file back with other values: so it reads no HDF5
    that somebody sent.
    """
    owner = part.owner(model)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "template.weights.h5"
        getattr(owner, part.save)(str(place))
        places = files.variables(MappedFile(place)).checked().arrays
        _refuse_others(places, part.arrays)
        with place.open("r+b") as file:
            for path in places.keys() & part.arrays.keys():  # without states of random generators
                entry, array = places[path], part.arrays[path].read()
                if entry.extent is None:
                    raise ConversionError([(path, "is kept by Keras in pieces, which is not supported")])
                file.seek(entry.extent.place.offset)
                file.write(np.ascontiguousarray(array, entry.dtype).reshape(-1).view(np.uint8).data)
        getattr(owner, part.load)(str(place))
    unused = {path: array for path, array in part.arrays.items() if path not in places}
    aside = asides(unused)
    notes = [*left_out(aside), *(Note(path, _UNUSED) for path in unused if path not in aside)]
    return list(places.values()), notes


def _refuse_others(places: Mapping[str, Deferred], arrays: Mapping[str, Deferred]) -> None:
    """Refuse parameters that are missing, or have other shapes or kinds of dtypes.

    Raises:
        ConversionError: There are such; lists all of them.
    """
    problems = []
    for path, entry in places.items():
        found = arrays.get(path)
        if found is None:
            # States of random generators are the model's own.
            if path not in asides({path: entry}):
                problems.append((path, "is missing in the file"))
        elif found.shape != entry.shape:
            problems.append((path, f"has the shape {found.shape}, its configuration makes it {entry.shape}"))
        elif found.dtype != entry.dtype and "f" not in (found.dtype.kind, entry.dtype.kind):
            problems.append((path, f"is of {found.dtype}, its configuration makes it {entry.dtype}"))
    if problems:
        raise ConversionError(problems)


def _given(model: Any, inputs: Inputs | None) -> Any:
    """What a model is read on: None where it says itself, else its declarations with the shapes that are given."""
    if inputs is None:
        return None
    own = getattr(model, "inputs", None) or []
    said = [{"name": each.name, "shape": list(each.shape), "dtype": str(each.dtype)} for each in own]
    new = by_name(inputs, [each["name"] for each in said])
    return tuple(each | new.get(each["name"], {}) for each in said)
