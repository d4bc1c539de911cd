"""The inputs of an architecture in words: axes that must be of one size have one name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelarchive.architecture.checking import Checked, check
from modelarchive.architecture.fitting import finest_trial
from modelarchive.nn.axes import axis_names


def input_texts(architecture: Mapping[str, Any] | Checked) -> list[str]:
    """Each input as people read it: ``"input_ids: int64 batch x length"``.

    Free axes have the names that the architecture gives them. Those without one have one name where they must be of
    one size, and others where they need not be.

    Raises:
        SpecError: The architecture is invalid.
    """
    whole = check(architecture)
    groups = finest_trial(whole.block, whole.trial).groups if whole.inputs else []
    texts = []
    for each, axes in zip(whole.inputs, axis_names(whole.inputs, groups), strict=True):
        optional = f", {each['default']} where it is left out" if "default" in each else ""
        texts.append(f"{each['name']}: {each['dtype']} {' x '.join(axes) or '()'}{optional}")
    return texts
