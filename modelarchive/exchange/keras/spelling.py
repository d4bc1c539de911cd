"""What Keras 1 wrote, in the words of Keras 2: classes, settings, merged branches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from modelarchive.exchange.keras.model import MAX_DEPTH
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.strict import short

_Settings = dict[str, Any]

_CONVOLUTION: Final = {
    "nb_filter": "filters",
    "filter_length": "kernel_size",
    "subsample_length": "strides",
    "subsample": "strides",
    "border_mode": "padding",
    "atrous_rate": "dilation_rate",
    "bias": "use_bias",
}
_POOLING: Final = {"pool_length": "pool_size", "stride": "strides", "border_mode": "padding"}
_RECURRENT: Final = {
    "output_dim": "units",
    "inner_activation": "recurrent_activation",
    "dropout_W": "dropout",
    "dropout_U": "recurrent_dropout",
}
_DROPOUT: Final = {"p": "rate"}
_DENSE: Final = {"output_dim": "units", "bias": "use_bias"}

#: Class -> its class in Keras 2, and its settings that have another name there.
_CLASSES: Final[Mapping[str, tuple[str, Mapping[str, str]]]] = {
    "Dense": ("Dense", _DENSE),
    "TimeDistributedDense": ("Dense", _DENSE),
    **{f"{stem}Convolution{rank}D": (f"Conv{rank}D", _CONVOLUTION) for stem in ("", "Atrous") for rank in (1, 2, 3)},
    "SeparableConvolution2D": ("SeparableConv2D", _CONVOLUTION),
    "Deconvolution2D": ("Conv2DTranspose", _CONVOLUTION),
    "ConvLSTM2D": ("ConvLSTM2D", {**_CONVOLUTION, **_RECURRENT}),
    **{f"LocallyConnected{rank}D": (f"LocallyConnected{rank}D", _CONVOLUTION) for rank in (1, 2)},
    **{f"{how}Pooling{rank}D": (f"{how}Pooling{rank}D", _POOLING) for how in ("Max", "Average") for rank in (1, 2, 3)},
    "UpSampling1D": ("UpSampling1D", {"length": "size"}),
    **{kind: (kind, _RECURRENT) for kind in ("LSTM", "GRU", "SimpleRNN")},
    **{kind: (kind, _DROPOUT) for kind in ("Dropout", "GaussianDropout", "SpatialDropout1D", "SpatialDropout2D")},
    "SpatialDropout3D": ("SpatialDropout3D", _DROPOUT),
    "GaussianNoise": ("GaussianNoise", {"sigma": "stddev"}),
}
#: Classes whose kernels have the axes of one order or the other.
_ORDERED: Final = ("Convolution2D", "Convolution3D", "LSTM2D", "Connected2D", "Pooling2D", "Pooling3D", "UpSampling2D",
                   "UpSampling3D", "Padding2D", "Padding3D", "Cropping2D", "Cropping3D", "Deconvolution2D")  # fmt: skip
#: What it called where the channels stand.
_ORDERS: Final = {"tf": "channels_last", "th": "channels_first"}
#: Settings that matter when a layer is made, or in training only.
_ASIDE: Final = ("init", "inner_init", "forget_bias_init", "consume_less", "input_dtype")
#: How layers were merged -> the class that does so.
_MERGES: Final = {"sum": "Add", "mul": "Multiply", "ave": "Average", "max": "Maximum"}


def modern(data: Mapping[str, Any]) -> dict[str, Any]:
    """A model of Keras 1 as Keras 2 writes it; what is no layer or model stays as it is.

    Raises:
        Refusal: Models are nested too deeply, or a model that merges others cannot be told apart.
    """
    orders: set[Any] = set()
    walk(data, lambda name, kind, settings: orders.update([str(settings.get("dim_ordering"))]))
    found = [order for each, order in _ORDERS.items() if each in orders]
    # Some layers did not say where their channels stand; it was the same for a whole program.
    return _modern(data, found[0] if len(found) == 1 else None, 0)


def _modern(data: Mapping[str, Any], order: str | None, depth: int) -> dict[str, Any]:
    if depth > MAX_DEPTH:
        raise Refusal(f"models are nested deeper than {MAX_DEPTH}")
    kind, config = data.get("class_name"), data.get("config")
    if kind == "Sequential" and isinstance(config, list):
        return _sequential(data, config, order, depth)
    if not isinstance(kind, str) or not isinstance(config, dict):
        return dict(data)
    if isinstance(config.get("layers"), list) and kind != "Merge":
        return {**data, "config": {**config, "layers": [_each(layer, order, depth) for layer in config["layers"]]}}
    found, settings = _layer(kind, dict(config), order)
    if isinstance(inner := settings.get("layer"), dict):
        settings["layer"] = _modern(inner, order, depth + 1)
    return {**data, "class_name": found, "config": settings}


def _each(layer: object, order: str | None, depth: int) -> object:
    return _modern(layer, order, depth + 1) if isinstance(layer, dict) else layer


def _layer(kind: str, config: _Settings, usual: str | None) -> tuple[str, _Settings]:
    """A class and its settings; `usual` is where the channels stand where a layer does not say it."""
    if kind == "Merge":
        return _merge(config)
    found, names = _CLASSES.get(kind, (kind, {}))
    config = {names.get(name, name): value for name, value in config.items() if name not in _ASIDE}
    if kind == "Embedding":
        config.pop("dropout", None)
    else:
        config.pop("input_dim", None)
    if kind == "InputLayer":
        config.setdefault("dtype", "float32")
    for windows in (("nb_row", "nb_col"), ("kernel_dim1", "kernel_dim2", "kernel_dim3")):
        if all(name in config for name in windows):
            config["kernel_size"] = [config.pop(name) for name in windows]
    order = config.pop("dim_ordering", None)
    if order is not None or any(part in kind for part in _ORDERED):
        config["data_format"] = usual if order is None else _ORDERS.get(str(order), order)
    if kind == "BatchNormalization" and config.get("mode") == 0:
        del config["mode"]
    if kind == "Deconvolution2D" and isinstance(config.get("output_shape"), list):
        # It was told, and not computed; its batch may be that of training.
        config["output_shape"] = [None, *config["output_shape"][1:]]
    if kind in ("ZeroPadding1D", "ZeroPadding2D"):
        config["padding"] = _padding(config.get("padding"))
    return found, config


def _padding(padding: object) -> object:
    """Zeros at both ends, which had names, or stood in one row for all four sides."""
    if isinstance(padding, dict):
        ends = ["left_pad", "right_pad"]
        ends = ["top_pad", "bottom_pad", *ends] if {"top_pad", "bottom_pad"} & padding.keys() else ends
        padding = [padding.get(end, 0) for end in ends]
    return [padding[:2], padding[2:]] if isinstance(padding, list) and len(padding) == 4 else padding


def _merge(config: _Settings) -> tuple[str, _Settings]:
    """Merge, by the layer that does the same; a function as its mode is code."""
    mode = config.get("mode")
    settings = {"trainable": True} | ({"name": config["name"]} if "name" in config else {})
    if any(config.get(f"{name}_type", "raw") != "raw" for name in ("mode", "output_shape", "output_mask")):
        return "Lambda", settings
    if mode == "concat":
        return "Concatenate", {**settings, "axis": config.get("concat_axis", -1)}
    if mode == "dot":
        return "Dot", {**settings, "axes": config.get("dot_axes", -1), "normalize": False}
    if isinstance(mode, str) and mode in _MERGES:
        return _MERGES[mode], settings
    return f"Merge of the mode {short(mode)}", settings


# ---------------------------------------------------------------------- a row of layers behind merged branches


def _sequential(data: Mapping[str, Any], layers: list[Any], order: str | None, depth: int) -> dict[str, Any]:
    """A row of layers; one that begins with merged branches is a model with several inputs."""
    if not _is_merge(layers[0] if layers else None):
        return {**data, "config": {"layers": [_each(layer, order, depth) for layer in layers]}}
    branches = _Branches(order)
    last = branches.row(layers, depth)
    name = data.get("name", "sequential")
    found = {
        "name": name,
        "layers": list(branches.layers.values()),
        "input_layers": branches.inputs,
        "output_layers": [last],
    }
    return {**data, "class_name": "Model", "name": name, "config": found}


def _is_merge(layer: object) -> bool:
    return isinstance(layer, dict) and layer.get("class_name") == "Merge"


class _Branches:
    """Rows of layers that are merged, as the calls of one model; a name that comes again is the same layer.

    Attributes:
        order: Where channels stand.
        layers: Name -> layer, with its calls.
        inputs: The tensors that they begin with.
    """

    def __init__(self, order: str | None) -> None:
        self.order = order
        self.layers: dict[str, dict[str, Any]] = {}
        self.inputs: list[list[Any]] = []

    def row(self, layers: list[Any], depth: int) -> list[Any]:
        """The result of a row of layers, as [layer, call, result]."""
        if depth > MAX_DEPTH:
            raise Refusal(f"models are nested deeper than {MAX_DEPTH}")
        tensors: list[list[Any]] = []
        for at, layer in enumerate(layers):
            config = layer.get("config") if isinstance(layer, dict) else None
            if not at and _is_merge(layer) and isinstance(config, dict) and isinstance(config.get("layers"), list):
                tensors = [self._branch(each, depth + 1) for each in config["layers"]]
            elif not at:
                tensors = [self._input(layer)]
            tensors = [self._call(layer, tensors, depth)]
        if not tensors:
            raise Refusal("merges a row of no layers")
        return tensors[0]

    def _branch(self, branch: object, depth: int) -> list[Any]:
        config = branch.get("config") if isinstance(branch, dict) else None
        if not isinstance(branch, dict) or branch.get("class_name") != "Sequential" or not isinstance(config, list):
            what = branch.get("class_name") if isinstance(branch, dict) else branch
            raise Refusal(f"merges a {short(what)}, expected rows of layers")
        return self.row(config, depth)

    def _input(self, layer: object) -> list[Any]:
        config = layer.get("config") if isinstance(layer, dict) else None
        shape = config.get("batch_input_shape") if isinstance(config, dict) else None
        if not isinstance(shape, list):
            raise Refusal("merges rows of layers of which one does not say what it takes")
        name = f"{config.get('name', 'input')}_input" if isinstance(config, dict) else "input"
        while name in self.layers:
            name += "_"
        self.layers[name] = {
            "class_name": "InputLayer",
            "name": name,
            "config": {"name": name, "batch_input_shape": shape, "dtype": "float32"},
            "inbound_nodes": [],
        }
        self.inputs.append([name, 0, 0])
        return [name, 0, 0]

    def _call(self, layer: object, tensors: list[list[Any]], depth: int) -> list[Any]:
        found = _each(layer, self.order, depth)
        config = found.get("config") if isinstance(found, dict) else None
        if not isinstance(found, dict) or not isinstance(config, dict):
            raise Refusal(f"a layer is {short(layer)}, expected an object")
        name = str(found.get("name", config.get("name", found.get("class_name"))))
        own = self.layers.setdefault(name, {**found, "name": name, "inbound_nodes": []})
        own["inbound_nodes"].append(tensors)
        # Calls of a model inside are counted from 1, its own making being the first.
        return [name, len(own["inbound_nodes"]) - ("layers" not in config), 0]


Walk = Callable[[str, str, Mapping[str, Any]], None]


def walk(data: object, visit: Walk, depth: int = 0) -> None:
    """Show every layer of a config, those inside of layers too: its name, its class, its settings."""
    config = data.get("config") if isinstance(data, dict) else None
    if not isinstance(data, dict) or depth > MAX_DEPTH:
        return
    inner: Any = config
    if isinstance(config, dict):
        visit(str(config.get("name", data.get("name", ""))), str(data.get("class_name")), config)
        inner = [*(each if isinstance(each := config.get("layers"), list) else ()), config.get("layer")]
    for each in inner if isinstance(inner, list) else ():
        walk(each, visit, depth + 1)
