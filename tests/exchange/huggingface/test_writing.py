"""Networks that came from no folder are written as one, and transformers gives their outputs."""

from __future__ import annotations

import json

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import nn, zoo
from modelarchive.exchange import huggingface
from tests.exchange.huggingface.models import complaints, inputs_of, losses, model, several
from tests.exchange.huggingface.test_reading import FOREIGN, NAMES
from tests.zoo.comparison import error
from tests.zoo.conftest import transformers

__all__ = ["transformers"]  # the fixture

WORDS = np.random.default_rng(0).integers(1, 30, (2, 7))
MASK = (np.arange(7) < [[7], [4]]).astype(np.int64)
LLAMA3 = {"type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position": 8}
ZOO = {
    "BERT": (lambda: zoo.BERT(30, 16, 2, 4, 24, 12), (WORDS, MASK, WORDS % 2), "BertModel"),
    "sentences": (lambda: zoo.SentenceEncoder(30, 16, 2, 4, 24, 12), (WORDS, MASK), "BertModel"),
    "GPT-2": (lambda: zoo.GPT2(30, 16, 2, 4, 12), (WORDS,), "GPT2LMHeadModel"),
    "Llama": (lambda: zoo.Llama(30, 16, 2, 4, 2, 24), (WORDS,), "LlamaForCausalLM"),
    "Llama 3": (lambda: zoo.Llama(30, 16, 2, 4, 4, 24, 5e5, LLAMA3, 1e-5), (WORDS,), "LlamaForCausalLM"),
}


@pytest.mark.parametrize("name", ZOO)
def test_networks_of_the_zoo(name, transformers, tmp_path):
    torch = pytest.importorskip("torch")
    make, inputs, cls = ZOO[name]
    net = make()
    net.initialize(seed=0)
    net(*inputs)
    rng = np.random.default_rng(0)
    for parameter in net.collect_params().values():
        parameter.set_data((0.3 * rng.standard_normal(parameter.shape)).astype(np.float32))
    ma.save_model(tmp_path / "net.h5", net, inputs=inputs, durable=False)
    assert losses(ma.convert(tmp_path / "net.h5", f"{tmp_path / 'folder'}/", durable=False)) == []

    module, info = getattr(transformers, cls).from_pretrained(tmp_path / "folder", output_loading_info=True)
    assert not complaints(info)
    with torch.no_grad():
        names = ("input_ids", "attention_mask", "token_type_ids")
        found = module.eval()(**{key: torch.from_numpy(each) for key, each in zip(names, inputs, strict=False)})
    if name == "sentences":
        weight = MASK[:, :, None]
        mean = (found[0].numpy() * weight).sum(1) / weight.sum(1)
        expected = [mean / np.linalg.norm(mean, axis=1, keepdims=True)]
    else:
        expected = [found[at].numpy() for at in range(len(several(net(*inputs))))]
    for one, other in zip(several(net(*inputs)), expected, strict=True):
        assert error(one, other) < 1e-5
    # The network that reads like it has the same outputs; its bits are the parameters'.
    again = huggingface.read(tmp_path / "folder", inputs=names[: len(inputs)]).build()
    np.testing.assert_array_equal(several(again(*inputs))[0], several(net(*inputs))[0])


@pytest.mark.parametrize(
    "name",
    [
        "BertModel", "BertForMaskedLM, not tied", "BertForPreTraining", "BertForNextSentencePrediction",
        "BertForSequenceClassification", "RobertaForSequenceClassification", "DistilBertForMaskedLM",
        "DistilBertForSequenceClassification", "ElectraForPreTraining", "ElectraForMaskedLM",
        "ElectraForTokenClassification", "GPT2Model", "GPT2LMHeadModel, every option", "LlamaModel",
        "LlamaForCausalLM, every option", "LlamaForCausalLM, 3.1", "Qwen2ForCausalLM",
    ],
)  # fmt: skip
def test_what_was_read_needs_no_configuration_either(name, transformers, tmp_path):
    torch = pytest.importorskip("torch")
    model(name, transformers, torch).save_pretrained(tmp_path / "theirs")
    bundle = huggingface.read(tmp_path / "theirs")
    bundle.metadata = {}
    assert huggingface.write(bundle, tmp_path / "ours", durable=False) == []
    inputs = inputs_of(bundle.architecture)
    again = huggingface.read(tmp_path / "ours", inputs=list(inputs))
    np.testing.assert_array_equal(
        several(again.build()(*inputs.values()))[0], several(bundle.build()(*inputs.values()))[0]
    )


