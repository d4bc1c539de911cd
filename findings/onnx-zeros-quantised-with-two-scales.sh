#!/usr/bin/env bash
# onnx 1.23.2 (its reference implementation), onnxruntime 1.31.1 (DynamicQuantizeLinear, opset 20)
# Of an array of zeros the scale is 1 in ONNX Runtime and 1 / 255 in ONNX's own reference. The quantised values are the
# same; what multiplies the scale on, as MatMulInteger's users do, is not.
# One would have guessed that the range of nothing but zeros has one scale in both.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet 'onnx==1.23.2' 'onnxruntime==1.31.1' 'numpy==2.4.6'
"$folder/environment/bin/python" - <<'PYTHON'
import numpy as np
import onnxruntime
from onnx import TensorProto, helper, reference

values = [
    helper.make_tensor_value_info("y", TensorProto.UINT8, [3]),
    helper.make_tensor_value_info("scale", TensorProto.FLOAT, []),
    helper.make_tensor_value_info("zero", TensorProto.UINT8, []),
]
node = helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "scale", "zero"])
graph = helper.make_graph([node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3])], values)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
given = {"x": np.zeros(3, np.float32)}
runtime = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, given)
own = reference.ReferenceEvaluator(model).run(None, given)
print("ONNX Runtime:", runtime[0].tolist(), "scale", float(runtime[1]))
print("reference:   ", own[0].tolist(), "scale", float(own[1]))
assert float(runtime[1]) != float(own[1]), "both give one scale"
PYTHON
