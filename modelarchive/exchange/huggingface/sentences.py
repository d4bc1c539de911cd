"""What sentence-transformers puts behind a network: the places of a text become one vector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from modelarchive import nn, ops


@dataclass(frozen=True)
class Projection:
    """A dense layer behind the pooling.

    Attributes:
        name: Its folder, ``2_Dense`` say.
        inputs: Size of what it is given.
        units: Size of what it gives.
        activation: Behind it.
        use_bias: Whether it has a bias.
    """

    name: str
    inputs: int
    units: int
    activation: str | None
    use_bias: bool


@dataclass(frozen=True)
class Pooling:
    """How the places of a text become one vector.

    Attributes:
        modes: Names of :data:`POOLINGS`; the results stand side by side.
        is_normalised: Whether the result is scaled to length 1.
        dense: Layers between.
    """

    modes: tuple[str, ...]
    is_normalised: bool
    dense: tuple[Projection, ...] = ()


class _Projected(nn.Block):
    def __init__(self, projection: Projection) -> None:
        super().__init__()
        self.linear = nn.Dense(
            projection.units, projection.activation, use_bias=projection.use_bias, in_units=projection.inputs
        )

    def forward(self, x: Any) -> Any:
        return self.linear(x)


def prepare(trunk: nn.Block, pooling: Pooling | None) -> None:
    """Give a trunk the layers that stand behind its pooling."""
    for each in pooling.dense if pooling is not None else ():
        setattr(trunk, each.name, _Projected(each))


def vector(trunk: nn.Block, pooling: Pooling | None, x: Any, words: Any, mask: Any) -> Any:
    """One vector of each text, or every place where there is no pooling.

    Args:
        trunk: What :func:`prepare` was given.
        pooling: How.
        x: Places ``(batch, length, units)``.
        words: ``(batch, length)``.
        mask: The same, 1 for words and 0 for padding; None: none is padding.
    """
    if pooling is None:
        return x
    weight = ops.cast(ops.equal(words, words) if mask is None else mask, dtype="float32")[:, :, None]
    found = [POOLINGS[mode](x, weight) for mode in pooling.modes]
    whole = found[0] if len(found) == 1 else ops.concatenate(found, axis=1)
    for each in pooling.dense:
        whole = getattr(trunk, each.name)(whole)
    if not pooling.is_normalised:
        return whole
    return whole / ops.maximum(ops.sqrt((whole * whole).sum(axis=1, keepdims=True)), 1e-12)


def _last(x: Any, weight: Any) -> Any:
    places = ops.cumsum(weight * 0 + 1, axis=1)
    return ops.where(places == (places * weight).max(axis=1, keepdims=True), x, 0).sum(axis=1)


def _weighted(x: Any, weight: Any) -> Any:
    growing = weight * ops.cumsum(weight, axis=1)
    return (x * growing).sum(axis=1) / ops.maximum(growing.sum(axis=1), 1e-9)


#: sentence-transformers' option -> (places, weight of each: 1 for words, 0 for padding) to one vector.
POOLINGS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "pooling_mode_cls_token": lambda x, weight: x[:, 0],
    "pooling_mode_max_tokens": lambda x, weight: ops.where(weight > 0, x, -1e9).max(axis=1),
    "pooling_mode_mean_tokens": lambda x, weight: (x * weight).sum(axis=1) / ops.maximum(weight.sum(axis=1), 1e-9),
    "pooling_mode_mean_sqrt_len_tokens": lambda x, weight: (
        (x * weight).sum(axis=1) / ops.sqrt(ops.maximum(weight.sum(axis=1), 1e-9))
    ),
    "pooling_mode_weightedmean_tokens": _weighted,
    "pooling_mode_lasttoken": _last,
}
