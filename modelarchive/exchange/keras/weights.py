"""How Keras stores a layer's weights, and how the vocabulary does: the same numbers with their axes in other places."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

#: The fields of a kind of the vocabulary, as an architecture writes them.
Fields = Mapping[str, Any]


@dataclass(frozen=True)
class Weight:
    """One variable of a Keras layer.

    Attributes:
        theirs: Its name, behind the attributes that lead to it from the layer: "kernel", "query_dense/kernel".
        ours: The own names of the parameters that it becomes.
        read: Keras' array and the kind's fields -> our arrays, one for each of `ours`: views where possible.
        write: Our arrays and the kind's fields -> Keras' array.
        present: Whether there is such a variable, by the kind's fields.
    """

    theirs: str
    ours: tuple[str, ...]
    read: Callable[[np.ndarray, Fields], tuple[np.ndarray, ...]]
    write: Callable[[Sequence[np.ndarray], Fields], np.ndarray]
    present: Callable[[Fields], bool] = lambda fields: True


def present(weights: Sequence[Weight], fields: Fields) -> list[Weight]:
    """The weights that a layer with these fields has, in the order of Keras' ``layer.weights``."""
    return [weight for weight in weights if weight.present(fields)]


def same(theirs: str, ours: str, *, when: str = "") -> Weight:
    """A weight that is stored alike; with `when`, only if that field is true."""
    return _simple(theirs, ours, lambda x: x, lambda x: x, when)


def swapped(theirs: str, ours: str, *, when: str = "") -> Weight:
    """Keras' (..., a, b) is our (b, a, ...).

    So are matrices (in, out), kernels of convolutions (*window, in, out), and those of transposed ones
    (*window, out, in).
    """
    return _simple(theirs, ours, _to_front, _to_back, when)


def _to_front(x: np.ndarray) -> np.ndarray:
    return x.transpose(x.ndim - 1, x.ndim - 2, *range(x.ndim - 2))


def _to_back(x: np.ndarray) -> np.ndarray:
    return x.transpose(*range(2, x.ndim), 1, 0)


def _simple(
    theirs: str,
    ours: str,
    read: Callable[[np.ndarray], np.ndarray],
    write: Callable[[np.ndarray], np.ndarray],
    when: str,
) -> Weight:
    return Weight(
        theirs,
        (ours,),
        lambda x, fields: (read(x),),
        lambda arrays, fields: write(arrays[0]),
        (lambda fields: bool(fields[when])) if when else (lambda fields: True),
    )


_KERNEL_AND_BIAS: Final = (swapped("kernel", "weight"), same("bias", "bias", when="use_bias"))
_NORMALISATION: Final = (same("gamma", "weight", when="scale"), same("beta", "bias", when="center"))
_STATISTICS: Final = (same("moving_mean", "running_mean"), same("moving_variance", "running_var"))
_EINSUM: Final = (same("kernel", "kernel"), same("bias", "bias", when="use_bias"))
_MOMENTS: Final = (same("mean", "mean"), same("variance", "variance"), same("count", "count"))


def _one_axis(x: np.ndarray, fields: Fields) -> tuple[np.ndarray, ...]:
    return (x if fields.get("whole") else x.reshape(-1),)


#: Slopes of one axis, and sizes of 1 for the others; as many axes as the input has, but for the batch.
_SLOPES: Final = (Weight("alpha", ("weight",), _one_axis, lambda arrays, fields: arrays[0]),)


def _depthwise(x: np.ndarray, fields: Fields) -> tuple[np.ndarray, ...]:
    channels, times = x.shape[-2:]
    front = x.transpose(x.ndim - 2, x.ndim - 1, *range(x.ndim - 2))
    return (front.reshape(channels * times, 1, *x.shape[:-2]),)


def _to_depthwise(arrays: Sequence[np.ndarray], fields: Fields) -> np.ndarray:
    weight = arrays[0]
    groups = fields["groups"]
    front = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[2:])
    return front.transpose(*range(2, front.ndim), 0, 1)


