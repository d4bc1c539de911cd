"""modelarchive and its peers behind one face: save, load, map, read one array."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import ml_dtypes
import numpy as np

from tests.benchmarks.workloads import Arrays

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


@dataclass(frozen=True)
class System:
    """What one library can do; None where it cannot.

    `prepare` turns the arrays into what `save` takes, outside the clock; `plain` turns what was loaded back
    into arrays, for the comparison.
    """

    name: str
    module: str
    save: Callable[[Path, Any], object]
    load: Callable[[Path], Any]
    prepare: Callable[[Arrays], Any] = lambda arrays: arrays
    plain: Callable[[Any], Mapping[str, np.ndarray]] = lambda loaded: loaded
    save_durable: Callable[[Path, Any], object] | None = None
    load_verified: Callable[[Path], Any] | None = None
    map: Callable[[Path], Any] | None = None
    map_torch: Callable[[Path], Any] | None = None
    read_one: Callable[[Path, str], Any] | None = None
    verify: Callable[[Path], object] | None = None
    bfloat16: bool = True

    @property
    def is_installed(self) -> bool:
        return importlib.util.find_spec(self.module) is not None

    @property
    def version(self) -> str:
        return str(getattr(importlib.import_module(self.module), "__version__", "?"))


def durably(save: Callable[[Path, Any], object]) -> Callable[[Path, Any], None]:
    """The same save, then as safe against a crash as modelarchive's: fsync, rename, fsync of the folder."""

    def save_durable(path: Path, data: Any) -> None:
        temporary = path.with_name(path.name + ".tmp")
        save(temporary, data)
        _sync(temporary, os.O_RDWR)
        temporary.rename(path)
        _sync(path.parent, os.O_RDONLY)

    return save_durable


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _modelarchive() -> System:
    import modelarchive as ma

    has_torch = importlib.util.find_spec("torch") is not None

    def read_one(path: Path, name: str) -> np.ndarray:
        with ma.open(path) as archive:
            return archive.load(name)[name]

    def verify(path: Path) -> None:
        with ma.open(path) as archive:
            archive.verify()

    return System(
        name="modelarchive",
        module="modelarchive",
        save=lambda path, arrays: ma.save(path, arrays, durable=False),
        save_durable=lambda path, arrays: ma.save(path, arrays),
        load=lambda path: ma.load(path, verify=False),
        load_verified=lambda path: ma.load(path, verify=True),
        map=lambda path: ma.load(path, mmap=True),
        map_torch=(lambda path: _to_torch(ma.load(path, mmap=True))) if has_torch else None,
        plain=lambda loaded: _from_torch(loaded) if _is_torch(loaded) else loaded,
        read_one=read_one,
        verify=verify,
    )


def _safetensors_numpy() -> System:
    import safetensors.numpy
    from safetensors import safe_open

    def read_one(path: Path, name: str) -> np.ndarray:
        with safe_open(path, framework="numpy") as opened:
            return opened.get_tensor(name)

    def save(path: Path, arrays: Arrays) -> None:
        safetensors.numpy.save_file(arrays, path)

    return System(
        name="safetensors",
        module="safetensors",
        save=save,
        save_durable=durably(save),
        load=safetensors.numpy.load_file,
        read_one=read_one,
    )


def _safetensors_torch() -> System:
    import safetensors.torch
    from safetensors import safe_open

    def save(path: Path, tensors: Any) -> None:
        safetensors.torch.save_file(tensors, path)

    def read_one(path: Path, name: str) -> Any:
        with safe_open(path, framework="pt") as opened:
            return opened.get_tensor(name).clone()

    return System(
        name="safetensors (torch)",
        module="torch",
        prepare=_to_torch,
        plain=_from_torch,
        save=save,
        save_durable=durably(save),
        # load_file maps the file; to have it in memory, as the others do, is to copy.
        load=lambda path: {name: t.clone() for name, t in safetensors.torch.load_file(path).items()},
        map=safetensors.torch.load_file,
        map_torch=safetensors.torch.load_file,
        read_one=read_one,
    )


