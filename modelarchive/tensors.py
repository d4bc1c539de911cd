"""Arrays of other libraries as NumPy's: PyTorch, Keras, JAX and whatever has ``__array__`` or DLPack.

No library is imported for it: who has a tensor has imported what made it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np

from modelarchive import dtypes
from modelarchive.errors import UnsupportedDataError, first_line

#: What cannot be done with what is no array.
_TAKEN: Final = "taken as an array"


class Foreign(NamedTuple):
    """An array of another library.

    Attributes:
        shape: Its shape.
        dtype: NumPy's dtype of the same numbers.
        read: Gives it as a NumPy array: on the same memory where `is_plain`, else on a copy.
        is_plain: Whether its memory is one that NumPy can look at.
        memory: The same for two that are the same part of the same memory; None: there is no telling.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[], np.ndarray]
    is_plain: bool
    memory: Hashable = None


def foreign(value: object) -> Foreign | None:
    """What is known of another library's array without copying it; None if `value` is none.

    Raises:
        UnsupportedDataError: It is one without values in memory (sparse, fake, distributed, ...), or of a dtype
            that archives do not hold; its text says what it is, and what to give instead.
    """
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, getattr(torch, "Tensor", ())):
        with torch._C.DisableTorchFunctionSubclass():  # a subclass may answer each question by code of its own
            return _of_torch(value, torch)
    keras = sys.modules.get("keras")
    if keras is not None and isinstance(value, getattr(keras, "KerasTensor", ())):
        raise _refused("a KerasTensor stands for values that are not there yet; give the layer's variable")
    if keras is not None and isinstance(value, getattr(keras, "Variable", ())):
        return foreign(_value_of(value))
    if isinstance(value, type) or not (hasattr(value, "__array__") or hasattr(value, "__dlpack__")):
        return None
    array = _by_protocol(value)
    return Foreign(array.shape, array.dtype, lambda: array, is_plain=True)


def place_of(value: object) -> Hashable:
    """Where an array lies, with its shape and dtype: the same for a tensor of PyTorch's and for NumPy's view of it.

    It is asked in a fraction of the time of :func:`foreign`. None: it is not dense and one after another in the
    machine's memory, or of another library.
    """
    if isinstance(value, np.ndarray):
        is_plain = value.flags.c_contiguous and value.dtype.isnative
        return (value.ctypes.data, value.shape, dtypes.dense_name(value.dtype)) if is_plain else None
    torch = sys.modules.get("torch")
    if not hasattr(torch, "Tensor") or not _is_usual(value, torch):
        return None
    tensor: Any = value
    return tensor.data_ptr(), tensor.shape, _name_in_torch(tensor.dtype)


def block_of(value: Any) -> tuple[Hashable, int] | None:
    """Where the memory begins that an array of NumPy's or a tensor of PyTorch's lies in, and its bytes.

    None: of others nobody tells. Memory that NumPy has not made itself has no bytes: how many is not known.
    """
    if isinstance(value, np.ndarray):
        while isinstance(value.base, np.ndarray):
            value = value.base
        return ("cpu", value.__array_interface__["data"][0]), value.nbytes if value.base is None else 0
    torch = sys.modules.get("torch")
    if torch is None or type(value) not in (torch.Tensor, torch.nn.Parameter) or value.layout is not torch.strided:
        return None
    if value.is_meta or value.is_quantized:
        return None
    storage = value.untyped_storage()
    return (str(value.device), storage.data_ptr()), storage.nbytes()


def asarray(value: Any) -> np.ndarray:
    """What ``np.asarray`` gives, and of another library's array the same numbers: on its memory where that can be.

    Raises:
        UnsupportedDataError: As :func:`foreign`.
    """
    if isinstance(value, np.ndarray):
        return value
    found = foreign(value)
    return np.asarray(value) if found is None else found.read()


