"""What docs/security.md promises of files of other systems, watched by the interpreter's own audit events.

Real files and such as an attacker writes are read, built and shown in a process that hears every event: nothing is
run, no other file is opened, nothing is written, nobody is connected to.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.conftest import ROOT
from tests.exchange.onnx import wire
from tests.hostile import keras_files
from tests.hostile.readers import checkpoints, mutators
from tests.hostile.readers.judge import GOOD
from tests.hostile.readers.samples import Sample, safetensors, samples

#: Judges what was kept in the folders that it is told of: everything is read, built and shown.
PROGRAM = """
import json, sys
from pathlib import Path
from tests.hostile.readers import judge, serving
from tests.hostile.readers.samples import kept, samples

judging = serving.Judge(Path(sys.argv[1]) / "place", samples())
verdicts = {}
for folder in sys.argv[2:]:
    sample = kept(Path(folder))
    path = Path(folder) / "files" / sample.path
    verdicts[folder] = judge.judge(path, sample, judging.watch, compare=False, show=True)
print(json.dumps(verdicts))
"""

#: What opens, runs, writes and connects; each alone is heard.
OUTSIDE = """
import json, os, socket, sys
from pathlib import Path
from tests.hostile.readers.watching import Watch

watch = Watch()
inside = Path(sys.argv[1])
other = str(inside.parent / "secret")
heard = {}
for name, function in {
    "read": lambda: open(other).read(),
    "write": lambda: open(inside / "new", "w").close(),
    "list": lambda: os.listdir(inside.parent),
    "remove": lambda: os.remove(inside / "new"),
    "run": lambda: exec("1 + 1"),
    "import": lambda: __import__("this_is_no_module_of_anybody"),
    "start": lambda: os.system("true"),
    "process": lambda: __import__("subprocess").run(["true"]),
    "socket": lambda: socket.socket(socket.AF_INET).connect(("127.0.0.1", 9)),
    "unpickle": lambda: __import__("pickle").loads(b"cos\\ngetcwd\\n."),
    "nothing": lambda: open(inside / "mine").read(),
}.items():
    with watch.over(inside) as seen:
        try:
            function()
        except (OSError, ImportError):
            pass
    heard[name] = sorted(seen)
