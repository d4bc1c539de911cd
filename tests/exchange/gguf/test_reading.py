"""Networks in the files that llama.cpp's own converter wrote: what transformers computed before, computed here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange import gguf
from modelarchive.exchange.gguf.files import contents
from modelarchive.exchange.gguf.frequencies import llama3_factors, scaling_of
from modelarchive.exchange.mapped import MappedFile
from tests.exchange.gguf import wire
from tests.exchange.gguf.test_files import FOREIGN, put

pytest.importorskip("gguf")
#: Largest difference, relative to the largest output: of numbers as they are, and as they are rounded in the file.
NEAR = {"llama": 1e-5, "qwen2": 1e-5, "gpt2": 1e-5, "bert": 1e-5, "half": 1e-2, "quantised": 0.3}


def outputs(name: str, network: Any) -> float:
    with np.load(FOREIGN / f"{name}.npz") as known:
        found = network(known["x"])
        found = np.asarray(found["logits"] if isinstance(found, dict) else found)
        return float(np.abs(found - known["y"]).max() / np.abs(known["y"]).max())


@pytest.mark.parametrize("name", NEAR)
def test_a_network_computes_what_transformers_did(name: str) -> None:
    assert outputs(name, gguf.read(FOREIGN / f"{name}.gguf").build()) < NEAR[name]


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_through_an_archive(name: str, tmp_path: Path) -> None:
    notes = ma.convert(FOREIGN / f"{name}.gguf", tmp_path / "x.h5")
    assert notes == []
    assert outputs(name, ma.load_model(tmp_path / "x.h5")) < 1e-5
    with ma.open(tmp_path / "x.h5") as archive:
        words = next(iter(archive.tokens.values()))
        assert list(words)[:2] == ["word0", "word1"]
        assert "tokenizer.ggml.tokens" not in archive.metadata["gguf"]["values"]
        assert archive.metadata["gguf"]["values"]["tokenizer.ggml.bos_token_id"] == 1


def test_names_are_those_of_the_family() -> None:
    names = list(gguf.read(FOREIGN / "qwen2.gguf").parameters)
    assert "model.layers.1.self_attn.q_proj.bias" in names
    assert "model.layers.1.self_attn.out_proj.weight" in names
    assert "lm_head.weight" in names


@pytest.mark.parametrize(
    ("name", "dtype", "expected"),
    [("llama", None, "float32"), ("half", None, "float32"), ("half", "float16", "float16"),
     ("quantised", "bfloat16", "bfloat16")],
)  # fmt: skip
def test_a_whole_model_has_one_dtype(name: str, dtype: str | None, expected: str) -> None:
    bundle = gguf.read(FOREIGN / f"{name}.gguf", dtype=dtype)
    assert {str(each.dtype) for each in bundle.parameters.values()} == {expected}
    if name == "quantised":
        assert any(f"dequantised to {expected}" in note.what for note in bundle.notes)


def test_parameters_alone_stay_as_they_are_stored() -> None:
    bundle = gguf.read(FOREIGN / "half.gguf", parameters_only=True)
    assert bundle.parameters["token_embd.weight"].dtype == np.float16
    assert bundle.parameters["output_norm.weight"].dtype == np.float32
    assert bundle.architecture is None
    quantised = gguf.read(FOREIGN / "quantised.gguf", parameters_only=True)
    assert quantised.parameters["blk.0.attn_q.weight"].dtype == np.float32


def test_a_mask_is_an_input_where_it_is_named(tmp_path: Path) -> None:
    ma.convert(FOREIGN / "llama.gguf", tmp_path / "x.h5", inputs=["input_ids", "attention_mask"])
    network = ma.load_model(tmp_path / "x.h5")
    with np.load(FOREIGN / "llama.npz") as known:
        found = network(known["x"], np.ones_like(known["x"]))
        assert np.abs(found - known["y"]).max() < 1e-4


def test_a_dtype_that_is_none() -> None:
    with pytest.raises(ValueError, match="float32"):
        gguf.read(FOREIGN / "llama.gguf", dtype="int8")
    with pytest.raises(ValueError, match="dtype"):
        ma.convert(FOREIGN / "llama.gguf", "x.h5", dtype="q8_0")
    with pytest.raises(ValueError, match="GGUF"):
        ma.convert(FOREIGN.parent / "safetensors" / "dtypes.safetensors", "x.h5", dtype="float16")


def test_another_architecture_gives_its_parameters_and_is_named(tmp_path: Path) -> None:
    path = put(tmp_path, wire.small())
    notes = ma.convert(path, tmp_path / "x.h5")
    assert "'strange'" in notes[0].what
    assert "llama" in notes[0].what
    with pytest.raises(ma.FormatError, match="'strange'"):
        ma.load_model(path)


def changed(
    folder: Path,
    name: str = "llama",
    *,
    without: str = "",
    renamed: tuple[str, str] = ("", ""),
    **more: tuple[int, Any],
) -> Path:
    """A file with other metadata, and fewer or other tensors."""
    found = contents(MappedFile(FOREIGN / f"{name}.gguf"))
    kinds = {"uint32": wire.UINT32, "int32": wire.INT32, "float32": wire.FLOAT32, "string": wire.STRING,
             "bool": wire.BOOL}  # fmt: skip
    said = {
        key: (kinds[found.types[key]], value)
        for key, value in found.values.items()
        if not key.startswith("tokenizer") and found.types[key] in kinds
    }
    said |= {key.replace("__", "."): value for key, value in more.items()}
    pairs = [wire.pair(key, *value) for key, value in said.items() if value[1] is not None]
    infos, data = [], b""
    for each, tensor in found.tensors.items():
        if each != without:
            infos.append(wire.info(each.replace(*renamed), tensor.shape[::-1], tensor.encoding.code, len(data)))
            data += tensor.stored.read().tobytes()
            data += bytes(-len(data) % 32)
    return put(folder, wire.whole(pairs, infos, data))


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "experts without tensors": ({"llama__expert_count": (wire.UINT32, 8)}, "blk.0.ffn_gate.weight"),
    "not causal": ({"llama__attention__causal": (wire.BOOL, 0)}, "llama.attention.causal"),
    "windows of some layers": (
        {"name": "olmo3", "olmo2__attention__sliding_window_pattern": (wire.BOOL, 1)},
        "olmo2.attention.sliding_window_pattern",
    ),
    "windows with another base": (
        {"name": "olmo3", "olmo2__rope__freq_base_swa": (wire.FLOAT32, 7.0)},
        "olmo2.rope.freq_base_swa",
    ),
    "more turned than a head has": (
        {"name": "phi2", "phi2__rope__dimension_count": (wire.UINT32, 800)},
        "phi2.rope.dimension_count",
    ),
    "nothing turned": ({"name": "glm4", "glm4__rope__dimension_count": (wire.UINT32, 0)}, "glm4.rope.dimension_count"),
    "a key nobody knows": ({"llama__secret": (wire.FLOAT32, 2.0)}, "llama.secret"),
    "longrope": ({"llama__rope__scaling__type": (wire.STRING, "longrope")}, "llama.rope.scaling.type"),
    "yarn of nothing": (
        {"llama__rope__scaling__type": (wire.STRING, "yarn"), "llama__rope__scaling__factor": (wire.FLOAT32, -1.0)},
        "llama.rope.scaling.type",
    ),
    "yarn scaled otherwise": (
        {"name": "yarn", "qwen2__rope__scaling__yarn_log_multiplier": (wire.FLOAT32, 0.5)},
        "qwen2.rope.scaling.yarn_log_multiplier",
    ),
    "a part of experts is missing": (
        {"name": "mixtral", "without": "blk.1.ffn_up_exps.weight"},
        "blk.1.ffn_up_exps.weight",
    ),
    "experts of other shapes": (
        {"name": "qwen3moe", "renamed": ("blk.0.ffn_up_exps", "blk.0.ffn_gate_inp_")},
        "blk.0.ffn_up_exps.weight",
    ),
    "heads in part": ({"llama__rope__dimension_count": (wire.UINT32, 4)}, "llama.rope.dimension_count"),
    "values of another length": ({"llama__attention__value_length": (wire.UINT32, 4)}, "value_length"),
    "heads that do not divide": ({"llama__attention__head_count_kv": (wire.UINT32, 3)}, "llama.attention.head_count"),
    "no heads": ({"llama__attention__head_count": (wire.UINT32, 0)}, "llama.attention.head_count"),
    "no number of layers": ({"llama__block_count": (wire.UINT32, None)}, ""),
    "more layers than tensors": ({"llama__block_count": (wire.UINT32, 2**31)}, "llama.block_count"),
    "a text for a number": ({"llama__block_count": (wire.STRING, "two")}, "llama.block_count"),
    "an epsilon of nothing": (
        {"llama__attention__layer_norm_rms_epsilon": (wire.FLOAT32, 0.0)},
        "llama.attention.layer_norm_rms_epsilon",
    ),
    "a tensor is missing": ({"without": "blk.1.ffn_up.weight"}, "blk.1.ffn_up.weight"),
    "a tensor too many": ({"renamed": ("blk.1.ffn_up", "blk.1.ffn_sideways")}, "blk.1.ffn_sideways.weight"),
    "a base that is a text": ({"llama__rope__freq_base": (wire.STRING, "x")}, "llama.rope.freq_base"),
    "a base below zero": ({"llama__rope__freq_base": (wire.FLOAT32, -5.0)}, "llama.rope.freq_base"),
    "a base without end": ({"llama__rope__freq_base": (wire.FLOAT32, np.inf)}, "llama.rope.freq_base"),
    "a width that is a text": (
        {"name": "gemma2", "gemma2__block_count": (wire.UINT32, 46), "gemma2__embedding_length": (wire.STRING, "wide")},
        "gemma2.embedding_length",
    ),
    "no width": (
        {"name": "gemma2", "gemma2__block_count": (wire.UINT32, 46), "gemma2__embedding_length": (wire.UINT32, None)},
        "gemma2.",
    ),
    "another width": ({"llama__embedding_length": (wire.UINT32, 64)}, "token_embd.weight"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_said_is_named_as_the_file_names_it(case: str, tmp_path: Path) -> None:
    options, where = WRONG[case]
    path = changed(tmp_path, **options)
    with pytest.raises(ma.ConversionError) as caught:
        ma.convert(path, tmp_path / "x.h5")
    text = str(caught.value)
    assert any(where in each for each, _ in caught.value.unsupported)
    assert "hidden_size" not in text
    assert "config.json" not in text
    assert "--parameters-only" in text
    ma.convert(path, tmp_path / "x.h5", parameters_only=True)


@pytest.mark.parametrize(
    ("low", "high", "length", "base", "head_dim"),
    [(1.0, 4.0, 8192, 500000.0, 128), (1.0, 4.0, 32, 500.0, 8), (2.0, 8.0, 4096, 1e6, 64), (1.0, 2.0, 50, 10000.0, 32),
     (1.0, 4.0, 1000, 10000.0, 4), (1.0, 32.0, 8192, 500000.0, 64)],
)  # fmt: skip
def test_factors_of_frequencies_are_understood(
    low: float, high: float, length: int, base: float, head_dim: int
) -> None:
    """As transformers defines them (ROPE_INIT_FUNCTIONS["llama3"]), whatever settings are found for them."""
    said = {"factor": 8.0, "low_freq_factor": low, "high_freq_factor": high, "original_max_position_embeddings": length}
    factors = []
    for frequency in base ** -(np.arange(0, head_dim, 2) / head_dim):
        wavelength = 2 * np.pi / frequency
        smooth = (length / wavelength - low) / (high - low)
        factors.append(
            1.0 if wavelength < length / high else 8.0 if wavelength > length / low else
            1 / ((1 - smooth) / 8.0 + smooth)
        )  # fmt: skip
    expected = np.array(factors, np.float32)
    np.testing.assert_allclose(llama3_factors(head_dim, base, said), expected, rtol=1e-6)
    found = scaling_of(expected, base)
    assert found is not None
    if found["rope_type"] == "llama3":
        np.testing.assert_allclose(llama3_factors(head_dim, base, found), expected, rtol=3e-6)
    else:
        assert (expected == 1).all()


@pytest.mark.parametrize("rows", [2**28, 2**40])
def test_rows_without_numbers_have_no_words(rows: int, tmp_path: Path) -> None:
    """An embedding of no width takes no byte of the file, and may have any number of rows."""
    words = wire.array("tokenizer.ggml.tokens", wire.STRING, ["a"])
    path = put(tmp_path, wire.whole([words], [wire.info("token_embd.weight", (0, rows))]))
    with pytest.raises(ma.UnsafeFileError, match="a word for each row"):
        gguf.read(path)


def test_factors_that_are_of_nothing_known() -> None:
    assert scaling_of(np.array([1, 3, 2, 9], np.float32), 10000.0) is None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gemma2", "gemma3", "phi3", "olmo3"])
def test_a_network_that_transformers_may_have_to_build(name: str) -> None:
    """Those that can be written, too, are in test_writing.py: each is built once."""
    pytest.importorskip("torch"), pytest.importorskip("transformers")
    bundle = gguf.read(FOREIGN / f"{name}.gguf")
    assert outputs(name, bundle.build()) < 1e-5
    assert any(list(words)[:1] == ["word0"] for words in bundle.tokens.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama-q8", "qwen2"])
def test_transformers_reads_the_same(name: str, tmp_path: Path) -> None:
    """Its own reader of GGUF, on files that have no factors of frequencies, which it does not look at."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    source = {"llama-q8": "quantised"}.get(name, name)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        FOREIGN, gguf_file=f"{source}.gguf", dtype=torch.float32
    ).eval()
    words = np.random.default_rng(0).integers(0, 40, (2, 9))
    with torch.no_grad():
        expected = theirs(torch.from_numpy(words)).logits.numpy()
    found = gguf.read(FOREIGN / f"{source}.gguf").build()(words)
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "where"),
    [
        ("phi3", {"phi3__block_count": (wire.STRING, "two")}, "(metadata)"),
        ("qwen3moe", {"qwen3moe__expert_count": (wire.UINT32, 9)}, "(metadata)"),
        ("qwen3moe", {"qwen3moe__expert_used_count": (wire.UINT32, 90)}, ""),
        ("mixtral", {"renamed": ("blk.0.attn_norm.weight", "blk.0.attn_output.bias")}, "blk.0.attn_output.bias"),
    ],
)
def test_what_transformers_would_not_build_or_leave_out(
    name: str, options: dict[str, Any], where: str, tmp_path: Path
) -> None:
    """A tensor that llama.cpp uses and transformers' class has no place for means another network."""
    pytest.importorskip("torch"), pytest.importorskip("transformers")
    path = changed(tmp_path, name, **options)
    with pytest.raises(ma.ConversionError) as caught:
        gguf.read(path)
    assert any(where in each for each, _ in caught.value.unsupported)


