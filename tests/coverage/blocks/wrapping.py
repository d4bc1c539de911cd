"""What people wrap around networks: adapters, stubs, checkpoints, precision, copies, checks."""

# A table, one block a line; and code as it is found, which is not as ours is.
# ruff: noqa: E501

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from tests.coverage.constructs import IMAGE, SEQUENCE, Module, X, _x

_MASK = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])


class Averaged(nn.Module):
    """A student and the running mean of it, which is not run."""

    def __init__(self) -> None:
        super().__init__()
        self.student = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 4))
        self.teacher = copy.deepcopy(self.student)
        for each in self.teacher.parameters():
            each.requires_grad_(requires_grad=False)

    @torch.no_grad()
    def update(self) -> None:
        for one, other in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
            one.lerp_(other, 0.1)

    def forward(self, x: Any) -> Any:
        with torch.no_grad():
            wanted = self.teacher(x).softmax(-1)
        return {"logits": self.student(x), "wanted": wanted}


@dataclasses.dataclass
class Output:
    loss: Any = None
    logits: Any = None
    hidden: Any = None


class Dataclass(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Any) -> Any:
        hidden = self.body(x).relu()
        return Output(logits=self.head(hidden), hidden=(hidden,))


class Adapter(nn.Module):
    """LoRA around a layer that is frozen."""

    def __init__(self, layer: Any, rank: int = 2, alpha: float = 4.0) -> None:
        super().__init__()
        self.layer, self.scaling = layer.requires_grad_(requires_grad=False), alpha / rank
        self.lora_A = nn.Parameter(_x(rank, layer.in_features))
        self.lora_B = nn.Parameter(_x(layer.out_features, rank))
        self.drop = nn.Dropout(0.1)

    def forward(self, x: Any) -> Any:
        return self.layer(x) + (self.drop(x) @ self.lora_A.T @ self.lora_B.T) * self.scaling


class Stubs(nn.Module):
    """Quantisation stubs, which are nothing until the network is converted."""

    def __init__(self) -> None:
        super().__init__()
        self.quant, self.dequant = torch.ao.quantization.QuantStub(), torch.ao.quantization.DeQuantStub()
        self.layer, self.add = nn.Linear(8, 8), torch.ao.nn.quantized.FloatFunctional()

    def forward(self, x: Any) -> Any:
        x = self.quant(x)
        return self.dequant(self.add.add(self.layer(x), x))


class FakeQuantised(nn.Module):
    """Weights rounded to eight bits on the way, with a scale that is learned (LSQ)."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.scale = nn.Linear(8, 4), nn.Parameter(torch.tensor(0.05))

    def forward(self, x: Any) -> Any:
        w = torch.fake_quantize_per_tensor_affine(self.layer.weight, 0.02, 0, -128, 127)
        v = (w / self.scale).clamp(-8, 7)
        w = (v + (v.round() - v).detach()) * self.scale
        return F.linear(x, w, self.layer.bias)


class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(8, 8), nn.GELU()) for _ in range(3))
        self.rest = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU())

    def forward(self, x: Any) -> Any:
        for each in self.blocks:
            x = checkpoint(each, x, use_reentrant=False)
        return checkpoint_sequential(self.rest, 2, x, use_reentrant=False)


class Islands(nn.Module):
    """Half precision within, single precision where it counts."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.norm, self.two = nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 4)

    def forward(self, x: Any) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            x = self.one(x)
            with torch.autocast("cpu", enabled=False):
                x = self.norm(x.float())
            x = self.two(x)
            scores = torch.matmul(x, x.transpose(-1, -2)).softmax(-1)
        return scores.float(), x


class Lambda(nn.Module):
    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(x)