def test_what_is_none_of_the_families_is_refused_with_the_differences(tmp_path):
    net = nn.Sequential(nn.Dense(3, in_units=4))
    net.initialize(seed=0)
    ma.save_model(tmp_path / "net.h5", net, inputs=np.zeros((1, 4), np.float32), durable=False)
    with pytest.raises(ma.ConversionError, match="looks like none of bert"):
        huggingface.write(tmp_path / "net.h5", tmp_path / "out")
    with pytest.raises(ma.ConversionError, match="only arrays were given"):
        huggingface.write({"x": np.zeros(3)}, tmp_path / "out")

    bundle = huggingface.read(FOREIGN / "gpt2")
    config = bundle.metadata["huggingface"]["config"]
    with pytest.raises(ma.ConversionError) as caught:
        huggingface.write(bundle, tmp_path / "out", config=config | {"layer_norm_epsilon": 1e-3, "n_head": 4})
    found = dict(caught.value.unsupported)
    assert {where.rpartition("/")[2] for where in found} == {
        "epsilon", "num_heads", "num_kv_heads", "head_dim", "scale",
    }  # fmt: skip
    assert "is 1e-05, config.json makes it 0.001" in found.values()
    bundle.architecture["model"]["children"][0]["block"]["children"][-1]["block"]["epsilon"] = 0.5  # of ln_f alone
    bundle.metadata = {}
    with pytest.raises(ma.ConversionError, match="the configuration that looks most like it"):
        huggingface.write(bundle, tmp_path / "out")
    assert [file.name for file in tmp_path.iterdir()] == ["net.h5"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_other_dtypes_words_and_metadata(name, tmp_path):
    ma.convert(FOREIGN / name, tmp_path / "model.h5", durable=False)
    net = ma.load_model(tmp_path / "model.h5")
    net.cast("float16")
    with ma.open(tmp_path / "model.h5") as archive:
        metadata = archive.metadata | {"license": "MIT"}
        tokens = {key: list(value) for key, value in archive.tokens.items()}
    ma.save_model(tmp_path / "half.h5", net, metadata=metadata, tokens=tokens, durable=False)
    (note,) = huggingface.write(tmp_path / "half.h5", tmp_path / "half", durable=False)
    assert note.where == "dtype"
    assert json.loads((tmp_path / "half" / "config.json").read_text("utf-8"))["dtype"] == "float16"
    again = huggingface.read(tmp_path / "half")
    assert {array.dtype.name for array in again.parameters.values()} == {"float16"}

    (words,) = tokens.values()
    words[0] = "other"
    ma.save_model(tmp_path / "words.h5", ma.load_model(tmp_path / "model.h5"), metadata=metadata, tokens=tokens)
    (note,) = huggingface.write(tmp_path / "words.h5", tmp_path / "words", durable=False)
    assert "they say other words" in note.what
    assert not (tmp_path / "words" / "tokenizer.json").exists()


def test_shards(tmp_path):
    bundle = huggingface.read(FOREIGN / "bert")
    huggingface.write(bundle, tmp_path / "shards", max_shard_bytes=1500, durable=False)
    assert len(list((tmp_path / "shards").glob("model-0*-of-0*.safetensors"))) > 2
    again = huggingface.read(tmp_path / "shards")
    assert not again.notes[1:]
    assert all(again.parameters[key].tobytes() == array.tobytes() for key, array in bundle.parameters.items())


@pytest.mark.parametrize("option", [{"x": np.int64(3)}, {"x": float("nan")}, {"x": {1, 2}}])
def test_a_configuration_that_is_no_json_is_refused(option, tmp_path):
    bundle = huggingface.read(FOREIGN / NAMES[0])
    with pytest.raises(ma.ConversionError, match="config: is no JSON"):
        huggingface.write(bundle, tmp_path / "out", config=bundle.metadata["huggingface"]["config"] | option)
    assert not (tmp_path / "out").exists()
