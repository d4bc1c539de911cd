"""Saving from an iterator: the same file as saving at once, nothing kept, and nothing that was not announced."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import modelarchive as ma
from modelarchive import nn
from tests.structures import assert_same

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


class Tied(nn.Block):
    """A network that shares a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Dense(6, in_units=6)
        self.second = nn.Dense(6, in_units=6)
        self.second.weight = self.first.weight

    def forward(self, x: Any) -> Any:
        return self.second(self.first(x))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("streamed")


def model() -> tuple[nn.Block, np.ndarray]:
    net, x = Tied(), np.ones((1, 6), "f4")
    net.initialize(seed=0)
    return net, x


def arrays_of(net: nn.Block) -> dict[str, np.ndarray]:
    return {name: parameter.data() for name, parameter in net.collect_params().items() if name != "second.weight"}


@pytest.mark.parametrize("turned", [False, True])
def test_the_same_bytes_as_at_once(tmp_path: Path, *, turned: bool) -> None:
    net, x = model()
    ma.save_model(tmp_path / "once.h5", net, inputs=x, metadata={"by": "me"})
    pairs = list(arrays_of(net).items())
    ma.save_stream(
        tmp_path / "streamed.h5",
        iter(reversed(pairs) if turned else pairs),
        architecture=ma.describe(net, x),
        metadata={"by": "me"},
    )
    assert (tmp_path / "streamed.h5").read_bytes() == (tmp_path / "once.h5").read_bytes()


@pytest.mark.slow
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_parts_of_several_arrays_in_any_interleaving(folder: Path, data: st.DataObject) -> None:
    shapes = data.draw(
        st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), min_size=1, max_size=5), label="shapes"
    )
    dtypes = [np.dtype(data.draw(st.sampled_from(["u1", ">f4", "c16", BFLOAT16]))) for _ in shapes]
    arrays = {
        f"block{at}.weight": np.arange(np.prod(shape)).reshape(shape).astype(dtype)
        for at, (shape, dtype) in enumerate(zip(shapes, dtypes, strict=True))
    }
    cuts = {name: sorted(data.draw(st.sets(st.integers(0, len(array))))) for name, array in arrays.items()}
    parts = {
        name: [array[a:b] for a, b in zip([0, *cuts[name]], [*cuts[name], len(array)], strict=True)]
        for name, array in arrays.items()
    }
    turns = data.draw(st.permutations([name for name, own in parts.items() for _ in own]), label="turns")
    ma.save_stream(folder / "x.h5", ((name, parts[name].pop(0)) for name in turns), announced=arrays, durable=False)
    assert_same(
        {name: array.astype(array.dtype.newbyteorder("=")) for name, array in arrays.items()},
        ma.load(folder / "x.h5", verify=True),
    )


def test_one_array_at_a_time(tmp_path: Path) -> None:
    alive = 0

    class Counted(np.ndarray):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def stream() -> Iterator[tuple[str, np.ndarray]]:
        nonlocal alive
        for at in range(10):
            assert alive <= 1, "an array is kept after the next was asked for"
            alive += 1
            # No name for it here: the generator's own would keep it.
            yield f"p{at}", np.full(100_000, at, "f4").view(Counted)

    ma.save_stream(tmp_path / "x.h5", stream(), announced={f"p{at}": ((100_000,), "float32") for at in range(10)})
    assert ma.load(tmp_path / "x.h5")["p7"][0] == 7


def test_what_is_announced_may_be_anything_with_a_shape(tmp_path: Path) -> None:
    arrays = {"a.weight": np.ones((2, 3), "f4"), "b": np.zeros((), "i8"), "c": np.ones(2, BFLOAT16)}
    later = {name: ma.Deferred(array.shape, array.dtype, lambda: np.empty(0)) for name, array in arrays.items()}
    pairs = {name: (list(array.shape), str(array.dtype)) for name, array in arrays.items()}
    for announced in (arrays, later, pairs):
        ma.save_stream(tmp_path / "x.h5", arrays.items(), announced=announced)
        assert_same(arrays, ma.load(tmp_path / "x.h5", verify=True))


def test_an_architecture_with_other_dtypes(tmp_path: Path) -> None:
    net, x = model()
    arrays = {name: array.astype(BFLOAT16) for name, array in arrays_of(net).items()}
    ma.save_stream(tmp_path / "x.h5", arrays.items(), announced=arrays, architecture=ma.describe(net, x))
    found = ma.load_model(tmp_path / "x.h5", verify=True)
    assert found.first.weight.dtype == BFLOAT16
    assert found.first.weight is found.second.weight


ANNOUNCED = {"a": ((4, 2), "float32"), "b": ((3,), "int64")}
A, B = np.ones((4, 2), "f4"), np.arange(3)


@pytest.mark.parametrize(
    ("pairs", "words", "part"),
    [
        pytest.param([("a", A)], r"1 array announced did not come whole:\n  missing     b: int64 \(3,\)", "missing"),
        pytest.param([("b", B), ("a", A[:1])], r"missing     a: .*, 24 of its 32 bytes are missing", "missing"),
        pytest.param([("c", B)], r"'c' came and was not announced", "unexpected"),
        pytest.param([("a", A.astype("f8"))], r"expected float32 \(4, 2\), float64 \(4, 2\) came", "mismatched"),
        pytest.param([("a", A.T)], r"expected float32 \(4, 2\), float32 \(2, 4\) came", "mismatched"),
        pytest.param([("a", A[0])], r"expected float32 \(4, 2\), float32 \(2,\) came", "mismatched"),
        pytest.param([("a", [1, 2])], r"expected float32 \(4, 2\), list came", "mismatched"),
        pytest.param([("a", A), ("a", A[:1])], r"expected 0 more bytes of .*, 8 came", "mismatched"),
    ],
)
def test_refused(tmp_path: Path, pairs: list[tuple[str, Any]], words: str, part: str) -> None:
    path = tmp_path / "x.h5"
    ma.save(path, {"old": 1})
    written = path.read_bytes()
    with pytest.raises(ma.ParameterError, match=words) as caught:
        ma.save_stream(path, iter(pairs), announced=ANNOUNCED)
    assert getattr(caught.value, part)
    assert "nothing was changed" in str(caught.value)
    assert path.read_bytes() == written
    assert list(tmp_path.iterdir()) == [path]


