"""What came of a changed file: all that modelarchive does with it, what it took, and another program's answer."""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import resource
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import modelarchive as ma
from modelarchive import models
from modelarchive.cli import look
from modelarchive.exchange.bundle import Bundle, deferred
from modelarchive.formats import recognise
from modelarchive.models.reading import format_of_file
from tests.hostile.judge import apart
from tests.hostile.readers.references import REFERENCES, disagreement
from tests.hostile.readers.samples import Sample
from tests.hostile.readers.watching import Watch
from tests.hostile.views import View, array_view

#: What may come of a file: refused by an error of the package that names it; read, and equal to what another program
#: reads; read, and not compared, or refused by the other. The rest must never come; "outside": something else than the
#: file was opened, run or connected to.
GOOD: Final = ("refused", "equal", "read")
BAD: Final = ("wrong", "error", "outside", "slow", "memory", "crash", "hang")
#: Processor time that a step of reading may take, and for so many bytes of files more than one such time.
SECONDS: Final = 2.0
BYTES_A_TIME: Final = 100_000
#: Memory that reading may take beyond what the process has, and for so many bytes of files more than one such room.
ROOM: Final = 500 << 20
BYTES_A_ROOM: Final = 1_000_000
#: Address space beyond what there is at the start: what asks for more gets a MemoryError, and not the machine.
_ADDRESSES: Final = 8 << 30


class Verdict(NamedTuple):
    """What came of a file.

    Attributes:
        outcome: One of :data:`GOOD` and :data:`BAD`.
        why: The error's class, or what differed, and where.
    """

    outcome: str
    why: str


class Late(BaseException):
    """The time is over; no `except Exception` on the way keeps it."""


def judge(path: Path, sample: Sample, watch: Watch, *, compare: bool = True, show: bool = False) -> Verdict:
    """Do with a file all that is done with files of other systems.

    Recognise it, read it whole, read every array, build the network, read the parameters alone.

    Args:
        path: What is opened.
        sample: What it was made of.
        watch: Sees what reaches outside while it is read.
        compare: Whether another program reads it too, where that takes a process of its own.
        show: Whether `modelarchive show` looks at it, too.
    """
    size = sum(map(len, sample.files.values()))
    limit = SECONDS * max(1.0, size / BYTES_A_TIME)
    beside = path.parent / sample.beside if sample.beside else None
    before = _peak(reset=True)
    verdict, found = _steps(path, limit, beside, watch, show=show)
    taken = _peak() - before
    if verdict.outcome in GOOD and taken > ROOM * max(1.0, size / BYTES_A_ROOM):
        return Verdict("memory", f"{taken >> 20:,} MiB for {size:,} bytes ({verdict.outcome} {verdict.why})")
    if verdict.outcome == "read" and "parts view" in found:
        return _compared(path, found["parts"], found["parts view"], compare=compare) or verdict
    return verdict


def _steps(
    path: Path, limit: float, beside: Path | None, watch: Watch, *, show: bool
) -> tuple[Verdict, dict[str, Any]]:
    """What came of every step together, and what was read."""
    found: dict[str, Any] = {}

    def whole() -> None:
        # Given for anything else it is the caller's mistake, and told as that.
        is_keras = beside is not None and not beside.is_dir() and format_of_file(path) == "keras"
        config = beside if is_keras else None
        found["whole"] = models.read(path, config=config, base=base, parameters_only=is_program)

    def parts() -> None:
        found["parts"] = models.read(path, parameters_only=True)

    def arrays() -> None:
        for name in ("whole", "parts"):
            if name in found:
                found[name + " view"] = _view(found[name])

    def build() -> None:
        if "whole" in found and found["whole"].architecture is not None:
            found["whole"].build()

    def shown() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            look.run(argparse.Namespace(file=path, json=False, tree=False, stats=False, command=None, name="show"))

    # A program is exported anew by PyTorch, which compiles and imports: `tests/exchange/pt2` changes the calls in it.
    is_program = path.suffix == ".pt2"
    base = beside if beside is not None and beside.is_dir() else None
    place = path if path.is_dir() and base is None else path.parent
    refused = ""
    with watch.over(place) as seen:
        for step in (whole, parts, arrays, build, *([shown] if show and not is_program else [])):
            verdict = _judged(step, limit, path, place, is_named=step is not build)
            if verdict.outcome in BAD:
                return verdict, found
            refused = refused or verdict.why
    if seen:
        return Verdict("outside", "; ".join(seen)[:500]), found
    if "parts view" not in found and "whole view" not in found:
        return Verdict("refused", refused), found
    return Verdict("read", ""), found


def _judged(step: Callable[[], None], limit: float, path: Path, place: Path, *, is_named: bool) -> Verdict:
    """What came of one step on a path, whose files lie in a folder: "read" where nothing was raised."""
    began = time.process_time()
    try:
        with warnings.catch_warnings(), _alarm(limit + 1.0):
            warnings.simplefilter("ignore")
            step()
    except ma.ModelArchiveError as error:
        if is_named and str(place) not in str(error):
            return Verdict("error", f"{type(error).__name__} that names no file: {error} {_frames(error)}")
        verdict = Verdict("refused", f"{type(error).__name__}: {getattr(error, 'rule', '')}".removesuffix(": "))
    except Late as error:
        return Verdict("slow", f"{step.__name__}: more than {limit:.0f} s {_frames(error)}")
    except Exception as error:
        return Verdict("error", f"{step.__name__}: {type(error).__name__}: {str(error)[:200]} {_frames(error)}")
    else:
        verdict = Verdict("read", "")
    seconds = time.process_time() - began
    return Verdict("slow", f"{step.__name__}: {seconds:.1f} s {verdict.why}") if seconds > limit else verdict


def _view(bundle: Bundle) -> View:
    """Every array, one at a time."""
    return {name: array_view(entry.read()) for name, entry in deferred(bundle.parameters).items()}


def _compared(path: Path, bundle: Bundle, view: View, *, compare: bool) -> Verdict | None:
    reference = REFERENCES.get(recognise(path))
    if reference is None or (reference.is_apart and not compare):
        return None
    if reference.is_apart:
        outcome, answer = apart(lambda: reference.read(path))
        if outcome != "done":
            return Verdict("read", f"the other program: {outcome}")
    else:
        try:
            answer = reference.read(path)
        except Exception as error:
            return Verdict("read", f"the other program: {type(error).__name__}")
    theirs = {name: (dtype, tuple(shape), digest) for name, (dtype, shape, digest) in answer.items()}
    reason = disagreement(view, theirs, is_named=reference.is_named, is_noted=bool(bundle.notes))
    return Verdict("wrong", reason) if reason else Verdict("equal", "")


def _frames(error: BaseException) -> str:
    """Where the package was, outermost first."""
    frames = [each for each in traceback.extract_tb(error.__traceback__) if "/modelarchive/" in each.filename]
    places = [f"{each.filename.rpartition('/modelarchive/')[2]}:{each.lineno} {each.name}" for each in frames[-3:]]
    return f"[{' > '.join(places)}]"


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise Late when so much processor time was taken."""

    def late(number: int, frame: object) -> None:
        raise Late

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _peak(*, reset: bool = False) -> int:
    """The most memory that the process has had at once; after a reset that of now."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) << 10


def limit_memory() -> None:
    """Let the process ask for so much more memory and no more: behind that is a MemoryError, not the machine's end."""
    there = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (there + _ADDRESSES, resource.RLIM_INFINITY))
    gc.freeze()
