"""``run``: a forward pass of the network in an archive."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelarchive.cli import output
from modelarchive.cli.arguments import Commands, add_command, add_output, add_place, on_disk, refuse_sources
from modelarchive.cli.outcome import DONE, WrongUseError, spelled
from modelarchive.cli.output import Column
from modelarchive.formats.systems import BACKENDS

if TYPE_CHECKING:
    import numpy as np


def add(commands: Commands) -> None:
    """Add the command."""
    ran = add_command(commands, "run", run, "Run the network in an archive forward on arrays")
    add_place(ran, "file", metavar="FILE", help="an archive of a whole model, or its URL")
    ran.add_argument(
        "--input",
        action="append",
        required=True,
        type=on_disk,
        metavar="X.npy",
        help="an input: .npy, or .npz with one array; again for each further input, in their order",
    )
    ran.add_argument("--block", default="", help="run this block of the model alone (a dotted path)")
    ran.add_argument(
        "--backend",
        default="numpy",
        choices=[name for name, known in BACKENDS.items() if known.runs],
        help="what computes it (default: numpy)",
    )
    add_output(ran, required=False, text="write the output here: .npy, or .npz for several")


def run(chosen: argparse.Namespace) -> int:
    """``modelarchive run``."""
    import modelarchive
    from modelarchive.models.content import refuse_foreign

    refuse_sources(chosen.output, [chosen.file, *chosen.input])
    with output.transfers(chosen.file):
        refuse_foreign(chosen.file)
    with output.transfers(chosen.file), modelarchive.open(chosen.file) as archive:
        arrays = [_read(path) for path in chosen.input]
        _check_inputs(archive.architecture if archive.has_architecture else None, arrays, chosen)
        network = archive.build(chosen.block) if chosen.backend == "numpy" else None
    if network is None:
        network = modelarchive.load_model(chosen.file, block=chosen.block, backend=chosen.backend)
    start = time.perf_counter()
    try:
        result = network(*arrays)
    except (TypeError, ValueError) as error:
        given = ", ".join(f"{array.dtype} {output.shape(array.shape)}" for array in arrays)
        raise WrongUseError(
            f"the network does not take {given}: {spelled(str(error), 'show')}", hint=f"modelarchive show {chosen.file}"
        ) from error
    seconds = time.perf_counter() - start
    results = dict(_named(result))
    if chosen.output:
        _write(chosen.output, results)
    if chosen.json:
        record = {"outputs": [{"name": name} | _record(each) for name, each in results.items()], "seconds": seconds}
        output.as_json(record | {"written": str(chosen.output) if chosen.output else None})
        return DONE
    columns = [Column("output", is_name=True), Column("dtype"), Column("shape")]
    columns += [Column(name, is_number=True) for name in ("least", "greatest")]
    rows = []
    for name, each in results.items():
        record = _record(each)
        ends = ["" if record[end] is None else f"{record[end]:.6g}" for end in ("least", "greatest")]
        rows.append((name, each.dtype, output.shape(each.shape), *ends))
    output.table(columns, rows)
    written = f", written to {chosen.output}" if chosen.output else ""
    output.say(f"\n{seconds * 1000:,.1f} ms{written}")
    return DONE


def _read(path: Path) -> np.ndarray:
    """The array in a .npy file, or the only one in a .npz file."""
    import numpy as np

    try:
        loaded = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise WrongUseError(f"{path}: is no .npy or .npz file", hint="numpy.save() writes one") from error
    if isinstance(loaded, np.ndarray):
        return loaded
    with loaded:
        if len(loaded.files) != 1:
            raise WrongUseError(
                f"{path}: has {len(loaded.files)} arrays, expected one",
                hint="give each input a file of its own",
            )
        array: np.ndarray = loaded[loaded.files[0]]
        return array


def _check_inputs(architecture: Mapping[str, Any] | None, arrays: list[np.ndarray], chosen: argparse.Namespace) -> None:
    if architecture is None:
        raise WrongUseError(
            f"{chosen.file}: has no architecture, only arrays",
            hint="an archive of the whole model is needed: modelarchive.save_model() writes both",
        )
    declared = architecture["inputs"]
    if chosen.block:
        return
    required = sum("default" not in each for each in declared)
    if not required <= len(arrays) <= len(declared):
        names = ", ".join(each["name"] for each in declared)
        raise WrongUseError(
            f"{len(arrays)} inputs given, the network has {len(declared)}: {names}",
            hint="give --input once for each",
        )


def _named(result: Any, name: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """Every array of nested outputs, named by its keys and numbers: ``scores``, ``states.0``."""
    if isinstance(result, dict | tuple | list):
        items = result.items() if isinstance(result, dict) else enumerate(result)
        for key, value in items:
            yield from _named(value, f"{name}.{key}" if name else str(key))
    else:
        yield name or "0", result


def _write(path: Path, results: dict[str, np.ndarray]) -> None:
    import numpy as np

    if path.suffix == ".npz":
        # A name that begins with a digit makes no attribute of the loaded file.
        named = {f"output{name}" if name[:1].isdigit() else name: each for name, each in results.items()}
        np.savez(path, **named)  # type: ignore[arg-type]
        return
    if len(results) > 1:
        raise WrongUseError(f"{path}: there are {len(results)} outputs", hint="-o OUT.npz holds several arrays")
    if path.suffix != ".npy":
        raise WrongUseError(f"{path}: is neither .npy nor .npz", hint="-o Y.npy")
    np.save(path, next(iter(results.values())))


def _record(array: np.ndarray) -> dict[str, Any]:
    from modelarchive.statistics import statistics

    found = statistics([array.reshape(-1)], array.size)
    ends = {end: getattr(found, end, None) for end in ("least", "greatest")}
    return {"dtype": str(array.dtype), "shape": list(array.shape), **ends}
