"""Incremental checkpoints: only what changed is written, and each is whole by itself."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import modelarchive as ma
from modelarchive.checkpoints import incremental
from modelarchive.errors import CheckpointError, FormatError, IntegrityError


def state(step: int) -> dict[str, Any]:
    return {
        "backbone": {"weight": np.arange(200_000.0), "bias": np.ones(10, "f4")},
        "head": {"weight": np.full((5, 4), float(step)), "bias": np.zeros(0)},
    }


def saved(folder: Path, *steps: int, **options: Any) -> ma.Checkpoints:
    run = ma.Checkpoints(folder, incremental=True, **options)
    with run:
        for step in steps:
            run.save(step, model=state(step), metrics={"loss": step}, data={"at": step, "seen": np.arange(step)})
    return run


def written(path: Path) -> int:
    """Bytes of the files of a checkpoint that no other one has."""
    return sum(each.stat().st_size for each in path.iterdir() if each.stat().st_nlink == 1)


def test_there_and_back(tmp_path: Path) -> None:
    run = saved(tmp_path, 1, 2, 3)
    for step in (1, 2, 3):
        model, data = state(0), {}
        assert ma.Checkpoints(tmp_path).restore(step=step, model=model, data=data) == step
        assert np.array_equal(model["head"]["weight"], state(step)["head"]["weight"])
        assert data["at"] == step
        assert data["seen"].tolist() == list(range(step))
        with run.load(step) as archive:
            assert list(archive) == ["backbone.weight", "backbone.bias", "head.weight", "head.bias"]
            assert np.array_equal(archive["backbone.weight"], np.arange(200_000.0))
            assert np.array_equal(archive.rows("backbone.weight", 5, 8), [5, 6, 7])
            assert archive.training["data"]["at"] == step
            archive.verify()
        assert list(ma.load(run.path(step))) == list(archive.parameters)


def test_only_what_changed_is_written(tmp_path: Path) -> None:
    run = saved(tmp_path, 1, 2, 3)
    whole = sum(each.stat().st_size for each in run.path(3).iterdir())
    assert whole > 1_600_000
    assert written(run.path(2)) < 60_000
    assert written(run.path(3)) < 60_000


def test_what_changes_together_with_what_stays_is_taken_apart(tmp_path: Path) -> None:
    """One block that is frozen in part: the second checkpoint writes it anew, the third takes it over."""
    model = {"net": {"a": np.arange(100_000.0), "b": np.zeros(5)}}
    with ma.Checkpoints(tmp_path, incremental=True) as run:
        for step in (1, 2, 3):
            model["net"]["b"][:] = step
            run.save(step, model=model)
        run.wait()
        assert written(run.path(1)) > 800_000
        assert written(run.path(3)) < 60_000


@pytest.mark.parametrize("when", [1, 2])
def test_what_follows_a_save_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: int) -> None:
    model = {"a": np.arange(100_000.0), "b": np.zeros(5)}
    put = incremental.put_in_place

    def refused(*given: Any, **options: Any) -> None:
        raise OSError("no room")

    with ma.Checkpoints(tmp_path, incremental=True, asynchronous=False) as run:
        for step in range(1, 6):
            model["b"][:] = step
            model["a"][0] = step if step < 3 else model["a"][0]
            monkeypatch.setattr(incremental, "put_in_place", refused if step == when else put)
            if step == when:
                with pytest.raises(OSError, match="no room"):
                    run.save(step, model=model)
                continue
            run.save(step, model=model)
            with run.load(step) as archive:
                archive.verify()
                assert archive["a"][0] == model["a"][0]
                assert np.array_equal(archive["b"], model["b"])
        assert written(run.path(5)) < 60_000


def test_each_array_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[int] = []
    digest_pieces = incremental.digest_pieces
    monkeypatch.setattr(
        incremental, "digest_pieces", lambda pieces: (hashed.append(1), digest_pieces(pieces))[1], raising=True
    )
    model = state(0)
    with ma.Checkpoints(tmp_path, incremental=True, random=False) as run:
        for step in (1, 2, 3):
            run.save(step, model=model)
            model["head"]["weight"] += 1
    # Beside writing: what a resumed run has not compared yet, and whether it is as it was.
    assert not hashed
    with ma.Checkpoints(tmp_path, incremental=True, random=False) as run:
        assert run.restore(model=model) == 3
        run.save(4, model=model)
    assert len(hashed) == 4
    assert written(run.path(4)) < 60_000


def test_a_change_of_one_bit_is_seen(tmp_path: Path) -> None:
    model = {"w": np.zeros(100_000)}
    with ma.Checkpoints(tmp_path, incremental=True) as run:
        run.save(1, model=model).result()
        model["w"].view(np.uint64)[77_777] = 1 << 63  # minus zero, which equals zero
        run.save(2, model=model)
    assert np.signbit(ma.load(run.path(2))["w"][77_777])


@pytest.mark.parametrize("asynchronous", [True, False])
def test_what_is_frozen_is_compared_twice(tmp_path: Path, asynchronous: bool) -> None:
    """At the second save, where what changes at each step is found, and at the end."""
    model = state(0)

    def run(folder: str, *changes: float) -> ma.Checkpoints:
        made = ma.Checkpoints(tmp_path / folder, incremental=True, frozen="backbone.*", asynchronous=asynchronous)
        with made:
            for step, change in enumerate(changes):
                model["backbone"]["weight"][-1] += change
                model["head"]["weight"][:] = step
                made.save(step, model=model)
        return made

    made = run("good", 0, 0, 0, 0)
    assert written(made.path(3)) < 60_000
    assert ma.load(made.path(3))["head.weight"][0, 0] == 3
    assert ma.load(made.path(3))["backbone.weight"][-1] == model["backbone"]["weight"][-1]
    with pytest.raises(CheckpointError, match=r"1 array changed that `frozen` says never change: backbone.weight"):
        run("at once", 0, 1)
    assert ma.Checkpoints(tmp_path / "at once").steps() == [0]
    with pytest.raises(CheckpointError, match=r"backbone.weight"):
        run("late", 0, 0, 1, 1)
    with pytest.raises(ValueError, match="this one is not incremental"):
        ma.Checkpoints(tmp_path / "none", frozen="backbone.*")
    # Other memory under the same name is looked at.
    with ma.Checkpoints(tmp_path / "moved", incremental=True, frozen="backbone.*") as moved:
        for step in range(4):
            model["backbone"]["weight"] = model["backbone"]["weight"].copy()
            moved.save(step, model=model)
        model["backbone"]["weight"] = model["backbone"]["weight"] + 1
        with pytest.raises(CheckpointError, match=r"backbone.weight"):
            moved.save(4, model=model)


def test_a_save_that_is_interrupted_while_it_compares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies that were renewed by then are not taken for those whose digests are known."""
    from modelarchive.checkpoints import staging

    model = {"a": np.zeros(3_000_000), "b": np.zeros(3_000_000)}
    act = staging._copied_if_other

    def interrupted(buffer: np.ndarray, array: np.ndarray) -> bool:
        act(buffer, array)
        raise KeyboardInterrupt

    with ma.Checkpoints(tmp_path, incremental=True) as run:
        run.save(1, model=model).result()
        model["a"] += 1
        with monkeypatch.context() as patch:
            patch.setattr(staging, "_copied_if_other", interrupted)
            with pytest.raises(KeyboardInterrupt):
                run.save(2, model=model)
        run.save(3, model=model)
    with run.load(3) as archive:
        archive.verify()
        assert archive["a"].min() == 1


