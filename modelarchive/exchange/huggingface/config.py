"""config.json, option by option: each read with its type and bounds, and whatever cannot be said gathered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from modelarchive.exchange.bundle import Note
from modelarchive.exchange.huggingface.harmless import harmless
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


#: What is said of a folder that brings code.
_NO_CODE: Final = "names code of the folder, which is never run: the network is transformers' own of that type"


class Config:
    """The options of a model, read one by one.

    Args:
        values: What config.json says.

    Attributes:
        values: As given.
        problems: What cannot be expressed, or is no valid value: (option, what).
        notes: What does not count, though it is said.
        unknown: Options that were refused because nothing is known of them.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values
        self.problems: list[tuple[str, str]] = []
        self.notes: list[Note] = []
        self.unknown: list[str] = []
        self._asked: set[str] = set()

    def get(self, *names: str, default: Any = None) -> Any:
        """The value of an option under whichever of its names is there; null counts as not there."""
        self._asked.update(names)
        there = [name for name in names if self.values.get(name) is not None]
        if any(self.values[name] != self.values[there[0]] for name in there):
            both = " and ".join(f"{name} {short(self.values[name])}" for name in there)
            self.refuse(there[0], f"is said twice: {both}, which are two names of one option")
        return self.values[there[0]] if there else default

    def _said(self, *names: str, default: Any) -> Any:
        """The same where null is no valid value."""
        value = self.get(*names)
        return default if value is None and not any(name in self.values for name in names) else value

    def refuse(self, name: str, what: str) -> None:
        """Note what cannot be expressed."""
        self.problems.append((name, what))

    def note(self, name: str, what: str) -> None:
        """Note what does not count."""
        if (note := Note(name, what)) not in self.notes:
            self.notes.append(note)

    def size(self, *names: str, default: int, null: int | None = None, least: int = 1, most: int = 2**31 - 1) -> int:
        """An integer within bounds; `null` is what null means, None: nothing."""
        value = self._said(*names, default=default)
        value = null if value is None else value
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
        value = self._said(name, default=default)
        if type(value) not in (int, float) or not 0 < value <= 1e30:
            self.refuse(name, f"is {short(value)}, expected a number above 0")
            return default
        return float(value)

    def flag(self, name: str, *, default: bool) -> bool:
        """True or false."""
        value = self._said(name, default=default)
        if type(value) is not bool:
            self.refuse(name, f"is {short(value)}, expected true or false")
            return default
        return value

    def activation(self, *names: str, default: str) -> str | None:
        """An activation by our name for it."""
        value = self._said(*names, default=default)
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
        if named is not None and not isinstance(named, Mapping):
            self.refuse("id2label", f"is {short(named)}, expected an object of names")
        if isinstance(named, Mapping) and named:
            self.get("num_labels")
            return len(named)
        return self.size("num_labels", default=2)

    def refuse_unknown(self, family: str) -> None:
        """Refuse options that nobody has asked for, unless they say nothing or are known to change nothing.

        Args:
            family: The ``model_type`` that the options are of.
        """
        for name in sorted(set(self.values) - self._asked - harmless(family)):
            value = self.values[name]
            if value in (None, "", [], {}):
                self.note(name, f"is {short(value)}, which is taken to say nothing: no option that is known here")
            else:
                self.unknown.append(name)
                self.refuse(name, f"is {short(value)}: no option that is known, and it may change what is computed")

    @property
    def hint(self) -> str | None:
        """The next step where options are unknown."""
        if not self.unknown:
            return None
        names = " and ".join(map(short, dict.fromkeys(self.unknown)))
        verb, them = ("is", "it") if len(set(self.unknown)) == 1 else ("are", "them")
        return f"if {names} {verb} known to change no output, take {them} out of config.json in a copy of the folder"


def _everywhere(config: Config) -> None:
    """Refuse what no family here can express."""
    config.only("add_cross_attention", False, why="networks of two parts are not read")
    config.only("pruned_heads", why="layers of different numbers of heads are not read")
    config.only("per_layer_config", why="layers of different options are not read")
    config.only("fusion_config", why="fused layers are not read")
    if config.get("auto_map"):
        config.note("auto_map", _NO_CODE)
    config.only("configuration_files", why="it names other files that transformers takes for config.json")
    config.only("transformers_weights", why="it names another file of parameters")


def _of_one_part(config: Config) -> None:
    _everywhere(config)
    config.only("is_encoder_decoder", False, why="networks of two parts are not read")


def as_two_parts(config: Config, *, has_both: bool) -> None:
    """Refuse what makes other networks of those like T5, of which there is one part, or both."""
    _everywhere(config)
    if has_both:
        config.only("is_encoder_decoder", True, why="its decoder would look at other places")
    config.get("is_encoder_decoder")
    config.only("is_decoder", False, why="the family is read as an encoder and a decoder")


def as_an_encoder(config: Config) -> None:
    """Refuse what makes decoders of networks like BERT."""
    _of_one_part(config)
    config.only("is_decoder", False, why="the family is read as an encoder")
    config.only("is_causal", False, why="the family is read as an encoder")


def as_a_decoder(config: Config) -> None:
    """Refuse what makes other networks of those like GPT-2 and Llama."""
    _of_one_part(config)
    config.get("is_decoder")  # they are, whatever is said
    config.only("is_causal", True, why="the family is read as a decoder")
    for name in ("rope_interleaved", "use_mrope"):
        config.only(name, False)
