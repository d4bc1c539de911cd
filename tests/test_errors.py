"""The text of an error that lists several things."""

from __future__ import annotations

from modelarchive.errors import ParameterError


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
