"""An archive as an object: lazy, views, parts by name; and parts cost only their own bytes."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import nn
from tests.structures import index_of
from tests.transplant.networks import Donor, X, ready

MIB = 1 << 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "x.h5"
    ma.save_model(path, ready(Donor()), inputs=X, metadata={"a": 1})
    return path


def test_what_it_tells(path: Path) -> None:
    net = ready(Donor())
    with ma.open(path) as archive:
        assert archive.path == path
        assert archive.size == path.stat().st_size
        assert archive.section == "parameters"
        assert archive.parameter_count == sum(p.data().size for p in net.collect_params().values())
        assert archive.metadata == {"a": 1}
        assert not archive.is_stale
        assert len(archive.parameters) == 6
        assert "features.0.weight" in archive.parameters
        assert "features.0" not in archive.parameters
        assert "(8, 12)" in repr(archive.parameters)
        assert str(path) in repr(archive)


def test_summary(path: Path) -> None:
    with ma.open(path) as archive:
        text = archive.summary()
    assert repr(text) == str(text), "a prompt shows it as it is printed"
    lines = text.splitlines()
    assert lines[0].split() == ["name", "shape", "dtype", "bytes"]
    assert lines[1].split() == ["features.0.weight", "(8,", "12)", "float32", "384"]
    assert "parameters" in lines[-1]
    assert all(line == line.rstrip() for line in lines)


def test_an_archive_is_a_mapping(path: Path) -> None:
    with ma.open(path) as archive, ma.open(path) as other:
        assert isinstance(archive, Mapping)
        assert list(archive) == list(archive.keys()) == list(archive.parameters)
        assert len(archive) == 6
        assert "output.weight" in archive
        assert "output" not in archive
        np.testing.assert_array_equal(archive["output.weight"], archive.parameters["output.weight"])
        assert {name: array.shape for name, array in archive.items()} == {n: a.shape for n, a in ma.load(path).items()}
        assert archive.get("nothing") is None
        assert [array.shape for array in archive.values()] == [array.shape for array in dict(archive).values()]
        with pytest.raises(ma.ParameterError, match=r"did you mean 'output.weight'"):
            archive["outptu.weight"]
        with pytest.raises(ma.ParameterError, match=r"did you mean 'output.weight'"):
            archive["/parameters/output/weight"]
        assert archive == archive
        assert archive != other
        assert len({archive, other}) == 2


def test_an_archive_without_arrays_is_true(tmp_path: Path) -> None:
    ma.save(tmp_path / "x.h5", {})
    with ma.open(tmp_path / "x.h5") as archive:
        assert len(archive) == 0
        assert archive


def test_a_name_that_is_not_there(path: Path) -> None:
    with ma.open(path) as archive, pytest.raises(ma.ParameterError, match=r"did you mean 'output.weight'") as caught:
        archive.parameters["outptu.weight"]
    assert isinstance(caught.value, LookupError)
    assert caught.value.missing == ["outptu.weight"]
    assert caught.value.file == str(path)
    with ma.open(path) as archive:
        for key in (0, slice(0, 2), ("output", "weight"), None):
            assert archive.get(key) is None  # type: ignore[call-overload]
            with pytest.raises(ma.ParameterError, match="names are texts") as caught:
                archive[key]  # type: ignore[index]
            assert caught.value.file == str(path)
        assert archive.parameters.get("nothing") is None
        with pytest.raises(ma.ParameterError, match=r'select\("output\.\*"\) gives those'):
            archive["output.*"]


@pytest.mark.parametrize("given", [3, None, ["x.h5"], io.BytesIO(), np.zeros(2)])
@pytest.mark.parametrize("use", [ma.open, ma.load, ma.load_model, ma.verify, partial(ma.convert, target="y.h5")])
def test_what_is_no_path(use: Callable[..., object], given: object) -> None:
    with pytest.raises(TypeError, match=rf"the path is {type(given).__name__}, expected str or os.PathLike"):
        use(given)


@pytest.mark.parametrize("use", [ma.open, ma.load, ma.load_model, ma.verify, partial(ma.convert, target="y.h5")])
def test_an_empty_path_is_not_this_folder(use: Callable[..., object]) -> None:
    with pytest.raises(FileNotFoundError, match="the path is empty"):
        use("")


def test_select(path: Path) -> None:
    with ma.open(path) as archive:
        assert list(archive.select("features.*")) == [n for n in archive.parameters if n.startswith("features.")]
        assert list(archive.select(["*.bias", "output.*"])) == [
            "features.0.bias",
            "features.1.bias",
            "output.weight",
            "output.bias",
        ]
        assert len(archive.select("nothing")) == 0


def test_views_outlive_the_archive(path: Path) -> None:
    with ma.open(path) as archive:
        view = archive.parameters["output.weight"]
    np.testing.assert_array_equal(view, ready(Donor()).output.weight.data())
    view[...] = 0
    assert ma.load(path)["output.weight"].any()


def test_after_closing(path: Path) -> None:
    archive = ma.open(path)
    archive.close()
    archive.close()
    for use in (lambda: archive.parameters["output.weight"], archive.verify, lambda: archive.load("output.*")):
        with pytest.raises(ValueError, match=re.escape(f"{path} is closed")):
            use()


def test_parts(path: Path) -> None:
    donor = ready(Donor())
    with ma.open(path) as archive:
        np.testing.assert_array_equal(archive.build()(X), donor(X))
        features = archive.build("features")
        np.testing.assert_array_equal(features(X), donor.features(X))
        first = archive.build("features", slice(0, 1))
        np.testing.assert_array_equal(first(X), donor.features[0](X))
        np.testing.assert_array_equal(archive.build("features.1")(donor.features[0](X)), donor.features(X))
        net = nn.Sequential(*features, nn.Dense(2))
    net.initialize(seed=0)
    assert net(X).shape == (2, 2)


@pytest.mark.parametrize("block", ["nothing", "features.7", "features.", ".features", "features.0.weight"])
def test_blocks_that_are_not_there(path: Path, block: str) -> None:
    with ma.open(path) as archive, pytest.raises(ma.SpecError):
        archive.build(block)


def test_children_of_what_has_none(path: Path) -> None:
    with ma.open(path) as archive, pytest.raises((ma.SpecError, TypeError, ValueError)):
        archive.build("output", slice(0, 1))


def big_model(path: Path) -> nn.Sequential:
    net = nn.Sequential(*(nn.Dense(512, in_units=512, use_bias=False) for _ in range(24)))
    net.initialize("ones")
    ma.save_model(path, net, inputs=np.zeros((1, 512), "f4"), durable=False)
    return net


def test_a_part_is_built_from_its_own_bytes(tmp_path: Path) -> None:
    """Everything else in the data may be gone: zeroed here, punched out of the file."""
    path = tmp_path / "x.h5"
    big_model(path)
    entry = index_of(path).arrays["7.weight"]
    first = min(e.offset for e in index_of(path).arrays.values())
    data = path.read_bytes()
    path.write_bytes(
        data[:first]
        + bytes(entry.offset - first)
        + data[entry.offset :][: entry.nbytes]
        + bytes(len(data) - entry.offset - entry.nbytes)
    )
    part = ma.load_model(path, block="7")
    assert (part.weight.data() == 1).all()
    target = nn.Sequential(nn.Dense(512, in_units=512, use_bias=False))
    ma.transplant(path, target, select="7.weight", rename={"7.*": "0.*"})
    assert (target[0].weight.data() == 1).all()


def mapped(path: Path) -> int:
    """Bytes of the file that are in this process's memory."""
    text = Path("/proc/self/smaps").read_text()
    blocks = re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", text)
    return sum(
        int(re.search(r"^Rss: +(\d+) kB", block, re.MULTILINE)[1]) * 1024
        for block in blocks
        if block.split("\n")[0].endswith(str(path))
    )


