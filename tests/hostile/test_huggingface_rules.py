"""Folders from strangers: each attack first works on a naive reader, and is then refused."""

from __future__ import annotations

import json
import os
import shutil
import tracemalloc

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange import huggingface
from tests.conftest import ROOT
from tests.hostile.readers.samples import safetensors

FOREIGN = ROOT / "tests" / "data" / "foreign" / "huggingface"
SECRET = "the secret of the house"


@pytest.fixture
def folder(tmp_path):
    """A good folder, and beside it what is none of its business."""
    (tmp_path / "secret").write_text(SECRET + "\n", "utf-8")
    return shutil.copytree(FOREIGN / "bert", tmp_path / "model")


def set_options(folder, **options):
    values = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(values | options), "utf-8")


@pytest.mark.parametrize("name", ["vocab.txt", "tokenizer_config.json", "merges.txt", "chat_template.jinja"])
def test_a_link_out_of_the_folder_is_not_read_into_words_or_metadata(folder, name):
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to("../secret")
    assert (folder / name).read_text("utf-8").strip() == SECRET  # who follows links reads it
    with pytest.raises(ma.UnsafeFileError) as caught:
        huggingface.read(folder)
    assert caught.value.rule == "own folder only"


@pytest.mark.parametrize("name", ["config.json", "model-00001-of-00002.safetensors", "model.safetensors.index.json"])
def test_a_link_out_of_the_folder_is_no_part_of_the_model(folder, name):
    (folder / name).rename(folder.parent / name)
    (folder / name).symlink_to(f"../{name}")
    assert (folder / name).read_bytes()
    with pytest.raises(ma.UnsafeFileError, match="not in its own folder"):
        huggingface.read(folder)


def test_links_of_the_hub_s_cache_are_followed(folder):
    snapshot = folder.parent / "models--a--b" / "snapshots" / "123"
    blobs = snapshot.parent.parent / "blobs"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for at, file in enumerate(sorted(folder.iterdir())):
        file.rename(blobs / str(at))
        (snapshot / file.name).symlink_to(f"../../blobs/{at}")
    assert huggingface.read(snapshot).architecture == huggingface.read(FOREIGN / "bert").architecture
    (snapshot / "vocab.txt").unlink()
    (snapshot / "vocab.txt").symlink_to("../../../secret")
    with pytest.raises(ma.UnsafeFileError):
        huggingface.read(snapshot)


@pytest.mark.parametrize(
    "shard", ["../stolen.safetensors", "/etc/stolen.safetensors", "a/../../stolen.safetensors", ".."]
)
def test_an_index_names_no_file_of_another_folder(folder, shard):
    shutil.copy(folder / "model-00001-of-00002.safetensors", folder.parent / "stolen.safetensors")
    index = json.loads((folder / "model.safetensors.index.json").read_text("utf-8"))
    index["weight_map"] = {name: shard if "00001" in file else file for name, file in index["weight_map"].items()}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")
    if shard.startswith("../"):
        assert (folder / shard).read_bytes()
    with pytest.raises(ma.UnsafeFileError) as caught:
        huggingface.read(folder)
    assert caught.value.rule == "own folder only"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_makes_nobody_wait(folder):
    (folder / "vocab.txt").unlink()
    os.mkfifo(folder / "vocab.txt")
    with pytest.raises(ma.UnsafeFileError, match="no regular file"):
        huggingface.read(folder)


@pytest.mark.parametrize(
    "options",
    [
        {"num_hidden_layers": 10**9},
        {"vocab_size": 2**31 - 1, "hidden_size": 2**30},
        {"max_position_embeddings": 2**31 - 1},
        {"intermediate_size": 10**400},
        {"num_attention_heads": 2**31},
        {"id2label": {str(at): "x" for at in range(20_000)}, "architectures": ["BertForTokenClassification"]},
    ],
)
def test_large_numbers_cost_neither_memory_nor_time(folder, options):
    set_options(folder, **options)
    with pytest.raises((ma.ConversionError, ma.FormatError)):
        huggingface.read(folder)  # which imports transformers where it is installed
    tracemalloc.start()
    try:
        with pytest.raises((ma.ConversionError, ma.FormatError)):
            huggingface.read(folder)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "modules.json", "model.safetensors.index.json"])
