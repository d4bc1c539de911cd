"""Run under the shim: interrupt operations at every call, one process each, and look at what is left."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from modelarchive.store import fill, writer
from tests.faults.operations import OPERATIONS, TARGET, Operation

#: As the shim counts them.
ACTIONS: Final = {
    "kill before": 1,
    "kill behind": 2,
    "kill within": 3,
    "refuse": 4,
    "refuse from there on": 5,
    "short write": 6,
}
_KILLING: Final = frozenset(number for name, number in ACTIONS.items() if name.startswith("kill"))
#: What a temporary name, a step or a shard is told from another by.
_RANDOM: Final = re.compile(r"\b(?:[0-9a-f]{8}|[0-9a-f]{12}|[0-9a-f]{16}|[0-9]{5}-of-[0-9]{5})\b")
ERRORS: Final = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT, errno.EPERM)


def main() -> None:
    """Read from standard input which, write to standard output what came of each."""
    shim = ctypes.CDLL(None)
    shim.faults_journal.restype = ctypes.c_char_p
    wanted = json.loads(sys.stdin.read())
    for name in wanted["operations"]:
        with tempfile.TemporaryDirectory(dir=wanted["folder"]) as folder:
            for found in _interrupted(name, Path(folder), wanted["ways"], shim, in_turn=wanted["in_turn"]):
                print(json.dumps(found), flush=True)


def _interrupted(
    name: str, folder: Path, ways: list[list[Any]], shim: ctypes.CDLL, *, in_turn: bool
) -> Iterator[dict[str, Any]]:
    operation = OPERATIONS[name]
    pristine = folder / "pristine"
    pristine.mkdir()
    operation.prepare(pristine)
    old = (pristine / TARGET).read_bytes()
    watched = _copy(pristine, folder / "watched")
    shim.faults_arm(os.fsencode(watched), -1, 0, 0)
    operation.act(watched)
    calls = shim.faults_journal().decode().splitlines()
    shim.faults_disarm()
    new = (watched / TARGET).read_bytes()
    yield {"operation": name, "calls": [call.replace(str(watched), "") for call in calls], "differs": old != new}
    for action, at, number in interruptions(ways, calls, in_turn=in_turn):
        yield {
            "operation": name,
            "number": at,
            "action": action,
            "error": errno.errorcode.get(number, "") if action.startswith("refuse") else "",
            "call": calls[at].partition(" ")[0],
            **_once(operation, _copy(pristine, watched), (at, ACTIONS[action], number), shim, old, new),
        }


def interruptions(
    ways: Sequence[Sequence[Any]], calls: Sequence[str], first: int = 0, others: Sequence[str] = (), *, in_turn: bool
) -> Iterator[tuple[str, int, int]]:
    """(action, number of the call, number of the error) of the ways at each call from the first on.

    Args:
        ways: (action, number of the error; None: another one at each call).
        calls: What is interrupted.
        first: The number of the call to begin with.
        others: Calls that have been interrupted in each way.
        in_turn: Whether a call that does to a file what an earlier one or others' did to it, the next write say, is
            interrupted in one of the ways, in turn: what is on the disk, and who hears of it, is the same but for how
            much of a temporary file is written.
    """
    known = set(map(kind_of, others))
    for at in range(first, len(calls)):
        is_known = kind_of(calls[at]) in known
        known.add(kind_of(calls[at]))
        for action, error in [ways[at % len(ways)]] if in_turn and is_known else ways:
            yield action, at, ERRORS[at % len(ERRORS)] if error is None else error


def kind_of(call: str) -> str:
    """What a call does, and to which file, whatever random names are in it."""
    return _RANDOM.sub("*", call)


def first_of_its_own(calls: Sequence[str], others: Sequence[str]) -> int:
    """The number of the first call that is not among others', whatever random names are in it."""
    known = set(map(kind_of, others))
    return next(at for at, call in enumerate(calls) if kind_of(call) not in known)


def _copy(pristine: Path, to: Path) -> Path:
    shutil.rmtree(to, ignore_errors=True)
    return Path(shutil.copytree(pristine, to))


def _once(
    operation: Operation, folder: Path, how: tuple[int, int, int], shim: ctypes.CDLL, old: bytes, new: bytes
) -> dict[str, Any]:
    target = folder / TARGET
    ended = ended_of(lambda: operation.act(folder), folder, how, shim, lambda error: str(target) in str(error))
    found = target.read_bytes() if target.exists() else b""
    state = "old" if found == old else "new" if found == new else "neither"
    strays = _strays(folder)
    # Whatever happened, the next one succeeds and leaves nothing behind.
    operation.act(folder)
    after = "clean" if target.read_bytes() and not _strays(folder) else "strays"
    return {"ended": ended, "state": state, "strays": strays, "after": after}


def ended_of(
    act: Callable[[], object],
    folder: Path,
    how: tuple[int, int, int],
    shim: ctypes.CDLL,
    is_refusal: Callable[[OSError], bool] = lambda error: True,
) -> str:
    """What came of something while one of its calls was interrupted.

    What is killed has a process of its own to lose. What is refused goes on in this one, as it would with a user.

    Args:
        act: What it does.
        folder: The folder whose calls count.
        how: Number of the call, action, number of the error.
        shim: Stands before the C library.
        is_refusal: Whether an error of the system is told as it should be.

    Returns:
        "done", "refused", "wrong: ..." or "killed 9".
    """
    if how[1] not in _KILLING:
        return _said(act, folder, how, shim, is_refusal)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        os.write(writing, _said(act, folder, how, shim, is_refusal).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        ended = file.read().decode()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return ended or f"killed {-status}"


def _said(
    act: Callable[[], object],
    folder: Path,
    how: tuple[int, int, int],
    shim: ctypes.CDLL,
    is_refusal: Callable[[OSError], bool],
) -> str:
    shim.faults_arm(os.fsencode(folder), *how)
    try:
        act()
    except OSError as error:
        return "refused" if error.errno and is_refusal(error) else f"wrong: {error!r}"
    except BaseException as error:
        return f"wrong: {error!r}"
    finally:
        shim.faults_disarm()
    return "done"


def write_small_pieces() -> None:
    """Have files written in pieces of 16 KiB from now on: the same calls, of arrays that are copied in no time."""
    fill.PIECE = writer._WORTH_RESERVING = 1 << 14  # type: ignore[misc]


def _strays(folder: Path) -> int:
    return sum(path.name.endswith(".partial") for path in folder.iterdir())


if __name__ == "__main__":
    main()
