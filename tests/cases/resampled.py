"""Cases of transposed convolutions, of what changes the size of images, and of what changes shapes only."""

import math

from hypothesis import strategies as st

from modelarchive import nn
from tests.cases.case import Case
from tests.cases.spatial import BATCH, activated, bound, channels_second, layouts, placed, sizes, torch_padding


@channels_second
def transposed_reference(torch, x, parameters, layer):
    functional = torch.nn.functional
    convolve = getattr(functional, f"conv_transpose{layer.rank}d")
    bias = parameters.get("bias")
    geometry = {"stride": layer.strides, "dilation": layer.dilation, "groups": layer.groups}
    if all(before == after for before, after in layer.padding):
        padding = tuple(before for before, _ in layer.padding)
        more = {"padding": padding, "output_padding": layer.output_padding}
        return activated(torch, layer.activation, convolve(x, parameters["weight"], bias, **geometry, **more))
    # Both sides alike only there: without any, what is cut off is a negative padding.
    whole = convolve(x, parameters["weight"], **geometry)
    around = [
        (-before, more - after) for (before, after), more in zip(layer.padding, layer.output_padding, strict=True)
    ]
    result = functional.pad(whole, torch_padding(around))
    if bias is not None:
        result = result + bias.reshape(-1, *[1] * layer.rank)
    return activated(torch, layer.activation, result)