@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, "\udcff", "{", "NaN", '{"a": ' + "9" * 10_000 + "}"]
)
def test_bad_json_is_refused(folder, name, text):
    if name == "modules.json":
        set_options(folder, architectures=["BertModel"])
    (folder / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises((ma.FormatError, ma.ConversionError)):
        huggingface.read(folder)


def test_code_is_named_and_not_run(folder):
    set_options(folder, auto_map={"AutoModel": "modeling.Model"})
    (folder / "modeling.py").write_text("raise SystemExit('run')", "utf-8")
    assert any(note.where == "auto_map" and "never run" in note.what for note in huggingface.read(folder).notes)


def test_pickles_are_not_read(folder):
    for file in folder.glob("*.safetensors*"):
        file.unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(ma.FormatError, match="pytorch_model"):
        huggingface.read(folder)


@pytest.mark.slow
def test_words_of_impossible_rows_are_left_out(folder):
    for at in (-1, 10**30, 1.5, "0", None, [0]):
        vocabulary = {"model": {"vocab": {"a": 0, "b": at}}}
        (folder / "tokenizer.json").write_text(json.dumps(vocabulary), "utf-8")
        bundle = huggingface.read(folder)
        assert not bundle.tokens or list(next(iter(bundle.tokens.values())))[1:] == [""] * 15


def test_files_in_metadata_are_not_written_elsewhere(folder, tmp_path):
    bundle = huggingface.read(folder)
    files = bundle.metadata["huggingface"]["files"]
    for name in ("../stolen", "/tmp/stolen", "1_Pooling/../../stolen", "code.py", "config.json", "model.safetensors"):
        files[name] = "stolen"
    (tmp_path / "naive").mkdir()
    (tmp_path / "naive" / "../stolen").write_text(files["../stolen"], "utf-8")
    (tmp_path / "stolen").unlink()  # who takes the names for paths writes there
    ma.save_model(tmp_path / "model.h5", bundle, durable=False)
    ma.convert(tmp_path / "model.h5", f"{tmp_path / 'out'}/", durable=False)
    assert not (tmp_path / "stolen").exists()
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        *("config.json", "tokenizer_config.json", "vocab.txt"),
        *("model.h5", "model.safetensors", "model.safetensors.index.json"),
    }
    assert all("stolen" not in file.read_text("utf-8") for file in (tmp_path / "out").glob("*.json"))


@pytest.mark.parametrize(
    "kept",
    [
        {"config": {}}, {"config": {"model_type": ["bert"]}}, {"config": {"model_type": "bert", "x": "\udc80"}},
        {"config": {"model_type": "bert", "num_hidden_layers": 10**9}}, {"config": {"model_type": "bert"}, "files": 7},
    ],
)  # fmt: skip
def test_a_configuration_in_metadata_that_means_another_network_is_refused(folder, tmp_path, kept):
    bundle = huggingface.read(folder)
    bundle.metadata = {"huggingface": kept}
    with pytest.raises(ma.ConversionError):
        huggingface.write(bundle, tmp_path / "out")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model", "secret"]


def test_nothing_is_written_over(folder, tmp_path):
    bundle = huggingface.read(folder)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(FileExistsError):
        huggingface.write(bundle, folder)
    with pytest.raises(NotADirectoryError):
        huggingface.write(bundle, tmp_path / "secret")
    with pytest.raises(FileNotFoundError):
        huggingface.write(bundle, tmp_path / "none" / "out")
    assert before == {file.name: file.read_bytes() for file in folder.iterdir()}
    (tmp_path / "empty").mkdir()
    huggingface.write(bundle, tmp_path / "empty", durable=False)
    assert np.array_equal(
        huggingface.read(tmp_path / "empty").parameters["bert.embeddings.LayerNorm.bias"],
        bundle.parameters["bert.embeddings.LayerNorm.bias"],
    )


