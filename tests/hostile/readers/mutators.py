"""Ways to change files of other systems: what they are written in is taken apart, changed and put together again.

JSON, Protocol Buffers, GGUF's metadata, zip files, pickles, NumPy's headers, lines of text and HDF5 each have a way;
bytes anywhere, cuts and stretches of other files go with every file.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from typing import Any, Final

from tests.hostile.mutators import NUMBERS, bytes_changed, mutate_json
from tests.hostile.readers.keys import gguf
from tests.hostile.readers.messages import protobuf
from tests.hostile.readers.opcodes import opcodes
from tests.hostile.readers.samples import Sample
from tests.hostile.readers.words import OPERATORS, WORDS

#: A file's bytes, what other files are like, chance -> other bytes; None: there is nothing of the kind in it.
Mutator = Callable[[bytes, list[bytes], random.Random], bytes | None]

#: Bytes of a file that grew: what is longer is cut.
LONGEST: Final = 100_000
#: How often a change makes a file so long.
_GROWN: Final = 0.01
#: How often files of a reader are taken: those that are read fast more often.
WEIGHTS: Final = {
    "onnx": 20, "torch": 16, "mxnet": 12, "safetensors": 12, "numpy": 12, "keras": 10, "none": 8, "vectors": 6,
    "huggingface": 4, "gguf": 8, "pt2": 6,
}  # fmt: skip


def mutant(samples: dict[str, Sample], seed: int, number: int) -> Sample:
    """A changed sample; the same for the same seed and number."""
    rng = random.Random(f"{seed}/{number}")
    reader = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    sample = rng.choice([each for each in samples.values() if each.reader == reader])
    return mutated(sample, rng)


def mutated(sample: Sample, rng: random.Random, others: list[bytes] | None = None) -> Sample:
    """A sample with one to four changes, most often one."""
    files = dict(sample.files)
    for _ in range(rng.choice((1, 1, 1, 1, 2, 2, 3, 4))):
        how = rng.random()
        if len(files) > 1 and how < 0.03:
            _among(files, (sample.path, sample.beside), rng)
            continue
        name = rng.choices(list(files), [1 + len(data) ** 0.5 for data in files.values()])[0]
        beside = others or list(files.values())
        for _ in range(8):
            data = changed(files[name], beside, rng)
            if data is not None and data != files[name]:
                files[name] = data[:LONGEST]
                break
    return Sample(sample.name, sample.reader, sample.path, files, sample.beside)


def _among(files: dict[str, bytes], given: tuple[str, ...], rng: random.Random) -> None:
    """Two files change places, or one is lost or comes twice; those that a caller names stay."""
    one, other = rng.sample(list(files), 2)
    how = rng.randrange(4)
    if how == 0:
        files[one], files[other] = files[other], files[one]
    elif how == 1:
        files[one] = files[other]
    elif how == 2 and one not in given:
        del files[one]
    else:
        files[f"{rng.randrange(9)}{one.replace('/', '')}"] = files[one]


def changed(data: bytes, others: list[bytes], rng: random.Random) -> bytes | None:
    """A file in one of the ways that fit it."""
    if rng.random() < 0.25:
        return rng.choice((anywhere, anywhere, ends, spliced))(data, others, rng)
    fitting = [way for is_it, way in WAYS if is_it(data)]
    return rng.choice(fitting or [anywhere])(data, others, rng)


# ------------------------------------------------------------------------------------------ bytes


def anywhere(data: bytes, others: list[bytes], rng: random.Random) -> bytes | None:
    """Bytes and numbers anywhere, more often in front."""
    if not data:
        return rng.randbytes(rng.choice((1, 8, 64)))
    reach = len(data) if rng.random() < 0.6 else min(len(data), rng.choice((16, 64, 256)))
    at = rng.randrange(reach)
    return data[:at] + bytes_changed(data[at : at + 64], rng) + data[at + 64 :]


def ends(data: bytes, others: list[bytes], rng: random.Random) -> bytes | None:
    """A file cut off or grown."""
    at = rng.randrange(len(data) + 1)
    return rng.choice((data[:at], data + rng.randbytes(rng.choice((1, 8, 512))), data + data, data[at:]))


def spliced(data: bytes, others: list[bytes], rng: random.Random) -> bytes | None:
    """A stretch of a file of the kind, in another place."""
    other = rng.choice(others)
    begin = rng.randrange(len(other) + 1)
    stretch = other[begin : begin + rng.choice((1, 4, 16, 64, 512))]
    at = rng.randrange(len(data) + 1)
    return data[:at] + stretch + data[at + rng.choice((0, len(stretch))) :]


# ------------------------------------------------------------------------------------------ text


def json_tree(data: bytes, others: list[bytes], rng: random.Random) -> bytes | None:
    """One thing in an object or a list; sometimes nested deeply, or a key twice."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if rng.random() < 0.03:
        return _odd_json(data, rng)
    how = rng.random()
    if how < _GROWN:
        _grow(value, rng)
    elif how < 0.5:
        mutate_json(value, rng)
    else:
        _leaf(value, rng)
    with contextlib.suppress(ValueError, RecursionError):  # a number of more digits than Python writes
        return json.dumps(value).encode("utf-8", "surrogatepass")
    return None


