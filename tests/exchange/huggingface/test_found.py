"""Folders as they are found: variants, several kinds of files, what is missing, parts of other things."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import modelarchive as ma
from modelarchive.exchange import huggingface
from tests.exchange.huggingface.models import complaints, model
from tests.exchange.huggingface.test_through import saved
from tests.zoo.conftest import transformers

__all__ = ["transformers"]  # the fixture
torch = pytest.importorskip("torch")

_BART = {
    "vocab_size": 40, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "max_position_embeddings": 32,
}  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"max_shard_size": "10KB"}])
def test_a_variant_alone_is_read_and_gives_way_to_the_usual_files(options, transformers, tmp_path):
    module = model("LlamaForCausalLM", transformers, torch)
    module.save_pretrained(tmp_path / "x", variant="fp16", **options)
    bundle = huggingface.read(tmp_path / "x")
    (note,) = bundle.notes
    assert "fp16" in note.what
    weight = module.lm_head.weight.detach().numpy().copy()
    np.testing.assert_array_equal(bundle.parameters["lm_head.weight"], weight)
    module.lm_head.weight.data *= 2
    module.save_pretrained(tmp_path / "x")
    np.testing.assert_array_equal(huggingface.read(tmp_path / "x").parameters["lm_head.weight"], 2 * weight)


def test_safetensors_before_pickles_in_shards(transformers, tmp_path):
    module = model("LlamaForCausalLM", transformers, torch)
    module.save_pretrained(tmp_path / "x")
    state = module.state_dict()
    files = {f"pytorch_model-0000{at}-of-00002.bin": list(state)[at - 1 :: 2] for at in (1, 2)}
    for file, names in files.items():
        torch.save({name: 2 * state[name] for name in names}, tmp_path / "x" / file)
    index = {"metadata": {}, "weight_map": {name: file for file, names in files.items() for name in names}}
    (tmp_path / "x" / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    weight = module.lm_head.weight.detach().numpy()
    np.testing.assert_array_equal(huggingface.read(tmp_path / "x").parameters["lm_head.weight"], weight)
    (tmp_path / "x" / "model.safetensors").unlink()
    np.testing.assert_array_equal(huggingface.read(tmp_path / "x").parameters["lm_head.weight"], 2 * weight)


def test_what_older_files_leave_out_or_say_otherwise(transformers, tmp_path):
    module = model("LlamaModel", transformers, torch)
    module.save_pretrained(tmp_path / "x")
    save_file(load_file(tmp_path / "x" / "model.safetensors"), tmp_path / "x" / "model.safetensors")  # no metadata
    values = json.loads((tmp_path / "x" / "config.json").read_text("utf-8"))
    values |= {"torch_dtype": values.pop("dtype"), "quantization_config": None, "auto_map": {"AutoModel": "evil.Model"}}
    del values["architectures"]
    (tmp_path / "x" / "config.json").write_text(json.dumps(values), "utf-8")
    (note,) = huggingface.read(tmp_path / "x").notes
    assert note.where == "auto_map"
    assert "never run" in note.what


def test_tokenizers_that_are_no_text_come_back(transformers, tmp_path):
    model("T5EncoderModel", transformers, torch).save_pretrained(tmp_path / "x")
    beside = {"spiece.model": bytes(range(256)), "generation_config.json": b"{}", "preprocessor_config.json": b"{}"}
    for name, data in beside.items():
        (tmp_path / "x" / name).write_bytes(data)
    assert ma.convert(tmp_path / "x", tmp_path / "x.h5", durable=False) == []
    assert ma.convert(tmp_path / "x.h5", f"{tmp_path / 'back'}/", durable=False) == []
    assert {name: (tmp_path / "back" / name).read_bytes() for name in beside} == beside
    bundle = huggingface.read(tmp_path / "x")
    bundle.metadata["huggingface"]["binaries"] = {"spiece.model": "no base64!", "../evil": "AAAA", "tokenizer.model": 3}
    huggingface.write(bundle, tmp_path / "other", durable=False)
    assert not (tmp_path / "other" / "spiece.model").exists()
    assert not (tmp_path / "evil").exists()


@pytest.mark.slow
def test_a_class_of_transformers_is_written_back(transformers, tmp_path):
    module = saved(transformers, tmp_path / "x", "BartModel", **_BART)
    values = json.loads((tmp_path / "x" / "config.json").read_text("utf-8"))
    del values["architectures"]  # the class without a head is meant then
    (tmp_path / "x" / "config.json").write_text(json.dumps(values), "utf-8")
    # Its texts are shorter than those that are tried, and it is compared all the same.
    assert ma.convert(tmp_path / "x", tmp_path / "x.h5", durable=False) == []
    assert ma.convert(tmp_path / "x.h5", f"{tmp_path / 'back'}/", durable=False) == []
    again, info = transformers.BartModel.from_pretrained(tmp_path / "back", output_loading_info=True)
    assert not complaints(info)
    words = torch.from_numpy(np.random.default_rng(0).integers(3, 40, (2, 9)))
    with torch.no_grad():
        both = [each.eval()(words, decoder_input_ids=words)[0].numpy() for each in (module, again)]
    np.testing.assert_array_equal(*both)
    bundle = huggingface.read(tmp_path / "x")
    bundle.metadata["huggingface"]["config"]["scale_embedding"] = True
    with pytest.raises(ma.ConversionError, match="is another network than transformers builds"):
        huggingface.write(bundle, tmp_path / "other", durable=False)


def test_parts_of_diffusers(tmp_path):
    (tmp_path / "unet").mkdir()
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    config = {"_class_name": "UNet2DConditionModel", "_diffusers_version": "0.30"}
    (tmp_path / "unet" / "config.json").write_text(json.dumps(config))
    save_file({"conv_in.weight": np.ones(3, np.float32)}, tmp_path / "unet" / "diffusion_pytorch_model.safetensors")
    with pytest.raises(ma.FormatError, match="is a folder of diffusers") as caught:
        ma.load_model(tmp_path)
    assert "text_encoder" in caught.value.hint
    with pytest.raises(ma.ConversionError, match="'UNet2DConditionModel' is a part of diffusers") as refused:
        ma.load_model(tmp_path / "unet")
    assert "--parameters-only" in refused.value.hint
    assert ma.convert(tmp_path / "unet", tmp_path / "unet.h5", parameters_only=True)
