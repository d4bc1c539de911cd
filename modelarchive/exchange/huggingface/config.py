"""config.json, option by option: each read with its type and bounds, and whatever cannot be said gathered."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from modelarchive.store.strict import short

#: Activations of transformers -> ours; None: nothing is applied.
ACTIVATIONS: Final[dict[str, str | None]] = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_accurate": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "hardswish": "hard_swish",
    "leaky_relu": "leaky_relu",
    "linear": None,
    "mish": "mish",
    "relu": "relu",
    "relu6": "relu6",
    "sigmoid": "sigmoid",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}

#: Options that change nothing of what a model computes: training, text generation, and what it was made with.
_WITHOUT_EFFECT: Final = frozenset(
    {
        "_attn_implementation", "_attn_implementation_autoset", "_name_or_path", "_num_labels",
        "architectures", "attention_dropout", "attention_probs_dropout_prob", "attn_pdrop", "bad_words_ids",
        "begin_suppress_tokens", "bos_token_id", "chunk_size_feed_forward", "classifier_dropout",
        "decoder_start_token_id", "directionality", "diversity_penalty", "do_sample", "dropout", "dtype",
        "early_stopping", "embd_pdrop", "encoder_no_repeat_ngram_size", "eos_token_id",
        "exponential_decay_length_penalty", "finetuning_task", "forced_bos_token_id", "forced_eos_token_id",
        "gradient_checkpointing", "hidden_dropout_prob", "initializer_range", "keys_to_ignore_at_inference",
        "length_penalty", "max_length", "min_length", "model_type", "n_ctx", "no_repeat_ngram_size",
        "num_beam_groups", "num_beams", "num_return_sequences", "output_attentions", "output_hidden_states",
        "output_past", "output_scores", "pad_token_id", "pooler_fc_size", "pooler_num_attention_heads",
        "pooler_num_fc_layers", "pooler_size_per_head", "pooler_type", "prefix", "problem_type", "qa_dropout",
        "remove_invalid_values", "reorder_and_upcast_attn", "repetition_penalty", "resid_pdrop",
        "return_dict", "return_dict_in_generate", "sep_token_id", "seq_classif_dropout", "summary_activation",
        "summary_first_dropout", "summary_last_dropout", "summary_proj_to_labels", "summary_type",
        "summary_use_proj", "suppress_tokens", "task_specific_params", "temperature", "tie_encoder_decoder",
        "tokenizer_class", "top_k", "top_p", "torch_dtype", "torchscript", "transformers_version",
        "typical_p", "use_bfloat16", "use_cache",
    }
)  # fmt: skip


class Config:
    """The options of a model, read one by one.

    Args:
        values: What config.json says.

    Attributes:
        values: As given.
        problems: What cannot be expressed, or is no valid value: (option, what).
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values
        self.problems: list[tuple[str, str]] = []
        self._asked: set[str] = set()

    def get(self, *names: str, default: Any = None) -> Any:
        """The value of an option under the first of its names that is there; null counts as not there."""
        self._asked.update(names)
        for name in names:
            if self.values.get(name) is not None:
                return self.values[name]
        return default

    def refuse(self, name: str, what: str) -> None:
        """Note what cannot be expressed."""
        self.problems.append((name, what))

    def size(self, *names: str, default: int, least: int = 1, most: int = 2**31 - 1) -> int:
        """An integer within bounds."""
        value = self.get(*names, default=default)
        if type(value) is not int or not least <= value <= most:
            self.refuse(names[0], f"is {short(value)}, expected an integer from {least} to {most:,}")
            return max(least, min(most, default))
        return value

    def index(self, name: str, *, default: int | None, below: int) -> int | None:
        """An integer from 0 to below `below`, or None; out of range counts as None, as -1 does in old files."""
        value = self.get(name) if name in self.values else default
        if value is not None and type(value) is not int:
            self.refuse(name, f"is {short(value)}, expected an integer or null")
        return value if type(value) is int and 0 <= value < below else None

    def number(self, name: str, *, default: float) -> float:
        """A finite number above 0."""
        value = self.get(name, default=default)
        if type(value) not in (int, float) or not 0 < value < math.inf:
            self.refuse(name, f"is {short(value)}, expected a number above 0")
            return default
        return float(value)

    def flag(self, name: str, *, default: bool) -> bool:
        """True or false."""
        value = self.get(name, default=default)
        if type(value) is not bool:
            self.refuse(name, f"is {short(value)}, expected true or false")
            return default
        return value

    def activation(self, *names: str, default: str) -> str | None:
        """An activation by our name for it."""
        value = self.get(*names, default=default)
        if not isinstance(value, str) or value not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            self.refuse(names[0], f"the activation {short(value)} is none of {known}")
            return None
        return ACTIVATIONS[value]

    def only(self, name: str, *allowed: Any, why: str = "") -> None:
        """Refuse every value but these; null and nothing are allowed always."""
        value = self.get(name, default=allowed[0] if allowed else None)
        if value not in allowed and value not in (None, [], {}):
            expected = " or ".join(short(each) for each in allowed) or "nothing"
            self.refuse(name, f"is {short(value)}, expected {expected}" + (f": {why}" if why else ""))

    def labels(self) -> int:
        """How many classes a head tells apart: those that have names, else the count, else 2."""
        named = self.get("id2label")
        self.get("label2id")
        if isinstance(named, Mapping) and named:
            self.get("num_labels")
            return len(named)
        return self.size("num_labels", default=2)

    def unknown(self, more: Iterable[str] = ()) -> list[str]:
        """Options that nobody has asked for and that are not known to be without effect."""
        return sorted(set(self.values) - self._asked - _WITHOUT_EFFECT - set(more))


def everywhere(config: Config) -> None:
    """Refuse what no family here can express."""
    config.only("is_encoder_decoder", False, why="networks of two parts are not read")
    config.only("is_decoder", False, why="the family is read as an encoder")
    config.only("add_cross_attention", False)
    config.only("pruned_heads", why="layers of different numbers of heads are not read")
    config.only("quantization_config", why="quantised parameters have no meaning in the vocabulary")
    config.only("auto_map", why="it names code to be imported, and none is run")
