"""How large a network may become that a library builds of a stranger's words: as large as its files."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from modelarchive.errors import ConversionError
from modelarchive.store.deferred import Deferred
from modelarchive.store.strict import short

#: So many parts are built of anything, whatever the files hold.
_FEW: Final = 4096
#: Options that count what is built one after the other, by a part of their names.
_PARTS: Final = re.compile("layer|depth|block|stage")
#: Options of which each has a name, or a row of a parameter.
_ROWS: Final = re.compile("labels|classes")


def refuse_counts(values: Mapping[str, Any], entries: Collection[Deferred]) -> None:
    """Refuse what would be built for longer than the files have parameters.

    Args:
        values: Options.
        entries: What the files hold.
    """
    arrays, elements = max(_FEW, len(entries)), max(_FEW, sum(entry.size for entry in entries))
    for name, value in values.items():
        if isinstance(value, Mapping):
            refuse_counts(value, entries)
        counts = [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, int | float)]
        for pattern, most, what in ((_PARTS, arrays, "arrays"), (_ROWS, elements, "numbers")):
            if pattern.search(str(name)) and any(each > most for each in counts):
                raise ConversionError([(name, f"is {short(value)}, more than the files hold {what}")])


def refuse_size(make: Callable[[], Any], entries: Collection[Deferred]) -> None:
    """Refuse a network that is larger than its files, before memory is asked for.

    Args:
        make: Builds the module of PyTorch, here without memory.
        entries: What the files hold.
    """
    import torch

    stored = sum(entry.size for entry in entries)
    left = 2 * len(entries) + 1000  # some are there under two names, or in parts

    def count(module: Any, name: str, parameter: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            what = f"means a network of many more parts than the {len(entries):,} arrays"
            raise ConversionError([("config.json", what)])
        if parameter.numel() > stored:  # what it is filled with may be computed number by number
            what = f"means a network of at least {parameter.numel():,} parameters, and the files hold {stored:,}"
            raise ConversionError([("config.json", what)])

    counting = torch.nn.modules.module.register_module_parameter_registration_hook(count)
    try:
        with torch.device("meta"):
            wanted = sum(each.numel() for each in make().parameters())
    finally:
        counting.remove()
    if wanted > stored:
        what = f"means a network of {wanted:,} parameters, and the files hold {stored:,}"
        raise ConversionError([("config.json", what)])
