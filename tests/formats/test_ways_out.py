"""The hints are followed, with the programs that they name."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import models
from modelarchive.exchange import onnx, safetensors
from modelarchive.exchange import torch as torch_room
from tests.conftest import ROOT
from tests.formats import mistakes

KERAS = ROOT / "tests" / "data" / "foreign" / "keras"


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _hint(path: str) -> str:
    with pytest.raises(ma.FormatError) as caught:
        models.read(path)
    return str(caught.value.hint)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_torchscript_and_export(torch: Any) -> None:
    net = torch.nn.Linear(3, 2)
    torch.jit.trace(net, torch.ones(1, 3)).save("net.pt")
    hint = _hint("net.pt")
    exec(hint.partition(" keeps")[0], {"torch": torch})
    assert np.array_equal(ma.load("net-parameters.pt")["weight"], net.weight.detach().numpy())
    torch.export.save(torch.export.export(net, (torch.ones(1, 3),)), "net.pt2")
    ma.convert("net.pt2", "net.h5")
    found = ma.load_model("net.h5")(np.ones((1, 3), np.float32))
    np.testing.assert_allclose(found, net(torch.ones(1, 3)).detach().numpy(), rtol=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_a_distributed_checkpoint(torch: Any) -> None:
    dcp = pytest.importorskip("torch.distributed.checkpoint")
    net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
    dcp.save({"model": net.state_dict()}, checkpoint_id="ck")
    for path in ("ck", "ck/__0_0.distcp"):
        hint = _hint(path)
        assert "dcp_to_torch_save('ck', 'model.pt')" in hint
    __import__("torch.distributed.checkpoint.format_utils")
    exec(hint.partition(" puts")[0], {"torch": torch})
    assert set(ma.load("model.pt")) == set(net.state_dict())
    Path("renamed.pt").write_bytes(Path("ck/__0_0.distcp").read_bytes())
    assert "a file of its own" in _hint("renamed.pt")


def test_pieces_are_put_together(torch: Any) -> None:
    module = pytest.importorskip("torch.distributed.checkpoint._consolidate_hf_safetensors")
    from safetensors.numpy import save_file

    whole = np.arange(30, dtype=np.float32).reshape(10, 3)
    Path("ck").mkdir()
    for rank in (0, 1):
        about = {
            "DCP_SHARDING_INFO": json.dumps({"w": {"saved_offsets": [5 * rank, 0]}}),
            "DCP_VERSION": "1.0",
            "format": "pt",
        }
        save_file(
            {"w": whole[5 * rank : 5 * rank + 5].copy()}, f"ck/shard-0000{rank}-model-00001-of-00001.safetensors", about
        )
    hint = _hint("ck/shard-00000-model-00001-of-00001.safetensors")
    call = hint.partition(", with")[0].replace(", ...", "")
    Path("out").mkdir()
    exec(
        call,
        {"torch": __import__("torch.distributed.checkpoint._consolidate_hf_safetensors"), "FOLDER": "ck", "OUT": "out"},
    )
    assert module
    assert np.array_equal(ma.load("out/model-00001-of-00001.safetensors")["w"], whole)


def test_a_checkpoint_of_one_process_is_whole() -> None:
    """It has the same mark as the pieces of several, and is no mistake."""
    from safetensors.numpy import save_file

    about = {"DCP_SHARDING_INFO": json.dumps({"w": {"saved_offsets": [0, 0]}}), "DCP_VERSION": "1.0", "format": "pt"}
    w = np.ones((4, 3), np.float32)
    save_file({"w": w}, "model-00001-of-00001.safetensors", about)
    bundle = models.read("model-00001-of-00001.safetensors")
    assert [note.where for note in bundle.notes] == ["(shards)"]
    assert bundle.metadata == {"format": "pt"}
    index = {"weight_map": {"w": "model-00001-of-00001.safetensors"}}
    Path("model.safetensors.index.json").write_text(json.dumps(index))
    for path in ("model-00001-of-00001.safetensors", "model.safetensors.index.json"):
        assert np.array_equal(ma.load(path)["w"], w)
    save_file({"w": w}, "shard-00001-model-00001-of-00001.safetensors", about)
    with pytest.raises(ma.FormatError, match="are pieces of larger ones"):
        ma.load("shard-00001-model-00001-of-00001.safetensors")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_what_the_distributed_writer_writes(torch: Any) -> None:
    dcp = pytest.importorskip("torch.distributed.checkpoint")
    hf_storage = pytest.importorskip("torch.distributed.checkpoint.hf_storage")
    state = {"w": torch.arange(12.0).reshape(4, 3), "b": torch.ones(2)}
    dcp.save(state, storage_writer=hf_storage.HuggingFaceStorageWriter("whole", fqn_to_index_mapping={"w": 1, "b": 2}))
    found = ma.load("whole/model.safetensors.index.json")
    assert {name: array.tolist() for name, array in found.items()} == {k: v.tolist() for k, v in state.items()}


def test_the_folder_of_a_run() -> None:
    with ma.Checkpoints("run", random=False) as run:
        for step in (5, 10):
            run.save(step, model={"a": np.full(3, step)})
    for use in (ma.load, ma.load_model, ma.open):
        with pytest.raises(ma.FormatError, match=r"several checkpoints\n.*run/step-00000010\.h5 is the newest"):
            use("run")
    assert ma.load("run/step-00000010.h5")["a"].tolist() == [10, 10, 10]


def test_two_objects_in_one_file(torch: Any) -> None:
    for is_zip in (True, False):
        with Path("two.pt").open("wb") as file:
            for name in "ab":
                torch.save({name: torch.ones(3)}, file, _use_new_zipfile_serialization=is_zip)
        assert "a file of its own" in _hint("two.pt")
        torch.save({"a": torch.ones(3), "b": torch.zeros(2)}, "one.pt", _use_new_zipfile_serialization=is_zip)
        assert set(ma.load("one.pt")) == {"a", "b"}


def test_shards_of_pytorch(torch: Any) -> None:
    torch.save({"a": torch.ones(2), "b": torch.zeros(3)}, "pytorch_model-00001-of-00002.bin")
    torch.save({"c": torch.full((2, 2), 7.0)}, "pytorch_model-00002-of-00002.bin")
    weight_map = {"a": 1, "b": 1, "c": 2}
    index = {"metadata": {}, "weight_map": {k: f"pytorch_model-0000{v}-of-00002.bin" for k, v in weight_map.items()}}
    Path("pytorch_model.bin.index.json").write_text(json.dumps(index))
    found = ma.load("pytorch_model.bin.index.json")
    assert list(found) == ["a", "b", "c"]
    assert found["c"].tolist() == [[7, 7], [7, 7]]
    Path("pytorch_model-00002-of-00002.bin").write_text(mistakes.POINTER)
    with pytest.raises(ma.FormatError, match="Git LFS pointer") as caught:
        ma.load("pytorch_model.bin.index.json")
    assert str(caught.value.file) == "pytorch_model-00002-of-00002.bin"
    Path("itself.bin.index.json").write_text(json.dumps({"weight_map": {"a": "itself.bin.index.json"}}))
    with pytest.raises(ma.FormatError):
        torch_room.read("itself.bin.index.json")
    index["weight_map"]["d"] = "../x.bin"
    Path("pytorch_model.bin.index.json").write_text(json.dumps(index))
    with pytest.raises(ma.UnsafeFileError, match="own folder"):
        ma.load("pytorch_model.bin.index.json")


def test_a_configuration_and_its_weights(capsys: pytest.CaptureFixture[str]) -> None:
    from modelarchive.cli import main

    config, weights = (str(KERAS / name) for name in ("new-image.json", "new-image.weights.h5"))
    assert f"--config {config}`" in _hint(config)
    notes = ma.convert(weights, "weights.h5")
    assert [note.where for note in notes][:1] == ["(architecture)"]
    assert "config=" in notes[0].what
    with pytest.raises(ma.FormatError, match=r"convert takes config=, the file that model.to_json"):
        ma.load_model(weights)
    assert main(["convert", weights, "weights.h5"]) == 0
    said = capsys.readouterr().out
    assert "a file of weights holds no architecture: convert takes --config model.json, the file" in said
    assert main(["convert", weights, "whole.h5", "--config", config]) == 0
    with ma.open("whole.h5") as archive:
        assert archive.has_architecture
    assert main(["convert", "whole.h5", "again.h5", "--config", config]) == 2
    with pytest.raises(ValueError, match="Keras' files of weights"):
        ma.convert("whole.h5", "again.h5", config=config)


def test_whole_files_of_others_are_models() -> None:
    for name, format_ in (("new-image.keras", "keras"), ("torch-image.onnx", "onnx")):
        folder = KERAS.parent / format_
        assert models.read(folder / name).architecture
        assert ma.load_model(folder / name)


def test_parameters_alone_of_an_archive() -> None:
    from modelarchive import nn

    net = nn.Dense(2)
    net.initialize(seed=0)
    ma.save_model("net.h5", net, inputs=np.ones((1, 3), np.float32))
    notes = ma.convert("net.h5", "alone.h5", parameters_only=True)
    assert [str(note) for note in notes] == ["(architecture): there is none: only the parameters were asked for"]
    with ma.open("alone.h5") as archive:
        assert not archive.has_architecture
        assert list(archive.parameters) == ["weight", "bias"]
    assert ma.convert("alone.h5", "again.h5") == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
def test_a_pipe_is_not_waited_for() -> None:
    os.mkfifo("pipe.onnx")
    for door in (ma.load, ma.open, models.read, onnx.read, safetensors.read):
        with pytest.raises(ma.FormatError, match="is no regular file"):
            door("pipe.onnx")


def test_an_index_of_shards_of_any_name() -> None:
    from safetensors.numpy import save_file

    save_file({"w": np.ones(2, np.float32)}, "part-1")
    Path("x.index.json").write_text(json.dumps({"metadata": {}, "weight_map": {"w": "part-1"}}))
    assert ma.load("x.index.json")["w"].tolist() == [1, 1]


def test_word_vectors_with_tabs() -> None:
    for text in (
        "the\t1.5\t2\na\t3\t4\n",
        "the\t1.5 2\na\t3 4\n",
        "2 2\nthe\t1.5\t2\na\t3\t4\n",
        "the 1.5\t2\t\na 3\t4\r\n",
    ):
        Path("words.txt").write_text(text)
        bundle = models.read("words.txt")
        assert bundle.tokens["weight"] == ["the", "a"], text
        assert bundle.parameters["weight"].tolist() == [[1.5, 2], [3, 4]]
    Path("words.txt").write_text("a word 1 2\nthe\tother 3 4\n")
    with pytest.raises(ma.FormatError) as caught:
        models.read("words.txt")
    assert caught.value.hint
    Path("words.txt").write_text("one 1 2\nthe\tother 3 4\n")
    assert models.read("words.txt").tokens["weight"] == ["one", "the\tother"]


def test_an_hdf5_file_whose_groups_are_called_anything() -> None:
    """Weights of a subclassed model of Keras: nothing at the beginning of the file says whose they are."""
    h5py = pytest.importorskip("h5py")
    with h5py.File("own.weights.h5", "w") as file:
        file["encoder/vars/0"] = np.ones((5, 3), np.float32)
        file["head/vars/0"] = np.zeros((3, 2), np.float32)
    assert len(ma.load("own.weights.h5")) == 2
    assert ma.convert("own.weights.h5", "x.h5")[0].where == "(architecture)"


def test_an_archive_without_its_index_is_an_archive() -> None:
    ma.save("x.h5", {"a": np.arange(3), "b": [np.ones(2), "text"]})
    h5py = pytest.importorskip("h5py")
    with h5py.File("x.h5") as old, h5py.File("plain.h5", "w") as new:
        for name in old:
            old.copy(name, new)
        new.attrs.update(old.attrs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ma.StaleIndexWarning)
        found = ma.load("plain.h5")
    assert found["b"][1] == "text"
    assert found["a"].tolist() == [0, 1, 2]


# From here on what exchange.keras gives: read(path, parameters_only=True), and an index of shards.


def test_keras_layers_of_their_authors() -> None:
    source = json.loads((KERAS / "new-image.json").read_text())
    import zipfile

    with zipfile.ZipFile(KERAS / "new-image.keras") as old, zipfile.ZipFile("own.keras", "w") as new:
        for member in old.namelist():
            content = old.read(member)
            if member == "config.json":
                content = content.replace(b'"class_name": "Dense"', b'"class_name": "MyDense"')
            new.writestr(member, content)
    assert source
    with pytest.raises(ma.ConversionError, match="MyDense") as caught:
        ma.load_model("own.keras")
    assert "--parameters-only" in str(caught.value.hint)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = ma.load("own.keras")
    assert found
    told = [str(each.message) for each in said if "(architecture)" in str(each.message)]
    assert len(told) == 1
    assert "there is none" in told[0]
    assert "MyDense" in told[0]
    notes = ma.convert("own.keras", "own.h5", parameters_only=True)
    assert [note.where for note in notes].count("(architecture)") == 1
    with ma.open("own.h5") as archive:
        assert len(archive.parameters) == len(found)


def test_keras_shards() -> None:
    h5py = pytest.importorskip("h5py")
    for number, name in enumerate(("dense", "dense_1")):
        with h5py.File(f"m_0000{number}.weights.h5", "w") as file:
            file[f"layers/{name}/vars/0"] = np.full((2, 3), number, np.float32)
    index = {"layers/dense/vars": "m_00000.weights.h5", "layers/dense_1/vars": "m_00001.weights.h5"}
    Path("m.weights.json").write_text(json.dumps({"metadata": {"total_size": 48}, "weight_map": index}))
    assert len(ma.load("m.weights.json")) == 2
