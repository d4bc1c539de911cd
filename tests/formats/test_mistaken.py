"""What is handed over by mistake is told by name, wherever it is met, and the way out is one."""

from __future__ import annotations

import contextlib
import json
import pickle
import shlex
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import modelarchive as ma
from modelarchive import errors, formats, models, nn
from modelarchive.cli import main
from modelarchive.exchange import numpy, onnx, safetensors, vectors
from modelarchive.formats import mistaken, refusing
from modelarchive.formats.content import OnDisk
from tests.conftest import ROOT
from tests.formats import mistakes
from tests.sampling import some

FOREIGN = ROOT / "tests" / "data" / "foreign"
FILES = {mistake.key: mistake for mistake in mistaken.FILES}
FOLDERS = {mistake.key: mistake for mistake in (*mistaken.FOLDERS, *mistaken.ANY_FOLDER)}


def _fill(path: Path) -> Any:
    return nn.Dense(2).load_parameters(path)


#: Everything that takes a file.
DOORS: dict[str, Callable[[Path], Any]] = {
    "load": ma.load,
    "load mapped": lambda path: ma.load(path, mmap=True),
    "load_model": ma.load_model,
    "open": ma.open,
    "convert": lambda path: ma.convert(path, path.parent / "out" / "out.npz"),
    "read": models.read,
    "load_parameters": _fill,
    "transplant": lambda path: ma.transplant(path, nn.Dense(2)),
}
#: What these say of a file that they would read, or of one of its parts.
_ALONE = {"pieces": "torch.distributed.checkpoint"}


def refused(path: Path) -> ma.FormatError | None:
    with OnDisk(path) as content:
        return refusing.find(content)


def _says(mistake: Any) -> str:
    """The words of a message before the first that depends on the file."""
    return str(mistake.says).partition("{")[0].strip()


def test_there_is_one_of_each() -> None:
    assert set(mistakes.FILES) == set(FILES)
    assert set(mistakes.FOLDERS) == set(FOLDERS)
    assert len({each.says for each in (*FILES.values(), *FOLDERS.values())}) >= len(FILES) + len(FOLDERS) - 1


@pytest.mark.parametrize(
    ("make", "key"),
    [*((mistakes.file, key) for key in mistakes.FILES), *((mistakes.folder, key) for key in mistakes.FOLDERS)],
)
@pytest.mark.parametrize("door", some(DOORS))
def test_it_is_told(door: str, make: Callable[[str, Path], Path], key: str, tmp_path: Path) -> None:
    path = make(key, tmp_path)
    (tmp_path / "out").mkdir()
    with pytest.raises(ma.FormatError) as caught:
        DOORS[door](path)
    assert caught.value.message.startswith(_says(FILES[key] if make is mistakes.file else FOLDERS[key]))
    assert caught.value.hint
    assert caught.value.file == str(path)
    assert "first bytes" not in caught.value.hint
    assert "save_model() write archives" not in caught.value.hint
    assert "\n" not in caught.value.message
    assert not [*(tmp_path / "out").iterdir()]


@pytest.mark.parametrize("suffix", ["safetensors", "pt", "onnx", "keras", "npz", "bin", "params", "txt", ""])
@pytest.mark.parametrize("key", ["lfs", "page", "empty", "ggml", "cut-zip", "cut-safetensors", "xml"])
def test_whatever_it_is_called(key: str, suffix: str, tmp_path: Path) -> None:
    path = mistakes.file(key, tmp_path, f"x.{suffix}")
    for door in (ma.load, models.read):
        with pytest.raises(ma.FormatError) as caught:
            door(path)
        assert caught.value.message.startswith(_says(FILES[key]))


def test_a_folder_that_is_read_is_no_archive() -> None:
    with pytest.raises(ma.FormatError, match="is a Hugging Face folder, not a model archive") as caught:
        ma.open(FOREIGN / "huggingface" / "gpt2")
    assert "/gpt2 gpt2.h5` makes one of it" in str(caught.value.hint)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_every_protocol(protocol: int, tmp_path: Path) -> None:
    for value in ({"a": np.arange(3)}, np.ones(2), [1, 2.5], {"w": [1]}):
        (tmp_path / "x.pkl").write_bytes(pickle.dumps(value, protocol))
        with pytest.raises(ma.FormatError, match="is a Python pickle"):
            ma.load(tmp_path / "x.pkl")


