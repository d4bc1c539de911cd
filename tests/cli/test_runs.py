"""The folder of a run on the command line: a table, each checkpoint verified, damage named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import modelarchive as ma
from tests.cli.conftest import Run


@pytest.fixture(params=[False, True], ids=["files", "shards"])
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    with ma.Checkpoints(tmp_path / "run", incremental=request.param) as run:
        for step in (5, 10):
            metrics = {"loss": 1 / step} if step == 5 else {"loss": float("nan"), "accuracy": 0.5}
            run.save(step, model={"a.w": np.full(2000, float(step)), "b.w": np.ones(3)}, metrics=metrics, at=step)
    return tmp_path / "run"


def damage(folder: Path) -> None:
    path = ma.Checkpoints(folder).path(5)
    files = [path] if path.is_file() else list(path.glob("model-*"))
    for file in files:
        with ma.open(file) as archive:
            if "a.w" in archive:
                offset = archive.reader.contents.arrays["a.w"].offset
                raw = bytearray(file.read_bytes())
                raw[offset + 1] ^= 4
                file.unlink()
                file.write_bytes(raw)


def test_a_run_is_shown(run: Run, folder: Path) -> None:
    done = run("show", folder)
    assert done.code == 0
    lines = done.out.splitlines()
    assert "2 checkpoints" in done.out
    assert [line.split()[0] for line in lines[-2:]] == ["5", "10"]
    assert lines[-2].split()[-1] == lines[-1].split()[-1] == "whole"
    assert "0.2" in lines[-2]
    found = run("show", folder, "--json").json
    assert [each["step"] for each in found["checkpoints"]] == [5, 10]
    assert found["checkpoints"][1]["metrics"] == {"loss": "nan", "accuracy": 0.5}
    assert all(each["ok"] for each in found["checkpoints"])


def test_damage_is_shown(run: Run, folder: Path) -> None:
    damage(folder)
    done = run("show", folder)
    assert done.code == 1
    assert "damaged: " in done.out
    assert "a.w" in done.out
    done = run("verify", folder)
    assert done.code == 1
    assert "a.w" in done.out
    assert "whole" in done.out


def test_verify_looks_at_each(run: Run, folder: Path) -> None:
    done = run("verify", folder)
    assert done.code == 0
    assert done.out.count("whole") == 2
    assert [each["ok"] for each in run("verify", folder, "--json").json] == [True, True]


def test_one_checkpoint_is_an_archive_for_every_command(run: Run, folder: Path, tmp_path: Path) -> None:
    first, second = (ma.Checkpoints(folder).path(step) for step in (5, 10))
    done = run("show", second)
    assert done.code == 0
    assert "checkpoint: values" in done.out
    assert "at: values" in done.out
    done = run("diff", first, second)
    assert done.code == 1
    assert "a.w" in done.out
    assert "b.w" not in done.out
    assert run("extract", second, "", "-o", tmp_path / "model.h5").code == 0
    with ma.open(tmp_path / "model.h5") as archive:
        assert archive.training is None
        assert list(archive) == ["a.w", "b.w"]
    assert run("convert", second, tmp_path / "x.safetensors").code == 0


@pytest.mark.parametrize("incremental", [False, True])
@pytest.mark.parametrize("command", ["show", "verify"])
def test_what_the_run_has_removed_meanwhile_is_not_damaged(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, incremental: bool
) -> None:
    with ma.Checkpoints(tmp_path, incremental=incremental, random=False) as writing:
        for step in (1, 2):
            writing.save(step, model={"w": np.ones(3)})
    first, opened = writing.path(1), ma.open

    def late(path: Path) -> object:
        if path == first:
            path.rename(tmp_path / ".gone")
        return opened(path)

    monkeypatch.setattr(ma, "open", late)
    done = run(command, tmp_path, "--json")
    assert done.code == 0
    found = done.json["checkpoints"] if command == "show" else done.json
    assert [each["file"] for each in found] == [str(writing.path(2))]


def test_a_folder_that_is_no_run(run: Run, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    assert run("show", tmp_path / "notes").code != 0


def test_names_of_metrics_do_not_steer_the_terminal(run: Run, tmp_path: Path) -> None:
    with ma.Checkpoints(tmp_path / "run") as writing:
        writing.save(1, model={"w": np.ones(2)}, metrics={"\x1b[2J\nstep": float("inf")})
    for more in ([], ["--json"]):
        out = run("show", tmp_path / "run", *more).out
        assert "\x1b" not in out
        assert r"[2J\nstep" in out
