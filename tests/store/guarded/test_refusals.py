"""Each rule of the guard refuses what breaks it and nothing else does; attacks as files stand in tests/hostile."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import h5py
import numpy as np
import pytest
from h5py import h5d, h5s, h5t

import modelarchive as ma
from modelarchive.store import index
from modelarchive.store.guarded import guard

Change = Callable[[h5py.File], object]


def _layout() -> h5py.VirtualLayout:
    layout = h5py.VirtualLayout((2,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (2,))
    return layout


def _nested(file: h5py.File, groups: int) -> None:
    node = file["arrays"]
    for _ in range(groups):
        node = node.create_group("g")


def _odd(file: h5py.File) -> None:
    """A dtype that archives do not hold, beside what they hold."""
    h5d.create(file.id, b"odd", h5t.STD_REF_OBJ, h5s.create_simple((2,)))


#: Rule -> files that break it.
BROKEN: dict[str, list[Change]] = {
    "hard links only": [
        lambda file: file.__setitem__("arrays/b", h5py.SoftLink("/arrays/a")),
        lambda file: file.__setitem__("arrays/b", h5py.ExternalLink("other.h5", "/x")),
    ],
    "revisit": [
        lambda file: file.__setitem__("arrays/again", file["arrays"]),
        lambda file: file.__setitem__("more", file["arrays"]),
    ],
    "depth": [lambda file: _nested(file, guard.MAX_DEPTH + 1)],
    "no virtual datasets": [lambda file: file.create_virtual_dataset("arrays/b", _layout())],
    "no external storage": [lambda file: file.create_dataset("arrays/b", (2,), "f4", external=[("other", 0, 8)])],
    "filters": [
        lambda file: file.create_dataset("arrays/b", data=np.arange(9), chunks=(3,), scaleoffset=0),
        lambda file: file.create_dataset("arrays/b", data=np.arange(9), chunks=(3,), compression="lzf"),
    ],
    "declared bytes": [
        lambda file: file.create_dataset("arrays/b", (guard.MAX_UNSTORED + 1,), "u1"),
        lambda file: [file.create_dataset(f"arrays/b{at}", (guard.MAX_UNSTORED // 4 + 1,), "u1") for at in range(4)],
    ],
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.attrs["format"], file.attrs["format_version"] = "modelarchive", 1
        file["arrays/a"], file["arrays/words"] = np.arange(3), ["x", "y"]
        file["arrays"].attrs["kind"] = "Dense"
    return path


def changed(path: Path, change: Change) -> Path:
    with h5py.File(path, "r+") as file:
        change(file)
    return path


@pytest.mark.parametrize(("rule", "change"), [(rule, each) for rule, several in BROKEN.items() for each in several])
def test_a_rule_that_is_broken_is_named(path: Path, rule: str, change: Change) -> None:
    assert [*guard.read_contents(path).arrays] == ["a"]
    with pytest.raises(ma.UnsafeFileError) as caught:
        guard.read_contents(changed(path, change))
    assert (caught.value.rule, caught.value.file) == (rule, str(path))


def test_what_is_just_allowed_is_read(path: Path) -> None:
    changed(path, lambda file: _nested(file, guard.MAX_DEPTH - 1))
    changed(path, lambda file: file.create_dataset("arrays/b", (guard.MAX_UNSTORED,), "u1"))
    changed(path, lambda file: file.__setitem__("arrays/c", file["arrays/a"]))
    found = guard.read_contents(path)
    assert {*found.arrays} == {"a", "b"}
    assert found.aliases == {"c": "a"}


def test_objects_are_counted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MAX_OBJECTS", 3)
    assert guard.read_contents(path).arrays
    changed(path, lambda file: file.__setitem__("arrays/b", 1))
    with pytest.raises(ma.UnsafeFileError, match="more than 3 objects"):
        guard.read_contents(path)


def test_a_shape_that_no_memory_holds(path: Path) -> None:
    changed(path, lambda file: file.create_dataset("arrays/b", (1 << 40, 1 << 20), "f8", chunks=(1, 1)))
    with pytest.raises(ma.FormatError, match=r"has the shape \(1099511627776, 1048576\), which no memory can hold"):
        guard.read_contents(path)


@pytest.mark.parametrize(
    ("name", "value", "error", "words"),
    [
        ("format", "another", ma.FormatError, "no model archive"),
        ("format_version", "1", ma.FormatError, "format_version is '1', expected a positive integer"),
        ("format_version", 0, ma.FormatError, "format_version is 0, expected a positive integer"),
        ("format_version", index.FORMAT_VERSION + 1, ma.UnsupportedVersionError, "this package reads up to"),
    ],
)
def test_what_says_that_it_is_something_else(path: Path, name: str, value: Any, error: Any, words: str) -> None:
    changed(path, lambda file: file.attrs.__setitem__(name, value))
    with pytest.raises(error, match=words):
        guard.read_contents(path)


def test_a_name_that_no_parameter_has(path: Path) -> None:
    changed(path, lambda file: file.create_group("parameters").__setitem__("a.", np.arange(3)))
    with pytest.raises(ma.FormatError, match="is no parameter"):
        guard.read_contents(path)


def test_a_dtype_that_archives_do_not_hold_among_their_arrays(path: Path) -> None:
    changed(path, lambda file: h5d.create(file["arrays"].id, b"odd", h5t.STD_REF_OBJ, h5s.create_simple((2,))))
    with pytest.raises(ma.FormatError, match="/arrays/odd has a dtype that archives do not hold there"):
        guard.read_contents(path)


def test_what_lies_outside_the_file(path: Path) -> None:
    with h5py.File(path) as file:
        dataset = file["arrays/a"].id
        assert guard._describe(dataset, file.id.get_filesize(), path, "/arrays/a")[1] == 0
        with pytest.raises(ma.FormatError, match="lies outside the file"):
            guard._describe(dataset, dataset.get_offset() + 1, path, "/arrays/a")


@pytest.mark.parametrize("content", [b"", b"short", b"far too long for this chunk", None])
def test_a_chunk_that_does_not_fill_its_place(path: Path, content: bytes | None) -> None:
    """HDF5 itself would hand out what was in memory for the rest."""
    changed(path, lambda file: file.create_dataset("arrays/b", data=np.arange(4), chunks=(2,), compression=4))
    np.testing.assert_array_equal(guard.read_array(path, "/arrays/b"), np.arange(4))
    raw = b"no deflate" if content is None else zlib.compress(content)
    changed(path, lambda file: file["arrays/b"].id.write_direct_chunk((2,), raw))
    with pytest.raises(ma.FormatError, match=r"the chunk at \(2,\) (becomes [0-9]+ bytes, expected 16|cannot be)"):
        guard.read_array(path, "/arrays/b")


def test_what_hdf5_cannot_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = path.read_bytes()
    other = path.with_name("y.h5")
    other.write_bytes(data.replace(b"SNOD", b"SNOT"))
    for content in (b"no HDF5" * 100, data[: len(data) // 2]):
        path.write_bytes(content)
        with pytest.raises(ma.FormatError, match=r"truncated|HDF5 cannot read it"):
            guard.read_contents(path)
    with pytest.raises(ma.FormatError, match="HDF5 cannot read it"):
        guard.read_contents(other)
    other.write_bytes(data)
    for error in (KeyError("x"), ValueError("x")):
        monkeypatch.setattr(guard, "_check_root", Mock(side_effect=error))
        with pytest.raises(ma.FormatError, match=r"HDF5 cannot read it: .?x"):
            guard.read_contents(other)


@pytest.mark.parametrize(
    ("read", "where", "words"),
    [
        (guard.read_array, "/arrays/words", "is text, expected an array"),
        (guard.read_text, "/arrays/a", "is an array, expected text"),
        (guard.read_array, "/arrays", "is no dataset"),
        (guard.read_array, "/arrays/none", "is not in the file"),
        (guard.read_text, "/arrays/a/more", "is not in the file"),
        (guard.read_array, "/odd", "has a dtype that archives do not hold"),
        (guard.read_kinds, "/arrays/a", "is no group"),
        (guard.read_kinds, "/none", "is not in the file"),
    ],
)
def test_one_thing_that_is_asked_for_and_is_another(
    path: Path, read: Callable[..., Any], where: str, words: str
) -> None:
    changed(path, _odd)
    with pytest.raises(ma.FormatError, match=words) as caught:
        read(path, where)
    assert (caught.value.file, caught.value.path) == (str(path), where)


def test_one_array_breaks_the_rules_that_all_do(path: Path) -> None:
    changed(path, BROKEN["declared bytes"][0])
    with pytest.raises(ma.UnsafeFileError, match="declares far more bytes than are stored"):
        guard.read_array(path, "/arrays/b")
    changed(path, lambda file: file.__setitem__("soft", h5py.SoftLink("/arrays")))
    with pytest.raises(ma.UnsafeFileError) as caught:
        guard.read_array(path, "/soft/a")
    assert caught.value.rule == "hard links only"


@pytest.mark.parametrize("change", [*BROKEN["revisit"][:1], *BROKEN["depth"]])
def test_kinds_are_read_of_groups_that_end_somewhere(path: Path, change: Change) -> None:
    assert guard.read_kinds(path, "/arrays") == {"/arrays": "Dense"}
    with pytest.raises(ma.UnsafeFileError) as caught:
        guard.read_kinds(changed(path, change), "/arrays")
    assert caught.value.rule == "revisit"


def test_kinds_are_read_of_so_many_groups(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MAX_OBJECTS", 2)
    changed(path, lambda file: [file.create_group(f"arrays/{at}") for at in range(4)])
    with pytest.raises(ma.UnsafeFileError):
        guard.read_kinds(path, "/arrays")
