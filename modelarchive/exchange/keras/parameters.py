"""The parameters of Keras' files without an architecture: under the names of their layers, as Keras stores them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from modelarchive import names
from modelarchive.exchange.bundle import Note, Parameters
from modelarchive.exchange.keras import files
from modelarchive.exchange.keras.lifting import LAYERS
from modelarchive.exchange.keras.model import MAX_CALLS, MAX_DEPTH, MAX_NAME
from modelarchive.exchange.keras.naming import dotted
from modelarchive.exchange.keras.storage import CLASSES, DEPENDENCIES, Members, plain_path, snake_case, without_number
from modelarchive.exchange.keras.weights import present
from modelarchive.store.deferred import Deferred

_OPTIMIZER: Final = "(optimizer)"
_METRICS: Final = "(metrics)"
_RANDOM: Final = "(random)"
#: What is no parameter -> what a note says of it.
_ASIDE: Final = {
    _OPTIMIZER: "its state is left out",
    _METRICS: "their states are left out",
    _RANDOM: "the states of random generators are left out",
}
#: Groups in which Keras keeps these.
_OWN: Final = {
    **dict.fromkeys(("optimizer", "_optimizer", "optimizer_weights"), _OPTIMIZER),
    **dict.fromkeys(("metrics", "_metrics", "compile_metrics", "_compile_metrics", "loss_tracker"), _METRICS),
    **dict.fromkeys(("_loss_tracker", "compile_loss", "_compile_loss"), _METRICS),
}
_SEED: Final = re.compile(r"(.*/)?seed_generator(_\d+)?/(vars|seed_generator_state)")
#: Groups of the older format that stand for the model itself.
_ROOT: Final = "top_level_model_weights"
#: What the cells of recurrences have.
_CELL: Final = ("kernel", "recurrent_kernel", "bias")
BY_STEM: Final = {snake_case(CLASSES.get(kind, kind)): kind for kind in LAYERS}


def asides(arrays: Mapping[str, Deferred]) -> dict[str, str]:
    """Path -> what it is, of arrays that are no parameters: states of optimizers, metrics, random generators."""
    tops: dict[str, list[str]] = {}
    for path in arrays:
        tops.setdefault(path.partition("/")[0], []).append(path)
    found = {path: _RANDOM for path in arrays if _SEED.match(path)}
    for top, paths in tops.items():
        kind = _OWN.get(top)
        first = arrays.get(f"{top}/vars/0")
        # A model of its author's own class has them under names of his: they are known by what they hold.
        if kind is None and top.endswith("optimizer") and first is not None and _counts(first):
            kind = _OPTIMIZER
        elif kind is None and re.search("(metric|tracker)s?$", top) and all(not arrays[each].shape for each in paths):
            kind = _METRICS
        found |= dict.fromkeys(paths, kind) if kind is not None else {}
    return found


def _counts(array: Deferred) -> bool:
    """Whether it may be the number of steps that were trained."""
    return not array.shape and array.dtype.kind in "iu"


def left_out(found: Mapping[str, str]) -> list[Note]:
    """That these are left out."""
    return [Note(kind, what) for kind, what in _ASIDE.items() if kind in found.values()]


def by_path(stored: files.Variables) -> tuple[Parameters, list[Note]]:
    """All parameters by their paths in the file, in the order of its layers' numbers."""
    aside = asides(stored.arrays)
    paths = sorted((path for path in stored.arrays if path not in aside), key=names.natural_key)
    notes = left_out(aside)
    called = dotted({path: without_number(path).split("/") for path in paths}, notes)
    return Parameters({called[path]: stored.arrays[path] for path in paths}), notes


def by_layer(stored: files.Variables, config: Mapping[str, Any] | None) -> tuple[Parameters, list[Note]]:
    """All parameters by the names that the layers have, and those of Keras' variables where they are known.

    Args:
        stored: What the file holds.
        config: The model's JSON, if there is one; layers that nobody knows may be in it.
    """
    aside: dict[str, str] = {}
    if "layer_names" in stored.groups.get("", {}):
        parts = _listed(stored, list(stored.arrays))
    else:
        aside = asides(stored.arrays)
        paths = [path for path in stored.arrays if path not in aside]
        labels: dict[str, _Label] = {}
        _label(config or {}, "", Members(paths), labels, 0)
        parts = _placed(stored, sorted(paths, key=names.natural_key), labels)
    notes = left_out(aside)
    called = dotted(parts, notes)
    return Parameters({called[path]: stored.arrays[path] for path in parts}), notes


# ---------------------------------------------------------------------- the older format


def _listed(stored: files.Variables, paths: Sequence[str]) -> dict[str, list[str]]:
    """Path -> parts of a name, in the order of layers and of their weights."""
    found: dict[str, list[str]] = {}
    for layer in [*stored.groups[""]["layer_names"], _ROOT]:
        weights = [plain_path(each) for each in stored.groups.get(layer, {}).get("weight_names", ())]
        above = _common(layer, weights)
        for weight in weights:
            path = plain_path(f"{layer}/{weight}")
            if path in stored.arrays:
                # A weight's name may begin with those of models around the layer, and the layer's own.
                _, is_there, behind = f"/{without_number(weight)}".partition(f"/{above}/")
                found[path] = [] if layer == _ROOT else [layer]
                found[path] += (behind if is_there else without_number(weight)).split("/")
    return found | {path: without_number(path).split("/") for path in paths if path not in found}