print(json.dumps(heard))
"""


def run(program: str, *arguments: str) -> dict[str, list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True, text=True, check=False, timeout=600, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return found


def judged(folder: Path, *several: Path) -> dict[str, list[str]]:
    return run(PROGRAM, str(folder), *map(str, several))


def test_what_reaches_outside_is_heard(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "mine").write_text("x")
    (tmp_path / "secret").write_text("x")
    heard = run(OUTSIDE, str(inside))
    assert heard.pop("nothing") == []
    assert [name for name, seen in heard.items() if not seen] == []


# ---------------------------------------------------------------------- as an attacker writes them

ATTACKS: dict[str, Callable[[Path], Sample]] = {}


def attack(build: Callable[[Path], Sample]) -> Callable[[Path], Sample]:
    ATTACKS[build.__name__] = build
    return build


def _touch(folder: Path) -> str:
    """A command that leaves a trace."""
    return f"touch {folder / 'trace'}"


@attack
def a_checkpoint_that_calls(folder: Path) -> Sample:
    value = checkpoints.made("posix", "system", checkpoints.text(_touch(folder)))
    return Sample("calls", "torch", "x.pt", {"x.pt": checkpoints.zipped(checkpoints.pairs({"a": value}), {})})


@attack
def an_old_checkpoint_that_calls(folder: Path) -> Sample:
    value = checkpoints.made("posix", "system", checkpoints.text(_touch(folder)))
    return Sample("calls", "torch", "x.pth", {"x.pth": checkpoints.streamed(checkpoints.pairs({"a": value}), {})})


@attack
def a_checkpoint_that_calls_beside_tensors(folder: Path) -> Sample:
    code, arrays = checkpoints.state_dict()
    call = checkpoints.made("builtins", "eval", checkpoints.text(f"__import__('os').system({_touch(folder)!r})"))
    value = checkpoints.pairs({"state_dict": code, "more": call})
    return Sample("calls", "torch", "x.pt", {"x.pt": checkpoints.zipped(value, arrays)})


@attack
def a_checkpoint_that_sets_a_state(folder: Path) -> Sample:
    """BUILD calls `__setstate__`, or fills a `__dict__`, of whatever stands before it."""
    opened = checkpoints.made("io", "FileIO", checkpoints.text(str(folder / "trace")), checkpoints.text("w"))
    value = checkpoints.pairs({"a": opened + checkpoints.pairs({"b": checkpoints.number(1)}) + b"b"})
    return Sample("state", "torch", "x.pt", {"x.pt": checkpoints.zipped(value, {})})


@attack
def a_checkpoint_that_imports(folder: Path) -> Sample:
    value = checkpoints.pairs({"a": b"cthis\nd\n", "b": checkpoints.made("antigravity", "fly")})
    return Sample("imports", "torch", "x.pt", {"x.pt": checkpoints.zipped(value, {})})


@attack
def a_bare_pickle(folder: Path) -> Sample:
    data = b"\x80\x02" + checkpoints.made("posix", "system", checkpoints.text(_touch(folder))) + b"."
    return Sample("bare", "none", "x.pkl", {"x.pkl": data})


@attack
def an_array_of_objects(folder: Path) -> Sample:
    data = b"\x80\x02" + checkpoints.made("posix", "system", checkpoints.text(_touch(folder))) + b"."
    head = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }".ljust(117) + b"\n"
    return Sample(
        "objects", "numpy", "x.npy", {"x.npy": b"\x93NUMPY\1\0" + len(head).to_bytes(2, "little") + head + data}
    )


@attack
def a_header_that_calls(folder: Path) -> Sample:
    """Old readers of such headers called eval."""
    call = f"{{'descr': __import__('os').system('{_touch(folder)}'), 'fortran_order': False, 'shape': ()}}".encode()
    return Sample("header", "numpy", "x.npy", {"x.npy": b"\x93NUMPY\1\0" + len(call).to_bytes(2, "little") + call})


@attack
def a_layer_of_code(folder: Path) -> Sample:
    """Keras' Lambda: marshalled code as base64."""
    import base64
    import marshal

    code = compile(f"lambda x: __import__('os').system({_touch(folder)!r})", "x", "eval")
    raw = base64.b64encode(marshal.dumps(code)).decode()
    function = {"class_name": "__lambda__", "config": {"code": raw, "defaults": None, "closure": None}}
    layer = {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "l", "function": function}}
    path = keras_files.packed(folder / "x.keras", keras_files.model(keras_files.dense(), layer),
                              keras_files.weights(keras_files.plain))  # fmt: skip
    return Sample("lambda", "keras", "x.keras", {"x.keras": path.read_bytes()})


@attack
def a_layer_of_a_module(folder: Path) -> Sample:
    """Keras 3 imported the module that a configuration names (CVE-2025-1550)."""
    layer = {"module": "os", "class_name": "system", "config": {"command": _touch(folder)}, "registered_name": "system"}
    path = keras_files.packed(folder / "x.keras", keras_files.model(layer), keras_files.weights(keras_files.plain))
    return Sample("module", "keras", "x.keras", {"x.keras": path.read_bytes()})


@attack
def a_member_that_leads_out(folder: Path) -> Sample:
    path = keras_files.packed(
        folder / "x.keras", keras_files.model(keras_files.dense()), keras_files.weights(keras_files.plain),
        **{"../../trace": b"x", str(folder / "trace"): b"x"},
    )  # fmt: skip
    return Sample("member", "keras", "x.keras", {"x.keras": path.read_bytes()})


@attack
def weights_in_another_file(folder: Path) -> Sample:
    def fill(file: h5py.File) -> None:
        file.create_dataset("layers/dense/vars/0", (3,), "f4", external=[(str(folder / "secret"), 0, 12)])
        file["layers/dense/vars/1"] = h5py.ExternalLink(str(folder / "secret.h5"), "/x")

    return Sample("external", "keras", "x.weights.h5", {"x.weights.h5": keras_files.weights(fill)})


