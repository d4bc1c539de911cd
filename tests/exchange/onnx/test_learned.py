"""Operators of ai.onnx.ml: what ONNX Runtime gives for linear models, kernels, trees, and what is done before them."""

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange import onnx as exchange
from tests.exchange.onnx.test_reading_live import compared, onnx, session

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 4)).astype(np.float32)
HOLES = np.where(RNG.random(X.shape) < 0.3, np.nan, X).astype(np.float32)
WHOLE = RNG.integers(0, 4, (40, 3))


def numbers(*shape):
    return [float(each) for each in RNG.standard_normal(shape).reshape(-1).astype(np.float32)]


def file(tmp_path, op, arrays, outputs=("y",), kinds="f", *, alone=True, version=3, **attributes):
    """A model of one operator; of this domain alone as converters of trees write it."""
    helper = onnx.helper
    names = [f"x{place}" for place in range(len(arrays))]
    node = helper.make_node(op, names, list(outputs), domain="ai.onnx.ml", **attributes)
    values = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(each.dtype), ["n", *each.shape[1:]] if each.ndim > 1 else each.shape
        )
        for name, each in zip(names, arrays, strict=True)
    ]
    results = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(kind)), None)
        for name, kind in zip(outputs, kinds, strict=True)
    ]
    opsets = [helper.make_opsetid("ai.onnx.ml", version)] + ([] if alone else [helper.make_opsetid("", 21)])
    model = helper.make_model(helper.make_graph([node], "g", values, results), opset_imports=opsets, ir_version=8)
    onnx.save(model, tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


SIMPLE = {
    "scaled": ("Scaler", [X], {"offset": numbers(4), "scale": numbers(4)}),
    "scaled whole numbers": ("Scaler", [WHOLE], {"offset": [1.0], "scale": [0.5]}),
    "by the sum": ("Normalizer", [X], {"norm": "L1"}),
    "by the length": ("Normalizer", [X * (X > 0)], {"norm": "L2"}),
    "by the largest": ("Normalizer", [np.abs(X)], {"norm": "MAX"}),
    "ones and zeros": ("Binarizer", [X], {"threshold": 0.25}),
    "filled": ("Imputer", [HOLES], {"imputed_value_floats": numbers(4), "replaced_value_float": float("nan")}),
    "filled with one number": ("Imputer", [X], {"imputed_value_floats": [0.5], "replaced_value_float": 0.0}),
    "features": ("FeatureVectorizer", [X, X[:, :2].copy()], {"inputdimensions": [4, 2]}),
    "columns": ("ArrayFeatureExtractor", [X, np.array([2, 0])], {}),
    "hot": ("OneHotEncoder", [WHOLE], {"cats_int64s": [0, 2, 3]}),
    "encoded": ("LabelEncoder", [WHOLE], {"keys_int64s": [0, 1, 3], "values_floats": [0.5, 2.0, -1.0],
                                          "default_float": 9.0}),
    "what is missing encoded": ("LabelEncoder", [HOLES.round()], {"keys_floats": [0.0, float("nan"), 1.0],
                                "values_floats": [0.5, 7.0, -1.0], "default_float": 9.0, "version": 4}),
    "what is missing encoded before version 4": ("LabelEncoder", [HOLES.round()], {
        "keys_floats": [0.0, float("nan"), 1.0], "values_floats": [0.5, 7.0, -1.0], "default_float": 9.0}),
    "regression": ("LinearRegressor", [X], {"coefficients": numbers(3, 4), "intercepts": numbers(3), "targets": 3}),
    "vectors": ("SVMRegressor", [X], {"support_vectors": numbers(5, 4), "coefficients": numbers(5), "rho": [0.5],
                                      "n_supports": 5, "kernel_type": "RBF", "kernel_params": [0.3, 0.0, 3.0]}),
    "vectors of a power": ("SVMRegressor", [X], {
        "support_vectors": numbers(5, 4), "coefficients": numbers(5), "rho": [0.5], "n_supports": 5,
        "kernel_type": "POLY", "kernel_params": [0.3, 1.0, 2.0]}),
    "vectors of tanh": ("SVMRegressor", [X], {
        "support_vectors": numbers(5, 4), "coefficients": numbers(5), "rho": [0.5], "n_supports": 5,
        "kernel_type": "SIGMOID", "kernel_params": [0.3, 1.0, 2.0]}),
}  # fmt: skip


@pytest.mark.parametrize("name", SIMPLE)
@pytest.mark.parametrize("alone", [True, False])
def test_it_is_onnx_runtime_s(name, alone, tmp_path):
    op, arrays, attributes = SIMPLE[name]
    compared(file(tmp_path, op, arrays, alone=alone, **attributes), *arrays)


@pytest.mark.parametrize("labels", [[0, 1, 2], [7, -2, 30]])
@pytest.mark.parametrize("style", ["NONE", "SOFTMAX", "LOGISTIC"])
def test_linear_classes(labels, style, tmp_path):
    path = file(tmp_path, "LinearClassifier", [X], ("y", "z"), "qf", coefficients=numbers(3, 4),
                intercepts=numbers(3), classlabels_ints=labels, post_transform=style)  # fmt: skip
    compared(path, X)


@pytest.mark.parametrize("kernel", ["LINEAR", "POLY", "RBF", "SIGMOID"])
@pytest.mark.parametrize("labels", [[0, 1], [5, -3], [4, 9, 2], [0, 1, 2, 3, 4]])
def test_classes_of_support_vectors(kernel, labels, tmp_path):
    counts = [int(each) for each in RNG.integers(1, 5, len(labels))]
    pairs = len(labels) * (len(labels) - 1) // 2
    path = file(tmp_path, "SVMClassifier", [X], ("y", "z"), "qf", support_vectors=numbers(sum(counts), 4),
                coefficients=numbers(len(labels) - 1, sum(counts)), rho=numbers(pairs), vectors_per_class=counts,
                classlabels_ints=labels, kernel_type=kernel, kernel_params=[0.3, 0.5, 2.0])  # fmt: skip
    compared(path, X)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prob_a": [1.0] * 3, "prob_b": [0.0] * 3}, "with probabilities"),
        ({"vectors_per_class": [2, 2]}, "3 classes with 2 groups"),
        ({"vectors_per_class": [2, 2, 9]}, "of 13 vectors"),
        ({"rho": [1.0]}, "of 6 vectors"),
        ({"kernel_type": "OWN"}, "kernel_type = 'OWN'"),
        ({"kernel_params": [1.0]}, "1 numbers of a kernel"),
    ],
)
def test_classes_of_support_vectors_that_are_damaged(change, said, tmp_path):
    whole = {"support_vectors": numbers(6, 4), "coefficients": numbers(2, 6), "rho": numbers(3),
             "vectors_per_class": [2, 2, 2], "classlabels_ints": [0, 1, 2]}  # fmt: skip
    with pytest.raises(ma.ConversionError, match=said):
        exchange.read(file(tmp_path, "SVMClassifier", [X], ("y", "z"), "qf", **(whole | change)))


