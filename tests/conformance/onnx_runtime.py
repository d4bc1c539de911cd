"""ONNX Runtime as the reference: one operator on arrays."""

from typing import Any

import numpy as np


def run(onnx: Any, runtime: Any, op: str, inputs: dict[str, np.ndarray | None], opset: int, **fields: Any) -> Any:
    """The first output of an operator; an input that is None is left out."""
    make = onnx.helper
    given = {name: np.ascontiguousarray(array) for name, array in inputs.items() if array is not None}
    node = make.make_node(op, [name if name in given else "" for name in inputs], ["result"], **fields)
    declared = [
        make.make_tensor_value_info(name, make.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in given.items()
    ]
    result = make.make_tensor_value_info("result", onnx.TensorProto.FLOAT, None)
    graph = make.make_graph([node], op, declared, [result])
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", opset)], ir_version=10)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, given)[0]
