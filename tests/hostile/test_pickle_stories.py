"""One file that shows PyTorch one tensor and modelarchive another: never, and what neither shows is told.

PyTorch reads each file with ``weights_only=True``, where a pickle may call no more than what makes tensors.
"""

from __future__ import annotations

import contextlib
import io
import struct
import sys
import tracemalloc
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange.torch import read
from modelarchive.exchange.torch.stored.stubs import _Key
from tests.hostile.pickle_files import PROTOCOL, a_dict, number, several, storage, stream_file, tensor, text, zip_file

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore:Detected pickle protocol")

STORAGES = {"0": np.arange(4, dtype="<f4").tobytes(), "1": np.arange(10, 14, dtype="<f4").tobytes()}
OTHER = tensor(of=storage(key="1"))
DICT = b"ccollections\nOrderedDict\n"
DOUBLES = tensor(several(number(2)), of=storage(2, kind=b"ctorch\nDoubleStorage\n"))
WITH_STATE = b"ctorch._utils\n_rebuild_parameter_with_state\n"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def opened(data: bytes) -> Any:
    Path("x.pt").write_bytes(data)
    return read("x.pt")


def zipped(members: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in {"x/version": b"3\n", **members}.items():
            archive.writestr(name, data)
    return out.getvalue()


def said(data: bytes, count: int) -> bytes:
    """The zip file that says it has so many members."""
    return data[:-14] + struct.pack("<HH", count, count) + data[-10:]


def pickled(content: bytes) -> bytes:
    return PROTOCOL + content + b"."


def with_state(state: bytes) -> bytes:
    return a_dict((text("w"), WITH_STATE + several(tensor(), b"\x89", b"}", state) + b"R"))


WHOLE = {"x/data.pkl": pickled(a_dict((text("w"), tensor()))), "x/data/0": STORAGES["0"]}
ANOTHER = {"x/data.pkl": pickled(a_dict((text("v"), tensor())))}
STORIES = {
    "a storage of two dtypes": zip_file(a_dict((text("w"), tensor()), (text("v"), DOUBLES)), {"0": STORAGES["0"]}),
    "a tensor that is set anew": zip_file(
        a_dict(
            (text("w"), tensor() + several(storage(key="1"), b"K\0", several(number(4)), several(number(1))) + b"b")
        ),
        STORAGES,
    ),
    "values as an attribute": zip_file(with_state(a_dict((text("data"), OTHER))), STORAGES),
    "values as an attribute of a slot": zip_file(with_state(several(b"N", a_dict((text("data"), OTHER)))), STORAGES),
    "a dict of what makes none": zip_file(a_dict((text("w"), DICT + a_dict((text("v"), tensor())) + b"\x85\x81"))),
    "capitals": zipped({"x/data.pkl": WHOLE["x/data.pkl"], "x/DATA.PKL": ANOTHER["x/data.pkl"], "x/data/0": bytes(16)}),
    "capitals, the other way round": zipped(
        {"x/DATA.PKL": ANOTHER["x/data.pkl"], "x/data.pkl": WHOLE["x/data.pkl"], "x/data/0": bytes(16)}
    ),
    "more members than it says": said(zipped({**WHOLE, "x/byteorder": b"big"}), 3),
    "fewer members than it says": said(zipped(WHOLE), 4),
    "a name that ends early": zipped({**WHOLE, "x/byteorder_": b"big"}).replace(b"byteorder_", b"byteorder\0"),
    "two folders": zipped({**WHOLE, "y/data.pkl": ANOTHER["x/data.pkl"], "y/data/0": bytes(16)}),
}


@pytest.mark.parametrize("name", STORIES)
def test_what_could_be_two_stories_is_refused(name: str) -> None:
    with pytest.raises(ma.FormatError):
        opened(STORIES[name])


def test_pytorch_tells_another_story_of_most_of_them() -> None:
    """What a reader that follows the pickle alone would show: `w` as it is stored first."""
    stored = torch.arange(4.0)
    others = set()
    for name, data in STORIES.items():
        Path("x.pt").write_bytes(data)
        try:
            found = torch.load("x.pt", weights_only=True)
        except RuntimeError:
            continue
        if list(found) != ["w"] or len(found["w"]) != 4 or not torch.equal(found["w"], stored):
            others.add(name)
    assert others >= {"a tensor that is set anew", "values as an attribute", "a dict of what makes none", "capitals"}


@pytest.mark.parametrize(
    "data",
    [
        zipped({"x/data.pkl": WHOLE["x/data.pkl"], "x/DATA/0": STORAGES["0"], "x/BYTEORDER": b"big"}),
        zip_file(b"}(K\x01" + tensor() + b"\x88" + OTHER + b"G" + struct.pack(">d", 1.0) + tensor()
                 + b"u", STORAGES),
        zip_file(a_dict((text("w"), tensor()), (text("w"), OTHER)), STORAGES),
        zip_file(DICT + a_dict((text("w"), tensor())) + b"\x85R" + text("v") + OTHER + b"s", STORAGES),
        zip_file(OTHER + a_dict((text("w"), tensor())), STORAGES),
    ],
    ids=["members of other capitals", "keys that are equal", "a key twice", "a dict of a dict", "two on the stack"],
)  # fmt: skip
def test_the_story_is_that_of_pytorch(data: bytes) -> None:
    bundle = opened(data)
    try:
        found = torch.load("x.pt", weights_only=True)
    except Exception:  # OrderedDict of a dict, which weights_only does not do
        found = torch.load("x.pt", weights_only=False)
    assert list(bundle.parameters) == [str(key) for key in found]
    for key, each in found.items():
        assert bundle.parameters[str(key)].tobytes() == each.numpy().tobytes()


def large(data: bytes, *, count: int = 3, shift: int = 0) -> bytes:
    """The zip file with its end in large numbers too, as one of 65,536 members has it."""
    size, begin = struct.unpack("<II", data[-10:-2])
    record = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, begin)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, len(data) - 22 + shift, 1)
    return data[:-22] + record + locator + data[-22:]


