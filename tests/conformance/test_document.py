"""docs/vocabulary.md says what the schemas say and what was measured."""

import json

from modelarchive.nn.kinds import KINDS
from tests.conformance.document import DOCUMENT, MEASURED, document, values
from tests.conformance.test_layers import LIMITS


def test_the_document_is_the_schemas():
    assert DOCUMENT.read_text("utf-8") == document(), "run: python -m tests.conformance.document"


def test_every_kind_is_measured_and_within_the_limits():
    figures = json.loads(MEASURED.read_text("utf-8"))
    assert list(figures) == list(KINDS), "run: python -m tests.conformance.document --measure 100 <the new kinds>"
    for kind, found in figures.items():
        assert found["tried"] >= 1, kind
        for dtype, limit in LIMITS.items():
            assert found[dtype] < limit, kind


def test_values_in_words():
    size = {"type": "integer", "minimum": 1, "maximum": 2147483647}
    assert values(size, {}) == "integer, at least 1"
    assert values({"type": ["integer", "null"], "minimum": 0, "maximum": 5}, {}).endswith("at most 5 or `null`")
    assert (
        values({"type": "array", "items": size, "minItems": 2, "maxItems": 2}, {}) == "list of 2 (integer, at least 1)"
    )
    assert values({"enum": ["relu", None]}, {}) == '`"relu"`, `null`'
