"""The loader for vLLM, on a stand-in of vLLM's registry; `python -m tests.serving` tries it in vLLM itself."""

from __future__ import annotations

import importlib.metadata
import sys
import types
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

import modelarchive as ma
from modelarchive import zoo
from modelarchive.exchange import vllm

torch = pytest.importorskip("torch")


class Network:
    """What vLLM has of a network: it takes arrays by transformers' names, and refuses those that it does not know."""

    def __init__(self, names: Iterable[str]) -> None:
        self.values = {name: torch.empty(0) for name in names}

    def named_parameters(self) -> Iterable[tuple[str, Any]]:
        return self.values.items()

    def load_weights(self, weights: Iterable[tuple[str, Any]]) -> set[str]:
        filled = set()
        for name, tensor in weights:
            if name not in self.values:
                raise ValueError(f"There is no parameter named {name}")
            self.values[name] = tensor
            filled.add(name)
        return filled


@pytest.fixture
def network() -> zoo.Llama:
    found = zoo.Llama(vocabulary=30, units=8, layers=2, heads=2, kv_heads=1, hidden_units=16)
    found.initialize(seed=0)
    found(np.array([[1, 2]]))
    return found


@pytest.fixture(params=["one file", "shards"])
def folder(request: pytest.FixtureRequest, network: zoo.Llama, tmp_path: Path) -> Path:
    ma.save_model(tmp_path / "llama", network, max_shard_size="1KB" if request.param == "shards" else "1GB")
    assert (len(list((tmp_path / "llama").glob("*.safetensors"))) > 1) == (request.param == "shards")
    return tmp_path / "llama"


def stored(folder: Path) -> dict[str, np.ndarray]:
    """What safetensors' own reader finds, but for what makes the files HDF5."""
    found = {}
    for file in folder.glob("*.safetensors"):
        found |= safetensors.numpy.load_file(file)
    return {name: array for name, array in found.items() if not name.startswith("__hdf5__.")}


def test_every_parameter_and_nothing_else(folder: Path) -> None:
    expected = stored(folder)
    assert "model.layers.1.mlp.down_proj.weight" in expected, "transformers' names"
    found = Network(expected)
    vllm.load_weights(found, folder)
    assert {name: tensor.tolist() for name, tensor in found.values.items()} == {
        name: array.tolist() for name, array in expected.items()
    }


def test_nothing_of_a_damaged_folder_reaches_the_network(folder: Path) -> None:
    names = stored(folder)
    shard = sorted(folder.glob("*.safetensors"))[-1]
    content = bytearray(shard.read_bytes())
    content[-30] ^= 1
    shard.write_bytes(content)
    found = Network(names)
    with pytest.raises(ma.IntegrityError):
        vllm.load_weights(found, folder)
    assert not any(len(tensor) for tensor in found.values.values())


def test_what_the_folder_lacks(folder: Path) -> None:
    more = {*stored(folder), "model.layers.9.mlp.down_proj.weight"}
    with pytest.raises(ma.ParameterError, match=r"missing +model\.layers\.9\.mlp"):
        vllm.load_weights(Network(more), folder)
    vllm.load_weights(Network(more), folder, is_quantised=True)


def test_a_plain_folder_has_no_digests(network: zoo.Llama, tmp_path: Path) -> None:
    ma.save_model(tmp_path / "llama.h5", network)
    ma.convert(tmp_path / "llama.h5", f"{tmp_path / 'plain'}/", plain=True)
    with pytest.raises(ma.FormatError, match="not a model archive"):
        vllm.load_weights(Network(network.collect_params()), tmp_path / "plain")


def test_vllm_finds_it(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    known: dict[str, type] = {}

    def register(name: str) -> Callable[[type], type]:
        return lambda kind: known.setdefault(name, kind)

    package = "vllm.model_executor.model_loader"
    loaders: Any = types.ModuleType(package)
    loaders.register_model_loader = register
    base: Any = types.ModuleType(f"{package}.base_loader")
    base.BaseModelLoader = type("BaseModelLoader", (), {})
    for name, module in (("vllm", types.ModuleType("vllm")), ("vllm.model_executor", types.ModuleType("x")),
                         (package, loaders), (f"{package}.base_loader", base)):  # fmt: skip
        monkeypatch.setitem(sys.modules, name, module)
    (point,) = (
        each for each in importlib.metadata.entry_points(group="vllm.general_plugins") if each.name == "modelarchive"
    )
    point.load()()
    loader: Any = known[vllm.LOAD_FORMAT]()
    found = Network(stored(folder))
    loader.load_weights(found, types.SimpleNamespace(model=str(folder), quantization=None))
    assert all(len(tensor) for tensor in found.values.values())
