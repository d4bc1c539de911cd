"""Arrays of other libraries are stored as the same numbers, and told by name where they have none."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import dtypes, nn, tensors


class TestProtocols:
    class Exported:
        """Has ``__array__``, as JAX's and many other arrays."""

        def __init__(self, array: np.ndarray) -> None:
            self.array = array

        def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
            return self.array

    class Capsule:
        """Has DLPack only."""

        def __init__(self, array: np.ndarray) -> None:
            self.array = array

        def __dlpack__(self, **options: object) -> object:
            return self.array.__dlpack__(**options)

        def __dlpack_device__(self) -> tuple[int, int]:
            return self.array.__dlpack_device__()

    @pytest.mark.parametrize("kind", [Exported, Capsule])
    def test_they_are_saved(self, tmp_path, kind):
        array = np.arange(6, dtype=np.int16).reshape(2, 3)
        ma.save(tmp_path / "a.h5", {"x": kind(array), "deep": [kind(array.T)]})
        found = ma.load(tmp_path / "a.h5")
        assert found["x"].dtype == np.int16
        assert np.array_equal(found["x"], array)
        assert np.array_equal(found["deep"][0], array.T)

    def test_one_that_fails_is_told_with_its_place(self, tmp_path):
        class OnDevice:
            def __array__(self, dtype=None, copy=None):
                raise TypeError("implicit conversion to a host array is not allowed\nsecond line")

        with pytest.raises(
            ma.UnsupportedDataError, match=r"data\['x'\]\[0\]: .*implicit conversion.*numpy.asarray"
        ) as told:
            ma.save(tmp_path / "a.h5", {"x": [OnDevice()]})
        assert "second line" not in str(told.value)
        assert not (tmp_path / "a.h5").exists()

    def test_a_class_is_no_array(self, tmp_path):
        with pytest.raises(ma.UnsupportedDataError, match=r"builtins\.type is no array"):
            ma.save(tmp_path / "a.h5", {"x": self.Exported})

    def test_numbers_of_no_axes_are_metadata(self, tmp_path):
        metadata = {"loss": np.float32(0.5), "steps": [np.int64(3), self.Exported(np.array(1.5))]}
        ma.save_stream(tmp_path / "a.h5", [("x", np.ones(2))], announced={"x": np.ones(2)}, metadata=metadata)
        with ma.open(tmp_path / "a.h5") as archive:
            assert archive.metadata == {"loss": 0.5, "steps": [3, 1.5]}

    def test_arrays_with_axes_are_none(self, tmp_path):
        with pytest.raises(ma.UnsupportedDataError, match=r"metadata\['loss'\].*tolist"):
            ma.save_stream(tmp_path / "a.h5", [], announced={}, metadata={"loss": np.ones(2)})