def test_what_is_in_a_folder_is_named(tmp_path: Path) -> None:
    for number in range(7):
        (tmp_path / f"{number}.txt").write_text("nothing")
    for door in (ma.load, ma.open, models.read):
        with pytest.raises(
            ma.FormatError, match=r"in it: 0\.txt, 1\.txt, 2\.txt, 3\.txt, 4\.txt, and 2 more\n"
        ) as caught:
            door(tmp_path)
        assert "config.json" in str(caught.value.hint)
    (tmp_path / "\x1b[2J").write_text("a terminal is cleared by its name")
    with pytest.raises(ma.FormatError, match="and 3 more") as caught:
        ma.load(tmp_path)
    (tmp_path / "0.txt").rename(tmp_path / "\n")
    with pytest.raises(ma.FormatError) as caught:
        ma.load(tmp_path)
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("key", ["tflite", "tensorflow-graph", "savedmodel", "diffusers", "tensorflowjs-folder"])
def test_names_in_commands_are_names_there(key: str, tmp_path: Path) -> None:
    """A shell that is given the command does nothing else, and finds what it names from here."""
    make = mistakes.folder if key in FOLDERS else mistakes.file
    named = make(key, tmp_path).rename(tmp_path / "it's $(touch here).bin")
    with pytest.raises(ma.FormatError) as caught:
        ma.load(named)
    words = shlex.split(str(caught.value.hint).split("`")[1])
    assert any(word.startswith(str(named)) for word in words)


def test_a_folder_leads_to_the_models_in_it(tmp_path: Path) -> None:
    inside = tmp_path / "models" / "bert"
    inside.mkdir(parents=True)
    ma.save(inside / "b.h5", {"w": np.ones(2)})
    (inside / "a.h5").write_bytes(b"none")
    with pytest.raises(ma.FormatError, match=r"in it: a model archive: b\.h5\n") as caught:
        ma.load(inside)
    path = str(caught.value.hint).removeprefix("give the file: ")
    assert list(ma.load(path)) == ["w"]
    ma.save(inside / "shards", {"w": np.ones(2)}, max_shard_size=10)
    (inside / "a.h5").unlink()
    (inside / "b.h5").unlink()
    with pytest.raises(ma.FormatError, match=r"in it: shards\n") as caught:
        ma.load(inside)
    assert list(ma.load(str(caught.value.hint).removeprefix("give one of them: "))) == ["w"]


@pytest.mark.parametrize("read", [safetensors.read, numpy.read, vectors.read, onnx.read])
@pytest.mark.parametrize("key", ["lfs", "page"])
def test_the_rooms_tell_it_too(read: Callable[[Path], Any], key: str, tmp_path: Path) -> None:
    path = mistakes.file(key, tmp_path, "model.bin")
    with pytest.raises(ma.FormatError) as caught:
        read(path)
    assert caught.value.message.startswith(_says(FILES[key]))


@pytest.mark.parametrize(
    ("name", "key"),
    [
        *((f"model{which}.safetensors", key) for which in ("", "-00002-of-00002")
          for key in ("lfs", "page", "cut-safetensors", "empty")),
        *(("config.json", key) for key in ("lfs", "page", "empty")),
    ],
)  # fmt: skip
def test_inside_a_folder(key: str, name: str, tmp_path: Path) -> None:
    source = FOREIGN / "huggingface" / ("bert" if "-of-" in name else "gpt2")
    folder = shutil.copytree(source, tmp_path / "model")
    (folder / name).write_bytes(mistakes.FILES[key][1]())
    for door in (ma.load, ma.load_model, models.read):
        with pytest.raises(ma.FormatError) as caught:
            door(folder)
        assert caught.value.message.startswith(_says(FILES[key]))
        assert caught.value.file == str(folder / name)


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt"])
def test_a_pointer_does_not_pass_for_a_text(name: str, tmp_path: Path) -> None:
    folder = shutil.copytree(FOREIGN / "huggingface" / "gpt2", tmp_path / "model")
    (folder / name).write_text(mistakes.POINTER)
    with pytest.raises(ma.FormatError, match="Git LFS pointer") as caught:
        models.read(folder)
    assert caught.value.file == str(folder / name)


def test_data_beside_an_onnx_model(tmp_path: Path) -> None:
    for name in ("torch-text.onnx", "torch-text.onnx.data"):
        shutil.copy(FOREIGN / "onnx" / name, tmp_path / name)
    (tmp_path / "torch-text.onnx.data").write_text(mistakes.POINTER)
    with pytest.raises(ma.FormatError, match="Git LFS pointer"):
        ma.load(tmp_path / "torch-text.onnx")


def test_an_archive_that_is_cut(tmp_path: Path) -> None:
    ma.save(tmp_path / "x.h5", {"a": np.zeros(5000), "b": np.ones(5000), "text": "x" * 3000})
    whole = (tmp_path / "x.h5").read_bytes()
    for size in (100, 600, 5000, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.h5").write_bytes(whole[:size])
        for door in (ma.load, ma.open):
            with pytest.raises(ma.FormatError) as caught:
                door(tmp_path / "cut.h5")
            assert caught.value.message.startswith("is cut short: it has"), size
            assert f"{size:,}" in caught.value.message
            assert "reindex" not in str(caught.value.hint)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9, 0.999])
