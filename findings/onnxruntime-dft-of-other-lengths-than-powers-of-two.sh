#!/usr/bin/env bash
# onnxruntime 1.31.1 (CPU), onnx 1.23.2, Python 3.11
#
# DFT in float32 is as exact as float32 where the length is a power of two. At other lengths (Bluestein's algorithm) it
# loses two digits, however short: 1e-5 to 1e-4 of the largest value, where NumPy's float32 transform loses none. Audio
# front ends with frames of 400 samples, which are common, meet it.
#
# One would have guessed that all lengths are computed to the same precision.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet onnxruntime==1.31.1 onnx==1.23.2
"$folder/environment/bin/python" - <<'PYTHON'
import numpy as np
import onnxruntime
from onnx import TensorProto, helper

found = {}
for length in (64, 60, 97, 256, 400, 512):
    graph = helper.make_graph(
        [helper.make_node("DFT", ["x", "", "axis"], ["y"])],
        "transform",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, length, 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, length, 2])],
        [helper.make_tensor("axis", TensorProto.INT64, [], [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).standard_normal((1, length, 1)).astype(np.float32)
    y = session.run(None, {"x": x})[0][0]
    expected = np.fft.fft(x[0, :, 0].astype(np.float64))
    found[length] = np.abs(y[:, 0] + 1j * y[:, 1] - expected).max() / np.abs(expected).max()
    own = np.abs(np.fft.fft(x[0, :, 0]) - expected).max() / np.abs(expected).max()
    print(f"length {length}: off by {found[length]:.1e} of the largest value; NumPy in float32 {own:.1e}")
assert all((off < 2e-6) == (length & (length - 1) == 0) for length, off in found.items())
PYTHON
