"""What lies in the folder of a run and is no checkpoint: damaged, half written, removed, a link to nothing."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest

import modelarchive as ma
from modelarchive.checkpoints import run as module
from modelarchive.errors import CheckpointError
from tests.checkpoints.small import damage, network, same, saved


def test_a_damaged_one_is_passed_over_and_stays(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2, 3)
    damage(tmp_path / "step-00000003.h5")
    (tmp_path / "step-00000004.h5").write_bytes((tmp_path / "step-00000002.h5").read_bytes()[:3000])
    (tmp_path / "step-00000005.h5").write_bytes(b"")
    ma.save(tmp_path / "step-00000006.h5", {"x": 1})
    (tmp_path / "step-00000007.h5").write_bytes((tmp_path / "step-00000002.h5").read_bytes())
    net, run = network(9), ma.Checkpoints(tmp_path, keep=1)
    with pytest.warns(ma.DamagedCheckpointWarning) as caught:
        assert run.restore(model=net) == 2
    words = str(caught[0].message)
    assert len(caught) == 1
    for name in ("step-00000003.h5", "0.weight", "step-00000004.h5", "step-00000005.h5", "step-00000006.h5"):
        assert name in words
    assert "step-00000007.h5: is the checkpoint of step 2 under another name" in words
    assert same(net, network(2))
    with run:
        run.save(8, model=net)
    assert run.steps() == [3, 4, 5, 6, 7, 8]


def test_where_none_is_whole_nothing_is_begun_anew_in_silence(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2)
    for step in (1, 2):
        damage(tmp_path / f"step-0000000{step}.h5")
    with pytest.raises(CheckpointError, match="no checkpoint is whole") as error:
        ma.Checkpoints(tmp_path).restore(model=network())
    assert "0.weight" in str(error.value)
    with pytest.raises(CheckpointError, match="the checkpoint is not whole"):
        ma.Checkpoints(tmp_path).restore(step=1, model=network())


def test_a_file_that_a_tool_has_changed_is_passed_over(tmp_path: Path) -> None:
    import h5py

    saved(tmp_path, 1, 2)
    with h5py.File(tmp_path / "step-00000002.h5", "r+") as file:
        file.attrs["note"] = "looked at"
    with pytest.warns(ma.DamagedCheckpointWarning, match="reindex"):
        assert ma.Checkpoints(tmp_path).restore(model=network()) == 1


def test_a_link_to_nothing_is_passed_over(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    (tmp_path / "step-00000002.h5").symlink_to(tmp_path / "elsewhere.h5")
    (tmp_path / "step-00000001").symlink_to(tmp_path / "elsewhere")
    with pytest.warns(ma.DamagedCheckpointWarning, match="step-00000002"):
        assert ma.Checkpoints(tmp_path).restore(model=network()) == 1


def test_a_folder_without_its_index_is_named(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2, incremental=True)
    (tmp_path / "step-00000002" / "model.safetensors.index.json").unlink()
    with pytest.warns(ma.DamagedCheckpointWarning, match=r"step-00000002: has no model.safetensors.index.json"):
        assert ma.Checkpoints(tmp_path).restore(model=network()) == 1


@pytest.mark.parametrize("incremental", [False, True])
def test_what_is_removed_while_it_is_opened_is_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, incremental: bool
) -> None:
    """A reader beside a run that keeps one checkpoint: what it has listed may be gone when it looks."""
    writing = saved(tmp_path, 1, keep=1, incremental=incremental)
    opened = module.Archive

    def late(path: Path) -> Any:
        if writing.steps() == [1]:
            with writing:
                writing.save(2, model=network(2), data={"at": 2})
        return opened(path)

    monkeypatch.setattr(module, "Archive", late)
    net, data = network(), {"at": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ma.Checkpoints(tmp_path).restore(model=net, data=data) == 2
    assert same(net, network(2))
    assert data == {"at": 2}
    shutil.rmtree(tmp_path)
    assert ma.Checkpoints(tmp_path).restore(model=net) is None


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    left = [
        tmp_path / ".step-00000002.h5.abc.partial",
        tmp_path / ".step-00000003.12.old",
        tmp_path / ".step-00000004.tmp",
    ]
    left[0].write_bytes(b"x")
    for folder in left[1:]:
        folder.mkdir()
        (folder / "x").write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("mine")
    saved(tmp_path, 5)
    assert not any(path.exists() for path in left)
    assert (tmp_path / "notes.txt").exists()
