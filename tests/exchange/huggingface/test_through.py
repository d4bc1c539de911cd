"""Folders of classes that are read through transformers: its outputs, and what a folder cannot make it do."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import modelarchive as ma
from modelarchive.exchange import huggingface
from modelarchive.exchange.huggingface import through
from tests.zoo.comparison import error
from tests.zoo.conftest import transformers

__all__ = ["transformers"]  # the fixture
torch = pytest.importorskip("torch")

_UMT5 = {"vocab_size": 30, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "use_cache": False}
_DEIT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
        "image_size": 16, "patch_size": 8, "num_labels": 3}  # fmt: skip
_GPT = {"vocab_size": 30, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 32, "max_position_embeddings": 600}  # fmt: skip


def saved(transformers, folder, name, **options):
    """A folder as transformers writes it, and the module."""
    kind = getattr(transformers, name)
    torch.manual_seed(0)
    module = kind(kind.config_class(**options)).eval()
    module.save_pretrained(folder)
    return module


def altered(folder, **options):
    values = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(values | options), "utf-8")


def test_texts_of_any_number_and_length(transformers, tmp_path):
    module = saved(transformers, tmp_path / "umt5", "UMT5Model", **_UMT5)
    ma.convert(tmp_path / "umt5", tmp_path / "umt5.h5")
    net = ma.load_model(tmp_path / "umt5.h5")
    with ma.open(tmp_path / "umt5.h5") as archive:
        assert archive.metadata["huggingface"]["config"]["model_type"] == "umt5"
        declared = archive.architecture["inputs"]
    assert [each["name"] for each in declared] == ["input_ids", "attention_mask", "decoder_input_ids"]
    assert not any(isinstance(axis, int) for each in declared for axis in each["shape"])
    rng = np.random.default_rng(0)
    for batch, length in ((1, 5), (3, 9)):
        ids, others = rng.integers(0, 30, (batch, length)), rng.integers(0, 30, (batch, length))
        mask = (np.arange(length) < length - 1).astype(np.int64) * np.ones((batch, 1), np.int64)
        with torch.no_grad():
            wanted = module(*map(torch.from_numpy, (ids, mask, others)))
        with np.errstate(divide="ignore", invalid="ignore"):  # distances of 0 have a logarithm, which is not used
            found = net(ids, mask, others)
        assert error(found["last_hidden_state"], wanted.last_hidden_state.numpy()) < 1e-5


def test_pictures_and_the_names_of_parameters(transformers, tmp_path):
    module = saved(transformers, tmp_path / "deit", "DeiTForImageClassification", **_DEIT)
    bundle = huggingface.read(tmp_path / "deit")
    assert bundle.architecture["inputs"][0]["shape"] == [None, 3, 16, 16]
    assert set(bundle.parameters) == set(module.state_dict())
    x = np.random.default_rng(0).standard_normal((2, 3, 16, 16), np.float32)
    with torch.no_grad():
        wanted = module(torch.from_numpy(x)).logits.numpy()
    found = bundle.build()(x)
    assert error(found["logits"] if isinstance(found, dict) else found, wanted) < 1e-5


def test_inputs_by_name(transformers, tmp_path):
    module = saved(transformers, tmp_path / "neox", "GPTNeoXForCausalLM", **_GPT)
    bundle = huggingface.read(tmp_path / "neox", inputs=["input_ids"])
    assert [each["name"] for each in bundle.architecture["inputs"]] == ["input_ids"]
    ids = np.random.default_rng(0).integers(0, 30, (2, 7))
    with torch.no_grad():
        wanted = module(torch.from_numpy(ids)).logits.numpy()
    found = bundle.build()(ids)
    assert error(found["logits"] if isinstance(found, dict) else found, wanted) < 1e-5
    with pytest.raises(ma.ConversionError, match=r"head_mask.*whose shape is not known"):
        huggingface.read(tmp_path / "neox", inputs=["input_ids", "head_mask"])


def test_numbers_that_json_has_none_for(transformers, tmp_path):
    saved(transformers, tmp_path / "mamba2", "Mamba2Model", vocab_size=9, hidden_size=8, num_heads=2, head_dim=8,
          n_groups=1, state_size=4, num_hidden_layers=1, chunk_size=8)  # fmt: skip
    assert "Infinity" in (tmp_path / "mamba2" / "config.json").read_text("utf-8")
    values = json.loads((tmp_path / "mamba2" / "config.json").read_text("utf-8"))
    assert through._decoded(values)["time_step_limit"][1] == np.inf
    assert through._decoded({"a": {"__float__": "evil"}, "b": {"__float__": "NaN", "c": 1}}) == {
        "a": {"__float__": "evil"},
        "b": {"__float__": "NaN", "c": 1},
    }


@pytest.mark.slow
def test_what_a_network_draws_at_random_is_an_input(transformers, tmp_path):
    module = saved(transformers, tmp_path / "mae", "ViTMAEModel", **_DEIT)
    bundle = huggingface.read(tmp_path / "mae")
    assert [(each["name"], each["shape"][1:]) for each in bundle.architecture["inputs"]] == [
        ("pixel_values", [3, 16, 16]),
        ("noise", [4]),
    ]
    x, noise = torch.randn(3, 3, 16, 16), torch.rand(3, 4)
    with torch.no_grad():
        wanted = module(x, noise=noise)
    found = bundle.build()(x.numpy(), noise.numpy())
    np.testing.assert_allclose(found["last_hidden_state"], wanted.last_hidden_state, atol=2e-5)
    np.testing.assert_array_equal(found["ids_restore"], wanted.ids_restore)
    with pytest.raises(ma.ConversionError, match="random numbers"):
        huggingface.read(tmp_path / "mae", inputs=["pixel_values"])
    saved(transformers, tmp_path / "deit", "DeiTModel", **_DEIT)
    with pytest.raises(ma.ConversionError, match="noise: is an input whose shape is not known"):
        huggingface.read(tmp_path / "deit", inputs=["pixel_values", "noise"])


def test_code_of_a_folder_is_never_run(transformers, tmp_path):
    saved(transformers, tmp_path / "deit", "DeiTModel", **_DEIT)
    (tmp_path / "deit" / "evil.py").write_text("raise SystemExit('was run')\n")
    altered(tmp_path / "deit", auto_map={"AutoConfig": "evil.Config", "AutoModel": "evil.Model"})
    huggingface.read(tmp_path / "deit")
    altered(tmp_path / "deit", model_type="evil", architectures=["Evil"])
    with pytest.raises(ma.ConversionError, match="'evil' is none of"):
        huggingface.read(tmp_path / "deit")


@pytest.mark.parametrize("name", ["Trainer", "TrainingArguments", "pipeline", "AutoConfig", "BertTokenizerFast"])
def test_a_name_in_a_folder_imports_nothing_but_models(transformers, name, tmp_path, monkeypatch):
    saved(transformers, tmp_path / "deit", "DeiTModel", **_DEIT)
    altered(tmp_path / "deit", architectures=[name])
    reached = []
    kind = type(transformers)
    known = kind.__getattr__
    monkeypatch.setattr(kind, "__getattr__", lambda self, each: reached.append(each) or known(self, each))
    with pytest.raises(ma.ConversionError, match="'deit' is none of"):
        huggingface.read(tmp_path / "deit")
    assert name not in reached


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"num_hidden_layers": 10**9}, "num_hidden_layers.*the files hold"),
        ({"hidden_size": 2**20, "num_attention_heads": 2}, "means a network of .* parameters, and the files hold"),
        ({"quantization_config": {"quant_method": "aqlm"}}, "is 'aqlm', expected"),
        ({"architectures": ["torch.nn.Linear"]}, "is none of"),
        ({"architectures": ["AutoModel"]}, "is none of"),
        ({"model_type": "vit"}, "'DeiTModel'. is none of"),
    ],
)
def test_a_configuration_that_is_not_of_its_files_is_refused(transformers, options, told, tmp_path):
    saved(transformers, tmp_path / "deit", "DeiTModel", **_DEIT)
    altered(tmp_path / "deit", **options)
    with pytest.raises(ma.ConversionError, match=told):
        huggingface.read(tmp_path / "deit")


def test_what_is_missing_in_the_files_is_told(transformers, tmp_path):
    saved(transformers, tmp_path / "deit", "DeiTModel", **_DEIT)
    arrays = load_file(tmp_path / "deit" / "model.safetensors")
    lost = next(name for name in arrays if name.endswith("layernorm.weight"))
    arrays["another"] = np.zeros(10_000, np.float32)
    del arrays[lost]
    save_file(arrays, tmp_path / "deit" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ma.ConversionError, match=f"{lost}: is missing"):
        huggingface.read(tmp_path / "deit")


def test_an_option_of_a_family_that_only_transformers_has(transformers, monkeypatch, tmp_path):
    rope = {"rope_type": "yarn", "factor": 2.0, "rope_theta": 1e4, "original_max_position_embeddings": 32}
    options = _GPT | {"num_key_value_heads": 1, "rope_parameters": rope, "max_position_embeddings": 64}
    module = saved(transformers, tmp_path / "llama", "LlamaForCausalLM", **options)
    altered(tmp_path / "llama", logit_sparkle=0.5)
    bundle = huggingface.read(tmp_path / "llama", inputs=["input_ids"])
    (note,) = [each for each in bundle.notes if each.where == "config.json"]
    assert note.what == "is read as transformers takes it, for 'rope_parameters', 'logit_sparkle'"
    ids = np.random.default_rng(0).integers(0, 30, (2, 7))
    with torch.no_grad():
        wanted = module(torch.from_numpy(ids)).logits.numpy()
    found = bundle.build()(ids)
    assert error(found["logits"] if isinstance(found, dict) else found, wanted) < 1e-5
    monkeypatch.setattr(through, "is_installed", lambda: False)
    with pytest.raises(ma.ConversionError, match="rope_type is 'yarn'") as caught:
        huggingface.read(tmp_path / "llama")
    assert "pip install 'modelarchive[transformers]'" in caught.value.hint
    assert "'logit_sparkle' is known to change no output" in caught.value.hint


@pytest.mark.parametrize("name", ["configuration_files", "transformers_weights", "fusion_config", "per_layer_config"])
def test_options_that_name_other_files_are_refused_always(transformers, name, tmp_path):
    saved(transformers, tmp_path / "llama", "LlamaModel", **_GPT)
    altered(tmp_path / "llama", **{name: {"x": "evil.bin"}})
    with pytest.raises(ma.ConversionError, match=name):
        huggingface.read(tmp_path / "llama")


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("DeiTForImageClassification", {"num_labels": 10**8}, "num_labels: is 100000000, more than the files hold"),
        ("DeiTForImageClassification", {"num_hidden_layers": 1e9}, "num_hidden_layers: is 1000000000.0, more than"),
        ("RoFormerModel", {"max_position_embeddings": 10**9}, "at least 8,000,000,000 parameters"),
    ],
)
def test_what_would_be_built_number_by_number_is_refused_before(name, options, told, transformers, tmp_path):
    """A name for each label, and a table of sines that NumPy fills, whatever PyTorch is told of memory."""
    known = _DEIT if name.startswith("DeiT") else _GPT | {"embedding_size": 16}
    saved(transformers, tmp_path / "x", name, **known)
    altered(tmp_path / "x", **options)
    with pytest.raises(ma.ConversionError, match=told):
        ma.load_model(tmp_path / "x")
