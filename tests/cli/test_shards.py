"""Every command takes an archive in shards as it takes one file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import cli, zoo
from tests.cli.conftest import Run

X = np.random.default_rng(0).standard_normal((2, 1, 28, 28)).astype(np.float32)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """One network as a file, and as a folder."""
    net = zoo.LeNet()
    net.initialize(seed=0)
    net(X)
    ma.save_model(tmp_path / "x.h5", net, inputs=X, metadata={"made": "here"}, durable=False)
    ma.save_model(tmp_path / "x", net, inputs=X, metadata={"made": "here"}, max_shard_size="60KB", durable=False)
    return tmp_path / "x.h5", tmp_path / "x"


def test_show(run: Run, pair: tuple[Path, Path]) -> None:
    for options in ((), ("--tree",), ("--stats",)):
        one, other = (run("show", path, *options) for path in pair)
        assert (one.code, other.code, other.err) == (0, 0, "")
        names = [line.split()[0] for line in one.out.splitlines() if ".weight" in line]
        assert names == [line.split()[0] for line in other.out.splitlines() if ".weight" in line]
    one, other = (run("show", path, "--json").json for path in pair)
    assert {key for key in one if one[key] != other[key]} <= {"file", "size", "bytes"}


def test_verify_and_diff(run: Run, pair: tuple[Path, Path]) -> None:
    assert run("verify", *pair).code == 0
    assert run("diff", *pair).code == 0
    shard = sorted(pair[1].glob("model-*"))[1]
    raw = bytearray(shard.read_bytes())
    raw[-1] ^= 64
    shard.write_bytes(raw)
    done = run("verify", pair[1])
    assert done.code == 1
    assert shard.name in done.out
    assert run("diff", *pair).code == 1
    shard.unlink()
    done = run("verify", pair[1])
    assert done.code == 4
    assert shard.name in done.err


def test_parts(run: Run, pair: tuple[Path, Path], tmp_path: Path) -> None:
    block = next(name for name in ma.load_model(pair[0]).children)
    found = []
    for path in pair:
        assert run("extract", path, block, "-o", tmp_path / "part.h5").code == 0
        found.append((tmp_path / "part.h5").read_bytes())
    assert found[0] == found[1]
    for source, target in (pair, pair[::-1]):
        assert run("transplant", source, target, "-o", tmp_path / "moved.h5").code == 0
        assert run("diff", pair[0], tmp_path / "moved.h5").code == 0
    assert run("transplant", pair[0], pair[1], "-o", pair[1]).code == 0
    assert run("verify", pair[1]).code == 0


@pytest.mark.parametrize(
    "command",
    [["extract", "FILE", "--children", "0:2"], ["repack", "FILE"], ["transplant", "FILE", "FILE"]],
    ids=lambda command: command[0],
)
def test_an_output_that_ends_in_a_slash_is_a_folder(
    run: Run, pair: tuple[Path, Path], tmp_path: Path, command: list[str]
) -> None:
    done = run(*[pair[0] if word == "FILE" else word for word in command], "-o", f"{tmp_path}/out/")
    assert (done.code, done.err) == (0, "")
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == [
        "model.h5",
        "model.safetensors",
        "model.safetensors.index.json",
    ]
    assert run("verify", tmp_path / "out").code == 0


def test_repack_and_convert(run: Run, pair: tuple[Path, Path], tmp_path: Path) -> None:
    assert run("repack", pair[1], "-o", tmp_path / "y.h5").code == 0
    assert (tmp_path / "y.h5").read_bytes() == pair[0].read_bytes()
    assert run("repack", pair[0], "-o", tmp_path / "y", "--max-shard-size", "60KB").code == 0
    assert {each.name: each.read_bytes() for each in (tmp_path / "y").iterdir()} == {
        each.name: each.read_bytes() for each in pair[1].iterdir()
    }
    assert run("repack", pair[1], "--max-shard-size", "1MB", "--dtype", "bfloat16").code == 0
    assert len(list(pair[1].glob("model*.safetensors"))) == 1
    assert run("convert", pair[1], tmp_path / "y.safetensors").code == 0
    done = run("convert", pair[0], tmp_path / "z", "--max-shard-size", "60KB")
    assert (done.code, done.err) == (0, "")
    assert "z: an archive in shards, " in done.out
    for size in ("many", "0", "-1GB"):
        done = run("convert", pair[0], tmp_path / "u", "--max-shard-size", size)
        assert done.code == 2
        assert "--max-shard-size" in done.err
    assert not (tmp_path / "u").exists()
    done = run("reindex", tmp_path / "z")
    assert done.code == 4


def test_run_and_view(run: Run, pair: tuple[Path, Path], tmp_path: Path) -> None:
    np.save(tmp_path / "in.npy", X)
    found = []
    for path in pair:
        assert run("run", path, "--input", tmp_path / "in.npy", "-o", tmp_path / "out.npy").code == 0
        found.append(np.load(tmp_path / "out.npy"))
    np.testing.assert_array_equal(*found)
    assert run("view", pair[1], "-o", tmp_path / "page.html").code == 0
    assert run("view", *pair, "-o", tmp_path / "page.html").code == 0


def test_signatures(run: Run, pair: tuple[Path, Path], tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    from tests.test_signing import make_keys

    private, public = make_keys(tmp_path, "alice")
    assert run("sign", pair[1], "--key", private).code == 0
    assert (tmp_path / "x.sig").stat().st_size == 64
    assert run("verify", pair[1], "--key", public).code == 0
    assert run("repack", pair[1], "--max-shard-size", "1MB").code == 0
    assert run("verify", pair[1]).code == 0
    assert run("verify", pair[1], "--key", public).code == 1
    assert cli.commands()["sign"]
