"""Reads archives with the HDF5 programs that are installed, and says what each finds: ``python -m tests.viewers``.

The packages are installed beside the repository's own::

    python -m venv readers && readers/bin/pip install h5py silx h5grove tables pyfive xarray h5netcdf
    npm install h5wasm jsfive
    python -m tests.viewers --python readers/bin/python --node-modules node_modules

h5dump, GDAL, GNU Octave and R with hdf5r are taken where they are on the path. The table in docs/viewers.md is what
this printed last (``--write``); without it, the command fails where a reader finds something else than the table says.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.viewers import table
from tests.viewers.cases import write
from tests.viewers.judging import judged
from tests.viewers.readers import Places, all_readers


def main() -> int:
    """Run every reader that is there; 1 where one differs from the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.viewers", description=__doc__.partition("\n")[0])
    parser.add_argument("--python", type=Path, help="a Python that has the packages")
    parser.add_argument("--node-modules", type=Path, help="the folder that npm installed into")
    parser.add_argument("--write", action="store_true", help="write the table into docs/viewers.md")
    parser.add_argument("--verbose", action="store_true", help="print what was found where it is not right")
    options = parser.parse_args()
    rows: dict[str, table.Row] = {}
    with tempfile.TemporaryDirectory() as folder:
        cases = write(Path(folder))
        for name, read in all_readers(Places(options.python, options.node_modules)).items():
            if read is None:
                print(f"{name}: not installed", file=sys.stderr)
                continue
            done = read(cases)
            words = [judged(case, found) for case, found in zip(cases, done.found, strict=True)]
            rows[name] = table.Row(done.version, dict(zip([case.name for case in cases], words, strict=True)))
            for case, found, word in zip(cases, done.found, words, strict=True):
                if options.verbose and word != "right":
                    print(f"{name}, {case.name}: {word}: {str(found)[:200]}", file=sys.stderr)
    if options.write:
        table.write(rows)
        return 0
    print(table.drawn(rows))
    problems = table.differences(rows)
    print("\n".join(problems), file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
