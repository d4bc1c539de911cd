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
    mapped = _mapped(model.initialisers)
    session = _made(model, settings, mapped)
    # Another file may have taken the place of the one that was opened.
    return session if all(map(_is_there, mapped.values())) else _made(model, settings, {})


def not_started(session: onnxruntime.InferenceSession, settings: Settings) -> list[Note]:
    """Which providers ONNX Runtime went on without, which it says in its log alone."""
    asked = [each if isinstance(each, str) else each[0] for each in settings.providers]
    there = session.get_providers()
    what = f"was not started: the network runs on {', '.join(there)}"
    return [Note(f"providers[{name!r}]", what) for name in asked if name not in there]


def _mapped(arrays: Mapping[str, Deferred]) -> dict[str, Place]:
    """Where arrays lie that can be mapped: in the folder that most bytes are in, as ONNX Runtime looks into one."""
    places = {
        name: each.extent.place
        for name, each in arrays.items()
        if each.extent is not None and each.nbytes >= SMALL and not each.extent.place.offset % each.itemsize
    }
    nbytes: Counter[Path] = Counter()
    for name, place in places.items():
        nbytes[_folder(place)] += arrays[name].nbytes
    folder = max(nbytes, key=nbytes.__getitem__, default=None)
    return {name: place for name, place in places.items() if _folder(place) == folder and _is_there(place)}


def _folder(place: Place) -> Path:
    return place.path.resolve().parent


def _is_there(place: Place) -> bool:
    """Whether the file of a place is still the one that was opened."""
    try:
        status = place.path.stat()
    except OSError:
        return False
    return (status.st_dev, status.st_ino) == place.file


def _made(model: Assembled, settings: Settings, mapped: Mapping[str, Place]) -> onnxruntime.InferenceSession:
    options = settings.options()
    tensors: list[Tensor] = []
    given: dict[str, onnxruntime.OrtValue] = {}
    for name, each in model.initialisers.items():
        if (place := mapped.get(name)) is not None:
            tensors.append(outside(name, each, place.path.resolve().name, place.offset))
        elif each.nbytes < SMALL:
            tensors.append(inside(name, each))
        else:
            tensors.append(outside(name, each, _NOWHERE, 0))
            given[name] = value_of(each.read() if each.view is None else each.view())
    if mapped:
        options.add_session_config_entry(_FOLDER, str(_folder(next(iter(mapped.values())))))
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
    # Not np.ascontiguousarray, which gives an array without axes one.
    dtype = array.dtype.newbyteorder("=") if array.dtype.kind in "iufc" else array.dtype
    array = np.asarray(array, dtype, order="C")
    if not is_foreign(array.dtype):
        return onnxruntime.OrtValue.ortvalue_from_numpy(array)
    bits = array.view(np.dtype(f"u{array.itemsize}"))
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, CODES[str(dtypes.dense_name(array.dtype))])


def is_foreign(dtype: np.dtype[Any]) -> bool:
    """Whether it is a dtype that NumPy itself has not, which ONNX Runtime's functions neither take nor give."""
    return dtype.isbuiltin == 2


def is_runtimes(error: Exception) -> bool:
    """Whether an exception is one of ONNX Runtime's own."""
    return type(error).__module__.partition(".")[0] == "onnxruntime" or type(error) is RuntimeError


def words(error: Exception) -> str:
    """What one of its exceptions says, without what only its authors read."""
    line = _CODE.sub("", str(error).strip()).splitlines()[0] if str(error).strip() else type(error).__name__
    return re.sub(r"/\S*/onnxruntime/\S+ ", "", line)[:_LONGEST]
