"""How refusals of modules are tried: nothing is written, and the hint is followed."""

import re

import pytest

import modelarchive as ma

torch = pytest.importorskip("torch")


def refused(tmp_path, model, error=ma.ConversionError, **options):
    """The error of save_model; nothing is written."""
    with pytest.raises(error) as caught:
        ma.save_model(tmp_path / "net.h5", model, **options)
    assert not (tmp_path / "net.h5").exists()
    return caught.value


def follow(hint, module, tmp_path, monkeypatch):
    """Type the call that a hint gives."""
    monkeypatch.chdir(tmp_path)
    call = re.search(r"save_model\(.*\)$", hint)[0]
    name = re.match(r'save_model\("\w+\.h5", (\w+)', call)[1]
    exec(call, {"save_model": ma.save_model, "torch": torch, name: module})
    return ma.load_model(next(tmp_path.glob("*.h5")))


class Classifier(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.features = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2))
        self.output = torch.nn.Linear(4 * 14 * 14, 3)

    def forward(self, images):
        return self.output(torch.flatten(self.features(images), 1))


class Pair(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.words = torch.nn.Embedding(9, 4)

    def forward(self, one, other, scale=2.0):
        return self.words(one) * scale - self.words(other)
