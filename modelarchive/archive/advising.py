"""What to save instead of an object that is no data."""

from __future__ import annotations

from typing import Final

#: The name of a class, or of one that it comes from -> what says the same in plain data.
_WAYS: Final = {
    "bytes": "np.frombuffer(value, np.uint8)",
    "bytearray": "np.frombuffer(value, np.uint8)",
    "set": "a sorted list",
    "frozenset": "a sorted list",
    "History": "value.history",
    "spmatrix": "value.toarray()",
    "sparray": "value.toarray()",
    "range": "a list of it",
    "generator": "a list of it",
    "dict_values": "a list of it",
    "dict_keys": "a list of it",
    "Namespace": "vars(value)",
    "SimpleNamespace": "vars(value)",
    "PurePath": "str(value)",
    "Enum": "value.value",
    "date": "value.isoformat()",
    "timedelta": "value.total_seconds()",
    "dtype": "str(value)",
    "device": "str(value)",
    "DataLoader": "StatefulDataLoader of torchdata, which says where it stands",
}


def advice(data: object) -> str:
    """The end of a refusal: what to save of the object that was refused; "" where nothing is known."""
    if isinstance(data, type):
        return "; it is a class"
    if (way := next((_WAYS[kind.__name__] for kind in type(data).__mro__ if kind.__name__ in _WAYS), None)) is not None:
        return f"; use {way}"
    if hasattr(data, "bit_generator"):
        return "; use value.bit_generator.state"
    if hasattr(data, "get_state") and hasattr(data, "set_state"):
        return "; use value.get_state()"
    if hasattr(data, "__dataclass_fields__"):
        return "; use dataclasses.asdict(value)"
    if hasattr(data, "call") and hasattr(data, "trainable_variables"):
        return "; save_model() keeps it as a network, save() the dict {each.path: each for each in model.variables}"
    if hasattr(data, "apply_gradients") and hasattr(data, "variables"):
        return "; Checkpoints keeps its state, save() the dict {each.path: each for each in optimizer.variables}"
    if hasattr(data, "forward") and hasattr(data, "state_dict"):
        return "; save_model() keeps it as a network, save() its state_dict()"
    if hasattr(data, "forward") and hasattr(data, "collect_params"):
        return "; save_model() keeps it as a network, save_parameters() its parameters"
    return "; save its state_dict()" if hasattr(data, "state_dict") else ""
