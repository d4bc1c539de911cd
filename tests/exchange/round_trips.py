"""Each system reads what it writes: the kinds, ops and networks of :mod:`tests.cases` there and back.

``python -m tests.exchange.round_trips`` prints what does not go there, by system and word, and what comes back
otherwise; with ``--write`` the table goes into docs/exchange/round-trips.md.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import modelarchive as ma
from modelarchive import nn
from modelarchive.exchange import Bundle
from tests.cases.case import fixed, several
from tests.cases.kinds import BATCH_ELSEWHERE, KIND_CASES, drawn
from tests.cases.networks import NETWORKS, network
from tests.cases.ops import OP_CASES, op_networks
from tests.conftest import ROOT
from tests.exchange.document import filled

Declared = Sequence[dict[str, Any]]
RECORD = Path(__file__).with_suffix(".json")
NAMES_DIFFER = "written once more, results have other names"
GROWS = "written once more, there are more nodes around it, which move axes"
OTHER_NAMES = "parameters come back under other names"
IN_PARTS = "parameters come back in parts, or put together"
DOCUMENT = ROOT / "docs" / "exchange" / "round-trips.md"


@dataclass(frozen=True)
class System:
    """A system with both ways.

    Attributes:
        needs: The modules that it needs.
        write: A network or bundle, how its inputs are declared, a path -> what :attr:`read` takes, and the bytes that
            were written; b"" where nothing is a file, or a file says when it was written.
        read: That, how the inputs are declared -> the bundle.
    """

    needs: tuple[str, ...]
    write: Callable[[Any, Declared, Path], tuple[Any, bytes]]
    read: Callable[[Any, Declared], Bundle]


def _write_onnx(source: Any, declared: Declared, path: Path) -> tuple[Any, bytes]:
    from modelarchive.exchange import onnx

    onnx.write(source, path.with_suffix(".onnx"), inputs=declared, durable=False)
    return path.with_suffix(".onnx"), path.with_suffix(".onnx").read_bytes()


def _read_onnx(written: Path, declared: Declared) -> Bundle:
    from modelarchive.exchange import onnx

    return onnx.read(written)


def _write_mxnet(source: Any, declared: Declared, path: Path) -> tuple[Any, bytes]:
    from modelarchive.exchange import mxnet

    symbol, arrays = (path.with_name(f"{path.name}-{end}") for end in ("symbol.json", "0000.params"))
    mxnet.write(source, symbol, inputs=declared, durable=False)
    return symbol, symbol.read_bytes() + arrays.read_bytes()


def _read_mxnet(written: Path, declared: Declared) -> Bundle:
    from modelarchive.exchange import mxnet

    return mxnet.read(written, inputs=[each["shape"] for each in declared])


def clear_session() -> None:
    """Keras counts operations on, and names them so.

    By itself it also collects garbage each time, which took four fifths of the time of all round trips.
    """
    import keras

    keras.backend.clear_session(free_memory=False)


def _write_keras(source: Any, declared: Declared, path: Path) -> tuple[Any, bytes]:
    from modelarchive.exchange import keras

    clear_session()
    keras.write(source, path.with_suffix(".keras"), inputs=declared, durable=False)
    return path.with_suffix(".keras"), b""


def _read_keras(written: Path, declared: Declared) -> Bundle:
    from modelarchive.exchange import keras

    return keras.read(written)


def _to_module(source: Any, declared: Declared, path: Path) -> tuple[Any, bytes]:
    from modelarchive.exchange import torch

    return torch.build_module(source, inputs=declared), b""


def _from_module(module: Any, declared: Declared) -> Bundle:
    from modelarchive.exchange import torch

    return torch.read_module(module, tuple(declared))


SYSTEMS = {
    "ONNX": System((), _write_onnx, _read_onnx),
    "MXNet": System((), _write_mxnet, _read_mxnet),
    "Keras": System(("keras",), _write_keras, _read_keras),
    "PyTorch": System(("torch",), _to_module, _from_module),
}


@dataclass
class Outcome:
    """What came of one network.

    Attributes:
        listed: What does not go there, or comes back otherwise, in sentences of no case in particular; the document
            lists these.
        wrong: What must not come.
    """

    listed: dict[str, None] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


def there_and_back(system: System, net: nn.Block, inputs: Sequence[Any], declared: Declared, folder: Path) -> Outcome:
    """Write a network and read it; then what was read, and once more unless that gave the very same again."""
    outcome = Outcome()
    states: list[tuple[Any, ...]] = []
    given = list(inputs)
    source: Any = net
    read: tuple[bytes, Declared] = b"", ()
    for turn in range(3):
        try:
            written, data = system.write(source, declared, folder / f"turn{turn}")
        except ma.ConversionError as error:
            if turn:
                outcome.wrong.append(f"what was read cannot be written again: {error}")
            outcome.listed |= {f"not written: {sentence(what)}": None for _, what in error.unsupported}
            return outcome
        if turn and data and (data, declared) == read:
            return outcome  # the very bytes that were read: they say the same again
        read = data, declared
        try:
            source = system.read(written, declared)
        except ma.ConversionError as error:
            outcome.listed |= {f"not read again: {sentence(what)}": None for _, what in error.unsupported}
            return outcome
        inputs, declared = _needed(outcome, source, inputs, declared)
        states.append((data, json.dumps(source.architecture, sort_keys=True), values(source)))
        if turn == 0:
            _compare(outcome, net, source, inputs, given)
        elif states[-1] == states[-2]:
            return outcome
    sizes = [(state[1].count('"name"'), sorted(state[2].values())) for state in states]
    if sizes[1] != sizes[2]:
        outcome.listed[GROWS] = None
    elif states[1] not in (states[0], states[2]):
        outcome.listed[NAMES_DIFFER] = None
    return outcome


def _needed(outcome: Outcome, bundle: Bundle, inputs: Any, declared: Declared) -> tuple[list[Any], Declared]:
    """The inputs that came back: a system may keep none that nothing is computed of."""
    assert bundle.architecture is not None
    names = {each["name"] for each in bundle.architecture["inputs"]}
    if len(names) == len(declared):
        return list(inputs), declared
    outcome.listed["an input that only its shape is asked of is left out"] = None
    kept = [at for at, each in enumerate(declared) if each.get("name") in names]
    return [inputs[at] for at in kept], [declared[at] for at in kept]


def values(bundle: Bundle) -> dict[str, bytes]:
    """Name -> dtype, shape and bits of every parameter."""
    return {name: _bits(array) for name, array in bundle.parameters.items()}


def _bits(array: Any) -> bytes:
    array = np.asarray(array)
    return f"{array.dtype.name}{array.shape}".encode() + array.tobytes()


def _compare(outcome: Outcome, net: nn.Block, bundle: Bundle, inputs: Sequence[Any], given: Sequence[Any]) -> None:
    with np.errstate(all="ignore"):
        wanted, found = several(net(*given)), several(bundle.build()(*inputs))
    if len(wanted) == len(found):
        pairs = zip(wanted, found, strict=True)
        has_axis = [one.shape == () and other.shape == (1,) for one, other in pairs]
        found = [other[0] if more else other for other, more in zip(found, has_axis, strict=True)]
        outcome.listed |= {"an output without axes has one of size 1 there": None} if any(has_axis) else {}
    shapes = [[(each.shape, each.dtype) for each in side] for side in (wanted, found)]
    if shapes[0] != shapes[1]:
        outcome.wrong.append(f"outputs are {shapes[1]}, and were {shapes[0]}")
    elif not all(map(close, found, wanted)):
        outcome.wrong.append("outputs differ")
    there = values(bundle)
    for name, parameter in net.collect_params().items():
        data = _bits(parameter.data())
        # The parameters of a layer that is the whole network have a block in front of their names then.
        same = [other for other, found in there.items() if found == data]
        if not same:
            outcome.listed[IN_PARTS] = None
        elif not any(other == name or ("." not in name and other.endswith(f".{name}")) for other in same):
            outcome.listed[OTHER_NAMES] = None


def close(one: np.ndarray, other: np.ndarray) -> bool:
    """Equal but for rounding; the same infinities and NaN."""
    one, other = (np.asarray(each, np.complex128 if each.dtype.kind == "c" else np.float64) for each in (one, other))
    finite = np.isfinite(other)
    scale = np.abs(other[finite]).max(initial=0.05)
    return bool(np.allclose(one, other, rtol=0, atol=2e-5 * scale, equal_nan=True))


def sentence(what: str) -> str:
    """A refusal, of no case in particular."""
    return re.sub(r"\d+(, \d+)*,?", "n", re.sub(r"[\[(][^a-z]*[\])]+", "(...)", what))


@dataclass(frozen=True)
class Case:
    """One network to try: how it is called, the network, its inputs and their declarations."""

    word: str
    net: nn.Block
    inputs: Sequence[Any]
    declared: Declared


def of_kind(data: Any, kind: str) -> Iterator[Case]:
    """A drawn layer of a kind: with all sizes fixed, and with a free batch."""
    layer, inputs = drawn(data, kind)
    yield Case(kind, layer, inputs, fixed(inputs))
    if kind not in BATCH_ELSEWHERE:
        declared = fixed(inputs)
        for each in declared:
            each["shape"][:1] = [None] * len(each["shape"][:1])
        yield Case(kind, layer, inputs, declared)


def of_op(op: str) -> Iterator[Case]:
    """An op on the inputs of its cases, of fixed sizes and of free ones."""
    for net, arrays, declared in op_networks(op):
        if arrays:
            yield Case(op, net, arrays, declared)


def of_network(name: str) -> Case:
    """A small network, its sizes fixed."""
    net, inputs = network(name)
    return Case(name, net, inputs, fixed(inputs))


def outcome(system: System, case: Case, folder: Path) -> Outcome:
    """What comes of a case."""
    return there_and_back(system, case.net, case.inputs, case.declared, folder)


def every(kind: str, examples: int, check: Callable[[Case], None]) -> None:
    """Try so many draws of a kind."""

    @settings(max_examples=examples, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def each(data: Any) -> None:
        for case in of_kind(data, kind):
            check(case)

    each()


#: How many draws of a kind are measured, where a model takes a while to make; else 25.
_MEASURED: dict[str, int] = {"Keras": 10}


def measured(name: str, folder: Path) -> dict[str, list[str]]:
    """What one system does not hold as it was: word -> sentences."""
    system, found, examples = SYSTEMS[name], {}, _MEASURED.get(name, 25)

    def note(case: Case) -> None:
        result = outcome(system, case, folder)
        if result.wrong:
            print(f"{name}, {case.word}: {'; '.join(result.wrong)}")
        listed = {each: None for each in result.listed if name != "Keras" or each != NAMES_DIFFER}
        found.setdefault(case.word, {}).update(listed)

    for kind in KIND_CASES:
        every(kind, examples, note)
    for op in OP_CASES:
        for case in of_op(op):
            note(case)
    for each in NETWORKS if name != "Keras" else ():
        note(of_network(each))
    return {word: sorted(listed) for word, listed in found.items() if listed}


def table(record: dict[str, dict[str, list[str]]]) -> str:
    """The record as Markdown: words of which a system says the same share a line."""
    lines = ["| system | kind, op or network | what |", "| --- | --- | --- |"]
    for system, words in record.items():
        together: dict[str, list[str]] = {}
        for word, listed in words.items():
            for each in listed:
                together.setdefault(each, []).append(f"`{word}`" if word not in NETWORKS else word)
        lines += [f"| {system} | {', '.join(words)} | {each} |" for each, words in together.items()]
    return "\n".join([*lines, ""])


def main(arguments: list[str]) -> None:
    """Measure the systems that are named, or all, and print or write the table."""
    warnings.simplefilter("ignore")
    record = json.loads(RECORD.read_text("utf-8")) if RECORD.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        for name in [each for each in arguments if each in SYSTEMS] or SYSTEMS:
            record[name] = measured(name, Path(folder))
    record = {name: record[name] for name in SYSTEMS if name in record}
    print(table(record))
    if "--write" in arguments:
        RECORD.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
        DOCUMENT.write_text(filled(DOCUMENT, table(record)), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
