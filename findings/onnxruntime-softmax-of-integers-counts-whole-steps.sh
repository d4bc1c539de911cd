#!/usr/bin/env bash
# onnxruntime 1.31.1 (CPU), onnx 1.23.2, Python 3.11
#
# QLinearSoftmax, which ONNX Runtime's optimiser makes of a Softmax between quantised values, divides by the scale of its
# result with 1 / scale rounded down to a whole number. With a calibrated scale, of which 1 is no whole multiple, results
# are low: the nearer 1 / scale is to the next whole number, and the larger the scale, the more. At a scale of 0.0063 a
# probability of 1 is 158 steps and no 159, and a sixth of all results are one step off; the same model without this
# optimisation gives the nearest ones. At scales like 1 / 256 both are the same.
#
# One would have guessed that 1 / scale is a float, as in the other operators between quantised values.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet onnxruntime==1.31.1 onnx==1.23.2
"$folder/environment/bin/python" - <<'PYTHON'
import numpy as np
import onnxruntime
from onnx import TensorProto, helper

x = np.random.default_rng(0).integers(0, 256, (200, 4)).astype(np.uint8)
apart = {}
for scale in (1 / 256, 0.0063):
    stored = [
        helper.make_tensor("in_scale", TensorProto.FLOAT, [], [0.01]),
        helper.make_tensor("in_zero", TensorProto.UINT8, [], [128]),
        helper.make_tensor("out_scale", TensorProto.FLOAT, [], [scale]),
        helper.make_tensor("out_zero", TensorProto.UINT8, [], [0]),
    ]
    graph = helper.make_graph(
        [
            helper.make_node("DequantizeLinear", ["x", "in_scale", "in_zero"], ["real"]),
            helper.make_node("Softmax", ["real"], ["shares"], axis=-1),
            helper.make_node("QuantizeLinear", ["shares", "out_scale", "out_zero"], ["y"]),
        ],
        "attention",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, x.shape)],
        stored,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    found = []
    for level in ("ORT_DISABLE_ALL", "ORT_ENABLE_EXTENDED"):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        found.append(session.run(None, {"x": x})[0].astype(int))
    apart[scale] = np.mean(found[0] != found[1])
    print(f"scale {scale:.6f}: 1 / scale is {1 / scale:.2f}; {apart[scale]:.1%} of the results are others when optimised, "
          f"on average by {np.mean(found[1] - found[0]):+.3f} steps")
assert apart[1 / 256] < 0.005
assert apart[0.0063] > 0.1
PYTHON