class Normed(nn.Module):
    """Spectral norm by hand, with its buffer updated in each forward."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(_x(4, 8))
        self.register_buffer("u", F.normalize(_x(4), dim=0))
        self.register_buffer("steps", torch.tensor(0))

    def forward(self, x: Any) -> Any:
        with torch.no_grad():
            v = F.normalize(self.weight.t() @ self.u, dim=0)
            self.u.copy_(F.normalize(self.weight @ v, dim=0))
            self.steps += 1
        return F.linear(x, self.weight / torch.dot(self.u, self.weight @ v))


class Ensemble(nn.Module):
    """Several networks and the mean of what they say, one of them in double precision."""

    def __init__(self) -> None:
        super().__init__()
        self.members = nn.ModuleList(nn.Sequential(nn.Linear(8, 4), nn.Softmax(dim=-1)) for _ in range(3))
        self.precise = nn.Linear(8, 4).double()

    def forward(self, x: Any) -> Any:
        every = torch.stack([each(x) for each in self.members])
        return every.mean(0) + self.precise(x.double()).float(), every.var(0, unbiased=False), every.mode(0)[0]


def _compiled() -> nn.Module:
    network = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 4))
    network[0] = torch.compile(network[0])
    return network


def _scripted() -> nn.Module:
    return nn.Sequential(torch.jit.script(nn.Sequential(nn.Linear(8, 8), nn.ReLU())), nn.Linear(8, 4))


class Checked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: Any) -> Any:
        x = self.one(x)
        if torch.isnan(x).any() or torch.isinf(x).any():
            raise ValueError("not a number")
        return self.two(x)


def _queued(self: Any, x: Any) -> Any:
    q = F.normalize(self.l(x), dim=1)
    k = F.normalize(self.l(x.flip(0)), dim=1)
    positive = torch.einsum("nc,nc->n", q, k).unsqueeze(-1)
    negative = torch.einsum("nc,ck->nk", q, self.queue.clone().detach())
    return torch.cat([positive, negative], dim=1) / 0.07, torch.zeros(x.shape[0], dtype=torch.long)


#: What makes a network, and an example.
WRAPPING: dict[str, tuple[Callable[[], nn.Module], tuple[torch.Tensor, ...]]] = {
    "a running mean of a network": (Averaged, (X,)),
    "a dataclass": (Dataclass, (X,)),
    "LoRA": (lambda: nn.Sequential(Adapter(nn.Linear(8, 8)), nn.ReLU(), Adapter(nn.Linear(8, 4))), (X,)),
    "quantisation stubs": (Stubs, (X,)),
    "weights rounded on the way": (FakeQuantised, (X,)),
    "checkpointed blocks": (Checkpointed, (X,)),
    "autocast islands": (Islands, (SEQUENCE,)),
    "a lambda": (lambda: nn.Sequential(nn.Linear(8, 8), Lambda(lambda x: x.view(x.size(0), 2, 4).mean(1)), nn.Linear(4, 2)), (X,)),
    "spectral norm by hand": (Normed, (X,)),
    "an ensemble": (Ensemble, (X,)),
    "a compiled part": (_compiled, (X,)),
    "a scripted part": (_scripted, (X,)),
    "a compiled network": (lambda: torch.compile(nn.Sequential(nn.Linear(8, 4), nn.ReLU())), (X,)),
    "a branch that saves work": (lambda: Module(lambda self, x, m: self.l(x) if m.all() else self.l(x) * m[..., None], l=nn.Linear(8, 4)), (SEQUENCE, _MASK)),
    "a check for what is no number": (Checked, (X,)),
    "orthogonal weights": (lambda: nn.Sequential(nn.utils.parametrizations.orthogonal(nn.Linear(8, 8), orthogonal_map="householder")), (X,)),
    "spectral norm of convolutions": (lambda: nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 4, 3)), nn.LeakyReLU(0.1), nn.utils.parametrizations.spectral_norm(nn.ConvTranspose2d(4, 3, 3))), (IMAGE,)),
    "SyncBatchNorm": (lambda: nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))), (IMAGE,)),
    "DataParallel": (lambda: nn.DataParallel(nn.Sequential(nn.Linear(8, 4), nn.ReLU())), (X,)),
    "an averaged model": (lambda: torch.optim.swa_utils.AveragedModel(nn.Sequential(nn.Linear(8, 4), nn.ReLU())), (X,)),
    "an empty list and an empty dict": (lambda: Module(lambda self, x: (self.l(x), [], {}), l=nn.Linear(8, 4), e=nn.ModuleList(), s=nn.Sequential()), (X,)),
    "an empty parameter": (lambda: Module(lambda self, x: torch.cat([x, self.e.expand(x.shape[0], -1)], 1), e=nn.Parameter(torch.zeros(1, 0))), (X,)),
    "an empty buffer that nothing uses": (lambda: Module(lambda self, x: self.l(x), l=nn.Linear(8, 4), queue=torch.zeros(0, 8)), (X,)),
    "a prompt of no words": (lambda: Module(lambda self, x: torch.cat([self.p[None].expand(x.shape[0], -1, -1), x], 1), p=nn.Parameter(torch.zeros(0, 8))), (SEQUENCE,)),
    "a queue in a buffer": (lambda: Module(_queued, l=nn.Linear(8, 4), queue=F.normalize(_x(4, 16), dim=0), at=torch.zeros(1, dtype=torch.long)), (X,)),
}  # fmt: skip