def test_the_end_of_a_large_file() -> None:
    whole = large(zipped(WHOLE))
    assert opened(whole).parameters["w"].tolist() == torch.load("x.pt")["w"].tolist()
    for other in (large(zipped(WHOLE), count=2), large(zipped(WHOLE), shift=-1), large(zipped(WHOLE), shift=2**40)):
        with pytest.raises(ma.FormatError, match=r"says that they are 2|large numbers elsewhere"):
            opened(other)


def test_a_copy_of_a_dict_or_list_is_no_other_name_of_it() -> None:
    """What is set in one is not in the other."""
    first = a_dict((text("w"), tensor())) + b"\x94"
    copied = b"](" + first + DICT + b"h\x00\x85R" + text("w") + OTHER + b"se"
    found = opened(zip_file(copied, STORAGES)).parameters
    assert {name: array[0] for name, array in found.items()} == {"0.w": 0, "1.w": 10}
    several_ = b"](](" + tensor() + b"e\x94" + b"cbuiltins\nlist\nh\x00\x85R" + OTHER + b"ae"
    found = opened(zip_file(several_, STORAGES)).parameters
    assert list(found) == ["0.0", "1.0", "1.1"]


@pytest.mark.parametrize(
    "content",
    [
        OTHER + b"0" + a_dict((text("w"), tensor())),
        DICT + b")R" + text("w") + tensor() + b"s" + a_dict((text("hidden"), OTHER)) + b"b",
        a_dict((text("w"), OTHER), (text("w"), tensor())),
    ],
    ids=["dropped", "an attribute of a dict", "overwritten"],
)
@pytest.mark.parametrize("is_zip", [True, False])
def test_tensors_that_nothing_leads_to_are_told(content: bytes, is_zip: bool) -> None:
    if not is_zip:
        content = content.replace(text("cpu") + number(4) + b"t", text("cpu") + number(4) + b"Nt")
    bundle = opened((zip_file if is_zip else stream_file)(content, STORAGES))
    assert bundle.parameters["w"].tolist() == [0, 1, 2, 3]
    assert [str(note) for note in bundle.notes] == ["(storages): 16 bytes are left out that no tensor shows"]


