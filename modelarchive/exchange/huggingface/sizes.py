"""How large a network may become that a library builds of a stranger's words: as large as its files."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from modelarchive.errors import ConversionError
from modelarchive.store.deferred import Deferred
from modelarchive.store.strict import short

#: Options that count what is built one after the other, by a part of their names.
_COUNTS: Final = re.compile("layer|depth|block|stage")


def refuse_counts(values: Mapping[str, Any], most: int) -> None:
    """Refuse what would be built for longer than the files have parameters."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            refuse_counts(value, most)
        counts = value if isinstance(value, list) else [value]
        if _COUNTS.search(name) and any(isinstance(each, int) and each > most for each in counts):
            raise ConversionError([(name, f"is {short(value)}, more than the files hold arrays")])


def refuse_size(make: Callable[[], Any], entries: Sequence[Deferred]) -> None:
    """Refuse a network that is larger than its files, before memory is asked for.

    Args:
        make: Builds the module of PyTorch, here without memory.
        entries: What the files hold.
    """
    import torch

    stored = sum(math.prod(entry.shape) for entry in entries)
    left = 2 * len(entries) + 1000  # some are there under two names, or in parts

    def count(*_: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            what = f"means a network of many more parts than the {len(entries):,} arrays"
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
