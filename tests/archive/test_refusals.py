"""What an archive refuses to write, or to read as something that it is not, in the words of its room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import modelarchive as ma
from modelarchive import names, nn
from modelarchive.archive import saving, verifying
from modelarchive.errors import DeferredShapeError, ParameterError, UnsupportedDataError
from tests.archive.test_folders import _change

X = np.ones((2, 3), "f4")


def network() -> nn.Sequential:
    net = nn.Sequential(nn.Dense(2, in_units=3), nn.Dense(2, in_units=2))
    net.initialize(seed=0)
    return net


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.h5"


@pytest.mark.parametrize("metadata", [[1], "text", 3])
def test_metadata_that_is_no_dict(path: Path, metadata: Any) -> None:
    with pytest.raises(TypeError, match=f"metadata is {type(metadata).__name__}, expected a dict"):
        ma.save_model(path, network(), inputs=X, metadata=metadata)
    assert not path.exists()


def test_metadata_that_json_cannot_say(path: Path) -> None:
    with pytest.raises(UnsupportedDataError) as caught:
        ma.save_model(path, network(), inputs=X, metadata={"a": {"b": object()}, "c": float("inf")})
    assert len(caught.value.problems) == 2
    assert not path.exists()


def test_what_is_no_network(path: Path) -> None:
    with pytest.raises(TypeError, match=r"block is dict, expected a modelarchive\.nn\.Block"):
        saving.save_model(path, {}, inputs=X)  # type: ignore[arg-type]


def test_a_network_without_values(path: Path) -> None:
    net = nn.Sequential(nn.Dense(2, in_units=3), nn.Dense(2))
    with pytest.raises(DeferredShapeError) as caught:
        net.save_parameters(path)
    assert caught.value.names == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert not path.exists()


def test_a_network_has_no_parameter_of_a_name_that_archives_have_not(path: Path) -> None:
    """Blocks refuse such attributes and such depths themselves: saving asks no more."""
    with pytest.raises(AttributeError, match="is not 1 to 128 letters"):
        setattr(nn.Dense(2), "a\0b", nn.Parameter((2,)))
    net: nn.Block = nn.Dense(2, in_units=3, use_bias=False)
    for _ in range(names.MAX_PARTS - 1):
        net = nn.Sequential(net)
    net.initialize(seed=0)
    net.save_parameters(path, durable=False)
    [deepest] = net.collect_params()
    assert len(deepest.split(".")) == names.MAX_PARTS
    assert [*ma.load(path)] == [deepest]
    with pytest.raises(ValueError, match=f"nest deeper than {names.MAX_PARTS}"):
        nn.Sequential(net).save_parameters(path, durable=False)


def test_keys_that_are_longer_than_names_of_hdf5(path: Path) -> None:
    with pytest.raises(UnsupportedDataError, match="nothing was written"):
        saving.write_dict(path, {"k" * 70_000: X}, texts={})
    assert not path.exists()


def test_strings_that_no_file_holds(path: Path) -> None:
    with pytest.raises(UnsupportedDataError) as caught:
        ma.save(path, {"words": np.array(["a", "\ud800"]), "x": 1})
    assert [where for where, _ in caught.value.problems] == ["data['words']"]
    assert not path.exists()


def test_a_tensor_without_values_in_a_stream(path: Path) -> None:
    torch = pytest.importorskip("torch")
    sparse = torch.eye(3).to_sparse()
    with pytest.raises(UnsupportedDataError) as caught:
        ma.save_stream(path, [("a", sparse)], announced={"a": ((3, 3), "float32")})
    assert [name for name, _ in caught.value.problems] == ["a"]
    assert not path.exists()


def test_arrays_that_are_announced_are_not_read_before_they_come() -> None:
    """What would ask for one has no stream to wait for."""
    from modelarchive.archive.streaming import _entries

    with pytest.raises(RuntimeError, match="a comes with the stream"):
        _entries({"a": ((2,), "float32")})["a"].read()


def test_a_name_that_is_not_there(path: Path) -> None:
    ma.save_model(path, network(), inputs=X, durable=False)
    with ma.open(path) as archive, pytest.raises(ParameterError, match=r"2\.weight"):
        archive.deferred({"new": "2.weight"})


def test_a_document_of_several_strings(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["format"], file.attrs["format_version"] = "modelarchive", 1
        file["arrays/a"], file["metadata/data"] = X, ["{}", "{}"]
    with pytest.warns(ma.StaleIndexWarning), ma.open(path) as archive, pytest.raises(ma.FormatError) as caught:
        archive.metadata  # noqa: B018
    assert (caught.value.message, caught.value.path) == ("is no text", "/metadata/data")


def test_shards_that_hold_another_structure_than_their_index_tells(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    ma.save(folder, {"a": np.arange(300.0), "b": [np.arange(3)]}, max_shard_size="1KB", durable=False)
    ma.verify(folder)

    def change(found: dict[str, Any]) -> None:
        own = found["metadata"]["modelarchive"]
        own["members"] = [[name, "tuple" if kind == "list" else kind] for name, kind in own["members"]]

    _change(folder, change)
    with pytest.raises(ma.IntegrityError) as caught:
        ma.verify(folder)
    assert [*caught.value.damaged] == ["members"]


def test_words_that_are_not_as_many_as_the_rows(path: Path) -> None:
    ma.save_model(path, network(), inputs=X, tokens={"0.weight": ["a", "b"]}, durable=False)
    with ma.open(path) as archive:
        archive.verify()
        texts = archive.reader.contents.texts
        path_of_words = next(each for each in texts if each.startswith("/tokens/"))
        texts[path_of_words] = texts[path_of_words]._replace(shape=(3,))
        with pytest.raises(ma.IntegrityError) as caught:
            verifying._check_tokens(archive.reader)
    assert caught.value.damaged == {path_of_words: ("as 0.weight: (2,)", "words: (3,)")}
