"""What people do with modules: parts shared and nested, hooks, functions of whole networks, precisions, containers."""

# A table, one network a line; and code as it is found, which is not as ours is.
# ruff: noqa: E501

from __future__ import annotations

import collections
import contextlib
import functools
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.nn.utils import parametrizations, parametrize
from torch.utils.checkpoint import checkpoint

from tests.coverage.constructs import IMAGE, SEQUENCE, Module, X, _x

_KEPT = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])


class Universal(nn.Module):
    """One layer again and again, its norms of each depth apart (a universal transformer)."""

    def __init__(self, depth: int = 3) -> None:
        super().__init__()
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.norms = nn.ModuleList(nn.LayerNorm(8) for _ in range(depth))
        self.steps = nn.Embedding(depth, 8)

    def forward(self, x: Any, *, depth: int | None = None) -> Any:
        for at in range(depth or len(self.norms)):
            x = self.norms[at](self.block(x + self.steps.weight[at]))
        return x


class Tied(nn.Module):
    """An autoencoder whose way back is the way there, transposed, and a convolution of the same kind."""

    def __init__(self) -> None:
        super().__init__()
        self.enc = nn.ModuleList([nn.Linear(8, 6), nn.Linear(6, 4)])
        self.biases = nn.ParameterList([nn.Parameter(_x(6)), nn.Parameter(_x(8))])

    def forward(self, x: Any) -> Any:
        for layer in self.enc:
            x = torch.sigmoid(layer(x))
        code = x
        for layer, bias in zip(reversed(self.enc), self.biases, strict=True):
            x = F.linear(x, layer.weight.t(), bias)
        return code, x


class Nested(nn.Module):
    """ModuleDicts of ModuleLists of ParameterDicts, with names that are no identifiers."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleDict(collections.OrderedDict([
            ("head/a", nn.ModuleList([nn.Linear(8, 4), nn.ModuleDict({"0": nn.Linear(4, 4), "relu-1": nn.ReLU()})])),
            ("class", nn.ModuleList([nn.Linear(8, 2), nn.ModuleDict({"0": nn.Linear(2, 4)})])),
        ]))  # fmt: skip
        self.scales = nn.ModuleDict({"all": nn.ParameterDict({"a b": nn.Parameter(_x(4)), "for": nn.Parameter(_x(1))})})

    def forward(self, x: Any) -> Any:
        found = {}
        for name, (first, rest) in self.heads.items():
            y = first(x)
            for part in rest.values():
                y = part(y)
            found[name] = y * self.scales["all"]["a b"] + self.scales["all"]["for"]
        return found


class Hooked(nn.Module):
    """Features taken by hooks, inputs changed by hooks before, and outputs by hooks after, with and without names."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU())
        self.features: dict[str, Any] = {}
        self.body[2].register_forward_hook(functools.partial(self.keep, "early"))
        self.body[3].register_forward_pre_hook(lambda module, args: (args[0] * 0.5,))
        self.body[4].register_forward_hook(lambda module, args, kwargs, output: output + 1, with_kwargs=True)
        self.head = nn.Linear(8, 2)

    def keep(self, name: str, module: Any, args: Any, output: Any) -> None:
        self.features[name] = output

    def forward(self, x: Any) -> Any:
        late = self.body(x)
        pooled = [F.adaptive_avg_pool2d(each, 1).flatten(1) for each in (self.features["early"], late)]
        return self.head(torch.cat(pooled, 1))


class Functional(nn.Module):
    """Several copies of one network at once: their parameters stacked, vmap over them, functional_call within."""

    def __init__(self) -> None:
        super().__init__()
        self.template = nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3)).requires_grad_(requires_grad=False)
        self.stacked = nn.ParameterDict(
            {
                name.replace(".", "_"): nn.Parameter(torch.stack([each.detach() + 0.1 * at for at in range(3)]))
                for name, each in self.template.named_parameters()
            }
        )

    def forward(self, x: Any) -> Any:
        parameters = {name: self.stacked[name.replace(".", "_")] for name, _ in self.template.named_parameters()}
        every = torch.vmap(lambda p, y: torch.func.functional_call(self.template, p, (y,)), in_dims=(0, None))(
            parameters, x
        )
        return every.mean(0), every.std(0)


