"""Networks that go over a text word by word in Python, as Mamba does without its kernels: longer with each word."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any


def goes_by_words(run: Callable[..., Any], tried: Callable[[int], Mapping[str, Any]], length: int) -> bool:
    """Whether a network makes more calls of PyTorch for each word more, so that it is another one for each length.

    Args:
        run: The network, which takes its inputs by name.
        tried: Makes them for a length of texts.
        length: One that it runs on.
    """
    from torch.utils._python_dispatch import TorchDispatchMode

    class Counting(TorchDispatchMode):  # type: ignore[misc]
        calls = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.calls += 1
            return func(*args, **(kwargs or {}))

    counts = []
    more = 4
    for size in (length, length + more):
        given = tried(size)
        with contextlib.suppress(Exception), Counting() as counting:  # whatever a forward raises of a longer text
            run(**given)
            counts.append(counting.calls)
    return len(counts) == 2 and counts[1] - counts[0] >= more
