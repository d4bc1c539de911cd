"""Operators that ONNX Runtime's optimiser and quantisers write: what it gives itself, as read and written once more."""

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange import onnx as exchange
from tests.exchange.onnx.test_reading_live import make, onnx, session

RNG = np.random.default_rng(0)
BATCH, LENGTH, WIDTH, HEADS = 2, 5, 12, 3


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def whole(*shape, dtype=np.uint8):
    info = np.iinfo(dtype)
    return RNG.integers(info.min, info.max + 1, shape).astype(dtype)


def f(number):
    return np.float32(number)


def case(op, *inputs, given=1, outputs=1, limit=1e-5, **attributes):
    """A node of an operator: how many of its inputs are given when it runs, the others stored; None is left out."""
    return op, inputs, given, outputs, limit, attributes


X, ROWS = normal(BATCH, LENGTH, WIDTH), normal(BATCH, 4, 6)
IMAGE = normal(2, 4, 7, 6)
QKV = [normal(BATCH, LENGTH, WIDTH), normal(BATCH, LENGTH + 2, WIDTH), normal(BATCH, LENGTH + 2, WIDTH)]
PAST = [normal(BATCH, HEADS, 3, WIDTH // HEADS) for _ in range(2)]
MASK = np.array([[1, 1, 1, 1, 0], [1, 1, 1, 0, 0]], np.int32)
COLUMNS = normal(WIDTH, 3 * WIDTH)
IDS = RNG.integers(0, 9, (BATCH, LENGTH)).astype(np.int32)
Q, R = whole(BATCH, LENGTH, WIDTH), whole(BATCH, LENGTH, WIDTH)
ANGLES = [normal(16, 2) for _ in range(2)]
WAVES = [normal(16, 8) for _ in range(2)]

CASES = {
    "gelu": case("Gelu", X),
    "gelu of a sum": case("BiasGelu", X, normal(WIDTH)),
    "fast gelu": case("FastGelu", X),
    "fast gelu of a sum": case("FastGelu", X, normal(WIDTH)),
    "quick gelu": case("QuickGelu", X, alpha=1.5),
    "product": case("FusedMatMul", X, normal(WIDTH, 7), alpha=0.5),
    "product turned": case("FusedMatMul", X, normal(7, WIDTH), transB=1),
    "product of two": case("FusedMatMul", X, normal(BATCH, LENGTH, 4), given=2, transA=1, alpha=2.0),
    "product of batches": case("FusedMatMul", normal(4, BATCH, WIDTH), normal(BATCH, WIDTH, 3), given=2, transBatchA=1),
    "gemm": case("FusedGemm", normal(5, 4), normal(7, 4), normal(7), transB=1, activation="LeakyRelu",
                 activation_alpha=0.2),
    "convolution": case("FusedConv", IMAGE, normal(5, 4, 3, 3), normal(5), activation="Relu", pads=[1, 1, 1, 1]),
    "convolution and a sum": case("FusedConv", normal(5, 4, 3, 3), normal(5, 4, 1, 1), None, normal(5, 5, 3, 3),
                                  activation="Clip", activation_params=[-0.5, 0.75]),
    "layer norm of a sum": case("SkipLayerNormalization", X, X[::-1].copy(), normal(WIDTH), normal(WIDTH),
                                normal(WIDTH), given=2, outputs=(0, 3), epsilon=1e-5),
    "layer norm of a sum for all": case("SkipLayerNormalization", X, normal(1, LENGTH, WIDTH), normal(WIDTH),
                                        given=2, epsilon=1e-5),
    "rms norm of a sum": case("SkipSimplifiedLayerNormalization", X, X[::-1].copy(), normal(WIDTH), normal(WIDTH),
                              given=2, outputs=(0, 3), epsilon=1e-6),
    "embeddings": case("EmbedLayerNormalization", IDS, IDS % 2, normal(9, WIDTH), normal(8, WIDTH), normal(2, WIDTH),
                       normal(WIDTH), normal(WIDTH), MASK, given=2, outputs=(0, 1, 2), epsilon=1e-6,
                       mask_index_type=1),
    "embeddings without segments": case("EmbedLayerNormalization", IDS, None, normal(9, WIDTH), normal(8, WIDTH), None,
                                        normal(WIDTH), normal(WIDTH), MASK, outputs=(0, 1)),
    "attention": case("Attention", X, COLUMNS, normal(3 * WIDTH), num_heads=HEADS),
    "attention behind a mask": case("Attention", X, COLUMNS, normal(3 * WIDTH), MASK, num_heads=HEADS),
    "attention up to a length": case("Attention", X, COLUMNS, normal(3 * WIDTH), np.array([3, 5], np.int32),
                                     num_heads=HEADS, mask_filter_value=-50.0),
    "causal attention": case("Attention", X, COLUMNS, normal(3 * WIDTH), num_heads=HEADS, unidirectional=1, scale=0.3),
    "causal attention behind the past": case(
        "Attention", X, COLUMNS, normal(3 * WIDTH), None, normal(2, BATCH, HEADS, 4, 4), num_heads=HEADS,
        unidirectional=1, outputs=(0, 1)),
    "attention with a bias": case("Attention", X, COLUMNS, normal(3 * WIDTH), None, None,
                                  normal(BATCH, HEADS, LENGTH, LENGTH), num_heads=HEADS),
    "attention of other sizes": case("Attention", X, normal(WIDTH, 6 + 6 + 9), normal(21), num_heads=HEADS,
                                     qkv_hidden_sizes=[6, 6, 9]),
    "heads": case("MultiHeadAttention", *QKV, given=3, num_heads=HEADS),
    "heads with biases": case("MultiHeadAttention", *QKV, normal(3 * WIDTH), given=3, num_heads=HEADS),
    "heads behind a mask": case("MultiHeadAttention", *QKV, None,
                                RNG.integers(0, 2, (BATCH, LENGTH + 2)).astype(np.int32), given=3, num_heads=HEADS),
    "heads with a bias for each score": case("MultiHeadAttention", *QKV, None, None,
                                             normal(BATCH, HEADS, LENGTH, LENGTH + 2), given=3, num_heads=HEADS),
    "heads behind the past": case("MultiHeadAttention", X, X * 2, X - 1, None, None, None, *PAST, given=3,
                                  num_heads=HEADS, outputs=(0, 1, 2), unidirectional=1),
    "heads of split keys": case("MultiHeadAttention", X, normal(BATCH, HEADS, 4, 4), normal(BATCH, HEADS, 4, 4),
                                given=3, num_heads=HEADS),
    "groups, first call": case(
        "GroupQueryAttention", normal(BATCH, LENGTH, 64), normal(BATCH, LENGTH, 32), normal(BATCH, LENGTH, 32), None,
        None, np.array([3, 4], np.int32), np.array(5, np.int32), *WAVES, given=3, outputs=(0, 1, 2), num_heads=4,
        kv_num_heads=2, do_rotary=1),
    "groups, next call": case(
        "GroupQueryAttention", normal(BATCH, 1, 64), normal(BATCH, 1, 32), normal(BATCH, 1, 32),
        normal(BATCH, 2, 6, 16), normal(BATCH, 2, 6, 16), np.array([6, 6], np.int32), np.array(7, np.int32), *WAVES,
        given=5, outputs=(0, 1, 2), num_heads=4, kv_num_heads=2, do_rotary=1, rotary_interleaved=1, softcap=3.0),
    "groups, near ones": case(
        "GroupQueryAttention", normal(BATCH, LENGTH, 64), None, None, None, None, np.array([4, 4], np.int32),
        np.array(5, np.int32), outputs=(0, 1, 2), num_heads=4, kv_num_heads=2, local_window_size=2),
    "turned": case("RotaryEmbedding", X, np.tile(np.arange(LENGTH), (BATCH, 1)) + 3, normal(9, 2), normal(9, 2)),
    "turned from one place on": case("RotaryEmbedding", normal(BATCH, HEADS, LENGTH, 4), np.array([2]), *ANGLES,
                                     interleaved=1),
    "turned in part": case("RotaryEmbedding", X, np.array([0]), normal(9, 1), normal(9, 1), num_heads=HEADS,
                           rotary_embedding_dim=2),
    "sum of integers": case("QLinearAdd", Q, f(0.02), np.uint8(120), R, f(0.03), np.uint8(99), f(0.04), np.uint8(9),
                            limit=1),
    "product of elements": case("QLinearMul", Q, f(0.02), np.uint8(120), R, f(0.03), np.uint8(99), f(0.05),
                                np.uint8(90), limit=1),
    "sigmoid of integers": case("QLinearSigmoid", Q, f(0.02), np.uint8(120), f(1 / 256), np.uint8(0), limit=1),
    "leaky relu of integers": case("QLinearLeakyRelu", Q, f(0.02), np.uint8(120), f(0.01), np.uint8(30), alpha=0.2,
                                   limit=1),
    "softmax of integers": case("QLinearSoftmax", Q, f(0.02), np.uint8(120), f(1 / 256), np.uint8(0), axis=-1,
                                opset=13, limit=1),
    "mean of windows": case("QLinearAveragePool", whole(2, 3, 8, 8), f(0.02), np.uint8(120), f(0.03), np.uint8(9),
                            kernel_shape=[2, 2], strides=[2, 2], limit=1),
    "mean of images": case("QLinearGlobalAveragePool", whole(2, 3, 8, 8), f(0.02), np.uint8(120), f(0.01),
                           np.uint8(99), limit=1),
    "mean of images, channels last": case("QLinearGlobalAveragePool", whole(2, 8, 8, 3), f(0.02), np.uint8(120),
                                          f(0.01), np.uint8(99), channels_last=1, limit=1),
    "parts": case("QLinearConcat", f(0.03), np.uint8(100), Q, f(0.02), np.uint8(120), R, f(0.04), np.uint8(9),
                  given=slice(2, 3), axis=1, limit=1),
    "gemm of integers": case("QGemm", whole(4, 6), f(0.02), np.uint8(120), whole(6, 7), f(0.03), np.uint8(7),
                             np.arange(7, dtype=np.int32), f(1.5), np.uint8(100), alpha=0.5, limit=1),
    "gemm of a scale for each column": case(
        "QGemm", whole(4, 6), f(0.02), np.uint8(120), whole(7, 6), np.abs(normal(7)), whole(7),
        np.arange(7, dtype=np.int32), f(1.5), np.uint8(100), transB=1, limit=1),
    "gemm to floats": case("QGemm", whole(4, 6), f(0.02), np.uint8(120), whole(7, 6, dtype=np.int8), f(0.03),
                           np.int8(0), transB=1),
    "product of integers as floats": case("MatMulIntegerToFloat", Q, whole(WIDTH, 7, dtype=np.int8), f(0.02),
                                          np.abs(normal(7)), np.uint8(120), np.zeros(7, np.int8), normal(7)),
    "product quantised when it runs": case("DynamicQuantizeMatMul", X, whole(WIDTH, 7), np.abs(normal(7)),
                                           np.full(7, 120, np.uint8), normal(7)),
    "attention of integers": case("QAttention", Q, whole(WIDTH, 3 * WIDTH, dtype=np.int8), normal(3 * WIDTH), f(0.02),
                                  f(0.002), MASK, np.uint8(120), np.int8(3), num_heads=HEADS, unidirectional=1),
    "rows of four bits": case("GatherBlockQuantized", np.array([[3, 0], [8, 8]]), bits=4, block_size=32, outputs=(0,),
                              table=(whole(9, 32), np.abs(normal(9, 2)), whole(9, 1))),
}  # fmt: skip


def written(tmp_path, op, inputs, given, outputs, limit, attributes):
    """The file, and what is given when it runs."""
    if "table" in attributes:  # what is given is the second input
        rows, scale, zero = attributes.pop("table")
        inputs, given = (rows, *inputs, scale, zero), slice(1, 2)
    chosen = range(len(inputs))[given if isinstance(given, slice) else slice(given)]
    names = ["" if each is None else f"x{place}" for place, each in enumerate(inputs)]
    arrays = {name: np.asarray(each) for name, each in zip(names, inputs, strict=True) if name}
    runs = {names[place]: arrays[names[place]] for place in chosen if names[place]}
    stored = {name: each for name, each in arrays.items() if name not in runs}
    places = range(outputs) if isinstance(outputs, int) else outputs
    results = [f"y{place}" if place in places else "" for place in range(max(places) + 1)]
    node = onnx.helper.make_node(op, names, results, domain="com.microsoft", **attributes)
    declared = {name: (each.shape, each.dtype.char) for name, each in runs.items()}
    kind = next(iter(runs.values())).dtype.char if limit == 1 else "f"
    kinds = {name: (None, "i" if name == "y1" and op.startswith("Embed") else kind) for name in results if name}
    path = make(tmp_path, [node], declared, kinds, stored)
    model = onnx.load(path)
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, path)
    return path, list(runs.values())


def same(path, inputs, limit):
    """What is read gives what ONNX Runtime gives, and so does what is written of it."""
    bundle = exchange.read(path)
    again = path.with_name("again.onnx")
    exchange.write(bundle, again)
    wanted, back = (
        each.run(None, dict(zip([one.name for one in each.get_inputs()], inputs, strict=True)))
        for each in (session(path), session(again))
    )
    own = bundle.build()(*inputs)
    for found in (own if isinstance(own, tuple) else (own,), back):
        for one, two in zip(found, wanted, strict=True):
            assert one.dtype == two.dtype
            assert one.shape == two.shape
            scale = max(np.abs(two.astype(np.float64)).max(initial=0), 1) if limit < 1 else 1
            np.testing.assert_allclose(one.astype(np.float64), two.astype(np.float64), rtol=0, atol=limit * scale)
    return bundle


@pytest.mark.parametrize("name", CASES)
def test_it_is_onnx_runtime_s(name, tmp_path):
    op, inputs, given, outputs, limit, attributes = CASES[name]
    path, runs = written(tmp_path, op, inputs, given, outputs, limit, dict(attributes))
    same(path, runs, limit)


def test_a_softmax_of_integers_in_smaller_steps_than_its_results_have_is_refused(tmp_path):
    inputs = (Q, f(0.02), np.uint8(120), f(0.00055), np.uint8(3))
    path, _ = written(tmp_path, "QLinearSoftmax", inputs, 1, 1, 1, {"axis": -1, "opset": 13})
    with pytest.raises(ma.ConversionError, match="more than 256 make 1"):
        exchange.read(path)


def test_a_softmax_of_integers_counts_whole_steps(tmp_path):
    inputs = (Q, f(0.02), np.uint8(120), f(0.0045), np.uint8(3))
    path, runs = written(tmp_path, "QLinearSoftmax", inputs, 1, 1, 1, {"axis": -1, "opset": 13})
    same(path, runs, 0)


@pytest.mark.parametrize("parts", [2, 3])
def test_packed_heads_are_those_that_lie_apart(parts, tmp_path):
    """ONNX Runtime packs keys and values on GPUs only: it runs the model of arrays that lie apart."""
    packed = normal(BATCH, LENGTH, HEADS, parts, 4)
    apart = [packed[:, :, :, place].reshape(BATCH, LENGTH, WIDTH) for place in range(parts)]
    before = [] if parts == 3 else [X]
    inputs = [*before, *apart]
    path, _ = written(tmp_path, "MultiHeadAttention", inputs, 3, 1, 1e-5, {"num_heads": HEADS})
    (wanted,) = session(path).run(None, dict(zip(("x0", "x1", "x2"), inputs, strict=True)))
    path, runs = written(tmp_path, "MultiHeadAttention", [*before, packed], 2, 1, 1e-5, {"num_heads": HEADS})
    np.testing.assert_allclose(exchange.read(path).build()(*runs), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("each", [False, True])
def test_a_recurrence_quantised_step_by_step(direction, each, tmp_path):
    steps, hidden, count = 4, 6, 2 if direction == "bidirectional" else 1
    columns = (count, 4 * hidden) if each else (count,)
    inputs = (
        normal(steps, 2, 5), whole(count, 5, 4 * hidden), whole(count, hidden, 4 * hidden), normal(count, 8 * hidden),
        None, normal(count, 2, hidden), normal(count, 2, hidden), None, np.full(columns, 0.01, np.float32),
        np.full(columns, 120, np.uint8), np.full(columns, 0.02, np.float32), np.full(columns, 99, np.uint8),
    )  # fmt: skip
    options = {"hidden_size": hidden, "direction": direction}
    path, runs = written(tmp_path, "DynamicQuantizeLSTM", inputs, 1, 3, 1e-5, options)
    same(path, runs, 1e-5)


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "words"),
    [
        ("Attention", (X, COLUMNS, normal(3 * WIDTH)), {"num_heads": 3, "do_rotary": 1}, "rotary positions"),
        ("Attention", (X, COLUMNS, normal(3 * WIDTH)), {"num_heads": 5}, "in 5 heads"),
        ("FusedConv", (IMAGE, normal(5, 4, 3, 3)), {"activation": "Mine"}, "'Mine'"),
        ("MultiHeadAttention", (X,), {"num_heads": 3}, "without keys or values"),
        ("SkipGroupNorm", (IMAGE, normal(6), normal(6), IMAGE), {"groups": 4}, "6 channels in 4 groups"),
        (
            "QLinearSoftmax",
            (Q, f(np.inf), np.uint8(1), f(0.1), np.uint8(0)),
            {"opset": 13},
            "a scale that is not finite",
        ),
        ("GatherBlockQuantized", (IDS, IDS, X), {"block_size": 32}, "GatherBlockQuantized of 4 bits"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(op, inputs, attributes, words, tmp_path):
    path, _ = written(tmp_path, op, inputs, 1, 1, 1e-5, attributes)
    with pytest.raises(ma.ConversionError, match=words):
        exchange.read(path)


def test_steps_of_a_free_number_are_refused_with_the_way_out(tmp_path):
    inputs = (normal(3, 1, 4), whole(1, 4, 8), whole(1, 2, 8), None, None, None, None, None, f([0.1]),
              np.zeros(1, np.uint8), f([0.1]), np.zeros(1, np.uint8))  # fmt: skip
    path, _ = written(tmp_path, "DynamicQuantizeLSTM", inputs, 1, 1, 1e-5, {"hidden_size": 2})
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "steps"
    onnx.save(model, path)
    with pytest.raises(ma.ConversionError, match=r"a free number of steps.*inputs="):
        exchange.read(path)
    exchange.read(path, inputs=[(7, 1, 4)])
