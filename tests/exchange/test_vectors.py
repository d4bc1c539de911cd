"""Word vectors: what gensim wrote is read as a whole model, text comes back bit by bit, absurd counts are refused."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import modelarchive as ma
from modelarchive import nn
from modelarchive.exchange import Bundle, vectors
from tests.conftest import ROOT

FOREIGN = ROOT / "tests" / "data" / "foreign" / "vectors"
WORDS = ["the", "été", ",", "New_York", "42", "日本"]


@pytest.mark.parametrize("name", ["glove.txt", "word2vec.txt", "word2vec.bin"])
def test_what_gensim_wrote(name: str) -> None:
    bundle = vectors.read(FOREIGN / name)
    expected = np.load(FOREIGN / "expected.npy")
    assert np.array_equal(bundle.parameters["weight"], expected)
    assert bundle.parameters["weight"].dtype == np.float32
    assert bundle.tokens == {"weight": WORDS}
    assert bundle.notes == []
    assert np.array_equal(bundle.build()(np.array([[1, 3]])), expected[[[1, 3]]])


def test_through_an_archive(tmp_path: Path) -> None:
    assert ma.convert(FOREIGN / "word2vec.bin", tmp_path / "x.h5") == []
    assert ma.convert(tmp_path / "x.h5", tmp_path / "x.txt") == []
    with ma.open(tmp_path / "x.h5") as archive:
        assert archive.verify().has_architecture
        assert archive.tokens["weight"] == WORDS
    assert np.array_equal(vectors.read(tmp_path / "x.txt").parameters["weight"], np.load(FOREIGN / "expected.npy"))


finite = st.floats(width=32, allow_nan=False)


@pytest.mark.slow
@given(st.lists(st.lists(finite, min_size=2, max_size=2), min_size=1, max_size=5), st.booleans())
def test_numbers_keep_their_bits(rows: list[list[float]], with_header: bool) -> None:
    import tempfile

    array = np.array(rows, np.float32)
    words = [f"w{number}" for number in range(len(rows))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.txt"
        bundle = Bundle({"weight": array}, tokens={"weight": words})
        assert vectors.write(bundle, path, with_header=with_header) == []
        found = vectors.read(path)
    assert found.parameters["weight"].tobytes() == array.tobytes()
    assert found.tokens["weight"] == words


def test_words_with_spaces(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("the 1 2 3\n. . . 4 5 6\nat name@domain.com 7 8 9\r\n\nlast 1e-3 -0 inf")
    bundle = vectors.read(path)
    assert bundle.tokens["weight"] == ["the", ". . .", "at name@domain.com", "last"]
    assert bundle.parameters["weight"][1:3].tolist() == [[4, 5, 6], [7, 8, 9]]


def test_odd_words_are_noted(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    vector = struct.pack("<2f", 1, 2)
    path.write_bytes(b"4 2\n" + b"\n".join(word + b" " + vector for word in (b"a", b"\xff", b"a", b"n\0")) + b"\n")
    bundle = vectors.read(path)
    assert bundle.tokens["weight"] == ["a", "\\xff", "a", "n\\x00"]
    assert len(bundle.notes) == 2
    assert "not UTF-8" in str(bundle.notes[0])
    assert "1 row more for words that stand there already" in str(bundle.notes[1])
    assert len(ma.convert(path, tmp_path / "x.h5")) == 2


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Embedding(3, 4), nn.Dense(2, flatten=False))
    net.initialize(seed=0)
    x = np.zeros((1, 2), np.int64)
    net(x)
    ma.save_model(tmp_path / "x.h5", net, inputs=x, metadata={"a": 1}, tokens={"0.weight": ["a", "b", "c"]})
    notes = vectors.write(tmp_path / "x.h5", tmp_path / "x.txt")
    assert [note.where for note in notes] == ["1.weight", "1.bias", "(metadata)", "(architecture)"]
    assert vectors.read(tmp_path / "x.txt").tokens["weight"] == ["a", "b", "c"]


def test_what_cannot_be_written(tmp_path: Path) -> None:
    array = np.zeros((4, 2), np.float32)
    with pytest.raises(ma.ConversionError) as caught:
        vectors.write(Bundle({"w": array}, tokens={"w": ["a b", "", "c\n", "d"]}), tmp_path / "x.txt")
    assert [where for where, _ in caught.value.unsupported] == ["w[0]", "w[1]", "w[2]"]
    for bundle in (
        Bundle({"w": array}),
        Bundle({"w": array}, tokens={"w": ["a", "b", "c"]}),
        Bundle({"w": array, "v": array}, tokens={key: ["a", "b", "c", "d"] for key in "wv"}),
        Bundle({"w": array[0]}, tokens={"w": ["a", "b"]}),
        Bundle({"w": array[:, :0]}, tokens={"w": ["a", "b", "c", "d"]}),
        Bundle({"w": array.astype(complex)}, tokens={"w": ["a", "b", "c", "d"]}),
        Bundle({"v": array}, tokens={"w": ["a", "b", "c", "d"]}),
    ):
        with pytest.raises(ma.ConversionError):
            vectors.write(bundle, tmp_path / "x.txt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\n",
        b"word\n",
        b"just some words\n",
        b"the 1 2\na 1\n",
        b"the 1 2\na 1 x\n",
        b"the 1 2\na 1 2 \xff\n",
        b"0 5\n",
        b"5 0\n",
        b"2 2\na 1 2\n",
        b"2 2\na 1 2\nb 1 2\nc 1 2\n",
        b"999999999999999999 300\na 1 2\n",
        b"3 999999999999999999\na 1 2\n",
        b"1000000 1000000\n" + bytes(100),
        b"2 2\na " + bytes(8) + b"b " + bytes(7),
        b"2 2\na " + bytes(8) + b"b " + bytes(9),
        b"2 2\n" + bytes(100),
        b"2 2\n" + b"x" * 200_000,
        b"12345678901234567890123456789 2\n",
        b"a" * (1 << 20),
        b"a" + b" 1" * (1 << 20) + b" 1\n",
    ],
    ids=range(21),
)
def test_broken_files(raw: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes(raw)
    with pytest.raises(ma.FormatError, match=r"x\.txt"):
        vectors.read(path)


@pytest.mark.slow
@given(st.data())
def test_mutations(data: st.DataObject) -> None:
    import tempfile

    raw = bytearray((FOREIGN / data.draw(st.sampled_from(["glove.txt", "word2vec.txt", "word2vec.bin"]))).read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        path.write_bytes(raw)
        try:
            bundle = vectors.read(path)
        except ma.FormatError:
            return
    assert len(bundle.tokens["weight"]) == len(bundle.parameters["weight"])
    assert bundle.parameters["weight"].nbytes <= 4 * len(raw)


@pytest.mark.parametrize("line", [b" 1 2 3\n", b"\t0.5 -1e-3\t4\n", b" \t1 2\n"])
def test_a_first_line_without_a_word_is_refused(tmp_path: Path, line: bytes) -> None:
    """Its word may be empty, or its first number: readers differ."""
    (tmp_path / "x.txt").write_bytes(line)
    with pytest.raises(ma.FormatError):
        vectors.read(tmp_path / "x.txt")


def test_a_blank_line_behind_the_counts_makes_no_text_binary(tmp_path: Path) -> None:
    (tmp_path / "x.vec").write_bytes(b"2 3\n\n a 1 2 3\nbb\t0.5 -1e-3\t7\n")
    bundle = vectors.read(tmp_path / "x.vec")
    assert np.array_equal(bundle.parameters["weight"], np.array([[1, 2, 3], [0.5, -1e-3, 7]], np.float32))
