"""MXNet: NDArray files, Gluon's parameters and exported models, read and written byte by byte, without MXNet."""

from __future__ import annotations

from modelarchive.exchange import rows
from modelarchive.exchange.mxnet.lifting import LIFTINGS
from modelarchive.exchange.mxnet.lowering import LOWERINGS
from modelarchive.exchange.mxnet.reading import read
from modelarchive.exchange.mxnet.writing import write
from modelarchive.exchange.rows import Support

__all__ = ["read", "support", "write"]


def support() -> list[Support]:
    """Every operator that is read, and whether it is written; then what is written as others."""
    return rows.support(dict.fromkeys(LIFTINGS.values()), LOWERINGS)
