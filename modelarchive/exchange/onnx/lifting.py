"""The table of ONNX's operators: what each is lifted to, how, and what is lost; a new one is a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from modelarchive.exchange.onnx.lifting_attention import ATTENTION
from modelarchive.exchange.onnx.lifting_control import CONTROL
from modelarchive.exchange.onnx.lifting_elementwise import ELEMENTWISE
from modelarchive.exchange.onnx.lifting_fused import FUSED
from modelarchive.exchange.onnx.lifting_fused_attention import FUSED_ATTENTION
from modelarchive.exchange.onnx.lifting_fused_integers import FUSED_INTEGERS
from modelarchive.exchange.onnx.lifting_integers import INTEGERS
from modelarchive.exchange.onnx.lifting_layers import LAYERS
from modelarchive.exchange.onnx.lifting_learned import LEARNED
from modelarchive.exchange.onnx.lifting_losses import LOSSES
from modelarchive.exchange.onnx.lifting_normalisation import NORMALISATION
from modelarchive.exchange.onnx.lifting_ordering import ORDERING
from modelarchive.exchange.onnx.lifting_placing import PLACING
from modelarchive.exchange.onnx.lifting_pooling import POOLING
from modelarchive.exchange.onnx.lifting_quantised import QUANTISED
from modelarchive.exchange.onnx.lifting_recurrent import RECURRENT
from modelarchive.exchange.onnx.lifting_regions import REGIONS
from modelarchive.exchange.onnx.lifting_resampling import RESAMPLING
from modelarchive.exchange.onnx.lifting_scans import SCANS
from modelarchive.exchange.onnx.lifting_selection import SELECTION
from modelarchive.exchange.onnx.lifting_sequences import SEQUENCES
from modelarchive.exchange.onnx.lifting_shapes import SHAPES
from modelarchive.exchange.onnx.lifting_signals import SIGNALS
from modelarchive.exchange.onnx.lifting_taps import TAPS
from modelarchive.exchange.onnx.lifting_trees import TREES
from modelarchive.exchange.onnx.lifting_windows import WINDOWS
from modelarchive.exchange.rows import Lifting

#: The opsets whose operators are known; of those before 7, the operators that mean the same today.
OPSETS: Final = range(1, 29)


#: Name of an operator -> its row.
LIFTINGS: Final[Mapping[str, Lifting]] = {
    row.theirs: row
    for row in (
        *ELEMENTWISE,
        *SHAPES,
        *SELECTION,
        *WINDOWS,
        *LAYERS,
        *NORMALISATION,
        *RECURRENT,
        *ATTENTION,
        *TAPS,
        *POOLING,
        *RESAMPLING,
        *QUANTISED,
        *INTEGERS,
        *ORDERING,
        *SCANS,
        *SIGNALS,
        *LOSSES,
        *CONTROL,
        *SEQUENCES,
        *REGIONS,
        *PLACING,
        *LEARNED,
        *TREES,
        *FUSED,
        *FUSED_ATTENTION,
        *FUSED_INTEGERS,
    )
}


_BY_VALUE: Final = (
    "how many results it gives depends on values, and an architecture has shapes that depend on sizes only"
)
#: Operators that no row could lift -> why.
REASONS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("NonMaxSuppression", "NonZero", "Unique", "StringSplit", "com.microsoft::Unique"), _BY_VALUE),
    **dict.fromkeys(
        ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"),
        "it gives other numbers each time",
    ),
}
