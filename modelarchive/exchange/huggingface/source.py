"""A folder of a model: its files, what config.json says, and what is merged into it."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from modelarchive.exchange.bundle import Bundle, Note, Parameters, deferred
from modelarchive.exchange.huggingface import quantised
from modelarchive.exchange.huggingface.adapters import Adapter
from modelarchive.exchange.huggingface.alone import KEY
from modelarchive.exchange.huggingface.folder import CONFIG, WEIGHTS, Folder
from modelarchive.exchange.huggingface.pooling import POOLING
from modelarchive.exchange.huggingface.sentences import Pooling
from modelarchive.exchange.huggingface.words import BINARIES, TEXTS, VOCABULARY, lines
from modelarchive.store.deferred import Deferred
from modelarchive.store.strict import short

#: Longest tokenizer that is no text.
_MAX_BINARY_BYTES: Final = 16_000_000
#: Folders of sentence-transformers that hold what is read, or nothing.
_OF_SENTENCES: Final = re.compile(r"[2-4]_Dense|\d_Normalize")


@dataclass(frozen=True)
class ModelFolder:
    """What is read of a folder.

    Attributes:
        folder: Its files.
        values: What config.json says, but for how weights are quantised.
        quantisation: That; None: they are not.
        adapter: What is merged into it; None: nothing.
    """

    folder: Folder
    values: dict[str, Any]
    quantisation: Mapping[str, Any] | None
    adapter: Adapter | None

    def weights(self) -> Bundle:
        """The parameters, by the names of the files, as numbers."""
        found = self.folder.weights()
        if self.quantisation is None:
            return found
        arrays = deferred(found.parameters)
        arrays, notes = quantised.plain(arrays, self.quantisation, self.values, found.metadata)
        metadata = {key: value for key, value in found.metadata.items() if key == "format"}  # torchao's is said by then
        return replace(found, parameters=Parameters(arrays), metadata=metadata, notes=[*found.notes, *notes])

    def behind(self, pooling: Pooling | None) -> dict[str, Deferred]:
        """The parameters of dense layers behind the pooling.

        Raises:
            FormatError: Their folders have none.
        """
        found: dict[str, Deferred] = {}
        for each in pooling.dense if pooling is not None else ():
            names = [f"{each.name}/{name}" for name in (WEIGHTS, "pytorch_model.bin")]
            file = next((name for name in names if self.folder.has(name)), names[0])
            arrays = deferred(self.folder.weights(file).parameters)
            found |= {f"{each.name}.{name}": entry for name, entry in arrays.items()}
        return found

    def metadata(self, kept: dict[str, str]) -> dict[str, Any]:
        """What travels with it: config.json, and these texts."""
        found: dict[str, Any] = {"config": self.values, "files": kept}
        places = [each for each in (self.adapter.folder if self.adapter is not None else None, self.folder) if each]
        for name in BINARIES:
            if (place := next((each for each in places if each.has(name)), None)) is not None:
                text = base64.b64encode(place.data(name, most=_MAX_BINARY_BYTES)).decode()
                found.setdefault("binaries", {})[name] = text
        if self.quantisation is not None:
            found[quantised.OPTIONS[0]] = dict(self.quantisation)
        return {KEY: found | ({} if self.adapter is None else {"adapter": self.adapter.values})}

    def kept(self, vocabulary: list[str] | None) -> tuple[dict[str, str], list[Note]]:
        """The texts that travel in the metadata, and what stays behind.

        Args:
            vocabulary: The words of the embedding, where they are known; a list of the same is left out.
        """
        kept = {}
        for name in TEXTS:
            source = self.adapter.folder if self.adapter is not None and self.adapter.folder.has(name) else self.folder
            if not source.has(name):
                continue
            text = source.text(name)
            if name == VOCABULARY and vocabulary is not None and lines(text) == vocabulary and text.endswith("\n"):
                continue  # the words say the same
            kept[name] = text
        known = {CONFIG, quantised.QUANTO, *TEXTS, *BINARIES, POOLING.partition("/")[0], *self.folder.weights_files()}
        found = [name for name in self.folder.others(known) if not name.startswith(".")]
        others = [name for name in found if not _OF_SENTENCES.fullmatch(name)]
        notes = [Note("(files)", f"left out: {', '.join(map(short, others))}")] if others else []
        return kept, notes
