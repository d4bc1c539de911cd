"""What people hand over for a network: told what it is, and each hint works."""

import re
from collections import OrderedDict

import numpy as np
import pytest

import modelarchive as ma
from tests.exchange.torch.refusals import Classifier, refused
from tests.zoo.conftest import transformers

torch = pytest.importorskip("torch")
__all__ = ["transformers"]  # the fixture


def test_a_state_dict_is_told_and_save_takes_it(tmp_path):
    state = Classifier().state_dict()
    error = refused(tmp_path, state, error=TypeError)
    assert isinstance(error, ma.UnsupportedDataError)
    assert "is a state_dict" in str(error)
    assert "save(path, state_dict)" in error.hint
    ma.save(tmp_path / "state.h5", state)
    assert set(ma.load(tmp_path / "state.h5")) == set(state)


class Raising:
    @property
    def model(self):
        raise RuntimeError("not fitted")


class Trainer:
    def __init__(self, model):
        self.model = model


@pytest.mark.parametrize(
    ("model", "told", "hint"),
    [
        (Classifier, "is the class Classifier, not a network of it", 'save_model("classifier.h5", Classifier(...)'),
        (torch.optim.SGD(Classifier().parameters()), r"is an optimizer \(SGD\)", "give the network that it trains"),
        (Trainer(Classifier()), "is Trainer, which holds a network", "give its .model: save_model(path, x.model"),
        (Raising(), "is Raising, expected a Block", None),
        ("net.h5", r"is a path \('net.h5'\)", "the network comes second: save_model(path, model)"),
        (torch.ones(2), "is a tensor", "save(path, tensor)"),
        ({"a": {"b": torch.ones(1)}}, "is a state_dict", "save_model needs the module"),
        (OrderedDict(), "is OrderedDict, expected a Block", "save() stores arrays"),
        (3, "is int, expected a Block, a torch.nn.Module, a keras.Model or a Bundle", None),
        (int, "is the class int, expected", "make one first, int(...)"),
    ],
)
def test_what_is_no_network_is_told(model, told, hint, tmp_path):
    error = refused(tmp_path, model, error=TypeError, inputs=torch.ones(1))
    assert re.search(told, str(error))
    assert (error.hint is None) if hint is None else hint in error.hint


def test_a_model_of_transformers_goes_by_its_folder(transformers, tmp_path, monkeypatch):
    sizes = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 40}
    model = transformers.BertForMaskedLM(transformers.BertConfig(vocab_size=50, **sizes)).eval()
    error = refused(tmp_path, model)
    monkeypatch.chdir(tmp_path)
    exec(re.search(r"model\.save_pretrained.*(?=, then)", error.hint)[0], {"model": model})
    exec(re.search(r"convert\(.*\)", error.hint)[0], {"convert": ma.convert})
    ids = torch.randint(50, (2, 6))
    inputs = (ids.numpy(), np.ones_like(ids), np.zeros_like(ids))
    wanted = model(ids).logits.detach().numpy()
    for path in ("model.h5", "folder"):
        np.testing.assert_allclose(ma.load_model(path)(*inputs), wanted, atol=1e-5)
    # One that no folder is read of as a whole is told what every module is told.
    other = transformers.ResNetForImageClassification(
        transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1])
    )
    assert "give an example" in refused(tmp_path / "x", other).hint


def test_modules_without_a_forward(tmp_path):
    class Average(torch.nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

    error = refused(tmp_path, Average(Classifier()))
    assert "Average has no forward" in str(error)
    assert error.hint == "give the network inside of it: save_model(path, x.module, ...)"
    error = refused(tmp_path, torch.nn.ModuleList([torch.nn.ReLU(), torch.nn.ReLU()]), inputs=torch.ones(1))
    assert "ModuleList has no forward" in str(error)
