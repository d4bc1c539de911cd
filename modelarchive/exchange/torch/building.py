"""From blocks to modules: one table, kind -> function that makes the module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from torch.overrides import TorchFunctionMode

from modelarchive import nn
from modelarchive.archive.saving import initialized
from modelarchive.dtypes import is_float
from modelarchive.errors import ConversionError
from modelarchive.exchange.torch import containers, layers, sequences
from modelarchive.exchange.torch.tensors import tensor_of, torch_dtype
from modelarchive.nn.evaluate import is_kind


def module_of(
    block: nn.Block, *, device: Any = None, dtype: Any = None, tensors: Mapping[str, torch.Tensor] | None = None
) -> torch.nn.Module:
    """The module tree of a network that is made of kinds, Sequential and Graph.

    Args:
        block: The network; its parameters have values.
        device: Where to move the parameters; None: they stay on the arrays' memory.
        dtype: The dtype of all floating-point parameters; None: their own.
        tensors: Name -> parameter, of those that are where they belong already.

    Raises:
        DeferredShapeError: Parameters have no values yet.
        ConversionError: A name is one that modules cannot have.
    """
    initialized(block)
    # A name that PyTorch keeps for every module's mode.
    taken = [
        path for path in (*dict(block.named_blocks()), *block.collect_stored()) if path.split(".")[-1] == "training"
    ]
    if taken:
        what = "PyTorch keeps the name 'training' for the mode of a module"
        raise ConversionError([(path, what) for path in taken], hint="rename the attribute")
    module = _Builder(block, tensors or {}).module(block)
    module.eval()
    if device is not None or dtype is not None:
        module.to(device=device, dtype=None if dtype is None else torch_dtype(dtype))
    return module


class _Builder:
    def __init__(self, block: nn.Block, tensors: Mapping[str, torch.Tensor]) -> None:
        self._modules: dict[int, torch.nn.Module] = {}
        stored = block.collect_stored() if tensors else {}
        self._tensors = {id(each): _parameter(each, tensors[name]) for name, each in stored.items() if name in tensors}

    def module(self, block: nn.Block) -> torch.nn.Module:
        """The module of a block, the same one for the same block."""
        if id(block) not in self._modules:
            self._modules[id(block)] = self._made(block)
        return self._modules[id(block)]

    def _made(self, block: nn.Block) -> torch.nn.Module:
        module: torch.nn.Module
        if isinstance(block, nn.Graph):
            module = containers.Graph(block)
        elif isinstance(block, nn.Scan):
            module = containers.Scan(block)
        elif isinstance(block, nn.Sequential):
            module = containers.Sequential() if _has_several(block) else torch.nn.Sequential()
        elif is_kind(block):
            # Without memory: every parameter is set below.
            with torch.device("meta"), _Unfilled():
                module = MODULES[block.kind](block, block.config())
        else:
            raise TypeError(f"{type(block).__name__} is no kind of the vocabulary; describe the network first")
        if isinstance(module, layers.Kind) and isinstance(block, nn.Layer):
            module.kind, module.config = block.kind, block.config()
        for name, child in block.children.items():
            # Not add_module: it refuses names such as "forward", which are attributes of every module.
            module._modules[name] = self.module(child)
        for name, parameter in block.parameters.items():
            self._set(module, name, parameter)
        if isinstance(module, containers.Graph):
            module.own({name: own for name, child in block.children.items() if (own := _own_names(block, child))})
        return module

    def _set(self, module: torch.nn.Module, name: str, parameter: nn.Parameter) -> None:
        if id(parameter) not in self._tensors:
            self._tensors[id(parameter)] = _parameter(parameter, tensor_of(parameter.value()))
        tensor = self._tensors[id(parameter)]
        if isinstance(module, torch.nn.RNNBase):
            setattr(module, name, tensor)  # it keeps a list of them beside
        elif isinstance(tensor, torch.nn.Parameter):
            module._buffers.pop(name, None)
            module._parameters[name] = tensor
        else:
            module._parameters.pop(name, None)
            module._buffers[name] = tensor
            if not parameter.persistent:
                module._non_persistent_buffers_set.add(name)


def _own_names(block: nn.Block, child: nn.Block) -> dict[str, str]:
    """What a graph calls the parameters of a layer, all of which are its own; empty where they are not."""
    names = {id(each): name for name, each in block.parameters.items()}
    found = {name: names[id(each)] for name, each in child.parameters.items() if id(each) in names}
    return found if isinstance(child, nn.Layer) and len(found) == len(child.parameters) else {}


def _parameter(parameter: nn.Parameter, tensor: torch.Tensor) -> torch.Tensor:
    """A tensor as a module has it: what is trained, or may be, is a parameter."""
    dtype = parameter.value().dtype
    if parameter.born_trainable and (is_float(dtype) or dtype.kind == "c"):
        return torch.nn.Parameter(tensor, requires_grad=parameter.trainable)
    return tensor


class _Unfilled(TorchFunctionMode):
    """Leaves out the initialisers: of tensors without memory some of them import PyTorch's compiler."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if func in _FILLING or getattr(func, "__module__", None) == torch.nn.init.__name__:
            return args[0] if args else given["tensor"]
        return func(*args, **given)