def _grow(value: Any, rng: random.Random) -> None:
    """One thing of a list so often that the file is as large as they come: what grows faster than it shows."""
    lists: list[list[Any]] = []
    pending = [value]
    while pending:
        each = pending.pop()
        pending += each.values() if isinstance(each, dict) else each if isinstance(each, list) else ()
        lists += [each] if isinstance(each, list) and each else []
    if lists:
        chosen = rng.choice(lists)
        at = rng.randrange(len(chosen))
        chosen[at:at] = [chosen[at]] * (LONGEST // (len(json.dumps(chosen[at])) + 3))


def _leaf(value: Any, rng: random.Random) -> None:
    """A text, a number or a list becomes one as files of the kind have them: an operator, a size, many of a thing."""
    places: list[tuple[Any, Any]] = []
    pending = [value]
    while pending:
        each = pending.pop()
        keys = each if isinstance(each, dict) else range(len(each)) if isinstance(each, list) else ()
        places += [(each, key) for key in keys if not isinstance(each[key], dict)]
        pending += [each[key] for key in keys]
    if not places:
        return
    owner, key = rng.choice(places)
    here = owner[key]
    if isinstance(here, list):
        inside = [*here, *here, 1] if rng.random() < 0.5 else here * rng.choice((0, 2, 50))
        owner[key] = inside[: rng.choice((1, 2, 1000))]
    elif isinstance(here, str):
        texts = [each[at] for each, at in places if isinstance(each[at], str)]
        changed_text = (tokens(here.encode("utf-8", "replace"), [], rng) or b"").decode("utf-8", "replace")
        owner[key] = rng.choice(
            (rng.choice(texts), rng.choice(OPERATORS), rng.choice(WORDS), changed_text, changed_text)
        )
    else:
        numbers = [each[at] for each, at in places if isinstance(each[at], int | float)] or [0]
        owner[key] = rng.choice((rng.choice(numbers), rng.choice(NUMBERS), rng.randrange(-2, 9), [here], str(here), -1))


def _odd_json(data: bytes, rng: random.Random) -> bytes:
    """What trees cannot say: depth, keys that come twice, numbers of many digits, no numbers at all."""
    odd = rng.choice(
        (b"[" * 3000 + b"]" * 3000, b"9" * 5000, b"NaN", b"-Infinity", b"1e999", b'"\\ud800"', b'{"a":' * 900)
    )
    places = [each.start() for each in re.finditer(rb"[:,\[]", data)]
    at = rng.choice(places) + 1 if places else 0
    if rng.random() < 0.3 and (found := re.search(rb'"[^"]*"\s*:\s*[^,{}\[\]]+,', data[at:])):
        return data[: at + found.start()] + found[0] + data[at + found.start() :]
    return data[:at] + odd + (b"," if data[at - 1 : at] in (b",", b"[") else b"") + data[at:]


def headed_json(data: bytes, others: list[bytes], rng: random.Random) -> bytes | None:
    """The header of a safetensors file, its length right."""
    length = int.from_bytes(data[:8], "little")
    header = json_tree(data[8 : 8 + length], others, rng)
    return None if header is None else struct.pack("<Q", len(header)) + header + data[8 + length :]


def tokens(data: bytes, others: list[bytes], rng: random.Random) -> bytes | None:
    """Words, numbers and signs of a text: another one in the place of one, twice, or none."""
    found = re.findall(rb"[\w.+-]+|\s+|[^\w\s]", data)
    if not found:
        return None
    at = rng.randrange(len(found))
    odd = (str(rng.choice(NUMBERS)).encode(), rng.choice(WORDS).encode(), b"nan", b"1e400", b"-", b"0", b"1" * 500)
    found[at] = rng.choice((b"", found[at] * 2, rng.choice(found), rng.choice(odd), rng.choice(odd), b"\t", b"\n"))
    return b"".join(found)


def npy_header(data: bytes, others: list[bytes], rng: random.Random) -> bytes | None:
    """The literal in front of an array, its length right."""
    start = 10 if data[6:7] == b"\1" else 12
    length = int.from_bytes(data[8:start], "little")
    text = tokens(data[start : start + length].rstrip(), others, rng)
    if text is None or len(text) >= 1 << 16:
        return None
    if rng.random() < 0.05:
        text = text.replace(b"(", b"(" * rng.choice((90, 5000)), 1)[:65_000]
    text = text.ljust(length if rng.random() < 0.8 else 0)
    return data[:8] + len(text).to_bytes(start - 8, "little") + text + data[start + length :]


# ------------------------------------------------------------------------------------------ zip files


def zip_members(data: bytes, others: list[bytes], rng: random.Random) -> bytes | None:
    """What a member holds, in the ways of its own kind; names, methods and sizes of members; their order."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            found = [[info.filename, file.read(info), info.compress_type] for info in file.infolist()]
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        ValueError,
        EOFError,
        OSError,
        RuntimeError,
        zlib.error,
        struct.error,
    ):
        return None
    if not found:
        return None
    member = rng.choices(found, [1 + len(each[1]) ** 0.5 for each in found])[0]
    how = rng.randrange(16)
    if how == 0:
        found.remove(member)
    elif how == 1:
        found.append([rng.choice((member[0], f"{member[0]}x", *WORDS)), rng.choice(found)[1], member[2]])
    elif how == 2:
        member[0] = rng.choice((rng.choice(found)[0], *WORDS, f"../{member[0]}", member[0].upper()))
    elif how == 3:
        rng.shuffle(found)
    elif how == 4:
        member[2] = rng.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_BZIP2))
    elif how == 5:
        member[1], member[2] = bytes(rng.choice((100_000, 3_000_000))), zipfile.ZIP_DEFLATED
    else:
        data = changed(member[1], [each[1] for each in found], rng) or b""
        member[1] = data
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w") as file:
        warnings.simplefilter("ignore")  # of a name that comes twice
        for name, content, method in found:
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            with contextlib.suppress(ValueError, UnicodeError):
                file.writestr(info, content)
    return out.getvalue()


def zip_fields(data: bytes, others: list[bytes], rng: random.Random) -> bytes | None:
    """Numbers in the headers of members, in the list of them, and in what stands behind it."""
    places = [each.start() for each in re.finditer(rb"PK(\x03\x04|\x01\x02|\x05\x06|\x06\x06)", data)]
    if not places:
        return None
    at = rng.choice(places) + rng.randrange(4, 46)
    width = rng.choice((2, 4, 8))
    value = rng.choice((*NUMBERS, rng.randrange(64), len(data), len(data) - at)) % 2 ** (8 * width)
    return data[:at] + value.to_bytes(width, "little") + data[at + width :]


# ------------------------------------------------------------------------------------------ numbers of 4 and 8 bytes


def numbers(data: bytes, others: list[bytes], rng: random.Random) -> bytes | None:
    """A number of four or eight bytes where numbers stand, at multiples of four: MXNet's files, HDF5's structures."""
    places = range(0, len(data) - 8, rng.choice((1, 2, 4, 4)))
    if not places:
        return None
    at = rng.choice(places[: rng.choice((20, len(places)))])
    form = rng.choice(["<i", "<I", "<q", "<Q", "<H"])
    size = struct.calcsize(form)
    here = struct.unpack_from(form, data, at)[0]
    values = (rng.choice(NUMBERS), rng.randrange(16), here + 1, here - 1, here * 2, -1, 0xF993FAC8 + rng.randrange(3))
    raw = (rng.choice(values) % 2 ** (8 * size)).to_bytes(size, "little")
    return data[:at] + raw + data[at + size :]


def links(data: bytes, others: list[bytes], rng: random.Random) -> bytes | None:
    """Names in an HDF5 file, of the same length."""
    found = [*re.finditer(rb"[a-z_0-9]{3,}", data)]
    if len(found) < 2:
        return None
    one, other = rng.choice(found), rng.choice(found)
    word = other[0][: len(one[0])].ljust(len(one[0]), b"\0")
    return data[: one.start()] + word + data[one.end() :]


_HDF5: Final = b"\x89HDF\r\n\x1a\n"
#: What a file is -> a way to change it.
WAYS: Final[tuple[tuple[Callable[[bytes], bool], Mutator], ...]] = (
    (lambda data: data[:1] in (b"{", b"["), json_tree),
    (lambda data: data[8:9] == b"{", headed_json),
    (lambda data: data.startswith(b"\x93NUMPY"), npy_header),
    (lambda data: data.startswith(b"GGUF"), gguf),
    (lambda data: data.startswith(b"GGUF"), gguf),
    (lambda data: data.startswith(b"PK"), zip_members),
    (lambda data: data.startswith(b"PK"), zip_members),
    (lambda data: data.startswith(b"PK"), zip_fields),
    (lambda data: data[:1] in (b"\x08", b"\x0a", b"\x12", b"\x3a") and data[1:2] != b"\1", protobuf),
    (lambda data: data[:1] in (b"\x80", b"c", b"(") or b"ctorch" in data[:4000], opcodes),
    (lambda data: data.startswith((b"\x12\x01\0\0", _HDF5)), numbers),
    (lambda data: data.startswith(_HDF5), links),
    (lambda data: bool(data) and all(9 <= byte < 127 for byte in data[:64]), tokens),
)
