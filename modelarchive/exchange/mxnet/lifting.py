"""The table of MXNet's operators: what each is lifted to, how, and what is lost; a new one is a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from modelarchive.exchange.mxnet import lifting_boxes as boxes
from modelarchive.exchange.mxnet import lifting_layers as layers
from modelarchive.exchange.mxnet import lifting_making as making
from modelarchive.exchange.mxnet import lifting_math as math
from modelarchive.exchange.mxnet import lifting_ops as ops
from modelarchive.exchange.mxnet import lifting_pieces as pieces
from modelarchive.exchange.mxnet import lifting_pooling as pooling
from modelarchive.exchange.mxnet import lifting_products as products
from modelarchive.exchange.mxnet import lifting_reductions as reductions
from modelarchive.exchange.mxnet import lifting_reshape as reshape
from modelarchive.exchange.mxnet import lifting_rounding as rounding
from modelarchive.exchange.mxnet import lifting_scaling as scaling
from modelarchive.exchange.mxnet import lifting_selection as selection
from modelarchive.exchange.mxnet import lifting_sequences as sequences
from modelarchive.exchange.mxnet import lifting_shapes as shapes
from modelarchive.exchange.mxnet import lifting_truths as truths
from modelarchive.exchange.rows import Lifting

_ROWS: Final = (
    *layers.ROWS,
    *pooling.ROWS,
    *ops.ROWS,
    *rounding.ROWS,
    *math.ROWS,
    *truths.ROWS,
    *making.ROWS,
    *boxes.ROWS,
    *scaling.ROWS,
    *selection.ROWS,
    *sequences.ROWS,
    *shapes.ROWS,
    *pieces.ROWS,
    *products.ROWS,
    *reductions.ROWS,
    *reshape.ROWS,
)
#: Name of an operator -> its row.
LIFTINGS: Final[Mapping[str, Lifting]] = {name: row for row in _ROWS for name in row.names}