def test_metadata_of_one_name_are_told() -> None:
    twice = [(text("1"), text("a")), (number(1), text("b"))]
    bundle = opened(zip_file(a_dict((text("w"), tensor()), *twice, (text("z"), a_dict(*twice)))))
    assert bundle.metadata == {"1": "a", "z": {"1": "a"}}
    assert [note.where for note in bundle.notes] == ["1", "z.1"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("quoted", [b"'a\\d'", b"'\\777'", b"'\\x1'", b"'a\\'"])
def test_texts_that_python_warns_of(quoted: bytes) -> None:
    with pytest.raises(ma.FormatError, match="badly quoted"):
        opened(zip_file(b"S" + quoted + b"\n0" + a_dict((text("w"), tensor()))))
    bundle = opened(zip_file(b"(" + b"S'\\x77'\n" + tensor() + b"d"))
    assert list(bundle.parameters) == ["w"]


def test_numbers_are_not_cut() -> None:
    with pytest.raises(ma.FormatError, match="a number in its pickle is none"):
        opened(zip_file(a_dict((text("w"), tensor()), (text("f"), b"F" + b"0" * 400 + b"7\n"))))


def shared(*attributes: tuple[bytes, bytes], before: bytes = b"", buffers: bytes = b"}") -> bytes:
    """Many modules of one state, which has a tensor (0 in the memo), and what `before` memoizes (1)."""
    parts = [
        (text("_parameters"), a_dict((text("w"), b"h\x00"))),
        (text("_buffers"), buffers),
        (text("_modules"), b"}"),
    ]
    begin = tensor() + b"\x940" + before + b"ca\nb\n\x940"
    at = begin.count(b"\x94") - 1
    module = b"h" + bytes([at]) + b")\x81h" + bytes([at + 1]) + b"b"
    return begin + a_dict(*parts, *attributes) + b"\x940](" + module * 400 + b"e"


SHARED = {
    "attributes": shared(*((text(f"a{at}"), b"N") for at in range(2000))),
    "buffers without values": shared(buffers=a_dict(*((text(f"a{at}"), b"N") for at in range(2000)))),
    "a list": shared((text("l"), b"h\x01"), before=b"](" + b"h\x00" * 2000 + b"e\x940"),
    "names": shared(
        (text("_non_persistent_buffers_set"), b"cbuiltins\nset\nh\x01\x85R"),
        before=b"](" + text("a") * 2000 + b"e\x940",
    ),
    "attributes of a tensor": a_dict(*((text(f"a{at}"), b"N") for at in range(2000))) + b"\x940"
    + tensor() + b"h\x00b" * 2000,
}  # fmt: skip


@pytest.mark.parametrize("name", SHARED)
def test_modules_that_share_what_they_have_cost_what_it_costs_once(name: str) -> None:
    data = zip_file(SHARED[name])
    lines = 0

    def counted(frame: Any, event: str, _: Any) -> Any:
        nonlocal lines
        lines += event == "line" and "stored" in frame.f_code.co_filename
        return counted

    before = sys.gettrace()
    sys.settrace(counted)
    try:
        with contextlib.suppress(ma.UnsafeFileError):  # the budget
            opened(data)
    finally:
        sys.settrace(before)
    assert lines < 40 * len(data)


def test_a_long_key_costs_what_is_shown_of_it() -> None:
    long = b"\xff" * 1_000_000
    tracemalloc.start()
    try:
        for value in (long, (long,) * 16):
            assert len(str(_Key(value))) == 200
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
