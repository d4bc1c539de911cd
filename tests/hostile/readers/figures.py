"""The counts of changed files of other systems as a table, and into docs/security.md."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from tests.hostile.figures import replaced, table
from tests.hostile.readers.judge import BAD, GOOD

BEGIN, END = "<!-- readers fuzz -->", "<!-- end readers fuzz -->"
_NAMES: Final = {
    "onnx": "ONNX",
    "keras": "Keras",
    "mxnet": "MXNet",
    "numpy": "NumPy",
    "safetensors": "safetensors",
    "huggingface": "Hugging Face folders",
    "torch": "PyTorch",
    "gguf": "GGUF",
    "pt2": "torch.export (the parameters)",
    "vectors": "word vectors",
    "none": "no format that is read",
}


def tables(runs: list[dict[str, Any]]) -> str:
    """What was tried and what came of it, as Markdown."""
    counts: Counter[tuple[str, str]] = Counter()
    for run in runs:
        for reader, outcome, count in run["counts"]:
            counts[reader, outcome] += count
    rows = [(name, [counts[reader, outcome] for outcome in (*GOOD, *BAD)]) for reader, name in _NAMES.items()]
    said = [
        f"{run['tried']:,} {'led by coverage' if run['guided'] else 'by chance'}, seed {run['seed']}" for run in runs
    ]
    total = sum(run["tried"] for run in runs)
    head = ("file of", "tried", *GOOD, *BAD)
    return "\n".join([f"{total:,} files ({'; '.join(said)}).", "", *table(head, [row for row in rows if sum(row[1])])])


def write(runs: list[dict[str, Any]]) -> None:
    """Put the table where the document has a place for it."""
    replaced(BEGIN, END, tables(runs))
