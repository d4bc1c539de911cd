#!/usr/bin/env bash
# onnxruntime 1.31.1 (CPU), onnx 1.23.2, Python 3.11
#
# A Scan over a sequence of no elements is an error of the session's run (an offset of 0 in a dimension of 0), where a
# Loop whose trip count is 0, which says the same, gives the first states and an output without elements.
#
# One would have guessed that both give that: a recurrence of no steps leaves its states as they are.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet onnxruntime==1.31.1 onnx==1.23.2
"$folder/environment/bin/python" - <<'PYTHON'
import numpy as np
import onnxruntime
from onnx import TensorProto, helper

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def info(name, dtype, *shape):
    return helper.make_tensor_value_info(name, dtype, shape)


def run(node, inputs, given):
    outputs = [info("last", FLOAT, 2), info("all", FLOAT, None, 2)]
    graph = helper.make_graph([node], "model", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, given)


step = [helper.make_node("Add", ["state", "element"], ["next"]), helper.make_node("Identity", ["next"], ["out"])]
body = helper.make_graph(
    step, "step", [info("state", FLOAT, 2), info("element", FLOAT, 2)], [info("next", FLOAT, 2), info("out", FLOAT, 2)]
)
scan = helper.make_node("Scan", ["first", "x"], ["last", "all"], body=body, num_scan_inputs=1)
inside = [helper.make_node("Gather", ["x", "at"], ["element"]), *step, helper.make_node("Identity", ["go"], ["on"])]
body = helper.make_graph(
    inside,
    "step",
    [info("at", INT64), info("go", BOOL), info("state", FLOAT, 2)],
    [info("on", BOOL), info("next", FLOAT, 2), info("out", FLOAT, 2)],
)
loop = helper.make_node("Loop", ["count", "", "first"], ["last", "all"], body=body)
first = np.ones(2, np.float32)
for steps in (3, 0):
    x = np.full((steps, 2), 2, np.float32)
    inputs = [info("first", FLOAT, 2), info("x", FLOAT, None, 2)]
    last, several = run(loop, [*inputs, info("count", INT64)], {"first": first, "x": x, "count": np.array(steps)})
    print(f"Loop of {steps} steps: {last}, outputs {several.shape}")
    assert last.tolist() == (first + 2 * steps).tolist() and several.shape == (steps, 2)
    try:
        last, several = run(scan, inputs, {"first": first, "x": x})
        print(f"Scan of {steps} steps: {last}, outputs {several.shape}")
        assert steps
    except onnxruntime.capi.onnxruntime_pybind11_state.Fail as error:
        print(f"Scan of {steps} steps: {str(error).splitlines()[0][-60:]}")
        assert not steps
PYTHON
