"""What people hand over by mistake: each kind of it by its name, and the way out."""

from __future__ import annotations

from typing import Final

from modelarchive.formats import mistakes, protobuf
from modelarchive.formats.mistakes import Mistake

_AGAIN: Final = "take it from where it came from again, and compare its size there"
_PARTS: Final = "name the files in it: `modelarchive convert {path}/FILE out.h5`"
_UNPACK: Final = "unpack it first, and give the file or folder that is in it"

#: What a file may be, in the order of asking: what is recognised by a magic number first, by its name last.
FILES: Final[tuple[Mistake, ...]] = (
    Mistake("empty", "an empty file", mistakes.empty, "is empty: it has no bytes", _AGAIN),
    Mistake(
        "lfs",
        "a Git LFS pointer, in the place of any file: alone, a shard, in a Hugging Face folder",
        mistakes.pointer,
        "is a Git LFS pointer: three lines that stand for a file of {bytes}, which is not here",
        "run `git lfs pull` in the repository, or download the file itself",
    ),
    Mistake(
        "ggml",
        "GGML, which llama.cpp had before GGUF",
        mistakes.begins(b"lmgg", b"tjgg", b"fmgg", b"algg"),
        "is a GGML file of llama.cpp's first months, which is not read",
        "take the model's GGUF file, or the safetensors files that it was made of",
    ),
    Mistake(
        "tflite",
        "TensorFlow Lite (`.tflite`)",
        mistakes.begins(b"TFL3", at=4),
        "is a TensorFlow Lite model, which is not read",
        "tf2onnx makes ONNX of it: `python -m tf2onnx.convert --tflite {path} --output {stem}.onnx`",
    ),
    Mistake(
        "ort",
        "ONNX Runtime's own format (`.ort`)",
        mistakes.begins(b"ORTM", at=4),
        "is a model in ONNX Runtime's own format, which is not read",
        "take the .onnx file that it was made of",
    ),
    Mistake(
        "packed",
        "tar, gzip, bzip2, xz, zstd, lz4, 7z and rar archives",
        mistakes.begins(
            b"\x1f\x8b\x08",
            b"BZh",
            b"\xfd7zXZ\0",
            b"\x28\xb5\x2f\xfd",
            b"\x04\x22\x4d\x18",
            b"7z\xbc\xaf\x27\x1c",
            b"Rar!\x1a\x07",
        ),
        "is a packed file (tar, gzip, bzip2, xz, zstd, lz4, 7z or rar)",
        _UNPACK,
    ),
    Mistake("tar", "a tar archive", mistakes.begins(b"ustar", at=257), "is a tar archive", _UNPACK),
    Mistake(
        "matlab",
        "MATLAB (`.mat`)",
        mistakes.begins(b"MATLAB 5.0 MAT", b"MATLAB 7.3 MAT"),
        "is a file of MATLAB, which is not read",
        "read it in Python, with scipy.io.loadmat or h5py, and modelarchive.save('x.h5', arrays) writes what is read",
    ),
    Mistake(
        "page",
        "an HTML page: a login or error page that was saved as the file",
        mistakes.page,
        "is an HTML page, not the file that its name says",
        "the server sent a page, for logging in perhaps, instead of the file: download the file itself; the URL of a "
        "folder of shards ends in a slash",
    ),
    Mistake(
        "openvino",
        "OpenVINO (`.xml`)",
        mistakes.openvino,
        "is a model of OpenVINO, which is not read",
        "take the model that it was made of, as ONNX say",
    ),
    Mistake(
        "xml",
        "XML: what storage servers answer instead of a file",
        mistakes.xml,
        "is XML text, not the file that its name says",
        "a server answered so instead of sending the file: look into it, and download the file itself",
    ),
    Mistake(
        "diffusers-index",
        "`model_index.json` of diffusers",
        mistakes.document("_diffusers_version"),
        "is a settings file of diffusers, and holds no parameters",
        "give a file of parameters: `modelarchive convert unet/diffusion_pytorch_model.safetensors out.h5`, say",
    ),
    Mistake(
        "adapter-config",
        "`adapter_config.json` of PEFT",
        mistakes.document("peft_type"),
        "is the configuration of a PEFT adapter, and holds no parameters",
        "give its folder: `modelarchive convert FOLDER out.h5 --base MODEL` merges it into the folder of its model",
    ),
    Mistake(
        "tensorflowjs",
        "TensorFlow.js (`model.json`)",
        mistakes.document("weightsManifest"),
        "is a TensorFlow.js model, which is not read",
        "`tensorflowjs_converter --input_format tfjs_layers_model --output_format keras {path} {stem}.h5` makes "
        "Keras' file of it",
    ),
    Mistake(
        "huggingface-config",
        "`config.json` of a Hugging Face folder",
        mistakes.document("model_type", "architectures", "transformers_version"),
        "is the configuration of a Hugging Face model, and holds no parameters",
        "give the folder that it lies in",
    ),
    Mistake(
        "keras-config",
        "`model.to_json()` of Keras",
        mistakes.document("class_name"),
        "is the configuration of a Keras model, and holds no parameters",
        "give the file of weights that belongs to it: `modelarchive convert WEIGHTS out.h5 --config {path}`",
    ),
    Mistake(
        "json",
        "other JSON",
        mistakes.document(),
        "is JSON text, and no index of shards, nor a symbol of MXNet",
        "give the file that the parameters are in",
        is_vague=True,
    ),
    Mistake(
        "sklearn",
        "a pickle of scikit-learn, XGBoost, LightGBM or CatBoost, and what joblib writes",
        mistakes.pickled(b"sklearn", b"joblib", b"xgboost", b"lightgbm", b"catboost"),
        "is a Python pickle of scikit-learn or the like; reading it would run code, and it holds no network",
        "in the program that made it, save its arrays: modelarchive.save('x.h5', dict of arrays)",
    ),
    Mistake(
        "pickled-tensors",
        "a pickle of PyTorch tensors that `torch.save` did not write",
        mistakes.pickled(b"torch"),
        "is a Python pickle with PyTorch in it that torch.save did not write; reading it would run code",
        "in the program that made it, torch.save(state_dict, 'x.pt') writes what is read",
    ),
    Mistake(
        "pickle",
        "any other pickle",
        mistakes.pickled(),
        "is a Python pickle; reading it would run code",
        "in the program that made it, modelarchive.save('x.h5', arrays) writes what is read",
    ),
    Mistake(
        "deflated",
        "a pickle that joblib compressed",
        mistakes.deflated,
        "is a compressed Python pickle, as joblib writes; reading it would run code",
        "in the program that made it, modelarchive.save('x.h5', arrays) writes what is read",
    ),
    Mistake(
        "cut-zip",
        "a zip file (.npz, .keras, .pt) that is cut short",
        mistakes.cut_zip,
        "is a zip file that is cut short, or damaged: the list of its members is not at its end, after {has} bytes",
        _AGAIN,
    ),
    Mistake(
        "distcp",
        "a shard of PyTorch's distributed checkpoints (`.distcp`)",
        mistakes.distributed,
        "is a shard of torch.distributed.checkpoint, and not the whole checkpoint",
        "torch.distributed.checkpoint.format_utils.dcp_to_torch_save({folder!r}, 'model.pt') puts its folder together",
    ),
    Mistake(
        "streams",
        "several zip files one behind the other: two `torch.save` or `np.savez` into one file",
        mistakes.behind,
        "holds several zip files one behind the other, {before} bytes before the last",
        "save each into a file of its own: readers see one of them only",
    ),
    Mistake(
        "torchscript",
        "TorchScript",
        mistakes.zipped("constants.pkl", of_any_format=True),
        "is a TorchScript program, which is code",
        "torch.save(torch.jit.load({name!r}).state_dict(), {parameters!r}) keeps its parameters",
    ),
    Mistake(
        "aotinductor",
        "a package of compiled code (`.pt2` of AOTInductor)",
        mistakes.zipped("archive_format"),
        "is a package of compiled code (.pt2), without the program that it was made of",
        "save that: torch.export.save(torch.export.export(model, (x,)), {program!r})",
    ),
    Mistake(
        "zipped",
        "a zipped `.mlpackage`, SavedModel or folder of another kind",
        mistakes.zipped(
            ".mlmodel", ".pb", ".safetensors", ".pt", ".pth", ".bin", ".h5", ".keras", ".onnx", ".tflite", "config.json"
        ),
        "is a zip file with files in it ({inside}, ...), not a model itself",
        _UNPACK,
    ),
    Mistake(
        "zip",
        "a zip file of another kind",
        mistakes.zipped(),
        "is a zip file of no format that is known here: it begins with {inside}",
        _UNPACK,
    ),
    Mistake(
        "pieces",
        "a safetensors shard of PyTorch's distributed checkpoints, whose tensors are pieces",
        mistakes.pieces,
        "is a shard of torch.distributed.checkpoint: its tensors, as {tensor!r}, are pieces of larger ones",
        "torch.distributed.checkpoint._consolidate_hf_safetensors.consolidate_safetensors_files(FOLDER, OUT, "
        "{{{tensor!r}: 1, ...}}), with each tensor's name, puts the shards of a folder together",
    ),
    Mistake(
        "cut-safetensors",
        "a safetensors file, or an archive, that is cut short",
        mistakes.cut_safetensors,
        "is cut short: it has {has} of its {needed} bytes",
        _AGAIN,
    ),
    Mistake(
        "cut-hdf5",
        "an HDF5 file that is cut short",
        mistakes.cut_hdf5,
        "is cut short: it has {has} of the {needed} bytes that HDF5 wrote",
        _AGAIN,
    ),
    Mistake(
        "savedmodel-graph",
        "`saved_model.pb` of TensorFlow",
        mistakes.message(protobuf.is_saved_model),
        "is the graph of a TensorFlow SavedModel, which is not read",
        "tf2onnx makes ONNX of its folder: `python -m tf2onnx.convert --saved-model FOLDER --output model.onnx`",
    ),
    Mistake(
        "coreml",
        "Core ML (`.mlmodel`)",
        mistakes.message(protobuf.is_core_ml),
        "is a Core ML model, which is not read",
        "take the model that it was made of, as PyTorch, Keras or ONNX",
    ),
    Mistake(
        "cut-onnx",
        "an ONNX model that is cut short",
        mistakes.cut_onnx,
        "is cut short: it has {has} of at least {needed} bytes",
        _AGAIN,
    ),
    Mistake(
        "tensorflow-graph",
        "a frozen graph of TensorFlow (`.pb`)",
        mistakes.message(protobuf.is_graph),
        "is a graph of TensorFlow (.pb), which is not read",
        "tf2onnx makes ONNX of it: `python -m tf2onnx.convert --graphdef {path} --output {stem}.onnx`",
    ),
    Mistake(
        "tensorflow-index",
        "a checkpoint of TensorFlow (`.index`, `.data-00000-of-00001`, `checkpoint`)",
        mistakes.either(
            mistakes.table,
            mistakes.named(r"\.data-\d{5}-of-\d{5}$"),
            mistakes.named(r"^checkpoint$", head=b"model_checkpoint_path"),
        ),
        "is a part of a TensorFlow checkpoint, which is not read",
        "in TensorFlow: model.load_weights(...), then model.save('model.keras')",
    ),
    Mistake(
        "msgpack",
        "Flax (`.msgpack`)",
        mistakes.named(r"\.msgpack$"),
        "is a Flax checkpoint (msgpack), which is not read",
        "transformers writes the same model as safetensors: save_pretrained of a model loaded with from_flax=True",
    ),
    Mistake(
        "text",
        "other text: YAML, a README, a script",
        mistakes.text,
        "is text, and no model: it begins with {line!r}",
        "give the file that the parameters are in; of text, word vectors (a word and numbers on each line) are read",
        is_vague=True,
    ),
)

