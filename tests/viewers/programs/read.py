"""Prints what a Python package reads: `python read.py PACKAGE FILE PLACE FILE PLACE ...`, a line of JSON each."""

import importlib.metadata
import json
import sys

import numpy as np


def h5py(file, place):
    import h5py

    with h5py.File(file) as root:
        return root[place][()]


def tables(file, place):
    import tables

    with tables.open_file(file) as root:
        return root.get_node(place).read()


def pyfive(file, place):
    import pyfive

    with pyfive.File(file) as root:
        return root[place][()]


def xarray(file, place):
    import xarray

    group, _, name = place.rpartition("/")
    with xarray.open_dataset(file, engine="h5netcdf", group=group, phony_dims="sort", decode_cf=False) as root:
        return root[name].values


def silx(file, place):
    import silx.io

    with silx.io.open(file) as root:
        return root[place][()]


def h5grove(file, place):
    """As jupyterlab-h5web 12.9 asks for it and takes it: numbers of the size that the type is said to have."""
    import h5grove
    import h5py

    with h5py.File(file) as root:
        content = h5grove.create_content(root, place)
        said, shape = content.metadata()["type"], content.metadata()["shape"]
        if said["dtype"] in ("|O", "O") or said["class"] not in (0, 1):
            return content.data()
        raw = h5grove.encoders.encode(content.data(), "bin").content
        raw = raw if isinstance(raw, bytes) else b"".join(raw)
        kind = "f" if said["class"] == 1 else "i" if said["sign"] else "u"
        return np.frombuffer(raw, f"<{kind}{said['size']}")[: int(np.prod(shape, dtype=int))]


def plain(value):
    if isinstance(value, bytes | str):
        return [value.decode() if isinstance(value, bytes) else value]
    array = np.ma.getdata(value)
    if array.dtype.names == ("r", "i"):
        array = array["r"] + 1j * array["i"]
    if array.dtype.kind in "SUOT":
        return [one.decode() if isinstance(one, bytes) else str(one) for one in array.reshape(-1).tolist()]
    if array.dtype.kind == "c":
        array = np.stack([array.real, array.imag], -1)
    return [repr(float(one)) if array.dtype.kind == "f" else int(one) for one in array.reshape(-1)]


package, *rest = sys.argv[1:]
print(json.dumps({"version": importlib.metadata.version(package)}))
for file, place in zip(rest[::2], rest[1::2], strict=True):
    try:
        found = {"value": plain(globals()[package](file, place))}
    except Exception as error:
        found = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(found))
