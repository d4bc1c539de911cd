"""The folder of a run where a file may stand: its checkpoints as a table, and each of them verified."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelarchive import errors
from modelarchive.cli import output
from modelarchive.cli.outcome import DONE, NO
from modelarchive.cli.output import Column

if TYPE_CHECKING:
    from modelarchive.archive import Archive


def checkpoints_in(path: Path) -> dict[int, Path]:
    """Step -> checkpoint, of a folder that is a run's; empty for all else."""
    if not isinstance(path, Path) or not path.is_dir():
        return {}
    from modelarchive.checkpoints import checkpoints_in as found

    return found(path)


def is_there(path: Path) -> bool:
    """Whether a checkpoint has not been removed, by the run that goes on; a link to nothing is there."""
    return path.exists() or path.is_symlink()


def show(folder: Path, found: dict[int, Path], *, as_json: bool) -> int:
    """The checkpoints of a run: step, size, metrics, whether each digest holds."""
    looked_at = [(_record(step, path), path) for step, path in found.items()]
    # The run that goes on may have removed one meanwhile.
    records = [record for record, path in looked_at if record["ok"] or is_there(path)]
    if as_json:
        output.as_json({"run": str(folder), "checkpoints": records})
    else:
        metrics = list(dict.fromkeys(name for record in records for name in record["metrics"]))
        output.say(output.one_line(folder), style="bold")
        output.facts([("run", [errors.counted(len(records), "checkpoint")])])
        output.say()
        columns = [Column("step", is_number=True), Column("size", is_number=True)]
        columns += [Column(name, is_number=True) for name in metrics]
        output.table(
            [*columns, Column("state")],
            [
                (
                    str(record["step"]),
                    output.size(record["bytes"]),
                    *(_number(record["metrics"].get(name)) for name in metrics),
                    "whole" if record["ok"] else f"damaged: {record['error']}",
                )
                for record in records
            ],
        )
    return DONE if all(record["ok"] for record in records) else NO


def _number(value: float | str | None) -> str:
    return "" if value is None else value if isinstance(value, str) else f"{value:.6g}"


def _record(step: int, path: Path) -> dict[str, Any]:
    import modelarchive
    from modelarchive.checkpoints import expect_index, metrics_of

    record: dict[str, Any] = {"step": step, "file": str(path), "bytes": 0, "metrics": {}, "ok": False}
    try:
        record["bytes"] = _size(path)
        expect_index(path)
        with modelarchive.open(path) as archive, output.progress(f"verify {path.name}", archive.size) as advance:
            record["metrics"] = {
                name: value if math.isfinite(value) else str(value) for name, value in metrics_of(archive).items()
            }
            archive.verify(progress=advance)
    except errors.IntegrityError as error:
        record["error"] = ", ".join(error.damaged)
    except (errors.ModelArchiveError, OSError) as error:
        record["error"] = next(iter(getattr(error, "message", str(error)).splitlines()), "")
    else:
        record["ok"] = True
    return record


def _size(path: Path) -> int:
    files = path.iterdir() if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)


def training_lines(archive: Archive) -> Iterator[str]:
    """What lies beside the parameters, one line a part."""
    contents = archive.reader.contents
    count: Counter[str] = Counter()
    nbytes: Counter[str] = Counter()
    for path in contents.training or {}:
        part = path.partition("/")[0]
        if part:
            count[part] += 0
            name = f"training/{path}"
            if name in contents.arrays:
                count[part] += 1
                nbytes[part] += contents.arrays[name].nbytes
    for part in count:
        held = f"{errors.counted(count[part], 'array')}, {output.size(nbytes[part])}" if count[part] else "values"
        yield f"{part}: {held}"