@attack
def data_outside_of_the_folder(folder: Path) -> Sample:
    outside = wire.tensor("w", [3], external={"location": "../../secret"})
    absolute = wire.tensor("v", [3], external={"location": str(folder / "secret")})
    graph = wire.graph([wire.node("Add", ["w", "v"], ["y"])], [outside, absolute], [], [wire.value("y", [3])])
    return Sample("data", "onnx", "x.onnx", {"x.onnx": wire.model(graph)})


@attack
def a_shard_outside_of_the_folder(folder: Path) -> Sample:
    index = json.dumps({"weight_map": {"w": "../../secret.safetensors"}}).encode()
    return Sample("shard", "safetensors", "x.safetensors.index.json", {"x.safetensors.index.json": index})


@attack
def a_folder_with_code(folder: Path) -> Sample:
    config = {"model_type": "gpt2", "architectures": ["X"], "auto_map": {"AutoModel": "modeling.X"}, "n_layer": 1}
    code = f"import os\nos.system({_touch(folder)!r})\n".encode()
    files = {"config.json": json.dumps(config).encode(), "modeling.py": code, "__init__.py": code}
    files["model.safetensors"] = safetensors({"w": np.zeros(3, "<f4")})
    return Sample("code", "huggingface", "", files)


@attack
def a_symbol_with_an_operator_of_its_own(folder: Path) -> Sample:
    nodes = [{"op": "null", "name": "data", "inputs": []},
             {"op": "Custom", "name": "c", "attrs": {"op_type": _touch(folder)}, "inputs": [[0, 0, 0]]}]  # fmt: skip
    symbol = json.dumps({"nodes": nodes, "arg_nodes": [0], "heads": [[1, 0, 0]]}).encode()
    return Sample("custom", "mxnet", "x-symbol.json", {"x-symbol.json": symbol})


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return with_secrets(tmp_path)


def with_secrets(folder: Path) -> Path:
    """A folder with what nobody is to see or to change."""
    (folder / "secret").write_bytes(np.arange(3, dtype="<f4").tobytes())
    (folder / "secret.safetensors").write_bytes(safetensors({"w": np.zeros(3, "<f4")}))
    with h5py.File(folder / "secret.h5", "w") as file:
        file["x"] = np.zeros(3)
    return folder


#: How many changed files; as they are heard in the run of tests/hostile/readers/test_fuzz.py too, these are few.
CHANGED = 60
Files = set[Path]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, list[str]], Files, Files]:
    """What came of each, by its folder's name, and what lay there before and afterwards: one process judges all."""
    place = with_secrets(tmp_path_factory.mktemp("place"))
    real = samples()
    several = [*real.values(), *(mutators.mutant(real, 77, number) for number in range(CHANGED))]
    for at, sample in enumerate(several):
        sample.keep(place / str(at))
    for name, build in ATTACKS.items():
        build(place).keep(place / name)
    (place / "a_folder_with_code" / "files" / "vocab.json").symlink_to("../../secret")
    before = set(place.rglob("*"))
    verdicts = judged(place, *(place / name for name in (*map(str, range(len(several))), *ATTACKS)))
    after = {each for each in place.rglob("*") if each.relative_to(place).parts[0] != "place"}
    return {Path(folder).name: each for folder, each in verdicts.items()}, before, after


@pytest.mark.slow
def test_real_files_and_changed_ones_reach_nothing(found: tuple[dict[str, list[str]], Files, Files]) -> None:
    verdicts = [each for name, each in found[0].items() if name not in ATTACKS]
    assert len(verdicts) > CHANGED + 50
    assert [each for each in verdicts if each[0] == "outside"] == []
    assert sum(each[0] in ("read", "equal") for each in verdicts) > 70


@pytest.mark.slow
def test_attacks_reach_nothing(found: tuple[dict[str, list[str]], Files, Files]) -> None:
    verdicts, before, after = found
    assert {name: verdicts[name] for name in ATTACKS if verdicts[name][0] not in GOOD} == {}
    assert after == before


def test_the_calls_leave_a_trace_where_they_are_run(place: Path) -> None:
    """What PyTorch without weights_only, pickle and Keras' older versions do: so the attacks are real ones."""
    pickle.loads(a_bare_pickle(place).files["x.pkl"])
    assert (place / "trace").exists()