def test_what_fails_half_way_leaves_nothing(folder, tmp_path, monkeypatch):
    bundle = huggingface.read(folder)
    before = sorted(file.name for file in tmp_path.iterdir())
    from modelarchive.exchange.huggingface import writing

    def fail(*args, **options):
        raise OSError(28, "No space left on device")

    for name in ("json.dumps", "replacing"):
        with monkeypatch.context() as patch:
            patch.setattr(f"modelarchive.exchange.huggingface.writing.{name}", fail)
            with pytest.raises(OSError, match="No space"):
                writing.write_folder(bundle, tmp_path / "out", config=None, max_shard_bytes=None, durable=False)
        assert sorted(file.name for file in tmp_path.iterdir()) == before


@pytest.fixture
def adapter(tmp_path):
    """Writes an adapter; reads it with a model."""
    base = shutil.copytree(FOREIGN / "gpt2", tmp_path / "base")
    folder = tmp_path / "adapter"
    folder.mkdir()

    def read(arrays, **options):
        values = {"peft_type": "LORA", "r": 1, "lora_alpha": 1, **options}
        (folder / "adapter_config.json").write_text(json.dumps(values))
        named = {f"base_model.model.{name}": array for name, array in arrays.items()}
        (folder / "adapter_model.safetensors").write_bytes(safetensors(named))
        return huggingface.read(folder, base=base)

    return read


def low_rank(path="transformer.h.0.attn.c_attn"):
    return {f"{path}.lora_A.weight": np.zeros((1, 8), "f4"), f"{path}.lora_B.weight": np.zeros((24, 1), "f4")}


@pytest.mark.parametrize(
    "pattern", ["(a|a)" * 38 + "b", "(a|aa)*b", "a*" * 30 + "b", r"(\\\\*)" * 20 + "b", "(" * 10 + "a|a" + ")+" * 10]
)
def test_a_pattern_of_names_that_takes_very_long_is_not_tried(adapter, pattern):
    with pytest.raises(ma.ConversionError, match="name the modules one by one"):
        adapter(low_rank("a" * 60), rank_pattern={pattern: 1})


@pytest.mark.slow
def test_patterns_that_take_long_together_are_not_all_tried(adapter):
    layers = [f"transformer.h.{at}.{part}" for at in (0, 1) for part in ("attn.c_attn", "attn.c_proj", "mlp.c_fc")]
    several = {name: array for layer in layers for name, array in low_rank(layer).items()}
    patterns = {f".*{at}b": 1 for at in range(4000)}
    with pytest.raises(ma.UnsafeFileError, match="a pattern of names"):
        adapter(several, rank_pattern=patterns)
    with pytest.raises(ma.ConversionError, match="at most 4,096"):
        adapter(low_rank(), alpha_pattern={str(at): 1 for at in range(5000)})


def test_patterns_that_choose_are_tried(adapter):
    found = adapter(low_rank(), alpha_pattern={r".*\.h\.0\.attn\.c_attn": 2, "(c_proj|c_fc|c_attn)": 3})
    assert found.architecture == huggingface.read(FOREIGN / "gpt2").architecture


@pytest.mark.parametrize("shape", [(2**40, 0), (2**27, 0), ()])
def test_labels_take_no_more_memory_than_the_files_have(adapter, shape):
    with pytest.raises((ma.UnsafeFileError, ma.ConversionError)):
        adapter({"score.weight": np.zeros(shape, "f4")}, task_type="SEQ_CLS")


def test_rows_of_what_has_none(adapter):
    path = "transformer.wte"
    with pytest.raises(ma.ConversionError):
        adapter({f"{path}.token_adapter.trainable_tokens_delta": np.zeros((), "f4")}, trainable_token_indices=[0])