def bytes_read() -> int:
    """Bytes that this process's reads of files have returned so far."""
    return int(re.search(r"rchar: (\d+)", Path("/proc/self/io").read_text())[1])


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="this system does not tell what is mapped")
def test_a_part_costs_its_own_bytes(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    big_model(path)
    before = bytes_read()
    part = ma.load_model(path, block="7")
    assert float(part.weight.data().sum()) == 512 * 512
    assert bytes_read() - before < MIB
    used = mapped(path)
    assert MIB <= used < 3 * MIB, "one block of 1 MiB, the index, and what the system maps around"
    with ma.open(path) as archive:
        for view in archive.parameters.values():
            view.sum()
        assert mapped(path) >= 24 * MIB, "the measure itself must tell the difference"
    del part, view


def test_reading_from_many_threads(path: Path) -> None:
    expected = {name: array.tobytes() for name, array in ma.load(path).items()}
    failures: list[str] = []
    with ma.open(path) as archive:

        def read() -> None:
            for _ in range(50):
                failures.extend(n for n, a in archive.parameters.items() if a.tobytes() != expected[n])
                failures.extend(n for n, a in ma.load(path, verify=True).items() if a.tobytes() != expected[n])

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures


def test_no_file_stays_open(path: Path) -> None:
    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0

    views = ma.load(path, mmap=True)
    before = open_files()
    for _ in range(5):
        ma.load(path)
        ma.load_model(path)
        with pytest.raises(ma.SpecError):
            ma.load_model(path, block="nothing")
    assert open_files() == before
    assert views["output.bias"].shape == (3,)
