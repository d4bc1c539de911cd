"""Conformance cases of the kinds for sequences: generated layers and the same computation in PyTorch."""

import math

import numpy as np
from hypothesis import strategies as st

from modelarchive import nn
from tests.cases.case import Case

BATCH = st.integers(0, 3)


def reset_first(torch, x, states, parameters, layer):
    """A GRU that resets before the product, which PyTorch does not have: the formulas, step by step."""
    last = []
    for index in range(layer.num_layers):
        outputs = []
        for reverse in (False, True)[: 2 if layer.bidirectional else 1]:
            suffix = f"l{index}{'_reverse' * reverse}"
            zero = torch.zeros(3 * layer.hidden_size, dtype=x.dtype)
            w_ih, w_hh = (parameters[f"weight_{side}_{suffix}"].chunk(3) for side in ("ih", "hh"))
            b_ih, b_hh = (parameters.get(f"bias_{side}_{suffix}", zero).chunk(3) for side in ("ih", "hh"))
            state = states[len(last)]
            steps = []
            for step in reversed(x) if reverse else x:
                r, z = (
                    torch.sigmoid(step @ w_ih[gate].T + b_ih[gate] + state @ w_hh[gate].T + b_hh[gate])
                    for gate in (0, 1)
                )
                n = torch.tanh(step @ w_ih[2].T + b_ih[2] + (r * state) @ w_hh[2].T + b_hh[2])
                state = (1 - z) * n + z * state
                steps.append(state)
            last.append(state)
            outputs.append(torch.stack(steps[::-1] if reverse else steps))
        x = torch.cat(outputs, -1)
    return x, torch.stack(last)


@st.composite
def recurrences(draw, kind):
    inputs, hidden, layers = draw(st.integers(1, 5)), draw(st.integers(1, 6)), draw(st.integers(1, 3))
    options = {"activation": draw(st.sampled_from(["relu", "tanh"]))} if kind == "RNN" else {}
    options |= {"linear_before_reset": draw(st.booleans())} if kind == "GRU" else {}
    layer = getattr(nn, kind)(
        hidden,
        layers,
        layout=draw(st.sampled_from(["TNC", "NTC"])),
        dropout=draw(st.sampled_from([0.0, 0.5])),
        bidirectional=draw(st.booleans()),
        input_size=draw(st.sampled_from([0, inputs])),
        use_bias=draw(st.booleans()),
        return_state=draw(st.booleans()),
        **options,
    )
    time, batch = draw(st.integers(1, 6)), draw(BATCH)
    state = (layers * (2 if layer.bidirectional else 1), batch, hidden)

    def reference(torch, x, *rest):
        *states, parameters = rest
        tensors = states or [torch.zeros(state, dtype=x.dtype)] * len(layer.states)
        if kind == "GRU" and not layer.linear_before_reset:
            result, last = reset_first(torch, x.transpose(0, 1) if first else x, tensors[0], parameters, layer)
            result = result.transpose(0, 1) if first else result
        else:
            function = {"RNN": f"rnn_{options.get('activation')}", "LSTM": "lstm", "GRU": "gru"}[kind]
            hx = tensors if kind == "LSTM" else tensors[0]
            biases, both = layer.use_bias, layer.bidirectional
            weights = list(parameters.values())
            result, *last = getattr(torch, function)(x, hx, weights, biases, layers, 0.0, False, both, first)
            last = tuple(last) if kind == "LSTM" else last[0]
        last = last if isinstance(last, tuple) else (last,)
        return (result, *last) if layer.return_state else result

    first = layer.layout == "NTC"
    more = (state,) * len(layer.states) if draw(st.booleans()) else ()
    return Case(layer, (batch, time, inputs) if first else (time, batch, inputs), reference, more=more)


RECURRENT = {kind: recurrences(kind) for kind in ("RNN", "LSTM", "GRU")}


