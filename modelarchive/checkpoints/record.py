"""What a checkpoint says of itself, checked before a word of it is used: its file may come from anybody."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from modelarchive.archive import Archive
from modelarchive.archive.structure import put_together
from modelarchive.checkpoints import together
from modelarchive.checkpoints.snapshot import BEYOND, MODEL, RECORD
from modelarchive.errors import FormatError, IntegrityError
from modelarchive.store.contents import TRAINING
from modelarchive.store.reader import Reader

#: Lists of names that a record may have.
_NAMES: Final = ("constants", "numpy", "shared")


def record_of(reader: Reader) -> dict[str, Any]:
    """What an open checkpoint says of itself: its step, its metrics.

    Raises:
        FormatError: It is no checkpoint.
        IntegrityError: What it says is damaged.
    """
    prefix = f"{RECORD}/"
    members = {path: kind for path, kind in (reader.contents.training or {}).items() if path.startswith(prefix)}
    texts = {path for path in reader.contents.texts if path.startswith(f"/{TRAINING}{prefix}")}
    if damaged := reader.damaged(only=texts):
        raise IntegrityError(damaged, file=reader.source.path)
    below = {path.removeprefix(prefix): kind for path, kind in members.items()}

    def leaf(path: str) -> Any:
        place = f"/{TRAINING}{prefix}{path}"
        return reader.text(place) if place in texts else None  # an array, which no record has

    record = put_together({"": "dict", **below}, leaf)
    if type(record.get("step")) is not int or not _is_record(record):
        raise FormatError("is an archive, but no checkpoint of a run", file=reader.source.path)
    return record  # type: ignore[no-any-return]


def metrics_of(archive: Archive) -> dict[str, float]:
    """The metrics that a checkpoint was saved with.

    Raises:
        FormatError: It is no checkpoint.
        IntegrityError: What it says of itself is damaged.
    """
    found: dict[str, float] = record_of(archive.reader)["metrics"]
    return found


def check_outline(outline: Mapping[str, Any], reader: Reader) -> None:
    """Refuse a training structure that no run writes, as far as it is not an object's own.

    Args:
        outline: The structure, its arrays as they may be.
        reader: The open checkpoint, whose record is one.

    Raises:
        FormatError: It is none of a run's.
    """
    ranks = outline.get(together.RANKS, {})
    beside = outline.get(MODEL, {})
    if (
        not isinstance(ranks, dict)
        or not all(isinstance(each, dict) and _is_record(each.get(RECORD, {})) for each in ranks.values())
        or not isinstance(beside, dict)
        or not isinstance(beside.get(BEYOND, {}), dict)
    ):
        raise FormatError("holds no state that a run has saved", file=reader.source.path)


def _is_record(record: Any) -> bool:
    """Whether all that a record may say is of the kind that it has to be."""
    if not isinstance(record, dict):
        return False
    metrics = record.get("metrics", {} if "step" not in record else None)
    return (
        isinstance(metrics, dict)
        and all(type(value) is float for value in metrics.values())
        and record.get("tensors") in (None, "torch")
        and all(_is_list_of_names(record[name]) for name in _NAMES if name in record)
    )


def _is_list_of_names(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "TUS"
