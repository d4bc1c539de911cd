"""``show``, ``verify`` and ``diff`` of files of other systems: said, not run, and the next step works."""

from __future__ import annotations

import os
import pickle
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import models
from modelarchive.cli import outcome
from modelarchive.formats.commands import convert_line
from tests.cli.conftest import Run
from tests.conftest import ROOT
from tests.sampling import some

FOREIGN = ROOT / "tests" / "data" / "foreign"

#: File -> what it is, and whether it has an architecture.
FILES = {
    "keras/new-text.keras": ("a Keras file", True),
    "keras/old-image.h5": ("a Keras file", True),
    "keras/new-image.weights.h5": ("a Keras file", False),
    "onnx/torch-text.onnx": ("an ONNX model", True),
    "safetensors/dtypes.safetensors": ("a safetensors file", False),
    "safetensors/model.safetensors.index.json": ("a safetensors file", False),
    "numpy/old-compressed.npz": ("a NumPy file", False),
    "numpy/new.npy": ("a NumPy file", False),
    "mxnet/lenet-symbol.json": ("an MXNet file", True),
    "mxnet/lenet.params": ("an MXNet file", False),
    "mxnet/kinds": ("an MXNet file", False),
    "vectors/glove.txt": ("a file of word vectors", True),
    "huggingface/bert": ("a Hugging Face folder", True),
}


#: It has a dtype that no archive holds.
UNHELD = "safetensors/dtypes.safetensors"


@pytest.mark.parametrize("name", FILES)
def test_show_says_what_it_is(run: Run, name: str) -> None:
    what, is_whole = FILES[name]
    path = FOREIGN / name
    done = run("show", path)
    assert (done.code, done.err) == (0, "")
    assert f"{what}" in done.out
    assert "nothing in it was run" in done.out
    assert "digests      none" in done.out
    assert (f"modelarchive convert {path} " in done.out) == (name != UNHELD)
    bundle = models.read(path)
    for note in bundle.notes:
        assert f"  {note.where}: " in done.out
    found = run("show", path, "--json").json
    assert list(found["arrays"]) == list(bundle.parameters)
    assert {each: tuple(one["shape"]) for each, one in found["arrays"].items()} == {
        each: array.shape for each, array in bundle.parameters.items()
    }
    assert found["architecture"] == bundle.architecture
    assert (found["architecture"] is not None) == is_whole
    assert len(found["notes"]) == len(bundle.notes)
    for each in bundle.parameters:
        assert each in done.out
    if not is_whole:
        assert "architecture none: " in done.out
        assert found["reason"]


@pytest.mark.parametrize("name", some(FILES))
def test_every_way_to_show_works(run: Run, name: str) -> None:
    bundle = models.read(FOREIGN / name)
    tree = run("show", FOREIGN / name, "--tree")
    stats = run("show", FOREIGN / name, "--stats")
    assert (tree.code, stats.code) == (0, 0)
    for each in bundle.parameters:
        assert f"{each.rpartition('.')[2]}  " in tree.out
        assert f"{each} " in stats.out
    found = run("show", FOREIGN / name, "--stats", "--json").json["arrays"]
    for each, array in bundle.parameters.items():
        wide = np.asarray(array, dtype=np.complex128 if array.dtype.kind == "c" else np.float64)
        assert found[each]["stats"]["zeros"] == int((wide == 0).sum())
        if wide.dtype.kind != "c" and np.isfinite(wide).all() and wide.size:
            assert found[each]["stats"]["least"] == wide.min()
            assert found[each]["stats"]["deviation"] == pytest.approx(wide.std())


def test_what_no_archive_holds(run: Run) -> None:
    path = FOREIGN / UNHELD
    assert "none holds float8_e8m0fnu" in run("show", path).out
    assert run("show", path, "--json").json["convert"] is None
    assert run("convert", path, "x.h5").code == outcome.CANNOT
    assert run("diff", path, path).code == 0