def _common(layer: str, weights: Sequence[str]) -> str:
    """What a layer's weights call it: TensorFlow numbered layers that were made again."""
    first = {each.partition("/")[0] for each in weights}
    called = first.pop() if len(first) == 1 else ""
    return called if re.fullmatch(rf"{re.escape(layer)}_\d+", called) else layer


# ---------------------------------------------------------------------- paths of Keras 3


@dataclass(frozen=True)
class _Label:
    """What the config says of a layer in the file."""

    name: str
    kind: str
    config: Mapping[str, Any]


def _label(data: object, prefix: str, members: Members, found: dict[str, _Label], depth: int) -> None:
    """The places of a model's layers: by their classes, whatever these are."""
    config = data.get("config") if isinstance(data, dict) else None
    layers = config.get("layers") if isinstance(config, dict) else None
    if not isinstance(layers, list) or not isinstance(data, dict) or depth > MAX_DEPTH:
        return
    own: list[tuple[Mapping[str, Any], str, Mapping[str, Any]]] = []
    for at, layer in enumerate(layers[:MAX_CALLS]):
        kind = layer.get("class_name") if isinstance(layer, dict) else None
        settings = layer.get("config") if isinstance(layer, dict) else None
        if not isinstance(kind, str) or not isinstance(settings, dict) or len(kind) > MAX_NAME or _is_operation(layer):
            continue
        if data.get("class_name") == "Sequential" and kind == "InputLayer" and not at:
            continue
        own.append((layer, kind.rpartition(">")[2], settings))
    places = members.places([kind for _, kind, _ in own], prefix)
    for (layer, kind, settings), place in zip(own, places, strict=True):
        if len(found) < MAX_CALLS:
            stem = snake_case(CLASSES.get(kind, kind))
            name = settings.get("name", layer.get("name", stem))
            found[place] = _Label(name[:MAX_NAME] if isinstance(name, str) else stem, kind, settings)
            _label(layer, f"{place}/", members, found, depth + 1)


def _is_operation(layer: Mapping[str, Any]) -> bool:
    module = layer.get("module")
    return isinstance(module, str) and ".ops." in f"{module}."


def _placed(stored: files.Variables, paths: Sequence[str], labels: Mapping[str, _Label]) -> dict[str, list[str]]:
    """Path -> parts of a name, in the order of the config."""
    order = {place: at for at, place in enumerate(labels)}
    counts: dict[str, int] = {}
    for path in paths:
        owner = path.rpartition("/")[0]
        counts[owner] = counts.get(owner, 0) + 1

    def first(path: str) -> tuple[int, ...]:
        parts = path.split("/")
        places = ["/".join(parts[:end]) for end in range(2, len(parts))]
        return tuple(order[place] for place in places if place in order) or (len(order),)

    return {path: _parts(path, stored, labels, counts) for path in sorted(paths, key=first)}


def _parts(path: str, stored: files.Variables, labels: Mapping[str, _Label], counts: Mapping[str, int]) -> list[str]:
    parts = path.split("/")
    if len(parts) < 2 or parts[-2] != "vars":
        return parts
    owner, at = parts[:-2], 0
    found: list[str] = []
    inner: list[str] = []
    label: _Label | None = None
    while at < len(owner):
        place = "/".join(owner[: at + 2])
        known = labels.get(place) if at + 1 < len(owner) else None
        if at + 1 < len(owner) and owner[at] in ("layers", DEPENDENCIES):
            kind = BY_STEM.get(re.sub(r"_\d+$", "", owner[at + 1]), "")
            name = next(iter(stored.groups.get(f"{place}/vars", {}).get("name", ())), None)
            if known is not None or name is not None:
                label, inner = known or _Label(str(name), kind, {}), []
                found.append(label.name)
                at += 2
                continue
        part = owner[at].lstrip("_") if label is not None else owner[at]
        inner.append(part)
        found.append(part)
        at += 1
        # A layer that has another one says so in its config.
        within = label.config.get(part) if label is not None else None
        if isinstance(within, dict) and isinstance(within.get("config"), dict):
            label, inner = _Label(part, str(within.get("class_name")).rpartition(">")[2], within["config"]), []
    return [*found, *_variable(label, "/".join(inner), int(counts[path.rpartition("/")[0]]), parts[-1])]


def _variable(label: _Label | None, attribute: str, count: int, number: str) -> list[str]:
    """What Keras calls a variable, where that is known: so many of them are there."""
    row = LAYERS.get(label.kind) if label is not None else None
    called: Sequence[str] = ()
    if attribute.rpartition("/")[2] == "cell" or (label is not None and label.kind.endswith("Cell")):
        called = _CELL
    elif row is not None and label is not None:
        called = _names(row.weights, label.config, attribute)
    if len(called) == count + 1 and called[-1] == "bias":
        called = called[:-1]
    places = {str(at): name for at, name in enumerate(called)}
    return [places[number]] if len(called) == count and number in places else ["vars", number]


def _names(weights: Any, config: Mapping[str, Any], attribute: str) -> list[str]:
    flags = {"use_bias": True, "scale": True, "center": True, "use_scale": True, **config}
    if any("_dense/" in each.theirs for each in weights):
        flags["use_bias"] = [flags["use_bias"]] * 4
    own = [each.theirs.rpartition("/") for each in present(weights, flags)]
    return [name for before, _, name in own if before == attribute]
