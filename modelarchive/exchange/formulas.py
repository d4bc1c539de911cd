"""Kinds and activations as formulas in ops of the vocabulary, for systems that have no word of their own for them.

A formula works on the context of a row, and every op in it is lowered by that system's own row.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Generic, Protocol, TypeVar

import numpy as np

from modelarchive.exchange import walking
from modelarchive.exchange.axes import several
from modelarchive.exchange.walking import Value
from modelarchive.names import joined
from modelarchive.nn import Parameter
from modelarchive.nn.parameter import dtype_name
from modelarchive.ops import OPS
from modelarchive.ops.activation import ALPHAS
from modelarchive.ops.attention import sinusoids
from modelarchive.ops.rotary import Rotary
from modelarchive.ops.shapes import normal_axes

_V = TypeVar("_V", bound=Value)


@dataclass(frozen=True)
class Context(walking.Context[_V], ABC):
    """What a row works on that may be a formula."""

    #: Whether arrays that a formula makes are stored as parameters are; else they are computed, for they would be
    #: written into the description of the network.
    has_tables: ClassVar[bool] = True

    def lower(self, word: str, *inputs: _V, **arguments: Any) -> _V:
        """The one result of an op of the vocabulary, by its row; arguments that are not given have their defaults."""
        return self.lower_all(word, *inputs, **arguments)[0]

    def lower_all(self, word: str, *inputs: _V, **arguments: Any) -> Sequence[_V]:
        """All results of an op of the vocabulary, by its row."""
        return self.walker.op(word, self.path, list(inputs), {**OPS[word].defaults, **arguments})

    def constant(self, value: float | np.ndarray, role: str = "") -> _V:
        """A number, or an array, of the formula; `role` is the end of its name."""
        return self.walker.constant(value, joined(self.path, role) if role else self.path)

    def weight(self, parameter: Parameter) -> _V:
        """A parameter, in the dtype in which the results are computed."""
        return self.walker.parameter(parameter, self.path)

    @abstractmethod
    def waves(self, x: _V, axis: int, waves: Waves) -> _V:
        """Sines of positions, as many as an axis of `x` has elements: ``(length, [1,] waves)`` in the dtype of `x`."""


@dataclass(frozen=True)
class Waves:
    """Sines that differ in how fast and from where they go.

    Attributes:
        speeds: How far each turns from position to position.
        phases: Where each is at position 0: the cosine is a quarter ahead.
        first: The first position.
        new_axes: Axes of size 1 behind that of the positions.
    """

    speeds: np.ndarray
    phases: np.ndarray
    first: int = 0
    new_axes: int = 0


# ------------------------------------------------------------------ activations


class _Activate(Protocol[_V]):
    """An activation function by its name, as a system has it or as a formula."""

    def __call__(self, name: str, x: _V, alpha: float | None = None) -> _V:
        """The function of `x`."""


def _gelu_tanh(context: Context[_V], activate: _Activate[_V], x: _V) -> _V:
    cube = context.lower("multiply", context.lower("multiply", x, x), x)
    inner = context.lower("add", x, context.lower("multiply", cube, context.constant(0.044715)))
    bent = activate("tanh", context.lower("multiply", inner, context.constant(float(np.sqrt(2 / np.pi)))))
    half = context.lower("multiply", x, context.constant(0.5))
    return context.lower("multiply", half, context.lower("add", bent, context.constant(1.0)))


def _quick_gelu(context: Context[_V], activate: _Activate[_V], x: _V) -> _V:
    return context.lower("multiply", x, activate("sigmoid", context.lower("multiply", x, context.constant(1.702))))


def _log_sigmoid(context: Context[_V], activate: _Activate[_V], x: _V) -> _V:
    return context.lower("negative", activate("softplus", context.lower("negative", x)))


def _times(*names: str) -> Callable[[Context[_V], _Activate[_V], _V], _V]:
    """The input times functions of it, one after the other."""

    def formula(context: Context[_V], activate: _Activate[_V], x: _V) -> _V:
        bent = x
        for name in names:
            bent = activate(name, bent)
        return context.lower("multiply", x, bent)

    return formula


_ACTIVATIONS: Final[dict[str, Callable[[Any, Any, Any], Any]]] = {
    "gelu_tanh": _gelu_tanh,
    "quick_gelu": _quick_gelu,
    "log_sigmoid": _log_sigmoid,
    "silu": _times("sigmoid"),
    "hard_swish": _times("hard_sigmoid"),
    "mish": _times("softplus", "tanh"),
}


def activation(context: Context[_V], activate: _Activate[_V], name: str, x: _V, alpha: float | None = None) -> _V:
    """An activation function as a formula of others.

    Args:
        context: What its ops are lowered at.
        activate: The functions that it is made of.
        name: Which; a system has a word of its own for those that are not made of others.
        x: What it is applied to.
        alpha: Its parameter; None: the default.
    """
    if name == "celu":
        steep = float(ALPHAS[name] if alpha is None else alpha)
        bent = activate("elu", context.lower("divide", x, context.constant(steep)), 1.0)
        return context.lower("multiply", bent, context.constant(steep))
    found: _V = _ACTIVATIONS[name](context, activate, x)
    return found


# ------------------------------------------------------------------ normalisation


def rms_norm(context: Context[_V], layer: Any, inputs: Sequence[_V]) -> _V:
    """RMSNorm, over any axes."""
    return _scaled(context, layer, _by_root(context, layer, inputs[0]), inputs[0])


def layer_norm(context: Context[_V], layer: Any, inputs: Sequence[_V]) -> _V:
    """LayerNorm, over any axes."""
    mean = context.lower("mean", inputs[0], axis=several(layer.axis), keepdims=True)
    return _scaled(context, layer, _by_root(context, layer, context.lower("subtract", inputs[0], mean)), inputs[0])


def _by_root(context: Context[_V], layer: Any, x: _V) -> _V:
    """An array by the root of its mean square."""
    mean = context.lower("mean", context.lower("multiply", x, x), axis=several(layer.axis), keepdims=True)
    root = context.lower("sqrt", context.lower("add", mean, context.constant(float(layer.epsilon))))
    return context.lower("divide", x, root)


def _scaled(context: Context[_V], layer: Any, x: _V, given: _V) -> _V:
    """Times the weight and plus the bias of the axes that are normalised, where the layer has them."""
    used = (layer.scale, "multiply", "weight"), (getattr(layer, "center", False), "add", "bias")
    for has, op, name in used:
        if has:
            x = context.lower(op, x, _along(context, context.weight(layer.parameters[name]), layer.axis, given))
    return x


def _along(context: Context[_V], parameter: _V, axis: Any, x: _V) -> _V:
    """A parameter with its axes where those of `x` are that it belongs to, and between and behind them new ones."""
    if several(axis) == [-1]:
        return parameter
    axes = normal_axes(axis, x.rank)
    if list(axes) != sorted(axes):
        parameter = context.lower("transpose", parameter, axes=np.argsort(axes).tolist())
    new = [each - min(axes) for each in range(min(axes), x.rank) if each not in axes]
    return context.lower("expand_dims", parameter, axis=new) if new else parameter


#: Kind -> its formula, for every system that has no row for it: a row wins.
FORMULAS: Final[dict[str, Callable[[Any, Any, Any], Any]]] = {"LayerNorm": layer_norm, "RMSNorm": rms_norm}


# ------------------------------------------------------------------ positions


def sines(context: Context[_V], positions: _V, waves: Waves, like: _V) -> _V:
    """What :meth:`Context.waves` gives, for positions ``(length,)`` in float64.

    In float32 the angles of late positions would be off by more than results may be.
    """
    column = context.lower("expand_dims", positions, axis=list(range(1, 2 + waves.new_axes)))
    turns = context.lower("multiply", column, context.constant(waves.speeds.astype(np.float64), "speeds"))
    turns = context.lower("add", turns, context.constant(waves.phases.astype(np.float64), "phases"))
    found, dtype = context.lower("sin", turns), dtype_name(like.known.array_dtype)
    return found if dtype == "float64" else context.lower("cast", found, dtype=dtype)


def add_sinusoids(context: Context[_V], layer: Any, x: _V, units: int) -> _V:
    """The input plus the waves of a sinusoidal PositionalEmbedding."""
    length = x.sizes[-2]
    if length is not None and context.has_tables:
        table = sinusoids(layer.offset + length, units, layer.base)[layer.offset :]
        return context.lower("add", x, context.constant(table.astype(x.known.array_dtype), "waves"))
    each = np.arange(units)
    waves = Waves(layer.base ** (-(each - each % 2) / units), each % 2 * np.pi / 2, layer.offset)
    return context.lower("add", x, context.waves(x, x.rank - 2, waves))


# ------------------------------------------------------------------ attention


class Attention(ABC, Generic[_V]):
    """MultiHeadAttention as matrix products, for any length.

    A system says in its own words how scores become shares, and may have better ones for the projections.

    Args:
        context: What its ops are lowered at.
        layer: The layer.
    """

    def __init__(self, context: Context[_V], layer: Any) -> None:
        self.context = context
        self.layer = layer
        #: How many heads queries, keys and values have.
        self.heads = (layer.num_heads, layer.num_kv_heads, layer.num_kv_heads)

    @abstractmethod
    def shares(self, scores: _V, query: _V, key: _V, mask: _V | None) -> _V:
        """The softmax of the scores ``(batch, heads, queries, keys)`` that count; nothing where none does.

        Args:
            scores: The scores.
            query: What the queries are made of, ``(batch, queries, units)``.
            key: What the keys are made of.
            mask: True for those that count, or what is added to the scores, with up to four axes.
        """

    def affine(self, x: _V, weight: _V, bias: _V | None) -> _V:
        """The product with a transposed matrix, and the bias."""
        product = self.context.lower("matmul", x, self.context.lower("transpose", weight, axes=[1, 0]))
        return product if bias is None else self.context.lower("add", product, bias)

    def dense(self, name: str, x: _V) -> _V:
        """One of the layer's projections."""
        child: Any = self.layer.children[name]
        bias = self.context.weight(child.bias) if child.use_bias else None
        return self.affine(x, self.context.weight(child.weight), bias)

    def packed(self, inputs: Sequence[_V]) -> Sequence[_V]:
        """The projections of a layer that has those of queries, keys and values in one matrix."""
        layer, context = self.layer, self.context
        rows = [number * layer.head_dim for number in self.heads]
        weight = context.weight(layer.in_proj_weight)
        bias = context.weight(layer.in_proj_bias) if layer.use_bias[0] else None
        if all(each.tensor is inputs[0].tensor for each in inputs):
            return context.lower_all("split", self.affine(inputs[0], weight, bias), sizes=rows, axis=-1)
        weights = context.lower_all("split", weight, sizes=rows, axis=0)
        biases = [None] * 3 if bias is None else context.lower_all("split", bias, sizes=rows, axis=0)
        return [self.affine(*each) for each in zip(inputs, weights, biases, strict=True)]

    def scores(self, q: _V, k: _V) -> _V:
        """``(batch, heads, queries, keys)`` for queries and keys ``(batch, length, heads, head_dim)``."""
        lower = self.context.lower
        q = lower("multiply", lower("transpose", q, axes=_HEADS_FIRST), self.context.constant(float(self.layer.scale)))
        return lower("matmul", q, lower("transpose", k, axes=[0, 2, 3, 1]))

    def mixed(self, shares: _V, v: _V) -> _V:
        """The values by their shares, ``(batch, queries, heads, head_dim)``."""
        lower = self.context.lower
        return lower("transpose", lower("matmul", shares, lower("transpose", v, axes=_HEADS_FIRST)), axes=_HEADS_FIRST)

    def dropped(self, shares: _V) -> _V:
        """The shares, some of them dropped in training: left out where a system does not train."""
        return shares

    def lower(self, inputs: Sequence[_V]) -> _V:
        """The result for a query, a key, a value and a mask, of which those that are left out are those before."""
        layer, lower = self.layer, self.context.lower
        arrays = [*inputs[:3], *[inputs[:3][-1]] * (3 - len(inputs))]
        if layer.packed:
            projected = self.packed(arrays)
        else:
            projected = [self.dense(name, x) for name, x in zip(("q_proj", "k_proj", "v_proj"), arrays, strict=True)]
        # (batch, length, heads, head_dim)
        q, k, v = (
            lower("reshape", each, shape=[None, None, heads, layer.head_dim])
            for each, heads in zip(projected, self.heads, strict=True)
        )
        if layer.rotary is not None:
            q, k = (_turned(self.context, layer, each) for each in (q, k))
        if layer.num_heads != layer.num_kv_heads:
            group = layer.num_heads // layer.num_kv_heads
            whose = self.context.constant(np.arange(layer.num_heads) // group, "heads")
            k, v = (lower("take", each, whose, axis=2) for each in (k, v))
        scores = self.scores(q, k)
        shares = self.dropped(self.shares(scores, arrays[0], arrays[1], inputs[3] if len(inputs) > 3 else None))
        found = lower("reshape", self.mixed(shares, v), shape=[None, None, layer.num_heads * layer.head_dim])
        return self.dense("out_proj", found)


#: Heads in the place of positions, and back.
_HEADS_FIRST: Final = [0, 2, 1, 3]


def _turned(context: Context[_V], layer: Any, x: _V) -> _V:
    """Pairs of elements of ``(batch, length, heads, head_dim)`` turned by their position."""
    rotary = Rotary.from_config(layer.rotary, layer.head_dim)
    lower, dim, half, length = context.lower, rotary.dim, rotary.dim // 2, x.sizes[1]
    if length is not None and context.has_tables:
        angles = rotary.angles(length)[:, None]
        dtype = x.known.array_dtype
        cosine, sine = (context.constant(of(angles).astype(dtype), of.__name__) for of in (np.cos, np.sin))
    else:
        speeds = np.tile(rotary.angles(2)[1], 2)
        both = context.waves(x, 1, Waves(speeds, np.repeat([np.pi / 2, 0], half), new_axes=1))
        cosine, sine = context.lower_all("split", both, sizes=[half, half], axis=-1)
    rest: Sequence[_V] = []
    left_over = layer.head_dim - dim
    if rotary.style == "halves":
        sizes = [half, half, left_over] if left_over else [half, half]
        one, two, *rest = context.lower_all("split", x, sizes=sizes, axis=-1)
    else:
        whole = [[None, None, None]] * 3
        one, two = (lower("slice", x, index=[*whole, [first, dim, 2]]) for first in (0, 1))
        rest = [lower("slice", x, index=[*whole, [dim, None, None]])] if left_over else []
    left = lower("subtract", lower("multiply", one, cosine), lower("multiply", two, sine))
    right = lower("add", lower("multiply", two, cosine), lower("multiply", one, sine))
    if rotary.style == "halves":
        return lower("concatenate", left, right, *rest, axis=-1)
    pairs = lower("reshape", lower("stack", left, right, axis=-1), shape=[None, None, None, dim])
    return lower("concatenate", pairs, *rest, axis=-1) if rest else pairs
