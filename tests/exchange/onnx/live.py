"""ONNX Runtime and ONNX's own checker on what is written."""

from pathlib import Path

import numpy as np
import pytest

from modelarchive.exchange.onnx.writing import write
from tests.cases.case import several

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")


def run(path, *inputs):
    """The outputs of a model; checked before, shapes and dtypes of all its tensors too."""
    onnx.checker.check_model(str(path), full_check=True)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    assert [each.name for each in session.get_outputs()] == [each.name for each in onnx.load(path).graph.output]
    # An input that no output depends on is none of the session's.
    names = [each.name for each in onnx.load(path, load_external_data=False).graph.input]
    return session.run(None, dict(zip(names, inputs, strict=True)))


def same_outputs(net, folder, *inputs, declared=None, limit=1e-5):
    """Write a network, and compare what ONNX Runtime makes of it with what the network does; the file."""
    path = Path(folder) / "net.onnx"
    write(net, path, inputs=inputs if declared is None else declared, durable=False)
    found, wanted = run(path, *inputs), several(net(*inputs))
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        assert_close(one, other, limit)
    return path


def assert_close(found, wanted, limit=1e-5):
    """Equal, or of floats: the same infinities and NaN, else within `limit` of the largest (at least 0.05)."""
    finite = np.isfinite(wanted)
    np.testing.assert_array_equal(found[~finite], wanted[~finite])
    if wanted.dtype.kind in "biu":
        np.testing.assert_array_equal(found, wanted)
    else:
        scale = max(np.abs(wanted[finite]).max(initial=0), 0.05)
        assert np.abs(found[finite].astype(np.float64) - wanted[finite]).max(initial=0) <= limit * scale
