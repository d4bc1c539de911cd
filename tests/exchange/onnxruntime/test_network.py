"""Networks that ONNX Runtime computes: calls, parts, memory, settings, and what is refused."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import nn
from modelarchive.errors import ConversionError, MissingDependencyError
from modelarchive.exchange import Bundle
from modelarchive.exchange.onnxruntime import build_network
from tests.cases.networks import network

onnxruntime = pytest.importorskip("onnxruntime")
sessions = pytest.importorskip("modelarchive.exchange.onnxruntime.sessions")

X = np.random.default_rng(0).standard_normal((2, 3, 8, 8), np.float32)


@pytest.fixture
def net():
    made = nn.Sequential(nn.Conv2D(40, 3, activation="relu"), nn.GlobalAvgPool2D(), nn.Dense(50), nn.Dense(2))
    made.initialize("xavier", seed=0)
    made(X)
    return made


@pytest.fixture
def archive(net, tmp_path):
    ma.save_model(tmp_path / "net.h5", net, inputs=X, durable=False)
    return tmp_path / "net.h5"


def states(x, y):
    return {"sum": x + y, "both": [x, (y,)]}


class Two(nn.Block):
    def forward(self, x, y):
        return states(x, y)


class TestCalls:
    def test_inputs_go_by_position_and_by_name_and_outputs_in_their_containers(self, tmp_path):
        x, y = np.ones((2, 3), np.float32), np.full((2, 3), 2, np.float32)
        declared = [{"name": name, "shape": ["batch", 3], "dtype": "float32"} for name in ("x", "y")]
        ma.save_model(tmp_path / "two.h5", Two(), inputs=declared, durable=False)
        fast = ma.load_model(tmp_path / "two.h5", backend="onnxruntime")
        wanted = states(x, y)
        for found in (fast(x, y), fast(x, y=y), fast(y=y, x=x)):
            assert list(found) == ["sum", "both"]
            np.testing.assert_array_equal(found["sum"], wanted["sum"])
            assert isinstance(found["both"][1], tuple)
            np.testing.assert_array_equal(found["both"][1][0], y)
        assert [each["name"] for each in fast.inputs] == ["x", "y"]
        for arguments, named, words in (
            ((x,), {}, "the input 'y' is missing"),
            ((x, None), {}, "the input 'y' is missing"),
            ((None, y), {}, "the input 'x' is missing"),
            ((x, y, y), {}, "expected 2 inputs (x, y), found 3"),
            ((x, y), {"x": x}, "the input 'x' is given twice"),
            ((x,), {"z": y}, "there is no input 'z'"),
            ((x, y[:1]), {}, "the axis 'batch' has one size in all inputs, found 2 in x (2, 3) and 1 in y (1, 3)"),
            ((x, y[:, :2]), {}, "input y: expected float32 (batch, 3), found float32 (2, 2)"),
            ((x, y.astype(int)), {}, "input y: expected float32 (batch, 3), found int64 (2, 3)"),
            ((x, y.astype(np.float64)), {}, "ONNX Runtime takes no other: pass it as .astype('float32')"),
        ):
            with pytest.raises(ValueError, match=re.escape(words)):
                fast(*arguments, **named)

    def test_what_may_be_left_out_is_filled_as_in_numpy(self, tmp_path):
        net, (ids, *_) = network("BERT")
        ma.save_model(tmp_path / "bert.h5", net, inputs=(ids, np.ones_like(ids)), durable=False)
        with ma.open(tmp_path / "bert.h5") as opened:
            architecture = dict(opened.architecture)
            parameters = dict(opened.parameters)
        first, second = (dict(each) for each in architecture["inputs"][:2])
        architecture["inputs"] = [first, second | {"default": 1}]
        bundle = Bundle(parameters, architecture)
        fast, slow = build_network(bundle, threads=1), bundle.build()
        for arguments in ((ids,), (ids, None), (ids, np.ones_like(ids))):
            for one, other in zip(fast(*arguments), slow(*arguments), strict=True):
                np.testing.assert_allclose(one, other, atol=1e-5)

    def test_narrower_numbers_are_widened_and_tensors_of_others_taken(self, tmp_path):
        net = nn.Embedding(9, 4)
        net.initialize(seed=0)
        ids = np.array([[1, 8]])
        ma.save_model(tmp_path / "words.h5", net, inputs=ids, durable=False)
        fast = ma.load_model(tmp_path / "words.h5", backend="onnxruntime")
        for each in (ids, ids.astype(np.int32), ids.astype(">i8"), ids.tolist(), ids[:, ::-1][:, ::-1]):
            np.testing.assert_array_equal(fast(each), net(ids))
        torch = pytest.importorskip("torch")
        np.testing.assert_array_equal(fast(torch.from_numpy(ids)), net(ids))

    def test_what_fails_in_the_runtime_is_told_in_one_sentence(self, tmp_path):
        net = nn.Embedding(9, 4)
        net.initialize(seed=0)
        ma.save_model(tmp_path / "words.h5", net, inputs=np.array([[1]]), durable=False)
        with pytest.raises(ValueError, match=r"^ONNX Runtime cannot run the network on x \(1, 1\): ") as caught:
            ma.load_model(tmp_path / "words.h5", backend="onnxruntime")(np.array([[99]]))
        assert "onnxruntime_src" not in str(caught.value)
        assert "\n" not in str(caught.value)


class TestParts:
    def test_a_block_and_what_lies_between_two(self, net, archive):
        hidden = net[0](X)
        features = ma.load_model(archive, block="0", backend="onnxruntime")
        np.testing.assert_allclose(features(X), hidden, atol=1e-6)
        assert list(features.parameters) == ["weight", "bias"]
        rest = ma.load_model(archive, after="0", backend="onnxruntime")
        np.testing.assert_allclose(rest(hidden), net(X), atol=1e-6)

    def test_a_block_whose_inputs_are_not_known_asks_for_them(self, net):
        arrays = {name: each.value() for name, each in net.collect_params().items()}
        bundle = Bundle(arrays, ma.describe(net, X) | {"inputs": []})
        with pytest.raises(ConversionError, match="not declared") as caught:
            build_network(bundle)
        assert caught.value.hint == "pass inputs=x, an example of what it takes"
        np.testing.assert_allclose(build_network(bundle, inputs=X)(X), net(X), atol=1e-6)


class TestParameters:
    def test_they_are_the_archives(self, net, archive):
        fast = ma.load_model(archive, backend="onnxruntime")
        for name, each in net.collect_params().items():
            np.testing.assert_array_equal(fast.parameters[name], each.value())

    def test_they_are_mapped_from_the_file_and_none_is_copied(self, tmp_path):
        """In a process of its own: what it takes beside the file is a fraction of the parameters."""
        table = nn.Embedding(2**18, 64)  # 64 MiB, whose rows are taken and not packed
        table.initialize(seed=0)
        ma.save_model(tmp_path / "table.h5", table, inputs=np.array([[1, 2]]), durable=False)
        wanted = table(np.array([[5, 2**18 - 1]]))
        program = """
