"""Blocks of every type, against ggml's own code and the package's."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange import gguf
from modelarchive.exchange.gguf.encodings import BY_NAME, ENCODINGS, WRITTEN, dequantised, quantised
from modelarchive.formats.systems import SYSTEMS
from tests.exchange.gguf import wire
from tests.exchange.gguf.test_files import FOREIGN, put

package = pytest.importorskip("gguf")


def test_sizes_are_the_packages() -> None:
    theirs = {kind.value: (kind.name, *package.GGML_QUANT_SIZES[kind]) for kind in package.GGMLQuantizationType}
    ours = {each.code: (each.name, each.block, each.nbytes) for each in ENCODINGS.values()}
    assert ours == {code: found for code, found in theirs.items() if code in ours}
    # In memory only, and of no reader: sums beside Q8_0; and one bit, of which the package has no code.
    assert {theirs[code][0] for code in theirs.keys() - ours.keys()} == {"Q8_1", "Q1_0"}


def test_what_can_be_written_is_said_the_same_everywhere() -> None:
    assert SYSTEMS["gguf"].writes_as == WRITTEN
    assert set(SYSTEMS["gguf"].reads_as) == {"float32", "float16", "bfloat16"}


def test_blocks_are_what_ggml_makes_of_them() -> None:
    bundle = gguf.read(FOREIGN / "blocks.gguf")
    with np.load(FOREIGN / "blocks.npz") as values:
        assert set(values) == set(bundle.parameters)
        kinds = {each.name.lower() for each in ENCODINGS.values() if each.dtype is None} - {"q8_k"}
        assert set(values) == kinds
        for name, expected in values.items():
            found = bundle.parameters[name]
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-7, err_msg=name)


def test_q8_k(tmp_path: Path) -> None:
    """ggml.h: a float32 scale, 256 int8, and sums that nobody needs here."""
    numbers = np.arange(-128, 128, dtype=np.int8)
    block = np.float32(0.5).tobytes() + numbers.tobytes() + bytes(32)
    path = put(tmp_path, wire.whole([], [wire.info("w", (256, 2), kind=15)], block * 2))
    assert np.array_equal(gguf.read(path).parameters["w"], np.tile(numbers * np.float32(0.5), (2, 1)))


@pytest.mark.parametrize("name", [name for name in WRITTEN if BY_NAME[name].dtype is None])
def test_numbers_are_quantised_as_the_package_does(name: str, tmp_path: Path) -> None:
    array = np.random.default_rng(1).standard_normal((3, 512)).astype(np.float32)
    gguf.write({"w": array}, tmp_path / "x.gguf", dtype=name)
    found = package.GGUFReader(tmp_path / "x.gguf").tensors[0]
    assert found.tensor_type.name.lower() == name
    kind = package.GGMLQuantizationType[name.upper()]
    assert np.array_equal(found.data, package.quants.quantize(array, kind))


@pytest.mark.parametrize("encoding", [each for each in ENCODINGS.values() if each.dtype is None], ids=lambda e: e.name)
def test_scales_of_a_stranger_raise_nothing(encoding: object) -> None:
    each = ENCODINGS[encoding.code]  # type: ignore[attr-defined]
    blocks = np.random.default_rng(2).integers(0, 256, 64 * each.nbytes, np.uint8)
    blocks[: each.nbytes] = 255
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert dequantised(blocks, each, (64, each.block)).shape == (64, each.block)
        assert dequantised(blocks[:0], each, (0, each.block)).shape == (0, each.block)


def test_numbers_that_are_infinite_stay_so_without_a_word() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        array = np.array([[np.inf, np.nan, -np.inf, np.inf] * 8], np.float32)
        quantised(array, BY_NAME["q8_0"], "w")
        assert np.isinf(quantised(array, BY_NAME["f16"], "w")[0, 2])


@pytest.mark.parametrize("name", sorted(WRITTEN))
def test_numbers_that_would_become_infinite_are_refused(name: str, tmp_path: Path) -> None:
    """Of each encoding: the largest float32 is written whole, or refused; so is half precision's neighbour."""
    encoding = BY_NAME[name]
    for largest in (1e5, 1e30, float(np.finfo(np.float32).max)):
        array = np.linspace(-1, 1, 4 * 256, dtype=np.float32).reshape(4, 256) * np.float32(largest)
        ma.save(tmp_path / "x.h5", {"w": array})
        path = tmp_path / f"{largest:.0e}.gguf"
        refused: list[tuple[str, str]] = []
        try:
            ma.convert(tmp_path / "x.h5", path, dtype=name)
        except ma.ConversionError as error:
            refused = error.unsupported
        if refused:
            what = encoding.name if encoding.dtype is None else encoding.dtype
            assert [where for where, _ in refused] == ["w"]
            assert refused[0][1].endswith(f"would be infinite as {what}")
            assert not path.exists()
        else:
            found = gguf.read(path).parameters["w"]
            assert np.isfinite(found.astype(np.float32)).all()
            np.testing.assert_allclose(found.astype(np.float64), array, rtol=0.6, atol=0.3 * largest)


def test_one_infinite_number_takes_no_others_along(tmp_path: Path) -> None:
    array = np.ones((2, 32), np.float32)
    array[0, 3] = np.inf
    with pytest.raises(ma.ConversionError, match="w: 1 would be infinite as Q8_0"):
        quantised(array, BY_NAME["q8_0"], "w")
    with np.errstate(all="raise"):
        assert np.array_equal(quantised(array, BY_NAME["f16"], "w"), array.astype(np.float16))


def test_read_into_a_narrower_dtype(tmp_path: Path) -> None:
    gguf.write({"w": np.array([[1e5, 1.0]], np.float32)}, tmp_path / "x.gguf")
    with pytest.raises(ma.ConversionError, match="w: 100000 would be infinite as float16"):
        ma.convert(tmp_path / "x.gguf", tmp_path / "x.h5", dtype="float16")
    assert not (tmp_path / "x.h5").exists()
    ma.convert(tmp_path / "x.gguf", tmp_path / "x.h5", dtype="bfloat16")
    assert float(ma.load(tmp_path / "x.h5")["w"][0, 0]) == 99840


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "gguf", None)
    gguf.read(FOREIGN / "half.gguf")
    for attempt in (
        lambda: gguf.read(FOREIGN / "quantised.gguf"),
        lambda: gguf.write({"w": wire.numbers(2, 32)}, tmp_path / "x.gguf", dtype="q8_0"),
    ):
        with pytest.raises(ma.MissingDependencyError, match=r"modelarchive\[gguf\]"):
            attempt()
    assert not (tmp_path / "x.gguf").exists()
