"""Every class of transformers that is read: its outputs, its parameters bit by bit, and the folder written back."""

from __future__ import annotations

import json

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange import huggingface
from tests.exchange.huggingface.models import CASES, complaints, expected, inputs_of, losses, model, several, stored
from tests.zoo.comparison import error
from tests.zoo.conftest import transformers

__all__ = ["transformers"]  # the fixture
torch = pytest.importorskip("torch")

#: Parameters that transformers writes and does not use.
UNUSED = {"BertForMaskedLM, not tied": {"cls.predictions.bias"}}


def same_outputs(net, module, inputs):
    found, wanted = several(net(*inputs.values())), expected(module, inputs, torch)
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        assert error(one, other) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_every_class(name, transformers, tmp_path):
    module = model(name, transformers, torch)
    module.save_pretrained(tmp_path / "theirs")
    notes = ma.convert(tmp_path / "theirs", tmp_path / "model.h5", durable=False)
    assert {note.where for note in notes} == UNUSED.get(name, set())
    net = ma.load_model(tmp_path / "model.h5")
    with ma.open(tmp_path / "model.h5") as archive:
        inputs = inputs_of(archive.architecture)
        optional = [each["name"] for each in archive.architecture["inputs"] if "default" in each]
    same_outputs(net, module, inputs)
    assert optional == ([] if "decoder_input_ids" in inputs else list(inputs)[1:])
    for count in range(len(optional)):
        same_outputs(net, module, dict(list(inputs.items())[: count + 1]))
    # A text of another length than the others, alone.
    same_outputs(net, module, {key: np.ascontiguousarray(array[:1, :4]) for key, array in inputs.items()})

    assert losses(ma.convert(tmp_path / "model.h5", f"{tmp_path / 'ours'}/", durable=False)) == []
    theirs, ours = (stored(tmp_path / folder) for folder in ("theirs", "ours"))
    assert set(theirs) == set(ours)
    assert all(
        array.tobytes() == ours[key].tobytes() for key, array in theirs.items() if key not in UNUSED.get(name, ())
    )
    again, info = type(module).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not complaints(info)
    state = again.state_dict()
    for key, tensor in module.state_dict().items():
        assert key in UNUSED.get(name, ()) or torch.equal(tensor, state[key])
    for one, other in zip(expected(module, inputs, torch), expected(again.eval(), inputs, torch), strict=True):
        np.testing.assert_array_equal(one, other)
    said = [json.loads((tmp_path / folder / "config.json").read_text("utf-8")) for folder in ("theirs", "ours")]
    assert said[0] == said[1]


@pytest.mark.parametrize(
    "name", ["BertModel", "BertForSequenceClassification", "RobertaForMaskedLM", "DistilBertModel"]
)
def test_inputs_may_be_left_out(name, transformers, tmp_path):
    module = model(name, transformers, torch)
    module.save_pretrained(tmp_path)
    inputs = inputs_of(huggingface.read(tmp_path).architecture)
    for count in range(1, len(inputs)):
        some = dict(list(inputs.items())[:count])
        bundle = huggingface.read(tmp_path, inputs=tuple(some))
        assert [each["name"] for each in bundle.architecture["inputs"]] == list(some)
        same_outputs(bundle.build(), module, some)
    with pytest.raises(ValueError, match="expected the first of input_ids, attention_mask"):
        huggingface.read(tmp_path, inputs=["attention_mask"])


DECODERS = ["GPT2Model", "GPT2LMHeadModel, every option", "LlamaModel", "LlamaForCausalLM, 3.1",
            "MistralForCausalLM", "Qwen2ForCausalLM, windows"]  # fmt: skip


@pytest.mark.parametrize("name", DECODERS)
def test_decoders_take_the_mask_of_texts_that_begin_later(name, transformers, tmp_path):
    module = model(name, transformers, torch)
    module.save_pretrained(tmp_path / "theirs")
    names = ["input_ids", "attention_mask"]
    assert ma.convert(tmp_path / "theirs", tmp_path / "x.h5", inputs=[{"name": each} for each in names]) == []
    words = inputs_of({"inputs": [{"name": "input_ids"}]})["input_ids"]
    mask = np.ones_like(words)
    mask[1, :3] = mask[0, -1:] = 0
    inputs = dict(zip(names, (words, mask), strict=True))
    wanted = expected(module, inputs, torch)[0][mask == 1]
    assert error(ma.load_model(tmp_path / "x.h5")(words, mask)[mask == 1], wanted) < 1e-5
    tensors = (torch.from_numpy(words), torch.from_numpy(mask))
    found = ma.load_model(tmp_path / "x.h5", backend="torch")(*tensors).detach().numpy()
    assert error(found[mask == 1], wanted) < 1e-5
    # The words before a text change nothing.
    other = np.where(mask == 1, words, words[::-1])
    np.testing.assert_allclose(ma.load_model(tmp_path / "x.h5")(other, mask)[mask == 1], wanted, atol=1e-5)

    assert losses(ma.convert(tmp_path / "x.h5", f"{tmp_path / 'ours'}/")) == []
    theirs, ours = (stored(tmp_path / folder) for folder in ("theirs", "ours"))
    assert {key: array.tobytes() for key, array in theirs.items()} == {
        key: array.tobytes() for key, array in ours.items()
    }
    assert [each["name"] for each in huggingface.read(tmp_path / "ours").architecture["inputs"]] == names[:1]
