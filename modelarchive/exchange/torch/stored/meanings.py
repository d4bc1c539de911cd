"""The classes and functions that a pickle may name, and what each means here: plain data, tensors, arrays of NumPy.

This is the list of what is understood. Whatever stands on it is a function of this package on plain data; whatever
does not becomes a stub, whose name is told and of which nothing runs.
"""

from __future__ import annotations

from typing import Any, Final

from modelarchive.errors import FormatError
from modelarchive.exchange.budget import spend
from modelarchive.exchange.torch.stored.numbers import ARRAYS, NumpyArray
from modelarchive.exchange.torch.stored.stubs import Meaning, Named, Stub, dict_of, shown
from modelarchive.exchange.torch.stored.tensors import Dtype, Storage, Tensor, Unreadable, dtype_named, tensor

#: Storage classes and the dtypes of their elements; None: bytes.
_STORAGES: Final = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "QInt8Storage": "qint8",
    "QUInt8Storage": "quint8",
    "QInt32Storage": "qint32",
    "QUInt4x2Storage": "quint4x2",
    "QUInt2x4Storage": "quint2x4",
    "UntypedStorage": None,
}
#: Classes whose instances are tensors as any other.
_TENSORS: Final = ("torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer")


class _StorageClass(Named):
    """A class of storages.

    Args:
        name: As the pickle says it.
        dtype: Of its elements; None: it is of bytes.
    """

    __slots__ = ("dtype",)

    def __init__(self, name: str, dtype: Dtype | None) -> None:
        super().__init__(name)
        self.dtype = dtype


def meaning_of(module: str, name: str) -> Any:
    """What a module and a name in a pickle stand for: a meaning, a dtype, a class of storages, or a mere name."""
    if (found := MEANINGS.get((module, name))) is not None:
        return found
    if module in ("torch", "torch.cuda", "torch.storage") and name in _STORAGES:
        dtype = _STORAGES[name]
        return _StorageClass(name, None if dtype is None else Dtype(dtype))
    if module == "torch" and (dtype_ := dtype_named(name)) is not None:
        return dtype_
    return Named(shown(f"{module}.{name}"))


# Tensors


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Any:
    return _view(storage, None, offset, size, stride)


def _tensor_with_marks(
    storage: Any, offset: Any, size: Any, stride: Any, _requires: Any, _hooks: Any, marks: Any = None
) -> Any:
    return _marked(_view(storage, None, offset, size, stride), marks)


def _tensor_of_dtype(
    storage: Any, offset: Any, size: Any, stride: Any, _requires: Any, _hooks: Any, dtype: Any, marks: Any = None
) -> Any:
    if not isinstance(dtype, Dtype):
        raise FormatError("is damaged: a tensor in it has a dtype that is none")
    return _marked(_view(storage, dtype, offset, size, stride), marks)


def _view(storage: Any, dtype: Dtype | None, offset: Any, size: Any, stride: Any) -> Any:
    if isinstance(storage, Stub | Named):
        return Unreadable(f"a tensor whose values only {storage.name[:80]} would give; save it with torch.save")
    return tensor(storage, dtype, offset, size, stride)


def _marked(found: Any, marks: Any) -> Any:
    """The marks of tensors that stand for conjugates and negatives."""
    if isinstance(found, Tensor) and isinstance(marks, dict):
        found.is_conjugate = bool(marks.get("conj")) and found.dtype.name.startswith("complex")
        found.is_negative = bool(marks.get("neg")) and found.dtype.name not in ("bool",)
    return found


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _parameter_with_state(data: Any, _requires: Any, _hooks: Any, state: Any) -> Any:
    return _with_state(data, state)


def _with_state(found: Any, state: Any) -> Any:
    if isinstance(found, Tensor):
        found.set_state(state)
    return found


def _of_type(function: Any, kind: Any, arguments: Any, state: Any = None) -> Any:
    """A tensor with attributes, or one of a subclass."""
    if not isinstance(function, Meaning) or not isinstance(arguments, tuple):
        name = function.name if isinstance(function, Named) else "another class"
        return Unreadable(f"a tensor whose values only {name[:80]} would give; save tensor.detach().clone()")
    found = _once(function)(arguments)
    name = kind.name if isinstance(kind, Named | Meaning) else ""
    if isinstance(found, Tensor) and name not in _TENSORS:
        found.kind = name
    return _with_state(found, state)


