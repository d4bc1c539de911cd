"""Folders of timm: what is built of them, and what a folder cannot have it do."""

from __future__ import annotations

import json
import sys
import types

import numpy as np
import pytest
from safetensors.numpy import save_file

import modelarchive as ma
from modelarchive.exchange import huggingface
from modelarchive.exchange.huggingface import through_timm
from tests.zoo.comparison import error, randomised

torch = pytest.importorskip("torch")


class Network(torch.nn.Module):
    """As timm's networks are: a stem, and a head of so many classes."""

    def __init__(self, num_classes=1000, in_chans=3, width=8, depth=1):
        super().__init__()
        self.stem = torch.nn.Conv2d(in_chans, width, 3, stride=2)
        self.blocks = torch.nn.Sequential(*(torch.nn.Conv2d(width, width, 1) for _ in range(depth)))
        self.fc = torch.nn.Linear(width, num_classes)
        self.pretrained_cfg = {"input_size": (3, 12, 12)}

    def forward(self, x):
        return self.fc(self.blocks(self.stem(x).relu()).mean((2, 3)))


@pytest.fixture
def timm(monkeypatch):
    """A stand-in with timm's ways of building; timm_folders.py beside this has the library itself."""

    def create_model(name, pretrained_cfg=None, **arguments):
        cfg = pretrained_cfg or {}
        arguments.setdefault("num_classes", cfg.get("num_classes", 1000))
        arguments.setdefault("in_chans", cfg.get("input_size", (3,))[0])
        return Network(**arguments)

    found = types.ModuleType("timm")
    found.create_model, found.is_model = create_model, lambda name: name == "small"
    found.__version__ = "1.0.31"
    monkeypatch.setitem(sys.modules, "timm", found)
    monkeypatch.setattr(through_timm, "is_installed", lambda: True)
    return found


def saved(folder, **options):
    """A folder as timm writes it for the Hub, and the module."""
    module = randomised(Network(**options), torch)
    folder.mkdir()
    arrays = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    save_file(arrays, folder / "model.safetensors", metadata={"format": "pt"})
    channels = options.get("in_chans", 3)
    arguments = {key: value for key, value in options.items() if key != "num_classes"}
    values = {
        "architecture": "small", "num_classes": options["num_classes"], "model_args": arguments,
        "pretrained_cfg": {"input_size": [channels, 14, 10], "mean": [0.5], "url": "https://example.org/x.bin"},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(values), "utf-8")
    return module


def altered(folder, **options):
    values = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(values | options), "utf-8")


@pytest.mark.parametrize("options", [{"num_classes": 7}, {"num_classes": 2, "in_chans": 1, "width": 4, "depth": 3}])
def test_outputs_are_those_of_the_module(options, timm, tmp_path):
    module = saved(tmp_path / "x", **options)
    (tmp_path / "x" / "README.md").write_text("a card")
    notes = ma.convert(tmp_path / "x", tmp_path / "x.h5", durable=False)
    assert [note.where for note in notes] == ["(files)"]
    with ma.open(tmp_path / "x.h5") as archive:
        shape = archive.architecture["inputs"][0]["shape"]
        assert archive.metadata["huggingface"]["config"]["architecture"] == "small"
        assert set(archive.parameters) == set(module.state_dict())
    assert shape == [None, options.get("in_chans", 3), 14, 10]
    x = np.random.default_rng(0).standard_normal((3, *shape[1:]), np.float32)
    with torch.no_grad():
        wanted = module(torch.from_numpy(x)).numpy()
    assert error(ma.load_model(tmp_path / "x.h5")(x), wanted) < 1e-5


def test_an_old_file_says_all_at_once(timm, tmp_path):
    saved(tmp_path / "x", num_classes=7)
    values = {"architecture": "small", "num_classes": 7, "input_size": [3, 20, 20], "labels": ["a"]}
    (tmp_path / "x" / "config.json").write_text(json.dumps(values), "utf-8")
    assert huggingface.read(tmp_path / "x").architecture["inputs"][0]["shape"] == [None, 3, 20, 20]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"architecture": "os.system"}, "is none of timm's"),
        ({"architecture": "hf-hub:someone/resnet"}, "is none of timm's"),
        ({"model_args": {"pretrained": True}}, "model_args: has pretrained"),
        ({"model_args": {"checkpoint_path": "/etc/passwd"}}, "model_args: has checkpoint_path"),
        ({"model_args": {"sparkle": 1}}, "timm cannot build it"),
        ({"model_args": [1]}, "expected an object"),
        ({"model_args": {"depth": 10**9}}, "more than the files hold"),
        ({"model_args": {"width": 9}}, "means a network of .* parameters"),
        ({"num_classes": 2**30}, "more than the files hold"),
        ({"num_classes": 3}, "fc.weight: has the shape .7, 8., timm makes it .3, 8."),
        ({"pretrained_cfg": {"input_size": [3, 2**40, 1]}}, "expected channels, height and width"),
    ],
)
def test_a_configuration_that_is_not_of_its_files_is_refused(options, told, timm, tmp_path):
    saved(tmp_path / "x", num_classes=7)
    altered(tmp_path / "x", **options)
    with pytest.raises(ma.ConversionError, match=told):
        huggingface.read(tmp_path / "x")


def test_without_timm_the_parameters_still_come(monkeypatch, tmp_path):
    save_file({"fc.weight": np.ones((2, 2), np.float32)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"architecture": "resnet18", "num_classes": 2}')
    monkeypatch.setattr(through_timm, "is_installed", lambda: False)
    with pytest.raises(ma.ConversionError, match="'resnet18' is a network of timm, which is not installed") as caught:
        ma.load_model(tmp_path)
    assert "pip install timm" in caught.value.hint
    assert "--parameters-only" in caught.value.hint