class Derived(nn.Module):
    """A forward that differentiates: the slope of an energy is the force (a gradient by torch.func)."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, x: Any) -> Any:
        return torch.func.vmap(torch.func.grad(lambda place: self.net(place).sum()))(x)


class Double(nn.Module):
    """Halves of a network in other precisions: float64 sums, bfloat16 products, halves kept as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = nn.Linear(8, 8).double(), nn.Linear(8, 8).bfloat16(), nn.LayerNorm(8).half()
        self.register_buffer("steps", torch.tensor([1, 2, 3], dtype=torch.int16))

    def forward(self, x: Any) -> Any:
        y = self.one(x.double())
        z = self.two(y.to(self.two.weight.dtype))
        return self.three(z.half()).float() + y.mean(), z, self.steps + 1


class Trained(nn.Module):
    """Buffers that a forward updates: running means, counters, a queue that goes round, in evaluation too."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 4)
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))
        self.register_buffer("queue", _x(4, 4))
        self.register_buffer("flag", torch.tensor(data=False))

    def forward(self, x: Any) -> Any:
        y = self.layer(x)
        self.mean.mul_(0.9).add_(y.mean(0), alpha=0.1)
        self.count += x.size(0)
        self.queue = torch.cat([y[:1].detach(), self.queue[:-1]])
        return y - self.mean, y @ self.queue.t()


class Pair(NamedTuple):
    one: Any
    two: Any


class Contained(nn.Module):
    """Dicts, named tuples, lists, None and numbers go between the parts, and come out."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.part = nn.Linear(8, 4), nn.Linear(8, 4), self.Part()

    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, batch: Any, *rest: Any, mask: Any = None, scale: float = 1.0, **options: Any) -> Any:
            y = self.layer(batch["pair"].one) * scale + batch["pair"].two
            y = y if mask is None else y * mask.unsqueeze(-1)
            return {"y": y, "rest": [each + 1 for each in rest], "options": options.get("extra"), "nothing": None}

    def forward(self, x: Any, mask: Any = None) -> Any:
        pair = Pair(self.one(x), self.two(x))
        found = self.part(
            {"pair": pair, "name": "x"}, pair.one, pair.two.sum(), mask=mask, scale=0.5, extra=pair.two * 2
        )
        return Pair(found["y"], (found["rest"], found["options"], found["nothing"]))


class Options(nn.Module):
    """Inputs that may be missing, with defaults, and a choice by a word."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.context = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Any, context: Any = None, mask: Any = None, mode: str = "sum", *, scale: float = 0.5) -> Any:
        y = self.layer(x)
        if context is not None:
            y = y + self.context(context)
        if mask is not None:
            y = y.masked_fill(~mask[..., None], 0.0)
        return {"sum": y.sum(1), "mean": y.mean(1)}[mode] * scale


class Lazy(nn.Module):
    """Layers that learn their sizes from the first batch."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
        self.net(IMAGE)

    def forward(self, x: Any) -> Any:
        return self.net(x)


class Symmetric(nn.Module):
    """A parametrisation of somebody's own."""

    def forward(self, x: Any) -> Any:
        return x.triu() + x.triu(1).transpose(-1, -2)

    def right_inverse(self, x: Any) -> Any:
        return x.triu()


class Clipped(nn.Module):
    def forward(self, x: Any) -> Any:
        return x.clamp(min=0)


class Dropped(nn.Module):
    """Every kind of dropout and drop path, which do nothing in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.Sequential(
            nn.Conv2d(3, 4, 3),
            nn.Dropout2d(0.3),
            nn.Mish(inplace=True),
            nn.AlphaDropout(0.2),
            nn.FeatureAlphaDropout(0.1),
        )
        self.keep = 0.8

    def forward(self, x: Any) -> Any:
        y = self.parts(x)
        if self.training and self.keep < 1:
            y = y.div(self.keep) * y.new_empty((y.shape[0],) + (1,) * (y.ndim - 1)).bernoulli_(self.keep)
        return F.dropout(y, 0.5, training=self.training) + F.dropout1d(y.flatten(2), training=self.training).unsqueeze(
            -1
        ).mean((2, 3), keepdim=True)


class Generic(nn.Module):
    """A decorator of precision, a context manager, a property, a static method, a class of constants."""

    SCALE: ClassVar = {"a": 2.0, "b": (1, 2)}

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)
        self._cache: dict[tuple[int, ...], Any] = {}

    @property
    def device(self) -> Any:
        return next(self.parameters()).device

    @staticmethod
    def split(x: Any, n: int) -> Any:
        return x.reshape(*x.shape[:-1], n, -1)

    @contextlib.contextmanager
    def scaled(self) -> Any:
        before = self.layer.bias
        yield before * self.SCALE["a"]

    @torch.inference_mode(mode=False)
    def forward(self, x: Any) -> Any:
        with self.scaled() as bias, torch.set_grad_enabled(mode=self.training):
            key = tuple(x.shape[1:])
            if key not in self._cache:
                self._cache[key] = torch.linspace(0, 1, x.shape[-1], device=self.device)
            y = F.linear(x, self.layer.weight, bias) + self._cache[key]
        return self.split(y, 2).amax(-2).to(dtype=torch.float32, device=self.device, non_blocking=True)


class Recomputed(nn.Module):
    """Checkpoints of functions of several arrays, with words among them, both ways that PyTorch has."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.mlp = (
            nn.MultiheadAttention(8, 2, batch_first=True),
            nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8)),
        )

    def attend(self, x: Any, mask: Any, *, scale: float = 1.0) -> Any:
        return self.attention(x, x, x, key_padding_mask=mask)[0] * scale

    def forward(self, x: Any, kept: Any) -> Any:
        x = x + checkpoint(self.attend, x, ~kept, scale=0.7, use_reentrant=False)
        return x + checkpoint(self.mlp, x, use_reentrant=True)


