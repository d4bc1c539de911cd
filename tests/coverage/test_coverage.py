"""The command that says how many networks come in whole: what it runs, and that it finds what is wrong."""

import pytest

torch = pytest.importorskip("torch")

from tests.coverage.__main__ import main, table  # noqa: E402 - they import PyTorch
from tests.coverage.constructs import FLAT, MODULES, constructs  # noqa: E402
from tests.coverage.judging import Network, Verdict, difference, judged  # noqa: E402

#: Constructs of which each was read wrongly once, or not at all.
ONCE_WRONG = [
    "divide by numpy.sqrt", "numpy.float64 on the left", "in place by numpy.sqrt", "tensor of float64 without axes",
    "where of two numbers", "where of two integers", "autocast", "isinstance of a tensor", "assign a part",
    "in place through a view", "a subclass of Linear", "same padding", "normalisation and activation in one",
    "a cache", "a counter in a buffer", "a decorator", "a forward hook", "tied weights", "weight_norm",
    "attention to nothing", "weights of MultiheadAttention", "a buffer of float64 without axes",
    "a scalar time step", "a temperature", "one block in two ways", "LayerNorm of channels",
]  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ONCE_WRONG)
def test_what_was_read_wrongly_comes_in_whole(name):
    (network,) = [each for each in constructs() if each.name == name]
    found = judged(network)
    assert (found.verdict, found.strict) == ("whole", True), found.why


def test_nothing_is_wrong_in_a_part_of_the_constructs(capsys, tmp_path):
    assert main(["constructs", "--every", "12", "--record", str(tmp_path / "found.json")]) == 0
    assert "| constructs |" in capsys.readouterr().out
    assert "verdict" in (tmp_path / "found.json").read_text()


def test_what_is_wrong_is_found(monkeypatch):
    network = next(each for each in constructs() if each.name == "log1p")
    from modelarchive.exchange.torch import lifting

    monkeypatch.setitem(lifting.ROWS, "log1p", lambda context, x: x)
    found = judged(network)
    assert found.verdict == "refused"
    assert "differs from the module's" in found.why


def test_what_does_not_run_is_no_verdict():
    class Broken(torch.nn.Module):
        def forward(self, x):
            return x @ x

    found = judged(Network("constructs", "broken", lambda: (Broken(), (torch.ones(2, 3),))))
    assert found.verdict == "failed"


def test_differences_are_told():
    one = torch.ones(3)
    assert difference(one, one) == ""
    assert "float64" in difference(one.double(), one)
    assert "differs by 1" in difference(one * 2, one)


def test_the_table_counts():
    found = [Verdict("a", "x", "whole"), Verdict("a", "y", "wrong"), Verdict("a", "z", "failed")]
    assert "| a | 2 | 1 | 0 | 0 | 1 | 1 |" in table(found)
    assert len(FLAT) + len(MODULES) > 200