@pytest.mark.slow
def test_no_framework_is_imported_for_it():
    code = (
        "import sys, tempfile, numpy, modelarchive as ma\n"
        "path = tempfile.mktemp()\n"
        "ma.save(path, {'x': numpy.ones(2), 'y': [1, 'a', None]}); ma.load(path)\n"
        "print([name for name in ('torch', 'keras', 'jax', 'tensorflow') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class TestTorch:
    @pytest.fixture(autouse=True)
    def _torch(self):
        self.torch = pytest.importorskip("torch")

    def _saved(self, tmp_path, data):
        ma.save(tmp_path / "a.h5", data)
        with ma.open(tmp_path / "a.h5") as archive:
            archive.verify()
        return ma.load(tmp_path / "a.h5", backend="torch")

    def test_every_dtype_comes_back(self, tmp_path):
        torch = self.torch
        for name in dtypes.DENSE:
            given = torch.tensor([0, 1, 1], dtype=getattr(torch, name))
            found = self._saved(tmp_path, given)
            assert found.dtype == given.dtype, name
            assert torch.equal(found.view(torch.uint8), given.view(torch.uint8)), name

    def test_memory_of_every_kind(self, tmp_path):
        torch = self.torch
        whole = torch.arange(12.0).reshape(3, 4)
        given = {
            "strided": whole[:, ::2],
            "turned": whole.T,
            "expanded": torch.ones(1, 2).expand(3, 2),
            "conjugated": torch.tensor([1 + 2j]).conj(),
            "negated": torch.tensor([1 + 2j]).conj().imag,
            "number": torch.tensor(2.5),
            "nothing": torch.empty(0, 3),
            "trained": torch.nn.Parameter(whole.clone()),
            "narrow": whole.to(torch.bfloat16).T,
        }
        found = self._saved(tmp_path, given)
        for name, tensor in given.items():
            assert found[name].dtype == tensor.dtype
            assert torch.equal(found[name], tensor.detach()), name

    def test_a_state_dict_and_what_it_shares(self, tmp_path):
        torch = self.torch
        net = torch.nn.ModuleDict({"embedding": torch.nn.Embedding(50, 8), "output": torch.nn.Linear(8, 50)})
        net["output"].weight = net["embedding"].weight
        found = self._saved(tmp_path, net.state_dict())
        assert list(found) == list(net.state_dict())
        assert found["output.weight"] is found["embedding.weight"]
        with ma.open(tmp_path / "a.h5") as archive:
            assert archive.parameter_count == 50 * 8 + 50
        again = torch.nn.ModuleDict({"embedding": torch.nn.Embedding(50, 8), "output": torch.nn.Linear(8, 50)})
        again.load_state_dict(found)
        assert torch.equal(again["output"].weight, net["output"].weight)

    def test_parts_of_one_storage_are_no_shared_parameter(self, tmp_path):
        whole = self.torch.arange(6.0)
        found = self._saved(tmp_path, {"first": whole[:3], "last": whole[3:], "whole": whole, "rows": whole.view(2, 3)})
        assert found["first"].tolist() == [0, 1, 2]
        assert found["last"].tolist() == [3, 4, 5]
        assert found["rows"].shape == (2, 3)

    def test_a_subclass_without_a_storage_of_its_own(self, tmp_path):
        class Tagged(self.torch.Tensor):
            pass

        found = self._saved(tmp_path, self.torch.ones(2).as_subclass(Tagged))
        assert type(found) is self.torch.Tensor

    def test_a_subclass_with_an_answer_of_its_own_to_everything(self, tmp_path):
        torch = self.torch

        class Stubborn(torch.Tensor):
            @classmethod
            def __torch_function__(cls, function, types, args=(), kwargs=None):
                raise RuntimeError("no")

        with torch._C.DisableTorchFunctionSubclass():
            given = torch.arange(3.0).as_subclass(Stubborn)
        assert self._saved(tmp_path, {"x": given})["x"].tolist() == [0, 1, 2]

    def test_what_most_are_is_seen_as_all_others_are(self, monkeypatch):
        torch = self.torch
        base = torch.arange(24.0)
        several = [
            base,
            base[3:],
            base.reshape(4, 6),
            base.reshape(4, 6).T,
            base[:0],
            base[5],
            torch.nn.Parameter(base),
        ]
        several += [base.to(torch.int64), base.bfloat16(), torch.ones(2, dtype=torch.complex64).conj(), base.half()]
        several += [torch.nn.Parameter(base, requires_grad=False), base.requires_grad_() * 2, torch._neg_view(base)]
        with torch.inference_mode():
            several.append(torch.ones(3))

        def seen(tensor):
            found = tensors.foreign(tensor)
            return (found.shape, found.dtype, found.is_plain, found.memory, found.read().tobytes())

        usual = [seen(each) for each in several]
        assert sum(tensors._is_usual(each, torch) for each in several) > 6
        monkeypatch.setattr(tensors, "_is_usual", lambda tensor, torch: False)
        assert usual == [seen(each) for each in several]

    def test_memory_that_was_given_back_is_never_read(self, tmp_path):
        torch = self.torch
        gone, short = torch.ones(1000), torch.ones(1000)
        gone.untyped_storage().resize_(0)
        short.untyped_storage().resize_(8)
        whole = torch.ones(4)
        with pytest.raises(ma.UnsupportedDataError, match="memory was given back") as told:
            ma.save(tmp_path / "a.h5", {"gone": gone, "short": short, "whole": whole, "end": whole[3:]})
        assert [where for where, _ in told.value.problems] == ["data['gone']", "data['short']"]
        assert not (tmp_path / "a.h5").exists()

    def test_tensors_that_lie_nowhere(self, tmp_path):
        zeros = self.torch._efficientzerotensor(2, 3)
        found = self._saved(tmp_path, {"a": zeros, "b": self.torch._efficientzerotensor(6)})
        assert found["a"].tolist() == [[0, 0, 0], [0, 0, 0]]
        assert found["b"].tolist() == [0] * 6
        with pytest.raises(ma.UnsupportedDataError, match="inside of a transform"):
            ma.save(tmp_path / "b.h5", self.torch._to_functional_tensor(self.torch.ones(2)))

    def test_a_mapping_that_makes_its_tensors_when_asked(self):
        """Memory of one that is gone may be that of the next, and they are not one parameter for it."""
        torch = self.torch

        class Made(Mapping):
            def __len__(self):
                return 20

            def __iter__(self):
                return (f"k{number}" for number in range(20))

            def __getitem__(self, name):
                return torch.full((64, 64), float(name[1:]))[::2]

        target = {name: torch.zeros(32, 64) for name in Made()}
        ma.transplant(Made(), target)
        assert [float(each.mean()) for each in target.values()] == [*range(20)]

    @pytest.mark.filterwarnings(
        "ignore:.*nested tensors is in prototype", "ignore:ComplexHalf", "ignore:.*quantiz", "ignore:Sparse CSR"
    )
    def test_tensors_without_values_are_told_all_at_once(self, tmp_path):
        torch = self.torch
        from torch._subclasses.fake_tensor import FakeTensorMode

        with FakeTensorMode():
            fake = torch.ones(2)
        given = {
            "meta": (torch.ones(2, device="meta"), "to_empty"),
            "fake": (fake, "FakeTensorMode"),
            "lazy": (torch.nn.LazyLinear(3).weight, "call the module once"),
            "sparse": (torch.eye(3).to_sparse(), "to_dense"),
            "rows": (torch.eye(3).to_sparse_csr(), "to_dense"),
            "nested": (torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), "to_padded_tensor"),
            "jagged": (torch.nested.nested_tensor([torch.ones(2)], layout=torch.jagged), "to_padded_tensor"),
            "quantised": (torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), "dequantize"),
            "half": (torch.zeros(2, dtype=torch.complex32), "to(torch.complex64)"),
        }
        with pytest.raises(ma.UnsupportedDataError) as told:
            ma.save(tmp_path / "a.h5", {name: tensor for name, (tensor, _) in given.items()})
        lines = dict(told.value.problems)
        for name, (_, way) in given.items():
            assert way in lines[f"data[{name!r}]"], name

    @pytest.mark.slow
    def test_a_distributed_tensor_is_told_by_its_way_out(self, tmp_path):
        code = """
import os, sys, torch, torch.distributed as dist, torch.distributed.tensor as dt
from torch.distributed.device_mesh import init_device_mesh
import modelarchive as ma
dist.init_process_group("gloo", init_method="file://" + sys.argv[1], rank=0, world_size=1)
given = dt.distribute_tensor(torch.arange(4.0), init_device_mesh("cpu", (1,)), [dt.Shard(0)])
try:
    ma.save(sys.argv[2], {"w": given})
except ma.UnsupportedDataError as error:
    print(error)
ma.save(sys.argv[2], {"w": given.full_tensor()})
print(ma.load(sys.argv[2])["w"].tolist())
dist.destroy_process_group()
"""
        arguments = [str(tmp_path / "store"), str(tmp_path / "a.h5")]
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
        assert "data['w']: a DTensor" in done.stdout
        assert "full_tensor()" in done.stdout
        assert done.stdout.strip().endswith("[0.0, 1.0, 2.0, 3.0]")

    def test_a_wrapper_subclass_is_told(self, tmp_path):
        torch = self.torch

        class Wrapped(torch.Tensor):
            @staticmethod
            def __new__(cls, inner):
                return torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)

            @classmethod
            def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
                raise NotImplementedError

        with pytest.raises(ma.UnsupportedDataError, match=r"a Wrapped, a subclass of torch\.Tensor"):
            ma.save(tmp_path / "a.h5", Wrapped(torch.ones(2)))

    def test_loaded_tensors_are_views_of_the_file_and_leave_it_alone(self, tmp_path):
        ma.save(tmp_path / "a.h5", {"x": np.arange(4.0), "words": np.array(["a"]), "more": [(np.ones(1), 3)]})
        found = ma.load(tmp_path / "a.h5", backend="torch", verify=True)
        found["x"][0] = 9
        assert found["words"].tolist() == ["a"]
        assert isinstance(found["more"][0], tuple)
        assert ma.load(tmp_path / "a.h5")["x"].tolist() == [0, 1, 2, 3]
        assert ma.load(tmp_path / "a.h5", backend="torch", device="meta")["x"].is_meta

    def test_what_else_takes_arrays(self, tmp_path):
        torch = self.torch
        net = nn.Sequential(nn.Dense(2, in_units=3))
        net.initialize(seed=0)
        x = torch.ones(2, 3)
        for given in (x, x.clone().requires_grad_()):
            assert np.array_equal(net(given), net(x.numpy()))
        ma.save_model(tmp_path / "m.h5", net, inputs=x, metadata={"loss": torch.tensor(0.5, requires_grad=True)})
        with ma.open(tmp_path / "m.h5") as archive:
            assert archive.metadata == {"loss": 0.5}
        net[0].weight.set_data(torch.nn.Parameter(torch.ones(2, 3)))
        built = ma.build(ma.describe(net, x), {"0.weight": torch.ones(2, 3), "0.bias": torch.zeros(2)})
        assert np.array_equal(built(x), np.full((2, 2), 3, np.float32))
        pieces = [("w", torch.ones(1, 3)), ("w", torch.zeros(1, 3).requires_grad_())]
        ma.save_stream(tmp_path / "s.h5", pieces, announced={"w": torch.empty(2, 3, device="meta")})
        assert ma.load(tmp_path / "s.h5")["w"].tolist() == [[1, 1, 1], [0, 0, 0]]
        from modelarchive.exchange import safetensors

        safetensors.write({"w": torch.ones(2, dtype=torch.bfloat16)}, tmp_path / "w.safetensors")
        assert str(ma.load(tmp_path / "w.safetensors")["w"].dtype) == "bfloat16"

    def test_a_stream_of_others_is_told_by_name(self, tmp_path):
        with pytest.raises(ma.UnsupportedDataError, match="w: a sparse tensor"):
            ma.save_stream(
                tmp_path / "s.h5", [("w", self.torch.eye(2).to_sparse())], announced={"w": ((2, 2), "float32")}
            )
        assert not (tmp_path / "s.h5").exists()


