"""The coverage-guided engine: libFuzzer chooses by what modelarchive's code does which file is changed further.

It needs atheris (`pip install atheris`), which nothing else here does.
"""

from __future__ import annotations

import json
import random
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tests.hostile.readers.judge import Verdict
    from tests.hostile.readers.samples import Sample

#: Seconds by the clock; the judge has a limit of its own, of processor time, and says which step took it.
_TIMEOUT: Final = 170


def run(folder: Path, count: int, seed: int, tell: Callable[[Sample, Verdict], None]) -> None:
    """Judge so many files; the process ends with it.

    Args:
        folder: For what libFuzzer keeps while it runs.
        count: How many files.
        seed: Where chance begins.
        tell: Called with each file and its verdict.
    """
    import atheris

    with atheris.instrument_imports(include=["modelarchive"]):
        from tests.hostile.readers import references, serving
    from tests.hostile.readers.mutators import LONGEST, mutated
    from tests.hostile.readers.samples import samples

    references.prepare()
    found = samples()
    first = next(iter(found.values()))
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for at, sample in enumerate(found.values()):
        (corpus / str(at)).write_bytes(packed(sample))
    others: dict[str, list[bytes]] = {sample.reader: [] for sample in found.values()}
    for sample in found.values():
        others[sample.reader] += sample.files.values()
    judge = serving.Judge(folder / "files", found)
    rng = random.Random(seed)

    def change(data: bytes, longest: int, number: int) -> bytes:
        sample = unpacked(data)
        if sample is None:
            return packed(rng.choice(list(found.values())))
        beside = others[sample.reader] if number % 4 == 0 else None
        return packed(mutated(sample, random.Random(number), beside))[:longest]

    def one(data: bytes) -> None:
        sample = unpacked(data) or first  # libFuzzer begins with no bytes at all
        tell(sample, judge(sample))

    options = {
        **{"runs": count, "seed": seed, "max_len": 4 * LONGEST, "len_control": 0, "timeout": _TIMEOUT},
        **{"rss_limit_mb": 0, "verbosity": 0, "artifact_prefix": f"{folder}/", "reload": 0},
    }
    arguments = [sys.argv[0], *(f"-{name}={value}" for name, value in options.items()), str(corpus)]
    atheris.Setup(arguments, one, custom_mutator=change)
    judge.begin()
    atheris.Fuzz()


def packed(sample: Sample) -> bytes:
    """A sample as one run of bytes, as libFuzzer keeps it."""
    lengths = [[name, len(data)] for name, data in sample.files.items()]
    head = [sample.name, sample.reader, sample.path, sample.beside, lengths]
    raw = json.dumps(head).encode()
    return struct.pack("<I", len(raw)) + raw + b"".join(sample.files.values())


def unpacked(data: bytes) -> Sample | None:
    """The sample; None if it is none."""
    from tests.hostile.readers.samples import Sample

    try:
        at = 4 + struct.unpack_from("<I", data)[0]
        name, reader, path, beside, lengths = json.loads(data[4:at])
    except (ValueError, struct.error):
        return None
    files = {}
    for each, length in lengths:
        files[each] = data[at : at + length]
        at += length
    return Sample(name, reader, path, files, beside)
