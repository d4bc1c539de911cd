"""The systems that are known: one row each, from which all else that is to be known of one is derived.

A room of `exchange` has a row's name, and these functions, where the row has what is in brackets:

- ``read(path)`` [reads] and ``write(source, path, durable=)`` [writes]
- ``arrays_of(model)``, ``parameters_of(model, inputs)``, ``remarks_on_freezing(model)``, and the one that it names,
  which takes (model, inputs) [classes]
- those that it names [backend]
- ``fitting(model, path, bundle)``: the file's parameters under the names that a model has for them [fits]
- ``mistaken(model)``: what somebody gave for a model, and the next step [mistakes]
- ``way_for(model)``: how a model of the library is saved to be read, and ``counterpart_of(model, bundle)``: what makes
  a folder of it one of the library's too [library]
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from modelarchive.formats import signs
from modelarchive.formats.signs import MemberSign, Sign


@dataclass(frozen=True)
class ModelClass:
    """A class of a framework whose objects are models in memory.

    Attributes:
        module: Where it is found once somebody has imported the framework.
        name: Its name there.
        receives: Whether parameters can be copied into such a model.
    """

    module: str
    name: str
    receives: bool = True


@dataclass(frozen=True)
class Backend:
    """What networks can be rebuilt as.

    Attributes:
        build: The room's function that makes a network of a Bundle; "": a Block, which needs no room.
        options: What that takes besides.
        arrays: The room's function that makes its own arrays of NumPy's for ``load``; None: there is none. A room
            that has one and takes a `device` also has ``is_elsewhere(device)``, and ``tensors_on(device, arrays)``.
        runs: Whether its networks take NumPy's arrays and give them, so that ``modelarchive run`` runs them.
        of_blocks: Whether it is made of a Block, so that of an archive no more than that is built.
    """

    build: str
    options: tuple[str, ...] = ()
    arrays: str | None = None
    runs: bool = False
    of_blocks: bool = False


@dataclass(frozen=True)
class System:
    """One system, or format.

    Attributes:
        name: Its room in `exchange`; "archive" is this package's own, which is in none.
        called: What people call it.
        suffixes: How the names of its files end; "/" stands for a folder; none: it has no files.
        what: One of its files in words.
        reads: What is read, for the documents; "": nothing is.
        writes: What is written, likewise.
        signs: How its files are recognised: one sign is enough.
        guesses: Signs that are asked where no system's own sign is there: honest files of others may have them.
        members: How a zip file is recognised as its own.
        folder: How a folder is.
        says: Whether a file that has its sign says so itself; None: the sign is certain.
        bare: Whether a file holds one array without a name, which ``load`` gives as it is; None: none does.
        models: Whether its files hold whole models, so that it is said where there is none.
        alone: Whether its reader takes `parameters_only`: the parameters under the names that the file has.
        inputs: What its reader takes as `inputs`: declarations, or names only; "": nothing, they are declared after.
        values: Whether one of these may give the value of an input, with which the model is read.
        config: The files for which its reader takes a `config`, in words; "": none.
        base: Those for which it takes a `base`, likewise.
        until: Those for which its reader takes an `until`, likewise.
        variant: Those for which it takes a `variant`, likewise.
        reads_as: What its reader takes as `dtype`; none: it takes none.
        writes_as: What its writer takes as `dtype`, likewise.
        classes: Classes of models in memory.
        reader: The room's function that reads them.
        backend: What networks can be rebuilt as.
        extra: The extra that installs its framework.
        frameworks: Packages that its room imports, once it needs them.
        fits: The framework whose models its files' parameters may be meant for: they are called there as in the file.
        mistakes: Whether its room tells what people give for a model of the framework.
        library: A library whose models are saved as its folders, and read from there as a whole.
    """

    name: str
    called: str
    suffixes: tuple[str, ...] = ()
    what: str = ""
    reads: str = ""
    writes: str = ""
    signs: tuple[Sign, ...] = ()
    guesses: tuple[Sign, ...] = ()
    members: MemberSign | None = None
    folder: Callable[[Path], bool] | None = None
    says: Sign | None = None
    bare: Sign | None = None
    models: bool = False
    alone: bool = False
    inputs: Literal["", "declared", "names"] = ""
    values: bool = False
    config: str = ""
    base: str = ""
    until: str = ""
    variant: str = ""
    reads_as: tuple[str, ...] = ()
    writes_as: tuple[str, ...] = ()
    classes: tuple[ModelClass, ...] = ()
    reader: str = "read_model"
    backend: Backend | None = None
    extra: str | None = None
    frameworks: tuple[str, ...] = ()
    fits: str | None = None
    mistakes: bool = False
    library: str | None = None


#: Every system by name, in the order in which they are listed.
SYSTEMS: Final = {
    system.name: system
    for system in (
        System(
            "archive",
            "modelarchive",
            (".h5", ".hdf5"),
            "a model archive",
            reads="everything",
            writes="everything",
            signs=(signs.archive,),
            folder=signs.shards_of_archive,
        ),
        System(
            "safetensors",
            "safetensors",
            (".safetensors", ".safetensors.index.json"),
            "a safetensors file",
            reads="parameters, metadata",
            writes="parameters, metadata",
            signs=(signs.safetensors,),
            guesses=(signs.index,),
        ),
        System(
            "numpy",
            "NumPy",
            (".npz", ".npy"),
            "a NumPy file (.npz, .npy)",
            reads="arrays",
            writes="arrays",
            signs=(signs.begins(b"\x93NUMPY"),),
            members=signs.arrays_inside,
            bare=signs.begins(b"\x93NUMPY"),
            backend=Backend("", arrays="", runs=True, of_blocks=True),
        ),
        System(
            "vectors",
            "word vectors",
            (".txt", ".vec"),
            "a file of word vectors",
            reads="an Embedding and its words: a whole model",
            writes="one embedding and its words",
            guesses=(signs.vectors,),
        ),
        System(
            "mxnet",
            "MXNet",
            (".params", "-symbol.json"),
            "an MXNet file",
            reads="parameters, whole models",
            writes="parameters, whole models",
            signs=(signs.begins(b"\x12\x01\0\0\0\0\0\0"), signs.symbol),
            members=signs.arguments_inside,
            models=True,
            inputs="declared",
            alone=True,
        ),
        System(
            "torch",
            "PyTorch",
            (".pt", ".pth", ".bin", ".ckpt"),
            "a PyTorch file",
            reads="parameters; a `torch.nn.Module` as a whole model",
            writes="parameters; a whole model as a `torch.nn.Module`",
            signs=(signs.torch_stream, signs.index_of(".bin", ".pt", ".pth", ".ckpt")),
            members=signs.pickle_inside,
            classes=(ModelClass("torch.nn", "Module"), ModelClass("torch.export", "ExportedProgram", receives=False)),
            reader="read_module",
            backend=Backend("build_module", ("device", "dtype"), arrays="tensors_of", of_blocks=True),
            extra="torch",
            frameworks=("torch",),
            mistakes=True,
        ),
        System(
            "pt2",
            "torch.export",
            (".pt2",),
            "a program of torch.export (.pt2)",
            reads="whole models, without running what the file says",
            members=signs.program_inside,
            models=True,
            alone=True,
            extra="torch",
            frameworks=("torch",),
        ),
        System(
            "onnx",
            "ONNX",
            (".onnx",),
            "an ONNX model",
            reads="whole models",
            writes="whole models",
            signs=(signs.onnx,),
            models=True,
            alone=True,
            inputs="declared",
            values=True,
            until="ONNX models",
        ),
        System(
            "keras",
            "Keras",
            (".keras", ".weights.h5"),
            "a Keras file",
            reads="parameters, whole models; a `keras.Model` as a whole model",
            writes="whole models, saved by Keras; a whole model as a `keras.Model`",
            signs=(signs.hdf5, signs.index_of(".h5", lists=True)),
            members=signs.config_inside,
            folder=signs.preset_inside,
            says=signs.says_keras,
            models=True,
            alone=True,
            inputs="declared",
            config="Keras' files of weights",
            classes=(ModelClass("keras", "Model"),),
            backend=Backend("build_model"),
            extra="keras",
            frameworks=("keras",),
            fits="keras",
        ),
        System(
            "gguf",
            "GGUF",
            (".gguf",),
            "a GGUF file",
            reads="parameters, metadata, words; whole models of these families",
            writes="the same, as it is or quantised",
            signs=(signs.begins(b"GGUF"),),
            models=True,
            alone=True,
            inputs="names",
            reads_as=("float32", "float16", "bfloat16"),
            writes_as=("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "tq1_0", "tq2_0", "mxfp4"),
            extra="gguf",
            frameworks=("gguf",),
        ),
        System(
            "onnxruntime",
            "ONNX Runtime",
            backend=Backend("build_network", ("threads", "providers", "session_options"), runs=True),
            extra="onnxruntime",
            frameworks=("onnxruntime",),
        ),
        System(
            "huggingface",
            "Hugging Face",
            ("/",),
            "a Hugging Face folder",
            reads="whole models of these families, and through transformers of all its classes, words",
            writes="the folder back",
            folder=signs.weights_inside,
            models=True,
            alone=True,
            inputs="names",
            base="PEFT adapters",
            variant="Hugging Face folders",
            extra="transformers",
            frameworks=("torch", "transformers"),
            fits="torch",
            library="transformers",
        ),
    )
}

#: Those that have files.
FORMATS: Final = {name: system for name, system in SYSTEMS.items() if system.suffixes}
#: Those that networks can be rebuilt as.
BACKENDS: Final = {name: system.backend for name, system in SYSTEMS.items() if system.backend is not None}


def format_of_name(path: str | os.PathLike[str]) -> str:
    """The name of the format that a file to be written is of, by its suffix.

    Raises:
        ValueError: It is of none, or of one that is only read.
    """
    text = os.fsdecode(path)
    # A folder is known by what it is, or by the slash at its end, which a Path has lost.
    is_folder = text.endswith((os.sep, "/")) or Path(text).is_dir()
    found = system_of_name(Path(text).name.lower() + ("/" if is_folder else ""))
    if found is None:
        written = (suffix for known in FORMATS.values() if known.writes for suffix in known.suffixes)
        raise ValueError(f"{os.fsdecode(path)!r} ends in none of {', '.join(written)}")
    if not found.writes:
        raise ValueError(f"{os.fsdecode(path)!r} would be {found.what}, which is read and not written")
    return found.name


def system_of_name(name: str) -> System | None:
    """The system whose files have such names, by the longest suffix that fits; None: none has.

    Args:
        name: The name in small letters, a folder's with a slash at its end.
    """
    endings = {suffix: known for known in FORMATS.values() for suffix in known.suffixes}
    fitting = [suffix for suffix in endings if name.endswith(suffix)]
    return endings[max(fitting, key=len)] if fitting else None


def system_inside(members: Collection[str]) -> str | None:
    """The name of the system whose zip files have such members; None: of none."""
    return next((name for name, known in FORMATS.items() if known.members and known.members(members)), None)


def listed(words: Iterable[str], *, last: str = "and") -> str:
    """``a, b and c``."""
    *front, end = words
    return f"{', '.join(front)} {last} {end}" if front else end