#: What the functions of ``torch.nn.init`` fill a tensor with.
_FILLING: Final = frozenset(getattr(torch.Tensor, name) for name in ("fill_", "normal_", "uniform_", "zero_"))


def _has_several(block: nn.Sequential) -> bool:
    """Whether a value between children, or the first one, may be several arrays."""
    children = list(block.children.values())
    return any(
        getattr(child, "return_state", False)
        or (isinstance(child, nn.Graph) and (child.structure != 0 or len(child.inputs) != 1))
        or isinstance(child, nn.MultiHeadAttention | nn.Scan)
        or (isinstance(child, nn.Sequential) and (not child.children or _has_several(child)))
        for child in children
    )


_Fields = dict[str, Any]
_Make = Callable[[Any, _Fields], torch.nn.Module]


def _dense(layer: nn.Dense, fields: _Fields) -> torch.nn.Module:
    plain = not fields["flatten"] and fields["activation"] is None
    return (torch.nn.Linear if plain else layers.Dense)(layer.in_units, layer.units, layer.use_bias)


def _embedding(layer: nn.Embedding, fields: _Fields) -> torch.nn.Module:
    return torch.nn.Embedding(layer.input_dim, layer.output_dim, layer.padding_idx)


def _is_plain(fields: _Fields) -> bool:
    """Whether PyTorch's own class has these fields: channels second, symmetric padding, no activation."""
    symmetric = all(before == after for before, after in fields["padding"])
    return symmetric and fields["layout"][1] == "C" and fields.get("activation") is None


def _symmetric(fields: _Fields) -> tuple[int, ...]:
    pairs = fields["padding"]
    return tuple(pair[0] for pair in pairs) if all(one == other for one, other in pairs) else (0,) * len(pairs)


def _convolution(plain: Any, other: Any) -> _Make:
    def make(layer: Any, fields: _Fields) -> torch.nn.Module:
        geometry = (layer.kernel_size, layer.strides, _symmetric(fields), layer.dilation, layer.groups, layer.use_bias)
        found: torch.nn.Module = (plain if _is_plain(fields) else other)(layer.in_channels, layer.channels, *geometry)
        return found

    return make


def _transposed(plain: Any, other: Any) -> _Make:
    def make(layer: Any, fields: _Fields) -> torch.nn.Module:
        first = (layer.kernel_size, layer.strides, _symmetric(fields), layer.output_padding)
        last = (layer.groups, layer.use_bias, layer.dilation)
        made: torch.nn.Module = (plain if _is_plain(fields) else other)(
            layer.in_channels, layer.channels, *first, *last
        )
        return made

    return make


