"""ONNX's own backend node tests: none may be wrong. All of them: ``python -m tests.exchange.onnx.nodes``."""

from collections import Counter

import pytest

from modelarchive.exchange.onnx.lifting import LIFTINGS
from tests.exchange.onnx import nodes, sweep

#: Each fourth test here; the command runs all.
EVERY = 4


@pytest.mark.slow
def test_none_is_wrong_and_most_that_take_and_give_arrays_pass():
    pytest.importorskip("onnx")
    found = list(nodes.outcomes(nodes.cases()[::EVERY]))
    assert [each for each in found if each.verdict == "wrong"] == []
    count = Counter(each.verdict for each in found)
    assert count["passed"] + count["stored"] > 230
    # What is refused in the table's own operators is refused for how they are used.
    assert [name for each in found for name in LIFTINGS if f"the operator {name!r} has" in each.why] == []


def test_generated_operators_give_what_onnx_runtime_gives():
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    count = Counter()
    wrong = []
    for _, verdict, case in sweep.outcomes(300, seed=1):
        count[verdict] += 1
        wrong += [case] if verdict == "wrong" else []
    assert wrong == []
    assert count["equal"] > 200
