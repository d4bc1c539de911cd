"""PEFT adapters: which are read, what their configuration says, and where in a model each of their arrays belongs."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from modelarchive.errors import ConversionError, FormatError
from modelarchive.exchange.budget import spend
from modelarchive.exchange.bundle import Note, deferred, few
from modelarchive.exchange.huggingface.folder import MAX_CONFIG_BYTES, Folder
from modelarchive.exchange.huggingface.merging import LowRank, added, with_rows
from modelarchive.store.deferred import Deferred
from modelarchive.store.strict import short

ADAPTER: Final = "adapter_config.json"
WEIGHTS: Final = ("adapter_model.safetensors", "adapter_model.bin")
#: What stands before the names of the model in an adapter's files.
_PREFIX: Final = "base_model.model."
#: Options that change nothing of what is merged: training, where it comes from, which modules the files have anyway.
_HARMLESS: Final = frozenset(
    {
        "auto_mapping", "base_model_name_or_path", "bias", "corda_config", "eva_config", "exclude_modules",
        "fan_in_fan_out", "inference_mode", "layers_pattern", "layers_to_transform", "loftq_config", "lora_bias",
        "lora_dropout", "lora_ga_config", "megatron_core", "merge_weights", "modules_to_save", "peft_type",
        "peft_version", "qalora_group_size", "revision", "runtime_config", "target_modules", "task_type", "use_dora",
    }
)  # fmt: skip
_READ: Final = frozenset({"alpha_pattern", "init_lora_weights", "lora_alpha", "r", "rank_pattern",
                          "trainable_token_indices", "use_rslora"})  # fmt: skip
#: Beginnings of `init_lora_weights` that leave the model's own weights as they are.
_INITIAL: Final = (None, True, False, "gaussian", "orthogonal", "eva")
#: Types of transformers of which some layers lie the other way, and the names of these.
_TURNED: Final = dict.fromkeys(
    ("gpt2", "openai-gpt", "imagegpt", "decision_transformer", "clvp_decoder"),
    re.compile(r"(.*\.)?(c_attn|c_proj|c_fc|q_attn)\.weight"),
)
#: Task -> end of the names of transformers' classes for it.
_TASKS: Final = {
    "SEQ_CLS": "ForSequenceClassification",
    "TOKEN_CLS": "ForTokenClassification",
    "QUESTION_ANS": "ForQuestionAnswering",
}
#: Names of what tells labels apart, and of the rows of words.
_LABELS: Final = re.compile(r"(^|\.)(classifier|score|out_proj)\.weight$")
_WORDS: Final = re.compile(r"(^|\.)(embed_tokens|word_embeddings|wte|shared|embed_in|lm_head|tok_embeddings)\.weight$")
#: What a pattern of names repeats, and between what it chooses: one of them, as both together take very long.
_ESCAPED: Final = re.compile(r"\\.", re.DOTALL)
_REPEATED: Final = re.compile(r"[*+?{]")
_MOST_CHOICES: Final = 8
_LONGEST_PATTERN, _LONGEST_NAME, _MOST_PATTERNS = 200, 300, 4096
#: Tries of a pattern that cost as much as a step of reading; memory that a label takes.
_TRIES: Final = 500
_LABEL_BYTES: Final = 300


class _Pattern(NamedTuple):
    """What an option is for modules of some names.

    Attributes:
        text: The pattern.
        tries: How often it may be tried at one place of a name.
        value: What the option is for them.
    """

    text: re.Pattern[str]
    tries: int
    value: float


class Adapter:
    """An adapter out of its folder.

    Args:
        folder: The folder, with ``adapter_config.json`` and ``adapter_model.safetensors``, or ``.bin``.

    Attributes:
        folder: As given.
        values: What its configuration says.
        replaced: Name in the model -> the array that takes its place.

    Raises:
        FormatError: It has no such files, or they are damaged.
        ConversionError: It is no LoRA, or has options that are not merged; lists all of them.
    """

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.values = folder.json(ADAPTER, most=MAX_CONFIG_BYTES)
        self._problems: list[tuple[str, str]] = []
        self._check_options()
        self._rank = self._number("r", 8)
        self._alpha = self._number("lora_alpha", 8)
        self._patterns = {name: list(self._pattern(name)) for name in ("rank_pattern", "alpha_pattern")}
        name = next((each for each in WEIGHTS if folder.has(each)), None)
        if name is None:
            raise FormatError(f"has no {WEIGHTS[0]}", file=folder.path, hint="save_pretrained of peft writes it")
        weights = folder.weights(name)
        self.replaced: dict[str, Deferred] = {}
        #: Path of a module -> its arrays by the ends of their names.
        self._modules: dict[str, dict[str, Deferred]] = {}
        self._sort(deferred(weights.parameters))
        self._refuse()

    # ------------------------------------------------------------------ options

    def _check_options(self) -> None:
        kind = self.values.get("peft_type")
        if kind != "LORA":
            raise ConversionError([("peft_type", f"is {short(kind)}, and only LORA is merged")])
        initial = self.values.get("init_lora_weights")
        if initial not in _INITIAL:
            what = f"is {short(initial)}, which changes the model's own weights when the adapter is loaded"
            self._problems.append(("init_lora_weights", what))
        for name, value in self.values.items():
            if name not in _HARMLESS | _READ and value not in (None, False, "", [], {}):
                self._problems.append((name, f"is {short(value)}: no option of what is merged"))
        if self.values.get("bias", "none") not in ("none", "all", "lora_only"):
            self._problems.append(("bias", f"is {short(self.values['bias'])}, expected none, all or lora_only"))

    def _number(self, name: str, default: int) -> float:
        value = self.values.get(name, default)
        if type(value) not in (int, float) or not 0 < value <= 1e9:
            self._problems.append((name, f"is {short(value)}, expected a number above 0"))
            return 1
        return float(value)

    def _pattern(self, option: str) -> Iterator[_Pattern]:
        """Patterns of module names, as PEFT matches them: at the end of a name, behind a dot or alone."""
        given = self.values.get(option) or {}
        if not isinstance(given, Mapping) or len(given) > _MOST_PATTERNS:
            what = f"is {short(given)}, expected an object of numbers, at most {_MOST_PATTERNS:,} of them"
            self._problems.append((option, what))
            return
        for text, value in given.items():
            where = f"{option}.{text[:_LONGEST_PATTERN]}"
            if type(value) not in (int, float) or not 0 < value <= 1e9:
                self._problems.append((where, f"is {short(value)}, expected a number above 0"))
                continue
            bare = _ESCAPED.sub("", text)
            repeats, choices = len(_REPEATED.findall(bare)), bare.count("|")
            if len(text) > _LONGEST_PATTERN or repeats > 1 or choices > _MOST_CHOICES or (repeats and choices):
                what = f"repeats more than one part, or chooses among more than {_MOST_CHOICES}"
                self._problems.append((where, f"{what}: name the modules one by one"))
                continue
            try:
                pattern = re.compile(rf"(.*\.)?({text})$")
            except (re.error, RecursionError, OverflowError) as error:
                self._problems.append((where, f"is no pattern of names: {error}"))
            else:
                yield _Pattern(pattern, _LONGEST_NAME if repeats else 2**choices, float(value))

    def _of(self, option: str, path: str, usual: float) -> float:
        for pattern in self._patterns[option]:
            spend("a pattern of names", steps=pattern.tries * (1 + path.count(".")) // _TRIES)
            if pattern.text.match(path):
                return pattern.value
        return usual

    # ------------------------------------------------------------------ arrays

    def _sort(self, entries: Mapping[str, Deferred]) -> None:
        ends = ("lora_A.weight", "lora_B.weight", "lora_B.bias", "lora_embedding_A", "lora_embedding_B",
                "lora_magnitude_vector", "token_adapter.trainable_tokens_delta")  # fmt: skip
        for name, entry in entries.items():
            bare = name.removeprefix(_PREFIX)
            if bare == name or len(bare) > _LONGEST_NAME:
                self._problems.append((name, f"is no parameter of a model: its name does not begin with {_PREFIX}"))
                continue
            bare = re.sub(r"\.lora_magnitude_vector\.weight$", ".lora_magnitude_vector", bare)
            end = next((each for each in ends if bare.endswith(f".{each}")), "")
            if end:
                self._modules.setdefault(bare.removesuffix(f".{end}"), {})[end] = entry
            elif ".lora_" in bare:
                self._problems.append((name, "is no array of a LoRA that is known"))
            else:
                self.replaced[bare.replace(".base_layer.", ".").replace(".modules_to_save.", ".")] = entry
        #: What a layer of the model itself has, which may share it with another.
        self._of_layers = {name for name in self.replaced if f"{_PREFIX}{name}" not in entries}

    def _low_rank(self, path: str, arrays: Mapping[str, Deferred]) -> LowRank | None:
        rank = self._of("rank_pattern", path, self._rank)
        alpha = self._of("alpha_pattern", path, self._alpha)
        scale = alpha / (math.sqrt(rank) if self.values.get("use_rslora") is True else rank)
        for down, up, of_embedding in (
            ("lora_A.weight", "lora_B.weight", False), ("lora_embedding_A", "lora_embedding_B", True),
        ):  # fmt: skip
            if down in arrays and up in arrays:
                magnitude = arrays.get("lora_magnitude_vector")
                found = LowRank(arrays[down], arrays[up], scale, magnitude, of_embedding)
                if problem := found.problem(int(rank)):
                    self._problems.append((path, problem))
                if (magnitude is not None) != (self.values.get("use_dora") is True):
                    self._problems.append(
                        (path, f"has {'' if magnitude else 'no '}magnitudes: use_dora says otherwise")
                    )
                return found
        if set(arrays) - {"token_adapter.trainable_tokens_delta"}:
            self._problems.append((path, f"has {few(arrays)}, and not both matrices of a LoRA"))
        return None

    def _refuse(self) -> None:
        if self._problems:
            raise ConversionError(self._problems, hint="merge_and_unload() of peft makes a whole model of it")

    # ------------------------------------------------------------------ the model

    @property
    def has_words(self) -> bool:
        """Whether a tokenizer lies beside it, which counts then."""
        return any(self.folder.has(name) for name in ("tokenizer.json", "vocab.json", "vocab.txt"))

    def configured(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """What config.json says of the model with the adapter: of another head, or of more words.

        Args:
            values: What the model's config.json says.
        """
        named = values.get("architectures")
        own = named[0] if isinstance(named, list) and named and isinstance(named[0], str) else ""
        name = self._class_for(own)
        changed: dict[str, Any] = {"architectures": [name]} if name != own else {}
        heads = [each for path, each in self.replaced.items() if _LABELS.search(path) and each.ndim]
        if name.endswith(("ForSequenceClassification", "ForTokenClassification")) and heads:
            labels = heads[-1].shape[0]
            spend("a name for each label", nbytes=_LABEL_BYTES * labels)
            known = values.get("id2label")
            if not isinstance(known, Mapping) or len(known) != labels:
                changed["id2label"] = {str(at): f"LABEL_{at}" for at in range(labels)}
                changed["label2id"] = {f"LABEL_{at}": at for at in range(labels)}
        rows = {each.shape[0] for path, each in self.replaced.items() if _WORDS.search(path) and each.ndim == 2}
        if len(rows) == 1 and type(values.get("vocab_size")) is int and rows != {values["vocab_size"]}:
            changed["vocab_size"] = rows.pop()
        return {**values, **changed}

    def _class_for(self, own: str) -> str:
        """The class of transformers that the adapter was made for."""
        mapping = self.values.get("auto_mapping")
        name = mapping.get("base_model_class") if isinstance(mapping, Mapping) else None
        if isinstance(name, str):
            return name
        task = self.values.get("task_type")
        end = _TASKS.get(task) if isinstance(task, str) else None
        if end is None or not own or own.endswith(end):
            return own
        return re.sub(r"(For[A-Z]\w*|LMHeadModel|Model)$", "", own) + end

    # ------------------------------------------------------------------ merging

    def merged(
        self,
        entries: Mapping[str, Deferred],
        *,
        kind: object,
        key: Callable[[str], str] = lambda name: name,
        tied: Mapping[str, str] | None = None,
    ) -> tuple[dict[str, Deferred], list[Note]]:
        """The parameters of a model with the adapter in them.

        Args:
            entries: The model's, by its names.
            kind: Its ``model_type``.
            key: What makes one name of the several that a parameter may have.
            tied: What `key` makes of other names of parameters that are shared -> their names among the entries.

        Raises:
            ConversionError: Something in the adapter is none of the model's; lists all of it.
        """
        found = dict(entries)
        known = {key(name): name for name in found}
        self._problems = []

        def place(name: str, *, may_share: bool) -> str | None:
            return known.get(key(name)) or ((tied or {}).get(key(name)) if may_share else None)

        for name, entry in self.replaced.items():
            where = place(name, may_share=name in self._of_layers) or name
            found[where] = entry
            known.setdefault(key(where), where)
        for path, arrays in self._modules.items():
            layer = place(f"{path}.weight", may_share=True) or place(f"{path}.in_proj_weight", may_share=False)
            if layer is None:
                self._problems.append((path, "is no layer of the model"))
                continue
            self._merge(found, path, layer, arrays, kind=kind, bias=place(f"{path}.bias", may_share=False))
        self._refuse()
        return found, [Note("(adapter)", f"{len(self._modules):,} layers have the adapter merged into them")]

    def refuse_unused(self, names: Iterable[str]) -> None:
        """Refuse what would take the place of nothing.

        Raises:
            ConversionError: There are such names.
        """
        self._problems = [(name, "is no parameter of the model") for name in names]
        self._refuse()

    def _merge(
        self, found: dict[str, Deferred], path: str, where: str, arrays: Mapping[str, Deferred], *, kind: object,
        bias: str | None,
    ) -> None:  # fmt: skip
        low_rank = self._low_rank(path, arrays)
        if low_rank is not None:
            is_turned = isinstance(kind, str) and kind in _TURNED and bool(_TURNED[kind].fullmatch(where))
            expected = low_rank.shape[::-1] if is_turned else low_rank.shape
            if found[where].shape != expected:
                what = f"has the shape {found[where].shape}, and the adapter's is {expected}"
                self._problems.append((path, what))
                return
            found[where] = low_rank.merged(found[where], is_turned=is_turned)
        if "lora_B.bias" in arrays and low_rank is not None:
            if bias is None or found[bias].shape != arrays["lora_B.bias"].shape:
                self._problems.append((path, "has no bias for the one that the adapter adds to it"))
            else:
                found[bias] = added(found[bias], arrays["lora_B.bias"], low_rank.scale)
        if (rows := arrays.get("token_adapter.trainable_tokens_delta")) is not None:
            self._replace_rows(found, path, where, rows)

    def _replace_rows(self, found: dict[str, Deferred], path: str, where: str, rows: Deferred) -> None:
        given = self.values.get("trainable_token_indices")
        if isinstance(given, Mapping):
            given = next((each for name, each in given.items() if path == name or path.endswith(f".{name}")), None)
        shape = found[where].shape
        count = shape[0] if shape else 0
        if not isinstance(given, list) or not all(type(each) is int and 0 <= each < count for each in given):
            self._problems.append(("trainable_token_indices", f"is {short(given)}, expected rows of {path}"))
        elif rows.shape != (len(given), *shape[1:]):
            self._problems.append((path, f"has {rows.shape} for {len(given)} rows of a parameter of shape {shape}"))
        else:
            found[where] = with_rows(found[where], given, rows)
