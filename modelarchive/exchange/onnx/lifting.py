"""The table of ONNX's operators: what each is lifted to, how, and what is lost; a new one is a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from modelarchive.exchange.onnx import lifting_attention as attention
from modelarchive.exchange.onnx import lifting_control as control
from modelarchive.exchange.onnx import lifting_elementwise as elementwise
from modelarchive.exchange.onnx import lifting_fused as fused
from modelarchive.exchange.onnx import lifting_fused_attention as fused_attention
from modelarchive.exchange.onnx import lifting_fused_integers as fused_integers
from modelarchive.exchange.onnx import lifting_integers as integers
from modelarchive.exchange.onnx import lifting_layers as layers
from modelarchive.exchange.onnx import lifting_learned as learned
from modelarchive.exchange.onnx import lifting_losses as losses
from modelarchive.exchange.onnx import lifting_normalisation as normalisation
from modelarchive.exchange.onnx import lifting_ordering as ordering
from modelarchive.exchange.onnx import lifting_placing as placing
from modelarchive.exchange.onnx import lifting_pooling as pooling
from modelarchive.exchange.onnx import lifting_quantised as quantised
from modelarchive.exchange.onnx import lifting_recurrent as recurrent
from modelarchive.exchange.onnx import lifting_regions as regions
from modelarchive.exchange.onnx import lifting_resampling as resampling
from modelarchive.exchange.onnx import lifting_scans as scans
from modelarchive.exchange.onnx import lifting_selection as selection
from modelarchive.exchange.onnx import lifting_sequences as sequences
from modelarchive.exchange.onnx import lifting_shapes as shapes
from modelarchive.exchange.onnx import lifting_signals as signals
from modelarchive.exchange.onnx import lifting_taps as taps
from modelarchive.exchange.onnx import lifting_trees as trees
from modelarchive.exchange.onnx import lifting_windows as windows
from modelarchive.exchange.rows import Lifting

#: The opsets whose operators are known; of those before 7, the operators that mean the same today.
OPSETS: Final = range(1, 29)


#: Name of an operator -> its row.
LIFTINGS: Final[Mapping[str, Lifting]] = {
    row.theirs: row
    for row in (
        *elementwise.ROWS,
        *shapes.ROWS,
        *selection.ROWS,
        *windows.ROWS,
        *layers.ROWS,
        *normalisation.ROWS,
        *recurrent.ROWS,
        *attention.ROWS,
        *taps.ROWS,
        *pooling.ROWS,
        *resampling.ROWS,
        *quantised.ROWS,
        *integers.ROWS,
        *ordering.ROWS,
        *scans.ROWS,
        *signals.ROWS,
        *losses.ROWS,
        *control.ROWS,
        *sequences.ROWS,
        *regions.ROWS,
        *placing.ROWS,
        *learned.ROWS,
        *trees.ROWS,
        *fused.ROWS,
        *fused_attention.ROWS,
        *fused_integers.ROWS,
    )
}
