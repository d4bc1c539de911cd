"""What PyTorch does not have, or says in its own words: against ONNX Runtime in float32."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelarchive import nn
from tests.cases.case import error
from tests.conformance.onnx_runtime import run

#: Position of our gates (LSTM: i, f, g, o; GRU: r, z, n) in ONNX's order (i, o, f, c; z, r, h).
GATES = {"LSTM": [0, 3, 1, 2], "GRU": [1, 0, 2], "RNN": [0]}
LIMIT = 1e-5
SOME = settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def operator():
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    return lambda op, inputs, opset=17, **fields: run(onnx, runtime, op, inputs, opset, **fields)


def floats(rng, *shape):
    return rng.standard_normal(shape, np.float32)


def filled(layer, seed, *inputs):
    """The layer with numbers in all its parameters, those of a state's weight small."""
    rng = np.random.default_rng(seed)
    layer.infer(*(each.shape for each in inputs))
    for name, parameter in layer.collect_params().items():
        parameter.set_data(floats(rng, *parameter.shape) / (4 if name.startswith("weight_hh") else 1))
    return layer


@pytest.mark.parametrize("kind", GATES)
@SOME
@given(data=st.data())
def test_recurrences_are_onnx_s(kind, operator, data):
    draw = data.draw
    hidden, inputs, both = draw(st.integers(1, 6)), draw(st.integers(1, 5)), draw(st.booleans())
    options, fields = {}, {}
    if kind == "GRU":
        options = {"linear_before_reset": draw(st.booleans())}
        fields = {"linear_before_reset": int(options["linear_before_reset"])}
    if kind == "RNN":
        options = {"activation": draw(st.sampled_from(["relu", "tanh"]))}
        fields = {"activations": [options["activation"].capitalize()] * (1 + both)}
    layer = getattr(nn, kind)(hidden, bidirectional=both, **options)
    rng = np.random.default_rng(0)
    x = floats(rng, draw(st.integers(1, 6)), draw(st.integers(1, 3)), inputs)
    states = [floats(rng, 1 + both, x.shape[1], hidden) for _ in layer.states]
    filled(layer, 1, x)

    def stacked(name):
        """Both directions of a parameter, with ONNX's order of gates."""
        arrays = [layer.parameters[f"{name}_l0{suffix}"].data() for suffix in ("", "_reverse")[: 1 + both]]
        gates = [each.reshape(len(GATES[kind]), hidden, -1)[GATES[kind]] for each in arrays]
        return np.stack([each.reshape(arrays[0].shape) for each in gates])

    bias = np.concatenate([stacked("bias_ih"), stacked("bias_hh")], axis=1)
    given = {"X": x, "W": stacked("weight_ih"), "R": stacked("weight_hh"), "B": bias, "lengths": None}
    given |= dict(zip(("h", "c"), states, strict=False))
    direction = "bidirectional" if both else "forward"
    wanted = operator(kind, given, hidden_size=hidden, direction=direction, **fields)
    # ONNX has the direction as an axis of its own: (time, directions, batch, hidden).
    wanted = wanted.transpose(0, 2, 1, 3).reshape(*x.shape[:2], -1)
    assert error(layer(x, *states), wanted) <= LIMIT


@SOME
@given(data=st.data())
def test_attention_is_onnx_s(operator, data):
    draw = data.draw
    kv_heads, size = draw(st.integers(1, 3)), 2 * draw(st.integers(1, 4))
    heads = kv_heads * draw(st.integers(1, 3))
    style = draw(st.sampled_from([None, "halves", "interleaved"]))
    dim = 2 * draw(st.integers(1, size // 2))
    layer = nn.MultiHeadAttention(
        5,
        heads,
        kv_heads,
        size,
        causal=draw(st.booleans()),
        rotary=None if style is None else {"style": style, "dim": dim},
    )
    rng = np.random.default_rng(0)
    batch, length = draw(st.integers(1, 3)), draw(st.integers(1, 7))
    x = floats(rng, batch, length, 4)
    mask = rng.random((batch, 1, length, length)) < 0.8
    mask[..., 0] = True
    filled(layer, 1, x)
    q, k, v = (
        (x @ each.weight.data().T + each.bias.data()).reshape(batch, length, -1, size).transpose(0, 2, 1, 3)
        for each in (layer.q_proj, layer.k_proj, layer.v_proj)
    )
    if style is not None:
        angles = np.arange(length)[:, None] * 10000.0 ** (-np.arange(0, dim, 2) / dim)
        waves = {"cos": np.cos(angles).astype(np.float32), "sin": np.sin(angles).astype(np.float32)}
        at = {"position": np.tile(np.arange(length), (batch, 1))}
        fields = {"interleaved": int(style == "interleaved"), "rotary_embedding_dim": dim if dim < size else 0}
        q, k = (operator("RotaryEmbedding", {"x": each} | waves | at, 23, **fields) for each in (q, k))
    given = {"q": q, "k": k, "v": v, "mask": mask}
    found = operator("Attention", given, 23, is_causal=int(layer.causal), scale=layer.scale)
    found = found.transpose(0, 2, 1, 3).reshape(batch, length, -1)
    wanted = found @ layer.out_proj.weight.data().T + layer.out_proj.bias.data()
    assert error(layer(x, mask=mask), wanted) <= LIMIT


@pytest.mark.parametrize(
    ("make", "op", "opset", "fields"),
    [
        (lambda: nn.RMSNorm(), "RMSNormalization", 23, {"epsilon": 1e-6}),
        (lambda: nn.GroupNorm(2), "GroupNormalization", 21, {"epsilon": 1e-5, "num_groups": 2}),
        (lambda: nn.InstanceNorm(scale=True), "InstanceNormalization", 17, {"epsilon": 1e-5}),
    ],
)
def test_normalisations_are_onnx_s(make, op, opset, fields, operator):
    x = floats(np.random.default_rng(0), 3, 4, 5, 6)
    layer = filled(make(), 1, x)
    given = {"x": x} | {name: each.data() for name, each in layer.parameters.items()}
    assert error(layer(x), operator(op, given, opset, **fields)) <= LIMIT