@pytest.mark.slow
def test_a_gate_of_one_row_that_was_written_as_a_vector(tmp_path: Path) -> None:
    pytest.importorskip("torch"), pytest.importorskip("transformers")
    package = pytest.importorskip("gguf")
    found = contents(MappedFile(FOREIGN / "qwen2moe.gguf"))
    writer = package.GGUFWriter(tmp_path / "x.gguf", "qwen2moe")
    for key, value in found.values.items():
        if key.startswith("qwen2moe."):
            add = writer.add_float32 if isinstance(value, float) else writer.add_uint32
            add(key, value)
    for key, tensor in found.tensors.items():
        array = tensor.array().read()
        writer.add_tensor(key, array[0] if "gate_inp_shexp" in key else array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert outputs("qwen2moe", gguf.read(tmp_path / "x.gguf").build()) < 1e-5


@pytest.mark.parametrize(("kind", "pooled"), [(1, lambda y: y.mean(1)), (2, lambda y: y[:, 0])])
def test_places_of_bert_become_one_vector(kind: int, pooled: Any, tmp_path: Path) -> None:
    path = changed(tmp_path, "bert", bert__pooling_type=(wire.UINT32, kind))
    with np.load(FOREIGN / "bert.npz") as known:
        found = gguf.read(path).build()(known["x"], np.ones_like(known["x"]))
        np.testing.assert_allclose(found, pooled(known["y"]), atol=1e-5)


@pytest.mark.parametrize(
    ("key", "value"),
    [("pooling_type", (wire.UINT32, 3)), ("attention.causal", (wire.BOOL, 1)),
     ("attention.head_count_kv", (wire.UINT32, 2))],
)  # fmt: skip
def test_another_bert(key: str, value: tuple[int, Any], tmp_path: Path) -> None:
    with pytest.raises(ma.ConversionError, match=f"bert.{key}"):
        gguf.read(changed(tmp_path, "bert", **{f"bert.{key}": value}))
