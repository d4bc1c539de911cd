"""PEFT adapters merged into their models: bit by bit what peft's ``merge_and_unload`` makes, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
import warnings

import numpy as np
import pytest
from safetensors.numpy import save_file

import modelarchive as ma
from modelarchive.cli import main
from modelarchive.exchange import huggingface
from tests.exchange.huggingface.models import _BERT, _GPT2, _LLAMA
from tests.exchange.huggingface.test_reading import FOREIGN
from tests.zoo.comparison import randomised
from tests.zoo.conftest import transformers

__all__ = ["transformers"]  # the fixture
torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")

_VIT = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40,
        "image_size": 16, "patch_size": 8, "num_labels": 3}  # fmt: skip
_T5 = {"vocab_size": 40, "d_model": 24, "d_kv": 6, "d_ff": 40, "num_layers": 2, "num_heads": 4, "use_cache": False}
_BIASED = _LLAMA | {"attention_bias": True}
_TIED = _LLAMA | {"tie_word_embeddings": True}
_ALL = ["q_proj", "v_proj", "down_proj"]
#: Case -> (class of transformers, its options, options of the LoRA).
CASES = {
    "plain": ("LlamaForCausalLM", _LLAMA, {"target_modules": _ALL}),
    "scaled": ("LlamaForCausalLM", _LLAMA, {"target_modules": _ALL, "lora_alpha": 13, "use_rslora": True}),
    "ranks": (
        "LlamaForCausalLM", _LLAMA,
        {"target_modules": _ALL, "rank_pattern": {"v_proj": 2, r"^model\.layers\.1\.self_attn\.q_proj": 5},
         "alpha_pattern": {r"layers.0.*down_proj": 3, "q_proj": 6}},
    ),
    "lengths": ("LlamaForCausalLM", _LLAMA, {"target_modules": _ALL, "use_dora": True}),
    "biases of all": ("LlamaForCausalLM", _BIASED, {"target_modules": ["q_proj"], "bias": "all"}),
    "biases of its layers": ("LlamaForCausalLM", _BIASED, {"target_modules": ["q_proj"], "bias": "lora_only"}),
    "a bias of its own": ("LlamaForCausalLM", _BIASED, {"target_modules": ["q_proj"], "lora_bias": True}),
    "words": ("LlamaForCausalLM", _LLAMA, {"target_modules": ["embed_tokens", "lm_head"]}),
    "words that are tied": ("LlamaForCausalLM", _TIED, {"target_modules": ["embed_tokens"]}),
    "the last layer, tied": ("LlamaForCausalLM", _TIED, {"target_modules": ["lm_head", "q_proj"]}),
    "lengths of words": ("LlamaForCausalLM", _TIED, {"target_modules": ["embed_tokens"], "use_dora": True}),
    "saved whole": ("LlamaForCausalLM", _TIED, {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}),
    "some words": ("LlamaForCausalLM", _TIED, {"target_modules": ["q_proj"], "trainable_token_indices": [3, 1]}),
    "of narrow floats": ("LlamaForCausalLM", _LLAMA | {"dtype": "bfloat16"}, {"target_modules": _ALL}),
    "lengths of halves": (
        "LlamaForCausalLM", _LLAMA | {"dtype": "float16"}, {"target_modules": _ALL, "use_dora": True},
    ),
    "GPT-2": ("GPT2LMHeadModel", _GPT2, {"target_modules": ["c_attn", "c_proj", "lm_head"], "fan_in_fan_out": True}),
    "GPT-2, lengths": ("GPT2LMHeadModel", _GPT2, {"target_modules": ["c_attn", "c_proj"], "use_dora": True}),
    "a head": ("BertForSequenceClassification", _BERT, {"target_modules": ["query", "value"], "task_type": "SEQ_CLS"}),
    "BERT": ("BertForMaskedLM", _BERT, {"target_modules": ["query", "word_embeddings", "decoder"]}),
    "RoBERTa": ("RobertaForTokenClassification", _BERT, {"target_modules": ["key"], "task_type": "TOKEN_CLS"}),
    "pictures": ("ViTForImageClassification", _VIT, {"target_modules": ["projection", "q_proj", "fc1", "classifier"]}),
    "T5": ("T5ForConditionalGeneration", _T5, {"target_modules": ["q", "wo", "shared"], "task_type": "SEQ_2_SEQ_LM"}),
}  # fmt: skip


def saved(transformers, folder, name):
    """A model and an adapter of it as folders, and what peft merges of the two."""
    cls, options, lora = CASES[name]
    kind = getattr(transformers, cls)
    torch.manual_seed(0)
    options = dict(options)
    dtype = getattr(torch, options.pop("dtype", "float32"))
    model = randomised(kind(kind.config_class(**options)), torch).to(dtype)
    model.save_pretrained(folder / "base")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with_adapter = peft.get_peft_model(model, peft.LoraConfig(**({"r": 4} | lora)))
        for name_, parameter in with_adapter.named_parameters():
            if "lora_" in name_ or "modules_to_save" in name_ or "trainable_tokens" in name_ or "bias" in name_:
                parameter.data += torch.randn(parameter.shape).to(parameter.dtype) * 0.2
        with_adapter.save_pretrained(folder / "adapter")
        fresh = kind.from_pretrained(folder / "base", dtype="auto")
        return peft.PeftModel.from_pretrained(fresh, folder / "adapter").merge_and_unload().eval()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_as_peft_merges(name, transformers, tmp_path):
    merged = saved(transformers, tmp_path, name)
    bundle = huggingface.read(tmp_path / "adapter", base=tmp_path / "base")
    merged.save_pretrained(tmp_path / "merged")
    expected = huggingface.read(tmp_path / "merged")
    assert bundle.architecture == expected.architecture
    assert list(bundle.parameters) == list(expected.parameters)
    narrow = {"bfloat16": 8e-3, "float16": 1e-3}
    for key, array in expected.parameters.items():
        assert bundle.parameters[key].dtype == array.dtype
        one, other = (each[key].astype(np.float64) for each in (bundle.parameters, expected.parameters))
        limit = narrow.get(array.dtype.name, 1e-6)
        np.testing.assert_allclose(one, other, limit, limit * max(np.abs(other).max(), 1), err_msg=key)
        if array.dtype.name in narrow:
            assert (bundle.parameters[key] == array).mean() > 0.99, key


def plain(folder):
    """A small model of random arrays and an adapter of one layer, made without any framework."""
    rng = np.random.default_rng(0)
    base = shutil.copytree(FOREIGN / "gpt2", folder / "base")
    adapter = folder / "adapter"
    adapter.mkdir()
    path = "base_model.model.transformer.h.0.attn.c_attn"
    arrays = {f"{path}.lora_A.weight": rng.standard_normal((2, 8), np.float32),
              f"{path}.lora_B.weight": rng.standard_normal((24, 2), np.float32)}  # fmt: skip
    save_file(arrays, adapter / "adapter_model.safetensors")
    values = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["c_attn"]}
    (adapter / "adapter_config.json").write_text(json.dumps(values))
    return base, adapter, values, arrays


def test_the_command(tmp_path, monkeypatch, capsys):
    _, _, _, arrays = plain(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["convert", "adapter", "merged.h5", "--base", "base"]) == 0
    assert "1 layers have the adapter merged into them" in capsys.readouterr().out
    before, after = (ma.load_model(each).collect_params() for each in ("base", "merged.h5"))
    down, up = arrays.values()
    for name, parameter in before.items():
        expected = parameter.data() + (2 * up @ down if name == "transformer.h.0.attn.in_proj_weight" else 0)
        np.testing.assert_allclose(after[name].data(), expected, 1e-6, 1e-6)
    with ma.open("merged.h5") as archive:
        assert archive.metadata["huggingface"]["adapter"]["lora_alpha"] == 4
    assert huggingface.write("merged.h5", "merged", durable=False) == []
    assert main(["convert", "base", "x.h5", "--base", "base"]) == 4
    assert "adapter_config.json" in capsys.readouterr().err
    assert main(["convert", "merged.h5", "x.h5", "--base", "base"]) == 2
    assert "--base is for PEFT adapters, IN is a model archive" in capsys.readouterr().err
    with pytest.raises(ValueError, match="base is for PEFT adapters"):
        ma.convert("merged.h5", "x.h5", base="base")


def test_an_adapter_in_a_pickle(tmp_path):
    base, adapter, _, arrays = plain(tmp_path)
    expected = huggingface.read(adapter, base=base)
    torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, adapter / "adapter_model.bin")
    (adapter / "adapter_model.safetensors").unlink()
    found = huggingface.read(adapter, base=base)
    assert all(found.parameters[name].tobytes() == array.tobytes() for name, array in expected.parameters.items())
    assert set(ma.load(adapter)) == set(arrays)


@pytest.mark.parametrize(
    ("options", "where", "told"),
    [
        ({"peft_type": "IA3"}, "peft_type", "is 'IA3', and only LORA is merged"),
        ({"peft_type": "PREFIX_TUNING"}, "peft_type", "only LORA"),
        ({"peft_type": None}, "peft_type", "only LORA"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights", "changes the model's own weights"),
        ({"layer_replication": [[0, 1]]}, "layer_replication", "no option of what is merged"),
        ({"target_parameters": ["experts.w"]}, "target_parameters", "no option of what is merged"),
        ({"use_qalora": True}, "use_qalora", "no option of what is merged"),
        ({"sparkle": 1}, "sparkle", "no option of what is merged"),
        ({"r": 3}, "transformer.h.0.attn.c_attn", "the rank is 3"),
        ({"r": "many"}, "r", "expected a number above 0"),
        ({"lora_alpha": 1e30}, "lora_alpha", "expected a number above 0"),
        ({"rank_pattern": {"c_attn": 0}}, "rank_pattern.c_attn", "expected a number above 0"),
        ({"rank_pattern": {"(a*)*b": 1}}, "rank_pattern.(a*)*b", "repeats more than one part"),
        ({"rank_pattern": {"(a": 1}}, "rank_pattern.(a", "is no pattern of names"),
        ({"rank_pattern": [1]}, "rank_pattern", "expected an object of numbers"),
        ({"use_dora": True}, "transformer.h.0.attn.c_attn", "use_dora says otherwise"),
        ({"bias": "some"}, "bias", "expected none, all or lora_only"),
    ],
)
def test_what_is_not_merged_is_refused_by_name(options, where, told, tmp_path):
    base, adapter, values, _ = plain(tmp_path)
    (adapter / "adapter_config.json").write_text(json.dumps(values | options))
    with pytest.raises(ma.ConversionError, match=re.escape(told)) as caught:
        huggingface.read(adapter, base=base)
    assert where in [each for each, _ in caught.value.unsupported]


@pytest.mark.parametrize(
    ("name", "shape", "told"),
    [
        ("base_model.model.transformer.h.9.attn.c_attn.lora_A.weight", (2, 8), "is no layer of the model"),
        ("base_model.model.transformer.h.1.attn.c_attn.lora_A.weight", (2, 8), "and not both matrices"),
        ("base_model.model.transformer.h.0.mlp.c_fc.weight", (8, 3), "has the shape"),
        ("base_model.model.transformer.score.weight", (2, 8), "is no parameter of the model"),
        ("transformer.wte.weight", (2, 8), "does not begin with base_model.model."),
        ("base_model.model.transformer.h.0.attn.c_attn.lora_C.weight", (2, 8), "no array of a LoRA that is known"),
        ("base_model.model." + "x" * 400 + ".weight", (2, 8), "is no parameter of a model"),
        ("base_model.model.transformer.wte.token_adapter.trainable_tokens_delta", (2, 8), "trainable_token_indices"),
    ],
)
def test_arrays_that_are_none_of_the_model(name, shape, told, tmp_path):
    base, adapter, _, arrays = plain(tmp_path)
    save_file(arrays | {name: np.zeros(shape, np.float32)}, adapter / "adapter_model.safetensors")
    with pytest.raises(ma.ConversionError, match=re.escape(told)):
        huggingface.read(adapter, base=base)


@pytest.mark.parametrize("rows", [[16], [-1], ["a"], 3, [0, 1, 2]])
def test_rows_that_a_model_does_not_have(rows, tmp_path):
    base, adapter, values, arrays = plain(tmp_path)
    name = "base_model.model.transformer.wte.token_adapter.trainable_tokens_delta"
    save_file(arrays | {name: np.zeros((1, 8), np.float32)}, adapter / "adapter_model.safetensors")
    (adapter / "adapter_config.json").write_text(json.dumps(values | {"trainable_token_indices": rows}))
    with pytest.raises(ma.ConversionError):
        huggingface.read(adapter, base=base)


def test_folders_that_are_none(tmp_path):
    base, adapter, _, _ = plain(tmp_path)
    with pytest.raises(ma.FormatError, match=r"has no adapter_config\.json"):
        huggingface.read(base, base=base)
    with pytest.raises(ma.FormatError, match=r"folder of weights without config\.json"):
        huggingface.read(adapter, base=adapter)
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(ma.FormatError, match=r"has no adapter_model\.safetensors"):
        huggingface.read(adapter, base=base)
    (tmp_path / "secret.safetensors").write_bytes(b"x")
    (adapter / "adapter_model.safetensors").symlink_to(tmp_path / "secret.safetensors")
    with pytest.raises(ma.UnsafeFileError, match="link"):
        huggingface.read(adapter, base=base)
