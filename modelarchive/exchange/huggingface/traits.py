"""What the files of a folder tell of a network beside its config.json."""

from __future__ import annotations

from dataclasses import dataclass

from modelarchive.exchange.huggingface.sentences import Pooling


@dataclass(frozen=True)
class Traits:
    """What a file tells beside its config.json.

    Attributes:
        head: End of the class name in transformers: "Model", "ForMaskedLM", ...
        inputs: What the network takes.
        has_pooler: Whether the file has the parameters of a pooler.
        is_tied: Whether the layer that guesses words shares the embedding's weight; None: as the configuration says.
        pooling: None; or how sentence-transformers makes one vector of a text.
        is_flat: Whether trunk and head are one Sequential, as in :mod:`modelarchive.zoo`.
    """

    head: str
    inputs: tuple[str, ...]
    has_pooler: bool = True
    is_tied: bool | None = None
    pooling: Pooling | None = None
    is_flat: bool = False
