"""What stands in a config beside what Keras writes: keys of which nothing is known, and so nothing is read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

#: What a serialized object has: a layer, a model, an initializer, a policy.
_OBJECT: Final = frozenset(
    (
        *("module", "class_name", "registered_name", "config", "build_config", "compile_config"),
        *("name", "inbound_nodes", "shared_object_id", "keras_version", "backend", "items"),
    )
)
#: What a call has.
_CALL: Final = frozenset(("args", "kwargs"))
#: What is remembered of how a layer was built.
_BUILT: Final = re.compile(r"shapes_dict|input|shape|(\w+_)?(shape|shapes)")
#: What an InputLayer says of itself.
_INPUT: Final = frozenset(
    (*("name", "batch_shape", "batch_input_shape", "dtype", "input_dtype"), *("sparse", "ragged", "optional"))
)
#: How variables were filled when the model was made.
_INITIALIZER: Final = frozenset(
    (
        *("mean", "stddev", "seed", "minval", "maxval", "scale", "mode", "distribution", "gain", "value", "dtype"),
        *("input_axes", "output_axes", "side", "periodic", "fft_length", "sequence_length", "scaling", "window"),
    )
)
#: Class -> what is in its config, of those that no row of a table reads.
_INSIDE: Final[dict[str, frozenset[str]]] = {
    "__keras_tensor__": frozenset(("shape", "dtype", "keras_history", "name")),
    "InputLayer": _INPUT,
    **dict.fromkeys(("DTypePolicy", "FloatDTypePolicy", "Policy", "PolicyV1"), frozenset(("name", "source_name"))),
}


def unknown_keys(data: Any) -> list[str]:
    """The keys at any depth of a model's JSON of which nothing is known; settings of layers their rows read."""
    found: dict[str, None] = {}
    pending: list[tuple[Any, str]] = [(data, "")]
    while pending:
        value, owner = pending.pop()
        if isinstance(value, list):
            pending += [(each, owner) for each in value]
        elif isinstance(value, dict):
            if "class_name" in value:
                found |= dict.fromkeys(_of_object(value, owner))
            pending += [(each, key) for key, each in value.items()]
    return list(found)


def _of_object(value: Mapping[str, Any], owner: str) -> Iterator[str]:
    yield from (key for key in value if key not in _OBJECT)
    config, kind = value.get("config"), value.get("class_name")
    known = _INSIDE.get(kind) if isinstance(kind, str) else None
    if known is None and owner.endswith("_initializer"):
        known = _INITIALIZER
    if known is not None and isinstance(config, dict):
        yield from (key for key in config if key not in known)
    built, nodes = value.get("build_config"), value.get("inbound_nodes")
    if isinstance(built, dict):
        yield from (key for key in built if not _BUILT.fullmatch(key))
    for node in nodes if isinstance(nodes, list) else ():
        if isinstance(node, dict):
            yield from (key for key in node if key not in _CALL)