def _subclass(kind: Any, *_: Any) -> Any:
    name = kind.name if isinstance(kind, Named) else "subclass"
    way = "tensor.full_tensor()" if name.endswith("DTensor") else "a dense tensor"
    what = f"a {name.rpartition('.')[2][:80]}, a subclass of torch.Tensor with a storage of its own"
    return Unreadable(f"{what}; save {way}")


def _unreadable(problem: str) -> Any:
    return lambda *_: Unreadable(problem)


def _of_numpy(data: Any, dtype: Any = None, *_: Any) -> Any:
    """A tensor of a device that PyTorch saves as an array, or as a tensor: bfloat16 as float32, which NumPy has."""
    if not isinstance(data, NumpyArray | Tensor) or not isinstance(dtype, Dtype):
        raise FormatError("is damaged: a tensor in it has values that are no array")
    found = data.dtype.name if isinstance(data, Tensor) else "" if data.array is None else data.array.dtype.name
    if found == dtype.name:
        return data
    if isinstance(data, NumpyArray) and (found, dtype.name) == ("float32", "bfloat16"):
        return data.as_bfloat16()
    return Unreadable(f"a tensor of dtype {dtype} whose values are stored as {found or 'objects'}; save tensor.cpu()")


_SPARSE: Final = "a sparse tensor; save tensor.to_dense()"
_SHARDED: Final = "a ShardedTensor, a part on each process; use torch.distributed.checkpoint (dcp), or gather it first"
_LAZY: Final = "a tensor whose shape is learned at the first call; call the module once on an example first"
_TENSOR_FUNCTIONS: Final = {
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor_with_marks,
    ("torch._utils", "_rebuild_tensor_v3"): _tensor_of_dtype,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter_with_state,
    ("torch.nn.parameter", "Parameter"): _parameter,  # before PyTorch 0.4, as the next
    ("torch.autograd.variable", "Variable"): _parameter,
    ("torch._tensor", "_rebuild_from_type_v2"): _of_type,
    ("torch._tensor", "_rebuild_from_type"): _of_type,
    ("torch.tensor", "_rebuild_from_type"): _of_type,
    ("torch._utils", "_rebuild_wrapper_subclass"): _subclass,
    ("torch._utils", "_rebuild_device_tensor_from_numpy"): _of_numpy,
    ("torch._utils", "_rebuild_device_tensor_from_cpu_tensor"): _of_numpy,
    ("torch._utils", "_rebuild_xla_tensor"): _of_numpy,
    ("torch._utils", "_rebuild_sparse_tensor"): _unreadable(_SPARSE),
    ("torch._utils", "_rebuild_sparse_csr_tensor"): _unreadable(_SPARSE),
    ("torch._utils", "_rebuild_nested_tensor"): _unreadable(
        "a nested tensor, whose rows differ in length; save tensor.to_padded_tensor(0.0), or a list of its parts"
    ),
    ("torch._utils", "_rebuild_qtensor"): _unreadable(
        "a quantised tensor; save tensor.dequantize(), or int_repr() and its scale"
    ),
    ("torch._utils", "_rebuild_meta_tensor_no_storage"): _unreadable(
        "a tensor on the meta device, which has no values; use to_empty(device='cpu') and load values first"
    ),
    ("torch.distributed._shard.sharded_tensor.api", "ShardedTensor"): _unreadable(_SHARDED),
    ("torch.distributed._sharded_tensor.api", "ShardedTensor"): _unreadable(_SHARDED),
    ("torch.nn.parameter", "UninitializedParameter"): _unreadable(_LAZY),
    ("torch.nn.parameter", "UninitializedBuffer"): _unreadable(_LAZY),
}


# Plain data


def _same(value: Any = (), *_: Any) -> Any:
    if isinstance(value, list):
        spend("a pickle", steps=len(value))
        return list(value)
    return value


def _device(kind: Any = "", index: Any = None) -> str:
    if not isinstance(kind, str) or type(index) not in (int, type(None)):
        raise FormatError("is damaged: a device in its pickle is described by what is none")
    return kind[:80] if index is None else f"{kind[:80]}:{index}"


def _set(values: Any = ()) -> Stub:
    return Stub("set", (values,))


