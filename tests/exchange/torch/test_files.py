"""Files of torch.save, both ways: what it writes comes back bit by bit, and what is written it loads."""

import importlib
import os
import random
import zipfile

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange.bundle import deferred
from modelarchive.exchange.torch import read, write

torch = pytest.importorskip("torch")

DTYPES = ["float32", "float64", "float16", "bfloat16", "int8", "int64", "uint8", "bool", "complex64", "float8_e4m3fn"]


def state():
    values = torch.arange(24).reshape(2, 3, 4)
    return {f"{name}.weight": values.to(getattr(torch, name)) for name in DTYPES}


@pytest.mark.parametrize("legacy", [False, True])
def test_every_dtype_comes_back(tmp_path, legacy):
    given = {name: tensor for name, tensor in state().items() if not (legacy and "float8" in name)}
    torch.save(given, tmp_path / "x.pt", _use_new_zipfile_serialization=not legacy)
    bundle = read(tmp_path / "x.pt")
    assert bundle.architecture is None
    assert "parameters only" in bundle.reason
    assert bundle.notes == []
    for name, tensor in given.items():
        assert bundle.parameters[name].dtype.name == name.split(".")[0]
        assert bundle.parameters[name].tobytes() == bytes(tensor.view(torch.uint8).numpy())


def test_strides_scalars_and_shared_tensors(tmp_path):
    whole = torch.randn(4, 5)
    given = {
        "a": whole,
        "b": whole,
        "t": whole.t(),
        "part": whole[1:3, ::2],
        "scalar": torch.tensor(3.0),
        "e": whole[:0],
    }
    torch.save(given, tmp_path / "x.pt")
    found = read(tmp_path / "x.pt").parameters
    for name, tensor in given.items():
        np.testing.assert_array_equal(found[name], tensor.numpy())
    assert deferred(found)["a"] is deferred(found)["b"]
    loaded = ma.load(tmp_path / "x.pt")
    assert loaded["a"] is loaded["b"]


