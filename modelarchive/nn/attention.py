"""Attention: MultiHeadAttention."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from modelarchive.nn import check
from modelarchive.nn.dense import Dense
from modelarchive.nn.layer import Layer
from modelarchive.nn.parameter import Array, Parameter
from modelarchive.nn.signature import positional
from modelarchive.ops.attention import attention
from modelarchive.ops.linear import linear
from modelarchive.ops.precision import float_dtype, rounded, widened
from modelarchive.ops.rotary import Rotary

Shape = tuple[int, ...]


class MultiHeadAttention(Layer):
    """Attention of many heads (Vaswani et al. 2017, arXiv:1706.03762), with projections before and after.

    ``softmax(scale * q k^T + mask) v`` for each head, of ``q = q_proj(query)``, ``k = k_proj(key)``,
    ``v = v_proj(value)``; the heads' results stand side by side and go through ``out_proj``. With `packed` the
    first three projections are one matrix, and names and meaning are ``torch.nn.MultiheadAttention``'s.

    Args:
        units: Size of the output.
        num_heads: Heads of the queries.
        num_kv_heads: Heads of keys and values, each used by ``num_heads / num_kv_heads`` neighbouring heads
            of the queries (Ainslie et al. 2023, arXiv:2305.13245); None: as many as num_heads.
        head_dim: Size of a head; None: ``units / num_heads``.
        use_bias: Whether the projections q, k, v and out have a bias: one bool, or four.
        causal: Whether query i attends to the keys up to i only, counted from the first.
        scale: Factor of the scores; None: ``1 / sqrt(head_dim)``.
        rotary: None, or what turns queries and keys by their position:
            ``{"dim": head_dim, "base": 10000.0, "style": "halves", "scaling": None}``, where these are
            the defaults of missing keys; see :class:`modelarchive.ops.rotary.Rotary`.
        packed: Whether q, k and v are rows of one in_proj_weight.
        in_units: Size of the query; 0: learned at the first call or from a file, as the next two.
        key_units: Size of the key.
        value_units: Size of the value.
        dropout: The part of the attention weights that training drops; the forward pass here drops nothing.
        dtype: Float dtype of parameters not yet loaded.
        weight_initializer: Initializer of the weights; None: what ``initialize`` is given.
        bias_initializer: Initializer of the biases.

    Parameters: q_proj.weight ``(num_heads * head_dim, in_units)``, k_proj.weight and v_proj.weight
    ``(num_kv_heads * head_dim, key_units or value_units)``, out_proj.weight ``(units, num_heads * head_dim)``,
    each with a bias. With `packed` in_proj_weight ``((num_heads + 2 * num_kv_heads) * head_dim, in_units)`` and
    in_proj_bias stand for the first three.

    Called as ``layer(x)``; as ``layer(query, memory)``, where memory is key and value; or as
    ``layer(query, key, value, mask)``, each ``(batch, length, size)``; output ``(batch, queries, units)``. The
    mask has at most 4 axes and broadcasts to ``(batch, num_heads, queries, keys)``: bool, True where a query
    may attend (as in ``torch.nn.functional.scaled_dot_product_attention``, not as in
    ``torch.nn.MultiheadAttention``), or floats that are added to the scores. A mask for keys that are padding
    is ``(batch, 1, 1, keys)``. A query that may attend to no key gets zeros before out_proj. Narrow floats
    are computed in float32 and rounded at the end.

    Raises:
        ValueError: An argument is out of range.
    """

    fields = (
        "units",
        "num_heads",
        "num_kv_heads",
        "head_dim",
        "use_bias",
        "causal",
        "scale",
        "rotary",
        "packed",
        "in_units",
        "key_units",
        "value_units",
        "dropout",
        "dtype",
    )

    def __init__(
        self,
        units: int,
        num_heads: int,
        num_kv_heads: int | None = None,
        head_dim: int | None = None,
        use_bias: bool | Sequence[bool] = True,
        causal: bool = False,
        scale: float | None = None,
        rotary: Mapping[str, Any] | None = None,
        packed: bool = False,
        in_units: int = 0,
        key_units: int = 0,
        value_units: int = 0,
        *,
        dropout: float = 0.0,
        dtype: Any = "float32",
        weight_initializer: Any = None,
        bias_initializer: Any = "zeros",
    ) -> None:
        super().__init__()
        self.units = check.size("units", units)
        self.num_heads = check.size("num_heads", num_heads)
        self.num_kv_heads = check.size("num_kv_heads", num_heads if num_kv_heads is None else num_kv_heads)
        if self.num_heads % self.num_kv_heads:
            raise ValueError(f"num_kv_heads: expected a divisor of num_heads {num_heads}, found {num_kv_heads}")
        if head_dim is None and self.units % self.num_heads:
            raise ValueError(f"num_heads: expected a divisor of units {units} without a head_dim, found {num_heads}")
        self.head_dim = check.size("head_dim", self.units // self.num_heads if head_dim is None else head_dim)
        self.use_bias = _four_flags(use_bias)
        self.causal = check.flag("causal", causal)
        self.scale = check.number("scale", 1 / math.sqrt(self.head_dim) if scale is None else scale)
        self._rotary = None if rotary is None else Rotary.from_config(_mapping(rotary), self.head_dim)
        self.packed = check.flag("packed", packed)
        self.dropout = check.number("dropout", dropout, high=1.0)
        self.dtype = check.float_name(dtype)
        sizes = [
            check.size(f"{name}_units", each, least=0)
            for name, each in (("in", in_units), ("key", key_units), ("value", value_units))
        ]
        initializers = {"weight_initializer": weight_initializer, "bias_initializer": bias_initializer}
        rows = [self.num_heads * self.head_dim] + [self.num_kv_heads * self.head_dim] * 2
        if self.packed:
            self._pack(sizes, sum(rows), weight_initializer, bias_initializer)
        else:
            self.q_proj, self.k_proj, self.v_proj = (
                Dense(row, None, bias, False, self.dtype, in_units=size, **initializers)
                for row, bias, size in zip(rows, self.use_bias, sizes, strict=False)
            )
        self.out_proj = Dense(self.units, None, self.use_bias[3], False, self.dtype, in_units=rows[0], **initializers)

    def _pack(self, sizes: list[int], rows: int, weight_initializer: Any, bias_initializer: Any) -> None:
        known = {size for size in sizes if size}
        if len(known) > 1:
            raise ValueError(f"packed: expected one size of query, key and value, found {sizes}")
        if len(set(self.use_bias[:3])) > 1:
            raise ValueError(f"packed: expected a bias of q, k and v or of none, found {self.use_bias}")
        self.in_proj_weight = Parameter((rows, max(sizes)), self.dtype, weight_initializer)
        if self.use_bias[0]:
            self.in_proj_bias = Parameter((rows,), self.dtype, bias_initializer)

    @property
    def rotary(self) -> dict[str, Any] | None:
        """How queries and keys are turned, complete, or None (a copy)."""
        return None if self._rotary is None else self._rotary.config

    @property
    def in_units(self) -> int:
        """Size of the query; 0 while it is not known."""
        return self._in_units(0)

    @property
    def key_units(self) -> int:
        """Size of the key; 0 while it is not known."""
        return self._in_units(1)

    @property
    def value_units(self) -> int:
        """Size of the value; 0 while it is not known."""
        return self._in_units(2)

    def _in_units(self, which: int) -> int:
        if self.packed:
            return (self.in_proj_weight.shape or (0, 0))[1] or 0
        return self._projections[which].in_units

    @property
    def _projections(self) -> tuple[Dense, Dense, Dense]:
        return self.q_proj, self.k_proj, self.v_proj

    def _current_dtype(self) -> dict[str, str]:
        return self.out_proj._current_dtype()

    def __call__(self, query: Any, key: Any = None, value: Any = None, mask: Any = None) -> Any:
        """Run the layer; what is left out is filled in: key by query, value by key."""
        if mask is not None:
            key = query if key is None else key
            return super().__call__(query, key, key if value is None else value, mask)
        return super().__call__(*(each for each in (query, key, value) if each is not None))

    @check.naming
    def infer(self, query: Shape, key: Shape | None = None, value: Shape | None = None, mask: Shape = ()) -> Shape:
        """``(batch, queries, units)``."""
        key = query if key is None else key
        value = key if value is None else value
        for name, shape in (("query", query), ("key", key), ("value", value)):
            if len(shape) != 3:
                raise ValueError(f"expected a {name} of shape (batch, length, size), found {tuple(shape)}")
        if not (query[0] == key[0] == value[0] and key[1] == value[1]):
            raise ValueError(
                "expected one batch, and as many values as keys, "
                f"found query {tuple(query)}, key {tuple(key)}, value {tuple(value)}"
            )
        whole = (query[0], self.num_heads, query[1], key[1])
        if len(mask) > 4 or any(size not in (1, full) for size, full in zip(mask[::-1], whole[::-1], strict=False)):
            raise ValueError(f"expected a mask that broadcasts to {whole}, found {tuple(mask)}")
        for which, shape in enumerate((query, key, value)):
            if not self.packed:
                self._projections[which].infer(shape)
            else:
                self._learn_packed(shape)
        return (*query[:2], self.units)

    def _learn_packed(self, shape: Shape) -> None:
        if self.in_units and shape[2] != self.in_units:
            raise ValueError(f"expected {self.in_units} input features, found {shape[2]} in shape {tuple(shape)}")
        if not self.in_units:
            self.in_proj_weight.shape = (None, check.size("input features", shape[2]))

    def result_dtype(self, *found: np.dtype[Any]) -> np.dtype[Any]:
        """The float dtype that inputs and parameters share, the mask's aside.

        Raises:
            TypeError: The mask is neither bool nor float.
        """
        if len(found) > 3 and found[3].kind in "iuc":
            raise TypeError(f"expected a mask of bool (True: attend) or floats (added), found {found[3]}")
        return float_dtype(*found[:3], *(each.dtype for each in self.collect_params().values()))

    def ordered(self, inputs: Sequence[Any], named: Mapping[str, Any]) -> tuple[Any, ...]:
        """A call's arguments by position; key and value written out where more follows."""
        given = positional(self.forward, inputs, named)
        query, key, value, *more = (*given, None, None)
        key = query if key is None and len(given) > 2 else key
        value = key if value is None and len(given) > 3 else value
        return (query, key, value, *more)[: len(given)]

    def forward(self, query: Array, key: Array | None = None, value: Array | None = None, mask: Any = None) -> Array:
        """Run the layer; a new array."""
        key = query if key is None else key
        value = key if value is None else value
        masks = () if mask is None else (mask.dtype,)
        dtype = self.result_dtype(query.dtype, key.dtype, value.dtype, *masks)
        if mask is not None and mask.dtype != np.bool_:
            (mask,) = widened(dtype, mask)
        q, k, v = self._projected(dtype, query, key, value)
        if self._rotary is not None:
            self._rotary.turn(q, k)
        heads = attention(q, k, v, mask, causal=self.causal, scale=self.scale)
        bias = self.out_proj.bias.data() if self.use_bias[3] else None
        heads = heads.reshape(*query.shape[:2], self.num_heads * self.head_dim)
        result = linear(heads, self.out_proj.weight.data(), bias)
        return rounded(result, dtype)

    def _projected(self, dtype: np.dtype[Any], *inputs: Array) -> list[Array]:
        """Queries, keys and values ``(batch, length, heads, head_dim)`` in the dtype of the computation."""
        # One wide copy of each array, however often it comes.
        wide = {id(each): widened(dtype, each)[0] for each in inputs}
        arrays = [wide[id(each)] for each in inputs]
        heads = (self.num_heads, self.num_kv_heads, self.num_kv_heads)
        if self.packed:
            results = self._projected_packed(arrays, [each * self.head_dim for each in heads])
        else:
            results = [
                linear(array, each.weight.data(), each.bias.data() if each.use_bias else None)
                for array, each in zip(arrays, self._projections, strict=True)
            ]
        return [
            each.reshape(*each.shape[:2], number, self.head_dim) for each, number in zip(results, heads, strict=True)
        ]

    def _projected_packed(self, arrays: list[Array], rows: list[int]) -> list[Array]:
        weight = self.in_proj_weight.data()
        bias = self.in_proj_bias.data() if self.use_bias[0] else None
        ends = [sum(rows[: index + 1]) for index in range(3)]
        if arrays[0] is arrays[1] is arrays[2]:
            whole = linear(arrays[0], weight, bias)
            return [whole[..., end - size : end] for end, size in zip(ends, rows, strict=True)]
        return [
            linear(array, weight[end - size : end], None if bias is None else bias[end - size : end])
            for array, end, size in zip(arrays, ends, rows, strict=True)
        ]


def _four_flags(value: Any) -> tuple[bool, ...]:
    several = [value] * 4 if isinstance(value, bool | np.bool_) else value
    if not isinstance(several, Sequence) or isinstance(several, str) or len(several) != 4:
        raise ValueError(f"use_bias: expected a bool, or one for each of q, k, v and out, found {value!r}")
    return tuple(check.flag("use_bias", each) for each in several)


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"rotary: expected None or a mapping, found {value!r}")
    return value