@st.composite
def transposed(draw, rank):
    groups = draw(st.integers(1, 3))
    inputs = groups * draw(st.integers(1, 3))
    strides = tuple(draw(st.integers(1, 3)) for _ in range(rank))
    dilation = tuple(draw(st.integers(1, 2)) for _ in range(rank))
    padding = [(draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in range(rank)]
    if draw(st.booleans()):
        padding = [(before, before) for before, _ in padding]
    layer = getattr(nn, f"Conv{rank}DTranspose")(
        groups * draw(st.integers(1, 3)),
        sizes(draw, rank, 1, 3),
        strides,
        padding,
        tuple(draw(st.integers(0, max(pair) - 1)) for pair in zip(strides, dilation, strict=True)),
        dilation,
        groups,
        draw(layouts(rank)),
        draw(st.sampled_from([None, "relu", "tanh"])),
        draw(st.booleans()),
        in_channels=draw(st.sampled_from([0, inputs])),
    )
    least = [
        max(1, -(-(sum(pad) - more - gap * (size - 1)) // step) + 1)
        for pad, more, gap, size, step in zip(
            layer.padding, layer.output_padding, layer.dilation, layer.kernel_size, layer.strides, strict=True
        )
    ]
    spatial = [draw(st.integers(each, each + 4)) for each in least]
    # PyTorch refuses an empty batch here.
    shape = placed(draw(st.integers(1, 3)), inputs, spatial, layer.layout)
    return Case(layer, shape, bound(transposed_reference, layer))


@channels_second
def upsample_reference(torch, x, parameters, layer):
    mode = layer.mode if layer.mode == "nearest" else {3: "linear", 4: "bilinear", 5: "trilinear"}[x.ndim]
    corners = None if layer.mode == "nearest" else layer.align_corners
    size = layer.size or tuple(old * times for old, times in zip(x.shape[2:], layer.scale, strict=True))
    return torch.nn.functional.interpolate(x, size, mode=mode, align_corners=corners)


@st.composite
def upsamples(draw):
    rank = draw(st.integers(1, 3))
    spatial = [draw(st.integers(1, 6)) for _ in range(rank)]
    mode = draw(st.sampled_from(["nearest", "linear"]))
    wanted = {"scale": sizes(draw, rank, 1, 4)}
    if mode == "linear" and draw(st.booleans()):
        wanted = {"size": sizes(draw, rank, 1, 9)}
    corners = mode == "linear" and draw(st.booleans())
    layer = nn.Upsample(mode=mode, align_corners=corners, layout=draw(layouts(rank)), **wanted)
    shape = placed(draw(st.integers(1, 3)), draw(st.integers(1, 3)), spatial, layer.layout)
    return Case(layer, shape, bound(upsample_reference, layer))


@channels_second
def adaptive_reference(torch, x, parameters, layer):
    return getattr(torch.nn.functional, f"adaptive_avg_pool{layer.rank}d")(x, layer.output_size)


@st.composite
def adaptive_poolings(draw, rank):
    layer = getattr(nn, f"AdaptiveAvgPool{rank}D")(sizes(draw, rank, 1, 7), draw(layouts(rank)))
    spatial = [draw(st.integers(1, 12)) for _ in range(rank)]
    shape = placed(draw(BATCH), draw(st.integers(1, 3)), spatial, layer.layout)
    return Case(layer, shape, bound(adaptive_reference, layer))


@st.composite
def pads(draw):
    mode = draw(st.sampled_from(["constant", "constant", "reflect", "edge", "wrap"]))
    # PyTorch knows the other modes for the last axes of images.
    rank = draw(st.integers(1, 4 if mode == "constant" else 2))
    front = [draw(BATCH)] if mode == "constant" and draw(st.booleans()) else [draw(st.integers(1, 2)), 2]
    least = 0 if mode == "constant" else 2
    last = [draw(st.integers(least, 5)) for _ in range(rank)]
    limit = {"constant": [3] * rank, "edge": [3] * rank, "wrap": last, "reflect": [size - 1 for size in last]}[mode]
    padding = [(draw(st.integers(0, most)), draw(st.integers(0, most))) for most in limit]
    value = draw(st.sampled_from([0, 1.5, -2])) if mode == "constant" else 0
    layer = nn.Pad(padding, mode, value)

    def reference(torch, x, parameters):
        around = torch_padding(padding)
        if mode == "constant":
            return torch.nn.functional.pad(x, around, value=value)
        return torch.nn.functional.pad(x, around, mode={"edge": "replicate", "wrap": "circular"}.get(mode, mode))

    return Case(layer, (*front, *last), reference)


@st.composite
def reshapes(draw):
    axes = [draw(BATCH), *(draw(st.integers(1, 4)) for _ in range(draw(st.integers(1, 3))))]
    inner = math.prod(axes[1:])
    wanted = draw(st.sampled_from([[None, -1], [None, inner], [None, inner, 1], [-1, *axes[1:]], [None, 1, -1]]))
    resolved = [axes[0] if size is None or (place == 0 and size == -1) else size for place, size in enumerate(wanted)]
    resolved = [inner if size == -1 else size for size in resolved]

    def reference(torch, x, parameters):
        return x.reshape(resolved)

    return Case(nn.Reshape(wanted), tuple(axes), reference)


@st.composite
def permutes(draw):
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=5)))
    axes = draw(st.permutations(range(len(shape))))
    return Case(nn.Permute(axes), shape, lambda torch, x, parameters: x.permute(*axes) if axes else x)


@st.composite
def softmaxes(draw, kind, name):
    shape = tuple(draw(st.lists(st.integers(0, 5), min_size=1, max_size=4)))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    layer = getattr(nn, kind)(axis)
    return Case(layer, shape, lambda torch, x, parameters: getattr(torch, name)(x, axis))


TRANSPOSED = {f"Conv{rank}DTranspose": transposed(rank) for rank in (1, 2, 3)}
RESAMPLED = {
    **{f"AdaptiveAvgPool{rank}D": adaptive_poolings(rank) for rank in (1, 2)},
    "Upsample": upsamples(),
    "Pad": pads(),
}
SHAPED = {
    "Reshape": reshapes(),
    "Permute": permutes(),
    "Softmax": softmaxes("Softmax", "softmax"),
    "LogSoftmax": softmaxes("LogSoftmax", "log_softmax"),
}
