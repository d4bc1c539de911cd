#!/usr/bin/env bash
# transformers 5.24.0 (PreTrainedConfig.convert_rope_params_to_dict)
# A config.json that says rotary positions for transformers 4 and 5 alike, with rope_scaling beside rope_parameters, loses
# the rope_theta inside rope_parameters: 500000 becomes 10000, without a word, and so every output of the model changes.
# One would have guessed that the newer setting counts, or that both are merged, as rope_theta at the top level is.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet 'transformers==5.24.0'
"$folder/environment/bin/python" - 2>"$folder/warnings" <<'PYTHON'
from transformers import LlamaConfig

newer = {"rope_type": "default", "rope_theta": 500000.0}
older = {"type": "linear", "factor": 4.0}
found = {
    "rope_parameters": LlamaConfig(rope_parameters=dict(newer)),
    "rope_scaling beside it": LlamaConfig(rope_parameters=dict(newer), rope_scaling=dict(older)),
    "and rope_theta at the top": LlamaConfig(rope_parameters=dict(newer), rope_scaling=dict(older), rope_theta=500000.0),
}
for name, config in found.items():
    print(f"{name}: {config.rope_parameters}")
assert [config.rope_parameters["rope_theta"] for config in found.values()] == [500000.0, 10000.0, 500000.0]
PYTHON
echo "warnings that name rope: $(grep -c rope "$folder/warnings" || true)"
test "$(grep -c rope "$folder/warnings" || true)" = 0
