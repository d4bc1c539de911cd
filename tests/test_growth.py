"""What people do with files of many blocks is work in proportion to them, not to their square."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import maintenance, nn
from modelarchive.cli import main
from modelarchive.models import transplant_file
from modelarchive.nn.block import Block
from modelarchive.store.source import Source
from tests.work import growth

X = np.ones((1, 2), np.float32)
#: Blocks of the smaller network.
BLOCKS = 60


def row(path: Path, blocks: int) -> Path:
    file = path / f"row{blocks}.h5"
    net = nn.Sequential(*(nn.Dense(2, in_units=2, dtype="float32") for _ in range(blocks)))
    net.initialize(seed=0)
    ma.save_model(file, net, inputs=X, durable=False)
    return file


def show(file: Path) -> None:
    with redirect_stdout(io.StringIO()):
        assert main(["show", str(file)]) == 0


def verify(file: Path) -> None:
    with ma.open(file) as archive:
        archive.verify()


def save(file: Path) -> None:
    ma.save_model(file.with_suffix(".out"), ma.load_model(file), inputs=X, durable=False)


def transplant(file: Path) -> None:
    transplant_file(file, file, file.with_suffix(".out"), freeze=True, durable=False)


def repack(file: Path) -> None:
    maintenance.repack(file, file.with_suffix(".out"), dtype="float16", durable=False)


@pytest.mark.parametrize("work", [show, verify, save, transplant, repack])
def test_the_work_grows_with_the_blocks(work: Callable[[Path], None], tmp_path: Path) -> None:
    def of(blocks: int) -> Callable[[], Any]:
        file = row(tmp_path, blocks)
        return lambda: work(file)

    assert growth(of, BLOCKS) < 2.1


@pytest.mark.parametrize("work", [show, verify, save, transplant, repack])
def test_no_children_are_copied_for_each_child(
    work: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = row(tmp_path, BLOCKS)
    copied = 0

    def children(block: Block) -> dict[str, Block]:
        nonlocal copied
        copied += len(block._children)
        return dict(block._children)

    monkeypatch.setattr(Block, "children", property(children))
    work(file)
    assert copied < 30 * BLOCKS


def test_repack_reads_the_source_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "large.h5"
    ma.save(file, {f"w{at}": np.ones((512, 1024), np.float32) for at in range(3)}, durable=False)
    read = 0
    pieces = Source.pieces

    def counted(self: Source, offset: int, nbytes: int) -> Any:
        nonlocal read
        if nbytes >= 1 << 20:
            read += nbytes
        return pieces(self, offset, nbytes)

    monkeypatch.setattr(Source, "pieces", counted)
    done = maintenance.repack(file, tmp_path / "out.h5", dtype="bfloat16", durable=False)
    assert [each.largest_error for each in done.converted] == [0, 0, 0]
    assert read == 3 * 512 * 1024 * 4


def test_what_cannot_be_converted_is_listed_whole_and_nothing_is_written(tmp_path: Path) -> None:
    file, out = tmp_path / "x.h5", tmp_path / "out.h5"
    wide = np.array([1, 1e9], np.float32)
    ma.save(file, {"a": wide, "b": np.ones(3, np.float32), "c": -2 * wide}, durable=False)
    with pytest.raises(ma.UnsupportedDataError) as caught:
        maintenance.repack(file, out, dtype="float16", durable=False)
    assert [(name, what.split()[0]) for name, what in caught.value.problems] == [("a", "1e+09"), ("c", "2e+09")]
    assert [each.name for each in tmp_path.iterdir()] == ["x.h5"]
