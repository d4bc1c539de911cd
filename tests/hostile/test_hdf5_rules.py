"""Each attack through HDF5: it works against a naive reader, and is refused here by its rule."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import subprocess
import sys
import time
import tracemalloc
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from h5py import h5d, h5g, h5p, h5s, h5t

import modelarchive as ma
from modelarchive import maintenance
from modelarchive.store.guarded import boundary, guard, starting
from tests.hostile import judge
from tests.structures import stale_load

SECRET = np.arange(4, dtype="f4")
#: Of the processor, for one refusal.
SECONDS = 3


@contextlib.contextmanager
def archive(path: Path, **options: object) -> Iterator[h5py.File]:
    """An HDF5 file that says it is an archive, for an attack to be built in."""
    with h5py.File(path, "w", **options) as file:
        file.attrs["format"], file.attrs["format_version"] = "modelarchive", 1
        file.create_dataset("arrays/good", data=np.arange(3))
        yield file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "attack.h5"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file that the attacker wants to read."""
    path = tmp_path / "secret.h5"
    with h5py.File(path, "w") as file:
        file["key"] = SECRET
        file["group/key"] = SECRET
    return path


def refused(path: Path, rule: str, where: str | None = None) -> None:
    """Every entry point refuses by that rule, in little time and memory, in this process and in the other one."""
    with pytest.MonkeyPatch.context() as patch:
        # Of the processor, so that no busy machine fails it; the other process would end by the rule "time".
        patch.setattr(boundary, "SECONDS", SECONDS)
        _refused(path, rule, where)


