"""What people write in a forward, one construct a network: dtypes, masks, indices, hooks, caches, shapes."""

# A table, one construct a line.
# ruff: noqa: E501, RET504

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

from tests.coverage.judging import Network


class Function(torch.nn.Module):
    """A function between two layers."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.first, self.function = torch.nn.Linear(8, 8), function

    def forward(self, x: Any) -> Any:
        return self.function(self.first(x))


def _x(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


X, IMAGE, SEQUENCE = _x(2, 8), _x(2, 3, 16, 16), _x(2, 6, 8)
#: Constructs on (2, 8), behind a layer.
FLAT: dict[str, Callable[[Any], Any]] = {
    "divide by numpy.sqrt": lambda x: x / np.sqrt(8),
    "times numpy.float64": lambda x: x * np.float64(0.5),
    "numpy.float64 on the left": lambda x: np.sqrt(8) * x,
    "in place by numpy.sqrt": lambda x: x.mul_(np.sqrt(8)),
    "power of numpy.float64": lambda x: x.abs() ** np.float64(0.5),
    "numpy.float32": lambda x: x / np.float32(3),
    "tensor of float64 without axes": lambda x: x * torch.tensor(0.5, dtype=torch.float64),
    "tensor of int64 without axes": lambda x: x * torch.tensor(3),
    "where of two numbers": lambda x: torch.where(x > 0, 1.0, 0.0),
    "where of two integers": lambda x: torch.where(x > 0, 1, 0),
    "where of a number": lambda x: torch.where(x > 0, x, 0.0),
    "where of float64 without axes": lambda x: torch.where(x > 0, x, torch.tensor(0.0, dtype=torch.float64)),
    "masked_fill": lambda x: x.masked_fill(x > 0, -1e9).softmax(-1),
    "comparison as number": lambda x: (x > 0).float() + (x < 0).to(x.dtype),
    "integer division": lambda x: x.long() // 2,
    "integer true division": lambda x: x.long() / 2,
    "remainder": lambda x: (x * 10).long() % 3,
    "mean of integers": lambda x: (x * 10).long().float().mean(-1),
    "sum of truths": lambda x: (x > 0).sum(-1),
    "cumsum of integers": lambda x: torch.cumsum((x > 0).int(), -1),
    "half and back": lambda x: x.half().float(),
    "bfloat16 product": lambda x: (x.bfloat16() @ x.bfloat16().T[:, :2]).float() if x.shape[0] == 8 else x.bfloat16(),
    "float64 in the middle": lambda x: (x.double() * math.pi).float(),
    "floor": torch.floor, "ceil": torch.ceil, "round": torch.round, "sign": torch.sign, "frac": torch.frac,
    "clamp with both bounds": lambda x: x.clamp(-0.5, 0.5),
    "clamp with a tensor": lambda x: x.clamp(min=torch.zeros(8)),
    "nan_to_num": lambda x: torch.nan_to_num(x / 0),
    "isnan": lambda x: torch.isnan(x).float(),
    "log1p": lambda x: torch.log1p(x.abs()), "expm1": torch.expm1, "exp2": torch.exp2, "log2": lambda x: x.abs().log2(),
    "sinh": torch.sinh, "cosh": torch.cosh, "tan": torch.tan, "atan": torch.atan, "atan2": lambda x: torch.atan2(x, x + 1),
    "asinh": torch.asinh, "erfinv": lambda x: torch.erfinv(x.tanh()),
    "hypot": lambda x: torch.hypot(x, x + 1), "lerp": lambda x: torch.lerp(x, x * 2, 0.3),
    "addcmul": lambda x: torch.addcmul(x, x, x, value=0.5), "square": torch.square,
    "logaddexp": lambda x: torch.logaddexp(x, x * 2), "xlogy": lambda x: torch.xlogy(x.abs(), x.abs() + 1),
    "normalize": lambda x: F.normalize(x, dim=-1), "norm": lambda x: x.norm(dim=-1), "l1 norm": lambda x: x.norm(1, -1),
    "cosine similarity": lambda x: F.cosine_similarity(x, x * 2 + 1, dim=-1),
    "pairwise distance": lambda x: F.pairwise_distance(x, x * 2), "cdist": lambda x: torch.cdist(x[:, None], x[:, None]),
    "var": lambda x: x.var(-1), "std without correction": lambda x: x.std(-1, unbiased=False),
    "var_mean": lambda x: torch.var_mean(x, -1)[0], "logsumexp": lambda x: x.logsumexp(-1),
    "prod": lambda x: x.prod(-1), "cumprod": lambda x: x.cumprod(-1),
    "max with places": lambda x: x.max(-1)[0] + x.max(-1)[1], "min with places": lambda x: x.min(-1)[1],
    "median": lambda x: x.median(-1)[0], "amax": lambda x: x.amax(-1, keepdim=True), "aminmax": lambda x: x.aminmax(dim=-1)[0],
    "any and all": lambda x: (x > 0).any(-1).float() + (x > 0).all(-1).float(),
    "topk": lambda x: x.topk(3, -1)[0], "sort": lambda x: x.sort(-1)[0], "argsort": lambda x: x.argsort(-1),
    "kthvalue": lambda x: x.kthvalue(2, -1)[0], "searchsorted": lambda x: torch.bucketize(x, torch.arange(-2.0, 2.0)),
    "one_hot": lambda x: F.one_hot((x > 0).long(), 2), "gather": lambda x: x.gather(1, (x[:, :3] > 0).long()),
    "scatter": lambda x: torch.zeros_like(x).scatter(1, (x[:, :3] > 0).long(), 1.0),
    "scatter_add": lambda x: torch.zeros_like(x).scatter_add(1, (x > 0).long(), x),
    "index_add": lambda x: torch.zeros_like(x).index_add(1, torch.tensor([0, 2]), x[:, :2]),
    "index_fill": lambda x: x.index_fill(1, torch.tensor([0, 2]), 1.0),
    "index by a list": lambda x: x[:, [0, 2, 4]], "index by a tensor": lambda x: x[:, torch.tensor([0, -1])],
    "index by two tensors": lambda x: x.view(-1, 2, 4)[:, torch.tensor([0, 1]), torch.tensor([1, 2])],
    "index by a fixed mask": lambda x: x[:, torch.tensor([True, False] * 4)],
    "take_along_dim": lambda x: torch.take_along_dim(x, (x > 0).long(), 1),
    "assign a part": lambda x: _assigned(x), "assign by a mask": lambda x: _masked(x),
    "assign by a list": lambda x: _listed(x), "new_full": lambda x: x.new_full((x.shape[0], 2), 3.0),
    "zeros of the batch": lambda x: torch.cat([x, torch.zeros(x.shape[0], 2)], -1),
    "arange of the batch": lambda x: x + torch.arange(x.shape[0])[:, None],
    "size of the batch": lambda x: x / x.shape[0], "numel": lambda x: x.sum(-1) / x[0].numel(),
    "len": lambda x: x * len(x[0]), "eye": lambda x: x @ torch.eye(8), "linspace": lambda x: x + torch.linspace(0, 1, 8),
    "outer": lambda x: x[:, :, None] * x[:, None, :], "einsum": lambda x: torch.einsum("bi,bj->bij", x, x),
    "triu": lambda x: (x[:, :, None] * x[:, None, :]).triu(1), "tril of ones": lambda x: x @ torch.tril(torch.ones(8, 8)),
    "diagonal": lambda x: torch.diagonal(x[:, :, None] * x[:, None, :], dim1=1, dim2=2), "diag": lambda x: x @ torch.diag(torch.arange(8.0)),
    "diag_embed": torch.diag_embed, "trace of a product": lambda x: torch.einsum("bii->b", x[:, :, None] * x[:, None, :]),
    "flip": lambda x: x.flip(-1), "roll": lambda x: x.roll(2, -1), "repeat": lambda x: x.repeat(1, 2), "tile": lambda x: x.tile(2),
    "repeat_interleave": lambda x: x.repeat_interleave(2, -1), "expand": lambda x: x[:, None].expand(-1, 3, -1),
    "unfold": lambda x: x.unfold(1, 3, 2), "chunk": lambda x: x.chunk(2, -1)[1], "split": lambda x: x.split([3, 5], -1)[0],
    "tensor_split": lambda x: torch.tensor_split(x, 3, -1)[0], "unbind": lambda x: x.unbind(-1)[2], "narrow": lambda x: x.narrow(1, 2, 3),
    "movedim": lambda x: x.view(-1, 2, 4).movedim(1, 2), "swapaxes": lambda x: x.view(-1, 2, 4).swapaxes(1, 2),
    "view of strides": lambda x: x.view(x.size(0), -1, 2).transpose(1, 2).contiguous().view(x.size(0), -1),
    "unflatten": lambda x: x.unflatten(1, (2, 4)), "stack": lambda x: torch.stack([x, x * 2], 1), "hstack": lambda x: torch.hstack([x, x]),
    "meshgrid": lambda x: x.view(-1, 2, 4) + torch.meshgrid(torch.arange(2.0), torch.arange(4.0), indexing="ij")[0],
    "pad": lambda x: F.pad(x, (1, 2)), "negative pad": lambda x: F.pad(x, (-1, 2)), "reflect pad": lambda x: F.pad(x[:, None], (2, 1), mode="reflect"),
    "glu": F.glu, "softplus with beta": lambda x: F.softplus(x, beta=2), "hardshrink": F.hardshrink, "softshrink": F.softshrink,
    "tanhshrink": F.tanhshrink, "threshold": lambda x: F.threshold(x, 0.1, 20.0), "rrelu": F.rrelu, "hardtanh": lambda x: F.hardtanh(x, -2, 2),
    "gumbel without noise": lambda x: F.softmin(x, -1), "logsigmoid": F.logsigmoid, "elu": F.elu, "celu": F.celu, "mish": F.mish,
    "layer_norm as a function": lambda x: F.layer_norm(x, (8,)), "rms_norm as a function": lambda x: F.rms_norm(x, (8,)),
    "dropout in evaluation": lambda x: F.dropout(x, 0.5, False), "alpha_dropout": lambda x: F.alpha_dropout(x, 0.5, False),
    "no_grad": lambda x: _without_gradient(x), "detach": lambda x: x.detach() + x, "in place chain": lambda x: x.relu_().add_(1).mul_(2),
    "in place through a view": lambda x: _through_a_view(x), "isinstance of a tensor": lambda x: x if isinstance(x, torch.Tensor) else x * 2,
    "branch on a shape": lambda x: x if x.shape[-1] == 8 else x * 2, "loop over an axis": lambda x: functools.reduce(torch.maximum, x.unbind(-1)),
    "named result": lambda x: {"a": x, "b": (x * 2, [x * 3])}, "None among results": lambda x: (x, None), "number among results": lambda x: (x, 3),
    "bitwise of truths": lambda x: ((x > 0) & (x < 1) | ~(x > -1)).float(), "xor": lambda x: ((x > 0) ^ (x < 1)).float(),
    "autocast": lambda x: _autocast(x), "complex numbers": lambda x: torch.view_as_real(torch.polar(x.abs(), x))[..., 0],
    "fft": lambda x: torch.fft.rfft(x).abs(), "deepcopy": lambda x: x.clone().contiguous(), "type": lambda x: x.type(torch.float64).type_as(x),
    "item of a constant": lambda x: x * torch.tensor(3.0).item(), "tolist of a constant": lambda x: x * torch.tensor([3.0]).tolist()[0],
    "numpy of a constant": lambda x: x * float(np.asarray([2.0])[0]), "lambda of math": lambda x: x * math.sqrt(x.shape[-1]),
    "bmm": lambda x: torch.bmm(x[:, None], x[:, :, None]), "baddbmm": lambda x: torch.baddbmm(x[:, :1, None], x[:, None], x[:, :, None]),
    "addmm": lambda x: torch.addmm(torch.ones(8), x, torch.ones(8, 8)), "matmul of one axis": lambda x: x @ torch.ones(8),
    "tensordot": lambda x: torch.tensordot(x, torch.ones(8, 3), dims=1), "kron": lambda x: torch.kron(torch.ones(1, 2), x),
    "bilinear": lambda x: F.bilinear(x, x, torch.ones(3, 8, 8)), "linear as a function": lambda x: F.linear(x, torch.ones(4, 8)),
    "embedding as a function": lambda x: F.embedding((x > 0).long(), torch.arange(8.0).view(2, 4)),
    "attention as a function": lambda x: F.scaled_dot_product_attention(x.view(-1, 1, 2, 4), x.view(-1, 1, 2, 4), x.view(-1, 1, 2, 4), is_causal=True),
    "weights of attention": lambda x: (x.view(-1, 2, 4) @ x.view(-1, 2, 4).transpose(1, 2) / 2).softmax(-1),
}  # fmt: skip


def _assigned(x: Any) -> Any:
    found = torch.zeros(x.shape[0], 8)
    found[:, 1:4] = x[:, :3]
    found[:, 0] = 1
    found[:, ::2] += 1
    return found


def _masked(x: Any) -> Any:
    found = x.clone()
    found[found < 0] = 0
    return found


def _listed(x: Any) -> Any:
    found = x.clone()
    found[:, [0, 2]] = 5
    return found


def _through_a_view(x: Any) -> Any:
    found = x * 1
    part = found[:, :4]
    part.mul_(2)
    return found


def _without_gradient(x: Any) -> Any:
    with torch.no_grad():
        return x * 2


def _autocast(x: Any) -> Any:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = x @ torch.ones(8, 3)
    return found


class Module(torch.nn.Module):
    """A module of parts and a function of it."""

    def __init__(self, function: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self.function = function
        for name, each in parts.items():
            if isinstance(each, torch.Tensor) and not isinstance(each, torch.nn.Parameter):
                self.register_buffer(name, each, persistent=not name.startswith("temporary"))
            else:
                setattr(self, name, each)

    def forward(self, *inputs: Any) -> Any:
        return self.function(self, *inputs)


class SubLinear(torch.nn.Linear):
    """A subclass that changes nothing."""


class Same(torch.nn.Conv2d):
    """Padding as TensorFlow has it."""

    def forward(self, x: Any) -> Any:
        side = x.shape[-1]
        whole = max((math.ceil(side / 2) - 1) * 2 + 3 - side, 0)
        x = F.pad(x, (whole // 2, whole - whole // 2) * 2)
        return F.conv2d(x, self.weight, self.bias, 2, 0)


class Standardised(torch.nn.Conv2d):
    """Weights that are normalised at each call."""

    def forward(self, x: Any) -> Any:
        weight = (self.weight - self.weight.mean((1, 2, 3), keepdim=True)) / self.weight.std((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight, self.bias)


class Acting(torch.nn.BatchNorm2d):
    """Normalisation and activation in one."""

    def forward(self, x: Any) -> Any:
        return super().forward(x).relu()


class ChannelsLast(torch.nn.LayerNorm):
    """Normalisation of the channels of an image."""

    def forward(self, x: Any) -> Any:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Caching(torch.nn.Module):
    """Keeps something for the next time."""

    def __init__(self) -> None:
        super().__init__()
        self.bias, self.cache = torch.nn.Parameter(torch.ones(8)), {}

    def forward(self, x: Any) -> Any:
        if "bias" not in self.cache:
            self.cache["bias"] = self.bias * 2
        return x + self.cache["bias"]


class Counting(torch.nn.Module):
    """Counts its calls in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.linear = torch.nn.Linear(8, 8)

    def forward(self, x: Any) -> Any:
        self.calls += 1
        return self.linear(x)


