"""Hostile files of torch.save: nothing that a pickle names runs, and whatever it says costs what its bytes may."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange.bundle import Bundle, deferred
from modelarchive.exchange.torch import read
from modelarchive.exchange.torch.stored.machine import CutShortError
from modelarchive.exchange.torch.stored.meanings import meaning_of
from modelarchive.exchange.torch.stored.pickles import follow
from tests.conftest import ROOT
from tests.hostile.pickle_files import (
    FLOATS,
    PROTOCOL,
    a_dict,
    number,
    several,
    storage,
    stream_file,
    tensor,
    text,
    zip_file,
)
from tests.hostile.test_promises import HARMLESS

WAYS = [zip_file, stream_file]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def opened(data: bytes) -> Bundle:
    Path("x.pt").write_bytes(data)
    return read("x.pt")


def tried(data: bytes) -> Bundle | None:
    """What is read; None: it was refused."""
    try:
        return opened(data)
    except (ma.FormatError, ma.UnsafeFileError, ma.ConversionError) as error:
        found = (error.file, len(str(error)) < 2000)
    assert found == ("x.pt", True)
    return None


def refused(data: bytes, what: str = ".") -> ma.ModelArchiveError:
    """The refusal, which is one of ours and names the file."""
    with pytest.raises((ma.FormatError, ma.UnsafeFileError, ma.ConversionError), match=what) as caught:
        opened(data)
    assert caught.value.file == "x.pt"
    assert len(str(caught.value)) < 2000
    return caught.value


#: What a pickle calls: it makes a folder, which nobody misses.
MKDIR = b"cos\nmkdir\n"
MARK = "was run"
CALLS = {
    "reduce": MKDIR + several(text(MARK)) + b"R",
    "as a class": b"ccopyreg\n__newobj__\n" + several(MKDIR, text(MARK)) + b"R"
    + MKDIR + several(text(MARK)) + b"\x81\x86",
    "object": b"(" + MKDIR + text(MARK) + b"o",
    "instance": b"(" + text(MARK) + b"ios\nmkdir\n",
    "by the stack": text("os") + text("mkdir") + b"\x93" + several(text(MARK)) + b"R",
    "by eval": b"cbuiltins\neval\n" + several(text(f"__import__('os').mkdir({MARK!r})")) + b"R",
    "by getattr": b"cbuiltins\ngetattr\n" + several(b"cos\npath\n", text("os")) + b"R0"
    + MKDIR + several(text(MARK)) + b"R",
    "in a set state": b"cargparse\nNamespace\n)\x81" + a_dict((text("a"), MKDIR + several(text(MARK)) + b"R")) + b"b",
    "by a class that sets a state": b"ccollections\nOrderedDict\n)R" + MKDIR + several(text(MARK)) + b"Rb",
    "as a key": a_dict((MKDIR + several(text(MARK)) + b"R", b"N")),
    "by functools": b"cfunctools\npartial\n" + several(MKDIR, text(MARK)) + b"R)R",
    "by map": b"cbuiltins\nlist\n" + several(b"cbuiltins\nmap\n" + several(MKDIR, several(text(MARK))) + b"R") + b"R",
    "by a class of PyTorch": b"ctorch.storage\n_load_from_bytes\n" + several(b"C\x02.." ) + b"R0"
    + MKDIR + several(text(MARK)) + b"R",
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CALLS)
def test_nothing_is_called(name: str, way: Callable[..., bytes]) -> None:
    refused(way(a_dict((text("a"), CALLS[name])), {}))
    beside = [(text("w"), tensor(of=storage(of_stream=way is stream_file))), (text("a"), CALLS[name])]
    found = opened(way(a_dict(*beside)))
    assert list(found.parameters) == ["w"]
    assert not Path(MARK).exists()
    for at in range(2):  # in the place of a tensor's arguments
        arguments = [storage(of_stream=way is stream_file), b"K\x00", several(number(4)), several(number(1))]
        arguments[at] = CALLS[name]
        content = b"ctorch._utils\n_rebuild_tensor\n" + several(*arguments) + b"R"
        refused(way(a_dict((text("w"), content)), {} if at == 0 else None))
    assert not Path(MARK).exists()


@pytest.mark.parametrize("name", [name for name in CALLS if "class" not in name])
def test_plain_pickle_would_run_it(name: str) -> None:
    with contextlib.suppress(TypeError, AttributeError):  # behind the call
        pickle.loads(PROTOCOL + CALLS[name] + b".")
    assert Path(MARK).exists()


#: Opens a file, once to import what that needs, and once watched.
PROGRAM = """
import json, sys, warnings
import modelarchive as ma
warnings.simplefilter("ignore")
ways = lambda: (ma.load(sys.argv[1]), ma.load(sys.argv[1], mmap=True))
ways()
seen = []
sys.addaudithook(lambda event, arguments: seen.append((event, repr(arguments[0]) if arguments else "")))
before = set(sys.modules)
ways()
events = sorted({event for event in seen if event[0] not in HARMLESS})
print(json.dumps([events, sorted(set(sys.modules) - before), "torch" in sys.modules]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_the_interpreter_sees_one_file_opened_and_nothing_else(way: Callable[..., bytes]) -> None:
    entries = [(text(name), call) for name, call in CALLS.items()]
    content = a_dict((text("w"), tensor(of=storage(of_stream=way is stream_file))), *entries)
    Path("x.pt").write_bytes(way(content))
    program = PROGRAM.replace("HARMLESS", repr(HARMLESS))
    done = subprocess.run(
        [sys.executable, "-c", program, "x.pt"],
        capture_output=True, text=True, check=False, timeout=300, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    events, modules, has_torch = json.loads(done.stdout)
    # A number is a descriptor of the same file, for the reader of a zip file's list.
    assert {(event, name) for event, name in events if not name.isdigit()} == {("open", "'x.pt'")}
    assert modules == []
    assert not has_torch
    assert not Path(MARK).exists()


def nested(times: int, opening: bytes, closing: bytes = b"") -> bytes:
    return opening * times + closing


def doubling(times: int, leaf: bytes) -> bytes:
    """A list of two times a list of two times ... a leaf."""
    content = leaf + b"\x94"
    for at in range(times):
        place = b"j" + at.to_bytes(4, "little")
        content += b"0](" + place * 2 + b"e\x94"
    return content


BOMBS = {
    "a place of the memo": b"]r\xff\xff\xff\xff",
    "a place in text": b"]p" + b"9" * 3000 + b"\n",
    "a long that is long": b"\x8b\xff\xff\xff\x7f" + b"1",
    "bytes that are not there": b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",
    "a number of digits": b"I" + b"9" * 100_000 + b"\n",
    "lists that double": doubling(40, b"K\x01"),
    "lists that double, with a tensor": doubling(40, tensor()),
    "lists in lists": nested(50_000, b"]") + b"a" * 49_999,
    "tuples in tuples": b"N" + b"\x85" * 50_000,
    "tuples as a key": b"}N" + b"\x85" * 50_000 + b"Ns",
    "dicts in dicts, with a tensor": b"".join(b"}" + text("a") for _ in range(5000)) + tensor() + b"s" * 5000,
    "stubs in stubs": b"ca\nb\n\x940" + b"h\x00" * 20_000 + b")R" + b"\x85R" * 19_999,
    "pairs again and again": b"](" + b"K\x01K\x02\x86" * 5000 + b"e\x94"
    + b"0ccollections\nOrderedDict\nh\x00\x85R" * 5000,
    "lists that multiply, with a tensor": tensor() + b"\x94"
    + b"".join(b"0](" + b"h" + bytes([at]) + (b"h" + bytes([at])) * 99 + b"e\x94" for at in range(8)),
    "plain lists that multiply": b"K\x01\x94"
    + b"".join(b"0](" + (b"h" + bytes([at])) * 100 + b"e\x94" for at in range(8)),
    "a text again and again": text("x" * 100_000) + b"\x940](" + b"h\x00" * 9_000 + b"e",
    "text as bytes again and again": text("x" * 50_000) + b"\x94"
    + b"0c_codecs\nencode\nh\x00" * 5000 + text("latin1") + b"\x86R",
    "long names": text("n" * 100_000) + b"\x940" + tensor() + b"\x940"
    + b"".join(b"}(h\x00h" + bytes([at]) + text("x") + b"h" + bytes([at]) + b"u\x940" for at in range(1, 12))
    + b"h\x0c",
    "a shape of many": tensor(shape=several(*[number(1)] * 100_000)),
    "devices of lists that double": doubling(40, b"K\x01") + b"0ctorch\ndevice\nj\x28\0\0\0\x85R",
    "a device of lists in lists": b"ctorch\ndevice\n(" + nested(50_000, b"]") + b"a" * 49_999 + b"tR",
    "calls of calls": b"ccopyreg\n__newobj__\n\x94(" + b"h\x00" * 50_000 + b"tR",
    "tensors of types of types": b"ctorch._tensor\n_rebuild_from_type_v2\n\x940)\x940"
    + b"".join(b"(h\x00Nj" + at.to_bytes(4, "little") + b"Nt\x940" for at in range(1, 5000))
    + b"h\x00j" + (4999).to_bytes(4, "little") + b"R",
    "complex numbers of texts": text("1" * 100_000) + b"\x94cbuiltins\ncomplex\n\x94" + b"h\x01h\x00\x85R" * 9000,
    "bytes that one array has": b"".join([tensor(offset=b"K\x00")] * 10),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_what_grows_is_refused_or_read_in_proportion(name: str) -> None:
    for content in (a_dict((text("w"), BOMBS[name])), a_dict((text("w"), tensor()), (text("z"), BOMBS[name])),
                    BOMBS[name]):  # fmt: skip
        found = tried(zip_file(content))
        if found is not None:
            assert sum(entry.nbytes for entry in deferred(found.parameters).values()) <= 16
            assert len(json.dumps(found.metadata)) < 1 << 20


@pytest.mark.slow
def test_keys_whose_hashes_are_the_same() -> None:
    """A dict of Python compares each with all others: of so many that takes minutes."""
    entries = b"".join(number(at * (2**61 - 1)) + b"N" for at in range(1, 60_000))
    found = opened(zip_file(a_dict((text("w"), tensor()), (text("z"), b"}(" + entries + b"u"))))
    assert list(found.parameters) == ["w"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [
        (several(number(-1)), several(number(1)), b"K\x00"),
        (several(number(5)), several(number(1)), b"K\x00"),
        (several(number(4)), several(number(1)), b"K\x01"),
        (several(number(4)), several(number(2**62)), b"K\x00"),
        (several(number(2**62)), several(number(0)), b"K\x00"),
        (several(number(2**40)), several(number(0)), b"K\x00"),
        (several(number(2**62), number(2**62)), several(number(0), number(0)), b"K\x00"),
        (several(number(0), number(2**62), number(2**62)), several(*[number(0)] * 3), b"K\x00"),
        (several(number(2**200)), several(number(0)), b"K\x00"),
        (several(*[number(1)] * 65), several(*[number(1)] * 65), b"K\x00"),
        (several(number(4)), several(), b"K\x00"),
        (several(number(4)), several(number(-1)), b"K\x03"),
        (several(b"\x88"), several(number(1)), b"K\x00"),
        (several(text("4")), several(number(1)), b"K\x00"),
        (text("4"), several(number(1)), b"K\x00"),
        (several(number(4)), several(number(1)), number(-1)),
        (several(number(4)), several(number(1)), b"N"),
    ],
)
def test_absurd_shapes(shape: bytes, strides: bytes, offset: bytes, way: Callable[..., bytes]) -> None:
    content = tensor(shape, strides, offset, storage(of_stream=way is stream_file))
    refused(way(a_dict((text("w"), content))))


@pytest.mark.parametrize(
    ("described", "data"),
    [
        (storage(4), bytes(15)),
        (storage(4), bytes(17)),
        (storage(2**61), bytes(16)),
        (storage(-1), bytes(16)),
        (storage(4, "1"), bytes(16)),
        (storage(4, "../../etc/passwd"), bytes(16)),
        (storage(4, kind=b"cos\nsystem\n"), bytes(16)),
        (several(text("storage")) + b"Q", bytes(16)),
        (text("0") + b"Q", bytes(16)),
    ],
)
def test_storages_that_are_none(described: bytes, data: bytes) -> None:
    refused(zip_file(a_dict((text("w"), tensor(of=described))), {"0": data}), "damaged|storage")


@pytest.mark.parametrize("listed", [["0", []], [["0"]], [], ["0", "1"], "0", {"0": 1}, [b"0"], ["0", 2.0]])
def test_lists_of_storages_that_are_none(listed: object) -> None:
    whole = stream_file(a_dict((text("w"), tensor(of=storage(of_stream=True)))))
    told = pickle.dumps(["0"], 2)
    assert told in whole
    refused(whole.replace(told, pickle.dumps(listed, 2)), "lists other storages")


def view_of(name: str, first: int, count: int, whole: int = 4) -> bytes:
    """A part of a storage, as PyTorch before 0.4 wrote it."""
    view = several(text(name), number(first), number(count))
    return several(text("storage"), FLOATS, text("0"), text("cpu"), number(whole), view) + b"Q"


def test_parts_of_storages() -> None:
    data = {"0": np.arange(4, dtype="<f4").tobytes()}
    shape, strides = several(number(2)), several(number(1))
    entries = [(text("a"), tensor(shape, strides, of=view_of("p", 1, 3))),
               (text("b"), tensor(shape, strides, b"K\x01", of=view_of("p", 1, 3)))]  # fmt: skip
    found = opened(stream_file(a_dict(*entries), data))
    assert [found.parameters[name].tolist() for name in "ab"] == [[1, 2], [2, 3]]
    assert [str(note) for note in found.notes] == ["(storages): 4 bytes are left out that no tensor shows"]
    for wrong in (view_of("p", 3, 2), view_of("p", -1, 2), view_of("p", 1, 1), view_of("q", 2**40, 1)):
        refused(stream_file(a_dict((text("a"), tensor(shape, strides, of=wrong))), data), "damaged")
    both = a_dict(*entries, (text("c"), tensor(shape, strides, of=view_of("p", 0, 3))))
    refused(stream_file(both, data), "described in two ways")


ARRAY = b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR"


@pytest.mark.parametrize(
    ("shape", "dtype", "data"),
    [
        (several(number(3)), "f4", bytes(8)),
        (several(number(-2)), "f4", bytes(8)),
        (several(number(2**62), number(0), number(2**62)), "f4", b""),
        (several(*[number(1)] * 65), "f4", bytes(4)),
        (number(2), "f4", bytes(8)),
        (several(text("2")), "f4", bytes(8)),
    ],
)
def test_arrays_that_cannot_be(shape: bytes, dtype: str, data: bytes) -> None:
    made = b"cnumpy\ndtype\n" + several(text(dtype)) + b"R"
    state = several(b"K\x01", shape, made, b"\x89", b"C" + bytes([len(data)]) + data)
    refused(zip_file(a_dict((text("w"), ARRAY + state + b"b"))), "an array of NumPy in its pickle")


def test_many_views_of_the_same_bytes() -> None:
    """Each is fine, and all together are a thousand times the file."""
    views = [(text(f"w{at}"), tensor(several(number(200_000)), offset=number(at), of=storage(201_000)))
             for at in range(1000)]  # fmt: skip
    refused(zip_file(a_dict(*views), {"0": bytes(804_000)}), "far larger than what is stored")


def test_many_arrays_of_the_same_bytes() -> None:
    made = b"cnumpy\ndtype\n" + several(text("f4")) + b"R"
    shared = b"B" + (200_000).to_bytes(4, "little") + bytes(200_000) + b"\x94"
    arrays = [(text(f"w{at}"), ARRAY + several(b"K\x01", several(number(50_000)), made, b"\x89", b"h\x00") + b"b")
              for at in range(100)]  # fmt: skip
    refused(zip_file(shared + b"0" + a_dict(*arrays), {}), "far larger than what is stored")
    assert len(opened(zip_file(shared + b"0" + a_dict(*arrays[:5]), {})).parameters) == 5


def test_what_comes_behind() -> None:
    whole = zip_file(a_dict((text("w"), tensor())))
    assert list(opened(whole).parameters) == ["w"]
    refused(whole + b"more", "bytes behind its end")
    refused(zip_file(a_dict((text("w"), tensor())) + b".more"), "goes on for 5 bytes behind the first pickle")
    stream = stream_file(a_dict((text("w"), tensor(of=storage(of_stream=True)))))
    assert list(opened(stream).parameters) == ["w"]
    refused(stream + b"more", "4 bytes behind the first object")
    for left in (b"more", zip_file(b"}")):
        refused(left + whole)


def test_members_that_nothing_refers_to_are_told() -> None:
    found = opened(zip_file(a_dict((text("w"), tensor())), {"0": bytes(16), "1": bytes(3)}, readme=b"hello"))
    notes = [(note.where, note.what[:24]) for note in found.notes]
    assert notes == [("x/data/1", "is left out: 3 bytes tha"), ("x/readme", "is left out: 5 bytes tha")]


def test_every_opcode_alone() -> None:
    """On an empty stack, on others, and with its argument cut."""
    for code in range(256):
        for before in (b"", b"(", b"N", b"]", b"}", b"NN", b"](NN", b"}(NN", b"ca\nb\n", b"ca\nb\n)", b"N(N"):
            for after in (b"", b"\0", b"\n", b"\x01\0\0\0\0\0\0\0", b"0\n0\n"):
                with contextlib.suppress(ma.FormatError, CutShortError):
                    follow(memoryview(before + bytes([code]) + after + b"."), 0, meaning_of, lambda found: found)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_cut_at_every_byte(way: Callable[..., bytes]) -> None:
    content = a_dict((text("w"), tensor(of=storage(of_stream=way is stream_file))), (text("n"), b"K\x01"))
    whole = way(content, {"0": np.arange(4, dtype="<f4").tobytes()})
    assert opened(whole).parameters["w"].tolist() == [0, 1, 2, 3]
    for size in range(len(whole)):
        refused(whole[:size])


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_changed_at_random(way: Callable[..., bytes]) -> None:
    content = a_dict(
        (text("w"), tensor(of=storage(of_stream=way is stream_file))),
        (text("o"), b"cargparse\nNamespace\n)\x81" + a_dict((text("a"), b"K\x01")) + b"b"),
        (text("l"), b"](K\x01G" + bytes(8) + text("x") + b"e"),
    )
    rng = random.Random(0)
    for attempt in range(600):
        is_inside = attempt % 3 > 0  # the pickle, which its checksum tells of otherwise
        data = bytearray(content if is_inside else way(content))
        for _ in range(rng.choice([1, 2, 4])):
            at = rng.randrange(len(data))
            if rng.random() < 0.5:
                data[at] = rng.randrange(256)
            elif rng.random() < 0.5:
                data[at : at + 4] = rng.choice([bytes(4), b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff"])
            else:
                other = rng.randrange(len(data))
                data[at], data[other] = data[other], data[at]
        data = bytearray(way(bytes(data))) if is_inside else data
        found = tried(bytes(data))
        if found is not None:
            taken = sum(entry.read().nbytes for entry in deferred(found.parameters).values())
            assert taken <= 4 * len(data) + (1 << 20)


def test_a_pickle_that_differs_from_its_checksum() -> None:
    whole = zip_file(a_dict((text("weight"), tensor())))
    refused(whole.replace(b"weight", b"height"), "differs from its checksum")
