"""Files of ONNX into an archive and back: ``python -m tests.exchange.onnx.there_and_back FILE...``.

Each is converted into an archive, and that into a file of ONNX; ONNX Runtime runs the first and the last on the same
inputs, of both sizes that the reader has tried. A line says what came of it: the largest difference, relative to the
largest element of an output (to 1 where that is smaller), or why there is none; and how much the first differs from
itself in ONNX Runtime, with and without its optimisations. The exit status is 1 where one is neither within 1e-5 nor
within twice that.

``NAME:1,?,80`` or ``NAME=16000`` after a file declares an input, as ``--input`` of ``modelarchive convert`` does.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import modelarchive as ma
from modelarchive import dtypes

#: Outputs may differ by so much of their largest element, or of 1.
CLOSE = 1e-5


@dataclass(frozen=True)
class Result:
    """What came of one file.

    Attributes:
        difference: The largest difference; None: there is no comparison.
        why: Why there is none.
        own: The largest difference of the file from itself, by ONNX Runtime's optimisations.
    """

    difference: float | None
    why: str = ""
    own: float = 0.0

    @property
    def is_close(self) -> bool:
        """Whether it came back as it was."""
        return self.difference is not None and self.difference <= max(CLOSE, 2 * self.own)

    def __str__(self) -> str:
        """In a line."""
        return self.why or f"{self.difference:.1e} (with itself {self.own:.1e})"


def there_and_back(path: Path, declared: Sequence[str] = (), *, seed: int = 0) -> Result:
    """Convert a file into an archive and back, and compare the two in ONNX Runtime."""
    with tempfile.TemporaryDirectory() as folder:
        archive, again = Path(folder) / "there.h5", Path(folder) / "back.onnx"
        try:
            ma.convert(path, archive, inputs=list(declared) or None, durable=False)
            ma.convert(archive, again, durable=False)
        except ma.ModelArchiveError as error:
            return Result(None, f"refused: {error}".partition("\n")[0][:300])
        with ma.open(archive) as opened:
            given = list(_inputs(opened, seed))
        found: list[tuple[float, float]] = []
        fixed = {name: np.float64(number) for name, _, number in (each.partition("=") for each in declared) if number}
        for each in given:
            try:
                wanted = run(path, each | fixed)
            except Exception as error:  # whatever a file does there is not ours
                why = f"ONNX Runtime itself: {error}".partition("\n")[0][:300]
                continue
            own = _difference(wanted, run(path, each | fixed, optimised=False))
            found.append((_difference(wanted, run(again, each)), own))
    if not found:
        return Result(None, why)
    return Result(max(one for one, _ in found), own=max(own for _, own in found))


def _inputs(archive: ma.Archive, seed: int) -> Iterator[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    trial = archive.checked.trial
    for which in range(2 if any(value.shapes[0] != value.shapes[1] for value in trial.values) else 1):
        given = {}
        for each, value in zip(trial.inputs, trial.values, strict=True):
            shape, dtype = value.shapes[which], dtypes.DENSE[each["dtype"]]
            whole = dtype.kind in "biu"
            given[each["name"]] = (rng.integers(0, 2, shape) if whole else rng.standard_normal(shape)).astype(dtype)
        yield given


def run(path: Path, inputs: dict[str, np.ndarray], *, optimised: bool = True) -> list[np.ndarray]:
    """What ONNX Runtime gives; inputs are matched by name, or in order where names were changed."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    by_name = set(names) <= inputs.keys()
    given = {name: inputs[name] for name in names} if by_name else dict(zip(names, inputs.values(), strict=True))
    for each in session.get_inputs():
        if np.ndim(given[each.name]) == 0:  # a number that was declared is of the file's dtype
            whole = each.type.removeprefix("tensor(").removesuffix(")")
            given[each.name] = np.asarray(given[each.name], {"float": "float32", "double": "float64"}.get(whole, whole))
    return [_array(each) for each in session.run(None, given)]


def _array(found: Any) -> np.ndarray:
    """An output; a map for each row, as of classical machine learning, by its values."""
    if isinstance(found, list):
        return np.array([list(row.values()) if isinstance(row, dict) else row for row in found], np.float32)
    return found


def _difference(wanted: list[np.ndarray], found: list[np.ndarray]) -> float:
    if [(each.shape, each.dtype) for each in wanted] != [(each.shape, each.dtype) for each in found]:
        return float("inf")
    worst = 0.0
    for one, two in zip(wanted, found, strict=True):
        if one.dtype.kind in "biu":
            worst = max(worst, 0.0 if np.array_equal(one, two) else float("inf"))
            continue
        finite = np.isfinite(one)
        if not np.array_equal(one[~finite], two[~finite], equal_nan=True):
            return float("inf")
        gap = np.abs(one.astype(np.float64) - two)[finite].max(initial=0)
        worst = max(worst, float(gap / max(np.abs(one[finite]).max(initial=0), 1)))
    return worst


def main(arguments: list[str] | None = None) -> int:
    """Go through files; declarations follow the file that they are of."""
    files: dict[Path, list[str]] = {}
    for each in sys.argv[1:] if arguments is None else arguments:
        if files and not Path(each).exists():
            files[next(reversed(files))].append(each)
        else:
            files[Path(each)] = []
    results = []
    for path, declared in files.items():
        results.append(there_and_back(path, declared))
        print(f"{path}: {results[-1]}", flush=True)
    print(f"{sum(each.is_close for each in results)} of {len(results)} within {CLOSE:g}")
    return 0 if all(each.is_close for each in results) else 1


if __name__ == "__main__":
    sys.exit(main())