class TestKeras:
    def test_variables(self, tmp_path):
        keras = pytest.importorskip("keras")
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)])
        ma.save(
            tmp_path / "a.h5",
            {each.path: each for each in model.variables} | {"b": keras.Variable([1.0], dtype="bfloat16")},
        )
        found = ma.load(tmp_path / "a.h5")
        for variable in model.variables:
            assert np.array_equal(found[variable.path], keras.ops.convert_to_numpy(variable))
        assert str(found["b"].dtype) == "bfloat16"

    def test_an_optimizer_is_told_what_to_save(self, tmp_path):
        keras = pytest.importorskip("keras")
        optimizer = keras.optimizers.Adam()
        optimizer.build([keras.Variable([1.0])])
        with pytest.raises(ma.UnsupportedDataError, match=r"each.path: each for each in optimizer.variables"):
            ma.save(tmp_path / "a.h5", optimizer)
        ma.save(tmp_path / "a.h5", {each.path: each for each in optimizer.variables})

    def test_symbols_are_told(self, tmp_path):
        keras = pytest.importorskip("keras")
        with pytest.raises(ma.UnsupportedDataError, match="KerasTensor stands for values"):
            ma.save(tmp_path / "a.h5", keras.Input((3,)))


class TestJax:
    def test_arrays(self, tmp_path):
        jax = pytest.importorskip("jax")
        given = {
            "weight": jax.numpy.arange(6.0).reshape(2, 3),
            "narrow": jax.numpy.ones(3, "bfloat16"),
            "eight": jax.numpy.ones(2, "float8_e4m3fn"),
            "number": jax.numpy.float32(2.5),
        }
        ma.save_stream(tmp_path / "s.h5", given.items(), announced=given, metadata={"loss": given["number"]})
        ma.save(tmp_path / "a.h5", given)
        for path in ("a.h5", "s.h5"):
            found = ma.load(tmp_path / path)
            for name, array in given.items():
                assert found[name].dtype == array.dtype
                assert found[name].tobytes() == np.asarray(array).tobytes()
        with ma.open(tmp_path / "s.h5") as archive:
            assert archive.metadata == {"loss": 2.5}

    def test_what_has_no_values_is_told(self, tmp_path):
        jax = pytest.importorskip("jax")
        gone = jax.numpy.ones(3)
        gone.delete()
        with pytest.raises(ma.UnsupportedDataError) as told:
            ma.save(tmp_path / "a.h5", {"gone": gone, "key": jax.random.key(0)})
        assert [where for where, _ in told.value.problems] == ["data['gone']", "data['key']"]
        with pytest.raises(ma.UnsupportedDataError, match="Tracer that cannot be given"):
            jax.jit(lambda x: ma.save(tmp_path / "a.h5", x))(jax.numpy.ones(2))

    def test_they_give_and_cannot_receive(self):
        jax = pytest.importorskip("jax")
        target = {"weight": np.zeros((2, 3), "f4")}
        ma.transplant({"weight": jax.numpy.ones((2, 3))}, target)
        assert target["weight"].all()
        with pytest.raises(ma.ParameterError, match=r"found a ArrayImpl that cannot be changed"):
            ma.transplant(target, {"weight": jax.numpy.ones((2, 3))})


def test_arrays_of_a_mapping_are_told_together():
    with pytest.raises(ma.UnsupportedDataError) as told:
        tensors.arrays_of({"a": np.ones(1), "b": "text", "c": {}})
    assert [where for where, _ in told.value.problems] == ["b", "c"]
