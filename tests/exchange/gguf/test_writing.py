"""Files that are written: what llama.cpp's converter wrote of the same networks, tensor by tensor and bit by bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import modelarchive as ma
from modelarchive import nn, zoo
from modelarchive.exchange import gguf
from tests.exchange.gguf import wire
from tests.exchange.gguf.test_files import FOREIGN, put
from tests.exchange.gguf.test_reading import outputs

package = pytest.importorskip("gguf")


def tensors(path: Path) -> dict[str, tuple[str, bytes, tuple[int, ...]]]:
    return {
        each.name: (each.tensor_type.name, each.data.tobytes(), tuple(map(int, each.shape)))
        for each in package.GGUFReader(path).tensors
    }


def without_factors(path: Path) -> dict[str, tuple[str, bytes, tuple[int, ...]]]:
    """Factors of frequencies are computed: in double precision here, in single by the converter."""
    found = tensors(path)
    name, kind, raw, shape = "rope_freqs.weight", *found.get("rope_freqs.weight", ("F32", b"", (0,)))
    return found | {name: (kind, np.frombuffer(raw, "<f4").round(5).tobytes(), shape)}


def fields(path: Path) -> dict[str, Any]:
    found = {key: field.contents() for key, field in package.GGUFReader(path).fields.items()}
    return {key: value for key, value in found.items() if not key.startswith("GGUF.")}


@pytest.mark.parametrize("name", ["llama", "qwen2", "gpt2"])
def test_a_network_comes_back_as_the_converter_wrote_it(name: str, tmp_path: Path) -> None:
    ma.convert(FOREIGN / f"{name}.gguf", tmp_path / "x.h5")
    assert ma.convert(tmp_path / "x.h5", tmp_path / "x.gguf") == []
    assert without_factors(tmp_path / "x.gguf") == without_factors(FOREIGN / f"{name}.gguf")
    before, after = fields(FOREIGN / f"{name}.gguf"), fields(tmp_path / "x.gguf")
    assert {key: after.get(key) for key in before if key != "general.quantization_version"} == {
        key: value for key, value in before.items() if key != "general.quantization_version"
    }


@pytest.mark.parametrize(("name", "dtype"), [("half", "f16"), ("quantised", "q8_0")])
def test_narrow_numbers_come_back_as_they_were(name: str, dtype: str, tmp_path: Path) -> None:
    """Halves are exact in float32, and Q8_0 of what Q8_0 means is nearly the same: a step is the largest by 127."""
    ma.convert(FOREIGN / f"{name}.gguf", tmp_path / "x.h5")
    ma.convert(tmp_path / "x.h5", tmp_path / "x.gguf", dtype=dtype)
    ours, theirs = tensors(tmp_path / "x.gguf"), tensors(FOREIGN / f"{name}.gguf")
    assert {key: value[0] for key, value in ours.items()} == {key: value[0] for key, value in theirs.items()}
    if name == "half":
        assert ours == theirs
    found, known = (gguf.read(path).parameters for path in (tmp_path / "x.gguf", FOREIGN / f"{name}.gguf"))
    for key in known:
        assert np.abs(found[key] - known[key]).max() <= 1e-3 * np.abs(known[key]).max()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qwen3", "gemma", "mixtral", "qwen2moe", "qwen3moe", "yarn", "glm4"])
def test_a_network_that_transformers_may_have_to_build_comes_in_and_goes_back(name: str, tmp_path: Path) -> None:
    pytest.importorskip("torch"), pytest.importorskip("transformers")
    ma.convert(FOREIGN / f"{name}.gguf", tmp_path / "x.h5")
    assert outputs(name, ma.load_model(tmp_path / "x.h5")) < 1e-5
    with ma.open(tmp_path / "x.h5") as archive:
        assert any(list(words)[:1] == ["word0"] for words in archive.tokens.values())
    assert ma.convert(tmp_path / "x.h5", tmp_path / "x.gguf") == []
    ours, theirs = tensors(tmp_path / "x.gguf"), tensors(FOREIGN / f"{name}.gguf")
    assert ours.keys() == theirs.keys()
    for key in theirs:
        found, known = (np.frombuffer(each[key][1], "<f4") for each in (ours, theirs))
        # Gemma's norms lose 1 and get it again.
        np.testing.assert_allclose(found, known, atol=0 if "norm" not in key else 1e-7)
    before, after = fields(FOREIGN / f"{name}.gguf"), fields(tmp_path / "x.gguf")
    assert {key for key in before if after.get(key) != before[key]} <= {"general.quantization_version"}


def test_a_folder_and_back(tmp_path: Path) -> None:
    ma.convert(FOREIGN / "llama.gguf", f"{tmp_path}/folder/")
    assert (tmp_path / "folder" / "config.json").exists()
    ma.convert(tmp_path / "folder", tmp_path / "x.gguf")
    assert without_factors(tmp_path / "x.gguf") == without_factors(FOREIGN / "llama.gguf")
    assert outputs("llama", ma.load_model(tmp_path / "x.gguf")) < 1e-5


def llama(**options: Any) -> nn.Block:
    sizes = {"vocabulary": 40, "units": 32, "layers": 2, "heads": 4, "kv_heads": 2, "hidden_units": 48}
    network = zoo.Llama(**sizes | options)
    network.initialize(seed=0)
    network(WORDS)
    return network


WORDS = np.array([[3, 1, 7, 30, 2]])


@pytest.mark.parametrize(
    "scaling",
    [None, {"type": "linear", "factor": 2.0},
     {"type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
      "original_max_position": 32.0}],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("base", [10000.0, 500000.0])
def test_a_network_of_the_zoo(scaling: dict[str, Any] | None, base: float, tmp_path: Path) -> None:
    network = llama(scaling=scaling, base=base)
    gguf.write(network, tmp_path / "x.gguf")
    again = gguf.read(tmp_path / "x.gguf").build()
    np.testing.assert_allclose(again(WORDS), network(WORDS), rtol=1e-5, atol=1e-5)


def test_gpt_2_of_the_zoo(tmp_path: Path) -> None:
    network = zoo.GPT2(vocabulary=40, units=32, layers=2, heads=4, max_length=16)
    network.initialize(seed=0)
    expected = network(WORDS)
    gguf.write(network, tmp_path / "x.gguf")
    assert "output.weight" not in tensors(tmp_path / "x.gguf")
    assert np.array_equal(gguf.read(tmp_path / "x.gguf").build()(WORDS), expected)


def test_what_the_architecture_cannot_say_is_no_whole_model(tmp_path: Path) -> None:
    network = llama()
    network.layers[1].mlp.gate_proj.activation = "relu"
    notes = gguf.write(network, tmp_path / "x.gguf")
    assert any(note.where == "(architecture)" for note in notes)
    assert fields(tmp_path / "x.gguf")["general.architecture"] == "modelarchive"
    found = gguf.read(tmp_path / "x.gguf")
    assert found.architecture is None
    assert np.array_equal(found.parameters["norm.weight"], network.norm.weight.data())


def test_another_network_gives_its_parameters(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2D(8, 3))
    network.initialize(seed=0)
    network(np.ones((1, 2, 5, 5), np.float32))
    notes = gguf.write(network, tmp_path / "x.gguf", dtype="q8_0")
    assert {note.where for note in notes} >= {"(architecture)", "0.weight"}
    assert tensors(tmp_path / "x.gguf")["0.weight"][0] == "F16"
    assert tensors(tmp_path / "x.gguf")["0.bias"][0] == "F32"


DTYPES = ["float32", "float16", "float64", "bfloat16", "int8", "int16", "int32", "int64"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_alone_stay_as_they_are(dtype: str, tmp_path: Path) -> None:
    arrays = {
        "a": np.arange(6).reshape(1, 2, 3).astype(np.dtype(getattr(ml_dtypes, dtype, dtype))),
        "none": np.zeros((0, 4), np.dtype(getattr(ml_dtypes, dtype, dtype))),
        "one": np.array(5).astype(np.dtype(getattr(ml_dtypes, dtype, dtype))),
    }
    assert gguf.write(arrays, tmp_path / "x.gguf") == []
    found = gguf.read(tmp_path / "x.gguf").parameters
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype or (dtype, name) == ("bfloat16", "one")  # which the package cannot read
        assert np.array_equal(found[name], array)
    assert tensors(tmp_path / "x.gguf")["a"][1] == arrays["a"].tobytes()


def test_what_gguf_has_no_word_for_is_listed_and_nothing_is_written(tmp_path: Path) -> None:
    arrays = {
        "five": np.zeros((1, 1, 1, 1, 1), np.float32),
        "bool": np.zeros(2, bool),
        "unsigned": np.zeros(2, np.uint32),
        "complex": np.zeros(2, np.complex64),
        "good": np.zeros(2, np.float32),
    }
    with pytest.raises(ma.ConversionError) as caught:
        gguf.write(arrays, tmp_path / "x.gguf")
    assert {where for where, _ in caught.value.unsupported} == set(arrays) - {"good"}
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="q8_0"):
        gguf.write({"a": arrays["good"]}, tmp_path / "x.gguf", dtype="q4_k")


def test_a_name_that_programs_of_ggml_refuse_is_noted(tmp_path: Path) -> None:
    (note,) = gguf.write({"a" * 64: wire.numbers(4)}, tmp_path / "x.gguf")
    assert "64 bytes" in note.what


def test_metadata_and_words_come_back(tmp_path: Path) -> None:
    metadata = {"license": "MIT", "numbers": [1, 2.5, None], "gguf": {"values": {"a.b": 3}, "types": {"a.b": "uint8"}}}
    words = [f"w{at}" for at in range(40)]
    ma.save_model(tmp_path / "x.h5", llama(), metadata=metadata, tokens={"embed_tokens.weight": words})
    notes = ma.convert(tmp_path / "x.h5", tmp_path / "x.gguf")
    assert any(note.where == "(tokenizer)" for note in notes)
    bundle = gguf.read(tmp_path / "x.gguf")
    assert bundle.metadata["license"] == "MIT"
    assert bundle.metadata["numbers"] == [1, 2.5, None]
    assert bundle.metadata["gguf"]["values"]["a.b"] == 3
    assert list(bundle.tokens["model.embed_tokens.weight"]) == words


@pytest.mark.parametrize(
    ("value", "kind"),
    [(300, "uint8"), (-1, "uint32"), ("text", "float32"), (1, "bool"), ([1], "uint8"), (1, "array of uint8"),
     ([1, "a"], "array of string"), (1, "strange"), (None, "string"), (1e300, "float32"), ({}, "array of array")],
)  # fmt: skip
def test_metadata_that_fit_no_type_are_left_out(value: Any, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    ma.save_model(path, llama(), metadata={"gguf": {"values": {"k": value}, "types": {"k": kind}}})
    notes = ma.convert(path, tmp_path / "x.gguf")
    assert [note.where for note in notes if "left out" in note.what] == ["k"]
    assert "k" not in fields(tmp_path / "x.gguf")


def test_blocks_are_written_as_numbers(tmp_path: Path) -> None:
    notes = ma.convert(FOREIGN / "blocks.gguf", tmp_path / "x.gguf", dtype="bf16")
    assert any("dequantised" in note.what for note in notes)
    assert {each[0] for each in tensors(tmp_path / "x.gguf").values()} == {"BF16"}


def test_a_window_is_left_out_with_a_note(tmp_path: Path) -> None:
    config = {
        "model_type": "mistral", "architectures": ["MistralForCausalLM"], "vocab_size": 40, "hidden_size": 32,
        "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "sliding_window": 3, "rms_norm_eps": 1e-5,
    }  # fmt: skip
    from modelarchive.exchange.huggingface.config import Config
    from modelarchive.exchange.huggingface.families import FAMILIES
    from modelarchive.exchange.huggingface.reading import described
    from modelarchive.exchange.huggingface.traits import Traits

    network = FAMILIES["mistral"].make(Config(config), Traits("ForCausalLM", ("input_ids",)), 100)
    assert network is not None
    described(network, ("input_ids",), Config(config))
    network.initialize(seed=0)
    ma.save_model(tmp_path / "x.h5", network, inputs=WORDS, metadata={"huggingface": {"config": config, "files": {}}})
    notes = ma.convert(tmp_path / "x.h5", tmp_path / "x.gguf")
    assert any(note.where == "sliding_window" and "3" in note.what for note in notes)
    again = gguf.read(tmp_path / "x.gguf").build()
    short = WORDS[:, :3]
    np.testing.assert_allclose(again(short), network(short), rtol=1e-5, atol=1e-5)


def test_an_old_file_stays_where_nothing_can_be_written(tmp_path: Path) -> None:
    path = put(tmp_path, wire.small())
    with pytest.raises(ma.ConversionError):
        gguf.write({"a": np.zeros(2, bool)}, path)
    assert path.read_bytes() == wire.small()