def test_a_mapping_gives_its_pairs(tmp_path: Path) -> None:
    ma.save_stream(tmp_path / "x.h5", {"a": A}, announced={"a": A})
    assert_same({"a": A}, ma.load(tmp_path / "x.h5"))
    with pytest.raises(TypeError, match=r"gives a ndarray, expected pairs of a name and an array"):
        ma.save_stream(tmp_path / "y.h5", [A], announced={"a": A})  # type: ignore[list-item]
    assert not (tmp_path / "y.h5").exists()


def test_announcements_that_say_nothing_are_told_together(tmp_path: Path) -> None:
    announced = {"a": 5, 3: A, "b": ((None,), "f4"), "c": ((2,), "nothing"), "d": ((1 << 62,), "f4"), "e": A}
    with pytest.raises(ma.UnsupportedDataError) as told:
        ma.save_stream(tmp_path / "x.h5", [], announced=announced)  # type: ignore[arg-type]
    assert [name for name, _ in told.value.problems] == ["a", "3", "b", "c", "d"]


def test_refused_before_the_first_array(tmp_path: Path) -> None:
    def never() -> Iterator[tuple[str, np.ndarray]]:
        raise AssertionError("asked for an array")
        yield

    net, x = model()
    architecture = ma.describe(net, x)
    with pytest.raises(TypeError, match="announced or architecture is needed"):
        ma.save_stream(tmp_path / "x.h5", never())
    announced = {"a b": A, "c": ((1,), object), "d": A, "d.e": A, "f": ((-1,), "f4"), "g": ((1,) * 33, "f4")}
    with pytest.raises(ma.UnsupportedDataError) as unsupported:
        ma.save_stream(tmp_path / "x.h5", never(), announced=announced)
    assert [name for name, _ in unsupported.value.problems] == ["a b", "c", "f", "g", "d"]
    wrong = {"first.weight": ((6, 7), "float32"), "first.bias": ((6,), "float32"), "third.bias": ((6,), "float32")}
    with pytest.raises(ma.ParameterError) as caught:
        ma.save_stream(tmp_path / "x.h5", never(), announced=wrong, architecture=architecture)
    assert caught.value.missing == ["second.bias"]
    assert caught.value.unexpected == ["third.bias"]
    assert list(caught.value.mismatched) == ["first.weight", "second.weight"]
    architecture["model"]["kind"] = "Nothing"
    with pytest.raises(ma.SpecError):
        ma.save_stream(tmp_path / "x.h5", never(), architecture=architecture)
    assert list(tmp_path.iterdir()) == []


def test_a_shared_parameter_comes_once(tmp_path: Path) -> None:
    net, x = model()
    pairs = [*arrays_of(net).items(), ("second.weight", net.second.weight.data())]
    with pytest.raises(ma.ParameterError, match="is the same parameter as 'first"):
        ma.save_stream(tmp_path / "x.h5", pairs, architecture=ma.describe(net, x))


def test_an_iterator_that_fails_changes_nothing(tmp_path: Path) -> None:
    def stream() -> Iterator[tuple[str, np.ndarray]]:
        yield "a", A
        raise ZeroDivisionError

    ma.save(tmp_path / "x.h5", {"old": 1})
    written = (tmp_path / "x.h5").read_bytes()
    with pytest.raises(ZeroDivisionError):
        ma.save_stream(tmp_path / "x.h5", stream(), announced=ANNOUNCED)
    assert (tmp_path / "x.h5").read_bytes() == written
    assert len(list(tmp_path.iterdir())) == 1


def test_deferred_arrays_in_a_structure(tmp_path: Path) -> None:
    calls = []

    def read() -> np.ndarray:
        calls.append(1)
        return B

    data = {"a": A, "nested": [ma.Deferred((3,), np.dtype("i8"), read), 5]}
    ma.save(tmp_path / "x.h5", data)
    assert len(calls) == 1
    assert_same({"a": A, "nested": [B, 5]}, ma.load(tmp_path / "x.h5", verify=True))
    with pytest.raises(ma.UnsupportedDataError, match="dtype object"):
        ma.save(tmp_path / "x.h5", [ma.Deferred((3,), np.dtype(object), read)])
    with pytest.raises(ValueError, match="was announced"):
        ma.save(tmp_path / "x.h5", [ma.Deferred((4,), np.dtype("i8"), read)])
    assert_same({"a": A, "nested": [B, 5]}, ma.load(tmp_path / "x.h5", verify=True))


def test_load_of_an_archive_chooses(tmp_path: Path) -> None:
    ma.save_stream(tmp_path / "x.h5", [("a", A), ("b", B)], announced=ANNOUNCED)
    with ma.open(tmp_path / "x.h5") as archive:
        assert_same({"a": A}, archive.load("a", verify=True))
        assert_same({"a": A, "b": B}, archive.load())
        assert archive.load("b")["b"].base is None
        with pytest.raises(ma.ParameterError, match="no parameter 'c'"):
            archive.load("c")
