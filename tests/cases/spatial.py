"""What cases with spatial axes share: sizes, layouts, paddings, and activations in PyTorch."""

from hypothesis import strategies as st

BATCH = st.integers(0, 3)


def activated(torch, name, x):
    functional = torch.nn.functional
    renamed = {
        "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
        "hard_sigmoid": functional.hardsigmoid,
        "hard_swish": functional.hardswish,
        "hard_tanh": functional.hardtanh,
        "log_sigmoid": functional.logsigmoid,
        "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        None: lambda x: x,
    }
    return renamed[name](x) if name in renamed else getattr(functional, name)(x)


def sizes(draw, rank, least, most):
    """One int for all axes, or one each."""
    if draw(st.booleans()):
        return draw(st.integers(least, most))
    return tuple(draw(st.integers(least, most)) for _ in range(rank))


def layouts(rank):
    spatial = "DHW"[3 - rank :]
    return st.sampled_from([f"NC{spatial}", f"N{spatial}C"])


def torch_padding(padding):
    """Pairs from the first axis on, as torch.nn.functional.pad wants them: from the last on."""
    return [side for pair in reversed(padding) for side in pair]


def placed(batch, channels, spatial, layout):
    return (batch, *spatial, channels) if layout[-1] == "C" else (batch, channels, *spatial)


def channels_second(function):
    """Let a reference see the channels second, whatever the layout of its layer."""

    def reference(torch, x, parameters, *, layer):
        if layer.layout[-1] != "C":
            return function(torch, x, parameters, layer)
        return function(torch, x.movedim(-1, 1), parameters, layer).movedim(1, -1)

    return reference


def bound(reference, layer):
    return lambda torch, x, parameters: reference(torch, x, parameters, layer=layer)