#: One kernel for each channel: (*window, channels, multiplier).
_DEPTHWISE: Final = (
    Weight("kernel", ("weight",), _depthwise, _to_depthwise),
    same("bias", "bias", when="use_bias"),
)
#: The two convolutions that a separable one is; only the second has a bias.
_SEPARABLE: Final = (
    Weight("depthwise_kernel", ("depthwise",), _depthwise, _to_depthwise),
    swapped("pointwise_kernel", "pointwise"),
    same("bias", "bias", when="use_bias"),
)


def _gates(order: Sequence[int]) -> tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]:
    """Blocks of the first axis into another order, and back."""

    def turn(x: np.ndarray, places: Sequence[int]) -> np.ndarray:
        if list(places) == sorted(places):
            return x
        parts = x.reshape(len(places), x.shape[0] // len(places), *x.shape[1:])
        return parts[list(places)].reshape(x.shape)

    back = [list(order).index(place) for place in range(len(order))]
    return lambda x: turn(x, order), lambda x: turn(x, back)


def recurrent(order: Sequence[int], suffix: str = "l0", prefix: str = "cell/") -> tuple[Weight, ...]:
    """The variables of a recurrence.

    Args:
        order: For each of our gates the place of Keras'.
        suffix: Of our names: layer and direction.
        prefix: Of Keras' names: the attribute that leads to the cell.
    """
    into, back = _gates(order)

    def read_bias(x: np.ndarray, fields: Fields) -> tuple[np.ndarray, ...]:
        # A GRU that resets after the product has both, as rows of one variable.
        if fields.get("linear_before_reset"):
            return into(x[0]), into(x[1])
        # Keras has one bias where we have two that are added.
        return into(x), np.zeros(x.shape, x.dtype)

    def write_bias(arrays: Sequence[np.ndarray], fields: Fields) -> np.ndarray:
        if fields.get("linear_before_reset"):
            return np.stack([back(arrays[0]), back(arrays[1])])
        # A sum of 16 bits would be rounded to them, also where Keras' variable has 32.
        return back(np.add(*arrays, dtype=np.promote_types(arrays[0].dtype, np.float32)))

    def matrix(theirs: str, ours: str) -> Weight:
        return Weight(
            prefix + theirs,
            (ours,),
            lambda x, fields: (into(x.T),),
            lambda arrays, fields: back(arrays[0]).T,
        )

    return (
        matrix("kernel", f"weight_ih_{suffix}"),
        matrix("recurrent_kernel", f"weight_hh_{suffix}"),
        Weight(
            f"{prefix}bias",
            (f"bias_ih_{suffix}", f"bias_hh_{suffix}"),
            read_bias,
            write_bias,
            lambda fields: bool(fields["use_bias"]),
        ),
    )


def cudnn(order: Sequence[int], suffix: str = "l0") -> tuple[Weight, ...]:
    """The variables of a recurrence of Keras 2 that ran on cuDNN only: its matrices, gate by gate, and two biases.

    Args:
        order: For each of our gates the place of Keras'.
        suffix: Of our names: layer and direction.
    """
    count, (into, _) = len(order), _gates(order)

    def matrix(theirs: str, ours: str) -> Weight:
        # Each gate's numbers are those of a matrix (out, in), in the shape of one (in, out).
        return _read_only(theirs, (ours,), lambda x: (into(np.concatenate(
            [gate.reshape(gate.shape[::-1]) for gate in np.split(x, count, axis=1)])),))  # fmt: skip

    names = (f"bias_ih_{suffix}", f"bias_hh_{suffix}")
    bias = _read_only("bias", names, lambda x: tuple(into(each) for each in np.split(x, 2)))
    return (matrix("kernel", f"weight_ih_{suffix}"), matrix("recurrent_kernel", f"weight_hh_{suffix}"), bias)


def _read_only(theirs: str, ours: tuple[str, ...], read: Callable[[np.ndarray], tuple[np.ndarray, ...]]) -> Weight:
    def write(arrays: Sequence[np.ndarray], fields: Fields) -> np.ndarray:
        raise NotImplementedError(f"no version of Keras that is written has this {theirs}")

    return Weight(theirs, ours, lambda x, fields: read(x), write)


#: Keras' gates are i, f, c, o as ours; z, r, h where ours are r, z, n.
LSTM_GATES: Final = (0, 1, 2, 3)
GRU_GATES: Final = (1, 0, 2)
RNN_GATES: Final = (0,)


def _into_heads(x: np.ndarray, fields: Fields) -> tuple[np.ndarray, ...]:
    return (x.reshape(x.shape[0], -1).T,)


def _when(flag: int) -> Callable[[Fields], bool]:
    return lambda fields: bool(fields["use_bias"][flag])


def _projection(theirs: str, ours: str, heads: str, flag: int) -> tuple[Weight, Weight]:
    """Keras' (in, heads, size) and (heads, size); a head of the values may have another size than one of the keys."""
    return (
        Weight(
            f"{theirs}/kernel",
            (f"{ours}.weight",),
            _into_heads,
            lambda arrays, fields: arrays[0].T.reshape(arrays[0].shape[1], fields[heads], -1),
        ),
        Weight(
            f"{theirs}/bias",
            (f"{ours}.bias",),
            lambda x, fields: (x.reshape(-1),),
            lambda arrays, fields: arrays[0].reshape(fields[heads], -1),
            _when(flag),
        ),
    )


def _attention(kv_heads: str) -> tuple[Weight, ...]:
    return (
        *_projection("query_dense", "q_proj", "num_heads", 0),
        *_projection("key_dense", "k_proj", kv_heads, 1),
        *_projection("value_dense", "v_proj", kv_heads, 2),
        Weight(
            "output_dense/kernel",
            ("out_proj.weight",),
            lambda x, fields: (x.reshape(-1, x.shape[-1]).T,),
            lambda arrays, fields: arrays[0].T.reshape(fields["num_heads"], -1, arrays[0].shape[0]),
        ),
        Weight(
            "output_dense/bias",
            ("out_proj.bias",),
            lambda x, fields: (x,),
            lambda arrays, fields: arrays[0],
            _when(3),
        ),
    )


_ATTENTION: Final = _attention("num_heads")
_GROUPED_ATTENTION: Final = _attention("num_kv_heads")
_SCALE: Final = (same("scale", "scale", when="use_scale"),)
_SCORES: Final = (
    *_SCALE,
    Weight(
        "concat_score_weight",
        ("concat_score_weight",),
        lambda x, fields: (x,),
        lambda arrays, fields: arrays[0],
        lambda fields: bool(fields.get("concat")),
    ),
)

#: Class of a layer -> its variables.
WEIGHTS: Final[Mapping[str, tuple[Weight, ...]]] = {
    "Dense": _KERNEL_AND_BIAS,
    "EinsumDense": _EINSUM,
    **dict.fromkeys(("Embedding", "ReversibleEmbedding"), (same("embeddings", "weight"),)),
    **dict.fromkeys([f"Conv{rank}D{behind}" for rank in (1, 2, 3) for behind in ("", "Transpose")], _KERNEL_AND_BIAS),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), _DEPTHWISE),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), _SEPARABLE),
    "BatchNormalization": (*_NORMALISATION, *_STATISTICS),
    **dict.fromkeys(("LayerNormalization", "GroupNormalization"), _NORMALISATION),
    "RMSNormalization": (same("scale", "weight"),),
    "Normalization": _MOMENTS,
    "LayerScale": (same("gamma", "gamma"),),
    "PReLU": _SLOPES,
    "LSTM": recurrent(LSTM_GATES),
    "GRU": recurrent(GRU_GATES),
    "SimpleRNN": recurrent(RNN_GATES),
    "CuDNNLSTM": cudnn(LSTM_GATES),
    "CuDNNGRU": cudnn(GRU_GATES),
    "MultiHeadAttention": _ATTENTION,
    **dict.fromkeys(("GroupQueryAttention", "GroupedQueryAttention"), _GROUPED_ATTENTION),
    "Attention": _SCORES,
    "AdditiveAttention": _SCALE,
}
