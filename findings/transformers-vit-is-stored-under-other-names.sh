#!/usr/bin/env bash
# transformers 5.24.0 with torch 2.13.0 (ViTModel.save_pretrained)
# save_pretrained writes a ViT under other names than the module has: layers.0.attention.k_proj.weight of its state_dict
# stands as encoder.layer.0.attention.attention.key.weight in model.safetensors, so a third of the names agree.
# from_pretrained maps them back; load_state_dict of the very file that the module wrote does not.
# One would have guessed that model.safetensors holds the state_dict, as it does for BERT and GPT-2.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet 'transformers==5.24.0' 'torch==2.13.0' 'numpy==2.4.6'
"$folder/environment/bin/python" - "$folder/vit" 2>/dev/null <<'PYTHON'
import sys

from safetensors import safe_open
from transformers import ViTConfig, ViTModel

sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
model = ViTModel(ViTConfig(**sizes, image_size=8, patch_size=4))
model.save_pretrained(sys.argv[1])
with safe_open(f"{sys.argv[1]}/model.safetensors", "pt") as file:
    stored = set(file.keys())
own = set(model.state_dict())
print("names of the module:", len(own), "- of the file:", len(stored), "- of both:", len(own & stored))
print("only the module's:", min(own - stored))
print("only the file's:  ", min(stored - own))
assert len(own) == len(stored) == 24
assert len(own & stored) == 8
PYTHON