def _decorated(forward: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(forward)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        kwargs.setdefault("flag", False)
        return forward(self, *args, **kwargs)

    return wrapper


class Decorated(torch.nn.Module):
    """A decorator that adds an argument."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(8, 8)

    @_decorated
    def forward(self, x: Any, flag: Any = None) -> Any:
        return self.linear(x) if flag is not None else x


def _hooked() -> torch.nn.Module:
    network = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Tanh())
    network[0].register_forward_hook(lambda module, inputs, output: output * 2)
    return network


def _tied() -> torch.nn.Module:
    network = Module(lambda self, x: self.two(self.one(x)), one=torch.nn.Linear(8, 8), two=torch.nn.Linear(8, 8))
    network.two.weight = network.one.weight
    return network


def _recurrent(kind: Any, **more: Any) -> torch.nn.Module:
    return Module(lambda self, x: self.layer(x)[0], layer=kind(8, 4, batch_first=True, **more))


def _causal(self: Any, x: Any) -> Any:
    length = x.shape[1]
    mask = torch.triu(torch.ones(length, length, dtype=torch.bool), 1)
    return (self.linear(x) @ x.transpose(1, 2)).masked_fill(mask, -1e9).softmax(-1)


#: Modules, each with what makes it and an example.
MODULES: dict[str, tuple[Callable[[], torch.nn.Module], tuple[torch.Tensor, ...]]] = {
    "a subclass of Linear": (lambda: torch.nn.Sequential(SubLinear(8, 4)), (X,)),
    "same padding": (lambda: torch.nn.Sequential(Same(3, 4, 3)), (IMAGE,)),
    "standardised weights": (lambda: torch.nn.Sequential(Standardised(3, 4, 3)), (IMAGE,)),
    "normalisation and activation in one": (lambda: torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), Acting(4)), (IMAGE,)),
    "LayerNorm of channels": (lambda: torch.nn.Sequential(ChannelsLast(3), torch.nn.Conv2d(3, 4, 3)), (IMAGE,)),
    "a cache": (lambda: torch.nn.Sequential(Caching(), torch.nn.Linear(8, 8)), (X,)),
    "a counter in a buffer": (Counting, (X,)),
    "a decorator": (lambda: torch.nn.Sequential(Decorated()), (X,)),
    "a forward hook": (_hooked, (X,)),
    "tied weights": (_tied, (X,)),
    "weight_norm": (lambda: torch.nn.Sequential(torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(8, 4))), (X,)),
    "old weight_norm": (lambda: torch.nn.Sequential(torch.nn.utils.weight_norm(torch.nn.Linear(8, 4))), (X,)),
    "weight_norm of a convolution": (lambda: torch.nn.Sequential(torch.nn.utils.parametrizations.weight_norm(torch.nn.Conv1d(6, 4, 3))), (SEQUENCE,)),
    "spectral_norm": (lambda: torch.nn.Sequential(torch.nn.utils.parametrizations.spectral_norm(torch.nn.Linear(8, 4))), (X,)),
    "LSTM": (lambda: _recurrent(torch.nn.LSTM, num_layers=2, bidirectional=True), (SEQUENCE,)),
    "GRU": (lambda: _recurrent(torch.nn.GRU), (SEQUENCE,)),
    "RNN": (lambda: _recurrent(torch.nn.RNN, nonlinearity="relu"), (SEQUENCE,)),
    "LSTM with projections": (lambda: _recurrent(torch.nn.LSTM, proj_size=2), (SEQUENCE,)),
    "GRU with its state": (lambda: Module(lambda self, x, h: self.g(x, h), g=torch.nn.GRU(8, 4, batch_first=True)), (SEQUENCE, _x(1, 2, 4))),
    "LSTMCell in a loop": (lambda: Module(_cells, cell=torch.nn.LSTMCell(8, 4)), (SEQUENCE,)),
    "GRUCell": (lambda: Module(lambda self, x: self.cell(x), cell=torch.nn.GRUCell(8, 4)), (X,)),
    "MultiheadAttention": (lambda: Module(lambda self, x: self.a(x, x, x)[0], a=torch.nn.MultiheadAttention(8, 2, batch_first=True)), (SEQUENCE,)),
    "weights of MultiheadAttention": (lambda: Module(lambda self, x: self.a(x, x, x), a=torch.nn.MultiheadAttention(8, 2, batch_first=True)), (SEQUENCE,)),
    "MultiheadAttention with a mask": (
        lambda: Module(lambda self, x, m: self.a(x, x, x, key_padding_mask=m, need_weights=False)[0], a=torch.nn.MultiheadAttention(8, 2, batch_first=True)),
        (SEQUENCE, torch.tensor([[False] * 6, [False] * 4 + [True] * 2])),
    ),
    "attention to nothing": (
        lambda: Module(lambda self, x, m: F.scaled_dot_product_attention(x, x, x, attn_mask=m)),
        (_x(1, 2, 3, 4), torch.tensor([[[[1, 0, 1], [0, 0, 0], [1, 1, 1]]]]).bool()),
    ),
    "attention with kdim": (
        lambda: Module(lambda self, x, y: self.a(x, y, y)[0], a=torch.nn.MultiheadAttention(8, 2, kdim=4, vdim=4, batch_first=True)),
        (SEQUENCE, _x(2, 5, 4)),
    ),
    "TransformerEncoder": (lambda: torch.nn.TransformerEncoder(torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2), (SEQUENCE,)),
    "TransformerDecoder": (lambda: torch.nn.TransformerDecoder(torch.nn.TransformerDecoderLayer(8, 2, 16, batch_first=True), 2), (SEQUENCE, SEQUENCE)),
    "Transformer": (lambda: torch.nn.Transformer(8, 2, 1, 1, 16, batch_first=True), (SEQUENCE, SEQUENCE)),
    "a causal mask": (lambda: Module(_causal, linear=torch.nn.Linear(8, 8)), (_x(2, 16, 8),)),
    "a buffer of float64 without axes": (lambda: Module(lambda self, x: self.l(x * self.t), l=torch.nn.Linear(8, 2), t=torch.tensor(0.5, dtype=torch.float64)), (X,)),
    "a buffer that is not kept": (lambda: Module(lambda self, x: x + self.temporary, temporary=torch.arange(8.0)), (X,)),
    "a large buffer that is not kept": (lambda: Module(lambda self, x: x @ self.temporary, temporary=_x(8, 16)), (X,)),
    "a parameter list": (lambda: Module(lambda self, x: x * self.p[0] + self.p[1], p=torch.nn.ParameterList([torch.ones(8), torch.zeros(8)])), (X,)),
    "a parameter dict": (lambda: Module(lambda self, x: x * self.p["a"], p=torch.nn.ParameterDict({"a": torch.ones(8)})), (X,)),
    "a module dict": (lambda: Module(lambda self, x: self.m["a"](x), m=torch.nn.ModuleDict({"a": torch.nn.Linear(8, 2)})), (X,)),
    "forward called by name": (lambda: Module(lambda self, x: self.l.forward(x), l=torch.nn.Linear(8, 2)), (X,)),
    "one block twice": (lambda: Module(lambda self, x: self.b(self.b(x)), b=torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU())), (X,)),
    "one block in two ways": (lambda: Module(lambda self, x: self.b(x).sum(-1) + self.b(x[:, :, None].transpose(1, 2)).sum(-1)[:, 0], b=torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU())), (X,)),
    "EmbeddingBag": (lambda: Module(lambda self, i: self.e(i), e=torch.nn.EmbeddingBag(10, 4)), (torch.tensor([[1, 2], [3, 4]]),)),
    "Embedding and a mask of it": (lambda: Module(lambda self, i: self.e(i) * (i != 0)[..., None], e=torch.nn.Embedding(10, 4, padding_idx=0)), (torch.tensor([[1, 2], [3, 0]]),)),
    "a scalar time step": (lambda: Module(lambda self, x, t: x + self.e(t), e=torch.nn.Embedding(10, 8)), (X, torch.tensor(3))),
    "a temperature": (lambda: Module(lambda self, x, t: (self.l(x) / t).softmax(-1), l=torch.nn.Linear(8, 2)), (X, torch.tensor(2.0))),
    "an adjacency matrix": (lambda: Module(lambda self, x, a: a @ self.l(x), l=torch.nn.Linear(8, 4)), (_x(5, 8), _x(5, 5))),
    "conv3d as a function": (lambda: Module(lambda self, x: F.conv3d(x, self.w), w=torch.nn.Parameter(_x(2, 1, 2, 2, 2))), (_x(2, 1, 4, 4, 4),)),
    "circular convolution": (lambda: torch.nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), (IMAGE,)),
    "dilated max pooling": (lambda: torch.nn.MaxPool2d(2, 1, dilation=2), (IMAGE,)),
    "max pooling with places": (lambda: Module(lambda self, x: self.u(*self.p(x)), p=torch.nn.MaxPool2d(2, return_indices=True), u=torch.nn.MaxUnpool2d(2)), (IMAGE,)),
    "adaptive max pooling": (lambda: torch.nn.AdaptiveMaxPool2d(5), (IMAGE,)),
    "LPPool": (lambda: torch.nn.LPPool2d(2, 2), (IMAGE,)),
    "bicubic": (lambda: torch.nn.Upsample(scale_factor=2, mode="bicubic"), (IMAGE,)),
    "upsampling by a half": (lambda: torch.nn.Upsample(scale_factor=1.5, mode="bilinear"), (IMAGE,)),
    "interpolation to another's size": (lambda: Module(lambda self, x: F.interpolate(self.c(x), size=x.shape[-2:], mode="bilinear"), c=torch.nn.Conv2d(3, 4, 3, 2)), (IMAGE,)),
    "PixelShuffle": (lambda: torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.PixelShuffle(2)), (IMAGE,)),
    "ChannelShuffle": (lambda: torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ChannelShuffle(2)), (IMAGE,)),
    "grid_sample": (lambda: Module(lambda self, x: F.grid_sample(x, F.affine_grid(torch.eye(2, 3)[None].expand(x.shape[0], 2, 3), list(x.shape), align_corners=False), align_corners=False)), (IMAGE,)),
    "Fold and Unfold": (lambda: Module(lambda self, x: F.unfold(x, 2, stride=2)), (IMAGE,)),
    "LocalResponseNorm": (lambda: torch.nn.LocalResponseNorm(2), (IMAGE,)),
    "InstanceNorm": (lambda: torch.nn.InstanceNorm2d(3, affine=True), (IMAGE,)),
    "GroupNorm": (lambda: torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.GroupNorm(2, 4)), (IMAGE,)),
    "BatchNorm without statistics": (lambda: torch.nn.BatchNorm2d(3, track_running_stats=False), (IMAGE,)),
    "ConvTranspose": (lambda: torch.nn.ConvTranspose2d(3, 4, 3, 2, output_padding=1), (IMAGE,)),
    "Bilinear": (lambda: Module(lambda self, x: self.b(x, x), b=torch.nn.Bilinear(8, 8, 3)), (X,)),
    "PReLU": (lambda: torch.nn.PReLU(8), (X,)),
    "squeeze and excitation": (lambda: Module(lambda self, x: x * self.g(x.mean((2, 3), keepdim=True)), g=torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1), torch.nn.ReLU(), torch.nn.Conv2d(2, 3, 1), torch.nn.Sigmoid())), (IMAGE,)),
    "stochastic depth": (lambda: Module(lambda self, x: x + (self.l(x) if not self.training else self.l(x) * torch.rand(1)), l=torch.nn.Linear(8, 8)), (X,)),
    "float16 parameters": (lambda: torch.nn.Linear(8, 4).bfloat16(), (X.bfloat16(),)),
    "float64 parameters": (lambda: torch.nn.Linear(8, 4).double(), (X.double(),)),
}  # fmt: skip


def _cells(self: Any, x: Any) -> Any:
    states = None
    for step in range(x.shape[1]):
        states = self.cell(x[:, step], states)
    return states[0]


def constructs() -> Iterator[Network]:
    """All constructs."""
    for name, function in FLAT.items():
        yield Network("constructs", name, lambda function=function: (Function(function), (X,)))
    for name, (make, example) in MODULES.items():
        yield Network("constructs", name, lambda make=make, example=example: (make(), example))
