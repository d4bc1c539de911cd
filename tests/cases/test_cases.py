"""What conformance, every system's tests, the architecture's and the properties draw on has all of the vocabulary."""

import pytest

from modelarchive import nn, ops
from tests.cases.kinds import KIND_CASES
from tests.cases.ops import OP_CASES, op_networks


@pytest.mark.parametrize("kind", nn.KINDS)
def test_every_kind_has_a_case(kind):
    assert kind in KIND_CASES, f"a strategy for {kind} is missing in tests/cases/kinds.py"


@pytest.mark.parametrize("op", ops.OPS)
def test_every_op_has_a_case(op):
    assert op in OP_CASES, f"inputs and arguments of {op} are missing in tests/cases/ops.py"
    assert any(True for _ in op_networks(op))


def test_there_is_no_case_of_what_is_not_there():
    assert set(KIND_CASES) <= set(nn.KINDS)
    assert set(OP_CASES) <= set(ops.OPS)
