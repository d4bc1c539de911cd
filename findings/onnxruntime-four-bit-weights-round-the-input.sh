#!/usr/bin/env bash
# onnxruntime 1.31.1 (CPU), onnx 1.23.2, Python 3.11
#
# DequantizeLinear of 4-bit weights by blocks, followed by a float32 MatMul, is exact arithmetic on paper and in ONNX.
# onnxruntime's optimiser makes one MatMulNBits of the two, and that one rounds the float32 *input* to 8 bits, too:
# results are off by half a percent of the largest, where float32 is off by a ten-millionth. The session option
# `session.qdq_matmulnbits_accuracy_level` = 1 keeps float32; it is 4 unless one says so.
#
# One would have guessed that an optimisation that is on by default keeps the precision that the graph says.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet onnxruntime==1.31.1 onnx==1.23.2
"$folder/environment/bin/python" - <<'PYTHON'
import numpy as np
import onnxruntime
from onnx import TensorProto, helper

rng = np.random.default_rng(0)
inner, outer, block = 64, 32, 32
codes = rng.integers(-8, 8, (inner, outer))
scale = rng.uniform(0.5, 1.5, (inner // block, outer)).astype(np.float32)
x = rng.standard_normal((4, inner)).astype(np.float32)
expected = x.astype(np.float64) @ (codes * np.repeat(scale, block, 0))
graph = helper.make_graph(
    [
        helper.make_node("DequantizeLinear", ["codes", "scale"], ["weight"], axis=0, block_size=block),
        helper.make_node("MatMul", ["x", "weight"], ["y"]),
    ],
    "product",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", inner])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", outer])],
    [
        helper.make_tensor("codes", TensorProto.INT4, codes.shape, codes.reshape(-1).tolist()),
        helper.make_tensor("scale", TensorProto.FLOAT, scale.shape, scale.reshape(-1)),
    ],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def error(level, entries):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    for key, value in entries.items():
        options.add_session_config_entry(key, value)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.abs(session.run(None, {"x": x})[0] - expected).max() / np.abs(expected).max()


levels = onnxruntime.GraphOptimizationLevel
found = {
    "nothing optimised": error(levels.ORT_DISABLE_ALL, {}),
    "as it comes": error(levels.ORT_ENABLE_ALL, {}),
    "accuracy level 1": error(levels.ORT_ENABLE_ALL, {"session.qdq_matmulnbits_accuracy_level": "1"}),
}
for name, off in found.items():
    print(f"{name}: off by {off:.1e} of the largest result")
assert found["nothing optimised"] < 1e-6
assert found["accuracy level 1"] < 1e-6
assert found["as it comes"] > 1e-3
PYTHON
