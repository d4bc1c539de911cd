"""Folders that transformers wrote are read without it; what cannot be expressed is named."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

import modelarchive as ma
from modelarchive.exchange import huggingface
from modelarchive.exchange.huggingface.families import FAMILIES
from modelarchive.formats import recognise
from tests.conftest import ROOT
from tests.exchange.huggingface.models import losses, stored
from tests.zoo.comparison import error

pytestmark = pytest.mark.usefixtures("alone")
FOREIGN = ROOT / "tests" / "data" / "foreign" / "huggingface"
NAMES = ("bert", "gpt2", "qwen2")


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def copied(name, tmp_path, **options):
    """A copy of a folder with other options in its config.json."""
    folder = shutil.copytree(FOREIGN / name, tmp_path / name)
    if options:
        values = json.loads((folder / "config.json").read_text("utf-8"))
        (folder / "config.json").write_text(json.dumps(values | options), "utf-8")
    return folder


def shards(name):
    return {key: array for file in (FOREIGN / name).glob("*.safetensors") for key, array in load_file(file).items()}


def recorded(name):
    """Inputs and the first output that transformers gave."""
    with np.load(FOREIGN / name / "io.npz") as found:
        arrays = dict(found)
    return {key: array for key, array in arrays.items() if not key.startswith("output")}, arrays["output_0"]


def test_outputs_are_those_of_transformers(name):
    bundle = huggingface.read(FOREIGN / name)
    net = bundle.build()
    net.cast("float32")
    inputs, wanted = recorded(name)
    assert [each["name"] for each in bundle.architecture["inputs"]] == list(inputs)
    assert error(net(*inputs.values()), wanted) < 1e-6


def test_parameters_have_the_same_bits_and_their_names():
    theirs, bundle = shards("bert"), huggingface.read(FOREIGN / "bert")
    assert bundle.parameters["cls.predictions.decoder.bias"].tobytes() == theirs.pop("cls.predictions.bias").tobytes()
    assert all(bundle.parameters[key].tobytes() == array.tobytes() for key, array in theirs.items())
    tied = bundle.build().collect_params()
    assert tied["cls.predictions.decoder.weight"] is tied["bert.embeddings.word_embeddings.weight"]
    theirs, bundle = shards("gpt2"), huggingface.read(FOREIGN / "gpt2")
    np.testing.assert_array_equal(
        bundle.parameters["transformer.h.1.attn.in_proj_weight"], theirs["transformer.h.1.attn.c_attn.weight"].T
    )
    assert huggingface.read(FOREIGN / "qwen2").parameters["lm_head.weight"].dtype.name == "bfloat16"


def test_words_come_from_every_kind_of_file(name, tmp_path):
    tokens = huggingface.read(FOREIGN / name).tokens
    assert {key: list(words)[-3:] for key, words in tokens.items()} == {
        "bert": {"bert.embeddings.word_embeddings.weight": ["dög", "", ""]},
        "gpt2": {"transformer.wte.weight": ["abc", "\u0120", "\u0120a"]},
        "qwen2": {"model.embed_tokens.weight": ["abc", "\u0120", "<end>"]},
    }[name]
    folder = copied(name, tmp_path)
    (folder / "tokenizer.json").write_text('{"model": {"vocab": [["x", -1.5], ["y", -2]]}, "added_tokens": [{}]}')
    found = huggingface.read(folder)
    assert not found.tokens
    assert "are no word and its number" in str(found.notes)
    (folder / "tokenizer.json").write_text(
        '{"model": {"vocab": [["x", -1.5], ["y", -2]]}, "added_tokens": [{"id": 3, "content": "z"}, '
        '{"id": 99, "content": "far"}]}'
    )
    found = huggingface.read(folder)
    assert next(iter(found.tokens.values()))[:4] == ["x", "y", "", "z"]
    assert "1 words are left out" in str(found.notes)


def test_a_folder_becomes_an_archive_and_a_folder_again(name, tmp_path):
    assert recognise(FOREIGN / name) == "huggingface"
    ma.convert(FOREIGN / name, tmp_path / "model.h5", durable=False)
    with ma.open(tmp_path / "model.h5") as archive:
        archive.verify()
        assert archive.metadata["huggingface"]["config"]["model_type"] == name
        assert archive.tokens
    assert losses(ma.convert(tmp_path / "model.h5", f"{tmp_path / 'again'}/", durable=False)) == []
    assert {key: array.tobytes() for key, array in stored(tmp_path / "again").items()} == {
        key: array.tobytes() for key, array in shards(name).items()
    }
    for file in (FOREIGN / name).iterdir():
        if file.suffix in (".json", ".txt") and "safetensors" not in file.name:
            assert json_or_text(tmp_path / "again" / file.name) == json_or_text(file)
    one, other = (huggingface.read(folder) for folder in (FOREIGN / name, tmp_path / "again"))
    assert one.architecture == other.architecture
    assert one.tokens == other.tokens


def json_or_text(path):
    text = path.read_text("utf-8")
    return json.loads(text) if path.suffix == ".json" else text


def test_ma_loads_folders(name, tmp_path):
    inputs, _ = recorded(name)
    net = ma.load_model(FOREIGN / name)
    np.testing.assert_array_equal(net(*inputs.values()), huggingface.read(FOREIGN / name).build()(*inputs.values()))
    with pytest.warns(UserWarning, match="left out|no word"):
        assert set(ma.load(FOREIGN / name)) == set(huggingface.read(FOREIGN / name).parameters)
    notes = ma.save_model(tmp_path / "model.h5", huggingface.read(FOREIGN / name), metadata={"license": "MIT"})
    assert any("io.npz" in note.what for note in notes)
    ma.convert(FOREIGN / "bert", tmp_path / "two.h5", inputs=[{"name": "input_ids"}, {"name": "attention_mask"}])
    with ma.open(tmp_path / "two.h5") as archive:
        assert len(archive.architecture["inputs"]) == 2


def test_everything_that_cannot_be_expressed_is_listed(tmp_path):
    options = {
        "hidden_act": "gelu_10", "position_embedding_type": "relative_key", "is_decoder": True,
        "auto_map": {"AutoModel": "code.Model"}, "pruned_heads": {"0": [1]},
        "num_attention_heads": 3, "layer_norm_eps": -1, "vocab_size": "16", "add_cross_attention": True,
        "architectures": ["BertForMultipleChoice"], "is_encoder_decoder": True,
    }  # fmt: skip
    folder = copied("bert", tmp_path, **options)
    with pytest.raises(ma.ConversionError) as caught:
        huggingface.read(folder)
    assert {where for where, _ in caught.value.unsupported} == set(options) - {"auto_map"}
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"model_type": "bart"}, "model_type"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 2.0}}, "rope_parameters"),
        ({"rope_parameters": None, "rope_scaling": {"type": "dynamic", "factor": 2.0}}, "rope_scaling"),
        ({"rope_parameters": {"rope_type": "llama3", "factor": 2.0}}, "rope_parameters"),
        ({"rope_parameters": {"rope_theta": "big"}}, "rope_theta"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ({"num_key_value_heads": 3}, "num_key_value_heads"),
        ({"layer_types": ["full_attention", "chunked_attention", "full_attention"]}, "layer_types"),
        ({"sliding_window": "wide"}, "sliding_window"),
        ({"head_dim": 3}, "head_dim"),
        ({"is_causal": False}, "is_causal"),
        ({"rope_interleaved": True}, "rope_interleaved"),
        ({"per_layer_config": {"0": {"sliding_window": 2}}}, "per_layer_config"),
        ({"transformers_weights": "other.safetensors"}, "transformers_weights"),
        ({"hidden_act": None}, "hidden_act"),
        ({"rms_norm_eps": None}, "rms_norm_eps"),
    ],
)
def test_options_of_llama_that_are_refused(options, where, tmp_path):
    with pytest.raises(ma.ConversionError) as caught:
        huggingface.read(copied("qwen2", tmp_path, **options))
    assert [each for each, _ in caught.value.unsupported] == [where]


def test_missing_and_misshapen_parameters_are_listed_others_noted(tmp_path):
    folder = copied("gpt2", tmp_path, n_positions=12)
    arrays = load_file(folder / "model.safetensors")
    del arrays["transformer.ln_f.weight"], arrays["transformer.h.0.mlp.c_fc.bias"]
    arrays["transformer.h.0.attn.bias"] = np.zeros((1, 1, 10, 10), np.float32)
    arrays["score.weight"] = np.zeros((2, 8), np.float32)
    save_file(arrays, folder / "model.safetensors")
    with pytest.raises(ma.ConversionError) as caught:
        huggingface.read(folder)
    assert {where for where, _ in caught.value.unsupported} == {
        "transformer.ln_f.weight", "transformer.h.0.mlp.c_fc.bias", "transformer.wpe.weight",
    }  # fmt: skip
    arrays |= {"transformer.ln_f.weight": arrays["transformer.ln_f.bias"],
               "transformer.h.0.mlp.c_fc.bias": arrays["transformer.h.1.mlp.c_fc.bias"],
               "transformer.wpe.weight": np.zeros((12, 8), np.float32)}  # fmt: skip
    save_file(arrays, folder / "model.safetensors")
    notes = {note.where for note in huggingface.read(folder).notes}
    assert {"transformer.h.0.attn.bias", "score.weight"} <= notes


def test_old_names_and_names_without_prefix_are_known(tmp_path):
    folder = copied("bert", tmp_path)
    arrays = {
        key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): array
        for key, array in shards("bert").items()
    }
    arrays = {key.removeprefix("bert."): array for key, array in arrays.items()}
    arrays["cls.predictions.decoder.bias"] = arrays["cls.predictions.bias"].copy()
    arrays["cls.predictions.decoder.weight"] = arrays["embeddings.word_embeddings.weight"].copy()
    (folder / "model.safetensors.index.json").unlink()
    save_file(arrays, folder / "model.safetensors")
    found, expected = huggingface.read(folder), huggingface.read(FOREIGN / "bert")
    assert found.architecture == expected.architecture
    assert all(found.parameters[key].tobytes() == array.tobytes() for key, array in expected.parameters.items())

    arrays["cls.predictions.decoder.weight"] += 1
    save_file(arrays, folder / "model.safetensors")
    found = huggingface.read(folder)
    assert any("is not tied" in note.what for note in found.notes)
    huggingface.write(found, tmp_path / "again", durable=False)
    assert json.loads((tmp_path / "again" / "config.json").read_text("utf-8"))["tie_word_embeddings"] is False
    again = huggingface.read(tmp_path / "again")
    assert again.architecture == found.architecture
    arrays["cls.predictions.decoder.bias"] += 1
    save_file(arrays, folder / "model.safetensors")
    with pytest.raises(ma.ConversionError, match=r"is the same parameter as cls\.predictions\.bias"):
        huggingface.read(folder)


def test_the_trunk_alone_is_read_from_a_file_with_a_head(tmp_path):
    folder = copied("bert", tmp_path, architectures=["BertModel"])
    bundle = huggingface.read(folder)
    assert "embeddings.word_embeddings.weight" in bundle.parameters
    assert any(note.where.startswith("cls.") for note in bundle.notes)
    assert bundle.build()(np.ones((1, 3), np.int64), np.ones((1, 3), np.int64), np.zeros((1, 3), np.int64)).shape == (
        1, 3, 8,
    )  # fmt: skip


def test_the_document_has_every_class() -> None:
    section = (ROOT / "docs" / "exchange" / "huggingface.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `([\w-]+)` \| (`.*`) \| `(?:input_ids|pixel_values)`.*$", section, re.MULTILINE))
    assert {name: re.findall(r"`(\w+)`", classes) for name, classes in rows.items()} == {
        name: list(family.names) for name, family in FAMILIES.items()
    }


#: Options that the folders do not have.
MORE = (
    "attn_implementation", "head_dim", "id2label", "is_causal", "mlp_bias", "n_inner", "num_labels",
    "original_max_position_embeddings", "partial_rotary_factor", "per_layer_config", "rope_scaling", "rope_theta",
    "torch_dtype", "type_vocab_size", "unheard_of",
)  # fmt: skip
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just([]) | st.just({})
VALUES |= st.lists(st.integers(-3, 9) | st.text(max_size=3), max_size=4)
VALUES |= st.dictionaries(
    st.sampled_from(["rope_type", "type", "factor", "rope_theta", "x"]) | st.sampled_from(MORE), VALUES, max_size=3
)


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_option_of_any_value_is_read_or_refused(data, tmp_path_factory):
    name = data.draw(st.sampled_from(NAMES))
    folder = shutil.copytree(FOREIGN / name, tmp_path_factory.mktemp("any") / name)
    values = json.loads((folder / "config.json").read_text("utf-8"))
    for key in data.draw(st.lists(st.sampled_from(sorted({*values, *MORE})), max_size=3)):
        values[key] = data.draw(VALUES)
    (folder / "config.json").write_text(json.dumps(values), "utf-8")
    try:
        bundle = huggingface.read(folder)
    except (ma.ConversionError, ma.FormatError):
        return
    inputs, _ = recorded(name)
    bundle.build()(*list(inputs.values())[: len(bundle.architecture["inputs"])])
    huggingface.write(bundle, folder.parent / "again", durable=False)
    assert huggingface.read(folder.parent / "again").architecture == bundle.architecture