def _pool(plain: Any) -> _Make:
    def make(layer: Any, fields: _Fields) -> torch.nn.Module:
        halves = all(2 * pair[0] <= size for pair, size in zip(layer.padding, layer.pool_size, strict=True))
        if not (_is_plain(fields) and halves):
            return layers.Pool(layer.kind, fields)
        more = {"count_include_pad": layer.count_include_pad} if "count_include_pad" in fields else {}
        found: torch.nn.Module = plain(
            layer.pool_size, layer.strides, _symmetric(fields), ceil_mode=layer.ceil_mode, **more
        )
        return found

    return make


def _global_pool(plain: Any) -> _Make:
    def make(layer: Any, fields: _Fields) -> torch.nn.Module:
        return plain(1) if layer.layout[1] == "C" else layers.GlobalPool(layer.kind, fields)

    return make


def _adaptive(plain: Any) -> _Make:
    def make(layer: Any, fields: _Fields) -> torch.nn.Module:
        return plain(layer.output_size) if layer.layout[1] == "C" else layers.AdaptivePool(layer.kind, fields)

    return make


def _upsample(layer: nn.Upsample, fields: _Fields) -> torch.nn.Module:
    if layer.scale is None or layer.layout[1] != "C":
        return layers.Upsample(layer.kind, fields)
    if layer.mode == "nearest":
        return torch.nn.Upsample(scale_factor=layer.scale)
    mode = ("linear", "bilinear", "trilinear")[len(layer.scale) - 1]
    return torch.nn.Upsample(scale_factor=layer.scale, mode=mode, align_corners=layer.align_corners)


def _batch_norm(layer: nn.BatchNorm, fields: _Fields) -> torch.nn.Module:
    made = layers.BatchNorm(layer.in_channels, layer.epsilon, 1 - layer.momentum, affine=False)
    # PyTorch counts batches in a buffer that archives do not hold.
    made._buffers["num_batches_tracked"] = None
    return made


def _over_axes(plain: Any) -> _Make:
    def make(layer: Any, fields: _Fields) -> torch.nn.Module:
        axes = layer.axis if isinstance(layer.axis, tuple) else (layer.axis,)
        sizes = layer.in_channels if isinstance(layer.in_channels, tuple) else (layer.in_channels,)
        last = axes == tuple(range(-len(axes), 0))
        if not (last and layer.scale and fields.get("center", True)):
            return layers.Norm(layer.kind, fields)
        found: torch.nn.Module = plain(sizes, layer.epsilon)
        return found

    return make


def _group_norm(layer: nn.GroupNorm, fields: _Fields) -> torch.nn.Module:
    if layer.axis == 1 and layer.center and layer.scale:
        return torch.nn.GroupNorm(layer.num_groups, layer.in_channels, layer.epsilon)
    return layers.Norm(layer.kind, fields)


def _recurrent(plain: Any) -> _Make:
    def make(layer: Any, fields: _Fields) -> torch.nn.Module:
        if not getattr(layer, "linear_before_reset", True):
            return sequences.ResetFirstGRU(layer.kind, fields)
        more = {"nonlinearity": layer.activation} if "activation" in fields else {}
        found: torch.nn.Module = plain(
            layer.input_size,
            layer.hidden_size,
            layer.num_layers,
            bias=layer.use_bias,
            batch_first=layer.layout == "NTC",
            dropout=layer.dropout if layer.num_layers > 1 else 0.0,
            bidirectional=layer.bidirectional,
            **more,
        )
        return found

    return make


