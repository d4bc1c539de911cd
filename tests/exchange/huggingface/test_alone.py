"""The parameters of a folder alone: of a model of any type, and where nothing says of which it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import modelarchive as ma
from modelarchive.exchange import huggingface
from tests.conftest import ROOT

FOREIGN = ROOT / "tests" / "data" / "foreign" / "huggingface"
ARRAYS = {"encoder.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "encoder.bias": np.ones(2, np.float32)}


def _folder(path: Path, name: str = "model.safetensors", **config: object) -> Path:
    path.mkdir()
    if config:
        (path / "config.json").write_text(json.dumps(config))
    save_file(ARRAYS, path / name)
    return path


def test_as_the_files_name_them() -> None:
    bundle = huggingface.read(FOREIGN / "gpt2", parameters_only=True)
    stored = load_file(FOREIGN / "gpt2" / "model.safetensors")
    assert set(bundle.parameters) == set(stored)
    assert all(bundle.parameters[name].tobytes() == array.tobytes() for name, array in stored.items())
    assert bundle.architecture is None
    assert bundle.metadata["huggingface"]["config"]["model_type"] == "gpt2"
    assert [note.where for note in bundle.notes] == ["(files)"]


def test_shards() -> None:
    bundle = huggingface.read(FOREIGN / "bert", parameters_only=True)
    assert set(bundle.parameters) == set(
        json.loads((FOREIGN / "bert" / "model.safetensors.index.json").read_text())["weight_map"]
    )
    assert not any("safetensors" in note.what for note in bundle.notes)


def test_a_type_that_is_not_known(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "bart", model_type="bart", architectures=["BartModel"])
    for door in (ma.load_model, lambda path: ma.convert(path, tmp_path / "x.h5")):
        with pytest.raises(ma.ConversionError, match="'bart' is none of") as caught:
            door(folder)
        assert "--parameters-only" in str(caught.value.hint)
    with pytest.warns(UserWarning, match=r"\(architecture\): there is none.*'bart' is none of"):
        assert set(ma.load(folder)) == set(ARRAYS)
    notes = ma.convert(folder, tmp_path / "x.h5", parameters_only=True)
    assert [str(note) for note in notes] == ["(architecture): there is none: only the parameters were asked for"]
    with ma.open(tmp_path / "x.h5") as archive:
        assert np.array_equal(archive.parameters["encoder.weight"], ARRAYS["encoder.weight"])
        assert archive.metadata["huggingface"]["config"]["model_type"] == "bart"


@pytest.mark.parametrize(
    ("beside", "name", "told"),
    [
        ({}, "model.safetensors", "the folder has no config.json"),
        ({}, "pytorch_model.safetensors", "the folder has no config.json"),
        ({}, "model.fp16.safetensors", "the folder has no config.json"),
        ({"adapter_config.json": '{"peft_type": "LORA"}'}, "adapter_model.safetensors", "this is a PEFT adapter"),
    ],
)
def test_weights_alone_are_read(beside: dict[str, str], name: str, told: str, tmp_path: Path) -> None:
    folder = _folder(tmp_path / "net", name)
    for each, text in beside.items():
        (folder / each).write_text(text)
    notes = ma.convert(folder, tmp_path / "net.h5")
    assert str(notes[0]).startswith(f"(architecture): there is none: {told}")
    assert np.array_equal(ma.load(tmp_path / "net.h5")["encoder.weight"], ARRAYS["encoder.weight"])
    with pytest.raises(ma.FormatError, match=told):
        ma.load_model(folder)
    with ma.open(tmp_path / "net.h5") as archive:
        kept = archive.metadata.get("huggingface", {})
    assert kept.get("adapter") == (json.loads(beside["adapter_config.json"]) if beside else None)


def test_the_hint_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from modelarchive.cli import main

    _folder(tmp_path / "net", "diffusion_pytorch_model.safetensors", _class_name="UNet")
    with pytest.raises(ma.ConversionError, match="1 thing cannot be") as caught:
        models_read(tmp_path / "net")
    assert "--parameters-only" in str(caught.value.hint)
    monkeypatch.chdir(tmp_path)
    assert main(["convert", "net", "net.h5", "--parameters-only"]) == 0
    assert np.array_equal(ma.load("net.h5")["encoder.weight"], ARRAYS["encoder.weight"])


def models_read(path: Path) -> object:
    from modelarchive import models

    return models.read(path)


def test_a_part_of_a_folder_of_diffusers(tmp_path: Path) -> None:
    (tmp_path / "pipe").mkdir()
    (tmp_path / "pipe" / "model_index.json").write_text("{}")
    _folder(tmp_path / "pipe" / "unet", "diffusion_pytorch_model.safetensors", _class_name="UNet2DConditionModel")
    with pytest.raises(ma.FormatError, match="a folder of diffusers") as caught:
        ma.convert(tmp_path / "pipe", tmp_path / "x.h5", parameters_only=True)
    assert f"convert {tmp_path / 'pipe'}/unet unet.h5 --parameters-only" in str(caught.value.hint)
    assert ma.convert(tmp_path / "pipe" / "unet", tmp_path / "x.h5", parameters_only=True)
    assert set(ma.load(tmp_path / "x.h5")) == set(ARRAYS)


def test_several_files_that_are_not_of_one_model(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "net", "a.safetensors")
    save_file(ARRAYS, folder / "b.safetensors")
    with pytest.raises(ma.FormatError, match=r"several files of parameters: a\.safetensors, b\.safetensors"):
        huggingface.read(folder, parameters_only=True)


@pytest.mark.parametrize("several", [False, True])
def test_arrays_out_of_pickles(several: bool, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    stored = load_file(FOREIGN / "gpt2" / "model.safetensors")
    folder = shutil.copytree(FOREIGN / "gpt2", tmp_path / "gpt2")
    (folder / "model.safetensors").unlink()
    tensors = {name: torch.from_numpy(array.copy()) for name, array in stored.items()}
    if several:
        names = sorted(tensors)
        parts = {"pytorch_model-00001-of-00002.bin": names[::2], "pytorch_model-00002-of-00002.bin": names[1::2]}
        for part, inside in parts.items():
            torch.save({name: tensors[name] for name in inside}, folder / part)
        index = {"weight_map": {name: part for part, inside in parts.items() for name in inside}}
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    else:
        torch.save(tensors, folder / "pytorch_model.bin")
    found, expected = huggingface.read(folder), huggingface.read(FOREIGN / "gpt2")
    assert found.architecture == expected.architecture
    assert all(found.parameters[name].tobytes() == array.tobytes() for name, array in expected.parameters.items())
    assert "pytorch_model" not in str(found.notes)
    (folder / "config.json").unlink()
    alone = huggingface.read(folder)
    assert (alone.reason, set(alone.parameters)) == ("the folder has no config.json", set(stored))


def test_a_variant_is_read_where_it_is_the_only_one(tmp_path: Path) -> None:
    folder = shutil.copytree(FOREIGN / "gpt2", tmp_path / "gpt2")
    (folder / "model.safetensors").rename(folder / "model.fp16.safetensors")
    found = huggingface.read(folder)
    assert found.architecture == huggingface.read(FOREIGN / "gpt2").architecture
    assert "the parameters are those of 'model.fp16.safetensors'" in str(found.notes)
    shutil.copy(folder / "model.fp16.safetensors", folder / "model.bf16.safetensors")
    with pytest.raises(ma.FormatError, match=r"several files of parameters: model\.bf16") as several:
        huggingface.read(folder)
    assert several.value.hint == "variant='bf16' reads model.bf16.safetensors"
    shutil.copy(folder / "model.fp16.safetensors", folder / "model.safetensors")
    assert "those of" not in str(huggingface.read(folder).notes)


def test_the_variant_that_is_asked_for_is_read(tmp_path: Path) -> None:
    folder = shutil.copytree(FOREIGN / "gpt2", tmp_path / "gpt2")
    arrays = load_file(folder / "model.safetensors")
    halves = {name: array.astype(np.float16) for name, array in arrays.items()}
    save_file(halves, folder / "model.fp16.safetensors")
    names = list(halves)
    parts = {"model-00001-of-00002.q-8.safetensors": names[::2], "model-00002-of-00002.q-8.safetensors": names[1::2]}
    for part, inside in parts.items():
        save_file({name: halves[name] for name in inside}, folder / part)
    index = {"weight_map": {name: part for part, inside in parts.items() for name in inside}}
    (folder / "model.safetensors.index.q-8.json").write_text(json.dumps(index))
    usual = huggingface.read(folder)
    for variant in ("fp16", "q-8"):
        for options in ({}, {"parameters_only": True}):
            found = huggingface.read(folder, variant=variant, **options)
            assert {array.dtype.name for array in found.parameters.values()} == {"float16"}
            assert "those of" not in str(found.notes)
    notes = ma.convert(folder, tmp_path / "x.h5", variant="fp16", durable=False)
    assert any("model.safetensors" in note.what for note in notes)  # which was left out
    with ma.open(tmp_path / "x.h5") as opened:
        assert opened.architecture is not None
        assert opened.parameters["lm_head.weight"].dtype == np.float16
        assert set(opened.parameters) == set(usual.parameters)
    with pytest.raises(ma.FormatError, match="has no parameters of the variant 'fp8'") as missing:
        huggingface.read(folder, variant="fp8")
    assert "fp16" in missing.value.hint
    with pytest.raises(ValueError, match="expected a word"):
        huggingface.read(folder, variant="../fp16")
    with pytest.raises(ValueError, match="variant is for Hugging Face folders, the source is a model archive"):
        ma.convert(tmp_path / "x.h5", tmp_path / "y.h5", variant="fp16")


def test_others_weights_only(tmp_path: Path) -> None:
    folder = tmp_path / "net"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "gpt2", "vocab_size": 8}')
    (folder / "flax_model.msgpack").write_bytes(b"x")
    for options in ({}, {"parameters_only": True}):
        with pytest.raises(ma.FormatError, match=r"has flax_model\.msgpack, but no model\.safetensors"):
            huggingface.read(folder, **options)


def test_code_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    folder = tmp_path / "net"
    folder.mkdir()
    (folder / "pytorch_model.bin").write_bytes(b"cposix\nsystem\n(S'touch was_run'\ntR.")
    with pytest.raises(ma.ModelArchiveError):
        huggingface.read(folder)


def test_a_link_out_of_the_folder_is_none_of_it(tmp_path: Path) -> None:
    save_file(ARRAYS, tmp_path / "secret.safetensors")
    folder = tmp_path / "net"
    folder.mkdir()
    (folder / "x.safetensors").symlink_to(tmp_path / "secret.safetensors")
    with pytest.raises(ma.UnsafeFileError, match="link"):
        huggingface.read(folder, parameters_only=True)


def test_whole_models_load_from_a_folder() -> None:
    with np.load(FOREIGN / "gpt2" / "io.npz") as io:
        tokens = io[next(name for name in io.files if "input" in name)]
    assert ma.load_model(FOREIGN / "gpt2")(tokens) is not None


def test_an_adapter_alone_is_read_and_told(tmp_path: Path) -> None:
    names = ["base_model.model.q.lora_A.weight", "base_model.model.q.lora_B.weight"]
    save_file(dict.fromkeys(names, ARRAYS["encoder.weight"]), tmp_path / "adapter_model.safetensors")
    notes = ma.convert(tmp_path / "adapter_model.safetensors", tmp_path / "x.h5")
    assert ["PEFT adapter" in str(note) for note in notes] == [True]
    with pytest.warns(UserWarning, match="PEFT adapter"):
        assert list(ma.load(tmp_path / "adapter_model.safetensors")) == names


def test_a_folder_stays_as_it_was(tmp_path: Path) -> None:
    folder = shutil.copytree(FOREIGN / "gpt2", tmp_path / "gpt2")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    ma.convert(folder, tmp_path / "x.h5", parameters_only=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("present", [[1], [1, 2], [2]])
def test_shards_without_their_index_are_no_model(tmp_path: Path, present: list[int]) -> None:
    """One of two alone would pass for all that there is."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    for number in present:
        save_file(ARRAYS, folder / f"model-0000{number}-of-00002.safetensors")
    for read in (ma.load, ma.load_model, lambda path: ma.convert(path, tmp_path / "x.h5", parameters_only=True)):
        with pytest.raises(ma.FormatError, match="has no index of its shards") as caught:
            read(folder)
        assert "model.safetensors.index.json" in str(caught.value.hint)
    with pytest.warns(UserWarning, match="is one of 2 by its name"):
        assert set(ma.load(folder / f"model-0000{present[0]}-of-00002.safetensors")) == set(ARRAYS)