@pytest.mark.parametrize(
    "name",
    ["keras/new-image.keras", "keras/new-image.weights.h5", "keras/old-image.h5", "numpy/new.npz", "numpy/new.npy",
     "safetensors/dtypes.safetensors", "onnx/torch-image.onnx", "mxnet/mlp.params"],
)  # fmt: skip
def test_a_download_that_was_cut(name: str, share: float, tmp_path: Path) -> None:
    whole = (FOREIGN / name).read_bytes()
    path = tmp_path / Path(name).name
    path.write_bytes(whole[: int(len(whole) * share)])
    for door in (ma.load, models.read):
        with pytest.raises(ma.FormatError) as caught:
            door(path)
        assert any(word in str(caught.value) for word in ("cut short", "from where it came from again"))
        assert "by its first bytes" not in str(caught.value)


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("convert", "verify", "show"):
        path = mistakes.file("lfs", tmp_path, "model.safetensors")
        out = [str(tmp_path / "out.h5")] if command == "convert" else []
        assert main([command, str(path), *out]) == 4
        said = capsys.readouterr().err
        assert "is a Git LFS pointer" in said
        assert "git lfs pull" in said


_HONEST = sorted(
    path
    for path in (ROOT / "tests" / "data").rglob("*")
    if path.suffix in (".h5", ".safetensors", ".npz", ".npy", ".onnx", ".keras", ".params", ".bin")
)


@pytest.mark.parametrize("path", _HONEST, ids=lambda path: path.name)
def test_an_honest_file_is_none_of_these(path: Path) -> None:
    assert refused(path) is None
    assert formats.recognise(path)


def test_an_honest_file_with_such_a_beginning_is_read(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("<!doctype 1 2\n<html> 3 4\n")
    assert ma.load(tmp_path / "words.txt")["weight"].shape == (2, 2)
    (tmp_path / "pickles.txt").write_text("version 1 2\n{ 3 4\n")
    assert ma.load(tmp_path / "pickles.txt")["weight"].shape == (2, 2)


_HEADS = [
    *(content() for _, content in mistakes.FILES.values()),
    b"\x93NUMPY",
    b"PK\3\4", b"PK\5\6", b"\x89HDF\r\n\x1a\n", b"\x80\2", b"\x12\1\0\0\0\0\0\0", b"{", b"[", b"\x08\x07\x12",
    b"\x0a\x20\x0a\x04", b'\x20\0\0\0\0\0\0\0{"a":', b"word 1 2\n", b"a\t1\t2\n", b"x\x9c", b"<", b"10 3\n",
]  # fmt: skip


@pytest.mark.slow
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(_HEADS), st.integers(0, 200), st.binary(max_size=200))
def test_any_bytes(tmp_path: Path, head: bytes, kept: int, rest: bytes) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(head[:kept] + rest)
    found = refused(path)
    for door in (formats.recognise, ma.load):
        said = None
        with warnings.catch_warnings(), contextlib.suppress(errors.ModelArchiveError):
            warnings.simplefilter("ignore")
            said = door(path)
        assert said is not None or found is None or isinstance(found, ma.FormatError)


@pytest.mark.slow
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([*mistakes.FILES]), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=8))
def test_any_bytes_changed(tmp_path: Path, key: str, changes: list[tuple[int, int]]) -> None:
    content = bytearray(mistakes.FILES[key][1]())
    for at, value in changes:
        if at < len(content):
            content[at] = value
    (tmp_path / "x").write_bytes(content)
    found = refused(tmp_path / "x")
    assert found is None or isinstance(found, ma.FormatError)


def test_an_index_of_other_shards(tmp_path: Path) -> None:
    source = FOREIGN / "safetensors"
    for path in source.glob("model*"):
        shutil.copy(path, tmp_path / path.name)
    index = tmp_path / "model.safetensors.index.json"
    one, two, three = sorted(tmp_path.glob("model-*"))
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)
    with pytest.raises(ma.FormatError, match="not in the shard that it names") as caught:
        ma.load(index)
    assert "changed places" in str(caught.value.hint)
    three.unlink()
    with pytest.raises(ma.FormatError, match="1 file not there that it names"):
        ma.load(index)


def test_keras_index_is_none_of_safetensors(tmp_path: Path) -> None:
    for weight_map in (
        {"layers/dense": "m_00000.weights.h5"},
        {"layers/dense": ["m_00000.weights.h5", "m_00001.weights.h5"]},
    ):
        path = tmp_path / "m.weights.json"
        path.write_text(json.dumps({"metadata": {"total_size": 190}, "weight_map": weight_map}))
        assert formats.recognise(path) == "keras"
        with pytest.raises(ma.FormatError, match="Keras' index"):
            safetensors.read(path)
