"""The table of support that the rows of a system make."""

from __future__ import annotations

from typing import Any

from modelarchive.exchange.rows import Lifting, Lowering, support


def _nothing(*arguments: Any) -> None:
    """Rows are not run here."""


def test_what_is_read_comes_first_and_says_whether_it_is_written() -> None:
    lifted = [Lifting("Relu relu", "Activation", _nothing), Lifting("Gather", "take", _nothing, "no negative indices")]
    found = support(lifted, {"Activation": Lowering("relu", _nothing)})
    assert [(each.theirs, each.ours, each.read, each.written) for each in found] == [
        ("Relu, relu", "Activation", True, True),
        ("Gather", "take", True, False),
    ]
    assert found[1].losses == "no negative indices"


def test_what_is_written_has_a_line_where_it_loses_something_or_is_read_as_something_else() -> None:
    lifted = [Lifting("Gather", "take, Embedding", _nothing), Lifting("Mul", "multiply", _nothing)]
    lowered = {
        "take": Lowering("Gather", _nothing),
        "multiply": Lowering("Mul", _nothing, "in 32 bits"),
        "RMSNorm": Lowering("Mul Gather", _nothing),
        "where": Lowering("Where", _nothing),
    }
    written = [each for each in support(lifted, lowered) if not each.read]
    assert [(each.theirs, each.ours, each.losses) for each in written] == [
        ("Mul", "multiply", "in 32 bits"),
        ("Mul, Gather", "RMSNorm", ""),
        ("Where", "where", ""),
    ]
    assert all(each.written for each in written)