def _pruned() -> nn.Module:
    from torch.nn.utils import prune

    network = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
    prune.l1_unstructured(network[0], "weight", 0.4)
    prune.random_structured(network[2], "weight", amount=1, dim=0)
    return network


def _own() -> nn.Module:
    network = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
    parametrize.register_parametrization(network[0], "weight", Symmetric())
    parametrize.register_parametrization(network[2], "weight", Clipped())
    parametrize.register_parametrization(network[2], "bias", Clipped())
    return network


def _twice() -> nn.Module:
    layer = nn.Linear(8, 8)
    parametrizations.weight_norm(layer)
    return nn.Sequential(layer, nn.Tanh(), layer)


def _mixed() -> nn.Module:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5))
    network.eval()
    return network.to(memory_format=torch.channels_last)


#: What makes a network, and an example.
MODULES: dict[str, tuple[Callable[[], nn.Module], tuple[torch.Tensor, ...]]] = {
    "a universal transformer": (Universal, (SEQUENCE,)),
    "a tied autoencoder": (Tied, (X,)),
    "nested containers": (Nested, (X,)),
    "hooks of all kinds": (Hooked, (IMAGE,)),
    "copies of one network": (Functional, (X,)),
    "a forward that differentiates": (Derived, (_x(4, 3),)),
    "three precisions": (Double, (X,)),
    "a network of halves": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.SiLU(), nn.Flatten(), nn.Linear(784, 3)).half(), (IMAGE.half(),)),
    "a network of bfloat16": (lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).bfloat16(), (SEQUENCE.bfloat16(),)),
    "a network of doubles": (lambda: nn.GRU(8, 4, 2, batch_first=True, bidirectional=True).double(), (SEQUENCE.double(),)),
    "buffers that a forward updates": (Trained, (X,)),
    "containers between the parts": (Contained, (SEQUENCE, _KEPT)),
    "inputs that may be missing": (Options, (SEQUENCE, SEQUENCE + 1, _KEPT)),
    "layers that were lazy": (Lazy, (IMAGE,)),
    "parametrisations of one's own": (_own, (X,)),
    "orthogonal by an exponential": (lambda: nn.Sequential(parametrizations.orthogonal(nn.Linear(6, 6), orthogonal_map="matrix_exp")), (_x(2, 6),)),
    "orthogonal by Cayley": (lambda: nn.Sequential(parametrizations.orthogonal(nn.Linear(6, 6), orthogonal_map="cayley", use_trivialization=False)), (_x(2, 6),)),
    "orthogonal and wide": (lambda: nn.Sequential(parametrizations.orthogonal(nn.Conv2d(3, 4, 3))), (IMAGE,)),
    "weight norm of one layer twice": (_twice, (X,)),
    "spectral norm of an embedding": (lambda: Module(lambda self, i: self.e(i), e=parametrizations.spectral_norm(nn.Embedding(10, 4))), (torch.tensor([[1, 2], [3, 4]]),)),
    "pruned layers": (_pruned, (X,)),
    "every kind of dropout": (Dropped, (IMAGE,)),
    "Python around a layer": (Generic, (X,)),
    "checkpoints with words": (Recomputed, (SEQUENCE, _KEPT)),
    "channels last": (_mixed, (IMAGE,)),
}  # fmt: skip
