"""Build the shim, run the interruptions under it, count what came of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests import ROOT
from tests.faults.operations import OPERATIONS
from tests.faults.runner import ACTIONS, ERRORS

SOURCE: Final = Path(__file__).with_name("shim.c")
#: (action, number of the error; None: another one at each call). What a test run tries; the command tries all.
QUICK: Final[list[tuple[str, int | None]]] = [
    ("kill within", 0),
    ("refuse", None),
    ("refuse from there on", None),
]
THOROUGH: Final[list[tuple[str, int | None]]] = [
    *[(action, 0) for action in ACTIONS if not action.startswith("refuse")],
    *[(action, error) for action in ACTIONS if action.startswith("refuse") for error in ERRORS],
]


def is_possible() -> bool:
    """Whether there is a compiler, and a system that loads what it makes in front of the C library."""
    return sys.platform == "linux" and shutil.which("cc") is not None


def build(folder: Path) -> Path:
    """Compile the shim."""
    shim = folder / "shim.so"
    command = ["cc", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", str(shim), str(SOURCE), "-ldl"]
    subprocess.run([*command, "-pthread"], check=True)
    return shim


def interrupt(
    folder: Path, operations: Sequence[str], ways: Sequence[tuple[str, int | None]], *, in_turn: bool = False
) -> tuple[dict[str, list[str]], list[dict[str, Any]]]:
    """Interrupt each operation in each way at its calls.

    Args:
        folder: Where to work; files of some megabytes are made and removed.
        operations: Names of them.
        ways: (action, number of the error).
        in_turn: Whether calls of one kind share the ways, see :func:`tests.faults.runner.interruptions`.

    Returns:
        The calls of each operation; and one record for each interruption.
    """
    # HDF5 in the same process: what only reads is not what is interrupted, and takes most of the time otherwise.
    quiet = {"MODELARCHIVE_TRUSTED": "1", "OMP_NUM_THREADS": "1"}
    records = under_shim("tests.faults.runner", folder, ways, quiet, operations=list(operations), in_turn=in_turn)
    calls = {record["operation"]: record["calls"] for record in records if "calls" in record}
    return calls, [record for record in records if "calls" not in record]


def under_shim(
    module: str,
    folder: Path,
    ways: Sequence[tuple[str, int | None]],
    environment: Mapping[str, str] | None = None,
    **wanted: Any,
) -> list[dict[str, Any]]:
    """The records that a module prints, run in a process of its own under the shim; it reads what is wanted as JSON."""
    done = subprocess.run(
        [sys.executable, "-m", module],
        input=json.dumps({"folder": str(folder), "ways": list(ways), **wanted}),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **(environment or {}), "LD_PRELOAD": str(build(folder)), "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


def lost(record: dict[str, Any]) -> str | None:
    """What a record shows that must never be; None if nothing."""
    if record["state"] == "neither":
        return "neither the old file nor the new one"
    if record["ended"].startswith("wrong"):
        return f"ended with something else than the system's refusal: {record['ended']}"
    if record["ended"] == "done" and record["state"] != "new":
        return "said to be done, and the old file is there"
    if record["after"] != "clean":
        return "something stays behind after the next save"
    return None


def unordered(calls: Sequence[str]) -> str | None:
    """What a power cut could make of the calls; None: nothing, everything is on the disk when it must be.

    The new file is synced after it was last written to, then renamed, then the folder is synced.
    """
    verbs = [call.partition(" ")[0] for call in calls]
    renamed = max(at for at, verb in enumerate(verbs) if verb == "rename")
    written = [at for at, verb in enumerate(verbs) if "write" in verb or verb in ("ftruncate", "fallocate", "chmod")]
    synced = [at for at, verb in enumerate(verbs) if verb == "fsync"]
    if max(written) > renamed:
        return "written to after the rename"
    if not any(max(written) < at < renamed for at in synced):
        return "renamed before everything was synced"
    return None if max(synced) > renamed else "the folder is not synced after the rename"


def summary(records: Sequence[dict[str, Any]]) -> list[tuple[str, Counter[str]]]:
    """For each operation: how many interruptions, what was there afterwards, how many went wrong."""
    rows = []
    for operation in OPERATIONS:
        own = [record for record in records if record["operation"] == operation]
        counts = Counter(record["state"] for record in own)
        counts["interrupted"] = len(own)
        counts["wrong"] = sum(lost(record) is not None for record in own)
        rows.append((operation, counts))
    return [row for row in rows if row[1]["interrupted"]]
