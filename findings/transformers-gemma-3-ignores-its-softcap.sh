#!/usr/bin/env bash
# transformers 5.24.0, torch 2.13.0, Python 3.11
#
# Gemma 2 and Gemma 3 have `attn_logit_softcapping` in their configurations, documented as the scaling factor of tanh on
# the attention's scores. Gemma 2 computes with it. Gemma 3 takes it, keeps it, writes it into config.json and computes
# the same with it and without, in eager attention too.
#
# One would have guessed that a documented setting counts, or is refused.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet transformers==5.24.0 torch==2.13.0
"$folder/environment/bin/python" - <<'PYTHON'
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM, Gemma3ForCausalLM, Gemma3TextConfig

sizes = dict(
    vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, head_dim=8, initializer_range=1.0, attn_implementation="eager",
)
found = {}
for config, model in ((Gemma2Config, Gemma2ForCausalLM), (Gemma3TextConfig, Gemma3ForCausalLM)):
    logits = []
    for cap in (None, 2.0):
        torch.manual_seed(0)
        network = model(config(**sizes, attn_logit_softcapping=cap)).eval()
        assert network.config.attn_logit_softcapping == cap
        with torch.no_grad():
            logits.append(network(torch.arange(12)[None]).logits)
    found[model.__name__] = float((logits[0] - logits[1]).abs().max())
    print(f"{model.__name__}: logits differ by {found[model.__name__]:.3g} with a softcap of 2 and without")
assert found["Gemma2ForCausalLM"] > 0.1
assert found["Gemma3ForCausalLM"] == 0
PYTHON
