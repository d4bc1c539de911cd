"""Weight and spectral norms, which compute a weight from other parameters, on either side."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import modelarchive as ma

torch = pytest.importorskip("torch")
nn = torch.nn


def plain() -> Any:
    return nn.Sequential(nn.Conv1d(3, 4, 3), nn.ReLU(), nn.Conv1d(4, 2, 1))


def normed(norm: Callable[[Any], Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.Sequential(norm(nn.Conv1d(3, 4, 3)), nn.ReLU(), norm(nn.Conv1d(4, 2, 1)))


def new() -> Any:
    return normed(nn.utils.parametrizations.weight_norm)


def old() -> Any:
    return normed(nn.utils.weight_norm)


@pytest.mark.parametrize(("source", "target"), [(old, new), (new, old), (old, old), (new, new)])
@pytest.mark.parametrize("wrap", [lambda net: net, lambda net: nn.ModuleDict({"model": net})], ids=["", "model."])
def test_one_spelling_of_weight_norm_is_taken_for_the_other(source: Any, target: Any, wrap: Any) -> None:
    one, two = source(), target()
    assert len(ma.transplant(wrap(one).state_dict(), two).copied) == 6
    x = torch.randn(2, 3, 8)
    np.testing.assert_allclose(two(x).detach(), one(x).detach(), rtol=1e-6, atol=1e-6)
    assert len(ma.load_parameters(one, target()).copied) == 6


def spectral() -> Any:
    return normed(nn.utils.parametrizations.spectral_norm)


@pytest.mark.parametrize("other", [old, new, spectral])
def test_a_weight_that_is_computed_is_told(other: Any) -> None:
    report = ma.transplant(plain(), other())
    assert set(report.copied) == {"0.bias", "2.bias"}
    assert any("'0.weight' is computed in the target" in note for note in report.notes)
    report = ma.transplant(other(), plain())
    assert set(report.copied) == {"0.bias", "2.bias"}
    assert any("'0.weight' was computed in the source" in note for note in report.notes)
    with pytest.raises(ma.ParameterError, match="remove_parametrizations"):
        ma.transplant(plain(), other(), select="0.*")
    with pytest.raises(ma.ParameterError, match="remove_parametrizations"):
        ma.load_parameters(plain(), other())


def test_names_that_only_look_like_it_are_left_alone() -> None:
    """As `gate_g` of a network of the author's own, with and without the whole beside it."""
    target = {"gate": np.zeros(2), "gate_g": np.zeros(2), "up_v": np.zeros(2)}
    report = ma.transplant({"gate_g": np.ones(2), "up_v": np.ones(2), "up": np.ones(2), "gate_v": np.ones(2)}, target)
    assert report.copied.keys() == {"gate_g", "up_v"}
    assert not any("computed" in note for note in report.notes)
    assert target["gate"].tolist() == [0, 0]


def test_what_is_pruned_is_computed() -> None:
    from torch.nn.utils import prune

    pruned = plain()
    prune.random_unstructured(pruned[0], "weight", amount=0.5)
    report = ma.transplant(pruned, plain())
    assert any("'0.weight' was computed in the source" in note for note in report.notes)
