"""Conformance cases of PReLU and of normalisations: generated layers and the same computation in PyTorch."""

from hypothesis import strategies as st

from modelarchive import nn
from tests.cases.case import Case

BATCH = st.integers(0, 3)
EPSILON = st.sampled_from([1e-5, 1e-3])


def either_sign(draw, axis, rank):
    return axis - draw(st.sampled_from([0, rank]))


@st.composite
def over_axes(draw, kind):
    shape = [draw(BATCH), *(draw(st.integers(1, 9)) for _ in range(draw(st.integers(1, 3))))]
    rank = len(shape)
    axes = draw(st.lists(st.integers(1, rank - 1), min_size=1, unique=True))
    last = tuple(range(-len(axes), 0))
    axis = [either_sign(draw, each, rank) for each in axes]
    known = [shape[each] for each in axes]
    if len(axes) == 1 and draw(st.booleans()):
        axis, known = axis[0], known[0]
    options = {"center": draw(st.booleans())} if kind == "LayerNorm" else {}
    options |= {"in_channels": draw(st.sampled_from([0, known])), "scale": draw(st.booleans())}
    layer = getattr(nn, kind)(axis, draw(EPSILON), **options)

    def reference(torch, x, parameters):
        sizes = [shape[each] for each in axes]
        weight, biases = parameters.get("weight"), [parameters.get("bias")] if kind == "LayerNorm" else []
        function = getattr(torch.nn.functional, {"LayerNorm": "layer_norm", "RMSNorm": "rms_norm"}[kind])
        return function(x.movedim(axes, last), sizes, weight, *biases, layer.epsilon).movedim(last, axes)

    return Case(layer, tuple(shape), reference)


@st.composite
def group_norms(draw, kind):
    groups = draw(st.integers(1, 3))
    channels = groups * draw(st.integers(1, 3))
    # PyTorch refuses groups of one element.
    shape = [draw(BATCH), *(draw(st.integers(2, 5)) for _ in range(draw(st.integers(1, 3))))]
    axis = draw(st.integers(1, len(shape)))
    shape.insert(axis, channels)
    options = {
        "epsilon": draw(EPSILON),
        "center": draw(st.booleans()),
        "scale": draw(st.booleans()),
        "in_channels": draw(st.sampled_from([0, channels])),
        "axis": either_sign(draw, axis, len(shape)),
    }
    layer = nn.GroupNorm(groups, **options) if kind == "GroupNorm" else nn.InstanceNorm(**options)

    def reference(torch, x, parameters):
        functional = torch.nn.functional
        x = x.movedim(axis, 1)
        weight, bias = parameters.get("weight"), parameters.get("bias")
        if kind == "GroupNorm":
            result = functional.group_norm(x, groups, weight, bias, layer.epsilon)
        elif len(x):
            result = functional.instance_norm(x, weight=weight, bias=bias, eps=layer.epsilon)
        else:
            result = x
        return result.movedim(1, axis)

    return Case(layer, tuple(shape), reference)


@st.composite
def prelus(draw):
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)))
    axis = draw(st.integers(0, len(shape) - 1))
    channels = draw(st.sampled_from([0, 1, shape[axis]]))
    layer = nn.PReLU(in_channels=channels, axis=either_sign(draw, axis, len(shape)))

    def reference(torch, x, parameters):
        if channels == 1:
            return torch.nn.functional.prelu(x, parameters["weight"])
        # PyTorch knows channels at axis 1 only.
        moved = x.movedim(axis, 0)[None]
        return torch.nn.functional.prelu(moved, parameters["weight"])[0].movedim(0, axis)

    return Case(layer, shape, reference)


NORMALISATIONS = {
    "LayerNorm": over_axes("LayerNorm"),
    "RMSNorm": over_axes("RMSNorm"),
    "GroupNorm": group_norms("GroupNorm"),
    "InstanceNorm": group_norms("InstanceNorm"),
    "PReLU": prelus(),
}