def test_each_is_whole_whatever_is_removed(tmp_path: Path) -> None:
    run = saved(tmp_path, *range(1, 7), keep=1)
    assert run.steps() == [6]
    model = state(0)
    assert ma.Checkpoints(tmp_path).restore(model=model) == 6
    assert np.array_equal(model["backbone"]["weight"], state(6)["backbone"]["weight"])
    with run.load(6) as archive:
        archive.verify()


@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize("is_cut", [False, True])
def test_a_file_that_somebody_wrote_into_is_not_taken_over(tmp_path: Path, resumed: bool, is_cut: bool) -> None:
    run, model = ma.Checkpoints(tmp_path, incremental=True), state(0)
    with run:
        run.save(1, model=model)
        run.save(2, model=model)
        if resumed:
            run.close()
            run = ma.Checkpoints(tmp_path, incremental=True)
            assert run.restore(model=model) == 2
        (shard,) = (each for each in run.path(2).iterdir() if each.stat().st_size > 1_000_000)
        with shard.open("r+b") as file:
            file.seek(800_000)
            file.write(b"x")
            if is_cut:
                file.truncate()
        run.save(3, model=model).result()
        run.save(4, model=model).result()
    run.close()
    for step in (3, 4):
        with run.load(step) as archive:
            archive.verify()
            assert np.array_equal(archive["backbone.weight"], np.arange(200_000.0))
    assert written(run.path(4)) < 60_000