_ACTIVATIONS: Final[dict[str, Callable[[Any], torch.nn.Module]]] = {
    "celu": torch.nn.CELU,
    "elu": torch.nn.ELU,
    "gelu": lambda alpha: torch.nn.GELU(),
    "gelu_tanh": lambda alpha: torch.nn.GELU("tanh"),
    "hard_sigmoid": lambda alpha: torch.nn.Hardsigmoid(),
    "hard_swish": lambda alpha: torch.nn.Hardswish(),
    "hard_tanh": lambda alpha: torch.nn.Hardtanh(),
    "leaky_relu": torch.nn.LeakyReLU,
    "log_sigmoid": lambda alpha: torch.nn.LogSigmoid(),
    "mish": lambda alpha: torch.nn.Mish(),
    "relu": lambda alpha: torch.nn.ReLU(),
    "relu6": lambda alpha: torch.nn.ReLU6(),
    "selu": lambda alpha: torch.nn.SELU(),
    "sigmoid": lambda alpha: torch.nn.Sigmoid(),
    "silu": lambda alpha: torch.nn.SiLU(),
    "softplus": lambda alpha: torch.nn.Softplus(),
    "softsign": lambda alpha: torch.nn.Softsign(),
    "tanh": lambda alpha: torch.nn.Tanh(),
}


def _activation(layer: nn.Activation, fields: _Fields) -> torch.nn.Module:
    make = _ACTIVATIONS.get(layer.activation)
    return layers.Activation(layer.kind, fields) if make is None else make(layer.alpha)


def _prelu(layer: nn.PReLU, fields: _Fields) -> torch.nn.Module:
    return torch.nn.PReLU(layer.in_channels) if layer.axis == 1 else layers.PReLU(layer.kind, fields)


def _own(make: Any) -> _Make:
    return lambda layer, fields: make(layer.kind, fields)


_RANKS: Final = (1, 2, 3)
#: Kind -> function of its layer and fields that makes the module; adding a kind is one row.
MODULES: Final[dict[str, _Make]] = {
    "Dense": _dense,
    "Embedding": _embedding,
    **{f"Conv{n}D": _convolution(getattr(torch.nn, f"Conv{n}d"), getattr(layers, f"Conv{n}D")) for n in _RANKS},
    **{
        f"Conv{n}DTranspose": _transposed(
            getattr(torch.nn, f"ConvTranspose{n}d"), getattr(layers, f"Conv{n}DTranspose")
        )
        for n in _RANKS
    },
    **{f"{how}Pool{n}D": _pool(getattr(torch.nn, f"{how}Pool{n}d")) for how in ("Max", "Avg") for n in _RANKS},
    **{
        f"Global{how}Pool{n}D": _global_pool(getattr(torch.nn, f"Adaptive{how}Pool{n}d"))
        for how in ("Max", "Avg")
        for n in _RANKS
    },
    "AdaptiveAvgPool1D": _adaptive(torch.nn.AdaptiveAvgPool1d),
    "AdaptiveAvgPool2D": _adaptive(torch.nn.AdaptiveAvgPool2d),
    "BatchNorm": _batch_norm,
    "LayerNorm": _over_axes(torch.nn.LayerNorm),
    "RMSNorm": _over_axes(torch.nn.RMSNorm),
    "GroupNorm": _group_norm,
    "InstanceNorm": _own(layers.Norm),
    "RNN": _recurrent(sequences.RNN),
    "LSTM": _recurrent(sequences.LSTM),
    "GRU": _recurrent(sequences.GRU),
    "MultiHeadAttention": _own(sequences.MultiHeadAttention),
    "PositionalEmbedding": _own(layers.PositionalEmbedding),
    "Activation": _activation,
    "Softmax": lambda layer, fields: torch.nn.Softmax(layer.axis),
    "LogSoftmax": lambda layer, fields: torch.nn.LogSoftmax(layer.axis),
    "Dropout": lambda layer, fields: torch.nn.Dropout(layer.rate),
    "Identity": lambda layer, fields: torch.nn.Identity(),
    "PReLU": _prelu,
    "Flatten": _own(layers.Flatten),
    "Reshape": _own(layers.Reshape),
    "Permute": _own(layers.Permute),
    "Upsample": _upsample,
    "Pad": _own(layers.Pad),
}
