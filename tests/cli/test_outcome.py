"""Errors are one sentence and an exit code, whatever is thrown at a command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import modelarchive
from modelarchive import cli, errors
from modelarchive.cli import commands, outcome
from tests.cli.conftest import Run

COMMANDS = ["show", "verify", "extract", "repack", "reindex", "run", "diff", "transplant"]


def files(folder: Path) -> dict[str, Path]:
    """Things that are no archives."""
    found = {name: folder / name for name in ("missing", "folder", "empty", "random", "json", "zip", "plain.h5")}
    found["folder"].mkdir()
    found["empty"].touch()
    found["random"].write_bytes(np.random.default_rng(0).bytes(5000))
    found["json"].write_text('{"a": 1}')
    np.savez(folder / "zip.npz", x=np.zeros(3))
    (folder / "zip.npz").rename(found["zip"])
    with h5py.File(found["plain.h5"], "w") as file:
        file["x"] = np.zeros(3)
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_no_archive(run: Run, tmp_path: Path, command: str) -> None:
    more = {
        "extract": ["block", "-o", tmp_path / "out"],
        "run": ["--input", tmp_path / "x.npy"],
        "repack": ["-o", tmp_path / "out"],
        "transplant": ["-o", tmp_path / "out"],
    }
    np.save(tmp_path / "x.npy", np.zeros(3))
    for name, path in files(tmp_path).items():
        if name == "zip" and command in ("show", "verify", "diff"):
            continue  # it is NumPy's, which these read: test_foreign.py
        paths = [path, path] if command in ("diff", "transplant") else [path]
        done = run(command, *paths, *more.get(command, []))
        assert done.code == outcome.CANNOT, (name, done)
        assert name in done.err
        assert done.err.startswith("modelarchive: ")
        assert not (tmp_path / "out").exists()


def test_exit_codes() -> None:
    for error, code in [
        (errors.FormatError("no"), 4),
        (errors.UnsafeFileError("no", rule="links"), 3),
        (errors.IntegrityError({"a": ("b", "c")}), 1),
        (errors.ParameterError("no"), 2),
        (outcome.WrongUseError("no"), 2),
        (FileNotFoundError(2, "No such file", "x"), 4),
        (MemoryError(), 4),
        (ZeroDivisionError("a bug"), 4),
    ]:
        assert outcome.failed(error) == code


def test_an_unsafe_file(run: Run, tmp_path: Path, parameters: Path) -> None:
    with h5py.File(parameters, "r+") as file:
        file["parameters/link"] = h5py.ExternalLink("other.h5", "/")
    done = run("show", parameters)
    assert done.code == outcome.UNSAFE
    assert "/parameters/link" in done.err


def test_a_bug_is_one_sentence_too(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert outcome.failed(KeyError("x")) == outcome.CANNOT
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert "this is a bug: report it " in said
    monkeypatch.setenv(outcome.TRACEBACK, "1")
    outcome.failed(KeyError("x"))
    assert "KeyError" in capsys.readouterr().err


def test_a_bug_names_where_it_is_reported(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from email.message import Message
    from importlib import metadata

    project = Message()
    project["Project-URL"] = "Documentation, https://example.org/docs"
    project["Project-URL"] = "Issues, https://example.org/issues"
    monkeypatch.setattr(metadata, "metadata", lambda name: project)
    outcome.failed(KeyError("x"))
    assert "report it at https://example.org/issues" in capsys.readouterr().err

    def absent(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "metadata", absent)
    outcome.failed(KeyError("x"))
    assert "report it to those you have modelarchive from" in capsys.readouterr().err


def test_wrong_use(run: Run) -> None:
    for arguments in ([], ["nothing"], ["show"], ["show", "a", "--tree", "--stats"], ["show", "a", "--nothing"]):
        done = run(*arguments)
        assert done.code == outcome.WRONG_USE
        assert done.err.startswith("modelarchive: ")
        assert "--help" in done.err


def test_what_a_command_does_not_take_is_told_with_its_own_help(run: Run, arrays: Path) -> None:
    done = run("show", arrays, "weight", "--block", "0")
    assert done.code == 2
    assert done.err.splitlines() == [
        "modelarchive: show does not take weight --block 0",
        "  hint: modelarchive show --help",
    ]


def test_help_and_version(run: Run) -> None:
    assert run("--version").out == f"modelarchive {modelarchive.__version__}\n"
    for name in commands():
        assert run(name, "--help").code == 0
        assert name in run("--help").out


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="pipes end otherwise there")
def test_a_closed_pipe_is_no_error(arrays: Path) -> None:
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f'"{sys.executable}" -m modelarchive show --json "{arrays}" | head -c 1'],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(modelarchive.__path__[0]).parent)},
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_note_does_not_build_every_command_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file may have thousands of notes, and each is spelled in the options of the command line."""
    made = []
    honest = cli._parser
    monkeypatch.setattr(cli, "_parser", lambda: made.append(1) or honest())
    commands()
    assert {outcome.spelled("pass inputs=", "convert") for _ in range(3)} == {"pass --input x:1,3,224,224:float32"}
    assert len(made) == 1


def test_what_is_read_is_not_written_over(run: Run, model: Path, parameters: Path, tmp_path: Path) -> None:
    """The rest of a model, or a key, would be gone; so would a model that is given for the page's name."""
    x, link, key = tmp_path / "x.npy", tmp_path / "link.h5", tmp_path / "key.pem"
    np.save(x, np.ones((2, 5), np.float32))
    link.symlink_to(model)
    key.write_bytes(b"key")
    before = {path: path.read_bytes() for path in (model, parameters, x, key)}
    for words in (
        ["view", model, "-o", model],
        ["view", model, "-o", link],
        ["view", parameters, model, "-o", f"file://{model}"],
        ["view", model, "-o", parameters],  # OTHER, behind -o
        ["extract", model, "features", "-o", model],
        ["extract", model, "features", "-o", link],
        ["transplant", parameters, model, "-o", parameters],
        ["convert", model, model, "--parameters-only"],
        ["convert", model, link],
        ["run", model, "--input", x, "-o", x],
        ["sign", model, "--key", key, "-o", key],
        ["sign", model, "--key", key, "-o", model],
    ):
        done = run(*words)
        assert done.code == 2, words
        assert "would be written over" in done.err
        assert {path: path.read_bytes() for path in before} == before, words


def test_what_may_be_written_over(run: Run, model: Path, parameters: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.touch()
    assert [run("view", model, "-o", page).code for _ in range(2)] == [0, 0]
    assert run("transplant", parameters, model, "-o", model).code == 0
    assert run("repack", model, "-o", model).code == 0
