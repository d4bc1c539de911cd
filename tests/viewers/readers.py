"""Programs and packages that read HDF5: how each is run, and what it printed of every case."""

from __future__ import annotations

import codecs
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.viewers.cases import Case

PROGRAMS = Path(__file__).parent / "programs"
#: Python packages that read, each with what installs it.
PYTHON = {
    "h5py": "h5py",
    "silx": "silx",
    "h5grove": "h5grove",
    "tables": "tables",
    "pyfive": "pyfive",
    "xarray": "xarray h5netcdf",
}
JAVASCRIPT = ("h5wasm", "jsfive")
#: How the readers are called in the table.
TITLES = {
    "h5grove": "h5grove, as h5web 12.9 asks it (JupyterLab)",
    "tables": "PyTables (ViTables)",
    "xarray": "xarray, h5netcdf",
    "h5wasm": "h5wasm (h5web in the browser)",
    "silx": "silx",
}


@dataclass(frozen=True)
class Read:
    """What a reader said: its version, and of each case its values as text, or why there are none."""

    version: str
    found: list[list[str] | str]


@dataclass(frozen=True)
class Places:
    """Where the readers are installed; None: not at all."""

    python: Path | None = None
    node_modules: Path | None = None


def all_readers(places: Places) -> dict[str, Callable[[list[Case]], Read] | None]:
    """Each reader's name -> what runs it; None where it is not installed."""
    found: dict[str, Callable[[list[Case]], Read] | None] = {}
    for package in PYTHON:
        command = [places.python, PROGRAMS / "read.py", package]
        found[package] = _lines(command) if places.python and _has(places.python, package) else None
    for package in JAVASCRIPT:
        folder = places.node_modules
        command = ["node", PROGRAMS / "read.mjs", package, folder and folder.parent]
        found[package] = _lines(command) if folder and (folder / package).is_dir() else None
    found["h5dump"] = _h5dump if shutil.which("h5dump") else None
    found["GDAL"] = _gdal if shutil.which("gdalmdiminfo") else None
    found["GNU Octave"] = _lines(["octave-cli", "--quiet", PROGRAMS / "read.m"]) if shutil.which("octave-cli") else None
    found["R, hdf5r"] = _lines(["Rscript", PROGRAMS / "read.R"]) if shutil.which("Rscript") else None
    return found


def _has(python: Path, package: str) -> bool:
    return _run([python, "-c", f"import {package}"]).returncode == 0


def _lines(command: Sequence[object]) -> Callable[[list[Case]], Read]:
    """A program that prints a line of JSON of itself, and one of each case."""

    def read(cases: list[Case]) -> Read:
        done = _run([*command, *(word for case in cases for word in (case.file, case.place))])
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        if len(lines) != len(cases) + 1:
            raise RuntimeError(f"{command} printed {len(lines)} lines of {len(cases) + 1}:\n{done.stderr[-2000:]}")
        return Read(lines[0]["version"], [_words(line) for line in lines[1:]])

    return read


def _words(line: dict[str, object]) -> list[str] | str:
    if "error" in line:
        return str(line["error"])
    value = line["value"]
    return [str(one) for one in value] if isinstance(value, list) else [str(value)]


def _h5dump(cases: list[Case]) -> Read:
    """HDF5's own tool prints a dataset as text: values between braces, several to a line, their place before them."""
    version = _run(["h5dump", "--version"]).stdout.split()[-1]
    found: list[list[str] | str] = []
    for case in cases:
        done = _run(["h5dump", "-y", "-w", "0", "-m", "%.17g", "-d", case.place, case.file])
        data = re.search(r"DATA \{\n(.*?)\n   \}", done.stdout, re.DOTALL)
        if done.returncode or data is None:
            found.append(done.stderr.strip() or "no DATA")
        elif case.value.dtype.kind == "U":
            # Quotes and bytes outside ASCII are escaped as in C, the latter as signed numbers of 32 bits.
            escaped = data[1].strip().strip('"').replace(r"\37777777", "\\")
            found.append([codecs.escape_decode(escaped.encode())[0].decode()])  # type: ignore[attr-defined]
        else:
            words = re.findall(r"TRUE|FALSE|[-+]?(?:inf|nan|[0-9.]+(?:e[-+]?[0-9]+)?)", data[1])
            found.append([{"TRUE": "1", "FALSE": "0"}.get(word, word) for word in words])
    return Read(version, found)


def _gdal(cases: list[Case]) -> Read:
    version = _run(["gdalinfo", "--version"]).stdout.split()[1].rstrip(",")
    found: list[list[str] | str] = []
    for case in cases:
        done = _run(["gdalmdiminfo", "-detailed", "-array", case.place, case.file])
        try:
            found.append([str(one) for one in _flat(json.loads(done.stdout)["values"])])
        except (ValueError, KeyError):
            found.append(done.stderr.strip()[:200] or "no values")
    return Read(version, found)


def _flat(value: object) -> list[object]:
    if isinstance(value, dict):
        value = [value.get("real", value.get("r")), value.get("imag", value.get("i"))]
    return [each for one in value for each in _flat(one)] if isinstance(value, list) else [value]


def _run(command: Sequence[object]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, timeout=300)