def _refused(path: Path, rule: str, where: str | None) -> None:
    entries = [ma.load, ma.open, lambda p: ma.load(p, mmap=True), lambda p: ma.load(p, verify=True)]
    for enter in (*entries, maintenance.repack, maintenance.reindex, ma.load_model):
        before = path.read_bytes() if path.stat().st_size < 1 << 20 else b""
        tracemalloc.start()
        start = time.process_time()
        with pytest.raises(ma.UnsafeFileError) as caught:
            enter(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert caught.value.rule == rule
        assert caught.value.file == str(path)
        assert where is None or caught.value.path == where
        assert "docs/security.md" in str(caught.value)
        assert time.process_time() - start < SECONDS
        assert peak < 8 << 20
        assert not before or path.read_bytes() == before


def claimed(path: Path) -> float:
    """How many times the file's bytes a reader takes that makes room for what every dataset says it is."""
    sizes: list[int] = []
    with h5py.File(path) as file:
        file.visititems(lambda name, item: sizes.append(item.nbytes) if isinstance(item, h5py.Dataset) else None)
    return sum(sizes) / path.stat().st_size


def ways(group: h5py.Group) -> Iterator[h5py.Group]:
    """Every path to every group, as a reader walks that follows all links."""
    for child in group.values():
        if isinstance(child, h5py.Group):
            yield child
            yield from ways(child)


def test_external_link(path: Path, secret: Path) -> None:
    with archive(path) as file:
        file["arrays/w"] = h5py.ExternalLink(secret.name, "/key")
        assert file["arrays/w"][()].tobytes() == SECRET.tobytes()
    refused(path, "hard links only", "/arrays/w")


def test_external_link_in_the_middle_of_a_path(path: Path, secret: Path) -> None:
    with archive(path) as file:
        file["arrays/g"] = h5py.ExternalLink(secret.name, "/group")
        assert file["arrays/g/key"][()].tobytes() == SECRET.tobytes()
        assert isinstance(file.get("arrays/g/key", getlink=True), h5py.HardLink), "the last component looks fine"
    refused(path, "hard links only", "/arrays/g")


def test_soft_link(path: Path) -> None:
    with archive(path) as file:
        file["arrays/w"] = h5py.SoftLink("/arrays/good")
        assert file["arrays/w"] == file["arrays/good"], "a name that leads to what another link says"
    refused(path, "hard links only", "/arrays/w")


def test_soft_link_outside_of_the_arrays(path: Path) -> None:
    with archive(path) as file:
        file["elsewhere"] = h5py.SoftLink("/nowhere")
    refused(path, "hard links only", "/elsewhere")


def test_external_storage(path: Path, tmp_path: Path) -> None:
    passwords = tmp_path / "passwd"
    passwords.write_bytes(b"root:x:0")
    with archive(path) as file:
        file.create_dataset("arrays/w", (8,), "u1", external=[(str(passwords), 0, 8)])
    with h5py.File(path) as file:
        assert file["arrays/w"][()].tobytes() == b"root:x:0"
    refused(path, "no external storage", "/arrays/w")


def test_virtual_dataset(path: Path, secret: Path) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource(str(secret), "key", (4,))
    with archive(path) as file:
        file.create_virtual_dataset("arrays/w", layout)
        assert file["arrays/w"][()].tobytes() == SECRET.tobytes()
    refused(path, "no virtual datasets", "/arrays/w")


def test_group_cycle(path: Path) -> None:
    with archive(path) as file:
        file["arrays/loop"] = file["arrays"]
        assert "arrays/loop/loop/loop/good" in file
    refused(path, "revisit", "/arrays/loop")


def test_root_inside_itself(path: Path) -> None:
    with archive(path) as file:
        file["arrays/root"] = file["/"]
    refused(path, "revisit", "/arrays/root")


@pytest.mark.slow
def test_groups_that_share_groups(path: Path) -> None:
    """Thirty groups, a thousand million paths."""
    with archive(path) as file:
        inner = file.create_group("arrays/g")
        for _ in range(30):
            outer = inner.create_group("a")
            inner["b"] = outer
            inner = outer
        assert len(list(itertools.islice(ways(file), 10_000))) == 10_000
    refused(path, "revisit")


@pytest.mark.slow
def test_nesting(path: Path) -> None:
    with archive(path) as file:
        file.create_group("arrays" + "/g" * 1500)
        with pytest.raises(RecursionError):
            list(ways(file))
    refused(path, "depth")


def test_unknown_filter(path: Path) -> None:
    with archive(path) as file:
        file.create_dataset("arrays/w", data=np.arange(100), compression="lzf")
    refused(path, "filters", "/arrays/w")


#: A library that does something as soon as it is loaded, whatever it is.
LIBRARY = """
#include <stdio.h>
__attribute__((constructor)) static void run(void) { fclose(fopen(EVIL, "w")); }
"""


@pytest.mark.slow
def test_filter_of_no_plug_in(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HDF5 looks for a library of that number in its plug-in path, and loads what is there to look at it."""
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler")
    creation = h5p.create(h5p.DATASET_CREATE)
    creation.set_chunk((4,))
    creation.set_filter(41234, h5py.h5z.FLAG_OPTIONAL, (1,))
    with archive(path) as file:
        made = h5d.create(file["arrays"].id, b"w", h5t.IEEE_F32LE, h5s.create_simple((4,)), creation)
        made.write_direct_chunk((0,), bytes(16))
    folder, evil = tmp_path / "plugins", tmp_path / "evil"
    folder.mkdir()
    command = ["cc", "-shared", "-fPIC", f'-DEVIL="{evil}"', "-x", "c", "-", "-o", folder / "library.so"]
    subprocess.run(command, input=LIBRARY.encode(), check=True)
    monkeypatch.setenv("HDF5_PLUGIN_PATH", str(folder))
    naive = "import h5py, sys; h5py.File(sys.argv[1])['arrays/w'][()]"
    assert subprocess.run([sys.executable, "-c", naive, path], capture_output=True, check=False).returncode
    assert evil.exists()
    evil.unlink()
    starting.stop()
    refused(path, "filters", "/arrays/w")
    assert not evil.exists()


def test_deflated_twice(path: Path) -> None:
    """Two filters of the list, and the ratio is the product: 200 bytes become gigabytes."""
    creation = h5p.create(h5p.DATASET_CREATE)
    creation.set_chunk((8,))
    creation.set_deflate(9)
    creation.set_filter(h5py.h5z.FILTER_DEFLATE, 0, (9,))
    bomb = zlib.compress(zlib.compress(bytes(1 << 24), 9), 9)
    with archive(path) as file:
        dataset = h5d.create(file["arrays"].id, b"w", h5t.STD_U8LE, h5s.create_simple((8,)), creation)
        dataset.write_direct_chunk((0,), bomb)
        assert len(bomb) < 500
        assert len(zlib.decompress(zlib.decompress(bomb))) == 1 << 24
    refused(path, "filters", "/arrays/w")


def test_shape_bomb(path: Path) -> None:
    with archive(path) as file:
        file.create_dataset("arrays/w", (1 << 40,), "f4", chunks=(1 << 20,))
    assert claimed(path) > 1e8
    refused(path, "declared bytes", "/arrays/w")


@pytest.mark.slow
def test_many_small_shape_bombs(path: Path) -> None:
    with archive(path) as file:
        for number in range(200):
            file.create_dataset(f"arrays/w{number}", (1 << 20,), "u1", chunks=(1 << 20,))
    assert claimed(path) > 1000
    refused(path, "declared bytes")


def test_deflate_bomb(path: Path) -> None:
    with archive(path) as file:
        dataset = file.create_dataset("arrays/w", (1 << 34,), "u1", chunks=(1 << 24,), compression="gzip")
        dataset.id.write_direct_chunk((0,), zlib.compress(bytes(1 << 24), 9))
    assert claimed(path) > 1e5
    refused(path, "declared bytes", "/arrays/w")


def test_text_bomb(path: Path) -> None:
    with archive(path) as file:
        file.create_dataset("arrays/w", (1 << 20,), "S1000", chunks=(1 << 20,))
    assert claimed(path) > 1e5
    refused(path, "declared bytes", "/arrays/w")


def test_a_wide_dtype_attribute(path: Path) -> None:
    with archive(path) as file:
        file["arrays/w"] = np.array([b"x"])
        file["arrays/w"].attrs["dtype"] = np.bytes_("U999999999")
    with pytest.warns(ma.StaleIndexWarning), pytest.raises(ma.FormatError, match="not that long"):
        ma.load(path)


def test_an_axis_beyond_memory(path: Path) -> None:
    with archive(path) as file:
        file.create_dataset("arrays/w", (0, 2**62, 8), "f8", maxshape=(None, 2**62, 8), chunks=(1, 1, 1))
    with pytest.raises(ma.FormatError, match="no memory can hold"):
        ma.load(path)


def test_a_dataset_of_two_names_counts_once(path: Path) -> None:
    """What is stored is held against the file's size, but two links to it are no attack."""
    with archive(path) as file:
        file.create_dataset("arrays/w", data=np.arange(1000))
        file["arrays/again"] = file["arrays/w"]
    found = stale_load(path)
    np.testing.assert_array_equal(found["w"], found["again"])


def test_too_many_objects(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MAX_OBJECTS", 50)
    with archive(path) as file:
        for number in range(60):
            file.create_group(f"arrays/g{number}")
    with ma.trusted():  # in this process, where the limit was changed
        refused(path, "objects")


def test_names_are_no_paths_on_disk(path: Path, tmp_path: Path) -> None:
    with archive(path) as file:
        file.create_dataset("arrays/%2E%2E", data=1)
        h5g.create(file["arrays"].id, b"..%2Fescape")
    before = sorted(tmp_path.iterdir())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert set(ma.load(path)) == {"good", "..", "../escape"}
        maintenance.repack(path)
    assert sorted(tmp_path.iterdir()) == before
    assert set(ma.load(path)) == {"good", "..", "../escape"}


@pytest.mark.parametrize("link", ["has space", "ünicode", "__metadata__", "x" * 129, "50%"])
def test_parameter_names_outside_the_grammar(path: Path, link: str) -> None:
    with archive(path) as file:
        file.create_dataset(f"parameters/{link}", data=1)
    with pytest.raises(ma.FormatError, match="is no parameter"):
        ma.load(path)


def test_undecodable_name(path: Path) -> None:
    with archive(path) as file:
        h5g.create(file["arrays"].id, b"\xff\xfe")
    with pytest.raises(ma.FormatError):
        ma.load(path)


@pytest.mark.parametrize("dtype", ["f16", h5py.ref_dtype, h5py.vlen_dtype("f4"), np.dtype([("a", "f4")]), "V7"])
def test_dtypes_outside_the_list(path: Path, dtype: object) -> None:
    with archive(path) as file:
        file.create_dataset("arrays/w", (2,), dtype)
    with pytest.raises(ma.FormatError, match="/arrays/w has a dtype"):
        ma.load(path)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["dataset", "attribute"])
def test_a_string_without_end(path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """A heap of strings in which the next object is the same one again: libhdf5 looks for its end for ever."""
    with h5py.File(path, "w") as file:
        file.attrs["format"], file.attrs["format_version"] = np.bytes_("modelarchive"), 1
        file.create_group("arrays")
        if where == "dataset":
            file["arrays/words"] = ["some", "words"]
        else:
            file["arrays"].attrs["container"] = "dict"
    data = bytearray(path.read_bytes())
    size = data.index(b"GCOL") + 24
    # With the sixteen bytes before it the object takes 2**64 bytes, which is none.
    data[size : size + 8] = (2**64 - 16).to_bytes(8, "little")
    path.write_bytes(data)
    monkeypatch.setattr(judge, "SECONDS", 1)

    def naive() -> list[object]:
        with h5py.File(path) as file:
            return [dict(file["arrays"].attrs), [str(file[f"arrays/{name}"][()]) for name in file["arrays"]]]

    assert judge.apart(naive)[0] == "hang"
    monkeypatch.setattr(boundary, "SECONDS", 1)
    warnings.simplefilter("ignore", ma.StaleIndexWarning)
    with pytest.raises(ma.UnsafeFileError) as caught:
        ma.load(path)
    assert caught.value.rule == "time"
    assert caught.value.file == str(path)


@pytest.mark.slow
def test_one_string_many_times(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Strings of variable length are references; three thousand to one large string cost forty-eight kilobytes."""
    for each in (judge, boundary):  # it is memory that ends, not the time of a slow machine
        monkeypatch.setattr(each, "SECONDS", 60)
    count, size = 3000, 1 << 18
    with h5py.File(path, "w") as file:
        file.attrs["format"], file.attrs["format_version"] = np.bytes_("modelarchive"), 1
        file["arrays/words"] = ["x" * size, *[""] * (count - 1)]
        begin = file["arrays/words"].id.get_offset()
    data = bytearray(path.read_bytes())
    data[begin : begin + 16 * count] = data[begin : begin + 16] * count
    path.write_bytes(data)
    assert len(data) < 1 << 19

    def naive() -> int:
        with h5py.File(path) as file:
            return sum(map(len, file["arrays/words"][()]))

    assert judge.apart(naive) == ("done", count * size)
    warnings.simplefilter("ignore", ma.StaleIndexWarning)
    tracemalloc.start()
    with pytest.raises(ma.UnsafeFileError) as caught:
        ma.load(path)
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()
    assert caught.value.rule == "memory"