import sys, numpy, onnxruntime, modelarchive
def anonymous():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon"))
x = numpy.array([[5, 2**18 - 1]])
modelarchive.load_model(sys.argv[2], backend="onnxruntime", threads=1)(x)
before = anonymous()
network = modelarchive.load_model(sys.argv[1], backend="onnxruntime", threads=1)
numpy.save(sys.argv[3], network(x))
print(anonymous() - before)
"""
        if not os.path.exists("/proc/self/status"):  # noqa: PTH110 - of this system
            pytest.skip("needs Linux's /proc")
        small = nn.Embedding(2**18, 1)
        small.initialize(seed=0)
        ma.save_model(tmp_path / "small.h5", small, inputs=np.array([[1, 2]]), durable=False)
        command = [sys.executable, "-c", program, tmp_path / "table.h5", tmp_path / "small.h5", tmp_path / "y.npy"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert int(done.stdout) < 16 * 1024, done.stdout  # KiB
        np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), wanted)

    def test_a_file_that_took_the_place_of_the_one_that_was_opened_is_not_mapped(self, net, archive, monkeypatch):
        other = nn.Sequential(nn.Conv2D(40, 3, activation="relu"), nn.GlobalAvgPool2D(), nn.Dense(50), nn.Dense(2))
        other.initialize("xavier", seed=1)
        made = sessions._made

        def replaced(*arguments):
            ma.save_model(archive, other, inputs=X, durable=False)
            return made(*arguments)

        monkeypatch.setattr(sessions, "_made", replaced)
        fast = ma.load_model(archive, backend="onnxruntime")
        np.testing.assert_allclose(fast(X), net(X), atol=1e-6)

    @pytest.mark.parametrize("how", ["compressed", "onnx", "moved", "in memory"])
    def test_others_are_handed_over(self, how, net, archive, tmp_path):
        if how == "compressed":
            ma.save_model(archive, net, inputs=X, compression="deflate", durable=False)
        if how == "onnx":
            ma.convert(archive, tmp_path / "net.onnx", durable=False)
            archive = tmp_path / "net.onnx"
        if how == "moved":
            with ma.open(archive) as opened:
                archive.rename(tmp_path / "elsewhere.h5")
                fast = build_network(opened)
        else:
            fast = build_network(net, inputs=X) if how == "in memory" else ma.load_model(archive, backend="onnxruntime")
        np.testing.assert_allclose(fast(X), net(X), atol=1e-6)


class TestSettings:
    def test_threads_and_others_are_the_sessions(self, archive):
        level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        fast = ma.load_model(
            archive,
            backend="onnxruntime",
            threads=2,
            providers=[("CPUExecutionProvider", {})],
            session_options={"graph_optimization_level": level, "session.disable_prepacking": "1"},
        )
        options = fast.session.get_session_options()
        assert (options.intra_op_num_threads, options.graph_optimization_level) == (2, level)
        assert options.get_session_config_entry("session.disable_prepacking") == "1"

    def test_a_provider_that_does_not_start_is_told(self, archive, monkeypatch):
        """ONNX Runtime goes on without one whose libraries are not there."""
        known = ["CUDAExecutionProvider", *onnxruntime.get_available_providers()]
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: known)
        with pytest.warns(UserWarning, match="CUDAExecutionProvider"):
            fast = ma.load_model(
                archive, backend="onnxruntime", providers=["CUDAExecutionProvider", "CPUExecutionProvider"]
            )
        told = [note.what for note in fast.notes if note.where == "providers['CUDAExecutionProvider']"]
        assert told == ["was not started: the network runs on CPUExecutionProvider"]

    @pytest.mark.parametrize(
        ("wrong", "words"),
        [
            ({"threads": 0}, "threads is 0, expected a whole number from 1 on"),
            ({"threads": True}, "threads is True"),
            ({"providers": ["NoneExecutionProvider"]}, "names 'NoneExecutionProvider', and this ONNX Runtime has"),
            ({"session_options": {"nothing": 1}}, "session_options has 'nothing', expected one of"),
            ({"session_options": {"logid": 1}}, "session_options['logid'] is 1"),
        ],
    )
    def test_what_is_none_is_refused(self, archive, wrong, words):
        with pytest.raises(ValueError, match=re.escape(words)):
            ma.load_model(archive, backend="onnxruntime", **wrong)

    def test_options_of_other_backends(self, archive):
        with pytest.raises(TypeError, match="which backend='onnxruntime' does not take: give backend='torch'"):
            ma.load_model(archive, backend="onnxruntime", device="cpu")
        with pytest.raises(TypeError, match="which backend='numpy' does not take: give backend='onnxruntime'"):
            ma.load_model(archive, threads=2)
        with pytest.raises(ValueError, match="backend is 'onnxruntime', expected 'numpy' or 'torch'"):
            ma.load(archive, backend="onnxruntime")


class TestRefusals:
    def test_what_onnx_cannot_say_is_named(self, tmp_path):
        net = nn.Activation("relu")
        ma.save_model(tmp_path / "relu.h5", net, inputs=[{"shape": [2], "dtype": "complex64"}], durable=False)
        with pytest.raises(ConversionError, match="ONNX's operators take no complex numbers") as caught:
            ma.load_model(tmp_path / "relu.h5", backend="onnxruntime")
        assert "NumPy" in caught.value.hint

    def test_without_onnx_runtime_the_extra_is_named(self, archive, monkeypatch):
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(MissingDependencyError) as caught:
            ma.load_model(archive, backend="onnxruntime")
        assert caught.value.extra == "onnxruntime"
        assert caught.value.hint == "pip install 'modelarchive[onnxruntime]'"
