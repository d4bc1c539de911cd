"""Makes the folders beside it, with transformers 5.23.0, torch 2.13.0 and tokenizers 0.23.3: ``python make.py``.

Models of small configurations with random parameters, saved by ``save_pretrained``, each with a tokenizer and, as
``io.npz``, inputs and the outputs that transformers gives for them.
"""

import json
from pathlib import Path

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

HERE = Path(__file__).parent
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sat", "##s", "on", "a", "mat", ".", "dög"]
PIECES = ["<s>", "</s>", "a", "b", "c", "ab", "abc", "\u0120", "\u0120a"]


def randomised(module):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0.3 if parameter.ndim == 1 else 0, 0.3, generator=generator)
    return module.eval()


def save(name, module, inputs, *, dtype=torch.float32, **options):
    folder = HERE / name
    module.to(dtype).save_pretrained(folder, **options)
    module = module.float()
    with torch.no_grad():
        found = module(**{key: torch.from_numpy(array) for key, array in inputs.items()}, return_dict=True)
    outputs = [value for key, value in found.items() if key != "past_key_values"]
    for file in folder.iterdir():
        file.chmod(0o644)
    np.savez(folder / "io.npz", **inputs, **{f"output_{at}": each.numpy() for at, each in enumerate(outputs)})
    return folder


rng = np.random.default_rng(0)
words, mask = rng.integers(5, 14, (2, 6)), np.array([[1] * 6, [1] * 4 + [0] * 2])
config = transformers.BertConfig(
    vocab_size=16,
    hidden_size=8,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=12,
    max_position_embeddings=10,
)
inputs = {"input_ids": words, "attention_mask": mask, "token_type_ids": rng.integers(0, 2, (2, 6))}
folder = save("bert", randomised(transformers.BertForMaskedLM(config)), inputs, max_shard_size="4KB")
(folder / "vocab.txt").write_text("".join(f"{word}\n" for word in WORDS), "utf-8")
(folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "do_lower_case": true}\n', "utf-8")

config = transformers.GPT2Config(
    vocab_size=9, n_embd=8, n_layer=2, n_head=2, n_positions=10, bos_token_id=0, eos_token_id=1
)
folder = save("gpt2", randomised(transformers.GPT2LMHeadModel(config)), {"input_ids": rng.integers(0, 9, (2, 6))})
(folder / "vocab.json").write_text(json.dumps({piece: at for at, piece in enumerate(PIECES)}), "utf-8")
(folder / "merges.txt").write_text("#version: 0.2\na b\nab c\n\u0120 a\n", "utf-8")

config = transformers.Qwen2Config(
    vocab_size=9,
    hidden_size=8,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    intermediate_size=12,
    use_sliding_window=True,
    sliding_window=3,
    max_window_layers=1,
)
module = randomised(transformers.Qwen2ForCausalLM(config))
folder = save("qwen2", module, {"input_ids": rng.integers(0, 9, (2, 6))}, dtype=torch.bfloat16)
vocabulary = {piece: at for at, piece in enumerate(PIECES[:8])}
tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[("a", "b"), ("ab", "c")], unk_token=None))
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.add_special_tokens(["<end>"])
tokenizer.save(str(folder / "tokenizer.json"))
