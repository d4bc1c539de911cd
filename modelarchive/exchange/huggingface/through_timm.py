"""Folders of timm: networks for pictures, built by timm itself, and read as PyTorch runs them."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any, Final

from modelarchive.errors import ConversionError
from modelarchive.exchange import torch as modules
from modelarchive.exchange.bundle import Bundle, Note, deferred
from modelarchive.exchange.huggingface.sizes import refuse_counts, refuse_size
from modelarchive.store.strict import short

_INSTALL: Final = "pip install timm torchvision: networks of timm are built by it"
#: What is said of a checkpoint that decides what is built.
_BUILT_OF: Final = ("num_classes", "input_size", "fixed_input_size", "pool_size")
#: Arguments that would read other files, or have the network built otherwise.
_NEVER: Final = frozenset(
    {
        "cache_dir", "checkpoint_path", "exportable", "features_only", "model_name", "no_jit", "out_indices",
        "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_model_args", "pretrained_strict",
        "scriptable",
    }
)  # fmt: skip


def is_of_timm(values: Mapping[str, Any]) -> bool:
    """Whether a config.json is one of timm's: it says an architecture, and no type of transformers."""
    return isinstance(values.get("architecture"), str) and "model_type" not in values


def is_installed() -> bool:
    """Whether timm is there, and what it needs."""
    return all(importlib.util.find_spec(each) for each in ("timm", "torch", "torchvision"))


def read(weights: Bundle, values: Mapping[str, Any]) -> Bundle:
    """Build the network of a folder with timm, and read it on pictures of the size that its config.json says.

    Args:
        weights: The parameters, as the files have them.
        values: What config.json says.

    Raises:
        ConversionError: timm is not installed, or has no such network, or another than the files hold.
    """
    name = values["architecture"]
    if not is_installed():
        raise ConversionError(
            [("architecture", f"{short(name)} is a network of timm, which is not installed")], hint=_INSTALL
        )
    import timm

    if not timm.is_model(name):
        raise ConversionError([("architecture", f"{short(name)} is none of timm's {timm.__version__}")])
    options, arguments = _options(values)
    arrays = deferred(weights.parameters)
    refuse_counts(options | arguments, arrays.values())

    def make() -> Any:
        return timm.create_model(name, pretrained_cfg=dict(options), **arguments)

    try:
        refuse_size(make, arrays.values())
        module = make()
    except ConversionError:
        raise
    except Exception as error:  # whatever its classes raise that are not made of such arguments
        words = " ".join(str(error).split())[:300]
        raise ConversionError([("config.json", f"timm cannot build it: {words}")]) from error
    _fill(module, weights)
    usual: Any = module.pretrained_cfg.get("input_size") or (3, 224, 224)
    channels, *sides = options.get("input_size", usual)
    bundle = modules.read_module(module.eval(), {"shape": [None, channels, *sides]})
    bundle.notes += weights.notes
    return bundle


def _options(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What timm builds the network of: what is said of the checkpoint, and the arguments.

    Raises:
        ConversionError: It is none of that.
    """
    said, arguments = values.get("pretrained_cfg", values), values.get("model_args") or {}
    problems = [
        (name, f"is {short(each)}, expected an object")
        for name, each in (("pretrained_cfg", said), ("model_args", arguments))
        if not isinstance(each, Mapping)
    ]
    if problems:
        raise ConversionError(problems)
    if unfit := sorted(_NEVER & arguments.keys()):
        raise ConversionError([("model_args", f"has {', '.join(unfit)}, which no network is made of")])
    options = {name: said[name] for name in _BUILT_OF if said.get(name) is not None}
    if values.get("num_classes") is not None:
        options["num_classes"] = values["num_classes"]
    if arguments.get("in_chans") is not None and "input_size" in options:
        options["input_size"] = [arguments["in_chans"], *options["input_size"][1:]]
    size: Any = options.get("input_size")
    is_size = isinstance(size, list) and len(size) == 3 and all(type(each) is int and 0 < each < 2**14 for each in size)
    if size is not None and not is_size:
        raise ConversionError([("input_size", f"is {short(size)}, expected channels, height and width")])
    return options | ({"input_size": tuple(size)} if is_size else {}), dict(arguments)


def _fill(module: Any, weights: Bundle) -> None:
    """Give the network its parameters.

    Raises:
        ConversionError: Some are missing, or of other shapes, or too many; lists all of them.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    found = {name: tuple(each.shape) for name, each in deferred(weights.parameters).items()}
    problems = [(name, "is not in the files") for name in wanted.keys() - found.keys()]
    problems += [
        (name, f"has the shape {found[name]}, timm makes it {shape}")
        for name, shape in wanted.items()
        if name in found and found[name] != shape
    ]
    if problems:
        raise ConversionError(sorted(problems))
    weights.notes += [Note(name, "left out: timm does not use it either") for name in found if name not in wanted]
    tensors = modules.tensors_of(dict(weights.parameters))
    module.to(_dtype(tensors))
    module.load_state_dict({name: tensors[name] for name in wanted})


def _dtype(tensors: Mapping[str, Any]) -> Any:
    """The dtype that most of the numbers have."""
    sizes: dict[Any, int] = {}
    for each in tensors.values():
        if each.is_floating_point():
            sizes[each.dtype] = sizes.get(each.dtype, 0) + each.numel()
    import torch

    return max(sizes, key=lambda dtype: sizes[dtype], default=torch.float32)
