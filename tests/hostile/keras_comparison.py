"""Changed weights files of Keras, in modelarchive, in plain h5py and in Keras itself; counts into docs/security.md.

python -m tests.hostile.keras_comparison --count 3000 --write
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

# Read when Keras is imported.
os.environ.setdefault("KERAS_BACKEND", "torch")

import h5py
import numpy as np
from blake3 import blake3

import modelarchive as ma
from modelarchive.exchange import keras as exchange
from modelarchive.store.guarded import boundary
from tests import memory
from tests.hostile import views
from tests.hostile.figures import replaced
from tests.hostile.judge import apart
from tests.hostile.mutators import changed

BEGIN, END = "<!-- keras fuzz -->", "<!-- end keras fuzz -->"
READERS = ("modelarchive", "plain h5py", "Keras load_weights")
OUTCOMES = ("refused", "equal", "other content", "crash", "hang")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 1 if modelarchive crashed, hung, or raised what it should not."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile.keras_comparison", description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="write the figures into docs/security.md")
    chosen = parser.parse_args(arguments)
    counts = run(chosen.count, chosen.seed)
    text = table(counts, chosen)
    print(text)
    if chosen.write:
        replaced(BEGIN, END, text)
    return 1 if any(counts["modelarchive", outcome] for outcome in ("crash", "hang", "error")) else 0


def run(count: int, seed: int) -> Counter[tuple[str, str]]:
    """Every reader on every file."""
    import keras

    boundary.SECONDS = 2  # type: ignore[misc]  # small files, and thousands of them
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.BatchNormalization()])
    config = json.loads(model.to_json())
    counts: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory(dir=memory.folder()) as folder:
        path = Path(folder) / "mutant.weights.h5"
        model.save_weights(path)
        data = path.read_bytes()
        ranges = [(0, len(data))]
        whole = {
            "modelarchive": ours(path, config),
            "plain h5py": json.loads(json.dumps(views.by_h5py(path))),
            "Keras load_weights": theirs(model, path),
        }
        for number in range(count):
            path.write_bytes(changed(data, structures_of(path, data, ranges), random.Random(f"{seed}/{number}")))
            try:
                found: tuple[str, Any] = ("done", ours(path, config))
            except ma.ModelArchiveError:
                found = ("refused", "")
            except Exception as error:
                print(f"{number}: {error!r}", file=sys.stderr)
                found = ("error", "")
            answers = {
                "modelarchive": found,
                "plain h5py": apart(lambda: views.by_h5py(path)),
                "Keras load_weights": apart(lambda: theirs(model, path)),
            }
            for reader, (outcome, value) in answers.items():
                same = "equal" if value == whole[reader] else "other content"
                counts[reader, same if outcome == "done" else outcome] += 1
            path.write_bytes(data)
    return counts


def structures_of(path: Path, data: bytes, ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Where HDF5's own bytes are: not the numbers, which any change makes other numbers."""
    if len(ranges) > 1:
        return ranges
    places = []

    def collect(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.id.get_offset() is not None:
            places.append((item.id.get_offset(), item.id.get_offset() + item.nbytes))

    with h5py.File(path) as file:
        file.visititems(collect)
    ranges.clear()
    position = 0
    for begin, end in [*sorted(places), (len(data), len(data))]:
        if begin > position:
            ranges.append((position, begin))
        position = max(position, end)
    return ranges


def ours(path: Path, config: dict[str, Any]) -> dict[str, str]:
    """The parameters as modelarchive reads them."""
    bundle = exchange.read(path, config=config)
    return {name: _digest(bundle.parameters[name]) for name in bundle.parameters}


def theirs(model: Any, path: Path) -> list[str]:
    """The parameters as Keras loads them."""
    for variable in model.variables:
        variable.assign(np.zeros(variable.shape))
    model.load_weights(path)
    return [_digest(np.asarray(array)) for array in model.get_weights()]


def _digest(array: Any) -> str:
    plain = np.ascontiguousarray(array)
    return f"{plain.dtype} {plain.shape} {blake3(plain.tobytes()).hexdigest()}"


def table(counts: Counter[tuple[str, str]], chosen: argparse.Namespace) -> str:
    """The counts as Markdown."""
    lines = [f"{chosen.count:,} files, seed {chosen.seed}.", "", f"| reader | {' | '.join(OUTCOMES)} |"]
    lines.append(f"| --- |{' ---: |' * len(OUTCOMES)}")
    for reader in READERS:
        lines.append(f"| {reader} | {' | '.join(f'{counts[reader, outcome]:,}' for outcome in OUTCOMES)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