def trees(prefix, targets, *, mode="BRANCH_LEQ", track=0, count=5, positive=False, depth=3):
    """Full trees of random splits, with a weight for one or more targets at each leaf."""
    nodes = {key: [] for key in ("treeids", "nodeids", "featureids", "modes", "values", "truenodeids", "falsenodeids",
                                 "missing_value_tracks_true")}  # fmt: skip
    leaves = {key: [] for key in ("treeids", "nodeids", "ids", "weights")}
    for tree in range(count):
        inner = 2**depth - 1
        for node in range(2 * inner + 1):
            leaf = node >= inner
            values = (tree, node, int(RNG.integers(4)), "LEAF" if leaf else mode, float(np.float32(RNG.normal())),
                      0 if leaf else 2 * node + 1, 0 if leaf else 2 * node + 2, track)  # fmt: skip
            for key, value in zip(nodes, values, strict=True):
                nodes[key].append(value)
            for target in targets if leaf else ():
                weight = abs(RNG.normal()) / count if positive else RNG.normal()
                for key, value in zip(leaves, (tree, node, target, float(np.float32(weight))), strict=True):
                    leaves[key].append(value)
    return {f"nodes_{key}": value for key, value in nodes.items()} | {
        f"{prefix}_{key}": value for key, value in leaves.items()
    }


