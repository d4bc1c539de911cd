"""Folders of shards take the place of those of their name."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelarchive.store import replace, shards


def test_two_folders_change_places(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for each in (one, other):
        each.mkdir()
        (each / each.name).touch()
    if not replace.exchange(one, other):
        pytest.skip("this system has no such step")
    assert [path.name for path in one.iterdir()] == ["other"]
    assert [path.name for path in other.iterdir()] == ["one"]
    with pytest.raises(FileNotFoundError, match="missing"):
        replace.exchange(one, tmp_path / "missing")


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_folder_takes_the_place_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool
) -> None:
    if not can_exchange:
        monkeypatch.setattr(shards, "exchange", lambda one, other: False)
    for name in ("old", "new"):
        (tmp_path / ".x.tmp").mkdir()
        (tmp_path / ".x.tmp" / name).touch()
        shards.put_in_place(tmp_path / ".x.tmp", tmp_path / "x", durable=True)
        assert [path.name for path in tmp_path.iterdir()] == ["x"]
        assert [path.name for path in (tmp_path / "x").iterdir()] == [name]


def test_where_it_cannot_the_old_one_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (".x.tmp", "x"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if self.name == ".x.tmp":
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    monkeypatch.setattr(shards, "exchange", lambda one, other: False)
    with pytest.raises(OSError, match="Input/output"):
        shards.put_in_place(tmp_path / ".x.tmp", tmp_path / "x", durable=False)
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["x"]
    assert shards.set_aside(".x.0123abcd.old") == "x"
    assert shards.set_aside(".x.tmp") is None