#: What a folder may be.
FOLDERS: Final[tuple[Mistake, ...]] = (
    Mistake(
        "savedmodel",
        "a SavedModel folder of TensorFlow or Keras 2",
        mistakes.folder_with("saved_model.pb"),
        "is a SavedModel folder of TensorFlow, which is not read",
        "in Keras, model.save('model.keras') writes what is read; or tf2onnx makes ONNX of it: "
        "`python -m tf2onnx.convert --saved-model {path} --output {stem}.onnx`",
    ),
    Mistake(
        "diffusers",
        "a diffusers folder (`model_index.json`)",
        mistakes.folder_with("model_index.json"),
        "is a folder of diffusers, which holds several models",
        "give one of them: `modelarchive convert {path}/text_encoder text_encoder.h5` reads what is of transformers, "
        "`modelarchive convert {path}/unet unet.h5 --parameters-only` the parameters of any other",
    ),
    Mistake(
        "checkpoint",
        "a folder of PyTorch's distributed checkpoints (`.metadata`, `*.distcp`)",
        mistakes.folder_with(".metadata", ends=".distcp"),
        "is a folder of torch.distributed.checkpoint, whose files are pieces",
        "torch.distributed.checkpoint.format_utils.dcp_to_torch_save({name!r}, 'model.pt') puts it together",
    ),
    Mistake(
        "mlpackage",
        "a Core ML package (`.mlpackage`)",
        mistakes.folder_with("Manifest.json", "Data"),
        "is a Core ML package, which is not read",
        "take the model that it was made of, as PyTorch, Keras or ONNX",
    ),
    Mistake(
        "tensorflowjs-folder",
        "a TensorFlow.js folder",
        mistakes.folder_with("model.json", ends=".bin"),
        "is a folder of TensorFlow.js, which is not read",
        "`tensorflowjs_converter --input_format tfjs_layers_model --output_format keras {path}/model.json model.h5` "
        "makes Keras' file of it",
    ),
    Mistake(
        "tensorflow-checkpoint",
        "a folder of TensorFlow checkpoints",
        mistakes.folder_with("checkpoint", ends=".index"),
        "is a folder of TensorFlow checkpoints, which are not read",
        "in TensorFlow: model.load_weights(...), then model.save('model.keras')",
    ),
    Mistake(
        "deepspeed",
        "a checkpoint of DeepSpeed",
        mistakes.folder_with("zero_to_fp32.py"),
        "is a checkpoint of DeepSpeed, whose files are pieces",
        "`python zero_to_fp32.py . out` in it puts it together",
    ),
    Mistake(
        "orbax",
        "a checkpoint of Orbax (JAX)",
        mistakes.folder_with("manifest.ocdbt"),
        "is a checkpoint of Orbax, which is not read",
        "in JAX, restore it, and modelarchive.save('x.h5', params) writes what is read",
    ),
    Mistake(
        "run",
        "the folder of a training run of this package (`step-00000100.h5`, ...)",
        mistakes.run,
        "is the folder of a training run, which holds several checkpoints",
        "give one of them: {path}/{newest} is the newest; Checkpoints({name!r}).restore() takes the newest whole one",
    ),
    Mistake(
        "archives",
        "a folder with archives in it",
        mistakes.archives,
        "is a folder, and no model itself; in it: {archives}",
        "give the file: {first}",
    ),
    Mistake(
        "weights",
        "a folder with weights and without `config.json`",
        lambda folder: None if (folder / "config.json").exists() else mistakes.weights(folder),
        "is a folder of weights without config.json, which would say of what network they are",
        "`{command}` keeps the arrays, and load() takes {weights}",
    ),
)

#: What is said of any other folder, where no reader knows it.
ANY_FOLDER: Final[tuple[Mistake, ...]] = (
    Mistake(
        "models",
        "a folder of folders that hold models",
        mistakes.models,
        "is a folder, and no model itself; in it: {models}",
        "give one of them: {first}",
    ),
    Mistake(
        "folder",
        "any other folder",
        mistakes.anything,
        "is a folder, and no model; in it: {holds}",
        "folders that are read: an archive in shards (model.safetensors.index.json), a Hugging Face folder "
        "(config.json and weights), and by `modelarchive show` a training run (step-00000100.h5, ...)",
    ),
)
