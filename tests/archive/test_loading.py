"""Loading into networks: what fits, what does not and why; and that nothing changes when something does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import nn
from tests.transplant.networks import Donor, Receiver, Tied, X, ready, state


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "x.h5"
    ready(Donor()).save_parameters(path)
    return path


@pytest.mark.parametrize("prepare", ["nothing", "deferred", "ready"])
@pytest.mark.parametrize("mmap", [False, True])
def test_into_a_network(path: Path, prepare: str, mmap: bool) -> None:
    net = Donor()
    if prepare == "deferred":
        net.initialize(seed=3)
    if prepare == "ready":
        ready(net, seed=3)
    ma.archive.load_parameters(net, path, mmap=mmap)
    np.testing.assert_array_equal(net(X), ready(Donor())(X))
    assert all(p.trainable for p in net.collect_params().values())


def test_a_mapped_network_may_be_trained_in_memory(path: Path) -> None:
    written = path.read_bytes()
    net = Donor()
    ma.archive.load_parameters(net, path, mmap=True)
    net.output.weight.data()[...] += 1
    assert path.read_bytes() == written


def test_all_that_does_not_fit_in_one_error(path: Path) -> None:
    net = ready(Receiver(), seed=1)
    before = state(net)
    with pytest.raises(ma.ParameterError) as caught:
        net.load_parameters(path)
    error = caught.value
    assert error.missing == [f"backbone.{at}.{name}" for at in (0, 1) for name in ("weight", "bias")]
    assert error.unexpected == [f"features.{at}.{name}" for at in (0, 1) for name in ("weight", "bias")]
    assert error.mismatched == {
        "output.weight": ("shape (5, 6)", "shape (3, 6)"),
        "output.bias": ("shape (5,)", "shape (3,)"),
    }
    assert error.file == str(path)
    for word in ("missing", "unexpected", "mismatched", "allow_missing=True", "ignore_extra=True", "10 parameters"):
        assert word in str(error)
    assert state(net) == before


def test_near_names_are_suggested(tmp_path: Path) -> None:
    net = Donor()
    ma.save(
        tmp_path / "x.h5",
        {name.replace("output", "outptu"): p.data() for name, p in ready(Donor()).collect_params().items()},
    )
    with pytest.raises(ma.ParameterError, match=r"near: outptu.weight"):
        net.load_parameters(tmp_path / "x.h5")


@pytest.mark.parametrize("options", [{"allow_missing": True}, {"ignore_extra": True}])
def test_one_tolerance_does_not_imply_the_other(path: Path, options: dict[str, bool]) -> None:
    net = ready(Receiver(classes=3), seed=1)
    before = state(net)
    with pytest.raises(ma.ParameterError):
        net.load_parameters(path, **options)
    assert state(net) == before
    net.load_parameters(path, allow_missing=True, ignore_extra=True)
    after = state(net)
    assert [name for name in before if before[name] != after[name]] == ["output.weight", "output.bias"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, None),
        ({"cast_dtype": True}, "float64"),
        ({"cast_dtype": True, "dtype_source": "current"}, "float64"),
        ({"cast_dtype": True, "dtype_source": "saved"}, "float32"),
    ],
)
def test_dtypes(path: Path, options: dict[str, Any], expected: str | None) -> None:
    net = ready(Donor(), seed=1)
    net.cast("float64")
    before = state(net)
    if expected is None:
        with pytest.raises(ma.ParameterError, match="cast_dtype=True") as caught:
            net.load_parameters(path, **options)
        assert caught.value.mismatched["output.bias"] == ("dtype float64", "dtype float32")
        assert state(net) == before
        return
    net.load_parameters(path, **options)
    assert {p.dtype.name for p in net.collect_params().values()} == {expected}
    np.testing.assert_allclose(net(X.astype(expected)), ready(Donor())(X), rtol=1e-6)


def test_a_dtype_source_that_is_none(path: Path) -> None:
    with pytest.raises(ValueError, match="expected 'current' or 'saved'"):
        Donor().load_parameters(path, dtype_source="file")


def test_shared_parameters(tmp_path: Path) -> None:
    path, x = tmp_path / "x.h5", np.zeros((1, 6), "f4")
    tied = ready(Tied(), x=x)
    tied.save_parameters(path)
    other = ready(Tied(), seed=1, x=x)
    other.load_parameters(path)
    assert other.first.weight is other.second.weight
    np.testing.assert_array_equal(other.first.weight.data(), tied.first.weight.data())
    ma.save(path, {"first.weight": np.zeros((6, 6), "f4"), "second.weight": np.ones((6, 6), "f4")})
    before = state(other)
    with pytest.raises(ma.ParameterError, match="which it is shared with"):
        other.load_parameters(path)
    assert state(other) == before
    ma.save(path, {"first.weight": np.ones((6, 6), "f4"), "second.weight": np.ones((6, 6), "f4")})
    other.load_parameters(path)
    assert (other.second.weight.data() == 1).all()


def test_a_flat_dict_and_a_whole_model_are_sources_too(tmp_path: Path) -> None:
    donor, path = ready(Donor()), tmp_path / "x.h5"
    ma.save(path, {name: p.data() for name, p in donor.collect_params().items()})
    net = Donor()
    net.load_parameters(path)
    np.testing.assert_array_equal(net(X), donor(X))
    ma.save_model(path, donor, inputs=X)
    net = Donor()
    net.load_parameters(path)
    np.testing.assert_array_equal(net(X), donor(X))


def test_load_gives_a_model_s_parameters(path: Path) -> None:
    found = ma.load(path)
    donor = ready(Donor())
    assert list(found) == list(donor.collect_params())
    for name, parameter in donor.collect_params().items():
        np.testing.assert_array_equal(found[name], parameter.data())


def test_load_model_verifies_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    ma.save_model(path, ready(Donor()), inputs=X)
    with ma.open(path) as archive:
        offset = archive.reader.contents.arrays["output.weight"].offset
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)
    ma.load_model(path)
    with pytest.raises(ma.IntegrityError) as caught:
        ma.load_model(path, verify=True)
    assert caught.value.damaged.keys() == {"output.weight"}


def test_load_of_a_block_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    ma.save_model(path, ready(Donor()), inputs=X)
    with pytest.raises(ma.SpecError, match="feature"):
        ma.load_model(path, block="feature")


def test_a_frozen_parameter_stays_frozen(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    net = ready(Donor())
    net.features.freeze()
    ma.save_model(path, net, inputs=X)
    found = {name: p.trainable for name, p in ma.load_model(path).collect_params().items()}
    assert found == {name: name.startswith("output") for name in found}
    assert isinstance(ma.load_model(path, block="features"), nn.Block)
    part = ma.load_model(path, block="features")
    assert not any(p.trainable for p in part.collect_params().values())
