"""A family of models: what its classes, inputs and parameters are called there and here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from modelarchive import nn
from modelarchive.exchange.huggingface.config import Config
from modelarchive.exchange.huggingface.traits import Traits

#: Blocks beside a trunk.
_HEAD_BLOCKS: Final = frozenset(
    {
        "classifier", "cls", "decoder", "discriminator_predictions", "generator_lm_head", "generator_predictions",
        "head", "lm_head", "pre_classifier", "qa_outputs", "score", "vocab_layer_norm",
        "vocab_projector", "vocab_transform",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Family:
    """Models of one kind.

    Attributes:
        name: ``model_type`` of config.json.
        classes: What the names of its classes begin with.
        prefix: What the trunk is called in models with a head; "": its parts stand beside the head.
        heads: Ends of the class names that are read.
        make: (config, traits, the most layers that there may be) -> the network, or None where config has problems.
        inputs: What its networks take; all but the first may be left out from the end.
        together: End of a class name -> the inputs that may be given together, the usual ones first, where these are
            not the first of `inputs`.
        renames: Parts of names there -> here.
        transposed: Names here whose arrays lie the other way there.
        embedding: The parameter whose rows are words, without the prefix; "": there is none.
        guesses: End of a class name -> the layer that may have the embedding's weight, in names here.
        is_tied: Whether it has where config.json does not say.
        always_tied: Whether it has whatever config.json says, unless the file has values of its own for it.
        copies: Names there that are others' in some files -> the names here.
        unused: Names there that transformers itself does not read.
        usual: How many inputs its networks take where nobody says; None: all.
        trunk: End of the name of the class without a head.
    """

    name: str
    classes: str
    prefix: str
    heads: tuple[str, ...]
    make: Callable[[Config, Traits, int], nn.Block | None]
    inputs: tuple[str, ...]
    embedding: str
    renames: tuple[tuple[str, str], ...] = ()
    transposed: str = r"(?!)"
    guesses: Mapping[str, str] = field(default_factory=dict)
    is_tied: bool = True
    unused: str = r"(?!)"
    usual: int | None = None
    trunk: str = "Model"
    together: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    always_tied: bool = False
    copies: Mapping[str, str] = field(default_factory=dict)

    def takes(self, head: str) -> tuple[tuple[str, ...], ...]:
        """The inputs that networks with a head may take, the usual ones first."""
        if self.together:
            return self.together[head]
        usual = self.usual or len(self.inputs)
        counts = [usual, *(count for count in range(len(self.inputs), 0, -1) if count != usual)]
        return tuple(self.inputs[:count] for count in counts)

    def ties(self, values: Mapping[str, Any]) -> bool:
        """Whether the layer that guesses words has the embedding's weight, by what config.json says."""
        return self.always_tied or values.get("tie_word_embeddings", self.is_tied) is True

    @property
    def of_sentences(self) -> str:
        """The head of the networks on which sentence-transformers goes on."""
        return "EncoderModel" if "EncoderModel" in self.heads else "Model"

    def embedding_of(self, head: str) -> str:
        """The name of the parameter whose rows are words; "": there is none."""
        if head == "Model" or not self.prefix or not self.embedding:
            return self.embedding
        return f"{self.prefix}.{self.embedding}"

    @property
    def names(self) -> dict[str, str]:
        """Name of each class of transformers -> its head."""
        return {self.classes + (self.trunk if head == "Model" else head): head for head in self.heads}

    def ours(self, name: str, head: str) -> str:
        """A name of transformers as it is here; with or without the prefix, whichever the file has."""
        if name in self.copies:
            return self.copies[name]
        bare = name.removeprefix(f"{self.prefix}.") if self.prefix else name
        for theirs, ours in self.renames:
            bare = bare.replace(theirs, ours)
        in_trunk = self.prefix and head != "Model" and bare.partition(".")[0] not in _HEAD_BLOCKS
        return f"{self.prefix}.{bare}" if in_trunk else bare

    def theirs(self, name: str, *, is_flat: bool = False) -> str:
        """A name of ours as transformers has it."""
        if is_flat and name.partition(".")[0] not in _HEAD_BLOCKS:
            name = f"{self.prefix}.{name}"
        # The longest first: it may have another in it.
        for theirs, ours in sorted(self.renames, key=lambda pair: -len(pair[1])):
            name = name.replace(ours, theirs)
        return name

    def is_transposed(self, ours: str) -> bool:
        """Whether the array of that name lies the other way in their files."""
        return re.fullmatch(self.transposed, ours) is not None

    def is_unused(self, theirs: str) -> bool:
        """Whether transformers does not read it either."""
        return re.fullmatch(self.unused, theirs) is not None


def head_of(config: Mapping[str, Any], family: Family) -> str | None:
    """End of the class name under ``architectures``; None: it is none that is read."""
    named = config.get("architectures")
    if not named:
        return "Model"
    name = named[0] if isinstance(named, list) else named
    return family.names.get(name) if isinstance(name, str) else None
