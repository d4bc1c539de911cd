"""The table of MXNet's operators: what each is lifted to, how, and what is lost; a new one is a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from modelarchive.exchange.mxnet.lifting_boxes import BOXES
from modelarchive.exchange.mxnet.lifting_layers import LAYERS
from modelarchive.exchange.mxnet.lifting_making import MAKING
from modelarchive.exchange.mxnet.lifting_math import MATH
from modelarchive.exchange.mxnet.lifting_ops import OPERATORS
from modelarchive.exchange.mxnet.lifting_pieces import PIECES
from modelarchive.exchange.mxnet.lifting_pooling import POOLING
from modelarchive.exchange.mxnet.lifting_products import PRODUCTS
from modelarchive.exchange.mxnet.lifting_reductions import REDUCTIONS
from modelarchive.exchange.mxnet.lifting_reshape import RESHAPE
from modelarchive.exchange.mxnet.lifting_rounding import ROUNDING
from modelarchive.exchange.mxnet.lifting_scaling import SCALING
from modelarchive.exchange.mxnet.lifting_selection import SELECTION
from modelarchive.exchange.mxnet.lifting_sequences import SEQUENCES
from modelarchive.exchange.mxnet.lifting_shapes import SHAPES
from modelarchive.exchange.mxnet.lifting_truths import TRUTHS
from modelarchive.exchange.rows import Lifting

_ROWS: Final = (
    *LAYERS,
    *POOLING,
    *OPERATORS,
    *ROUNDING,
    *MATH,
    *TRUTHS,
    *MAKING,
    *BOXES,
    *SCALING,
    *SELECTION,
    *SEQUENCES,
    *SHAPES,
    *PIECES,
    *PRODUCTS,
    *REDUCTIONS,
    *RESHAPE,
)
#: Name of an operator -> its row.
LIFTINGS: Final[Mapping[str, Lifting]] = {name: row for row in _ROWS for name in row.names}
