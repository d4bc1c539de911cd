"""MXNet: NDArray files, Gluon's parameters and exported models, read and written byte by byte, without MXNet."""

from modelarchive.exchange.mxnet.lifting import support
from modelarchive.exchange.mxnet.reading import read
from modelarchive.exchange.mxnet.writing import write

__all__ = ["read", "support", "write"]
