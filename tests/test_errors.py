"""The text of an error that lists several things."""

from __future__ import annotations

import pickle

import pytest

from modelarchive import errors
from modelarchive.errors import IntegrityError, ParameterError, UnsafeFileError, UnsupportedDataError


def test_all_misfits_of_parameters_stand_in_one_layout() -> None:
    error = ParameterError(
        ending=", nothing was loaded",
        missing=["a"],
        unexpected=["b", "c"],
        mismatched={"d": ("shape (2,)", "shape (3,)")},
        remarks={"b": " (near: a)"},
        file="x.h5",
        hint="rename them",
    )
    assert str(error).splitlines() == [
        "x.h5: 4 parameters do not fit, nothing was loaded:",
        "  missing     a",
        "  unexpected  b (near: a)",
        "  unexpected  c",
        "  mismatched  d: expected shape (2,), found shape (3,)",
        "  hint: rename them",
    ]
    assert (error.missing, error.unexpected, list(error.mismatched)) == (["a"], ["b", "c"], ["d"])


def test_one_parameter_does_not_fit() -> None:
    assert str(ParameterError(missing=["a"])).splitlines() == ["1 parameter does not fit:", "  missing     a"]


@pytest.mark.parametrize(
    "error",
    [
        IntegrityError({"w": ("a", "b")}, file="x.h5"),
        UnsafeFileError("is a link", rule="hard links only", path="/a"),
        UnsupportedDataError([("data['f']", "is a function")], hint="nothing was written"),
        ParameterError(missing=["a"]),
        errors.MissingDependencyError("no PyTorch", extra="torch"),
        errors.OutOfMemoryError("no room", file="x.h5"),
        errors.DeferredShapeError("no shape", names=["a"]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_comes_from_another_process_as_it_is(error: errors.ModelArchiveError) -> None:
    """Pools of processes and torch.distributed send errors on."""
    found = pickle.loads(pickle.dumps(error))
    assert type(found) is type(error)
    assert str(found) == str(error)
    assert vars(found) == vars(error)
