"""MultiHeadAttention and PositionalEmbedding: calls, masks, parameters, sharing, what they refuse."""

import numpy as np
import pytest

import modelarchive
from modelarchive import nn
from modelarchive.ops.attention import attention


def floats(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def made(layer, *inputs):
    layer.initialize("xavier", seed=0)
    layer(*inputs)
    return layer


def heads(batch, length, number, size, seed=0):
    return floats(batch, length, number, size, seed=seed)


def test_a_state_dict_of_pytorch_fits_as_it_is():
    torch = pytest.importorskip("torch")
    module = torch.nn.MultiheadAttention(12, 3, batch_first=True)
    layer = nn.MultiHeadAttention(12, 3, packed=True, in_units=12)
    state = {name: array.numpy() for name, array in module.state_dict().items()}
    assert {name: each.shape for name, each in layer.collect_params().items()} == {
        name: array.shape for name, array in state.items()
    }
    for name, parameter in layer.collect_params().items():
        parameter.set_data(state[name])
    query, key, value = floats(2, 5, 12), floats(2, 7, 12, seed=1), floats(2, 7, 12, seed=2)
    refused = np.random.default_rng(0).random((5, 7)) < 0.3
    refused[:, 0] = False
    with torch.no_grad():
        tensors = [torch.tensor(each) for each in (query, key, value)]
        wanted = module(*tensors, attn_mask=torch.tensor(refused), need_weights=False)[0].numpy()
    np.testing.assert_allclose(layer(query, key, value, ~refused), wanted, atol=1e-6)


def test_packed_and_separate_projections_are_the_same():
    x, memory = floats(2, 5, 12), floats(2, 4, 12, seed=1)
    separate = made(nn.MultiHeadAttention(6, 4, 2, 8), x)
    packed = made(nn.MultiHeadAttention(6, 4, 2, 8, packed=True), x)
    assert packed.in_proj_weight.shape == (64, 12)
    rows = np.split(packed.in_proj_weight.data(), [32, 48])
    for projection, weight in zip((separate.q_proj, separate.k_proj, separate.v_proj), rows, strict=True):
        projection.weight.set_data(weight)
    separate.out_proj.weight.set_data(packed.out_proj.weight.data())
    for inputs in ([x], [x, memory], [x, memory, memory + 1]):
        np.testing.assert_allclose(packed(*inputs), separate(*inputs), atol=1e-5)


def test_what_is_left_out_is_filled_in():
    x, memory = floats(2, 5, 6), floats(2, 4, 6, seed=1)
    layer = made(nn.MultiHeadAttention(6, 2), x)
    np.testing.assert_array_equal(layer(x), layer(x, x, x))
    np.testing.assert_array_equal(layer(x, memory), layer(x, memory, memory))
    mask = np.zeros((2, 1, 1, 5), bool)
    mask[..., :3] = True
    np.testing.assert_array_equal(layer(x, mask=mask), layer(x, x, x, mask))
    np.testing.assert_allclose(layer(x, mask=mask), layer(x, x[:, :3]), atol=1e-6)
    added = np.where(mask, 0, -np.inf).astype(np.float32)
    np.testing.assert_array_equal(layer(x, mask=added), layer(x, mask=mask))
    np.testing.assert_array_equal(layer(x, key=memory, mask=mask[..., :4]), layer(x, memory, memory, mask[..., :4]))


def test_who_may_attend_to_nothing_gets_zeros():
    x = floats(1, 3, 6)
    layer = made(nn.MultiHeadAttention(6, 2, use_bias=False), x)
    mask = np.array([[True, True, False], [False] * 3, [True] * 3])
    result = layer(x, mask=mask)
    assert not result[0, 1].any()
    assert np.isfinite(result).all()
    np.testing.assert_array_equal(layer(x, floats(1, 0, 6)), np.zeros((1, 3, 6)))


def test_causal_outputs_do_not_depend_on_what_follows():
    x = floats(2, 6, 8)
    layer = made(nn.MultiHeadAttention(8, 2, causal=True, rotary={"dim": 2}), x)
    np.testing.assert_allclose(layer(x)[:, :4], layer(x[:, :4]), atol=1e-6)


def test_rotary_scores_depend_on_distances_only():
    x = np.repeat(floats(1, 1, 8), 6, axis=1)
    for style in ("halves", "interleaved"):
        layer = nn.MultiHeadAttention(8, 1, rotary={"style": style, "base": 10})
        layer.initialize("xavier", seed=0)
        layer(x)
        q, k = (np.repeat(heads(1, 1, 1, 8, seed=seed), 6, axis=1) for seed in (1, 2))
        layer._rotary.turn(q, k)
        scores = np.einsum("bqhd,bkhd->qk", q, k)
        for distance in range(-5, 6):
            diagonal = np.diagonal(scores, distance)
            np.testing.assert_allclose(diagonal, diagonal[0], rtol=1e-4)
        assert np.ptp(scores) > 0.1


def test_blocks_of_queries_and_of_items_change_nothing(monkeypatch):
    query, key, value = heads(3, 7, 4, 2), heads(3, 5, 2, 2, seed=1), heads(3, 5, 2, 2, seed=2)
    masks = [None, np.random.default_rng(0).random((3, 1, 7, 5)) < 0.7, floats(4, 1, 5), floats(7, 1)]
    for mask in masks:
        for causal in (False, True):
            whole = attention(query.copy(), key, value, mask, causal=causal, scale=0.5)
            for limit in (1, 40, 100, 300):
                monkeypatch.setattr("modelarchive.ops.attention._BLOCK", limit)
                pieces = attention(query.copy(), key, value, mask, causal=causal, scale=0.5)
                np.testing.assert_allclose(pieces, whole, atol=1e-6)
            monkeypatch.undo()


def test_fields_are_complete():
    layer = nn.MultiHeadAttention(16, 4, 2, use_bias=(True, True, True, False), rotary={"base": 500000})
    assert layer.config() == {
        "units": 16,
        "num_heads": 4,
        "num_kv_heads": 2,
        "head_dim": 4,
        "use_bias": [True, True, True, False],
        "causal": False,
        "scale": 0.5,
        "rotary": {"dim": 4, "base": 500000.0, "style": "halves", "scaling": None},
        "packed": False,
        "in_units": 0,
        "key_units": 0,
        "value_units": 0,
        "dropout": 0.0,
        "dtype": "float32",
    }


def test_sizes_are_learned_and_dtypes_follow_a_cast():
    layer = made(nn.MultiHeadAttention(6, 3), floats(2, 5, 7), floats(2, 4, 8), floats(2, 4, 9))
    assert (layer.in_units, layer.key_units, layer.value_units) == (7, 8, 9)
    assert {name: each.shape for name, each in layer.collect_params().items()} == {
        "q_proj.weight": (6, 7), "q_proj.bias": (6,),
        "k_proj.weight": (6, 8), "k_proj.bias": (6,),
        "v_proj.weight": (6, 9), "v_proj.bias": (6,),
        "out_proj.weight": (6, 6), "out_proj.bias": (6,),
    }  # fmt: skip
    layer.cast("float16")
    assert layer.config()["dtype"] == "float16"
    assert layer(*(floats(2, 4, size).astype(np.float16) for size in (7, 8, 9))).dtype == np.float16


class Decoder(nn.Block):
    """Attention to itself and to a memory, with shared and frozen projections, and one called alone."""

    def __init__(self):
        super().__init__()
        self.positions = nn.PositionalEmbedding("learned", 16)
        self.own = nn.MultiHeadAttention(8, 4, 2, causal=True, rotary={"style": "interleaved"})
        self.other = nn.MultiHeadAttention(8, 4, 2)
        self.packed = nn.MultiHeadAttention(8, 2, packed=True)

    def forward(self, x, memory, mask):
        x = self.positions(x)
        x = x + self.own(x)
        x = x + self.other(x, memory, mask=mask)
        return self.packed(x), self.other.q_proj(x)


def test_networks_with_attention_are_described_and_built():
    x, memory = floats(2, 5, 8), floats(2, 3, 8, seed=1)
    mask = np.array([[True, True, False], [True, False, False]])[:, None, None]
    net = Decoder()
    net.initialize("xavier", seed=0)
    net(x, memory, mask)
    net.other.share_parameters({"k_proj.weight": net.own.k_proj.weight})
    net.packed.out_proj.weight = net.own.out_proj.weight
    net.freeze(["own.q_proj.*", "packed.in_proj_weight"])
    wanted = net(x, memory, mask)
    inputs = [
        {"shape": [None, None, 8]},
        {"shape": [None, None, 8]},
        {"shape": [None, 1, 1, None], "dtype": "bool"},
    ]
    architecture = modelarchive.describe(net, inputs)
    blocks = {node["name"]: node["block"] for node in architecture["model"]["nodes"] if "block" in node}
    assert blocks["own"]["frozen"] == ["q_proj.weight", "q_proj.bias"]
    assert blocks["other"]["shares"] == {"k_proj.weight": "own.k_proj.weight"}
    assert blocks["packed"]["shares"] == {"out_proj.weight": "own.out_proj.weight"}
    again = modelarchive.build(architecture, {name: each.data() for name, each in net.collect_params().items()})
    for one, two in zip(again(x, memory, mask), wanted, strict=True):
        np.testing.assert_array_equal(one, two)
    assert modelarchive.describe(again) == architecture
    assert again.other.k_proj.weight is again.own.k_proj.weight
    frozen = {name for name, each in again.collect_params().items() if not each.trainable}
    assert frozen == {"own.q_proj.weight", "own.q_proj.bias", "packed.in_proj_weight"}


def test_all_of_another_attention_is_shared_by_its_path():
    net = nn.Sequential(nn.MultiHeadAttention(8, 2), nn.MultiHeadAttention(8, 2))
    net[1].share_parameters(net[0].collect_params())
    net.initialize(seed=0)
    net(floats(2, 3, 8))
    architecture = modelarchive.describe(net, floats(2, 3, 8))
    assert architecture["model"]["children"][1]["block"]["shares"] == "0"
    again = modelarchive.build(architecture)
    assert again[1].v_proj.bias is again[0].v_proj.bias


def test_a_projection_is_a_part():
    net = nn.Sequential(nn.MultiHeadAttention(8, 2, in_units=6))
    part = modelarchive.architecture.part(modelarchive.describe(net, floats(2, 3, 6)), "0.q_proj").architecture
    assert (part["model"]["kind"], part["model"]["units"], part["model"]["in_units"]) == ("Dense", 8, 6)


@pytest.mark.parametrize(
    ("layer", "shapes", "words"),
    [
        (
            nn.MultiHeadAttention(8, 2),
            [(2, 8)],
            r"MultiHeadAttention: expected a query of shape \(batch, length, size\)",
        ),
        (nn.MultiHeadAttention(8, 2, in_units=6), [(1, 2, 8)], "expected 6 input features, found 8"),
        (nn.MultiHeadAttention(8, 2, packed=True), [(1, 2, 8), (1, 2, 6)], "expected 8 input features, found 6"),
        (nn.MultiHeadAttention(8, 2), [(1, 2, 8), (2, 2, 8)], "expected one batch"),
        (nn.MultiHeadAttention(8, 2), [(1, 2, 8), (1, 3, 8), (1, 2, 8)], "as many values as keys"),
        (nn.MultiHeadAttention(8, 2), [(1, 4, 8)] * 3 + [(1, 3, 1, 4)], r"broadcasts to \(1, 2, 4, 4\), found \(1, 3,"),
        (nn.MultiHeadAttention(8, 2), [(1, 4, 8)] * 3 + [(1, 1, 1, 1, 4)], r"a mask that broadcasts to"),
        (
            nn.PositionalEmbedding("learned", 4),
            [(8,)],
            r"PositionalEmbedding: expected an input of shape \(..., length",
        ),
        (nn.PositionalEmbedding("learned", 4, 6), [(4, 8)], "expected elements of size 6, found 8"),
        (nn.PositionalEmbedding("learned", 4, offset=1), [(2, 4, 8)], "expected at most 3 elements, found 4"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_by_name(layer, shapes, words):
    layer.initialize(seed=0)
    with pytest.raises(ValueError, match=words):
        layer(*(np.zeros(shape, np.float32) for shape in shapes))


def test_a_mask_of_integers_could_mean_either():
    x = floats(1, 3, 8)
    layer = made(nn.MultiHeadAttention(8, 2), x)
    with pytest.raises(TypeError, match=r"expected a mask of bool .* found int64"):
        layer(x, mask=np.ones((3, 3), np.int64))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: nn.MultiHeadAttention(8, 3), "num_heads: expected a divisor of units 8 without a head_dim, found 3"),
        (lambda: nn.MultiHeadAttention(8, 4, 3), "num_kv_heads: expected a divisor of num_heads 4, found 3"),
        (lambda: nn.MultiHeadAttention(8, 4, use_bias=(True, False)), "use_bias: expected a bool, or one for each"),
        (lambda: nn.MultiHeadAttention(8, 4, use_bias=(1, 1, 1, 1)), "use_bias: expected True or False, found 1"),
        (lambda: nn.MultiHeadAttention(8, 4, packed=True, in_units=3, key_units=4), "packed: expected one size"),
        (
            lambda: nn.MultiHeadAttention(8, 4, use_bias=(True, False, True, True), packed=True),
            "packed: expected a bias",
        ),
        (lambda: nn.MultiHeadAttention(8, 2, rotary=5), "rotary: expected None or a mapping, found 5"),
        (lambda: nn.MultiHeadAttention(8, 2, rotary={"dims": 2}), r"rotary: expected dim, .* found \['dims'\]"),
        (
            lambda: nn.MultiHeadAttention(8, 2, rotary={"dim": 3}),
            "rotary: dim: expected an even number up to head_dim 4",
        ),
        (lambda: nn.MultiHeadAttention(8, 2, rotary={"dim": 6}), "rotary: dim: .* found 6"),
        (lambda: nn.MultiHeadAttention(8, 2, rotary={"style": "neox"}), "rotary: style: .* found 'neox'"),
        (lambda: nn.MultiHeadAttention(8, 2, rotary={"base": 0}), "rotary: base: expected a number above 0, found 0"),
        (lambda: nn.MultiHeadAttention(8, 2, rotary={"scaling": {"type": "yarn"}}), "rotary: scaling: .*'yarn'"),
        (
            lambda: nn.MultiHeadAttention(
                8,
                2,
                rotary={
                    "scaling": {
                        "type": "llama3",
                        "factor": 8,
                        "low_freq_factor": 4,
                        "high_freq_factor": 4,
                        "original_max_position": 8192,
                    }
                },
            ),
            "rotary: scaling: expected a low_freq_factor below the high_freq_factor",
        ),
        (lambda: nn.PositionalEmbedding("absolute"), "style: expected 'learned' or 'sinusoidal', found 'absolute'"),
        (lambda: nn.PositionalEmbedding("sinusoidal", base=0), "base"),
    ],
)
def test_arguments_out_of_range_are_refused_by_name(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_positions_longer_than_the_table_are_described_all_the_same():
    net = nn.Sequential(nn.PositionalEmbedding("learned", 16, 8))
    architecture = modelarchive.describe(net, [{"shape": [None, None, 8]}])
    assert modelarchive.build(architecture)[0].max_length == 16


def test_optional_inputs_go_by_name_and_may_be_none():
    layer = nn.MultiHeadAttention(4, 2)
    layer.initialize(seed=0)
    x, mask = np.ones((2, 3, 4), np.float32), np.tril(np.ones((3, 3), bool))
    np.testing.assert_array_equal(layer(x, mask=mask), layer(x, x, x, mask))
    np.testing.assert_array_equal(layer(x, None, None, None), layer(x))

    class Masked(nn.Block):
        def __init__(self):
            self.attention = layer

        def forward(self, x, mask):
            return self.attention(x, mask=mask) + self.attention(query=x, mask=None)

    inputs = [{"shape": [None, 3, 4]}, {"shape": [3, 3], "dtype": "bool"}]
    nodes = modelarchive.architecture.describe(Masked(), inputs)["model"]["nodes"]
    assert [node["inputs"] for node in nodes[:2]] == [["x", "x", "x", "mask"], ["x"]]