@pytest.mark.parametrize("mode", ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GT", "BRANCH_GTE"])
@pytest.mark.parametrize("track", [0, 1])
def test_trees_with_missing_numbers(mode, track, tmp_path):
    path = file(tmp_path, "TreeEnsembleRegressor", [HOLES], n_targets=2, base_values=[0.5, -1.0],
                **trees("target", [0, 1], mode=mode, track=track))  # fmt: skip
    compared(path, HOLES)


def test_trees_whose_nodes_compare_in_several_ways(tmp_path):
    attributes = trees("target", [0, 1], track=1)
    ways = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GT", "BRANCH_GTE", "BRANCH_EQ", "BRANCH_NEQ"]
    attributes["nodes_modes"] = [
        mode if mode == "LEAF" else str(RNG.choice(ways)) for mode in attributes["nodes_modes"]
    ]
    compared(file(tmp_path, "TreeEnsembleRegressor", [HOLES], n_targets=2, **attributes), HOLES)


def split_trees(dtype, targets, *, count=4, depth=3):
    """Full trees of random splits as version 5 has them: nodes and leaves in lists of their own."""
    inner = 2**depth - 1
    node, leaves = np.arange(inner), 2**depth
    last = node >= inner // 2
    down = [np.where(last, 2 * node + side - inner, 2 * node + side) for side in (1, 2)]
    lists = {
        f"nodes_{name}nodeids": np.concatenate([way + np.where(last, leaves, inner) * tree for tree in range(count)])
        for name, way in zip(("true", "false"), down, strict=True)
    }
    tensor = onnx.numpy_helper.from_array
    return {name: each.tolist() for name, each in lists.items()} | {
        "nodes_trueleafs": np.tile(last, count).astype(int).tolist(),
        "nodes_falseleafs": np.tile(last, count).astype(int).tolist(),
        "nodes_featureids": RNG.integers(4, size=inner * count).tolist(),
        "nodes_missing_value_tracks_true": RNG.integers(2, size=inner * count).tolist(),
        "nodes_modes": tensor(RNG.integers(6, size=inner * count).astype(np.uint8)),
        "nodes_splits": tensor(RNG.standard_normal(inner * count).astype(dtype)),
        "leaf_targetids": RNG.integers(targets, size=leaves * count).tolist(),
        "leaf_weights": tensor(RNG.standard_normal(leaves * count).astype(dtype)),
        "tree_roots": (inner * np.arange(count)).tolist(), "n_targets": targets,
    }  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("style", [0, 1, 2, 3])
def test_trees_of_version_five(dtype, style, tmp_path):
    x = HOLES.astype(dtype)
    path = file(tmp_path, "TreeEnsemble", [x], kinds=np.dtype(dtype).char, version=5, aggregate_function=style,
                **split_trees(dtype, 1 if style != 1 else 3))  # fmt: skip
    compared(path, x)


def test_a_tree_of_version_five_that_is_one_leaf(tmp_path):
    tensor, attributes = onnx.numpy_helper.from_array, split_trees(np.float32, 1)
    attributes = {name: [0] for name in attributes} | {
        "nodes_trueleafs": [1], "nodes_falseleafs": [1], "n_targets": 1,
        "nodes_modes": tensor(np.zeros(1, np.uint8)), "nodes_splits": tensor(np.zeros(1, np.float32)),
        "leaf_weights": tensor(np.full(1, 2.5, np.float32)),
    }  # fmt: skip
    compared(file(tmp_path, "TreeEnsemble", [X], version=5, **attributes), X)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("tree_roots", [99], "roots or features that do not exist"),
        ("nodes_truenodeids", [99] * 28, "lead nowhere"),
        ("nodes_truenodeids", [0] * 28, "deeper than 128"),
        ("nodes_featureids", [7] * 28, "over 4 features"),
        ("leaf_targetids", [5] * 32, "leaves for 1 targets"),
        ("leaf_targetids", [0], "1 targets"),
        ("post_transform", 2, "runtimes take it in several ways"),
    ],
)
def test_trees_of_version_five_that_are_damaged(name, value, said, tmp_path):
    attributes = split_trees(np.float32, 1) | {name: value}
    if said == "deeper than 128":
        attributes["nodes_trueleafs"] = [0] * 28
    with pytest.raises(ma.ConversionError, match=said):
        exchange.read(file(tmp_path, "TreeEnsemble", [X], version=5, **attributes))


