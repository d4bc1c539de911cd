"""KerasHub's preset folders: a backbone or a task by its config, and its weights, which lie beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from modelarchive.architecture.declarations import Inputs
from modelarchive.errors import ConversionError, FormatError
from modelarchive.exchange.budget import reading
from modelarchive.exchange.bundle import Bundle, Note, Parameters, few
from modelarchive.exchange.keras import files, shards, through
from modelarchive.exchange.keras.model import MAX_BYTES, load_json
from modelarchive.exchange.keras.parameters import by_layer
from modelarchive.exchange.keras.permitted import is_installed
from modelarchive.exchange.mapped import MappedFile
from modelarchive.exchange.shards import is_there

CONFIG: Final = "config.json"
_TASK: Final = "task.json"
#: The backbone's weights: in one file, or the index of several.
_WEIGHTS: Final = (files.VARIABLES, "model.weights.json")
#: Those of a task's own layers.
_HEAD: Final = "task.weights.h5"
_READ: Final = (CONFIG, files.METADATA, _TASK, *_WEIGHTS, _HEAD)
#: What parameters of a task's own layers are called, where there is no architecture.
_OF_TASK: Final = "task"


def read_preset(path: Path, inputs: Inputs | None, *, parameters_only: bool) -> Bundle:
    """Read a folder that ``save_to_preset`` wrote; see :func:`modelarchive.exchange.keras.read`.

    Raises:
        FormatError: Files are missing or damaged.
        ConversionError: KerasHub is not there, or the model cannot be read; its parameters can.
    """
    weights = next((path / name for name in _WEIGHTS if is_there(path / name)), None)
    if weights is None or not is_there(path / CONFIG):
        missing = CONFIG if weights is not None else " nor ".join(_WEIGHTS)
        raise FormatError(f"is no preset folder of KerasHub: it holds no {missing}", file=path)
    read = [path / name for name in _READ if is_there(path / name)]
    with reading(path, sum(each.stat().st_size for each in read)):
        folder = _Folder(path, weights)
        if parameters_only:
            return folder.parameters()
        return folder.whole(inputs)


class _Folder:
    """What is in a preset folder.

    Args:
        path: The folder.
        weights: The file of its backbone's weights.
    """

    def __init__(self, path: Path, weights: Path) -> None:
        self._path = path
        self.config = self._json(CONFIG)
        self.task = self._json(_TASK) if is_there(path / _TASK) else None
        metadata = self._json(files.METADATA) if is_there(path / files.METADATA) else {}
        self.version = str(metadata.get("keras_version", "3"))[:40]
        file = MappedFile(weights)
        self.notes: list[Note] = []
        if weights.name == files.VARIABLES:
            self.stored = files.variables(file)
        else:
            self.stored, self.notes = shards.read_index(file)
        self.head = files.variables(MappedFile(path / _HEAD)) if is_there(path / _HEAD) else None
        others = sorted(each.name for each in path.iterdir() if each.name not in _READ)
        others = [name for name in others if weights.name in _WEIGHTS[:1] or not name.endswith(".weights.h5")]
        if others:
            what = f"left out, as it says nothing of the network: {few(others)}"
            self.notes.append(Note("(folder)", what))

    def _json(self, name: str) -> dict[str, Any]:
        file = MappedFile(self._path / name)
        return load_json(file.read(0, min(file.size, MAX_BYTES + 1)), name)

    @property
    def _metadata(self) -> dict[str, Any]:
        return {"source": {"format": "KerasHub preset", "version": self.version}}

    def parameters(self) -> Bundle:
        """Its parameters, those of the task's own layers as `task`'s."""
        reason = through.reason(self.task or self.config)
        found, notes = by_layer(self.stored, self.config)
        entries = dict(found.entries)
        if self.head is not None:
            inside, more = by_layer(self.head, self.task)
            entries |= {f"{_OF_TASK}.{name}": entry for name, entry in inside.entries.items()}
            notes += more
        first = [
            Note("(architecture)", f"left out: {reason}"),
            Note("(parameters)", "are as Keras stores them: kernels have the axes (..., in, out)"),
        ]
        notes = [*first, *self.notes, *notes]
        return Bundle(Parameters(entries), reason=reason, metadata=self._metadata, notes=notes)

    def whole(self, inputs: Inputs | None) -> Bundle:
        """The task, where the folder has all of it; else the backbone."""
        backbone = self.stored.checked().arrays
        notes = list(self.notes)
        if self.task is not None:
            parts = [through.Part(backbone, lambda task: task.backbone)]
            if self.head is not None:
                head = self.head.checked().arrays
                parts.append(through.Part(head, save="save_task_weights", load="load_task_weights"))
            try:
                return self._finished(through.read(self.task, parts, inputs), notes)
            except ConversionError as error:
                if self.head is not None or not is_installed():
                    raise
                where, what = error.unsupported[0]
                notes.append(Note(_TASK, f"left out, the backbone alone is read: {where}: {what}"))
        return self._finished(through.read(self.config, [through.Part(backbone)], inputs), notes)

    def _finished(self, bundle: Bundle, notes: list[Note]) -> Bundle:
        return replace(bundle, metadata=self._metadata, notes=[*bundle.notes, *notes])