def test_the_folder_of_the_run_is_gone(tmp_path: Path) -> None:
    run = ma.Checkpoints(tmp_path / "run", incremental=True, asynchronous=False)
    run.save(1, model=state(0))
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(FileNotFoundError, match=r"the folder of the run is not there any more: .*run'"):
        run.save(2, model=state(0))
    run.close()


def test_a_resumed_run_goes_on_sharing(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    run = ma.Checkpoints(tmp_path, incremental=True)
    model = state(0)
    with run:
        assert run.restore(model=model) == 1
        model["head"]["weight"][:] = 9
        run.save(2, model=model)
    assert written(run.path(2)) < 60_000


def test_without_hard_links_files_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    run = saved(tmp_path, 1, 2)
    with run.load(2) as archive:
        archive.verify()
    assert written(run.path(2)) > 1_600_000


def test_a_checkpoint_of_the_same_step_is_replaced(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2)
    run = saved(tmp_path, 2)
    assert run.steps() == [1, 2]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".writing", "step-00000001", "step-00000002"]


def test_a_file_where_the_folder_shall_be_stays(tmp_path: Path) -> None:
    (tmp_path / "step-00000001").write_text("mine")
    with pytest.raises(NotADirectoryError, match="is a file"):
        saved(tmp_path, 1)
    assert (tmp_path / "step-00000001").read_text() == "mine"


def test_one_that_was_to_be_replaced_when_the_run_was_killed_counts(tmp_path: Path) -> None:
    """On a system that cannot have two folders change places: between two renames."""
    run = saved(tmp_path, 1)
    aside = tmp_path / ".step-00000001.0123abcd.old"
    run.path(1).rename(aside)
    model, run = state(0), ma.Checkpoints(tmp_path, incremental=True)
    assert run.steps() == [1]
    assert run.restore(model=model) == 1
    assert np.array_equal(model["head"]["weight"], state(1)["head"]["weight"])
    with run:
        run.save(2, model=model)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".writing", "step-00000001", "step-00000002"]


def test_other_programs_read_the_shards(tmp_path: Path) -> None:
    run = saved(tmp_path, 1)
    found: dict[str, np.ndarray] = {}
    for path in run.path(1).glob("*.safetensors"):
        found |= load_file(path)
    assert np.array_equal(found["backbone.weight"], np.arange(200_000.0))


def damaged(path: Path, name: str) -> None:
    with ma.open(path) as archive:
        (shard,) = {part.reader.source.path for part in archive.reader.parts(name)}
        with ma.open(shard) as inner:
            offset = inner.reader.contents.arrays[name].offset
    raw = bytearray(shard.read_bytes())
    raw[offset + 7] ^= 1
    shard.unlink()  # its other names stay as they are
    shard.write_bytes(raw)


def test_damage_is_found_and_passed_over(tmp_path: Path) -> None:
    run = saved(tmp_path, 1, 2)
    damaged(run.path(2), "head.weight")
    with run.load(2) as archive, pytest.raises(IntegrityError, match=r"head.weight"):
        archive.verify()
    model = state(0)
    with pytest.warns(ma.DamagedCheckpointWarning, match="head.weight"):
        assert ma.Checkpoints(tmp_path).restore(model=model) == 1
    assert np.array_equal(model["head"]["weight"], state(1)["head"]["weight"])


def test_a_shard_that_is_missing_or_another_one(tmp_path: Path) -> None:
    run = saved(tmp_path, 1)
    values = next(run.path(1).glob("values-*"))
    kept = values.read_bytes()
    values.unlink()
    with pytest.raises(FormatError, match=r"the shard 'values-.*' is not there"):
        run.load(1)
    with ma.Checkpoints(tmp_path / "other", incremental=True) as other:
        other.save(1, model=state(5))
    values.write_bytes(next(other.path(1).glob("values-*")).read_bytes())
    with pytest.raises(FormatError, match="is another one than the index names"):
        run.load(1)
    with pytest.raises(CheckpointError, match="another one"):
        ma.Checkpoints(tmp_path).restore(model=state(0))
    values.write_bytes(kept)
    assert ma.Checkpoints(tmp_path).restore(model=state(0)) == 1
