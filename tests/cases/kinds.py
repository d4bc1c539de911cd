"""For each kind of the vocabulary: generated layers, their inputs, and the same computation in PyTorch."""

import math

import numpy as np
from hypothesis import strategies as st

from modelarchive import nn
from modelarchive.ops.activation import ACTIVATIONS, ALPHAS
from tests.cases.case import Case, set_values, values
from tests.cases.normalisations import NORMALISATIONS
from tests.cases.resampled import RESAMPLED, SHAPED, TRANSPOSED
from tests.cases.sequences import ATTENTION, RECURRENT
from tests.cases.spatial import BATCH, activated, bound, channels_second, layouts, placed, sizes, torch_padding


@channels_second
def convolution_reference(torch, x, parameters, layer):
    functional = torch.nn.functional
    convolve = getattr(functional, f"conv{layer.rank}d")
    result = convolve(
        functional.pad(x, torch_padding(layer.padding)),
        parameters["weight"],
        parameters.get("bias"),
        stride=layer.strides,
        dilation=layer.dilation,
        groups=layer.groups,
    )
    return activated(torch, layer.activation, result)


@st.composite
def convolutions(draw, rank):
    groups = draw(st.integers(1, 3))
    inputs = groups * draw(st.integers(1, 3))
    layer = getattr(nn, f"Conv{rank}D")(
        groups * draw(st.integers(1, 3)),
        sizes(draw, rank, 1, 3),
        sizes(draw, rank, 1, 3),
        tuple((draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in range(rank)),
        sizes(draw, rank, 1, 2),
        groups,
        draw(layouts(rank)),
        draw(st.sampled_from([None, "relu", "tanh"])),
        draw(st.booleans()),
        in_channels=draw(st.sampled_from([0, inputs])),
    )
    spatial = [
        draw(st.integers(max(step * (size - 1) + 1 - sum(pair), 1), 9))
        for size, step, pad in zip(layer.kernel_size, layer.dilation, layer.padding, strict=True)
        for pair in [pad]
    ]
    shape = placed(draw(BATCH), inputs, spatial, layer.layout)
    return Case(layer, shape, bound(convolution_reference, layer))


@channels_second
def max_pool_reference(torch, x, parameters, layer):
    functional = torch.nn.functional
    pool = getattr(functional, f"max_pool{layer.rank}d")
    padding = tuple(before for before, _ in layer.padding)
    # PyTorch pads by at most half a window, and both sides alike.
    if any(
        not before == after <= size // 2 for (before, after), size in zip(layer.padding, layer.pool_size, strict=True)
    ):
        x, padding = functional.pad(x, torch_padding(layer.padding), value=-math.inf), 0
    return pool(x, layer.pool_size, layer.strides, padding, ceil_mode=layer.ceil_mode)


@channels_second
def avg_pool_reference(torch, x, parameters, layer):
    functional = torch.nn.functional
    pool = getattr(functional, f"avg_pool{layer.rank}d")
    window = (layer.pool_size, layer.strides)
    # PyTorch pads by at most half a window, and both sides alike.
    if all(before == after <= size // 2 for (before, after), size in zip(layer.padding, layer.pool_size, strict=True)):
        padding = tuple(before for before, _ in layer.padding)
        return pool(x, *window, padding, layer.ceil_mode, layer.count_include_pad)
    around = torch_padding(layer.padding)
    total = pool(functional.pad(x, around), *window)
    if layer.count_include_pad:
        return total
    return total / pool(functional.pad(torch.ones_like(x), around), *window)


@st.composite
def poolings(draw, kind, rank, reference):
    size = tuple(draw(st.integers(1, 4)) for _ in range(rank))
    if draw(st.booleans()):
        # PyTorch's own padding, with its limit of half a window: all modes.
        padding = tuple((half, half) for half in (draw(st.integers(0, each // 2)) for each in size))
        options = {"ceil_mode": draw(st.booleans())}
    else:
        padding = tuple((draw(st.integers(0, each - 1)), draw(st.integers(0, each - 1))) for each in size)
        options = {"ceil_mode": False}
    if kind == "AvgPool":
        options["count_include_pad"] = draw(st.booleans())
    strides = draw(st.none() | st.just(tuple(draw(st.integers(1, 4)) for _ in range(rank))))
    layer = getattr(nn, f"{kind}{rank}D")(size, strides, padding, draw(layouts(rank)), **options)
    spatial = [draw(st.integers(each, 9)) for each in size]
    shape = placed(draw(BATCH), draw(st.integers(1, 3)), spatial, layer.layout)
    return Case(layer, shape, bound(reference, layer))


@channels_second
def global_max_reference(torch, x, parameters, layer):
    return x.amax(tuple(range(2, x.ndim)), keepdim=True)


@channels_second
def global_avg_reference(torch, x, parameters, layer):
    return x.mean(tuple(range(2, x.ndim)), keepdim=True)


@st.composite
def global_poolings(draw, kind, rank, reference):
    layer = getattr(nn, f"{kind}{rank}D")(draw(layouts(rank)))
    spatial = [draw(st.integers(1, 8)) for _ in range(rank)]
    shape = placed(draw(BATCH), draw(st.integers(1, 3)), spatial, layer.layout)
    return Case(layer, shape, bound(reference, layer))


@st.composite
def denses(draw):
    activation = draw(st.none() | st.sampled_from(sorted(ACTIVATIONS)))
    flatten, use_bias = draw(st.booleans()), draw(st.booleans())
    axes = [draw(st.integers(1, 4)) for _ in range(draw(st.integers(1, 3)))]
    inputs = math.prod(axes) if flatten else axes[-1]
    layer = nn.Dense(
        draw(st.integers(1, 9)),
        activation,
        use_bias,
        flatten,
        in_units=draw(st.sampled_from([0, inputs])),
    )

    def reference(torch, x, parameters):
        x = x.reshape(len(x), inputs) if flatten else x
        return activated(torch, activation, torch.nn.functional.linear(x, parameters["weight"], parameters.get("bias")))

    return Case(layer, (draw(BATCH), *axes), reference)


@st.composite
def embeddings(draw):
    rows = draw(st.integers(1, 9))
    padding = draw(st.none() | st.integers(-rows, rows - 1))
    layer = nn.Embedding(rows, draw(st.integers(1, 5)), padding_idx=padding)

    def reference(torch, x, parameters):
        return torch.nn.functional.embedding(x, parameters["weight"], padding)

    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=3)))
    return Case(layer, shape, reference, rows=rows)


@st.composite
def batch_norms(draw):
    shape = [draw(BATCH), *(draw(st.integers(1, 5)) for _ in range(draw(st.integers(1, 4))))]
    axis = draw(st.integers(1, len(shape) - 1)) - draw(st.sampled_from([0, len(shape)]))
    epsilon = draw(st.sampled_from([1e-5, 1e-3]))
    layer = nn.BatchNorm(
        axis,
        0.9,
        epsilon,
        draw(st.booleans()),
        draw(st.booleans()),
        in_channels=draw(st.sampled_from([0, shape[axis]])),
    )

    def reference(torch, x, parameters):
        result = torch.nn.functional.batch_norm(
            x.movedim(axis, 1),
            parameters["running_mean"],
            parameters["running_var"],
            parameters.get("weight"),
            parameters.get("bias"),
            eps=epsilon,
        )
        return result.movedim(1, axis)

    return Case(layer, tuple(shape), reference)


ANY_SHAPE = st.lists(st.integers(0, 5), min_size=1, max_size=4).map(tuple)


@st.composite
def activations(draw):
    name = draw(st.sampled_from(sorted(ACTIVATIONS)))
    least = 0.0625 if name == "celu" else -4
    alpha = draw(st.none() | st.floats(least, 4, width=16)) if name in ALPHAS else None
    layer = nn.Activation(name, alpha)

    def reference(torch, x, parameters):
        if name in ALPHAS:
            return getattr(torch.nn.functional, name)(x, layer.alpha)
        return activated(torch, name, x)

    return Case(layer, draw(ANY_SHAPE), reference)


def unchanged(make):
    return st.builds(lambda shape: Case(make(), shape, lambda torch, x, parameters: x), ANY_SHAPE)


def flattens():
    def reference(torch, x, parameters):
        return x.reshape(len(x), math.prod(x.shape[1:]))

    return st.builds(lambda shape: Case(nn.Flatten(), shape, reference), ANY_SHAPE)


RANKS = (1, 2, 3)

#: Kind -> strategy of its cases.
KIND_CASES: dict[str, st.SearchStrategy[Case]] = {
    "Dense": denses(),
    "Embedding": embeddings(),
    **{f"Conv{rank}D": convolutions(rank) for rank in RANKS},
    **{f"MaxPool{rank}D": poolings("MaxPool", rank, max_pool_reference) for rank in RANKS},
    **{f"AvgPool{rank}D": poolings("AvgPool", rank, avg_pool_reference) for rank in RANKS},
    **{f"GlobalMaxPool{rank}D": global_poolings("GlobalMaxPool", rank, global_max_reference) for rank in RANKS},
    **{f"GlobalAvgPool{rank}D": global_poolings("GlobalAvgPool", rank, global_avg_reference) for rank in RANKS},
    "BatchNorm": batch_norms(),
    "Activation": activations(),
    "Dropout": unchanged(lambda: nn.Dropout(0.3)),
    "Identity": unchanged(nn.Identity),
    "Flatten": flattens(),
    **TRANSPOSED,
    **RESAMPLED,
    **SHAPED,
    **RECURRENT,
    **ATTENTION,
    **NORMALISATIONS,
}

#: Kinds that the batch is not the first axis of, or may not be: systems want its size fixed.
BATCH_ELSEWHERE = ("RNN", "LSTM", "GRU", "PReLU", "MultiHeadAttention")


def drawn(data, kind, dtype="float32"):
    """A layer with values, and inputs that are not empty: other programs refuse some of those."""
    case = data.draw(KIND_CASES[kind].filter(lambda case: 0 not in case.shape))
    inputs, arrays = values(case, dtype)
    set_values(case.layer, arrays)
    return case.layer, [np.asarray(each) for each in inputs]