def arrays_of(values: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Every array of a mapping as NumPy's; tensors that are the same memory come as one object.

    Raises:
        UnsupportedDataError: Some are no arrays, or have no values in memory; lists all of them.
    """
    found: dict[str, np.ndarray] = {}
    #: The tensors are kept too: as long as they are, no other one comes to lie where they do.
    shared: dict[Hashable, tuple[np.ndarray, Foreign]] = {}
    problems: list[tuple[str, str]] = []
    if any(not isinstance(name, str) for name in values):
        wrong = next(name for name in values if not isinstance(name, str))
        raise TypeError(f"the name {wrong!r} of an array is {type(wrong).__name__}, expected str")
    for name, value in values.items():
        try:
            if isinstance(value, np.ndarray):
                found[name] = value
            elif (tensor := foreign(value)) is None:
                problems.append((name, f"is {type(value).__name__}, expected an array"))
            else:
                known = shared.get(tensor.memory)
                found[name] = tensor.read() if known is None else known[0]
                if tensor.memory is not None:
                    shared.setdefault(tensor.memory, (found[name], tensor))
        except UnsupportedDataError as error:
            problems += [(name, what) for _, what in error.problems]
    if problems:
        inner = next((name for name, value in values.items() if isinstance(value, Mapping)), None)
        hint = None if inner is None else f"give the dict of arrays inside, data[{inner!r}]"
        raise UnsupportedDataError(problems, done=_TAKEN, hint=hint)
    return found


def is_fillable(value: Any) -> bool:
    """Whether :func:`fill` can change an array: JAX's, read-only and expanded ones stay what they are."""
    if isinstance(value, np.ndarray):
        return bool(value.flags.writeable) and not _is_expanded(value.shape, value.strides)
    torch, keras = sys.modules.get("torch"), sys.modules.get("keras")
    if torch is not None and isinstance(value, torch.Tensor):
        return value.is_meta or not _is_expanded(value.shape, value.stride())
    return keras is not None and isinstance(value, getattr(keras, "Variable", ()))


def _is_expanded(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether several elements are the same memory, as those of ``expand`` and ``broadcast_to``."""
    return any(size > 1 and stride == 0 for size, stride in zip(shape, strides, strict=True))


def fill(target: Any, array: np.ndarray) -> None:
    """Copy values of the same shape and dtype into an array, a ``torch.Tensor`` or a ``keras.Variable``."""
    torch = sys.modules.get("torch")
    if isinstance(target, np.ndarray):
        target[...] = array
    elif torch is not None and isinstance(target, torch.Tensor):
        # A tensor made in inference mode is changed in it only; one of several views, as unbind gives, detached only.
        mode = torch.inference_mode() if target.is_inference() else torch.no_grad()
        with mode, torch._C.DisableTorchFunctionSubclass():
            target.detach().copy_(torch_tensor(array, torch))
    elif type(target.value).__module__.partition(".")[0] == "torch":
        fill(target.value, array)  # NumPy's bfloat16 is none of Keras' own
    else:
        target.assign(array)


def memory_of(value: Any) -> np.ndarray | None:
    """The array on a value's own memory that bytes can be read into; None where there is no such memory."""
    if isinstance(value, np.ndarray):
        array = value
    else:
        try:
            found = foreign(value)
        except UnsupportedDataError:
            return None
        if found is None or not found.is_plain:
            return None
        array = found.read()
    plain = array.flags.c_contiguous and array.flags.writeable and array.dtype.isnative
    return array if plain and is_fillable(value) else None


def is_torch(value: object) -> bool:
    """Whether it is a tensor of PyTorch's."""
    torch = sys.modules.get("torch")
    # A subclass may answer by code of its own what its class is.
    return torch is not None and issubclass(type(value), getattr(torch, "Tensor", ()))


def is_distributed(value: object) -> bool:
    """Whether it is a tensor of PyTorch's of which each process has a part."""
    return is_torch(value) and hasattr(value, "full_tensor")


def own_part(value: Any) -> Any:
    """The part of a distributed tensor that this process has, on its memory; anything else as it is."""
    return value.detach().to_local() if is_distributed(value) else value


def has_torch() -> bool:
    """Whether PyTorch is in use."""
    return hasattr(sys.modules.get("torch"), "Tensor")


def as_torch(array: np.ndarray) -> Any:
    """A tensor of PyTorch's on the memory of an array; the array itself where PyTorch is not in use."""
    torch = sys.modules.get("torch")
    return array if torch is None else torch_tensor(array, torch)


def torch_tensor(array: Any, torch: Any) -> Any:
    """A tensor on the memory of `array`; on a copy only where that is read-only or has a foreign byte order.

    Args:
        array: The array.
        torch: The module.
    """
    array = np.asarray(array)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if not array.flags.writeable:
        array = array.copy()
    name = dtypes.dense_name(array.dtype)
    if name is not None and _needs_carrier(name):
        carrier = np.int16 if array.dtype.itemsize == 2 else np.uint8
        return torch.from_numpy(array.view(carrier)).view(getattr(torch, name))
    return torch.from_numpy(array)


def _needs_carrier(name: str) -> bool:
    """Whether NumPy's own dtypes lack this one, and DLPack too: it goes as integers of the same size."""
    return name.startswith(("bfloat", "float8"))


def dtype_name(dtype: Any) -> str | None:
    """The logical name of another library's dtype object, "float32" of ``torch.float32``; None if it is none."""
    return _name_in_torch(dtype) if type(dtype).__module__.partition(".")[0] == "torch" else None


@cache
def _name_in_torch(dtype: Any) -> str | None:
    name = str(dtype).removeprefix("torch.")
    return name if dtypes.is_dense(name) else None


def _of_torch(tensor: Any, torch: Any) -> Foreign:
    if _is_usual(tensor, torch) and (name := dtype_name(tensor.dtype)) is not None and not _needs_carrier(name):
        shape, start, memory = tuple(tensor.shape), tensor.storage_offset(), None
        storage = tensor.untyped_storage()
        if (start + tensor.numel()) * tensor.itemsize <= storage.nbytes():
            if 0 not in shape:
                memory = ("cpu", storage.data_ptr(), start, shape, tensor.stride(), name, False, False)
            give = tensor.numpy if not tensor.requires_grad else lambda: tensor.detach().numpy()
            return Foreign(shape, dtypes.DENSE[name], give, is_plain=True, memory=memory)
    if (why := _without_values(tensor, torch)) is not None:
        raise _refused(why)
    name = dtype_name(tensor.dtype)
    if name is None:
        wide = "complex64" if tensor.is_complex() else "float32"
        raise _refused(f"a tensor of dtype {tensor.dtype}, which archives do not hold; give tensor.to(torch.{wide})")
    dtype = dtypes.numpy_dtype(name)

    def read() -> np.ndarray:
        try:
            with torch._C.DisableTorchFunctionSubclass():
                if is_plain and not _needs_carrier(name):
                    return tensor.detach().numpy()  # type: ignore[no-any-return]
            with torch.no_grad(), torch._C.DisableTorchFunctionSubclass():
                dense = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
                dense = dense.clone() if is_zero else dense
                if not _needs_carrier(name):
                    array: np.ndarray = dense.numpy()
                    return array
                carrier = torch.int16 if dtype.itemsize == 2 else torch.uint8
                return dense.view(carrier).numpy().view(dtype)  # type: ignore[no-any-return]
        except (RuntimeError, TypeError, NotImplementedError) as error:
            raise _refused(f"a tensor that PyTorch cannot give as an array: {first_line(error)}") from error

    is_zero = tensor._is_zerotensor()  # all of its elements are one that lies nowhere
    is_plain = tensor.device.type == "cpu" and tensor.is_contiguous() and not tensor.is_conj() and not tensor.is_neg()
    is_plain = is_plain and not is_zero
    memory = None
    if tensor.numel() and not is_zero:
        start = tensor.untyped_storage().data_ptr()
        place = (start, tensor.storage_offset(), tuple(tensor.shape), tensor.stride(), name)
        memory = (str(tensor.device), *place, tensor.is_conj(), tensor.is_neg())
    return Foreign(tuple(tensor.shape), dtype, read, is_plain, memory)


def _is_usual(tensor: Any, torch: Any) -> bool:
    """Whether a tensor is what most are, dense and one after another in the machine's memory, asked as a whole."""
    if type(tensor) is not torch.Tensor and type(tensor) is not torch.nn.Parameter:
        return False
    keys = torch._C._dispatch_keys(tensor).raw_repr()
    return bool(keys == _usual_keys(torch) and tensor.is_contiguous())


@cache
def _usual_keys(torch: Any) -> int:
    """By these PyTorch decides who handles a tensor: what is elsewhere, sparse, lazy, wrapped ... has others."""
    key, several = torch._C.DispatchKey, torch._C.DispatchKeySet(torch._C.DispatchKey.CPU)
    for name in ("ADInplaceOrView", "AutogradCPU", "AutocastCPU"):
        several = several.add(getattr(key, name))
    return int(several.raw_repr())


def _without_values(tensor: Any, torch: Any) -> str | None:
    """Why a tensor has no dense values in memory, and what to give instead; None if it has."""
    kind = type(tensor).__name__
    if hasattr(tensor, "full_tensor"):
        return f"a {kind}, a part on each process; give tensor.full_tensor(), or use torch.distributed.checkpoint (dcp)"
    if kind in _LAZY:
        return "a tensor whose shape is learned at the first call; call the module once on an example first"
    if tensor.is_nested:
        return "a nested tensor, whose rows differ in length; give tensor.to_padded_tensor(0.0), or a list of its parts"
    if kind == "FakeTensor":
        return "a FakeTensor, which has a shape and no values; make it outside of FakeTensorMode"
    if tensor.is_meta:
        return "a tensor on the meta device, which has no values; use to_empty(device='cpu') and load values first"
    functorch = getattr(torch._C, "_functorch", None)
    is_wrapped = functorch is not None and functorch.is_functorch_wrapped_tensor(tensor)
    if is_wrapped or torch._is_functional_tensor(tensor):
        return "a tensor inside of a transform such as vmap or grad; give what the transform returns"
    if type(tensor).__torch_dispatch__ is not torch.Tensor.__torch_dispatch__:
        own = type(tensor)
        way = "a dense tensor" if own.dequantize is torch.Tensor.dequantize else "tensor.dequantize()"
        way = "tensor.to_tensor(0)" if kind == "MaskedTensor" else way
        return f"a {kind}, a subclass of torch.Tensor with a storage of its own; give {way}"
    if tensor.is_quantized:
        return f"a quantised tensor ({tensor.dtype}); give tensor.dequantize(), or int_repr() and its scale"
    if tensor.layout is not torch.strided:
        return f"a sparse tensor ({tensor.layout}); give tensor.to_dense()"
    if tensor.numel() and not tensor._is_zerotensor() and _end(tensor) > tensor.untyped_storage().nbytes():
        return "a tensor whose memory was given back, as sharded training does; give it while it is gathered"
    return None


def _end(tensor: Any) -> int:
    """Where the last element of a tensor ends in its memory, in bytes."""
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    last = tensor.storage_offset() + sum((size - 1) * stride for size, stride in steps)
    return int(last + 1) * int(tensor.element_size())


#: Parameters and buffers of lazy modules that were never called.
_LAZY: Final = ("UninitializedParameter", "UninitializedBuffer")


def _value_of(variable: Any) -> Any:
    """The tensor of a ``keras.Variable``, on whatever backend."""
    try:
        value = variable.value
    except Exception as error:
        raise _refused(f"a keras.Variable without a value: {first_line(error)}") from error
    if value is None:
        raise _refused("a keras.Variable without a value yet; build the model, or call it once")
    return value


def _by_protocol(value: Any) -> np.ndarray:
    """By ``__array__``, which knows more dtypes; else by DLPack."""
    owner = f"{type(value).__module__.partition('.')[0]}.{type(value).__name__}"
    problem: Exception | None = None
    for method, way in (("__array__", np.asarray), ("__dlpack__", np.from_dlpack)):
        if not hasattr(value, method):
            continue
        try:
            found = way(value)
        except Exception as error:  # each library raises its own
            problem = problem or error
            continue
        if isinstance(found, np.ndarray):
            return found
    why = "nothing" if problem is None else first_line(problem)
    raise _refused(f"a {owner} that cannot be given as a NumPy array: {why}; give what numpy.asarray() takes")


def _refused(why: str) -> UnsupportedDataError:
    return UnsupportedDataError([("tensor", why)], done=_TAKEN)
