#!/usr/bin/env bash
# onnxruntime 1.31.1, onnx 1.23.2, Python 3.11
#
# TreeEnsemble of ai.onnx.ml 5 has `post_transform` as a number, of which its specification says: 1 is SOFTMAX, 2 is
# LOGISTIC. onnxruntime computes the logistic function for 1 and softmax for 2. onnx' own reference evaluator computes
# neither. In TreeEnsembleRegressor, which it replaces, the names are words, and both agree.
#
# One would have guessed that the runtime follows the specification, or that the reference shows which is meant.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet onnxruntime==1.31.1 onnx==1.23.2 numpy==2.4.6
"$folder/environment/bin/python" - <<'PYTHON'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

of = numpy_helper.from_array


def model(transform):
    """One tree with one split: the first output is 1, the second 0."""
    node = helper.make_node(
        "TreeEnsemble", ["x"], ["y"], domain="ai.onnx.ml", n_targets=2, tree_roots=[0], aggregate_function=1,
        post_transform=transform, nodes_featureids=[0], nodes_modes=of(np.zeros(1, np.uint8)),
        nodes_splits=of(np.zeros(1, np.float32)), nodes_truenodeids=[0], nodes_trueleafs=[1], nodes_falsenodeids=[1],
        nodes_falseleafs=[1], leaf_targetids=[0, 1], leaf_weights=of(np.array([1, 2], np.float32)),
    )
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size]) for name, size in (("x", 1), ("y", 2))]
    graph = helper.make_graph([node], "trees", infos[:1], infos[1:])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 5)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    onnx.checker.check_model(made)
    return made


x = np.array([[-1]], np.float32)
scores = np.array([1.0, 0.0])
softmax = np.exp(scores) / np.exp(scores).sum()
logistic = 1 / (1 + np.exp(-scores))
said = onnx.defs.get_schema("TreeEnsemble", 5, "ai.onnx.ml").attributes["post_transform"].description
assert "'SOFTMAX' (1), 'LOGISTIC' (2)" in said
for transform, expected in ((0, scores), (1, logistic), (2, softmax)):
    made = model(transform)
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    found, reference = session.run(None, {"x": x})[0][0], ReferenceEvaluator(made).run(None, {"x": x})[0][0]
    print(f"post_transform {transform}: onnxruntime {found.round(4)}, onnx' evaluator {reference}")
    assert np.allclose(found, expected, atol=1e-6)
    assert np.allclose(reference, scores)
print(f"of the scores {scores} softmax is {softmax.round(4)}, logistic {logistic.round(4)}")
PYTHON
