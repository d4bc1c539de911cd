"""ONNX's own backend node tests: each model read here, run, and compared with what ONNX says it gives.

``python -m tests.exchange.onnx.nodes`` runs all of them and prints the table; with ``--write`` it goes into
docs/exchange/onnx-operators.md.
"""

from __future__ import annotations

import argparse
import itertools
import re
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelarchive.errors import ConversionError, ModelArchiveError
from modelarchive.exchange import onnx as exchange
from tests.conftest import ROOT

DOCUMENT = ROOT / "docs" / "exchange" / "onnx-operators.md"
_TABLE = re.compile(r"(<!-- onnx nodes -->\n).*?(<!-- end -->)", re.DOTALL)
VERDICTS = ("passed", "stored", "folded", "refused", "wrong")
#: Inputs beyond this many are not tried in every combination.
MOST_SUBSETS = 5


@dataclass(frozen=True)
class Outcome:
    """What became of one test.

    Attributes:
        name: The test.
        operators: The operators in it.
        verdict: "passed", "stored" (passed, with some inputs as stored arrays, which the vocabulary wants for
            parameters), "folded" (passed, with all inputs stored, so that it is computed while reading),
            "refused" or "wrong".
        why: The refusal, or what is wrong.
    """

    name: str
    operators: tuple[str, ...]
    verdict: str
    why: str = ""


def cases() -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tests of infinities divide by zero while they are made
        from onnx.backend.test.loader import load_model_tests

        return load_model_tests(kind="node")


def outcomes(some: list[Any]) -> Iterator[Outcome]:
    with tempfile.TemporaryDirectory() as folder:
        for case in some:
            yield outcome(case, Path(folder) / "model.onnx")


def outcome(case: Any, path: Path) -> Outcome:
    """Read and run one test: as it is, then with more and more inputs as stored arrays."""
    operators = tuple(sorted({node.op_type for node in case.model.graph.node}))
    inputs, expected = ([array(each) for each in side] for side in case.data_sets[0])
    names = [value.name for value in case.model.graph.input]
    first = None
    if len(inputs) == len(names) and all(isinstance(each, np.ndarray | np.generic) for each in (*inputs, *expected)):
        for stored in subsets(len(names)):
            try:
                found = run(case.model, inputs, stored, path)
            except ConversionError as error:
                first = first or error
                continue
            except ModelArchiveError as error:
                return Outcome(case.name, operators, "wrong", f"{type(error).__name__}: {error}")
            except Exception as error:  # the network does not run as it was read
                return Outcome(case.name, operators, "wrong", f"{type(error).__name__}: {error}")
            wrong = difference(found, expected, case.rtol, case.atol)
            whole = "folded" if len(stored) == len(names) else "stored"
            verdict = "wrong" if wrong else whole if stored else "passed"
            return Outcome(case.name, operators, verdict, wrong)
        assert first is not None
        return Outcome(case.name, operators, "refused", "; ".join(f"{a}: {b}" for a, b in first.unsupported))
    return Outcome(case.name, operators, "refused", "takes or gives sequences, optional values or texts")


def array(data: Any) -> Any:
    """Test data as an array, if it is one."""
    import onnx
    from onnx import numpy_helper

    return numpy_helper.to_array(data) if isinstance(data, onnx.TensorProto) else data


def subsets(count: int) -> Iterator[tuple[int, ...]]:
    """Which inputs to store: none, then one, and so on, but for the first at least where that is enough."""
    if count > MOST_SUBSETS:
        yield ()
        yield tuple(range(1, count))
        return
    for size in range(count + 1):
        yield from sorted(itertools.combinations(range(count), size), key=lambda some: (0 in some, some))


def run(model: Any, inputs: list[np.ndarray], stored: tuple[int, ...], path: Path) -> list[np.ndarray]:
    import onnx
    from onnx import numpy_helper

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    names = [value.name for value in copy.graph.input]
    for place in stored:
        copy.graph.initializer.append(numpy_helper.from_array(np.asarray(inputs[place]), names[place]))
    for place in reversed(stored):
        del copy.graph.input[place]
    path.write_bytes(copy.SerializeToString())
    network = exchange.read(path).build()
    given = [each for place, each in enumerate(inputs) if place not in stored]
    with np.errstate(all="ignore"):
        found = network(*given)
    return list(found) if isinstance(found, tuple) else [found]


def difference(found: list[np.ndarray], expected: list[np.ndarray], rtol: float, atol: float) -> str:
    """What differs; "" if nothing does."""
    if len(found) != len(expected):
        return f"{len(found)} results, expected {len(expected)}"
    for place, (one, two) in enumerate(zip(found, expected, strict=True)):
        array, wanted = np.asarray(one), np.asarray(two)
        if array.shape != wanted.shape or array.dtype != wanted.dtype:
            return f"result {place} is {array.dtype} {array.shape}, expected {wanted.dtype} {wanted.shape}"
        if wanted.dtype.kind in "biu":
            if not np.array_equal(array, wanted):
                return f"result {place} differs"
            continue
        wide = [each.astype(np.complex128 if each.dtype.kind == "c" else np.float64) for each in (array, wanted)]
        # ONNX's reference rounds narrow floats at every step, so that its results are off by units themselves.
        unit = {"float16": 2.0**-10, "bfloat16": 2.0**-7}.get(str(wanted.dtype), 0.0)
        if not np.allclose(*wide, rtol=max(rtol, unit), atol=max(atol, unit), equal_nan=True):
            worst = np.nanmax(np.abs(np.where(np.isfinite(wide[1]), wide[0] - wide[1], 0)), initial=0)
            return f"result {place} differs by {worst:.2g}"
    return ""


def table(all_of_them: list[Outcome]) -> str:
    """Markdown: how many of the tests of each operator passed, and how many were refused."""
    count: dict[str, Counter[str]] = {}
    for each in all_of_them:
        if len(each.operators) == 1:
            count.setdefault(each.operators[0], Counter())[each.verdict] += 1
        else:
            count.setdefault("(several operators)", Counter())[each.verdict] += 1
    lines = ["| operator | passed | with stored inputs | computed while reading | refused | wrong |", "|---" * 6 + "|"]
    rest: Counter[str] = Counter()
    for name in sorted(count, key=lambda name: (name[0] == "(", name)):
        if set(count[name]) == {"refused"}:
            rest += count[name]
        else:
            lines.append(_row(name, count[name]))
    lines.append(_row("(operators that are not supported)", rest))
    lines.append(_row(f"all {len(all_of_them)}", Counter(each.verdict for each in all_of_them)))
    return "\n".join(lines)


def _row(name: str, count: Counter[str]) -> str:
    return " | ".join([f"| {name}", *(str(count[verdict]) for verdict in VERDICTS)]) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--show", choices=VERDICTS, help="list these tests")
    parser.add_argument("--only", default="", help="tests with this in their name")
    parser.add_argument("--write", action="store_true", help="put the table into docs/exchange/onnx-operators.md")
    options = parser.parse_args()
    found = list(outcomes([case for case in cases() if options.only in case.name]))
    for each in found:
        if each.verdict == options.show:
            print(f"{each.name} [{', '.join(each.operators)}]: {each.why}")
    print(table(found))
    if options.write:
        text = DOCUMENT.read_text("utf-8")
        DOCUMENT.write_text(_TABLE.sub(lambda match: match[1] + table(found) + "\n" + match[2], text), "utf-8")


if __name__ == "__main__":
    main()