def test_checkpoints_keep_plain_values_and_tell_the_rest(tmp_path):
    module = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(module.parameters())
    given = {"epoch": 3, "loss": float("nan"), "state_dict": module.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(given, tmp_path / "x.pth")
    bundle = read(tmp_path / "x.pth")
    assert list(bundle.parameters) == ["weight", "bias"]
    assert bundle.metadata == {"epoch": 3, "loss": "nan"}
    assert [note.where for note in bundle.notes] == ["optimizer"]


def test_dicts_and_lists_inside_of_each_other(tmp_path):
    one, two = torch.zeros(2), torch.ones(3)
    torch.save({"model": {"ema": {"weight": one}, "steps": [two, one], "x": 1}, "y": 2}, tmp_path / "x.pt")
    bundle = read(tmp_path / "x.pt")
    assert list(bundle.parameters) == ["ema.weight", "steps.0", "steps.1"]
    assert bundle.metadata == {"y": 2}
    assert [note.where for note in bundle.notes] == ["x"]
    torch.save({"a": {"b": {"c": one}}, "args": {"lr": 1}}, tmp_path / "x.pt")
    assert list(read(tmp_path / "x.pt").parameters) == ["a.b.c"]
    torch.save([two, {"w": one}], tmp_path / "x.pt")
    bundle = read(tmp_path / "x.pt")
    assert list(bundle.parameters) == ["0", "1.w"]
    assert "called by their places" in str(bundle.notes[0])


@pytest.mark.parametrize(
    "value", [{1: torch.zeros(2), "1": torch.ones(2)}, {"a.b": torch.zeros(2), "a": {"b": torch.ones(2)}}]
)
def test_names_that_become_the_same_are_refused(tmp_path, value):
    torch.save(value, tmp_path / "x.pt")
    with pytest.raises(ma.ConversionError, match="name of two tensors"):
        read(tmp_path / "x.pt")


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_program_is_told_from_tensors(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "x.pt")
    with pytest.raises(ma.FormatError, match="TorchScript program"):
        read(tmp_path / "x.pt")


def test_archives_go_to_pt_and_back(tmp_path):
    net = ma.nn.Dense(3, in_units=4)
    net.initialize(seed=0)
    ma.save_model(tmp_path / "net.h5", net, inputs=np.zeros((1, 4), np.float32), metadata={"license": "MIT"})
    notes = write(tmp_path / "net.h5", tmp_path / "net.pt")
    assert [note.where for note in notes] == ["(architecture)", "metadata 'license'"]
    loaded = torch.load(tmp_path / "net.pt", weights_only=True)
    module = torch.nn.Linear(4, 3)
    module.load_state_dict(loaded, strict=True)
    np.testing.assert_array_equal(module.weight.detach().numpy(), net.weight.data())
    np.testing.assert_array_equal(ma.load(tmp_path / "net.pt")["bias"], net.bias.data())


def test_arrays_that_have_to_be_read_are_not_gathered_in_memory(tmp_path, monkeypatch):
    module = importlib.import_module("modelarchive.exchange.torch.writing")
    arrays = {f"a{at}": np.full((300, 1000), at, "f4") for at in range(3)} | {"small": np.ones((), "f4")}
    ma.save(tmp_path / "plain.h5", arrays)
    ma.save(tmp_path / "packed.h5", arrays, compression="deflate")
    spooled = []
    original = module._spooled
    monkeypatch.setattr(module, "_spooled", lambda array, spool: spooled.append(array.shape) or original(array, spool))
    for name, count in (("plain", 0), ("packed", 3)):
        ma.convert(tmp_path / f"{name}.h5", tmp_path / f"{name}.pt")
        assert len(spooled) == count
        loaded = torch.load(tmp_path / f"{name}.pt", weights_only=True)
        assert all(loaded[key].numpy().tobytes() == array.tobytes() for key, array in arrays.items())
    assert len(list(tmp_path.iterdir())) == 4


def test_shared_parameters_are_written_once(tmp_path):
    array = np.zeros((100, 100), np.float32)
    write({"a": array, "b": array}, tmp_path / "x.pt", durable=False)
    assert (tmp_path / "x.pt").stat().st_size < 60_000
    loaded = torch.load(tmp_path / "x.pt", weights_only=True)
    assert loaded["a"].data_ptr() == loaded["b"].data_ptr()


class Evil:
    def __reduce__(self):
        return os.system, ("touch evil",)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("value", [Evil(), {"a": Evil()}, torch.optim.SGD([torch.zeros(2)], lr=1).__class__])
def test_files_with_code_alone_are_refused_and_nothing_runs(tmp_path, monkeypatch, value, legacy):
    monkeypatch.chdir(tmp_path)
    torch.save(value, tmp_path / "x.pt", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ma.UnsafeFileError) as caught:
        read(tmp_path / "x.pt")
    assert caught.value.rule == "pickle"
    assert len(str(caught.value)) < 300
    assert not (tmp_path / "evil").exists()


def test_an_old_file_cut_at_any_byte_is_cut_short_and_holds_no_code(tmp_path):
    torch.save({"a": torch.arange(3.0)}, tmp_path / "x.pt", _use_new_zipfile_serialization=False)
    content = (tmp_path / "x.pt").read_bytes()
    for size in range(15, len(content)):
        (tmp_path / "cut.pt").write_bytes(content[:size])
        with pytest.raises(ma.FormatError, match="is cut short"):
            read(tmp_path / "cut.pt")


def test_zip_bombs_are_refused(tmp_path):
    torch.save({"a": torch.zeros(1000, 1000)}, tmp_path / "x.pt")
    with zipfile.ZipFile(tmp_path / "x.pt") as source, zipfile.ZipFile(tmp_path / "bomb.pt", "w", 8) as bomb:
        for name in source.namelist():
            bomb.writestr(name, source.read(name))
    assert (tmp_path / "bomb.pt").stat().st_size < 100_000
    with pytest.raises(ma.UnsafeFileError, match="compressed"):
        read(tmp_path / "bomb.pt")


def test_views_that_are_larger_than_the_file_are_refused(tmp_path):
    torch.save({"a": torch.zeros(1).expand(1 << 40)}, tmp_path / "x.pt")
    with pytest.raises(ma.ConversionError, match="larger"):
        read(tmp_path / "x.pt")


def test_dicts_without_end_are_refused(tmp_path):
    endless = {"weight": torch.zeros(1)}
    endless["one"] = endless["other"] = endless
    torch.save(endless, tmp_path / "x.pt")
    with pytest.raises(ma.FormatError, match="without end"):
        read(tmp_path / "x.pt")


def test_sparse_and_quantised_tensors_are_listed(tmp_path):
    torch.save({"a": torch.eye(3).to_sparse(), "b": torch.zeros(2)}, tmp_path / "x.pt")
    with pytest.raises(ma.ConversionError, match="sparse"):
        read(tmp_path / "x.pt")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02}q\x00.", b"\x80\x02K\x01.", b"text", b"\x80" * 100])
def test_what_is_no_such_file_is_refused(tmp_path, content):
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises((ma.FormatError, ma.UnsafeFileError)):
        read(tmp_path / "x.pt")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("legacy", [False, True])
def test_damaged_files_give_designed_errors(tmp_path, legacy):
    torch.save(
        {"a": torch.randn(5, 7), "b.c": torch.zeros(3)}, tmp_path / "x.pt", _use_new_zipfile_serialization=not legacy
    )
    whole = (tmp_path / "x.pt").read_bytes()
    rng = random.Random(0)
    for attempt in range(150):
        data = bytearray(whole)
        if attempt % 3 == 0:
            del data[rng.randrange(len(data)) :]
        for _ in range(rng.randrange(1, 4) if data else 0):
            data[rng.randrange(len(data))] = rng.randrange(256)
        (tmp_path / "damaged.pt").write_bytes(data)
        try:
            found = read(tmp_path / "damaged.pt").parameters
        except (ma.FormatError, ma.UnsafeFileError, ma.ConversionError):
            continue
        assert sum(array.nbytes for array in found.values()) <= 4 * len(whole)