def _torch_save() -> System:
    import torch

    def save(path: Path, tensors: Any) -> None:
        torch.save(tensors, path)

    def mapped(path: Path) -> Any:
        return torch.load(path, mmap=True, weights_only=True)

    return System(
        name="torch.save",
        module="torch",
        prepare=_to_torch,
        plain=_from_torch,
        save=save,
        save_durable=durably(save),
        load=lambda path: torch.load(path, weights_only=True),
        map=mapped,
        map_torch=mapped,
        read_one=lambda path, name: mapped(path)[name].clone(),
    )


def _npz() -> System:
    def save(path: Path, arrays: Arrays) -> None:
        with path.open("wb") as file:
            np.savez(file, **arrays)

    def load(path: Path) -> Arrays:
        with np.load(path) as loaded:
            return dict(loaded)

    def read_one(path: Path, name: str) -> np.ndarray:
        with np.load(path) as loaded:
            return loaded[name]

    return System(
        name="npz",
        module="numpy",
        save=save,
        save_durable=durably(save),
        load=load,
        read_one=read_one,
        bfloat16=False,
    )


def _h5py() -> System:
    import h5py

    def save(path: Path, arrays: Arrays) -> None:
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file.create_dataset(name.replace(".", "/"), data=array)

    def load(path: Path) -> Arrays:
        arrays: Arrays = {}

        def visit(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                arrays[name.replace("/", ".")] = item[()]

        with h5py.File(path, "r") as file:
            file.visititems(visit)
        return arrays

    def read_one(path: Path, name: str) -> np.ndarray:
        with h5py.File(path, "r") as file:
            return file[name.replace(".", "/")][()]

    return System(
        name="h5py",
        module="h5py",
        save=save,
        save_durable=durably(save),
        load=load,
        read_one=read_one,
        bfloat16=False,
    )


def _blake3() -> System:
    """No file format: hashing the same bytes with two threads, the speed that verify is measured against."""
    import mmap

    from blake3 import blake3

    def verify(path: Path) -> bytes:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            return blake3(view, max_threads=2).digest()

    def save(path: Path, arrays: Arrays) -> None:
        with path.open("wb") as file:
            for array in arrays.values():
                file.write(array.view(np.uint8))

    return System(name="BLAKE3", module="blake3", save=save, load=lambda path: {}, verify=verify)


_MAKERS: Final[dict[str, tuple[str, Callable[[], System]]]] = {
    "modelarchive": ("modelarchive", _modelarchive),
    "safetensors": ("safetensors", _safetensors_numpy),
    "safetensors (torch)": ("torch", _safetensors_torch),
    "torch.save": ("torch", _torch_save),
    "npz": ("numpy", _npz),
    "h5py": ("h5py", _h5py),
    "BLAKE3": ("blake3", _blake3),
}


def installed() -> Iterator[System]:
    """The systems that are installed; modelarchive first."""
    for module, make in _MAKERS.values():
        if importlib.util.find_spec(module) is not None:
            yield make()


def absent() -> list[str]:
    """The names of those that are not."""
    return [name for name, (module, _) in _MAKERS.items() if importlib.util.find_spec(module) is None]


def _is_torch(loaded: Mapping[str, Any]) -> bool:
    return any(type(value).__module__.startswith("torch") for value in loaded.values())


def _to_torch(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    import torch

    def tensor(array: np.ndarray) -> Any:
        if array.dtype == BFLOAT16:
            return torch.from_numpy(array.view(np.uint16)).view(torch.bfloat16)
        return torch.from_numpy(array)

    return {name: tensor(array) for name, array in arrays.items()}


def _from_torch(tensors: Mapping[str, Any]) -> Arrays:
    import torch

    def array(tensor: Any) -> np.ndarray:
        if tensor.dtype == torch.bfloat16:
            return tensor.view(torch.uint16).numpy().view(BFLOAT16)
        return tensor.numpy()

    return {name: array(tensor) for name, tensor in tensors.items()}
