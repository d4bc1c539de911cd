"""How attention of several heads is lifted that no kind is: values of another width, scores asked for, several axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.keras.formulas import Term
from modelarchive.exchange.keras.lifting_context import Context
from modelarchive.exchange.keras.lifting_softmax import masked_softmax
from modelarchive.exchange.refusal import Refusal

_LETTERS: Final = "abcdefg"
_OTHERS: Final = "stuvwxyz"


@dataclass(frozen=True)
class Heads:
    """A layer of attention.

    Attributes:
        context: The layer.
        heads: Of the queries.
        groups: Heads of keys and values.
        size: Width of a head of queries and keys.
        value_size: Width of a head of values.
        axes: Those that are attended over, counted from the front.
        use_bias: Whether its four products have one.
        is_fused: Whether Keras computes it as one function, which adds masks and does not choose by them.
    """

    context: Context
    heads: int
    groups: int
    size: int
    value_size: int
    axes: Sequence[int]
    use_bias: bool
    is_fused: bool

    def attended(self, query: Ref, key: Ref, value: Ref, mask: Ref | None, added: Ref | None) -> list[Ref]:
        """The result, and the shares that each query has of the values, ``(batch, heads, queries, keys)``.

        Args:
            query: Those that ask, ``(batch, ..., units)``.
            key: Those that are asked.
            value: What they give.
            mask: Which may be asked, beside the scores; None: all.
            added: What is added to the scores; None: nothing.
        """
        context = self.context
        fields = {"use_bias": [self.use_bias] * 4, "num_heads": self.heads, "num_kv_heads": self.groups}
        held = context.held(fields, context.weights, context.layer)
        q = self._projected(query, held, "q_proj", self.heads, self.size)
        k = self._projected(key, held, "k_proj", self.groups, self.size)
        v = self._projected(value, held, "v_proj", self.groups, self.value_size)
        if self.groups != self.heads:
            places = [at * self.groups // self.heads for at in range(self.heads)]
            chosen = context.constant(places, "int64")
            k, v = (context.op("take", each, chosen, axis=-2) for each in (k, v))
        one, other, scores = self._letters(context.rank(query) - 1)
        found = Term(context, context.op("einsum", q, k, pattern=f"{one}nh,{other}nh->{scores}", role="scores"))
        found = found * (float(self.size) ** -0.5)
        if added is not None:
            found = found + Term(context, added)
        last = list(range(-len(self.axes), 0))
        shares = masked_softmax(context, found.ref, mask, last)
        mixed = context.op("einsum", shares, v, pattern=f"{scores},{other}nh->{one}nh", role="mixed")
        flat = context.op("reshape", mixed, shape=[*[None] * (context.rank(mixed) - 2), self.heads * self.value_size])
        return [self._dense(flat, held, "out_proj", ""), shares]

    def _letters(self, rank: int) -> tuple[str, str, str]:
        """Letters of the axes of queries and keys but for their heads, and those of the scores."""
        one = _LETTERS[:rank]
        other = "".join(_OTHERS[at] if at in self.axes else letter for at, letter in enumerate(one))
        beside = "".join(letter for at, letter in enumerate(one) if at not in self.axes)
        asked, asking = ("".join(row[at] for at in self.axes) for row in (other, one))
        return one, other, f"{beside}n{asking}{asked}"

    def _projected(self, x: Ref, held: dict[str, str], name: str, heads: int, size: int) -> Ref:
        found = self._dense(x, held, name, name)
        lead = [None] * (self.context.rank(found) - 1)
        return self.context.op("reshape", found, shape=[*lead, heads, size], role=f"{name}_heads")

    def _dense(self, x: Ref, held: dict[str, str], name: str, role: str) -> Ref:
        keys = {own: held[f"{name}.{own}"] for own in ("weight", "bias") if f"{name}.{own}" in held}
        units, width = self.context.importer.arrays[keys["weight"]].shape
        fields: dict[str, Any] = {"units": units, "in_units": width, "activation": None, "flatten": False}
        return self.context.block("Dense", fields | {"use_bias": "bias" in keys}, x, held=keys, role=role)[0]


def axes_of(context: Context, x: Ref) -> list[int]:
    """The axes that are attended over: those given, or all between batch and units.

    Raises:
        Refusal: They are none of these, or too many.
    """
    given, rank = context.config.axes("attention_axes", None), context.rank(x)
    found = list(range(1, rank - 1)) if given is None else sorted(context.axis(x, each) for each in given)
    if not found or not 3 <= rank <= len(_LETTERS) or not all(1 <= axis < rank - 1 for axis in found):
        raise Refusal(f"attends over the axes {found} of a tensor of {rank}")
    return found
