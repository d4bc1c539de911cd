"""What only a process of its own shows: peak memory, and the time to start."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.workloads import SIZES, WORKLOADS, Arrays, Size

ROOT: Final = Path(__file__).resolve().parents[2]

#: Read in the process itself. VmHWM, because ru_maxrss starts at the parent's own size after a vfork.
PEAK: Final = """
def peak():
    from pathlib import Path
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024
    import resource, sys
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024
"""

MAKE: Final = """
import numpy
from tests.benchmarks.workloads import SIZES, WORKLOADS
arrays = WORKLOADS[workload](SIZES[size])
"""

#: (operation, system) -> code; `path` is the file, `largest` the name of the largest array.
CODE: Final[dict[tuple[str, str], str]] = {
    ("import", "numpy"): "import numpy",
    ("import", "modelarchive"): "import modelarchive",
    ("import", "safetensors"): "import safetensors.numpy",
    ("save", "tensors alone"): MAKE,
    ("save", "modelarchive"): MAKE + "import modelarchive\nmodelarchive.save(path, arrays, durable=False)",
    ("save", "safetensors"): MAKE + "import safetensors.numpy\nsafetensors.numpy.save_file(arrays, path)",
    ("load", "modelarchive"): "import modelarchive\nloaded = modelarchive.load(path)",
    ("load", "safetensors"): "import safetensors.numpy\nloaded = safetensors.numpy.load_file(path)",
    ("map", "modelarchive"): "import modelarchive\nloaded = modelarchive.load(path, mmap=True)",
    ("read one array", "modelarchive"): (
        "import modelarchive\nwith modelarchive.open(path) as archive: loaded = archive.load(largest)[largest]"
    ),
    ("read one array", "safetensors"): (
        "from safetensors import safe_open\n"
        "with safe_open(path, framework='numpy') as opened: loaded = opened.get_tensor(largest)"
    ),
    ("verify", "modelarchive"): ("import modelarchive\nwith modelarchive.open(path) as archive: archive.verify()"),
}

STARTS: Final[dict[str, list[str]]] = {
    "python": ["-c", "pass"],
    "import numpy": ["-c", "import numpy"],
    "import modelarchive": ["-c", "import modelarchive"],
    "import safetensors.numpy": ["-c", "import safetensors.numpy"],
    "import h5py": ["-c", "import h5py"],
    "modelarchive show": ["-m", "modelarchive", "show", "{file}"],
}

#: The longest a start may take, in milliseconds.
START_MARKS_MS: Final = {"import modelarchive": 150.0, "modelarchive show": 300.0}


@dataclass(frozen=True)
class Peak:
    """The largest resident size that a process reached."""

    operation: str
    system: str
    bytes: int
    tensors: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def peaks(workload: str, size_name: str, folder: Path) -> Iterator[Peak]:
    """Peak memory of each operation on a workload, each in a process of its own."""
    import safetensors.numpy

    import modelarchive

    size: Size = SIZES[size_name]
    arrays: Arrays = WORKLOADS[workload](size)
    files = {"modelarchive": folder / "peak-modelarchive", "safetensors": folder / "peak-safetensors"}
    modelarchive.save(files["modelarchive"], arrays, durable=False)
    safetensors.numpy.save_file(arrays, files["safetensors"])
    tensors = sum(array.nbytes for array in arrays.values())
    largest = max(arrays.items(), key=lambda item: item[1].nbytes)[0]
    del arrays
    for (operation, system), code in CODE.items():
        path = folder / "peak-new" if operation == "save" else files.get(system, folder)
        given = {"workload": workload, "size": size_name, "path": str(path), "largest": largest}
        script = "\n".join([PEAK, *(f"{key} = {value!r}" for key, value in given.items()), code, "print(peak())"])
        found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
        yield Peak(operation, system, int(found.stdout), tensors)
        (folder / "peak-new").unlink(missing_ok=True)
    for file in files.values():
        file.unlink()


def starts(folder: Path, *, rounds: int) -> dict[str, float]:
    """Median milliseconds of whole processes, interleaved; the first round only warms the file cache."""
    import numpy as np

    import modelarchive

    file = folder / "start.h5"
    modelarchive.save(file, {"x": np.arange(4.0)}, durable=False)
    times: dict[str, list[float]] = {name: [] for name in STARTS}
    for _ in range(rounds + 1):
        for name, arguments in STARTS.items():
            filled = [argument.format(file=file) for argument in arguments]
            start = time.perf_counter()
            subprocess.run([sys.executable, *filled], capture_output=True, check=True, cwd=ROOT)
            times[name].append((time.perf_counter() - start) * 1000)
    file.unlink()
    return {name: statistics.median(found[1:]) for name, found in times.items()}
