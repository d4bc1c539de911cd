"""What happened over the checkpoints of a run: metrics, the norm of each array, and how far each moved."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from modelarchive import errors
from modelarchive.checkpoints import expect_index, metrics_of
from modelarchive.models.content import Content, opened, size_of
from modelarchive.page.comparing import differences, square
from modelarchive.page.describing import described
from modelarchive.statistics import Statistics

Numbers = dict[str, list[float | None]]


def shown_run(folder: Path, found: Mapping[int, Path], progress: Callable[[int], None] | None = None) -> dict[str, Any]:
    """The run, and its newest checkpoint that is whole as any file is shown.

    Args:
        folder: The folder of the run.
        found: Step -> checkpoint.
        progress: Called with the bytes of each array that was looked at.

    Raises:
        CheckpointError: No checkpoint is whole.
    """
    run = _Run()
    with contextlib.ExitStack() as stack:
        newest: Content | None = None
        for step, path in found.items():
            opening = contextlib.ExitStack()
            try:
                expect_index(path)
                content = opening.enter_context(opened(path))
                record = _record(step, path) | {"metrics": _metrics(content)}
            except (errors.ModelArchiveError, OSError) as error:
                opening.close()
                run.add_damaged(_record(step, path) | {"problem": _said(error)})
                continue
            run.add(record, content, newest, progress)
            stack.close()  # the one before
            stack.push(opening.pop_all())
            newest = content
        if newest is None:
            raise errors.CheckpointError(
                "no checkpoint here is whole", file=folder, hint=f"`modelarchive show {folder}` says what is damaged"
            )
        return {
            "models": [described(newest, known=run.newest)],
            "run": {"title": folder.resolve().name, **run.as_json()},
        }


def _said(error: Exception) -> str:
    if isinstance(error, errors.IntegrityError):
        return f"damaged: {', '.join(error.damaged)}"
    return next(iter(getattr(error, "message", str(error)).splitlines()), "") or type(error).__name__


def _record(step: int, path: Path) -> dict[str, Any]:
    """One checkpoint, which a run that goes on may have removed meanwhile."""
    nbytes = 0
    with contextlib.suppress(OSError):
        nbytes = size_of(path)
    return {"step": step, "name": path.name, "bytes": nbytes, "metrics": {}, "problem": ""}


def _metrics(content: Content) -> dict[str, float | str]:
    """The metrics of a checkpoint; every digest is compared."""
    if content.archive is None:
        raise errors.FormatError("is no checkpoint of a run", file=content.path)
    content.archive.verify()
    metrics = metrics_of(content.archive).items()
    return {name: value if math.isfinite(value) else str(value) for name, value in metrics}


class _Run:
    """What is known of each array, checkpoint by checkpoint."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.norms: Numbers = {}
        self.moves: Numbers = {}
        self.norm: list[float | None] = []
        self.move: list[float | None] = []
        self.newest: dict[str, Statistics | None] = {}

    def add_damaged(self, record: dict[str, Any]) -> None:
        """A checkpoint of which nothing is believed."""
        self.records.append(record)
        self.norm.append(None)
        self.move.append(None)

    def add(
        self, record: dict[str, Any], content: Content, before: Content | None, progress: Callable[[int], None] | None
    ) -> None:
        """A whole checkpoint, and the whole one before it."""
        place = len(self.records)
        self.records.append(record)
        several = []
        self.newest = {}
        for name, found in content.statistics():
            self.newest[name] = found
            leaf = content.leaves[name]
            if progress is not None and leaf.shares is None:
                progress(leaf.nbytes)
            if found is None or found.mean is None or found.deviation is None:
                continue
            norm = math.sqrt(found.size - found.not_finite) * math.hypot(found.mean, found.deviation)
            _put(self.norms, name, place, norm)
            several += [] if leaf.shares is not None else [norm]
        self.norm.append(_rounded(math.hypot(*several)))
        self.move.append(None if before is None else self._moved(place, before, content))

    def _moved(self, place: int, before: Content, content: Content) -> float | None:
        """Note how far each array moved since the checkpoint before, in terms of its norm there; and all together."""
        squares = own = 0.0
        for name, leaf in content.leaves.items():
            other = before.leaves.get(name)
            if name not in self.norms or other is None or (other.dtype, other.shape) != (leaf.dtype, leaf.shape):
                continue
            apart = norm = 0.0
            if leaf.digest != other.digest:
                for was, difference in differences(before.arrays[name], content.arrays[name]):
                    apart, norm = apart + square(difference), norm + square(was)
            else:
                last = next((each for each in reversed(self.norms[name][:place]) if each is not None), 0.0)
                norm = last * last
            _put(self.moves, name, place, math.sqrt(apart / norm) if norm else 0.0 if not apart else None)
            if leaf.shares is None:
                squares, own = squares + apart, own + norm
        return _rounded(math.sqrt(squares / own)) if own else None

    def as_json(self) -> dict[str, Any]:
        """As the page has it; what is not known of a checkpoint is null."""
        count = len(self.records)
        return {
            "checkpoints": self.records,
            "norm": self.norm,
            "move": self.move,
            "norms": {name: values + [None] * (count - len(values)) for name, values in self.norms.items()},
            "moves": {name: values + [None] * (count - len(values)) for name, values in self.moves.items()},
        }


def _put(numbers: Numbers, name: str, place: int, value: float | None) -> None:
    values = numbers.setdefault(name, [])
    values += [None] * (place - len(values))
    values.append(None if value is None else _rounded(value))


def _rounded(value: float) -> float | None:
    """The digits that a page shows."""
    return float(f"{value:.5g}") if math.isfinite(value) else None
