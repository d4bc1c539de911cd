"""The settings of a Keras layer, each checked when it is read; what nobody reads is reported."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

import numpy as np

from modelarchive.exchange.budget import spend
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.strict import short

#: Dtypes that inputs, casts and arrays in a config may have.
DTYPES: Final = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
                 "float16", "float32", "float64", "bfloat16")  # fmt: skip


@dataclass
class Config:
    """The settings of a layer; what is read is remembered.

    Attributes:
        values: Name -> value.
        used: Names that were asked for.
    """

    values: dict[str, Any]
    used: set[str] = field(default_factory=set)

    def __contains__(self, name: str) -> bool:
        """Whether there is such a setting."""
        return name in self.values

    def value(self, name: str, default: Any = ...) -> Any:
        """A setting as it stands.

        Raises:
            Refusal: It is missing, and there is no default.
        """
        self.used.add(name)
        found = self.values.get(name, default)
        if found is ...:
            raise Refusal(f"the setting {name!r} is missing")
        return found

    def flag(self, name: str, *, default: bool) -> bool:
        """True or False."""
        found = self.value(name, default)
        return found if isinstance(found, bool) else self._wrong(name, "true or false")

    def integer(self, name: str, default: Any = ...) -> int:
        """A whole number."""
        found = self.value(name, default)
        return found if type(found) is int and abs(found) < 2**31 else self._wrong(name, "an integer")

    def number(self, name: str, default: Any = ...) -> float:
        """A finite number."""
        found = self.value(name, default)
        if type(found) not in (int, float) or not abs(found) < 1e300:
            self._wrong(name, "a number")
        return float(found)

    def optional(self, name: str) -> float | None:
        """A finite number, or None."""
        return None if self.value(name, None) is None else self.number(name)

    def text(self, name: str, default: Any = ...) -> str:
        """A string."""
        found = self.value(name, default)
        return found if isinstance(found, str) else self._wrong(name, "a string")

    def sizes(self, name: str, rank: int, default: Any = ...) -> list[int]:
        """So many whole numbers, or one for all."""
        found = self.value(name, default)
        several = [found] * rank if type(found) is int else found
        if not isinstance(several, list) or len(several) != rank or any(type(each) is not int for each in several):
            return self._wrong(name, f"{rank} integers")
        return several

    def pairs(self, name: str, rank: int) -> list[list[int]]:
        """So many pairs of whole numbers; one number stands for a pair of them, or for all of them."""
        found = self.value(name)
        if type(found) is int:
            found = [found] * rank
        if rank == 1 and isinstance(found, list) and len(found) == 2:
            found = [found]
        if not isinstance(found, list) or len(found) != rank:
            return self._wrong(name, f"{rank} pairs of integers")
        pairs = [[each, each] if type(each) is int else each for each in found]
        for pair in pairs:
            if not isinstance(pair, list) or len(pair) != 2 or any(type(each) is not int for each in pair):
                self._wrong(name, f"{rank} pairs of integers")
        return pairs

    def axes(self, name: str, default: Any = ...) -> list[int] | None:
        """Axes: one, several, or None."""
        found = self.value(name, default)
        if found is None:
            return None
        several = [found] if type(found) is int else found
        if not isinstance(several, list) or any(type(each) is not int for each in several):
            return self._wrong(name, "axes")
        return several

    def expect(self, name: str, *accepted: Any) -> None:
        """Refuse every value but those that mean nothing special; absent is fine."""
        found = self.value(name, accepted[0])
        if not any(found == each and type(found) is type(each) for each in accepted):
            expected = " and ".join(repr(each) for each in accepted)
            raise Refusal(f"{name} = {short(found)} is not supported, only {expected}")

    def unread(self) -> dict[str, Any]:
        """What nobody asked for, and is not only for training."""
        return {
            name: value
            for name, value in self.values.items()
            if name not in self.used and value is not None and not _ASIDE.fullmatch(name)
        }

    def empty(self) -> list[str]:
        """What nobody asked for, and is null."""
        several = [name for name, value in self.values.items() if value is None and name not in self.used]
        return [name for name in several if not _ASIDE.fullmatch(name)]

    def _wrong(self, name: str, expected: str) -> NoReturn:
        raise Refusal(f"{name} = {short(self.values.get(name))} is not {expected}")


#: Settings that matter in training only, that choose how something is computed, or that follow from the inputs.
_ASIDE: Final = re.compile(
    r"name|trainable|dtype|autocast|seed|.*_(initializer|regularizer|constraint)|unit_forget_bias|implementation"
    r"|batch_input_shape|batch_size|input_length|time_major|synchronized|fused|virtual_batch_size|ragged|sparse"
    r"|renorm(_\w+)?|dynamic|batch_shape|recurrent_dropout|noise_shape|max_norm"
)


def numbers(value: Any, dtype: str | None = None) -> np.ndarray:
    """Numbers that a config holds, one or in lists, as an array.

    Raises:
        Refusal: They are something else.
    """
    pending = [value]
    count = 0
    while pending:
        each = pending.pop()
        if isinstance(each, list):
            pending += each
        elif isinstance(each, bool | int | float):
            count += 1
        else:
            # NumPy makes every element of a list as wide as its longest text.
            raise Refusal(f"{short(each)} stands where numbers are expected")
    spend("an array in its config", elements=count)
    try:
        return np.asarray(value, dtype)
    except (OverflowError, ValueError) as error:  # no whole number, or rows of several lengths
        raise Refusal(f"{short(value)} stands where numbers of {dtype or 'one shape'} are expected") from error
