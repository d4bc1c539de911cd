"""What stays of a run: the newest checkpoints, the best one, and the last that is known to be whole."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from modelarchive.archive import Archive
from modelarchive.checkpoints import folder as folders
from modelarchive.checkpoints.record import record_of
from modelarchive.errors import FormatError, ModelArchiveError


class Retention:
    """Which checkpoints of a run stay, and what is known of each.

    Args:
        folder: The run's.
        keep: How many of the newest stay; None: all.
        keep_every: Those whose step is a multiple of it stay, too.
        best: A metric and "max" or "min".

    Attributes:
        whole: The last step that is known to be whole.
        damaged: Steps that are known to be damaged, which stay.

    Raises:
        ValueError: A number or `best` is none that can be.
    """

    def __init__(self, folder: Path, keep: int | None, keep_every: int | None, best: tuple[str, str] | None) -> None:
        for name, number in (("keep", keep), ("keep_every", keep_every)):
            if number is not None and (folders.whole_number(number) or 0) < 1:
                raise ValueError(f"{name} is {number!r}, expected a number from 1 on, or None")
        if best is not None and (not isinstance(best, tuple | list) or len(best) != 2 or best[1] not in ("max", "min")):
            raise ValueError(f"best is {best!r}, expected a metric and 'max' or 'min', as in ('accuracy', 'max')")
        self.whole: int | None = None
        self.damaged: set[int] = set()
        self._folder = folder
        self._keep, self._keep_every, self._best = keep, keep_every, best
        #: Step -> its metrics, of checkpoints that this run has written or read.
        self._metrics: dict[int, dict[str, float]] = {}

    def note(self, step: int, archive: Archive) -> None:
        """Know the metrics of a checkpoint.

        Raises:
            FormatError: It is none, or of another step.
        """
        record = record_of(archive.reader)
        if record["step"] != step:
            raise FormatError(f"is the checkpoint of step {record['step']} under another name", file=archive.path)
        self._metrics[step] = record["metrics"]

    def written(self, step: int, metrics: dict[str, float]) -> None:
        """Know that a checkpoint is in its place."""
        self.whole = step
        self._metrics[step] = metrics
        self.damaged.discard(step)

    def metrics(self, step: int, path: Path) -> dict[str, float]:
        """The metrics of a checkpoint, which is read where nothing is known of it.

        Raises:
            FormatError: It is damaged.
        """
        if step not in self._metrics:
            with Archive(path) as archive:
                self.note(step, archive)
        return dict(self._metrics[step])

    def best(self) -> int | None:
        """The step that is best; None where no checkpoint has the metric.

        Raises:
            ValueError: No metric was named.
        """
        if self._best is None:
            raise ValueError("which is best is not known: Checkpoints(folder, best=('accuracy', 'max')) says so")
        return best_of(self._known(), self._best[1])

    def _known(self) -> dict[int, float]:
        """Step -> the metric of `best`, of all checkpoints that have it and can be read."""
        found: dict[int, float] = {}
        there = folders.checkpoints(self._folder) if self._best is not None else {}
        for step, path in there.items():
            try:
                metrics = self.metrics(step, path)
            except (ModelArchiveError, OSError):
                continue
            if self._best is not None and self._best[0] in metrics:
                found[step] = metrics[self._best[0]]
        return found

    def tidy(self, new: Path, remove: Callable[[Path], object]) -> None:
        """Take what need not stay out of sight, the new checkpoint being in its place.

        Args:
            new: The new checkpoint.
            remove: Is given each; giving memory back takes a while.
        """
        found = folders.checkpoints(self._folder)
        gone = superfluous(
            found.keys() - self.damaged,
            keep=self._keep,
            keep_every=self._keep_every,
            metrics=self._known(),
            best="max" if self._best is None else self._best[1],
            always=[] if self.whole is None else [self.whole],
        )
        # Of one step that is there as a file and as a folder, the new one is the checkpoint, whatever clocks say.
        several = [folders.in_other_form(new)]
        several += [path for step in gone for path in (found[step], folders.in_other_form(found[step]))]
        for path in filter(os.path.lexists, several):
            try:
                hidden = folders.hide(path)
            except FileNotFoundError:
                continue  # somebody else has removed it
            except OSError as error:
                what = f"{path}: stays, it cannot be removed: {error.strerror}"
                warnings.warn(what, RuntimeWarning, stacklevel=2)
            else:
                remove(hidden)

    def warn_of_later(self, step: int) -> None:
        """Say that a run begins behind where another one has ended, whose checkpoints are restored and kept first."""
        later = [each for each in folders.checkpoints(self._folder) if each > step and each not in self.damaged]
        if later:
            what = f"{self._folder} has checkpoints of later steps, up to {max(later)}"
            then = "restore() takes the newest, and keep counts them; a run that goes another way has its own folder"
            warnings.warn(f"{what}: {then}", UserWarning, stacklevel=7)


def superfluous(
    steps: Iterable[int],
    *,
    keep: int | None,
    keep_every: int | None,
    metrics: Mapping[int, float],
    best: str,
    always: Iterable[int],
) -> list[int]:
    """The steps that need not stay.

    Args:
        steps: All of them.
        keep: How many of the newest stay; None: all.
        keep_every: Those that are a multiple of it stay, too.
        metrics: Step -> the number by which the best one is told.
        best: "max" or "min".
        always: Steps that stay in any case.
    """
    several = sorted(steps)
    if keep is None:
        return []
    stay = {*several[-keep:], *always}
    if keep_every is not None:
        stay |= {step for step in several if step % keep_every == 0}
    if (first := best_of(metrics, best)) is not None:
        stay.add(first)
    return [step for step in several if step not in stay]


def best_of(metrics: Mapping[int, float], best: str) -> int | None:
    """The step with the largest or smallest number, the last of several; NaN is none."""
    known = {step: value for step, value in metrics.items() if value == value}
    if not known:
        return None
    sign = 1 if best == "max" else -1
    return max(known, key=lambda step: (sign * known[step], step))