@pytest.mark.parametrize("name", some(name for name in FILES if name != UNHELD))
def test_the_command_that_is_told_works(run: Run, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    line = run("show", FOREIGN / name).out.rstrip().splitlines()[-1].strip()
    words = shlex.split(line)
    assert words[:2] == ["modelarchive", "convert"]
    assert run(*words[1:]).code == 0
    assert run("verify", words[-1]).code == 0
    done = run("diff", FOREIGN / name, words[-1])
    assert done.code == 0, done.out
    assert "the same" in done.out
    assert "has no digests" in done.out


@pytest.mark.parametrize("name", FILES)
def test_verify_says_that_it_cannot(run: Run, name: str) -> None:
    done = run("verify", FOREIGN / name)
    assert (done.code, done.err) == (outcome.NO, "")
    assert "not verified" in done.out
    assert "has no digests" in done.out
    assert (f"`modelarchive convert {FOREIGN / name} " in done.out) == (name != UNHELD)
    found = run("verify", FOREIGN / name, "--json").json[0]
    assert (found["ok"], found["reason"]) == (False, "it has no digests")


def test_verify_reads_all_of_it(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, a=np.arange(1000.0), b=np.arange(10))
    data = bytearray(path.read_bytes())
    at = data.find(np.arange(1000.0).tobytes()[4000:4100])
    data[at] ^= 1
    path.write_bytes(data)
    assert run("show", path).code == 0
    done = run("verify", path)
    assert done.code == outcome.NO
    assert "a.npy: differs from its checksum" in done.out
    assert list(run("verify", path, "--json").json[0]["damaged"]) == ["a.npy"]
    for length in (10, len(data) // 2):
        path.write_bytes(bytes(data[:length]))
        assert run("verify", path).code == outcome.CANNOT
        assert run("show", path).code == outcome.CANNOT


@pytest.mark.parametrize("command", ["show", "verify", "diff"])
def test_nothing_is_run(run: Run, tmp_path: Path, command: str) -> None:
    torch = pytest.importorskip("torch")
    trace = tmp_path / "was here"

    class Hostile:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(trace),)

    path = tmp_path / "x.pt"
    read = {"verify": 1}.get(command, 0)  # a foreign file has no digests
    for value, code in (({"more": Hostile()}, outcome.UNSAFE), ({"weight": torch.zeros(2), "more": Hostile()}, read)):
        torch.save(value, path, pickle_module=pickle)
        done = run(command, *([path, path] if command == "diff" else [path]))
        assert done.code == code
        assert not trace.exists()


def test_pytorch(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    torch.save({"model": net.state_dict(), "epoch": 3}, "net.pt")
    done = run("show", "net.pt")
    assert "a PyTorch file" in done.out
    assert "epoch: 3" in done.out
    assert run(*shlex.split(done.out.splitlines()[-1])[1:]).code == 0
    assert run("diff", "net.pt", "net.h5").code == 0
    with torch.no_grad():
        net[1].bias += 0.25
    torch.save({"model": net.state_dict(), "epoch": 3}, "moved.pt")
    done = run("diff", "net.pt", "moved.pt", "--json")
    assert done.code == 1
    assert done.json["changed"] == {"1.bias": pytest.approx(0.25)}
    assert len(done.json["remarks"]) == 4


def test_diff_with_an_archive_of_the_whole_model(run: Run, model: Path, net: ma.nn.Block, tmp_path: Path) -> None:
    path = tmp_path / "net.npz"
    np.savez(path, **{name: parameter.data() for name, parameter in net.collect_params().items()})  # type: ignore[arg-type]
    done = run("diff", path, model, "--json").json
    assert done["architecture"] == []
    assert len(done["equal"]) == 6
    assert any("architectures were not compared" in remark for remark in done["remarks"])


@pytest.mark.parametrize("command", ["run", "sign", "repack", "reindex"])
def test_commands_for_archives_alone_tell_the_command(run: Run, tmp_path: Path, command: str) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, a=np.zeros(3))
    before = path.read_bytes()
    more = {"run": ["--input", path], "sign": ["--key", path]}
    done = run(command, path, *more.get(command, []))
    assert done.code == outcome.CANNOT
    assert "is a NumPy file (.npz, .npy), not a model archive" in done.err
    assert f"`modelarchive convert {path} x.h5` makes one of it" in done.err
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("net.pt", "net.h5"),
        ("net.weights.h5", "net.h5"),
        ("net.h5", "net-2.h5"),
        ("model.safetensors.index.json", "model.h5"),
        ("net-symbol.json", "net.h5"),
        ("with blanks & more.npz", "with blanks & more.h5"),
        ("-x.npz", "-x.h5"),
        ("NET.ONNX", "NET.h5"),
        (".npz", ".npz.h5"),
        ("no suffix", "no suffix.h5"),
        ("taken.npz", "taken-3.h5"),
        ("folder/net.keras", "net.h5"),
    ],
)
def test_the_command_names_a_file_that_is_not_there(
    name: str, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    for taken in ("taken.h5", "taken-2.h5", name):
        Path(taken).touch()
    words = shlex.split(convert_line(Path(name)))
    assert words[:2] == ["modelarchive", "convert"]
    assert Path(words[2]) == Path(name)
    assert Path(words[3]) == Path(target)
    assert not any(word.startswith("-") for word in words[2:])


def test_a_name_does_not_steer_the_terminal(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, **{"esc\x1b[31m\nname": np.zeros(2)})  # type: ignore[arg-type]
    for how in ([], ["--tree"], ["--stats"]):
        out = run("show", path, *how).out
        assert "\x1b" not in out
        assert r"esc\x1b[31m" in out


def test_an_architecture_that_is_refused(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    monkeypatch.chdir(tmp_path)
    weight = numpy_helper.from_array(np.arange(20, dtype=np.float32).reshape(4, 5), "layer.weight")
    nodes = [helper.make_node("MatMul", ["x", "layer.weight"], ["y"]), helper.make_node("Unique", ["y"], ["z"])]
    graph = helper.make_graph(
        nodes,
        "odd",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
        [weight],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), "odd.onnx")
    done = run("show", "odd.onnx")
    assert (done.code, done.err) == (0, "")
    assert "architecture cannot be read" in done.out
    assert "Unique" in done.out
    assert "layer.weight" in done.out
    assert "4 x 5" in done.out
    words = shlex.split(done.out.splitlines()[-1])
    assert "--parameters-only" in words
    assert run(*words[1:]).code == 0
    assert np.array_equal(ma.load("odd.h5")["layer.weight"], np.arange(20, dtype=np.float32).reshape(4, 5))
    found = run("show", "odd.onnx", "--json").json
    assert found["architecture"] is None
    assert "Unique" in found["refused"][0]["what"] + found["refused"][0]["where"]
    done = run("diff", "odd.onnx", "odd.h5")
    assert done.code == 0
    assert "its architecture cannot be read" in done.out
    assert run("verify", "odd.onnx").code == outcome.NO


def test_an_archive_says_its_format(run: Run, model: Path) -> None:
    assert run("show", model, "--json").json["format"] == "archive"
    shutil.copy(model, model.with_name("model.onnx"))
    assert "written by" in run("show", model.with_name("model.onnx")).out


def test_the_command_for_the_folder_where_one_stands_works(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    ma.convert(_arrays(tmp_path / "x.h5"), folder / "model.safetensors")
    (folder / "config.json").write_text('{"model_type": "odd"}')
    monkeypatch.chdir(folder)
    told = run("convert", ".", "weights.h5").err
    command = told[told.index("`") + 1 : told.rindex("`")]
    assert command == "modelarchive convert --parameters-only . weights.h5"
    assert run(*shlex.split(command)[1:]).code == outcome.DONE
    assert ma.load("weights.h5")["a.weight"].shape == (2, 3)


def test_the_command_for_a_target_never_names_the_source(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = _arrays(Path("net.h5"))
    before = source.read_bytes()
    np.savez("net.npz", **{"a.weight": np.ones((2, 3))})
    done = run("transplant", "net.h5", "net.npz", "-o", "out.h5")
    assert done.code == outcome.CANNOT
    assert "`modelarchive convert net.npz net-2.h5` makes one of it" in done.err
    with pytest.raises(ma.FormatError, match=r"convert net.npz net-2.h5"):
        ma.open("net.npz")
    assert source.read_bytes() == before


def test_the_note_of_a_transplant_names_the_option_that_works(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ma.save("a.h5", {"x.weight": np.ones((2, 3)), "x.bias": np.ones(2), "same": np.ones(4)})
    ma.convert("a.h5", "a.safetensors")
    ma.convert("a.safetensors", "source.h5")
    ma.save("b.h5", {"y.weight": np.zeros((2, 3)), "y.bias": np.zeros(2), "same": np.zeros(4)})
    ma.convert("b.h5", "b.safetensors")
    ma.convert("b.safetensors", "target.h5")
    out = run("transplant", "source.h5", "target.h5", "-o", "out.h5").out
    assert "--rename 'x.*=y.*' gives 2 names a place" in out
    assert any(line.startswith("- ") and "unexpected" in line for line in out.splitlines())
    again = run("transplant", "source.h5", "target.h5", "-o", "out.h5", "--rename", "x.*=y.*").out
    assert "3 parameters copied" in again


def test_the_tree_shows_values(run: Run, tmp_path: Path) -> None:
    ma.save(tmp_path / "x.h5", {"optimizer": {"lr": 0.5, "name": "adam"}, "w": np.ones(3)})
    lines = run("show", tmp_path / "x.h5", "--tree").out.splitlines()
    assert "    lr  float 0.5" in lines
    assert "    name  str adam" in lines


def _arrays(path: Path) -> Path:
    ma.save(path, {"a.weight": np.zeros((2, 3))})
    return path
