"""What PyTorch exports, into an archive and back, in ONNX Runtime; the command that does it with any files."""

import warnings

import numpy as np
import pytest

import modelarchive as ma
from tests.exchange import across
from tests.exchange.onnx import there_and_back

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
MODULES = {
    "convolutions": (across.convolutions, across.IMAGES),
    "encoder": (across.encoder, across.SEQUENCES),
    "recurrence": (across.recurrence, across.SEQUENCES),
}


@pytest.mark.slow
@pytest.mark.parametrize("opset", [18, 20, 21, 23])
@pytest.mark.parametrize("name", MODULES)
def test_what_pytorch_exports_comes_back(name, opset, tmp_path):
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    make, x = MODULES[name]
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            make(torch.nn).eval(),
            (torch.from_numpy(x),),
            tmp_path / "net.onnx",
            opset_version=opset,
            dynamic_shapes=[{0: "batch"}],
            verbose=False,
        )
    found = there_and_back.there_and_back(tmp_path / "net.onnx")
    assert found.is_close, str(found)


@pytest.mark.slow
def test_the_list_of_exports_comes_back_from_both_exporters(capsys):
    pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    from tests.exchange.onnx import exports

    assert exports.main(["rnn"]) == 0
    said = capsys.readouterr().out
    assert "rnn, older exporter, opset 18: " in said
    assert "7 of 7 within 1e-5; PyTorch did not export 0" in said


def _written(path, nodes, inputs, outputs, stored=(), **opsets):
    import onnx
    from onnx import helper

    values = [helper.make_tensor_value_info(name, 1, shape) for name, shape in inputs.items()]
    results = [helper.make_tensor_value_info(name, 1, None) for name in outputs]
    graph = helper.make_graph(nodes, "g", values, results, list(stored))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    path.write_bytes(onnx.shape_inference.infer_shapes(model).SerializeToString())


def test_a_batch_that_can_only_be_one_is_one(tmp_path):
    """The file says that it may be of any size, and has a first state for one sequence."""
    from onnx import helper, numpy_helper

    rng = np.random.default_rng(0)
    arrays = {"w": (1, 12, 4), "r": (1, 12, 4), "h": (1, 1, 4)}
    stored = [numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), n) for n, shape in arrays.items()]
    node = helper.make_node("GRU", ["x", "w", "r", "", "", "h"], ["y"], hidden_size=4)
    turn = helper.make_node("Transpose", ["given"], ["x"], perm=[1, 0, 2])
    _written(tmp_path / "net.onnx", [turn, node], {"given": ["batch", "time", 4]}, ["y"], stored)
    notes = ma.convert(tmp_path / "net.onnx", tmp_path / "net.h5", durable=False)
    assert "given: its axis 0 is 1: the file lets it be of any size, and the model fits no other" in str(notes[-1])
    with ma.open(tmp_path / "net.h5") as archive:
        assert archive.architecture["inputs"][0]["shape"] == [1, "time", 4]
    assert there_and_back.there_and_back(tmp_path / "net.onnx").is_close


@pytest.mark.slow
def test_what_is_computed_of_free_sizes_comes_back(tmp_path):
    """A size less one, by which places of neighbours are held inside, is no size that an array has."""
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional

    class Pyramid(torch.nn.Module):
        def forward(self, x):
            smaller = functional.max_pool1d(x, 2)
            larger = functional.interpolate(smaller, size=x.shape[-1], mode="linear")
            return larger + functional.interpolate(smaller, size=x.shape[-1], mode="nearest")

    module = Pyramid()
    ma.save_model(tmp_path / "net.h5", module, inputs={"shape": ["batch", 2, "length"], "dtype": "float32"})
    ma.convert(tmp_path / "net.h5", tmp_path / "net.onnx", durable=False)
    ma.convert(tmp_path / "net.onnx", tmp_path / "back.h5", durable=False)
    for length in (9, 64):
        x = torch.randn(3, 2, length)
        for name in ("net.h5", "back.h5"):
            np.testing.assert_allclose(ma.load_model(tmp_path / name)(x.numpy()), module(x), rtol=0, atol=1e-5)


def test_the_command_tells_what_differs_and_what_is_refused(tmp_path, capsys, monkeypatch):
    from onnx import helper

    _written(tmp_path / "good.onnx", [helper.make_node("Relu", ["x"], ["y"])], {"x": ["n", 3]}, ["y"])
    _written(tmp_path / "bad.onnx", [helper.make_node("Det", ["x"], ["y"])], {"x": [3, 3]}, ["y"])
    assert there_and_back.main([str(tmp_path / "good.onnx"), "x:?,3"]) == 0
    assert there_and_back.main([str(tmp_path / "good.onnx"), str(tmp_path / "bad.onnx")]) == 1
    out = capsys.readouterr().out
    assert "bad.onnx: refused: " in out
    assert "1 of 2 within" in out
    run = there_and_back.run
    monkeypatch.setattr(there_and_back, "run", lambda path, x, **how: [
        each + (path.name == "back.onnx") for each in run(path, x, **how)
    ])  # fmt: skip
    found = there_and_back.there_and_back(tmp_path / "good.onnx")
    assert not found.is_close
    assert found.difference > 0.1