def _encoded(text: str, encoding: Any = "latin1") -> bytes:
    """Bytes that Python 3 writes as text where a pickle is to be read by Python 2."""
    if encoding not in ("latin1", "latin-1"):
        raise FormatError("is damaged: bytes in its pickle are of another encoding than latin1")
    spend("bytes of a pickle", nbytes=len(text))
    return text.encode("latin1")


def _bytes(value: Any = b"", *_: Any) -> Any:
    """``bytearray(text, "latin-1")`` of old protocols, and bytes of bytes."""
    return _encoded(value) if isinstance(value, str) else value if isinstance(value, bytes) else Stub("bytes")


def _complex(real: Any = 0.0, imaginary: Any = 0.0) -> complex:
    if not isinstance(real, int | float) or not isinstance(imaginary, int | float):
        raise FormatError("is damaged: a complex number in its pickle is none")
    return complex(real, imaginary)


def _reconstructed(kind: Any, base: Any, state: Any) -> Any:
    """How old protocols make an object; a base of plain data is its content."""
    name = kind.name if isinstance(kind, Named) else "an object"
    made = Stub(name)
    if isinstance(state, dict):
        made.entries = dict_of(state)
    elif isinstance(state, list):
        made.items = _same(state)
    elif isinstance(base, Named) and base.name not in ("builtins.object", "__builtin__.object"):
        made.arguments = (state,)
    return made


def _new(kind: Any, *arguments: Any) -> Any:
    """What a class makes of arguments, by ``copyreg.__newobj__``."""
    if isinstance(kind, Meaning):
        return _once(kind)(arguments)
    return Stub(kind.name if isinstance(kind, Named) else "an object", arguments)


def _once(called: Meaning) -> Meaning:
    """The same, if it does not call another in turn: those in one another would be as deep as a pickle likes."""
    if called.make in (_of_type, _new):
        raise FormatError(f"is damaged: its pickle has {called.name} call another that calls")
    return called


def _dict(pairs: Any = ()) -> dict[Any, Any]:
    return dict_of(pairs)


def _default_dict(_factory: Any = None, pairs: Any = ()) -> dict[Any, Any]:
    return dict_of(pairs)


_PLAIN_FUNCTIONS: Final = {
    ("collections", "OrderedDict"): _dict,
    ("collections", "Counter"): _dict,
    ("collections", "defaultdict"): _default_dict,
    ("torch", "Size"): _same,
    ("torch", "device"): _device,
    ("torch.serialization", "_get_layout"): _same,
    ("_codecs", "encode"): _encoded,
}
_BUILTINS: Final = {
    "set": _set,
    "frozenset": _set,
    "bytes": _bytes,
    "bytearray": _bytes,
    "complex": _complex,
    "dict": _dict,
    "list": _same,
    "tuple": _same,
}

#: Module and name -> what it means.
MEANINGS: Final[dict[tuple[str, str], Meaning]] = {
    (module, name): Meaning(f"{module}.{name}", make)
    for (module, name), make in {
        **_TENSOR_FUNCTIONS,
        **_PLAIN_FUNCTIONS,
        **ARRAYS,
        **{(module, name): make for module in ("builtins", "__builtin__") for name, make in _BUILTINS.items()},
        **{(module, "_reconstructor"): _reconstructed for module in ("copyreg", "copy_reg")},
        **{(module, "__newobj__"): _new for module in ("copyreg", "copy_reg")},
    }.items()
}


def storage_of(identity: Any, *, of_stream: bool = False) -> tuple[Storage, Any]:
    """The storage that a persistent id describes, and what else stands in it.

    Args:
        identity: As the pickle has it: "storage", class, key, device and the number of elements.
        of_stream: Files before PyTorch 1.6 have a sixth part: of which storage it is a view.

    Raises:
        FormatError: It describes none.
    """
    is_known = isinstance(identity, tuple) and len(identity) == (6 if of_stream else 5)
    if not is_known or identity[0] not in ("storage", b"storage"):
        raise FormatError("is damaged: its pickle has a persistent id that is no storage")
    _, kind, key, _device, count, *view = identity
    if not isinstance(kind, _StorageClass) or not isinstance(key, str | int) or type(count) is not int or count < 0:
        raise FormatError("is damaged: a storage in its pickle is described by what is none")
    return Storage(str(key), kind.dtype, count), view[0] if view else None
