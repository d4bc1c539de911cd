"""Whole configurations as transformers 4.57.3 writes them: run with it, the output is transformers-4.57.3.json."""

import json

import transformers

BERT = {
    "vocab_size": 40, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40,
    "max_position_embeddings": 20,
}  # fmt: skip
LLAMA = {
    "vocab_size": 40, "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 40, "max_position_embeddings": 64,
}  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8,
}  # fmt: skip
WINDOW = {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}
CLASSES = {
    "Bert": BERT,
    "Roberta": BERT,
    "XLMRoberta": BERT,
    "Camembert": BERT,
    "Electra": BERT | {"embedding_size": 12},
    "DistilBert": {"vocab_size": 40, "dim": 24, "n_layers": 2, "n_heads": 4, "hidden_dim": 40},
    "GPT2": {"vocab_size": 40, "n_embd": 24, "n_layer": 2, "n_head": 4, "bos_token_id": 0, "eos_token_id": 0},
    "Llama": LLAMA | {"rope_theta": 500000.0, "rope_scaling": LLAMA3},
    "Mistral": LLAMA | {"sliding_window": 5, "rope_theta": 1000.0},
    "Qwen2": LLAMA | WINDOW | {"rope_theta": 1000000.0, "rope_scaling": {"type": "linear", "factor": 2.0}},
}

made = {name: getattr(transformers, f"{name}Config")(**options) for name, options in CLASSES.items()}
print(json.dumps({name: json.loads(config.to_json_string(use_diff=False)) for name, config in made.items()}, indent=1))