def turned(torch, x, rotary):
    """Rotary embedding of (batch, heads, length, size) as transformers writes it (halves) and as Llama (complex)."""
    dim, base = rotary["dim"], rotary["base"]
    inverse = 1.0 / (base ** (torch.arange(0, dim, 2, dtype=torch.float64) / dim))
    scaling = rotary["scaling"]
    if scaling and scaling["type"] == "linear":
        inverse = inverse / scaling["factor"]
    elif scaling:
        old, low, high = (scaling[key] for key in ("original_max_position", "low_freq_factor", "high_freq_factor"))
        wavelength = 2 * math.pi / inverse
        slow = torch.where(wavelength > old / low, inverse / scaling["factor"], inverse)
        smooth = (old / wavelength - low) / (high - low)
        between = (1 - smooth) * slow / scaling["factor"] + smooth * slow
        inverse = torch.where((wavelength >= old / high) & (wavelength <= old / low), between, slow)
    angles = torch.outer(torch.arange(x.shape[2], dtype=torch.float64), inverse)
    kept, x = x[..., dim:], x[..., :dim]
    if rotary["style"] == "interleaved":
        pairs = torch.view_as_complex(x.contiguous().unflatten(-1, (-1, 2)))
        result = torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten(-2)
    else:
        angles = torch.cat([angles, angles], -1)
        half = torch.cat([-x[..., dim // 2 :], x[..., : dim // 2]], -1)
        result = x * angles.cos() + half * angles.sin()
    return torch.cat([result, kept], -1)


def attention_reference(layer):
    def reference(torch, query, *rest):
        *others, parameters = rest
        key = others[0] if others else query
        value = others[1] if len(others) > 1 else key
        mask = others[2] if len(others) > 2 else None
        if mask is not None:
            mask = mask[(None,) * (4 - mask.ndim)]  # PyTorch refuses masks of no axes
        heads = (layer.num_heads, layer.num_kv_heads, layer.num_kv_heads)
        if layer.packed:
            sizes = [each * layer.head_dim for each in heads]
            weights = parameters["in_proj_weight"].split(sizes)
            biases = parameters["in_proj_bias"].split(sizes) if layer.use_bias[0] else [None] * 3
        else:
            weights = [parameters[f"{each}_proj.weight"] for each in "qkv"]
            biases = [parameters.get(f"{each}_proj.bias") for each in "qkv"]
        q, k, v = (
            torch.nn.functional.linear(x, weight, bias).unflatten(-1, (number, layer.head_dim)).transpose(1, 2)
            for x, weight, bias, number in zip((query, key, value), weights, biases, heads, strict=True)
        )
        if layer.rotary is not None:
            q, k = turned(torch, q, layer.rotary), turned(torch, k, layer.rotary)
        if layer.causal:
            allowed = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril()
            if mask is None:
                mask = allowed
            else:
                mask = mask & allowed if mask.dtype == torch.bool else mask.masked_fill(~allowed, -math.inf)
        result = torch.nn.functional.scaled_dot_product_attention(
            q, k, v, mask, scale=layer.scale, enable_gqa=layer.num_heads != layer.num_kv_heads
        )
        result = result.transpose(1, 2).flatten(-2)
        return torch.nn.functional.linear(result, parameters["out_proj.weight"], parameters.get("out_proj.bias"))

    return reference


@st.composite
def rotaries(draw, head_dim):
    scaling = draw(
        st.sampled_from(
            [
                None,
                {"type": "linear", "factor": 2.5},
                {
                    "type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                    "original_max_position": draw(st.integers(8, 100)),
                },
            ]
        )
    )  # fmt: skip
    return {
        "dim": 2 * draw(st.integers(1, head_dim // 2)),
        "base": draw(st.sampled_from([100.0, 10000.0, 500000.0])),
        "style": draw(st.sampled_from(["halves", "interleaved"])),
        "scaling": scaling,
    }


@st.composite
def attentions(draw):
    kv_heads, head_dim = draw(st.integers(1, 3)), draw(st.integers(1, 8))
    heads = kv_heads * draw(st.integers(1, 3))
    packed = draw(st.booleans())
    batch, queries = draw(BATCH), draw(st.integers(1, 7))
    number = draw(st.integers(1, 4))
    keys = queries if number == 1 else draw(st.integers(1, 7))
    inputs = [draw(st.integers(1, 9)) for _ in range(3)]
    sizes = [inputs[0]] * 3 if packed or number == 1 else [inputs[0], inputs[1], inputs[1 if number == 2 else 2]]
    biases = draw(st.booleans()) if packed else tuple(draw(st.booleans()) for _ in range(4))
    known = draw(st.booleans())
    layer = nn.MultiHeadAttention(
        draw(st.integers(1, 9)),
        heads,
        kv_heads,
        head_dim,
        biases,
        draw(st.booleans()),
        draw(st.none() | st.sampled_from([0.5, 1.0])),
        draw(st.none() | rotaries(head_dim)) if head_dim > 1 else None,
        packed,
        *(sizes if known else ()),
    )
    more = [(batch, queries if which == 0 else keys, size) for which, size in enumerate(sizes)][1 : min(number, 3)]
    if number == 4:
        rank = draw(st.integers(0, 4))
        shape = [draw(st.sampled_from([1, size])) for size in (batch, heads, queries, keys)][4 - rank :]
        rng = np.random.default_rng(draw(st.integers(0, 99)))
        allowed = rng.random(shape) < 0.7
        more.append(allowed if draw(st.booleans()) else np.where(allowed, rng.integers(-3, 4, shape), -np.inf))
    return Case(layer, (batch, queries, sizes[0]), attention_reference(layer), more=tuple(more))


@st.composite
def positions(draw):
    shape = (*draw(st.lists(st.integers(0, 3), max_size=2)), draw(st.integers(0, 6)), draw(st.integers(1, 7)))
    style, offset = draw(st.sampled_from(["learned", "sinusoidal"])), draw(st.integers(0, 3))
    length = draw(st.integers(max(shape[-2] + offset, 1), 12)) if style == "learned" else 0
    base = draw(st.sampled_from([100.0, 10000.0]))
    units = draw(st.sampled_from([0, shape[-1]]))
    layer = nn.PositionalEmbedding(style, length, units, offset=offset, base=base)

    def reference(torch, x, parameters):
        rows = torch.arange(offset, offset + shape[-2])
        if style == "learned":
            return x + torch.nn.functional.embedding(rows, parameters["weight"])
        table = torch.zeros(shape[-2:], dtype=torch.float64)
        for element in range(shape[-1]):
            angle = rows.double() / base ** ((element - element % 2) / shape[-1])
            table[:, element] = angle.cos() if element % 2 else angle.sin()
        return x + table

    return Case(layer, shape, reference)


ATTENTION = {"MultiHeadAttention": attentions(), "PositionalEmbedding": positions()}
