"""Sessions of ONNX Runtime on models that are in no file of ONNX: arrays are mapped from where they lie."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime

from modelarchive import dtypes
from modelarchive.errors import ConversionError
from modelarchive.exchange.bundle import Note
from modelarchive.exchange.onnx.assembling import Assembled
from modelarchive.exchange.onnx.streaming import SMALL, Tensor, inside, outside, stream
from modelarchive.exchange.onnx.words import CODES
from modelarchive.store.deferred import Deferred, Place

#: Where ONNX Runtime looks for external data of a model that it has no path of.
_FOLDER: Final = "session.model_external_initializers_file_folder_path"
#: What stands before the messages of ONNX Runtime.
_CODE: Final = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
#: Arrays in memory have a place in the model only, no file.
_NOWHERE: Final = "memory"
#: What an error shows of a message.
_LONGEST: Final = 500


class Settings:
    """What sessions are made with; see :func:`modelarchive.exchange.onnxruntime.build_network`.

    Raises:
        ValueError: One is none that ONNX Runtime has.
    """

    def __init__(
        self, threads: int | None, providers: Sequence[Any] | None, session_options: Mapping[str, Any] | None
    ) -> None:
        if threads is not None and (type(threads) is not int or threads < 1):
            raise ValueError(f"threads is {threads!r}, expected a whole number from 1 on")
        self._threads, self._others = threads, dict(session_options or {})
        self.providers = ["CPUExecutionProvider"] if providers is None else list(providers)
        known = onnxruntime.get_available_providers()
        for each in self.providers:
            name = each if isinstance(each, str) else each[0]
            if name not in known:
                raise ValueError(f"providers names {name!r}, and this ONNX Runtime has {', '.join(known)}")
        self.options()

    def options(self) -> onnxruntime.SessionOptions:
        """New options: what is added to them is one session's own."""
        found = onnxruntime.SessionOptions()
        # Its errors are raised, too; their log would go past the caller.
        found.log_severity_level = 4
        if self._threads is not None:
            found.intra_op_num_threads = self._threads
        for name, value in self._others.items():
            if "." in name:
                found.add_session_config_entry(name, str(value))
            elif name in _ATTRIBUTES:
                try:
                    setattr(found, name, value)
                except TypeError:
                    raise ValueError(
                        f"session_options[{name!r}] is {value!r}, which ONNX Runtime does not take"
                    ) from None
            else:
                what = f"expected one of {', '.join(_ATTRIBUTES)}, or a configuration entry, which has a dot"
                raise ValueError(f"session_options has {name!r}, {what}")
        return found


#: Settings that are attributes.
_ATTRIBUTES: Final = tuple(
    name for name, each in vars(onnxruntime.SessionOptions).items() if isinstance(each, property)
)


def session_of(model: Assembled, settings: Settings) -> onnxruntime.InferenceSession:
    """A session on a model; arrays that lie in a file as they are, are mapped from there.

    Raises:
        ConversionError: ONNX Runtime does not take the model.
    """
    folder = _folder(model.initialisers)
    if folder is not None:
        mapped = {name for name, each in model.initialisers.items() if _mappable(each, folder)}
        session = _made(model, settings, mapped, folder)
        # Another file may have taken the place of the one that was opened.
        if all(_is_there(_place(model.initialisers[name])) for name in mapped):
            return session
    return _made(model, settings, set(), None)


def not_started(session: onnxruntime.InferenceSession, settings: Settings) -> list[Note]:
    """Which providers ONNX Runtime went on without, which it says in its log alone."""
    asked = [each if isinstance(each, str) else each[0] for each in settings.providers]
    there = session.get_providers()
    what = f"was not started: the network runs on {', '.join(there)}"
    return [Note(f"providers[{name!r}]", what) for name in asked if name not in there]


def _folder(arrays: Mapping[str, Deferred]) -> Path | None:
    """The folder that most bytes lie in: ONNX Runtime looks into one."""
    found: Counter[Path] = Counter()
    for each in arrays.values():
        if each.extent is not None:
            found[each.extent.place.path.resolve().parent] += each.nbytes
    return max(found, key=found.__getitem__) if found else None


def _place(array: Deferred) -> Place | None:
    return None if array.extent is None else array.extent.place


def _mappable(array: Deferred, folder: Path) -> bool:
    place = _place(array)
    if place is None or array.nbytes < SMALL or place.offset % array.itemsize:
        return False
    return place.path.resolve().parent == folder and _is_there(place)


def _is_there(place: Place | None) -> bool:
    """Whether the file of a place is still the one that was opened."""
    try:
        status = None if place is None else place.path.stat()
    except OSError:
        return False
    return status is None or place is None or (status.st_dev, status.st_ino) == place.file


def _made(model: Assembled, settings: Settings, mapped: set[str], folder: Path | None) -> onnxruntime.InferenceSession:
    options = settings.options()
    tensors: list[Tensor] = []
    given: dict[str, onnxruntime.OrtValue] = {}
    for name, each in model.initialisers.items():
        place = _place(each)
        if name in mapped and place is not None:
            tensors.append(outside(name, each, place.path.resolve().name, place.offset))
        elif each.nbytes < SMALL:
            tensors.append(inside(name, each))
        else:
            tensors.append(outside(name, each, _NOWHERE, 0))
            given[name] = value_of(each.read() if each.view is None else each.view())
    if folder is not None and mapped:
        options.add_session_config_entry(_FOLDER, str(folder))
    if given:
        options.add_external_initializers(list(given), list(given.values()))
    content = io.BytesIO()
    stream(content, model.model, model.graph, tensors)
    try:
        return onnxruntime.InferenceSession(content.getvalue(), options, providers=settings.providers)
    except Exception as error:
        if not is_runtimes(error):
            raise
        what = f"ONNX Runtime {onnxruntime.__version__} does not take it: {words(error)}"
        raise ConversionError([("(model)", what)], hint="the network runs in NumPy") from error


def value_of(array: np.ndarray) -> onnxruntime.OrtValue:
    """An array as ONNX Runtime has it, on the same memory."""
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("=") if array.dtype.kind in "iufc" else array.dtype)
    if not is_foreign(array.dtype):
        return onnxruntime.OrtValue.ortvalue_from_numpy(array)
    bits = array.view(np.dtype(f"u{array.itemsize}"))
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, CODES[str(dtypes.dense_name(array.dtype))])


def is_foreign(dtype: np.dtype[Any]) -> bool:
    """Whether it is a dtype that NumPy itself has not, which ONNX Runtime's functions neither take nor give."""
    return dtype.kind == "V"


def is_runtimes(error: Exception) -> bool:
    """Whether an exception is one of ONNX Runtime's own."""
    return type(error).__module__.partition(".")[0] == "onnxruntime" or type(error) is RuntimeError


def words(error: Exception) -> str:
    """What one of its exceptions says, without what only its authors read."""
    line = _CODE.sub("", str(error).strip()).splitlines()[0] if str(error).strip() else type(error).__name__
    return re.sub(r"/\S*/onnxruntime/\S+ ", "", line)[:_LONGEST]
