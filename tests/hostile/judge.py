"""What came of a mutant: what modelarchive did with it, and plain h5py."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import resource
import select
import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import modelarchive as ma
from tests.hostile import views
from tests.hostile.samples import Sample
from tests.hostile.views import View

#: What may come of opening a file: refused by an error of the package, the original's content, or content that
#: another reader finds in the file too (an attacker may write any model). The others must never come.
GOOD: Final = ("refused", "equal", "as stored")
BAD: Final = ("wrong", "error", "crash", "hang")
#: Processor time that another reader gets, and the time by the clock.
SECONDS: Final = 3
PATIENCE: Final = 30.0


class Verdict(NamedTuple):
    """What came of one way of opening a file.

    Attributes:
        way: "load" or "verify".
        outcome: One of :data:`GOOD` and :data:`BAD`.
        why: The error's class, its rule, or what differed.
    """

    way: str
    outcome: str
    why: str


def judge(path: Path, sample: Sample) -> list[Verdict]:
    """Open a mutant both ways: as `load` and `load_model` do, and verified before."""
    found, is_stale = _opened(path, sample, verified=False)
    if is_stale or found.outcome == "refused":
        # What an HDF5 tool has changed `verify` refuses because of that alone.
        return [found]
    return [found, _opened(path, sample, verified=True)[0]]


def _opened(path: Path, sample: Sample, *, verified: bool) -> tuple[Verdict, bool]:
    way = "verify" if verified else "load"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            view = views.ours(path, verified=verified, whole=True)
        except ma.ModelArchiveError as error:
            stale = any(issubclass(each.category, ma.StaleIndexWarning) for each in caught)
            if error.file != str(path) and not isinstance(error, ma.SpecError | ma.ParameterError):
                return Verdict(way, "error", f"{type(error).__name__} that names no file: {error}"), stale
            rule = getattr(error, "rule", "")
            return Verdict(way, "refused", f"{type(error).__name__}{rule and ': '}{rule}"), stale
        except Exception as error:
            return Verdict(way, "error", f"{type(error).__name__}: {error}"), False
    stale = any(issubclass(each.category, ma.StaleIndexWarning) for each in caught)
    if view == sample.view:
        return Verdict(way, "equal", ""), stale
    reason = _disagreement(view, path, is_hdf5=stale or verified)
    return Verdict(way, "wrong" if reason else "as stored", reason), stale


def _disagreement(view: View, path: Path, *, is_hdf5: bool) -> str:
    """Where another reader sees another content; "" if it sees the same."""
    other: View = {}
    if not is_hdf5:
        try:
            other = views.by_index(path)
        except Exception as error:
            return f"the index alone cannot be read: {error!r}"
    rest = [name for name in view if name not in other]
    if rest:
        outcome, answer = apart(lambda: views.by_h5py(path, rest))
        if outcome != "done":
            return f"plain h5py: {outcome} {answer}"
        other |= {name: (dtype, tuple(shape), value) for name, (dtype, shape, value) in answer.items()}
    names = [name for name in (*view, *other) if view.get(name) != other.get(name)]
    return f"{names[0]}: {view.get(names[0])} and {other.get(names[0])}" if names else ""


def plain_h5py(path: Path, sample: Sample) -> str:
    """What comes of the same file in plain h5py: "equal", "other content", "refused", "crash" or "hang"."""
    outcome, answer = apart(lambda: views.by_h5py(path))
    if outcome != "done":
        return outcome
    view = {name: (dtype, tuple(shape), value) for name, (dtype, shape, value) in answer.items()}
    return "equal" if view == sample.view else "other content"


def apart(function: Callable[[], Any]) -> tuple[str, Any]:
    """Call a function in a process of its own that may crash or hang.

    Returns:
        "done" and its value, "refused" and the error, "crash" or "hang".
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _answer(function, reading, writing)
    os.close(writing)
    data = b""
    deadline = time.monotonic() + PATIENCE
    with contextlib.closing(os.fdopen(reading, "rb", 0)) as pipe:
        while True:
            if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return "hang", ""
            piece = pipe.read(1 << 16)
            if not piece:
                break
            data += piece
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == -signal.SIGXCPU:
        return "hang", ""
    if code != 0 or not data:
        return "crash", code
    value = json.loads(data)
    return ("refused", value[1]) if value[0] == "error" else ("done", value[1])


def _answer(function: Callable[[], Any], reading: int, writing: int) -> None:
    code = 1
    try:
        os.close(reading)
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        # Beside what the process had mapped before, which is several gigabytes where frameworks were imported.
        most = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + (4 << 30)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        faulthandler.disable()
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, 2)
        try:
            value: tuple[str, Any] = ("done", function())
        except Exception as error:
            value = ("error", repr(error)[:200])
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(json.dumps(value).encode())
        code = 0
    finally:
        os._exit(code)
