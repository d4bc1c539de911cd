"""Print the largest error of every kind against PyTorch in float64: ``python -m tests.conformance [count]``."""

import sys

import torch
from hypothesis import HealthCheck, given, settings

from tests.cases.case import error, expected, set_values, several, values
from tests.cases.kinds import KIND_CASES


def measured(kind: str, count: int) -> tuple[int, dict[str, float]]:
    """How many configurations were tried, and the largest error for each dtype."""
    largest = {"float32": 0.0, "float64": 0.0}
    tried = 0

    @settings(max_examples=count, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(KIND_CASES[kind])
    def measure(case):
        nonlocal tried
        tried += 1
        for dtype in largest:
            inputs, arrays = values(case, dtype)
            set_values(case.layer, arrays)
            wanted = expected(torch, case, inputs, arrays)
            errors = map(error, several(case.layer(*inputs)), wanted)
            largest[dtype] = max(largest[dtype], *errors)

    measure()
    return tried, largest


def main() -> None:
    """Print one line a kind."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    print(f"{'kind':16} {'tried':>6} {'float32':>9} {'float64':>9}")
    for kind in KIND_CASES:
        tried, largest = measured(kind, count)
        print(f"{kind:16} {tried:6} {largest['float32']:9.1e} {largest['float64']:9.1e}")


if __name__ == "__main__":
    main()