@pytest.mark.parametrize("style", ["AVERAGE", "MIN", "MAX"])
def test_trees_are_joined_in_other_ways(style, tmp_path):
    path = file(tmp_path, "TreeEnsembleRegressor", [X], n_targets=1, aggregate_function=style, **trees("target", [0]))
    compared(path, X)


@pytest.mark.parametrize("style", ["NONE", "SOFTMAX", "LOGISTIC"])
def test_classes_of_trees(style, tmp_path):
    path = file(tmp_path, "TreeEnsembleClassifier", [X], ("y", "z"), "qf", classlabels_int64s=[4, 0, 9],
                post_transform=style, base_values=[0.1, 0.2, -0.3], **trees("class", [0, 1, 2]))  # fmt: skip
    compared(path, X)


@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize("style", ["NONE", "LOGISTIC"])
@pytest.mark.parametrize("base", [{}, {"base_values": [0.2]}], ids=["", "base"])
def test_two_classes_of_which_the_first_is_weighed(positive, style, base, tmp_path):
    path = file(tmp_path, "TreeEnsembleClassifier", [X], ("y", "z"), "qf", classlabels_int64s=[3, 5],
                post_transform=style, **base, **trees("class", [0], positive=positive))  # fmt: skip
    compared(path, X)


@pytest.mark.parametrize("which", [[1], [0, 1]])
def test_two_classes_that_are_weighed_otherwise_are_refused(which, tmp_path):
    """ONNX Runtime goes by the sign of the second score, whatever the first is."""
    path = file(tmp_path, "TreeEnsembleClassifier", [X], ("y", "z"), "qf", classlabels_int64s=[0, 1],
                **trees("class", which, positive=True))  # fmt: skip
    with pytest.raises(ma.ConversionError, match="in several ways"):
        exchange.read(path)


def test_maps_become_an_array_with_a_note(tmp_path):
    helper = onnx.helper
    node = helper.make_node("ZipMap", ["x0"], ["y"], domain="ai.onnx.ml", classlabels_strings=["cat", "dog", "cow"])
    kind = helper.make_sequence_type_proto(helper.make_map_type_proto(8, helper.make_tensor_type_proto(1, None)))
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x0", 1, ["n", 3])], [helper.make_value_info("y", kind)]
    )
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("ai.onnx.ml", 1)], ir_version=8), path)
    bundle = exchange.read(path)
    rows = session(path).run(None, {"x0": X[:, :3]})[0]
    found = bundle.build()(X[:, :3])
    np.testing.assert_array_equal(found, [[row[each] for each in ("cat", "dog", "cow")] for row in rows])
    assert any("cat, dog, cow" in note.what for note in bundle.notes)


def test_texts_and_what_is_damaged_are_refused_by_name(tmp_path):
    texts = {"coefficients": numbers(2, 4), "intercepts": numbers(2), "classlabels_strings": ["cat", "dog"]}
    path = file(tmp_path, "LinearClassifier", [X], ("y", "z"), "qf", **texts)
    with pytest.raises(ma.ConversionError, match=r"labels of .*LinearClassifier that are texts"):
        exchange.read(path)
    whole = trees("target", [0])
    for change, words in [
        ({"nodes_truenodeids": [99] * len(whole["nodes_nodeids"])}, "lead nowhere"),
        ({"nodes_values": [1.0]}, "differ in length"),
        ({"target_nodeids": [77] * len(whole["target_ids"])}, "does not exist"),
        ({"nodes_modes": ["BRANCH_MEMBER"] * 7 + whole["nodes_modes"][7:]}, "of the kind 'BRANCH_MEMBER'"),
        ({"nodes_truenodeids": [0] * len(whole["nodes_nodeids"])}, "TreeEnsembleRegressor"),
    ]:
        path = file(tmp_path, "TreeEnsembleRegressor", [X], n_targets=1, **(whole | change))
        with pytest.raises(ma.ConversionError, match=words):
            exchange.read(path)
    path = file(tmp_path, "DictVectorizer", [X], int64_vocabulary=[0, 1, 2, 3])
    with pytest.raises(ma.ConversionError, match="classical machine learning"):
        exchange.read(path)
